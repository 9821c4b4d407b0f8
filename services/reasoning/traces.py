"""Traces, kept in SQLite: everything that led to an answer, for whoever asks why.

Traces wait in a bounded buffer, and one thread writes them a group at a time: an answer does not wait for a disk. Every
read writes first what waits, so nobody sees the buffer. One that a retry will be answered from is written before `put`
returns. Of the others, those of the last moment (GROUP_S) before a crash of the process may be lost, and those of the
last second before a power cut (WAL, synchronous=NORMAL); memories may not: the memory service keeps them. The newest
`keep` of each store stay.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import deque
from collections.abc import Collection, Sequence
from pathlib import Path

import structlog
from sapience.v1 import reasoning_pb2 as pb

from core.errors import NotFound, SapienceError
from services.reasoning.events import cited_by, joined, learned_by, redact
from services.runtime.worker import Worker

log = structlog.get_logger()

GROUP_S = 0.05
"""How long the first Trace of a group waits for others."""
MAX_WAITING = 1024
"""Traces that wait at most; after that a call writes before it goes on."""
RETRY_S = 1.0

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
CREATE TABLE IF NOT EXISTS cited (
    namespace TEXT NOT NULL,
    episode TEXT NOT NULL,
    trace INTEGER NOT NULL,
    PRIMARY KEY (namespace, episode, trace)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS cited_by_trace ON cited (trace);
"""


class Traces:
    """One store of Traces, on a thread of its own."""

    def __init__(self, path: Path | None, keep: int) -> None:
        """Opens `path`, or memory where it is None."""
        self._keep = keep
        self._worker = Worker("traces", max_waiting=4096)
        # The loop appends at one end, the thread takes from the other.
        self._waiting: deque[tuple[pb.Trace, Sequence[pb.ReasonEvent], str, bytes]] = deque()
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # One thread uses the connection, after this one made it.
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
        self._database.executescript(SCHEMA)
        self._bring_up_to_date()

    async def put(
        self, trace: pb.Trace, events: Sequence[pb.ReasonEvent], request_id: str = "", digest: bytes = b""
    ) -> None:
        """Keeps a Trace with these events; a second one of the same request is dropped: the first was the answer.

        With a `request_id` it is written when this returns. Both messages must not be changed any more.
        """
        self._waiting.append((trace, events, request_id, digest))
        if request_id or len(self._waiting) >= MAX_WAITING:
            await self._worker.run(self._write)
        elif not self._wake.is_set():
            if self._writer is None:
                self._writer = asyncio.create_task(self._write_in_groups(), name="trace writer")
            self._wake.set()

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

    async def cited(self) -> dict[str, list[str]]:
        """The Episodes that Traces cite, for each namespace that has a Trace."""
        return await self._worker.run(self._cited)

    async def learned_of(self, namespace: str, episode_ids: Collection[str]) -> list[str]:
        """The Episodes that answers were learned as which cite one of these."""
        citing = await self._worker.run(self._citing, namespace, episode_ids)
        return sorted({learned for _, trace in citing if (learned := learned_by(trace))})

    async def redact(self, namespace: str, episode_ids: Collection[str]) -> None:
        """Takes what may be words of these Episodes out of the Traces that cite them (`events.redact`)."""
        await self._worker.run(self._redact, namespace, episode_ids)

    async def drop(self, namespace: str) -> None:
        """Deletes all Traces of a namespace."""
        await self._worker.run(self._drop, namespace)

    async def close(self) -> None:
        """Writes what waits, then closes."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        try:
            await self._worker.run(self._write)
        finally:
            await self._worker.run(self._database.close)
            await self._worker.close()

    async def _write_in_groups(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(GROUP_S)
            self._wake.clear()
            try:
                await self._worker.run(self._write)
            except (sqlite3.Error, SapienceError):
                # They wait on. When the buffer is full the calls that fill it try, and say what is wrong.
                log.exception("traces cannot be written; trying again", waiting=len(self._waiting), seconds=RETRY_S)
                self._wake.set()
                await asyncio.sleep(RETRY_S)

    def _write(self) -> None:
        """All that waits, in one transaction; what could not be written waits on."""
        group = list(self._waiting)
        if not group:
            return
        rows, cited = [], []
        for trace, events, request_id, digest in group:
            whole = pb.Trace()
            whole.CopyFrom(trace)
            whole.events.extend(joined(events))
            rows.append((trace.id, trace.namespace, request_id, digest, whole.SerializeToString()))
            cited += [(episode, trace.id) for episode in cited_by(whole)]
        self._database.execute("BEGIN")
        try:
            self._database.executemany(
                "INSERT OR IGNORE INTO trace (id, namespace, request_id, request_digest, body) VALUES (?, ?, ?, ?, ?)",
                rows,
            )
            # One that was dropped, since its request was answered before, cites nothing.
            self._database.executemany(
                "INSERT INTO cited (namespace, episode, trace) SELECT namespace, ?, number FROM trace WHERE id = ?",
                cited,
            )
            for table, number in (("cited", "trace"), ("trace", "number")):
                query = f"DELETE FROM {table} WHERE {number} <= (SELECT max(number) FROM trace) - ?"
                self._database.execute(query, (self._keep,))
            self._database.execute("COMMIT")
        except sqlite3.Error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        for _ in group:
            self._waiting.popleft()

    def _one(self, where: str, values: tuple[str, str]) -> tuple[bytes, bytes] | None:
        self._write()
        found: tuple[bytes, bytes] | None = self._database.execute(
            f"SELECT body, request_digest FROM trace WHERE {where}", values
        ).fetchone()
        return found

    def _cited(self) -> dict[str, list[str]]:
        self._write()
        found: dict[str, list[str]] = {
            namespace: [] for (namespace,) in self._database.execute("SELECT DISTINCT namespace FROM trace")
        }
        for namespace, episode in self._database.execute("SELECT DISTINCT namespace, episode FROM cited"):
            found[namespace].append(episode)
        return found

    def _citing(self, namespace: str, episode_ids: Collection[str]) -> list[tuple[int, pb.Trace]]:
        self._write()
        query = """
            SELECT number, body FROM trace WHERE number IN (
                SELECT trace FROM cited WHERE namespace = ? AND episode IN (SELECT value FROM json_each(?)))
        """
        found = self._database.execute(query, (namespace, json.dumps(sorted(episode_ids))))
        return [(number, pb.Trace.FromString(body)) for number, body in found]

    def _redact(self, namespace: str, episode_ids: Collection[str]) -> None:
        for number, trace in self._citing(namespace, episode_ids):
            redact(trace, episode_ids)
            self._database.execute("UPDATE trace SET body = ? WHERE number = ?", (trace.SerializeToString(), number))
        query = "DELETE FROM cited WHERE namespace = ? AND episode IN (SELECT value FROM json_each(?))"
        self._database.execute(query, (namespace, json.dumps(sorted(episode_ids))))
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log has the words still

    def _drop(self, namespace: str) -> None:
        self._write()
        for table in ("cited", "trace"):
            self._database.execute(f"DELETE FROM {table} WHERE namespace = ?", (namespace,))
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _bring_up_to_date(self) -> None:
        """A file of before has Traces of which nobody noted what they cite."""
        if self._database.execute("PRAGMA user_version").fetchone() == (0,):
            for number, namespace, body in self._database.execute(
                "SELECT number, namespace, body FROM trace"
            ).fetchall():
                cited = [(namespace, episode, number) for episode in cited_by(pb.Trace.FromString(body))]
                self._database.executemany("INSERT OR IGNORE INTO cited VALUES (?, ?, ?)", cited)
            self._database.execute("PRAGMA user_version = 1")
