"""One SQLite file: one writer, many readers, migrations, and errors that say how to mend them.

Knows nothing of Episodes. In WAL mode readers see the last commit and never wait for the writer; writers wait for one
another on a lock here and, between processes, on SQLite's own. Read connections are kept in a pool that grows to the
number of reads that ever ran at once.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from core.errors import FailedPrecondition, SapienceError, Unavailable

BUSY_TIMEOUT_S = 10.0
"""How long a statement waits for a lock that another process holds."""

_CHECKPOINT_PAGES = 4096
_MAPPED_BYTES = 1 << 36  # of address space, not of memory; SQLite takes 2 GB of it at most, as it is usually built
_CHECKPOINT_WAIT_MS = 250  # for readers of other processes; what they hold back leaves the log at a later checkpoint


def before_migration(path: Path, version: int) -> Path:
    """Where a file is copied to before it is brought to a schema version."""
    return path.with_name(f"{path.name}.before-{version}")


def schema_version(path: Path) -> int:
    """The steps that a file has taken, read only. Raises FailedPrecondition for what is no SQLite file."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error as error:
        raise FailedPrecondition(
            f"{path} is not a sound SQLite file ({error}); restore it from a backup or an export",
            reason="STORE_CORRUPT",
        ) from error


class SqliteFile:
    """A file with a schema. Raises FailedPrecondition where it cannot be opened as what it should be."""

    def __init__(self, path: Path, application_id: int, migrations: Sequence[Sequence[str]]) -> None:
        self.path = path
        self._closed = False
        self._write_lock = threading.Lock()
        self._pool_lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Made by us and not by SQLite, so that only its owner may read it; the -wal and -shm files follow.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise FailedPrecondition(
                f"cannot open the record {path}: {error.strerror}; give a file that this user may read and write",
                reason="STORE_UNREADABLE",
            ) from error
        try:
            self._writer = self._connect()
            try:
                self._migrate(application_id, migrations)
                mode = self._writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != "wal":
                    raise FailedPrecondition(
                        f"{path} is on a file system without shared memory (journal mode {mode}); "
                        "keep the record on a local disk",
                        reason="STORE_UNREADABLE",
                    )
                # FULL syncs the log at each commit: an acknowledged write outlives a power cut.
                self._writer.execute("PRAGMA synchronous = FULL")
                self._writer.execute("PRAGMA foreign_keys = ON")
                # What is deleted is overwritten, not only unlinked: forgetting is meant.
                self._writer.execute("PRAGMA secure_delete = ON")
                self._writer.execute("PRAGMA temp_store = MEMORY")
                self._writer.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}")
            except BaseException:
                self._writer.close()
                raise
        except sqlite3.Error as error:
            raise self._translated(error) from error

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection within one snapshot: all its statements see the same commits."""
        connection = self._take()
        try:
            connection.execute("BEGIN")
            yield connection
        except sqlite3.Error as error:
            raise self._translated(error) from error
        finally:
            self._give_back(connection)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The one connection that writes, within one transaction: committed at the end, rolled back on any error."""
        with self._write_lock:
            self._check_open()
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                try:
                    yield self._writer
                    self._writer.execute("COMMIT")
                except BaseException:
                    if self._writer.in_transaction:  # SQLite ends it by itself on a full disk
                        self._writer.execute("ROLLBACK")
                    raise
            except sqlite3.Error as error:
                raise self._translated(error) from error

    def checkpoint(self) -> None:
        """Moves the log into the file and empties it, as far as readers allow: what was deleted leaves the disk."""
        with self._write_lock:
            self._check_open()
            try:
                self._writer.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_WAIT_MS}")
                try:
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
                finally:
                    self._writer.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000:.0f}")
            except sqlite3.Error as error:
                raise self._translated(error) from error

    def close(self) -> None:
        """Waits for the write in progress, then lets go of the file; reads in progress finish. May be repeated."""
        with self._write_lock, self._pool_lock:
            if self._closed:
                return
            self._closed = True
            self._writer.close()
            while self._idle:
                self._idle.pop().close()

    def _connect(self) -> sqlite3.Connection:
        # Any thread may use a connection, one at a time: the lock and the pool see to that.
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.row_factory = sqlite3.Row
        return connection

    def _take(self) -> sqlite3.Connection:
        with self._pool_lock:
            self._check_open()
            if self._idle:
                return self._idle.pop()
        try:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            # Pages are read where the system holds them, and not copied into each connection's own cache.
            connection.execute(f"PRAGMA mmap_size = {_MAPPED_BYTES}")
        except sqlite3.Error as error:
            raise self._translated(error) from error
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if connection.in_transaction:
            with suppress(sqlite3.Error):  # nothing was written; a connection that fails here is closed below
                connection.execute("ROLLBACK")
        with self._pool_lock:
            if not self._closed and not connection.in_transaction:
                self._idle.append(connection)
                return
        connection.close()

    def _migrate(self, application_id: int, migrations: Sequence[Sequence[str]]) -> None:
        """Takes the steps that the file has not taken, all of them or none. A file that took some is copied before."""
        execute = self._writer.execute
        execute("BEGIN IMMEDIATE")  # a second process that opens the new file waits here, and then finds it made
        try:
            version = execute("PRAGMA user_version").fetchone()[0]
            owner = execute("PRAGMA application_id").fetchone()[0]
            if owner != application_id and (owner or version or execute("SELECT 1 FROM sqlite_schema").fetchone()):
                raise FailedPrecondition(
                    f"{self.path} is a SQLite file of another program; give the record a file of its own",
                    reason="STORE_FOREIGN",
                )
            if version > len(migrations):
                raise FailedPrecondition(
                    f"{self.path} has schema version {version}, and this program knows {len(migrations)}; "
                    "open it with the version that wrote it, or a later one",
                    reason="SCHEMA_TOO_NEW",
                )
            if 0 < version < len(migrations):
                self._copy(before_migration(self.path, len(migrations)))
            for step in migrations[version:]:
                for statement in step:
                    execute(statement)
            if version < len(migrations):
                execute(f"PRAGMA application_id = {application_id}")
                execute(f"PRAGMA user_version = {len(migrations)}")
            execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                execute("ROLLBACK")
            raise

    def _copy(self, target: Path) -> None:
        """Copies the file as it is, whole and synced, or not at all. The writer waits in a transaction meanwhile."""
        partial = target.with_name(target.name + ".partial")
        try:
            partial.unlink(missing_ok=True)
            os.close(os.open(partial, os.O_RDWR | os.O_CREAT, 0o600))
            with closing(self._connect()) as source, closing(sqlite3.connect(partial)) as copy:
                source.backup(copy)
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(target)
        except OSError as error:
            raise FailedPrecondition(
                f"the record {self.path} is of an earlier version, and cannot be copied to {target} before it is "
                f"brought up to date: {error.strerror}; nothing was changed; make room and rights for the copy",
                reason="STORE_UNREADABLE",
            ) from error

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"the record {self.path} is closed; open it again", reason="STORE_CLOSED")

    def _translated(self, error: sqlite3.Error) -> SapienceError:
        """The error as ours: Unavailable where trying again may help, else FailedPrecondition with the mend."""
        name = getattr(error, "sqlite_errorname", "") or ""
        if self._closed:
            return Unavailable(f"the record {self.path} is closed; open it again", reason="STORE_CLOSED")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Unavailable(
                f"another process has held the record {self.path} for {BUSY_TIMEOUT_S:.0f} s; try again, or stop it",
                reason="STORE_BUSY",
            )
        if name.startswith("SQLITE_FULL"):
            return FailedPrecondition(
                f"no space left for the record {self.path}; nothing of this write was kept; free some disk space",
                reason="STORE_FULL",
            )
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return FailedPrecondition(
                f"{self.path} is not a sound SQLite file ({error}); restore it from a backup or an export",
                reason="STORE_CORRUPT",
            )
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return FailedPrecondition(
                f"cannot open or write the record {self.path} ({error}); give this user the right to it and its folder",
                reason="STORE_UNREADABLE",
            )
        if name.startswith("SQLITE_IOERR"):
            return Unavailable(
                f"the disk under the record {self.path} failed ({name}); this write was not kept; check the disk",
                reason="STORE_IO",
            )
        return FailedPrecondition(f"the record {self.path} refused: {error} ({name})", reason="STORE_FAILED")
