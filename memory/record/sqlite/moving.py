"""What a backup reads and a restore writes beside the rest, in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.moving import Audit, StoredNamespace
from core.nouns import Expiry, Fact, RelationPolicy, Space, TimeToLive
from memory.record import rows
from memory.record.sqlite.facts import FACT
from memory.record.sqlite.statements import GIVEN, Statements
from memory.record.tombstones import Buried
from memory.record.transaction import Commit, Held


class Moving(Statements):
    """The part of `Transaction` about backups."""

    def commit_by(self, seq: int) -> Commit | None:
        query = "SELECT seq, recorded_at FROM commits WHERE seq <= ? ORDER BY seq DESC LIMIT 1"
        row = self._db.execute(query, (seq,)).fetchone()
        return Commit(*row) if row else None

    def commits_after(self, after: int, up_to: int, limit: int) -> list[Commit]:
        query = "SELECT seq, recorded_at FROM commits WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        return [Commit(*row) for row in self._db.execute(query, (after, up_to, limit))]

    def put_commits(self, commits: Sequence[Commit]) -> None:
        query = "INSERT INTO commits (seq, recorded_at) VALUES (?, ?) ON CONFLICT (seq) DO NOTHING"
        self._db.executemany(query, ((one.seq, one.recorded_at) for one in commits))

    def clear(self) -> None:
        for table in ("request", "namespace", "commits"):
            self._db.execute(f"DELETE FROM {table}")

    def stored_namespaces(self) -> list[StoredNamespace]:
        query = """
            SELECT n.key, n.name AS namespace, n.created_at, n.time_to_live, n.expiry,
                   s.name AS space_name, s.version AS space_version, s.dimensions
            FROM namespace n LEFT JOIN space s ON s.key = n.space ORDER BY n.name
        """
        return [
            StoredNamespace(
                row["namespace"],
                row["key"],
                row["created_at"],
                None if row["dimensions"] is None else rows.space_from(row),
                None if row["time_to_live"] is None else TimeToLive(row["time_to_live"], Expiry(row["expiry"])),
            )
            for row in self._db.execute(query)
        ]

    def set_space(self, held: Held, space: Space) -> None:
        self._db.execute("UPDATE namespace SET space = ? WHERE key = ?", (self._space_key(space), held.key))

    def ordinals(self, held: Held, episode_ids: Sequence[str]) -> dict[str, int]:
        query = f"SELECT id, ordinal FROM episode WHERE +namespace = ? AND id IN {GIVEN}"
        return {row["id"]: row["ordinal"] for row in self._db.execute(query, (held.key, json.dumps(episode_ids)))}

    def facts_after(self, held: Held, after: int, up_to: int, limit: int) -> list[Fact]:
        query = f"{FACT} WHERE f.namespace = ? AND f.seq > ? AND f.seq <= ? ORDER BY f.seq LIMIT ?"
        return [rows.fact_from(row) for row in self._db.execute(query, (held.key, after, up_to, limit))]

    def policies_after(self, held: Held, after: int, up_to: int) -> list[RelationPolicy]:
        query = """
            SELECT relation, policy, recorded_at, seq FROM relation_policy WHERE namespace = ? AND seq > ? AND seq <= ?
        """
        return [rows.policy_from(row) for row in self._db.execute(query, (held.key, after, up_to))]

    def reset_kept(self, held: Held, up_to: int) -> None:
        plain = "archived_seq = 0, expires_at = NULL, expiry = 1, uses = 0, used_at = NULL"
        self._db.execute(f"UPDATE episode SET {plain} WHERE namespace = ? AND seq <= ?", (held.key, up_to))
        query = "DELETE FROM hold WHERE episode IN (SELECT key FROM episode WHERE namespace = ? AND seq <= ?)"
        self._db.execute(query, (held.key, up_to))

    def audits_after(self, after: int, up_to: int, limit: int) -> list[Audit]:
        query = """
            SELECT audit_id, namespace, recorded_at, seq, episodes, concepts, facts FROM forgotten
            WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?
        """
        return [Audit(*row) for row in self._db.execute(query, (after, up_to, limit))]

    def audits_known(self, audit_ids: Sequence[str]) -> set[str]:
        query = f"SELECT audit_id AS id FROM forgotten WHERE audit_id IN {GIVEN}"
        return set(self._ids(query, json.dumps(audit_ids)))

    def buried_namespaces(self) -> list[str]:
        return list(self._ids("SELECT DISTINCT namespace AS id FROM tombstone ORDER BY namespace"))

    def tombstones_after(
        self, namespace: str, kind: Buried, after: str, later_than: int, limit: int
    ) -> list[tuple[str, int]]:
        query = """
            SELECT digest, seq FROM tombstone
            WHERE namespace = ? AND kind = ? AND digest > ? AND seq > ? ORDER BY digest LIMIT ?
        """
        return [tuple(row) for row in self._db.execute(query, (namespace, kind, after, later_than, limit))]
