"""What a Dream reads, side by side and in one order, so that what it proposes depends on nothing else.

Everything comes in the order of telling (told_at, source, conversation, position, id), however it was read. Words that
say who spoke and when are taken out of the terms: they are indexed with every Concept, and say nothing that it says.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from core.clock import Micros
from core.dreams import Join
from core.entities import Mention, Merge
from core.ids import entity_id
from core.nouns import (
    EVIDENCE,
    Concept,
    Entity,
    Episode,
    Fact,
    Float32,
    Keeping,
    NewFact,
    RelationPolicy,
    SourceKind,
    StoredConcept,
)
from memory.analysis import asks, episode_context, terms
from memory.record.merging import Merged

LEARNT = frozenset({SourceKind.SELF})
"""Kinds of source that answers of ours are remembered as."""


@dataclass(frozen=True, slots=True, eq=False)
class Sentence:
    """A Concept as a Dream sees it."""

    concept: Concept
    vector: Float32
    """Shape [dimensions], unit length."""
    terms: frozenset[int]
    """Its own, with no name or day that it was indexed with."""

    @property
    def states(self) -> bool:
        """Whether it states something, and does not ask."""
        return not asks(self.concept.span.text)


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """An Episode with its Concepts."""

    episode: Episode
    sentences: tuple[Sentence, ...]
    keeping: Keeping
    sources: tuple[str, ...] = ()
    """What it was derived from."""

    @classmethod
    def of(
        cls, episode: Episode, concepts: Sequence[StoredConcept], keeping: Keeping | None, sources: Sequence[str] = ()
    ) -> Told:
        """From what the record keeps."""
        context = frozenset(terms(episode_context(episode.speaker, episode.told_at)))
        sentences = tuple(
            Sentence(one.concept, one.vector, frozenset(one.terms.indices) - context)
            for one in sorted(concepts, key=lambda one: one.concept.ordinal)
        )
        return cls(episode, sentences, keeping or Keeping(episode.id), tuple(sources))

    @property
    def id(self) -> str:
        """The Episode's."""
        return self.episode.id

    @property
    def terms(self) -> frozenset[int]:
        """Of all its sentences."""
        return frozenset[int]().union(*(one.terms for one in self.sentences))

    def vector(self) -> Float32:
        """The mean of its sentences' vectors, at unit length. Shape [dimensions]; it has a sentence."""
        return unit_mean([one.vector for one in self.sentences])


@dataclass(frozen=True, eq=False)
class Material:
    """What one Dream has read. The lists are in the order of telling."""

    evidence: Sequence[Told]
    """What was told by people and documents, and is not archived."""
    answers: Sequence[Told] = ()
    """What we answered ourselves: with `sources` where it was from evidence."""
    summaries: Sequence[Told] = ()
    """What earlier Dreams wrote and none has archived; with their sources."""
    known: frozenset[str] = frozenset()
    """The external ids of all that Dreams wrote, archived or not."""
    facts: Sequence[Fact] = ()
    policies: Sequence[RelationPolicy] = ()
    credited: frozenset[tuple[str, str]] = frozenset()
    """(Episode, answer) for what an earlier Dream strengthened for."""
    named: Mapping[str, Sequence[Mention]] = field(default_factory=dict)
    """Names of Entities that may mean the same as another one's, each with the first Episodes that mention it."""
    merges: Sequence[Merge] = ()
    """Of Entities, those that were undone too."""
    declined: frozenset[frozenset[str]] = frozenset()
    """Pairs of Entities, by their ids, of which somebody declined a merge."""
    said: Sequence[tuple[Episode, NewFact]] = ()
    """What a language model read in Episodes for this Dream."""
    namespace: str = ""
    read: frozenset[str] = frozenset()
    """The ids of all Episodes that were read."""

    @classmethod
    def of(
        cls,
        namespace: str,
        told: Iterable[Told],
        *,
        facts: Iterable[Fact] = (),
        policies: Iterable[RelationPolicy] = (),
        credited: Iterable[tuple[str, str]] = (),
        named: Mapping[str, Sequence[Mention]] | None = None,
        merges: Iterable[Merge] = (),
        declined: Iterable[frozenset[str]] = (),
    ) -> Material:
        """Sorts what was read, in any order, by what it is."""
        ordered = sorted(told, key=lambda one: place(one.episode))
        dreamt = [one for one in ordered if one.episode.source.kind is SourceKind.DREAM]
        return cls(
            evidence=[one for one in ordered if one.episode.source.kind in EVIDENCE and not one.episode.archived_seq],
            answers=[one for one in ordered if one.episode.source.kind in LEARNT],
            summaries=[one for one in dreamt if not one.episode.archived_seq],
            known=frozenset(one.episode.external_id for one in dreamt),
            facts=sorted(facts, key=lambda one: (one.told_at, one.seq, one.id)),
            policies=sorted(policies, key=lambda one: one.relation),
            credited=frozenset(credited),
            named=named or {},
            merges=sorted(merges, key=lambda one: one.seq),
            declined=frozenset(declined),
            namespace=namespace,
            read=frozenset(one.id for one in ordered),
        )

    def without(self, episode_ids: Collection[str]) -> Material:
        """The same, but for some of what was told."""
        gone = frozenset(episode_ids)
        return replace(self, evidence=[one for one in self.evidence if one.id not in gone])

    def asserting(self, fact_ids: Collection[str]) -> Material:
        """The same, with some of what a language model read as Facts."""
        last = max((one.seq for one in self.facts), default=0)
        taken = [one for _, one in self.said if one.id in fact_ids]
        whole = Merged(self.merges)
        fresh = [whole.fact(self._fact(one, last + place)) for place, one in enumerate(taken, 1)]
        ordered = sorted([*self.facts, *fresh], key=lambda one: (one.told_at, one.seq, one.id))
        return replace(self, facts=ordered) if fresh else self

    def _fact(self, told: NewFact, seq: int) -> Fact:
        def entity(name: str) -> Entity:
            return Entity(entity_id(self.namespace, name), name)

        target = entity(told.entity) if told.entity is not None else told.literal or ""
        return Fact(
            told.id, entity(told.subject), told.relation, target, told.valid, told.told_at, told.told_at, seq,
            episode_id=told.episode_id, trust=told.trust, rule=told.rule,
        )  # fmt: skip

    def merged(self, joins: Sequence[Join]) -> Material:
        """The same, with some more Entities as one."""
        if not joins:
            return self
        ends = {end.id: end for one in self.facts for end in (one.subject, one.object) if isinstance(end, Entity)}
        ends |= {entity_id(self.namespace, name): Entity(entity_id(self.namespace, name), name) for name in self.named}
        last = max((one.seq for one in self.merges), default=0)
        fresh = [
            Merge(f"~{place}", ends[one.kept], ends[one.merged], "", 0, last + place)
            for place, one in enumerate(joins, 1)
        ]
        whole = Merged([*self.merges, *fresh])
        return replace(self, facts=[whole.fact(one) for one in self.facts], merges=[*self.merges, *fresh])

    @cached_property
    def weights(self) -> Mapping[int, float]:
        """How much each term says: the IDF over the sentences read."""
        counts = Counter(term for one in self.evidence for sentence in one.sentences for term in sentence.terms)
        total = sum(len(one.sentences) for one in self.evidence)
        return {term: math.log(1 + (total - count + 0.5) / (count + 0.5)) for term, count in counts.items()}


def place(episode: Episode) -> tuple[Micros, str, str, int, str]:
    """The order in which things were told."""
    return episode.told_at, episode.source.name, episode.conversation, episode.position, episode.id


def unit_mean(vectors: Sequence[Float32]) -> Float32:
    """The mean at unit length; the first of them where they cancel out. Shape [dimensions]."""
    mean = np.mean(np.stack(vectors).astype(np.float64), axis=0)
    length = float(np.linalg.norm(mean))
    return (mean / length).astype(np.float32) if length > 1e-6 else vectors[0]
