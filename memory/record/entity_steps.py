"""The steps of a backend about Entities: a part of `memory.record.transaction.Transaction`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from core.entities import Mention, Merge, NewMention
from core.nouns import AsOf, Entity, Episode

if TYPE_CHECKING:
    from memory.record.transaction import Held


@dataclass(frozen=True, slots=True)
class Tally:
    """How often some Entities are named: Episodes that mention one of them, versions of Facts, mentions by kind."""

    episodes: int
    facts: int
    kinds: Mapping[str, int]


class EntitySteps(Protocol):
    """A `held` says in which namespace; ids of others are not there."""

    def unextracted(self, held: Held, version: int, limit: int) -> list[Episode]:
        """As `Record.unextracted`."""
        ...

    def first_unextracted(self, held: Held | None, version: int) -> int | None:
        """The commit of the first Episode that this version has not read; None where there is none."""
        ...

    def write_mentions(self, held: Held, version: int, mentions: Mapping[str, Sequence[NewMention]]) -> None:
        """Replaces the mentions of these Episodes, which exist, and says that this version read them.

        Makes Entities as needed, and deletes those that nothing names any more.
        """
        ...

    def entity_named(self, held: Held, name: str) -> Entity | None:
        """The Entity of a name, itself: not what it is merged with."""
        ...

    def entities_by_id(self, held: Held, ids: Sequence[str]) -> list[Entity]:
        """Those that exist, by id."""
        ...

    def make_entity(self, held: Held, name: str) -> Entity:
        """The Entity of a name; made where there is none."""
        ...

    def entities_after(self, held: Held, after: str, limit: int) -> list[Entity]:
        """The first by normalised name after the one given."""
        ...

    def tallies(self, held: Held, groups: Sequence[Sequence[str]], as_of: AsOf) -> list[Tally]:
        """For each group of ids of Entities, how often they are named by what was told and committed by then."""
        ...

    def mentioning(
        self, held: Held, entity_ids: Sequence[str], as_of: AsOf, limit: int, after: tuple[int, str] | None
    ) -> list[Mention]:
        """As `Record.mentions`, of any of these Entities; spans in order."""
        ...

    def mentioned_in(self, held: Held, episode_ids: Sequence[str]) -> list[tuple[str, Entity]]:
        """The Episodes that mention any, each with every Entity that it mentions, once; in any order."""
        ...

    def merges(self, held: Held) -> list[Merge]:
        """All of them, undone ones too, by seq."""
        ...

    def write_merge(self, held: Held, merge: Merge) -> None:
        """Adds one; its Entities exist. This, like every other change of merges, is counted in `Held.merges`."""
        ...

    def undo_merge(self, held: Held, merge_id: str, seq: int) -> None:
        """Says which commit took it back; 0 for none."""
        ...

    def drop_merges(self, held: Held, merge_ids: Sequence[str]) -> None:
        """Deletes them, and leaves their Entities."""
        ...
