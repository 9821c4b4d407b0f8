"""Traces, kept in SQLite: everything that led to an answer, for whoever asks why.

A Trace survives a crash of the process (WAL); one written in the second before a power cut may be lost
(synchronous=NORMAL), which memories may not: they are kept by the memory service. The newest `keep` of each store stay.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sapience.v1 import reasoning_pb2 as pb

from core.errors import NotFound
from services.runtime.worker import Worker

SCHEMA = """
CREATE TABLE IF NOT EXISTS trace (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS trace_by_request ON trace (namespace, request_id) WHERE request_id <> '';
"""


class Traces:
    """One store of Traces, on a thread of its own."""

    def __init__(self, path: Path | None, keep: int) -> None:
        """Opens `path`, or memory where it is None."""
        self._keep = keep
        self._worker = Worker("traces", max_waiting=4096)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # One thread uses the connection, after this one made it.
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(SCHEMA)

    async def put(self, trace: pb.Trace, request_id: str = "", digest: bytes = b"") -> None:
        """Keeps a Trace; a second one of the same request is dropped: the first was the answer."""
        await self._worker.run(self._put, trace, request_id, digest)

    async def get(self, namespace: str, trace_id: str) -> pb.Trace:
        """Raises NotFound (TRACE_NOT_FOUND), also for a Trace of another namespace."""
        row = await self._worker.run(self._one, "namespace = ? AND id = ?", (namespace, trace_id))
        if row is None:
            raise NotFound(
                f"no trace {trace_id!r} in namespace {namespace!r}; only the newest {self._keep} are kept",
                reason="TRACE_NOT_FOUND",
                field="trace_id",
            )
        return pb.Trace.FromString(row[0])

    async def of_request(self, namespace: str, request_id: str) -> tuple[pb.Trace, bytes] | None:
        """The Trace that answered a request before, and the digest of that request."""
        row = await self._worker.run(self._one, "namespace = ? AND request_id = ?", (namespace, request_id))
        return None if row is None else (pb.Trace.FromString(row[0]), row[1])

    async def close(self) -> None:
        """Writes what waits, then closes."""
        await self._worker.run(self._database.close)
        await self._worker.close()

    def _put(self, trace: pb.Trace, request_id: str, digest: bytes) -> None:
        cursor = self._database.execute(
            "INSERT OR IGNORE INTO trace (id, namespace, request_id, request_digest, body) VALUES (?, ?, ?, ?, ?)",
            (trace.id, trace.namespace, request_id, digest, trace.SerializeToString()),
        )
        if cursor.lastrowid and cursor.lastrowid % 100 == 0:
            self._database.execute("DELETE FROM trace WHERE number <= ?", (cursor.lastrowid - self._keep,))

    def _one(self, where: str, values: tuple[str, str]) -> tuple[bytes, bytes] | None:
        found: tuple[bytes, bytes] | None = self._database.execute(
            f"SELECT body, request_digest FROM trace WHERE {where}", values
        ).fetchone()
        return found
