"""Aliases: names that mean the same, by how they are written and by how they are used. What is proposed is a merge.

`memory.ingest.aliases` says which names may belong together; here it is weighed how they are used:

- Where somebody says "Mel" in a conversation in which Melanie speaks, and nobody else does who could be meant, it is
  Melanie who is called so. Each such Episode raises the score, and none raises it to certainty.
- Two names that speak in one conversation are two people. So are the two ends of a Fact, and what is of two kinds.
- A rule about names of people asks that somebody is called so, or that the shorter name by itself is that of a person:
  "Game" is not short for "Game of Thrones", nor "Frau" for "Frau Albrecht".

A name is merged into one other. A pair of which somebody declined the merge, or took it back, is not proposed again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.dreams import DreamKind, Join, Proposal
from core.entities import Mention
from core.ids import entity_id, normalised_name
from core.nouns import Entity, Episode
from memory.dreams.material import Material
from memory.ingest import aliases as written
from memory.ingest.aliases import CERTAIN, Candidate
from memory.ingest.entities import names
from memory.ingest.words import PERSON
from memory.record.merging import Merged

LEAST = 0.5
"""What scores less is not proposed: one of two Melanies would be guessed at."""
BEST = 0.9
"""What use may raise a score to: below `CERTAIN`, since there is always room for somebody else."""
MOST = 200
"""Pairs of names that one Dream weighs, the best first."""
MOST_MENTIONS = 200
"""Episodes that mention a name, of which its use is told: the first ones."""

Talk = tuple[str, str]
"""A conversation of a source."""


@dataclass(frozen=True, slots=True)
class _Use:
    """How a name is used."""

    mentioned: Sequence[Episode]
    """Where a text has it, or it speaks."""
    talks: frozenset[Talk]
    """Where it speaks."""
    speaks: bool
    kind: str

    @property
    def personal(self) -> bool:
        return self.speaks or self.kind == PERSON


def in_question(entities: Iterable[str]) -> list[str]:
    """Those of the names that may mean the same as another one: what `Material.named` has to bring."""
    pairs = written.candidates(entities)[:MOST]
    return sorted({name for one in pairs for name in (one.name, one.alias)})


def aliases(material: Material) -> list[Proposal]:
    """A proposal for each merge, the surest first; each alias once."""
    pairs = written.candidates(material.named)
    uses = _uses(material, {name for one in pairs for name in (one.name, one.alias)})
    rivals: defaultdict[str, set[str]] = defaultdict(set)
    for one in pairs:
        rivals[one.alias].add(one.name)
    refused = material.declined | {frozenset((one.kept.id, one.merged.id)) for one in material.merges if one.undone_seq}
    whole = Merged(material.merges)
    related = {_ends(fact.subject, fact.object) for fact in material.facts if isinstance(fact.object, Entity)}
    found = []
    for one in pairs:
        kept, merged = (_entity(material, name) for name in (one.name, one.alias))
        shown = _ends(whole.shown(kept), whole.shown(merged))
        if len(shown) == 1 or whole.shown(merged).id != merged.id or shown in related:
            continue
        if _ends(kept, merged) in refused:
            continue
        others = frozenset[Talk]().union(*(uses[other].talks for other in rivals[one.alias] - {one.name}))
        proposal = _proposal(one, kept, merged, uses[one.name], uses[one.alias], others)
        if proposal is not None:
            found.append(proposal)
    taken: dict[str, Proposal] = {}
    for proposal in sorted(found, key=lambda proposal: (-proposal.score, proposal.entities)):
        taken.setdefault(proposal.entities[1], proposal)
    return list(taken.values())


def only_sure(proposals: Iterable[Proposal]) -> list[Proposal]:
    """For a Dream that is applied unseen: a merge that is not certain becomes a finding, which changes nothing."""
    return [one if one.score >= CERTAIN else replace(one, actions=()) for one in proposals]


def _proposal(
    one: Candidate, kept: Entity, merged: Entity, name: _Use, alias: _Use, others: frozenset[Talk]
) -> Proposal | None:
    if name.talks & alias.talks or (name.kind and alias.kind and name.kind != alias.kind):
        return None
    called = _called(alias, name, kept, others) + _called(name, alias, merged, others)
    if one.personal and not (called or alias.personal):
        return None
    score = max(one.score, one.score + (BEST - one.score) * len(called) / (len(called) + 1))
    if score < LEAST:
        return None
    where = f"; in {len(called)} Episodes it is said where the other one speaks" if called else ""
    first = called[:1] or [*alias.mentioned[:1], *name.mentioned[:1]]
    reads = tuple(dict.fromkeys(episode.id for episode in first))
    pair = (kept.id, merged.id)
    return Proposal(DreamKind.ALIASES, reads, f"{one.reason}{where}", round(score, 6), (Join(*pair),), entities=pair)


def _called(said: _Use, speaks: _Use, speaker: Entity, others: frozenset[Talk]) -> list[Episode]:
    """Where one name is said by somebody else, in a conversation in which the other name speaks and no rival does."""
    own = normalised_name(speaker.name)
    return [
        episode
        for episode in said.mentioned
        if _talk(episode) in speaks.talks - others and normalised_name(episode.speaker) != own
    ]


def _uses(material: Material, wanted: Iterable[str]) -> dict[str, _Use]:
    talks: defaultdict[str, set[Talk]] = defaultdict(set)
    for told in material.evidence:
        talks[normalised_name(told.episode.speaker)].add(_talk(told.episode))
    return {name: _use(name, material.named[name], talks) for name in wanted}


def _use(name: str, mentioning: Sequence[Mention], talks: dict[str, set[Talk]]) -> _Use:
    own = normalised_name(name)
    kinds: Counter[str] = Counter()
    mentioned = []
    for mention in mentioning:
        episode, text = mention.episode, mention.episode.text.encode()
        # An Entity that is merged brings the mentions of its other names too: those say nothing of this one.
        here = [span for span in mention.spans if normalised_name(text[slice(*span)].decode()) == own]
        if here:
            kinds.update(one.kind for one in names(episode.text) if one.kind and normalised_name(one.name) == own)
        if here or normalised_name(episode.speaker) == own:
            mentioned.append(episode)
    spoken = talks.get(own, set())
    kind = min(kinds, key=lambda one: (-kinds[one], one)) if kinds else ""
    return _Use(mentioned, frozenset(one for one in spoken if one[1]), bool(spoken), kind)


def _talk(episode: Episode) -> Talk:
    return episode.source.name, episode.conversation


def _entity(material: Material, name: str) -> Entity:
    return Entity(entity_id(material.namespace, name), name)


def _ends(one: Entity, other: Entity) -> frozenset[str]:
    return frozenset((one.id, other.id))
