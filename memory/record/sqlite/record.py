"""The record in one SQLite file: the default, for one machine.

What it promises: when a write returns, its transaction is in the write-ahead log and the log has been synced to the
disk (`synchronous = FULL`), so neither a kill -9 nor a power cut takes it back, as far as the disk keeps its word. A
write that did not return is there whole or not at all. Every read sees one snapshot, and never waits for a write.

Several processes may open one file; writers take turns. The rules are in `base`; here is what they are in SQL.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from core.clock import Clock
from core.ids import Ids
from memory.record.base import TransactionalRecord
from memory.record.sqlite.commits import Commits
from memory.record.sqlite.deleting import Deleting
from memory.record.sqlite.dreams import Dreams
from memory.record.sqlite.entities import Entities
from memory.record.sqlite.file import SqliteFile
from memory.record.sqlite.keeping import KeptEpisodes
from memory.record.sqlite.migrations import Migrations
from memory.record.sqlite.moving import Moving
from memory.record.sqlite.schema import APPLICATION_ID, MIGRATIONS
from memory.record.sqlite.tombstones import Tombstones
from memory.record.transaction import Held, Transaction

_T = TypeVar("_T")


class SqliteRecord(TransactionalRecord):
    """A `core.ports.Record` over one file. Safe for many threads; close it to let go of the file."""

    backend = "sqlite"

    def __init__(self, path: Path, clock: Clock, ids: Ids) -> None:
        """Opens the file, or makes it, and brings its tables up to date. Raises FailedPrecondition, Unavailable."""
        super().__init__(_SqliteStore(path), clock, ids)


class _SqliteStore:
    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, APPLICATION_ID, MIGRATIONS)
        self._of_thread = _OfThread()

    def read(self, work: Callable[[Transaction], _T]) -> _T:
        if self._of_thread.snapshot is not None:
            return work(self._of_thread.snapshot)
        with self._file.reading() as db:
            return work(_SqliteTransaction(db))

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        if self._of_thread.snapshot is not None:
            yield
            return
        with self._file.reading() as db:
            self._of_thread.snapshot = _Snapshot(db)
            try:
                yield
            finally:
                self._of_thread.snapshot = None

    def write(self, work: Callable[[Transaction], _T]) -> _T:
        with self._file.writing() as db:
            return work(_SqliteTransaction(db))

    def scrub(self) -> None:
        self._file.checkpoint()

    def close(self) -> None:
        self._file.close()


class _SqliteTransaction(Commits, Entities, KeptEpisodes, Deleting, Tombstones, Moving, Dreams, Migrations):
    """`Transaction` in SQL. Rows name one another by integer keys, which do not leave this class."""


class _Snapshot(_SqliteTransaction):
    """Several reads that see the same commits: what nearly each of them asks for is read once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._held: dict[str, Held | None] = {}
        self._speakers: dict[int, dict[str, int]] = {}

    def held(self, name: str) -> Held | None:
        if name not in self._held:
            self._held[name] = super().held(name)
        return self._held[name]

    def speakers(self, held: Held) -> dict[str, int]:
        if held.key not in self._speakers:
            self._speakers[held.key] = super().speakers(held)
        return self._speakers[held.key]


class _OfThread(threading.local):
    snapshot: _Snapshot | None = None
