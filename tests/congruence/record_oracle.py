"""The record as a few lists and loops: slow, obvious, and what both backends must agree with.

It leaves out what only a store has: requests, times of commits, durability. Ids are always brought by the caller.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from core.errors import AlreadyExists, FailedPrecondition, NotFound
from core.ids import concept_id, entity_id, normalised_name
from core.nouns import (
    AsOf,
    Concept,
    Contradiction,
    Entity,
    Episode,
    EpisodeFilter,
    Fact,
    Forgotten,
    Interval,
    Moved,
    NewFact,
    OutboxEntry,
    PerceivedEpisode,
    RecordCounts,
    RelationPolicy,
    Remembered,
    SourceKind,
    Space,
    StoredConcept,
)
from memory import temporal


class Told(NamedTuple):
    """An Episode, its place in the batch, and what makes it the same as another."""

    place: int
    identity: tuple[object, ...]
    episode: Episode


@dataclass
class Tenant:
    """What a namespace holds."""

    space: Space | None = None
    episodes: list[Told] = field(default_factory=list)
    concepts: dict[str, list[StoredConcept]] = field(default_factory=dict)
    facts: list[Fact] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    policies: list[RelationPolicy] = field(default_factory=list)
    holds: set[tuple[str, str]] = field(default_factory=set)


class Oracle:
    """`core.ports.Record`, as far as random histories go. `recorded_at` is 0 everywhere."""

    def __init__(self) -> None:
        self.tenants: dict[str, Tenant] = {}
        self.deleted: set[tuple[str, object]] = set()
        """Namespace, and the id or the identity of an Episode that was deleted there and not told again."""
        self.entries: list[OutboxEntry] = []
        self.last = 0

    def create_namespace(self, name: str) -> None:
        if name in self.tenants:
            raise AlreadyExists("", reason="NAMESPACE_EXISTS")
        self.last += 1
        self.tenants[name] = Tenant()

    def delete_namespace(self, name: str) -> int:
        tenant = self._tenant(name)
        self._check_holds(tenant, [one.episode.id for one in tenant.episodes])
        self.last += 1
        if tenant.space:
            self.entries.append(OutboxEntry(self.last, name, tenant.space, (), True, self.last))
        del self.tenants[name]
        self._bury(name, tenant.episodes)
        return len(tenant.episodes)

    def remember(
        self, namespace: str, space: Space, episodes: Sequence[PerceivedEpisode], bring_back: bool = True
    ) -> list[Remembered]:
        tenant = self._tenant(namespace)
        if tenant.space not in (None, space):
            raise FailedPrecondition("", reason="SPACE_MISMATCH")
        seq, answer, fresh = self.last + 1, [], []
        known = {identity: (episode.id, episode.seq) for _, identity, episode in tenant.episodes}
        for place, one in enumerate(episodes):
            identity: tuple[object, ...] = (one.source.name, one.external_id)
            if not one.external_id:
                identity = (one.source.name, one.conversation, one.position, one.speaker, one.told_at, one.text)
            if identity in known:
                answer.append(Remembered(*known[identity], duplicate=True))
                continue
            again = {(namespace, one.id), (namespace, identity)} & self.deleted
            if again and not bring_back:
                answer.append(Remembered("", 0, deleted=True))
                continue
            known[identity] = (one.id, seq)
            answer.append(Remembered(one.id, seq, deleted=bool(again)))
            fresh.append((place, identity, one))
        for _, identity, one in fresh:
            self.deleted -= {(namespace, one.id), (namespace, identity)}
        if fresh:
            self.last, tenant.space = seq, space
        ids = []
        for place, identity, one in fresh:
            where = (one.conversation, one.position, one.speaker, one.text, one.told_at, one.external_id)
            tenant.episodes.append(Told(place, identity, Episode(one.id, namespace, one.source, *where, 0, seq)))
            tenant.concepts[one.id] = [
                StoredConcept(Concept(concept_id(one.id, n), one.id, n, c.span), space, c.vector, c.terms)
                for n, c in enumerate(one.concepts)
            ]
            ids += [c.concept.id for c in tenant.concepts[one.id]]
        if ids:
            self.entries.append(OutboxEntry(seq, namespace, space, tuple(ids), False, seq))
        return answer

    def assert_fact(self, namespace: str, fact: NewFact) -> Fact:
        tenant = self._tenant(namespace)
        if fact.episode_id and fact.episode_id not in tenant.concepts:
            raise NotFound("", reason="EPISODE_NOT_FOUND")
        self.last += 1

        def entity(name: str) -> Entity:
            kept = tenant.names.setdefault(normalised_name(name), name)
            return Entity(entity_id(namespace, name), kept)

        subject = entity(fact.subject)
        target = entity(fact.entity) if fact.entity is not None else fact.literal or ""
        made = Fact(
            fact.id, subject, fact.relation, target, fact.valid, fact.told_at, 0, self.last, fact.retracted,
            fact.episode_id, fact.trust,
        )  # fmt: skip
        tenant.facts.append(made)
        return made

    def set_policy(self, namespace: str, relation: str, policy: Contradiction) -> RelationPolicy:
        tenant = self._tenant(namespace)
        for one in reversed(tenant.policies):
            if one.relation == relation:
                if one.policy is policy:
                    return one
                break
        self.last += 1
        tenant.policies.append(RelationPolicy(relation, policy, 0, self.last))
        return tenant.policies[-1]

    def policies(self, namespace: str, as_of: AsOf) -> list[RelationPolicy]:
        by_then = {one.relation: one for one in self._tenant(namespace).policies if one.seq <= as_of.seq}
        return [by_then[relation] for relation in sorted(by_then)]

    def retract_fact(self, namespace: str, fact_id: str, new_id: str, start: int | None, told_at: int) -> Fact:
        tenant = self._tenant(namespace)
        for fact in tenant.facts:
            if fact.id == fact_id:
                self.last += 1
                made = Fact(
                    new_id, fact.subject, fact.relation, fact.object, Interval(start), told_at, 0, self.last, True
                )
                tenant.facts.append(made)
                return made
        raise NotFound("", reason="FACT_NOT_FOUND")

    def forget(
        self, namespace: str, episode_ids: Sequence[str], speaker: str, conversation: str, dry_run: bool
    ) -> Forgotten:
        tenant = self._tenant(namespace)
        going = {
            episode.id
            for _, _, episode in tenant.episodes
            if (not episode_ids or episode.id in episode_ids)
            and (not speaker or episode.speaker == speaker)
            and (not conversation or episode.conversation == conversation)
        }
        self._check_holds(tenant, going)
        told = [fact for fact in tenant.facts if fact.episode_id in going]
        left = [fact for fact in tenant.facts if fact not in told]
        bare = [
            fact
            for fact in left
            if fact.retracted
            and not fact.episode_id
            and any(fact.statement == other.statement for other in told)
            and not any(fact.statement == other.statement and not other.retracted for other in left)
        ]
        ids = tuple(sorted(c.concept.id for one in going for c in tenant.concepts[one]))
        gone = Forgotten(len(going), len(ids), len(told) + len(bare))
        if dry_run:
            return gone
        self.last += 1
        self._bury(namespace, [one for one in tenant.episodes if one.episode.id in going])
        tenant.episodes = [one for one in tenant.episodes if one.episode.id not in going]
        for one in going:
            del tenant.concepts[one]
        tenant.facts = [fact for fact in left if fact not in bare]
        named = {entity.name for fact in tenant.facts for entity in _entities(fact)}
        for fact in told + bare:
            for entity in _entities(fact):
                if entity.name not in named:
                    tenant.names.pop(normalised_name(entity.name), None)
        if ids and tenant.space:
            self.entries.append(OutboxEntry(self.last, namespace, tenant.space, ids, True, self.last))
        return gone

    def move(self, namespace: str, episode_ids: Sequence[str], *, archive: bool) -> Moved:
        tenant = self._tenant(namespace)
        if any(one not in tenant.concepts for one in episode_ids):
            raise NotFound("", reason="EPISODE_NOT_FOUND")
        wanted = sorted(
            one.episode.id
            for one in tenant.episodes
            if one.episode.id in episode_ids and (one.episode.archived_seq == 0) == archive
        )
        if archive:
            self._check_holds(tenant, wanted)
        if not wanted:
            return Moved((), 0, 0)
        self.last += 1
        tenant.episodes = [
            one._replace(episode=replace(one.episode, archived_seq=self.last if archive else 0))
            if one.episode.id in wanted
            else one
            for one in tenant.episodes
        ]
        ids = tuple(sorted(c.concept.id for one in wanted for c in tenant.concepts[one]))
        if ids and tenant.space:
            self.entries.append(OutboxEntry(self.last, namespace, tenant.space, ids, archive, self.last))
        return Moved(tuple(wanted), len(ids), self.last)

    def set_hold(self, namespace: str, episode_ids: Sequence[str], hold: str, release: bool) -> int:
        tenant = self._tenant(namespace)
        if any(one not in tenant.concepts for one in episode_ids):
            raise NotFound("", reason="EPISODE_NOT_FOUND")
        given = {(one, hold) for one in episode_ids}
        changed = given & tenant.holds if release else given - tenant.holds
        tenant.holds = tenant.holds - given if release else tenant.holds | given
        return len(changed)

    def indexed(self, namespace: str) -> list[str]:
        tenant = self._tenant(namespace)
        found = (one.episode.id for one in tenant.episodes if not one.episode.archived_seq)
        return sorted(c.concept.id for one in found for c in tenant.concepts[one])

    def archived(self, namespace: str, seq: int) -> list[tuple[Episode, list[StoredConcept]]]:
        tenant = self._tenant(namespace)
        wanted = [one.episode for one in tenant.episodes if one.episode.archived_seq > seq >= one.episode.seq]
        return [(one, tenant.concepts[one.id]) for one in sorted(wanted, key=lambda one: (one.archived_seq, one.id))]

    def _bury(self, namespace: str, gone: Sequence[Told]) -> None:
        for _, identity, episode in gone:
            self.deleted |= {(namespace, episode.id), (namespace, identity)}

    def _check_holds(self, tenant: Tenant, episode_ids: Collection[str]) -> None:
        if any(one in episode_ids for one, _ in tenant.holds):
            raise FailedPrecondition("", reason="EPISODE_HELD")

    def outbox_done(self, position: int) -> None:
        self.entries = [entry for entry in self.entries if entry.position > position]

    def window(self, namespace: str, radius: int) -> dict[str, list[Episode]]:
        ordered = sorted(
            self._tenant(namespace).episodes, key=lambda one: (one.episode.position, one.episode.seq, one.place)
        )
        windows = {}
        for _, _, centre in ordered:
            if not centre.conversation:
                windows[centre.id] = [centre]
                continue
            row = [
                e for _, _, e in ordered if (e.source.name, e.conversation) == (centre.source.name, centre.conversation)
            ]
            place = row.index(centre)
            windows[centre.id] = row[max(0, place - radius) : place + radius + 1]
        return windows

    def timeline(self, namespace: str, where: EpisodeFilter, as_of: AsOf) -> list[Episode]:
        allowed = [e for _, _, e in self._tenant(namespace).episodes if where.allows(e, as_of)]
        return sorted(allowed, key=lambda episode: (episode.told_at, episode.id))

    def facts(
        self, namespace: str, entity: str | None, relation: str, as_of: AsOf, contended: Collection[str] = ()
    ) -> list[Fact]:
        by_then = [
            fact
            for fact in self._tenant(namespace).facts
            if fact.told_at <= as_of.told_by and fact.seq <= as_of.seq and (not relation or fact.relation == relation)
        ]
        if entity is None:
            return by_then
        near = [f for f in by_then if normalised_name(entity) in [normalised_name(e.name) for e in _entities(f)]]
        questions = {(fact.subject, fact.relation) for fact in near if fact.relation in contended}
        return [fact for fact in by_then if fact in near or (fact.subject, fact.relation) in questions]

    def around(
        self, namespace: str, entity: str, as_of: AsOf, contended: Collection[str] = (), limit: int = 1000
    ) -> list[Fact]:
        near = [one for one in self.facts(namespace, entity, "", as_of) if one.relation not in contended]
        return sorted(temporal.holding(near, as_of), key=lambda fact: fact.id)[:limit]

    def export(self, namespace: str) -> list[tuple[Episode, list[StoredConcept]]]:
        tenant = self._tenant(namespace)
        ordered = sorted((e for _, _, e in tenant.episodes), key=lambda episode: (episode.seq, episode.id))
        return [(episode, tenant.concepts[episode.id]) for episode in ordered]

    def speakers(self, namespace: str) -> dict[str, int]:
        return dict(Counter(e.speaker for _, _, e in self._tenant(namespace).episodes if e.speaker))

    def counted(self, namespace: str) -> list[StoredConcept]:
        """Those that no Dream wrote."""
        told = [e for e, _ in self.export(namespace) if e.source.kind is not SourceKind.DREAM]
        return [c for e in told for c in self._tenant(namespace).concepts[e.id]]

    def document_frequency(self, namespace: str) -> dict[int, int]:
        return dict(Counter(term for c in self.counted(namespace) for term in c.terms.indices))

    def counts(self, namespace: str | None) -> RecordCounts:
        tenants = [self._tenant(namespace)] if namespace else list(self.tenants.values())
        apart = [(t, one.episode.id) for t in tenants for one in t.episodes if one.episode.archived_seq]
        return RecordCounts(
            episodes=sum(len(one.episodes) for one in tenants),
            concepts=sum(len(of) for one in tenants for of in one.concepts.values()),
            entities=sum(len(one.names) for one in tenants),
            facts=sum(len(one.facts) for one in tenants),
            seq=self.last,
            outbox_pending=len([entry for entry in self.entries if namespace in (None, entry.namespace)]),
            archived_episodes=len(apart),
            archived_concepts=sum(len(tenant.concepts[one]) for tenant, one in apart),
        )

    def _tenant(self, name: str) -> Tenant:
        if name not in self.tenants:
            raise NotFound("", reason="NAMESPACE_NOT_FOUND")
        return self.tenants[name]


def _entities(fact: Fact) -> list[Entity]:
    return [end for end in (fact.subject, fact.object) if isinstance(end, Entity)]
