"""Thoughts that callers keep, in SQLite: the newest `keep` of all namespaces, each whole enough to be resumed.

A Thought is written before the call that kept it ends: its id is never that of one that a crash took. It is found in
its own namespace only. Nothing here knows a model; `states` turns rows into messages and back.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sapience.v1 import reasoning_pb2 as pb

from core.errors import NotFound
from services.runtime.worker import Worker

SCHEMA = """
CREATE TABLE IF NOT EXISTS thought (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    head BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS thought_by_namespace ON thought (namespace, id);
"""
ROWS = (
    "prompt_rows", "latent_rows", "suffix_rows", "latent", "tokens", "symbols", "allowed_tokens", "steps",
)  # fmt: skip
"""What a list of Thoughts goes without: it can be megabytes."""


class Thoughts:
    """One store of Thoughts, on a thread of its own."""

    def __init__(self, path: Path | None, keep: int) -> None:
        """Opens `path`, or memory where it is None."""
        self._keep = keep
        self._worker = Worker("thoughts", max_waiting=4096)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # One thread uses the connection, after this one made it.
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
        self._database.executescript(SCHEMA)

    async def put(self, thought: pb.Thought) -> None:
        """Keeps a Thought, and drops the oldest ones that are too many."""
        await self._worker.run(self._put, thought)

    async def get(self, namespace: str, thought_id: str) -> pb.Thought:
        """Raises NotFound (THOUGHT_NOT_FOUND), also for a Thought of another namespace."""
        body = await self._worker.run(self._one, namespace, thought_id)
        if body is None:
            raise self._not_found(namespace, thought_id)
        return pb.Thought.FromString(body)

    async def newest(self, namespace: str, limit: int, before_id: str = "") -> list[pb.Thought]:
        """The newest first, without their rows; only those older than `before_id` where that is given."""
        heads = await self._worker.run(self._heads, namespace, limit, before_id)
        return [pb.Thought.FromString(head) for head in heads]

    async def delete(self, namespace: str, thought_id: str) -> None:
        """Raises NotFound (THOUGHT_NOT_FOUND)."""
        if not await self._worker.run(self._delete, "namespace = ? AND id = ?", (namespace, thought_id)):
            raise self._not_found(namespace, thought_id)

    async def namespaces(self) -> list[str]:
        """The namespaces that have a Thought."""
        return await self._worker.run(self._namespaces)

    async def drop(self, namespace: str) -> None:
        """Deletes all Thoughts of a namespace."""
        await self._worker.run(self._delete, "namespace = ?", (namespace,))

    async def close(self) -> None:
        """Closes the file."""
        await self._worker.run(self._database.close)
        await self._worker.close()

    def _not_found(self, namespace: str, thought_id: str) -> NotFound:
        return NotFound(
            f"no thought {thought_id!r} in namespace {namespace!r}; only the newest {self._keep} are kept",
            reason="THOUGHT_NOT_FOUND",
            field="thought_id",
        )

    def _put(self, thought: pb.Thought) -> None:
        head = pb.Thought()
        head.CopyFrom(thought)
        for name in ROWS:
            head.ClearField(name)  # type: ignore[arg-type]
        row = (thought.id, thought.namespace, head.SerializeToString(), thought.SerializeToString())
        self._database.execute("BEGIN")
        with self._database:  # commits at the end, or rolls back what failed
            self._database.execute("INSERT INTO thought (id, namespace, head, body) VALUES (?, ?, ?, ?)", row)
            query = "DELETE FROM thought WHERE number <= (SELECT max(number) FROM thought) - ?"
            self._database.execute(query, (self._keep,))

    def _one(self, namespace: str, thought_id: str) -> bytes | None:
        query = "SELECT body FROM thought WHERE namespace = ? AND id = ?"
        found: tuple[bytes] | None = self._database.execute(query, (namespace, thought_id)).fetchone()
        return None if found is None else found[0]

    def _heads(self, namespace: str, limit: int, before_id: str) -> list[bytes]:
        query = """
            SELECT head FROM thought WHERE namespace = ? AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?
        """
        values = (namespace, before_id, before_id, limit)
        return [head for (head,) in self._database.execute(query, values)]

    def _namespaces(self) -> list[str]:
        return [name for (name,) in self._database.execute("SELECT DISTINCT namespace FROM thought")]

    def _delete(self, where: str, values: tuple[str, ...]) -> int:
        gone = self._database.execute(f"DELETE FROM thought WHERE {where}", values).rowcount
        if gone:
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # the log has the words still
        return gone
