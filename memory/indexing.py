"""Keeps the index equal to the record: drains the outbox, and mends what differs after a crash.

The record is the truth. Every write of it leaves an entry in its outbox, in the same transaction; `drain` takes
entries to the index in the order of commits and drops them only when the index has them durably. Killed anywhere in
between, the next start does the last entries again, which changes nothing: index writes are idempotent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from core.nouns import IndexPoint, OutboxEntry, StoredConcept
from core.ports import Index, Record

BATCH = 1024


@dataclass(frozen=True, slots=True)
class Divergence:
    """How an index differed from its record, before it was mended."""

    missing: int
    foreign: int


class Indexer:
    """Moves changes from a record to an index. Not thread-safe: one thread at a time calls it."""

    def __init__(self, record: Record, index: Index) -> None:
        self._record = record
        self._index = index

    def drain(self, entries: int = 64) -> int | None:
        """Takes up to so many outbox entries; returns the seq the index is at, or None when the outbox was empty.

        It ends earlier with the entry that makes it `BATCH` Concepts: then others may have the processor.
        """
        pending = self._record.outbox(entries)
        if not pending:
            return None
        so_far = list(accumulate(len(entry.concept_ids) for entry in pending))
        pending = pending[: bisect_left(so_far, BATCH) + 1]
        run: list[OutboxEntry] = []
        for entry in pending:
            # Neighbouring writes of one namespace go in one batch; a deletion keeps its place between them.
            if run and (entry.deleted or (entry.namespace, entry.space) != (run[0].namespace, run[0].space)):
                self._write(run)
                run = []
            if entry.deleted:
                self._delete(entry)
            else:
                run.append(entry)
        if run:
            self._write(run)
        self._record.outbox_done(pending[-1].position)
        return pending[-1].seq

    def reconcile(self, namespace: str, *, thorough: bool = False) -> Divergence:
        """Makes a namespace's index equal to the record, with no encoder. The outbox has to be drained before.

        Compares counts first and ids where counts differ, or always if `thorough`.
        """
        space = self._record.space_of(namespace)
        if space is None:
            return Divergence(0, 0)
        held = self._record.counts(namespace)
        if not thorough and self._index.count(space, namespace) == held.concepts - held.archived_concepts:
            return Divergence(0, 0)
        wanted = set(self._record.concept_ids(namespace))
        present = set(self._index.ids(space, namespace))
        foreign = sorted(present - wanted)
        missing = sorted(wanted - present)
        if foreign:
            self._index.delete(space, namespace, foreign)
        for start in range(0, len(missing), BATCH):
            self.write(namespace, missing[start : start + BATCH])
        return Divergence(len(missing), len(foreign))

    def write(self, namespace: str, concept_ids: Sequence[str]) -> None:
        """Writes the points of Concepts from the record; what is no longer in it, or archived, is left out.

        They go into the space that their vectors are in as they are read: a migration may have changed it since.
        """
        # A namespace deleted since has its own entry further down the outbox.
        if namespace in {known.name for known in self._record.namespaces()}:
            self._upsert(namespace, self._record.concepts(namespace, concept_ids))

    def write_staged(self, namespace: str, migration_id: str, concept_ids: Sequence[str]) -> None:
        """The same of the second vectors that a migration made, into the index of its target space."""
        self._upsert(namespace, self._record.staged(namespace, migration_id, concept_ids))

    def _write(self, run: Sequence[OutboxEntry]) -> None:
        ids = list(dict.fromkeys(concept for entry in run for concept in entry.concept_ids))
        for start in range(0, len(ids), BATCH):
            self.write(run[0].namespace, ids[start : start + BATCH])

    def _delete(self, entry: OutboxEntry) -> None:
        if entry.concept_ids:
            # A migration builds an index of its target space beside the one that the entry names.
            for space in dict.fromkeys((entry.space, *self._record.spaces_in_use(entry.namespace))):
                self._index.delete(space, entry.namespace, entry.concept_ids)
        else:
            self._index.drop_namespace(entry.space, entry.namespace)

    def _upsert(self, namespace: str, stored: Mapping[str, StoredConcept]) -> None:
        if points := self._points(namespace, stored):
            self._index.upsert(next(iter(stored.values())).space, points)

    def _points(self, namespace: str, stored: Mapping[str, StoredConcept]) -> list[IndexPoint]:
        # A Concept forgotten or archived since has its own entry further down the outbox.
        episodes = self._record.episodes(namespace, sorted({one.concept.episode_id for one in stored.values()}))
        points = []
        for one in stored.values():
            episode = episodes.get(one.concept.episode_id)
            if episode is None or episode.archived_seq:
                continue
            points.append(
                IndexPoint(
                    concept_id=one.concept.id,
                    episode_id=episode.id,
                    namespace=namespace,
                    vector=one.vector,
                    terms=one.terms,
                    told_at=episode.told_at,
                    seq=episode.seq,
                    kind=episode.source.kind,
                    speaker=episode.speaker,
                    conversation=episode.conversation,
                )
            )
        return points
