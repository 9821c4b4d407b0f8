"""All that one Dream proposes, within its budget. Pure: the same material in any order gives the same proposals.

Kinds come one after another, in the order of `PROPOSERS`, and each sees memory as those before it would leave it: so
what a Dream leaves behind is what the next one finds, and it has nothing more to say. Another kind is another
`Proposer` there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from core.dreams import Archive, Assert, DreamKind, Join, Proposal
from memory.dreams.aliases import aliases, only_sure
from memory.dreams.contradictions import contradictions
from memory.dreams.duplicates import duplicates
from memory.dreams.facts import facts
from memory.dreams.material import Material
from memory.dreams.procedures import procedures
from memory.dreams.strengthening import strengthening
from memory.dreams.summaries import summaries

GoOn = Callable[[], bool]


class Proposer(Protocol):
    """A pure function from what was read to proposals of one kind."""

    def __call__(self, material: Material, may_go_on: GoOn, /) -> list[Proposal]:
        """Nothing, where `may_go_on` says no before it is done: half an answer may be a wrong one."""
        ...


@dataclass(frozen=True, slots=True)
class Proposed:
    """The proposals, findings among them, and what the budget left out."""

    proposals: tuple[Proposal, ...]
    beyond: int = 0
    """Changes that were found and not proposed: more than the budget allows."""
    unseen: tuple[DreamKind, ...] = ()
    """Kinds that there was no time for."""
    cut: tuple[DreamKind, ...] = ()
    """Kinds of which some are `beyond`."""


def propose(
    material: Material,
    kinds: Collection[DreamKind],
    most: int,
    may_go_on: GoOn = lambda: True,
    *,
    unseen: bool = False,
) -> Proposed:
    """Asks each kind; of more than `most` changes, the surest of each kind come first.

    With `unseen` nobody looks at them before they are applied: merges that are not certain are findings then.
    """
    kept: list[Proposal] = []
    beyond, changes = 0, 0
    late, cut = [], []
    for kind, proposer in PROPOSERS.items():
        if kind not in kinds:
            continue
        found = proposer(material, may_go_on) if may_go_on() else []
        if not may_go_on():
            late.append(kind)
            continue
        if unseen and kind is DreamKind.ALIASES:
            found = only_sure(found)
        findings = [one for one in found if not one.actions]
        wanted = sorted((one for one in found if one.actions), key=lambda one: (-round(one.score, 6), one.reads))
        room = max(0, most - changes)
        if len(wanted) > room:
            beyond += len(wanted) - room
            cut.append(kind)
        taken = wanted[:room]
        changes += len(taken)
        kept += [*taken, *findings]
        actions = [action for one in taken for action in one.actions]
        material = material.without({one.episode_id for one in actions if isinstance(one, Archive)})
        material = material.merged([one for one in actions if isinstance(one, Join)])
        material = material.asserting({one.fact_id for one in actions if isinstance(one, Assert)})
    return Proposed(tuple(kept), beyond, tuple(late), tuple(cut))


PROPOSERS: Mapping[DreamKind, Proposer] = MappingProxyType(
    {
        DreamKind.ALIASES: lambda material, _: aliases(material),
        DreamKind.FACTS: lambda material, _: facts(material),
        DreamKind.DUPLICATES: lambda material, _: duplicates(material),
        DreamKind.SUMMARIES: summaries,
        DreamKind.CONTRADICTIONS: lambda material, _: contradictions(material),
        DreamKind.PROCEDURES: lambda material, _: procedures(material),
        DreamKind.STRENGTHENING: lambda material, _: strengthening(material),
    }
)
