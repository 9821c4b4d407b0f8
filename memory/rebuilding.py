"""The index compared with the record, mended, or written again; piece by piece, so that other work goes on in between.

Every piece runs on the thread that writes to the index, as the outbox does (`services.memory.drainer`): nothing changes
the index within one. Between two pieces the outbox may be drained, and that is all right: a piece reads from the record
what it writes, so it never brings back what was deleted meanwhile, and what it finds done already it does again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.nouns import Space
from core.ports import Index, Record
from memory.indexing import BATCH, Indexer


@dataclass(frozen=True, slots=True)
class Compared:
    """How an index differs from its record: Concept ids that it lacks, and those that have no place in it."""

    space: Space
    concepts: int
    """Concepts that the index should hold."""
    missing: tuple[str, ...]
    foreign: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rebuild has come."""

    concepts: int = 0
    written: int = 0
    missing: int = 0
    foreign: int = 0


def compare(record: Record, index: Index, namespace: str) -> Compared | None:
    """By ids; None where the namespace has no vectors."""
    space = record.space_of(namespace)
    if space is None:
        return None
    wanted = set(record.concept_ids(namespace))
    present = set(index.ids(space, namespace))
    return Compared(space, len(wanted), tuple(sorted(wanted - present)), tuple(sorted(present - wanted)))


class Rebuild:
    """One namespace's index. `steps` says what it is made of; each has to be carried out by the index's thread."""

    def __init__(self, record: Record, index: Index, namespace: str, *, rewrite: bool, check: bool = False) -> None:
        """`rewrite` writes every point again, `check` writes none; else those that are missing are written."""
        self._record = record
        self._index = index
        self._indexer = Indexer(record, index)
        self._namespace = namespace
        self._rewrite = rewrite
        self._check = check
        self._compared: Compared | None = None
        self._left: Iterator[Sequence[str]] = iter(())
        self._begun = False
        self.progress = Progress()

    def step(self) -> bool:
        """Does the next piece of work; False when there is none left."""
        if not self._begun:
            self._begun = True
            return self._compare()
        batch = next(self._left, None)
        if batch is None or self._compared is None:
            return False
        self._indexer.write(self._namespace, batch)
        self.progress = replace(self.progress, written=self.progress.written + len(batch))
        return True

    def _compare(self) -> bool:
        found = self._compared = compare(self._record, self._index, self._namespace)
        if found is None:
            return False
        self.progress = Progress(found.concepts, 0, len(found.missing), len(found.foreign))
        if self._check:
            return False
        if found.foreign:
            self._index.delete(found.space, self._namespace, found.foreign)
        wanted = tuple(self._record.concept_ids(self._namespace)) if self._rewrite else found.missing
        self._left = (wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH))
        return True
