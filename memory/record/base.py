"""The record's rules, once for both backends: what each call of `core.ports.Record` reads and writes, in which order.

A backend brings a `Store` with the small steps of `Transaction`. All that could make two backends differ is decided
here or in `rows`: the numbering of commits, duplicates, retries, what a deletion takes, which error comes first. How
long Episodes are kept is in `keeping`, and how Dreams change them in `dreams`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager

from core.ids import entity_id
from core.nouns import (
    AsOf,
    ConceptColumns,
    Contradiction,
    Episode,
    EpisodeFilter,
    Fact,
    Forgotten,
    Namespace,
    NewFact,
    OutboxEntry,
    PerceivedEpisode,
    RecordCounts,
    RelationPolicy,
    Remembered,
    Space,
    StoredConcept,
    TermStatistics,
)
from core.windows import Windows
from memory.record import burying, rows
from memory.record.correcting import CorrectingRecord
from memory.record.derived import link_sources, select_with_derived
from memory.record.dreams import DreamingRecord
from memory.record.entities import EntityRules
from memory.record.keeping import check_holds
from memory.record.merging import NOTHING_MERGED, around_read, facts_read
from memory.record.migrating import MigratingRecord, at_work
from memory.record.moving import MovingRecord
from memory.record.numbering import held_of as _held
from memory.record.numbering import stored_answer as _stored
from memory.record.transaction import Commit, FreshFact, Going, Held, Transaction

_EPISODE_PAGE = 256
_ID_PAGE = 4096


class TransactionalRecord(DreamingRecord, EntityRules, MovingRecord, CorrectingRecord, MigratingRecord):
    """`core.ports.Record` over a `Store`; each method does what the port says, which is not said again here.

    Beyond the port: an Episode or a Fact that brings the id of another one raises AlreadyExists (EPISODE_ID_TAKEN,
    FACT_ID_TAKEN); a Fact brought twice is there once. The position of an outbox entry is the seq of its commit, which
    makes at most one.
    """

    def create_namespace(self, name: str) -> Namespace:
        rows.check_text(name, "namespace")

        def work(tx: Transaction) -> Namespace:
            if tx.held(name) is not None:
                raise rows.namespace_exists(name)
            commit = self._commit(tx)
            tx.make_namespace(name, commit)
            return Namespace(name, commit.recorded_at)

        return self._store.write(work)

    def namespaces(self) -> list[Namespace]:
        return self._store.read(lambda tx: tx.namespaces())

    def delete_namespace(self, name: str) -> int:
        def work(tx: Transaction) -> int:
            held = _held(tx, name)
            check_holds(tx, held, None, "deleted")
            facts, migration = tx.counts(held).facts, at_work(tx, held)
            commit = self._commit(tx)
            burying.bury_all(tx, held, commit)
            tx.delete_namespace(held)
            tx.audit(name, Forgotten(held.episodes, held.concepts, facts, self._ids.new()), commit)
            if held.space is not None:
                tx.outbox_add(OutboxEntry(commit.seq, name, held.space, (), deleted=True, seq=commit.seq))
            if migration is not None:  # its index is there beside the other one, and an entry is of one space
                seq = self._commit(tx).seq
                left = migration.target if migration.target != held.space else migration.source
                tx.outbox_add(OutboxEntry(seq, name, left, (), deleted=True, seq=seq))
            return held.episodes

        episodes = self._store.write(work)
        self._store.scrub()
        return episodes

    def remember(
        self,
        namespace: str,
        space: Space,
        episodes: Sequence[PerceivedEpisode],
        request_id: str = "",
        *,
        bring_back: bool = True,
    ) -> list[Remembered]:
        with self._after_namespace(namespace):
            batch = rows.pack(space, episodes)  # outside of the transaction: writers wait for one another
            asked = rows.remember_digest(episodes) if request_id else ""

        def work(tx: Transaction) -> list[Remembered]:
            held = _held(tx, namespace)
            stored = _stored(tx, held, request_id, "remember", asked)
            if stored is not None:
                return rows.remembered_from(stored)
            rows.check_space(namespace, held.space, space)
            commit = self._next_commit(tx)
            known = tx.known(held, [one.identity for one in batch])
            deleted = burying.deleted_before(tx, held, batch)
            fresh, answer = rows.sort_out(batch, known, commit.seq, self._ids.new, deleted, bring_back)
            if fresh:
                taken = tx.taken([one.id for one in fresh if one.packed.told.id])
                if taken:
                    raise rows.episode_id_taken(taken)
                tx.commit(commit)
                tx.write_episodes(held, space, fresh, commit)
                if deleted:
                    burying.bring_back(tx, held, fresh)
                link_sources(tx, held, fresh)
                concept_ids = tuple(one for episode in fresh for one in episode.concept_ids)
                if concept_ids:
                    tx.outbox_add(OutboxEntry(commit.seq, namespace, space, concept_ids, False, commit.seq))
            if request_id:
                response = rows.remembered_json(answer)
                tx.store_answer(held, request_id, "remember", asked, response, commit.recorded_at)
            return answer

        return self._store.write(work)

    def known(self, namespace: str, episodes: Sequence[PerceivedEpisode]) -> list[Remembered | None]:
        identities = [rows.identity(episode) for episode in episodes]
        found = self._store.read(lambda tx: tx.known(_held(tx, namespace), identities))
        return [Remembered(*found[one], duplicate=True) if one in found else None for one in identities]

    def space_of(self, namespace: str) -> Space | None:
        """Set by the first Episode, and kept when all are forgotten."""
        return self._store.read(lambda tx: _held(tx, namespace).space)

    def episodes(self, namespace: str, ids: Sequence[str]) -> dict[str, Episode]:
        found = self._store.read(lambda tx: tx.episodes(_held(tx, namespace), ids))
        return {episode.id: episode for episode in found}

    def snapshot(self) -> AbstractContextManager[None]:
        return self._store.snapshot()

    def window(self, namespace: str, episode_ids: Sequence[str], radius: int) -> Windows:
        """Episodes of one commit at one position are in the order of their batch."""
        return self._store.read(lambda tx: tx.window(_held(tx, namespace), episode_ids, radius))

    def concepts(self, namespace: str, ids: Sequence[str]) -> dict[str, StoredConcept]:
        found = self._store.read(lambda tx: tx.concepts(_held(tx, namespace), ids))
        return {one.concept.id: one for one in found}

    def concepts_of(self, namespace: str, episode_ids: Sequence[str]) -> dict[str, list[StoredConcept]]:
        def work(tx: Transaction) -> dict[str, list[StoredConcept]]:
            held = _held(tx, namespace)
            found = tx.episodes(held, episode_ids)
            return _by_episode(found, tx.concepts_of(held, [episode.id for episode in found]))

        return self._store.read(work)

    def columns_of(self, namespace: str, episode_ids: Sequence[str]) -> ConceptColumns:
        return self._store.read(lambda tx: tx.columns_of(_held(tx, namespace), episode_ids))

    def speakers(self, namespace: str) -> dict[str, int]:
        """By name."""
        return self._store.read(lambda tx: tx.speakers(_held(tx, namespace)))

    def term_statistics(self, namespace: str, terms: Sequence[int]) -> TermStatistics:
        def work(tx: Transaction) -> TermStatistics:
            held = _held(tx, namespace)
            frequency = tx.document_frequency(held, [int(term) for term in terms])
            return TermStatistics(held.concepts - held.dreamt, frequency)

        return self._store.read(work)

    def assert_fact(self, namespace: str, fact: NewFact, request_id: str = "") -> Fact:
        with self._after_namespace(namespace):
            rows.check_fact(fact)
        asked = rows.fact_digest(fact) if request_id else ""

        def work(tx: Transaction) -> Fact:
            held = _held(tx, namespace)
            stored = _stored(tx, held, request_id, "assert_fact", asked)
            if stored is not None:
                return _fact(tx, held, stored)
            (written,) = self._assert(tx, held, [fact], self._next_commit(tx))
            if request_id:
                tx.store_answer(held, request_id, "assert_fact", asked, written.id, written.recorded_at)
            return written

        return self._store.write(work)

    def assert_facts(
        self, namespace: str, facts: Sequence[NewFact], *, unless_deleted: Collection[str] = ()
    ) -> list[Fact]:
        with self._after_namespace(namespace):
            for fact in facts:
                rows.check_fact(fact)

        def work(tx: Transaction) -> list[Fact]:
            held = _held(tx, namespace)
            burying.check_not_deleted(tx, held, unless_deleted)
            return self._assert(tx, held, facts, self._next_commit(tx))

        return self._store.write(work)

    def retract_fact(
        self, namespace: str, fact_id: str, start: int | None, told_at: int | None, request_id: str = ""
    ) -> Fact:
        """`told_at` None means now."""
        asked = rows.digest(fact_id, start, told_at)

        def work(tx: Transaction) -> Fact:
            held = _held(tx, namespace)
            stored = _stored(tx, held, request_id, "retract_fact", asked)
            if stored is not None:
                return _fact(tx, held, stored)
            commit = self._next_commit(tx)
            at = commit.recorded_at if told_at is None else told_at
            retraction = rows.retraction(_fact(tx, held, fact_id), start, at)
            (written,) = self._assert(tx, held, [retraction], commit)
            if request_id:
                tx.store_answer(held, request_id, "retract_fact", asked, written.id, written.recorded_at)
            return written

        return self._store.write(work)

    def facts(
        self,
        namespace: str,
        entity: str | None = None,
        relation: str = "",
        as_of: AsOf = AsOf(),
        contended: Collection[str] = (),
        *,
        merged: bool = True,
    ) -> list[Fact]:
        def work(tx: Transaction) -> list[Fact]:
            held = _held(tx, namespace)
            whole = self._whole(tx, held, as_of) if merged else NOTHING_MERGED
            return facts_read(tx, held, whole, entity, relation, as_of, contended)

        return self._store.read(work)

    def around(
        self, namespace: str, entity: str, as_of: AsOf, contended: Collection[str] = (), limit: int = 1000
    ) -> list[Fact]:
        def work(tx: Transaction) -> list[Fact]:
            held = _held(tx, namespace)
            return around_read(tx, held, self._whole(tx, held, as_of), entity, as_of, contended, limit)

        return self._store.read(work)

    def set_policy(self, namespace: str, relation: str, policy: Contradiction, request_id: str = "") -> RelationPolicy:
        with self._after_namespace(namespace):
            rows.check_text(relation, "relation")
        asked = rows.digest(relation, int(policy))

        def work(tx: Transaction) -> RelationPolicy:
            held = _held(tx, namespace)
            stored = _stored(tx, held, request_id, "set_policy", asked)
            if stored is not None:
                return rows.policy_from_json(stored)
            commit = self._next_commit(tx)
            present = {one.relation: one for one in tx.policies(held, commit.seq)}.get(relation)
            if present is None or present.policy is not policy:
                present = RelationPolicy(relation, policy, commit.recorded_at, commit.seq)
                tx.commit(commit)
                tx.write_policy(held, present)
            if request_id:
                response = rows.policy_json(present)
                tx.store_answer(held, request_id, "set_policy", asked, response, commit.recorded_at)
            return present

        return self._store.write(work)

    def policies(self, namespace: str, as_of: AsOf = AsOf()) -> list[RelationPolicy]:
        found = self._store.read(lambda tx: tx.policies(_held(tx, namespace), as_of.seq))
        return sorted(found, key=lambda one: one.relation)

    def timeline(
        self, namespace: str, where: EpisodeFilter, as_of: AsOf, limit: int, after: tuple[int, str] | None = None
    ) -> list[Episode]:
        return self._store.read(lambda tx: tx.timeline(_held(tx, namespace), where, as_of, limit, after))

    def forget(
        self,
        namespace: str,
        *,
        episode_ids: Sequence[str] = (),
        speaker: str = "",
        conversation: str = "",
        dry_run: bool = False,
        request_id: str = "",
    ) -> Forgotten:
        """Takes with a statement's last assertion its bare retractions, and with an Entity's last Fact the Entity.

        A dry run leaves nothing, and neither reads nor keeps the request_id.
        """
        with self._after_namespace(namespace):
            rows.check_selectors(episode_ids, speaker, conversation)
        asked = rows.digest(list(episode_ids), speaker, conversation)

        def select(tx: Transaction) -> tuple[Held, Going, Forgotten]:
            held = _held(tx, namespace)
            going = select_with_derived(tx, held, episode_ids, speaker, conversation)
            check_holds(tx, held, going.episodes, "deleted")
            return held, going, Forgotten(len(going.episodes), len(going.concepts), len(going.facts))

        def work(tx: Transaction) -> Forgotten:
            stored = _stored(tx, _held(tx, namespace), request_id, "forget", asked)
            if stored is not None:
                return rows.forgotten_from(stored)
            held, going, counted = select(tx)
            gone = Forgotten(counted.episodes, counted.concepts, counted.facts, self._ids.new())
            commit = self._commit(tx)
            burying.bury(tx, held, going, commit)
            tx.delete(held, going)
            tx.audit(namespace, gone, commit)
            if going.concepts and held.space is not None:
                tx.outbox_add(OutboxEntry(commit.seq, namespace, held.space, going.concepts, True, commit.seq))
            if request_id:
                response = rows.forgotten_json(gone)
                tx.store_answer(held, request_id, "forget", asked, response, commit.recorded_at)
            return gone

        if dry_run:
            return self._store.read(select)[2]
        gone = self._store.write(work)
        self._store.scrub()
        return gone

    def export_episodes(self, namespace: str, up_to_seq: int = 0) -> Iterator[tuple[Episode, list[StoredConcept]]]:
        """Leaves out what is committed after the call, and what is forgotten before its turn comes."""
        last = self._store.read(lambda tx: (_held(tx, namespace), _seq(tx))[1])
        return self._export(namespace, min(up_to_seq, last) if up_to_seq else last)

    def concept_ids(self, namespace: str) -> Iterator[str]:
        self._check_namespace(namespace)
        return self._concept_ids(namespace)

    def outbox(self, limit: int) -> list[OutboxEntry]:
        return self._store.read(lambda tx: tx.outbox(limit))

    def outbox_done(self, position: int) -> None:
        self._store.write(lambda tx: tx.outbox_done(position))

    def seq(self) -> int:
        return self._store.read(_seq)

    def seq_at(self, recorded_by: int) -> int:
        return self._store.read(lambda tx: tx.seq_at(recorded_by))

    def counts(self, namespace: str | None = None) -> RecordCounts:
        """`seq` is the last commit of the store in both cases."""
        return self._store.read(lambda tx: tx.counts(None if namespace is None else _held(tx, namespace)))

    def close(self) -> None:
        self._store.close()

    def _assert(self, tx: Transaction, held: Held, facts: Sequence[NewFact], commit: Commit) -> list[Fact]:
        """Writes those that are not there yet, each with a commit of its own, in order from the one given."""
        seen = tx.fact_ids_taken([fact.id for fact in facts if fact.id])
        ids, fresh = [], []
        for fact in facts:
            ids.append(fact.id or self._ids.new())
            if ids[-1] not in seen:
                seen.add(ids[-1])
                fresh.append(FreshFact(ids[-1], fact, commit))
                commit = Commit(commit.seq + 1, commit.recorded_at + 1)
        witnesses = {one.told.episode_id for one in fresh} - {""}
        missing = witnesses - {episode.id for episode in tx.episodes(held, sorted(witnesses))}
        if missing:
            raise rows.episode_not_found(held.name, min(missing))
        kept: dict[str, Fact] = {}
        if fresh:
            tx.commit(*(one.commit for one in fresh))
            entities = tx.write_facts(held, fresh)
            burying.bring_facts_back(tx, held, [one.told.id for one in fresh])
            kept = {
                one.id: rows.fact_made(one.id, one.told, one.commit.recorded_at, one.commit.seq, entities)
                for one in fresh
            }
        there = [one for one in ids if one not in kept]
        if there:
            kept |= {fact.id: fact for fact in tx.facts_by_id(held, there)}
        for fact in facts:
            if fact.id and not (
                fact.id in kept and rows.same_fact(kept[fact.id], fact, lambda name: entity_id(held.name, name))
            ):
                raise rows.fact_id_taken(fact.id)  # of another namespace, or of another statement
        return [kept[one] for one in ids]

    def _export(self, namespace: str, up_to_seq: int) -> Iterator[tuple[Episode, list[StoredConcept]]]:
        # Page by page, each in a transaction of its own: a caller that stops half-way holds nothing open.
        def page_after(after: tuple[int, str]) -> list[tuple[Episode, list[StoredConcept]]]:
            def work(tx: Transaction) -> list[tuple[Episode, list[StoredConcept]]]:
                held = _held(tx, namespace)
                page = tx.episodes_after(held, after, up_to_seq, _EPISODE_PAGE)
                concepts = _by_episode(page, tx.concepts_of(held, [episode.id for episode in page]))
                return [(episode, concepts[episode.id]) for episode in page]

            return self._store.read(work)

        after = (0, "")
        while page := page_after(after):
            yield from page
            after = (page[-1][0].seq, page[-1][0].id)

    def _concept_ids(self, namespace: str) -> Iterator[str]:
        def page_after(after: str) -> list[str]:
            return self._store.read(lambda tx: tx.concept_ids_after(_held(tx, namespace), after, _ID_PAGE))

        after = ""
        while page := page_after(after):
            yield from page
            after = page[-1]


def _seq(tx: Transaction) -> int:
    last = tx.last_commit()
    return 0 if last is None else last.seq


def _fact(tx: Transaction, held: Held, fact_id: str) -> Fact:
    found = tx.facts_by_id(held, [fact_id])
    if not found:
        raise rows.fact_not_found(held.name, fact_id)
    return found[0]


def _by_episode(episodes: Sequence[Episode], concepts: Sequence[StoredConcept]) -> dict[str, list[StoredConcept]]:
    grouped: dict[str, list[StoredConcept]] = {episode.id: [] for episode in episodes}
    for one in concepts:
        grouped[one.concept.episode_id].append(one)
    return grouped
