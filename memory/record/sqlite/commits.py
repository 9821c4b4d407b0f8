"""Namespaces, commits, the answers to writes, the outbox, in SQL."""

from __future__ import annotations

import json
import sqlite3

from core.nouns import (
    Forgotten,
    Namespace,
    OutboxEntry,
    RecordCounts,
)
from memory.record import rows
from memory.record.sqlite.statements import Statements
from memory.record.transaction import Commit, Held


class Commits(Statements):
    """The part of `Transaction` about commits, namespaces and the outbox."""

    def last_commit(self) -> Commit | None:
        row = self._db.execute("SELECT seq, recorded_at FROM commits ORDER BY seq DESC LIMIT 1").fetchone()
        return Commit(*row) if row else None

    def commit(self, *commits: Commit) -> None:
        numbered = [(commit.seq, commit.recorded_at) for commit in commits]
        self._db.executemany("INSERT INTO commits (seq, recorded_at) VALUES (?, ?)", numbered)

    def seq_at(self, recorded_by: int) -> int:
        query = "SELECT seq FROM commits WHERE recorded_at <= ? ORDER BY recorded_at DESC LIMIT 1"
        row = self._db.execute(query, (recorded_by,)).fetchone()
        return int(row["seq"]) if row else 0

    def namespaces(self) -> list[Namespace]:
        return [Namespace(*row) for row in self._db.execute("SELECT name, created_at FROM namespace ORDER BY name")]

    def held(self, name: str) -> Held | None:
        query = """
            SELECT n.key, n.episodes, n.concepts, n.dreamt, n.merges, n.merged_seq, n.slot,
                   s.name AS space_name, s.version AS space_version, s.dimensions
            FROM namespace n LEFT JOIN space s ON s.key = n.space WHERE n.name = ?
        """
        row = self._db.execute(query, (name,)).fetchone()
        if row is None:
            return None
        space = None if row["dimensions"] is None else rows.space_from(row)
        counts = (row["episodes"], row["concepts"], row["dreamt"], row["merges"], row["merged_seq"], row["slot"])
        return Held(row["key"], name, space, *counts)

    def make_namespace(self, name: str, commit: Commit) -> None:
        values = (commit.seq, name, commit.recorded_at)
        self._db.execute("INSERT INTO namespace (key, name, created_at) VALUES (?, ?, ?)", values)

    def delete_namespace(self, held: Held) -> None:
        of_it = "SELECT key FROM episode WHERE namespace = ?"
        self._db.execute(f"DELETE FROM derived WHERE episode IN ({of_it})", (held.key,))
        mentions = "DELETE FROM mention WHERE episode IN (SELECT key FROM episode WHERE namespace = ?)"
        self._db.execute(mentions, (held.key,))
        for table in (
            *("dream_change", "dream", "migration"),
            *("entity_merge", "hold", "fact", "entity_name", "entity", "relation_policy"),
            *("concept", "episode", "term", "speaker", "request"),
        ):
            self._db.execute(f"DELETE FROM {table} WHERE namespace = ?", (held.key,))
        self._db.execute("DELETE FROM namespace WHERE key = ?", (held.key,))

    def counts(self, held: Held | None) -> RecordCounts:
        if held is None:
            episodes, concepts = self._db.execute("SELECT total(episodes), total(concepts) FROM namespace").fetchone()
            entities, facts, pending = (self._count(f"{table}") for table in ("entity", "fact", "outbox"))
        else:
            episodes, concepts = held.episodes, held.concepts
            entities, facts = (self._count(f"{table} WHERE namespace = ?", held.key) for table in ("entity", "fact"))
            pending = self._count("outbox WHERE namespace = ?", held.name)
        last = self.last_commit()
        where = "e.archived_seq > 0" if held is None else "e.namespace = ? AND e.archived_seq > 0"
        key = () if held is None else (held.key,)
        archived = self._count(f"episode e WHERE {where}", *key)
        apart = self._count(f"episode e JOIN concept c ON c.episode = e.key WHERE {where}", *key) if archived else 0
        seq = last.seq if last else 0
        return RecordCounts(int(episodes), int(concepts), entities, facts, seq, pending, archived, apart)

    def answer(self, held: Held, request_id: str) -> rows.Row | None:
        query = "SELECT kind, digest, response FROM request WHERE namespace = ? AND request_id = ?"
        row: sqlite3.Row | None = self._db.execute(query, (held.key, request_id)).fetchone()
        return row

    def store_answer(self, held: Held, request_id: str, kind: str, asked: str, response: str, at: int) -> None:
        self._db.execute(
            "INSERT INTO request (namespace, request_id, kind, digest, response, recorded_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (held.key, request_id, kind, asked, response, at),
        )

    def drop_answers(self, before: int, limit: int) -> int:
        query = """
            DELETE FROM request WHERE (namespace, request_id) IN (
                SELECT namespace, request_id FROM request WHERE recorded_at < ? ORDER BY recorded_at LIMIT ?)
        """
        return self._db.execute(query, (before, limit)).rowcount

    def audit(self, namespace: str, gone: Forgotten, commit: Commit) -> None:
        self._db.execute(
            "INSERT INTO forgotten (audit_id, namespace, recorded_at, seq, episodes, concepts, facts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (gone.audit_id, namespace, commit.recorded_at, commit.seq, gone.episodes, gone.concepts, gone.facts),
        )

    def outbox(self, limit: int) -> list[OutboxEntry]:
        query = """
            SELECT o.seq, o.namespace, o.concept_ids, o.deleted,
                   s.name AS space_name, s.version AS space_version, s.dimensions
            FROM outbox o JOIN space s ON s.key = o.space ORDER BY o.seq LIMIT ?
        """
        return [
            OutboxEntry(
                position=row["seq"],
                namespace=row["namespace"],
                space=rows.space_from(row),
                concept_ids=tuple(json.loads(row["concept_ids"])),
                deleted=bool(row["deleted"]),
                seq=row["seq"],
            )
            for row in self._db.execute(query, (limit,))
        ]

    def outbox_add(self, entry: OutboxEntry) -> None:
        ids = json.dumps(entry.concept_ids, separators=(",", ":"))
        self._db.execute(
            "INSERT INTO outbox (seq, namespace, space, concept_ids, deleted) VALUES (?, ?, ?, ?, ?)",
            (entry.seq, entry.namespace, self._space_key(entry.space), ids, entry.deleted),
        )

    def outbox_done(self, position: int) -> None:
        self._db.execute("DELETE FROM outbox WHERE seq <= ?", (position,))
