"""Backups of a record and back, once for both backends.

A thing that is put keeps the number and the time of its commit. That is sound only where the store's commits are the
backup's own, as far as both go: an empty store, one that was restored from the same line of backups, or the very store
that was backed up. Whoever restores has to see to it (`services.memory.restoring` compares the commits); a store with a
history of its own gets an import instead.

Each `put` is one transaction. A restore may end between any two of them, and is done again from its beginning: what is
there already is passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from core.moving import Audit, CommitTime, Kept, Put, StoredEpisode, StoredNamespace, Tombstone
from core.nouns import (
    Entity,
    Episode,
    Expiry,
    Fact,
    Forgotten,
    NewFact,
    PerceivedConcept,
    PerceivedEpisode,
    RelationPolicy,
    StoredConcept,
)
from memory.record import rows
from memory.record.migrating import at_work
from memory.record.numbering import NumberedRecord, held_of
from memory.record.tombstones import Buried, Mark, episode_mark, fact_mark, marks
from memory.record.transaction import Commit, FreshFact, Going, Held, Transaction

_T = TypeVar("_T")
_K = TypeVar("_K")

_PAGE = 256
_SMALL_PAGE = 4096
_FIRST = (0, "")


class MovingRecord(NumberedRecord):
    """`core.moving.MovableRecord` over a `Store`; each method does what the port says."""

    # Out

    def commit_by(self, seq: int) -> CommitTime | None:
        found = self._store.read(lambda tx: tx.commit_by(seq))
        return CommitTime(found.seq, found.recorded_at) if found else None

    def commits(self, after: int, up_to: int) -> Iterator[CommitTime]:
        def page(last: int) -> list[CommitTime]:
            found = self._store.read(lambda tx: tx.commits_after(last, up_to, _SMALL_PAGE))
            return [CommitTime(one.seq, one.recorded_at) for one in found]

        return _paged(page, after, lambda one: one.seq)

    def stored_namespaces(self) -> list[StoredNamespace]:
        return self._store.read(lambda tx: tx.stored_namespaces())

    def stored_episodes(self, namespace: str, after: int, up_to: int) -> Iterator[StoredEpisode]:
        def work(tx: Transaction, last: tuple[int, str]) -> list[StoredEpisode]:
            held = held_of(tx, namespace)
            page = tx.episodes_after(held, last, up_to, _PAGE)
            ids = [one.id for one in page]
            ordinals = tx.ordinals(held, ids)
            keepings = {one.episode_id: one for one in tx.keepings(held, ids)}
            concepts: dict[str, list[StoredConcept]] = {one: [] for one in ids}
            for concept in tx.concepts_of(held, ids):
                concepts[concept.concept.episode_id].append(concept)
            sources: dict[str, list[str]] = {one: [] for one in ids}
            for derived, source in tx.sources(held, ids):
                sources[derived].append(source)
            return [
                StoredEpisode(one, ordinals[one.id], tuple(concepts[one.id]), keepings[one.id], tuple(sources[one.id]))
                for one in page
            ]

        # Of commit `after` there is no id that comes last: what follows is of a later commit.
        return _paged(
            lambda last: self._store.read(lambda tx: work(tx, last)), (after + 1, ""), lambda one: _place(one.episode)
        )

    def stored_facts(self, namespace: str, after: int, up_to: int) -> Iterator[Fact]:
        def page(last: int) -> list[Fact]:
            return self._store.read(lambda tx: tx.facts_after(held_of(tx, namespace), last, up_to, _PAGE))

        return _paged(page, after, lambda one: one.seq)

    def stored_policies(self, namespace: str, after: int, up_to: int) -> list[RelationPolicy]:
        found = self._store.read(lambda tx: tx.policies_after(held_of(tx, namespace), after, up_to))
        return sorted(found, key=lambda one: one.seq)

    def kept(self, namespace: str, up_to: int) -> Iterator[Kept]:
        def work(tx: Transaction, last: tuple[int, str]) -> list[tuple[Episode, Kept]]:
            held = held_of(tx, namespace)
            page = tx.episodes_after(held, last, up_to, _PAGE)
            keepings = {one.episode_id: one for one in tx.keepings(held, [one.id for one in page])}
            return [(one, Kept(keepings[one.id], one.archived_seq)) for one in page]

        pages = _paged(lambda last: self._store.read(lambda tx: work(tx, last)), _FIRST, lambda one: _place(one[0]))
        return (kept for _, kept in pages if not kept.plain)

    def audits(self, after: int, up_to: int) -> Iterator[Audit]:
        return _paged(
            lambda last: self._store.read(lambda tx: tx.audits_after(last, up_to, _SMALL_PAGE)),
            after,
            lambda one: one.seq,
        )

    def tombstones(self, after: int) -> Iterator[Tombstone]:
        for namespace in self._store.read(lambda tx: tx.buried_namespaces()):
            for kind in (Buried.EPISODE, Buried.FACT):
                yield from self._tombstones(namespace, kind, after)

    def _tombstones(self, namespace: str, kind: Buried, after: int) -> Iterator[Tombstone]:
        def page(last: str) -> list[Tombstone]:
            found = self._store.read(lambda tx: tx.tombstones_after(namespace, kind, last, after, _SMALL_PAGE))
            return [Tombstone(namespace, kind, digest, seq) for digest, seq in found]

        return _paged(page, "", lambda one: one.digest)

    # In

    def clear_blank(self, names: Iterable[str]) -> bool:
        allowed = set(names)

        def work(tx: Transaction) -> bool:
            last = tx.last_commit()
            if last is None:
                return True
            made = tx.stored_namespaces()
            # Whatever else was ever written was a commit too, but for a time to live.
            blank = last.seq == len(made) and all(one.name in allowed and one.lived is None for one in made)
            if blank:
                tx.clear()
            return blank

        return self._store.write(work)

    def put_commits(self, commits: Sequence[CommitTime]) -> None:
        self._store.write(lambda tx: tx.put_commits([Commit(one.seq, one.recorded_at) for one in commits]))

    def put_namespaces(self, namespaces: Sequence[StoredNamespace], up_to: int, *, whole: bool) -> Put:
        def work(tx: Transaction) -> Put:
            put, wanted = Put(), {one.name: one for one in namespaces}
            for present in tx.stored_namespaces():
                here = wanted.get(present.name)
                if (here is None and whole and present.made_seq <= up_to) or (
                    here is not None and present.made_seq < here.made_seq
                ):
                    going = held_of(tx, present.name)
                    if (migration := at_work(tx, going)) is not None:
                        put.dropped += [(space, present.name) for space in (migration.source, migration.target)]
                    tx.delete_namespace(going)
                    if present.space is not None:
                        put.dropped.append((present.space, present.name))
            for one in namespaces:
                if tx.held(one.name) is None:
                    tx.make_namespace(one.name, Commit(one.made_seq, one.created_at))
                    tx.set_time_to_live(held_of(tx, one.name), one.lived)
                held = held_of(tx, one.name)
                if held.key == one.made_seq and one.space is not None:
                    rows.check_space(one.name, held.space, one.space)
                    tx.set_space(held, one.space)
            return put

        return self._store.write(work)

    def put_audits(self, audits: Sequence[Audit]) -> None:
        def work(tx: Transaction) -> None:
            present = tx.audits_known([one.audit_id for one in audits])
            for one in audits:
                if one.audit_id not in present:
                    gone = Forgotten(one.episodes, one.concepts, one.facts, one.audit_id)
                    tx.audit(one.namespace, gone, Commit(one.seq, one.recorded_at))

        self._store.write(work)

    def put_tombstones(self, tombstones: Sequence[Tombstone], up_to: int) -> None:
        by_place: dict[tuple[str, int], list[Mark]] = {}
        for one in tombstones:
            by_place.setdefault((one.namespace, min(one.seq, up_to)), []).append((Buried(one.kind), one.digest))

        def work(tx: Transaction) -> None:
            for (namespace, seq), marked in sorted(by_place.items()):
                tx.bury(namespace, marked, seq)

        self._store.write(work)

    def replay_deletions(self) -> Put:
        names = [one.name for one in self._store.read(lambda tx: tx.stored_namespaces())]
        return Put(replayed=sum(self._deleted_again(name) for name in names))

    def _deleted_again(self, namespace: str) -> int:
        if not self._store.read(lambda tx: tx.any_buried(namespace)):
            return 0
        return self._store.write(lambda tx: _deleted_again(tx, held_of(tx, namespace)))

    def put_episodes(self, namespace: str, episodes: Sequence[StoredEpisode], *, bring_back: bool = False) -> Put:
        def work(tx: Transaction) -> Put:
            put, held = Put(), held_of(tx, namespace)
            here = {one.id: one.seq for one in tx.episodes(held, [one.episode.id for one in episodes])}
            marked = [[episode_mark(key) for key in (one.episode.id, *one.derived_from)] for one in episodes]
            buried = tx.buried(namespace, {mark for marks_of_it in marked for mark in marks_of_it})
            fresh = []
            for one, own in zip(episodes, marked, strict=True):
                if not bring_back and not buried.isdisjoint(own):
                    put.deleted += 1
                elif here.get(one.episode.id) == one.episode.seq:
                    put.duplicates += 1
                else:
                    fresh.append(one)
            replaced = [one.episode.id for one in fresh if one.episode.id in here]
            if replaced:
                tx.delete(held, tx.select(held, replaced, "", ""))
            if fresh:
                put.episodes = len(fresh)
                _write(tx, held_of(tx, namespace), fresh)
                tx.unbury(namespace, marks(tx.identities(held, [one.episode.id for one in fresh]), (), tx.secret()))
            return put

        return self._store.write(work)

    def put_facts(self, namespace: str, facts: Sequence[Fact], *, bring_back: bool = False) -> Put:
        def work(tx: Transaction) -> Put:
            put, held = Put(), held_of(tx, namespace)
            here = tx.fact_ids_taken([one.id for one in facts])
            buried = tx.buried(namespace, [fact_mark(one.id) for one in facts])
            told_by = {one.id for one in tx.episodes(held, sorted({one.episode_id for one in facts} - {""}))}
            fresh = []
            for one in facts:
                deleted = fact_mark(one.id) in buried and not bring_back
                if deleted or (one.episode_id and one.episode_id not in told_by):
                    put.deleted += 1
                elif one.id in here:
                    put.duplicates += 1
                else:
                    fresh.append(FreshFact(one.id, _as_told(one), Commit(one.seq, one.recorded_at)))
            if fresh:
                put.facts = len(fresh)
                tx.write_facts(held, fresh)
                tx.unbury(namespace, [fact_mark(one.id) for one in fresh])
            return put

        return self._store.write(work)

    def put_policies(self, namespace: str, policies: Sequence[RelationPolicy]) -> Put:
        def work(tx: Transaction) -> Put:
            held = held_of(tx, namespace)
            here = {(one.relation, one.seq) for one in tx.policies_after(held, 0, max(one.seq for one in policies))}
            fresh = [one for one in policies if (one.relation, one.seq) not in here]
            for one in fresh:
                tx.write_policy(held, one)
            return Put(policies=len(fresh), duplicates=len(policies) - len(fresh))

        return self._store.write(work) if policies else Put()

    def reset_kept(self, namespace: str, up_to: int) -> None:
        self._store.write(lambda tx: tx.reset_kept(held_of(tx, namespace), up_to))

    def put_kept(self, namespace: str, kept: Sequence[Kept]) -> None:
        self._store.write(lambda tx: _keep(tx, held_of(tx, namespace), kept))


def _paged(page_after: Callable[[_K], list[_T]], start: _K, place: Callable[[_T], _K]) -> Iterator[_T]:
    """Page by page, each in a transaction of its own: a caller that stops half-way holds nothing open."""
    after = start
    while page := page_after(after):
        yield from page
        after = place(page[-1])


def _place(episode: Episode) -> tuple[int, str]:
    return episode.seq, episode.id


def _write(tx: Transaction, held: Held, episodes: Sequence[StoredEpisode]) -> None:
    """Writes Episodes as they were, each with the number of its own commit."""
    spaces = {one.space for episode in episodes for one in episode.concepts} | ({held.space} if held.space else set())
    if len(spaces) != 1:
        raise rows.bad_backup(held.name, f"its Concepts are in {len(spaces)} vector spaces")
    (space,) = spaces
    packed = rows.pack(space, [_as_perceived(one) for one in episodes])
    fresh = [
        rows.FreshEpisode(
            one.episode.id,
            one.ordinal,
            own,
            tuple(concept.concept.id for concept in one.concepts),
            (one.episode.seq, one.episode.recorded_at),
        )
        for one, own in zip(episodes, packed, strict=True)
    ]
    last = episodes[-1].episode
    tx.write_episodes(held, space, fresh, Commit(last.seq, last.recorded_at))
    derived = [(one.episode.id, source) for one in episodes for source in one.derived_from]
    if derived:
        there = {one.id for one in tx.episodes(held, sorted({source for _, source in derived}))}
        tx.link(held, [(episode_id, source) for episode_id, source in derived if source in there])
    _keep(tx, held, [Kept(one.keeping, one.episode.archived_seq) for one in episodes])


def _as_perceived(stored: StoredEpisode) -> PerceivedEpisode:
    one = stored.episode
    return PerceivedEpisode(
        source=one.source,
        text=one.text,
        told_at=one.told_at,
        concepts=tuple(PerceivedConcept(c.concept.span, c.vector, c.terms) for c in stored.concepts),
        conversation=one.conversation,
        position=one.position,
        speaker=one.speaker,
        external_id=one.external_id,
        id=one.id,
    )


def _as_told(fact: Fact) -> NewFact:
    target = fact.object
    return NewFact(
        subject=fact.subject.name,
        relation=fact.relation,
        valid=fact.valid,
        told_at=fact.told_at,
        entity=target.name if isinstance(target, Entity) else None,
        literal=None if isinstance(target, Entity) else target,
        retracted=fact.retracted,
        episode_id=fact.episode_id,
        trust=fact.trust,
        id=fact.id,
        rule=fact.rule,
    )


def _keep(tx: Transaction, held: Held, kept: Sequence[Kept]) -> None:
    """Sets how plain Episodes are kept."""
    archived: dict[int, list[str]] = {}
    holds: dict[str, list[str]] = {}
    ends: dict[tuple[int | None, Expiry], list[str]] = {}
    uses: dict[str, tuple[int, int]] = {}
    for one in kept:
        keeping, key = one.keeping, one.keeping.episode_id
        if one.archived_seq:
            archived.setdefault(one.archived_seq, []).append(key)
        for hold in keeping.holds:
            holds.setdefault(hold, []).append(key)
        end = (keeping.expires_at, keeping.expiry)
        if end != (None, Expiry.ARCHIVE):
            ends.setdefault(end, []).append(key)
        if keeping.used_at is not None:
            uses[key] = (keeping.uses, keeping.used_at)
    for seq, ids in archived.items():
        tx.set_archived(held, ids, seq)
    for hold, ids in holds.items():
        tx.set_hold(held, ids, hold, False)
    for (at, expiry), ids in ends.items():
        tx.set_expiry(held, ids, at, expiry)
    if uses:
        tx.add_uses(held, uses)


def _deleted_again(tx: Transaction, held: Held) -> int:
    """Deletes what has a tombstone and is there; a hold of before the deletion does not keep it."""
    present = {episode_mark(one): one for one, _ in tx.identities(held, None)}
    facts = {fact_mark(one): one for one in tx.fact_ids(held)}
    buried = tx.buried(held.name, [*present, *facts])
    told = sorted(present[one] for one in present if one in buried)
    going = tx.select(held, told, "", "") if told else Going((), (), ())
    for kept in tx.keepings(held, going.episodes):
        for hold in kept.holds:
            tx.set_hold(held, [kept.episode_id], hold, True)
    gone = {*going.facts, *(facts[one] for one in facts if one in buried)}
    if going.episodes or gone:
        tx.delete(held, Going(going.episodes, going.concepts, tuple(sorted(gone))))
    return len(going.episodes) + len(gone)
