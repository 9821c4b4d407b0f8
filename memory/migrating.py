"""A namespace encoded anew, piece by piece: what a page holds, what the new index still lacks, and what it will cost.

Everything here reads and writes a record and an index; the encoder is somebody else's, since it may be far away. What
writes to the index has to be called on the thread that does (`services.memory.drainer`): so nothing is taken from the
outbox to the index between the last look at the new index and the switch, and what was forgotten, archived or thawed by
then is in both or still in the outbox, which goes to the space that serves.

Only words are encoded again: a Concept whose vector a caller brought, of an image say, gets the vector of its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from core.migrations import Migration, MigrationState
from core.ports import Index, Record
from memory.indexing import BATCH, Indexer

PAGE = 64
"""Episodes of a page. A kill costs a page; a write waits for one page to be written at most."""
SAMPLE = 128
"""Concepts that the cost is judged by."""
CLEANED = 1024
"""Concepts of a page whose vectors that count no more are removed."""


@dataclass(frozen=True, slots=True)
class Page:
    """Episodes that a migration comes to next, by the last of them, and the words of their Concepts, by id."""

    through: tuple[int, str]
    words: dict[str, str]
    """Of those that have no second vector yet."""
    ids: tuple[str, ...]
    """Every Concept of these Episodes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a migration takes, as far as a sample tells."""

    concepts: int
    text_bytes: int
    """UTF-8 bytes of all Concepts: so many of them as long as those of the sample are."""
    seconds: float
    """For encoding, at the rate that was measured."""
    vector_bytes: int
    """Of the new vectors, once."""
    disk_bytes: int
    """More than now, while both spaces are there: the new vectors in the record and in the index."""


def next_page(record: Record, migration: Migration) -> Page | None:
    """What comes after `migration.through`; None where nothing does."""
    found = record.episodes_after(migration.namespace, migration.through, PAGE)
    if not found:
        return None
    words = {one.concept.id: one.concept.span.text for _, concepts in found for one in concepts}
    there = record.staged(migration.namespace, migration.id, list(words))
    last = found[-1][0]
    lacking = {key: text for key, text in words.items() if key not in there}
    return Page((last.seq, last.id), lacking, tuple(words))


def sample(record: Record, namespace: str) -> list[str]:
    """Words of some Concepts. Their ids are digests, and so the first by id are any."""
    ids = list(islice(record.concept_ids(namespace), SAMPLE))
    return [one.concept.span.text for one in record.concepts(namespace, ids).values()]


def cost(concepts: int, sampled: list[str], seconds: float, dimensions: int) -> Cost:
    """The cost of so many Concepts, of which some were encoded in so many seconds."""
    share = concepts / len(sampled) if sampled else 0.0
    vectors = concepts * dimensions * 4
    return Cost(
        concepts, round(share * sum(len(text.encode()) for text in sampled)), share * seconds, vectors, 2 * vectors
    )


class NewIndex:
    """The index of a migration's target space, built beside the one that serves. One thread at a time calls it."""

    def __init__(self, record: Record, index: Index) -> None:
        self._record = record
        self._index = index
        self._indexer = Indexer(record, index)

    def write(self, migration: Migration, ids: tuple[str, ...]) -> None:
        """Adds the points of Concepts that have second vectors; those of archived Episodes are left out."""
        self._indexer.write_staged(migration.namespace, migration.id, ids)

    def settle(self, migration: Migration) -> Migration:
        """Mends what the new index lacks or has too much, a batch of it; where it is equal to the record, switches.

        The migration as it is then: still ENCODING where there is more to do.
        """
        namespace, target = migration.namespace, migration.target
        if self._record.migration(namespace, migration.id).state is not MigrationState.ENCODING:
            return self._record.migration(namespace, migration.id)
        wanted = set(self._record.concept_ids(namespace))
        present = set(self._index.ids(target, namespace))
        if foreign := sorted(present - wanted):
            self._index.delete(target, namespace, foreign)
        if missing := sorted(wanted - present):
            self.write(migration, tuple(missing[:BATCH]))
            return self._record.migration(namespace, migration.id)
        return self._record.switch_space(namespace, migration.id)

    def warm(self, migration: Migration) -> None:
        """Makes ready what searches of the new space use. May take long."""
        self._index.warm(migration.target, migration.namespace)

    def tidy(self, migration: Migration) -> None:
        """Frees what the space that was left took on disk, where that is due. May take long."""
        succeeded = migration.state is MigrationState.SUCCEEDED
        self._index.optimize(migration.source if succeeded else migration.target)

    def drop(self, migration: Migration) -> None:
        """Takes the namespace out of the index of the target space."""
        self._index.drop_namespace(migration.target, migration.namespace)
