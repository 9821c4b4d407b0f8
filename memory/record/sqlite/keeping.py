"""How long Episodes are kept: the archive, holds, ends, counts of use, in SQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from core.nouns import (
    Episode,
    Expiry,
    Keeping,
    TimeToLive,
)
from memory.record import rows
from memory.record.sqlite.episodes import Episodes
from memory.record.sqlite.statements import GIVEN
from memory.record.transaction import Held


class KeptEpisodes(Episodes):
    """The part of `Transaction` about how long Episodes are kept."""

    def set_archived(self, held: Held, episode_ids: Sequence[str], seq: int) -> None:
        query = f"UPDATE episode SET archived_seq = ? WHERE +namespace = ? AND id IN {GIVEN}"
        self._db.execute(query, (seq, held.key, json.dumps(episode_ids)))

    def archived_after(self, held: Held, after: tuple[int, str], seq: int, limit: int) -> list[Episode]:
        query = """
            SELECT * FROM episode INDEXED BY episode_archived
            WHERE namespace = ? AND archived_seq > 0 AND (archived_seq, id) > (?, ?) AND seq <= ?
            ORDER BY archived_seq, id LIMIT ?
        """
        found = self._db.execute(query, (held.key, *after, seq, limit))
        return [rows.episode_from(held.name, row) for row in found]

    def keepings(self, held: Held, episode_ids: Sequence[str]) -> list[Keeping]:
        query = f"""
            SELECT e.*, (SELECT json_group_array(h.name) FROM hold h WHERE h.episode = e.key) AS holds
            FROM episode e WHERE +e.namespace = ? AND e.id IN {GIVEN}
        """
        found = self._db.execute(query, (held.key, json.dumps(episode_ids)))
        return [rows.keeping_from(row, json.loads(row["holds"])) for row in found]

    def first_hold(self, held: Held, episode_ids: Sequence[str] | None) -> tuple[str, str] | None:
        query = "SELECT e.id, h.name FROM hold h JOIN episode e ON e.key = h.episode WHERE h.namespace = ?"
        values: list[object] = [held.key]
        if episode_ids is not None:
            query += f" AND e.id IN {GIVEN}"
            values.append(json.dumps(episode_ids))
        row = self._db.execute(f"{query} ORDER BY e.id, h.name LIMIT 1", values).fetchone()
        return None if row is None else (row["id"], row["name"])

    def set_hold(self, held: Held, episode_ids: Sequence[str], hold: str, release: bool) -> int:
        of_them = f"SELECT key FROM episode WHERE +namespace = ? AND id IN {GIVEN}"
        values = (held.key, json.dumps(episode_ids))
        if release:
            query = f"DELETE FROM hold WHERE name = ? AND episode IN ({of_them})"
            return self._db.execute(query, (hold, *values)).rowcount
        query = f"INSERT OR IGNORE INTO hold (namespace, episode, name) SELECT ?, key, ? FROM ({of_them})"
        return self._db.execute(query, (held.key, hold, *values)).rowcount

    def set_expiry(self, held: Held, episode_ids: Sequence[str], expires_at: int | None, expiry: Expiry) -> None:
        query = f"UPDATE episode SET expires_at = ?, expiry = ? WHERE +namespace = ? AND id IN {GIVEN}"
        self._db.execute(query, (expires_at, expiry, held.key, json.dumps(episode_ids)))

    def time_to_live(self, held: Held) -> TimeToLive | None:
        query = "SELECT time_to_live, expiry FROM namespace WHERE key = ?"
        row = self._db.execute(query, (held.key,)).fetchone()
        return None if row["time_to_live"] is None else TimeToLive(row["time_to_live"], Expiry(row["expiry"]))

    def set_time_to_live(self, held: Held, given: TimeToLive | None) -> None:
        values = (given.microseconds, given.expiry) if given else (None, Expiry.ARCHIVE)
        self._db.execute("UPDATE namespace SET time_to_live = ?, expiry = ? WHERE key = ?", (*values, held.key))

    def due(self, held: Held, now: int, lived: TimeToLive | None, young: int, limit: int) -> dict[str, Expiry]:
        free = "NOT EXISTS (SELECT 1 FROM hold h WHERE h.episode = episode.key)"
        query = f"""
            SELECT id, expiry FROM episode INDEXED BY episode_by_end
            WHERE namespace = ? AND expires_at <= ? AND (archived_seq = 0 OR expiry = ?) AND {free}
            ORDER BY expires_at, id LIMIT ?
        """
        found = self._db.execute(query, (held.key, now, Expiry.DELETE, limit)).fetchall()
        ends = {row["id"]: Expiry(row["expiry"]) for row in found}
        if lived is not None and len(ends) < limit:
            where = "namespace = ? AND seq <= ? AND expires_at IS NULL"
            if lived.expiry is Expiry.ARCHIVE:
                where += " AND archived_seq = 0"
            query = f"SELECT id FROM episode WHERE {where} AND {free} ORDER BY seq, id LIMIT ?"
            left = self._db.execute(query, (held.key, young, limit - len(ends)))
            ends |= {row["id"]: lived.expiry for row in left}
        return ends

    def add_uses(self, held: Held, uses: Mapping[str, tuple[int, int]]) -> None:
        self._db.executemany(
            "UPDATE episode SET uses = uses + ?1, used_at = max(coalesce(used_at, ?2), ?2) "
            "WHERE +namespace = ?3 AND id = ?4",
            ((count, at, held.key, episode_id) for episode_id, (count, at) in sorted(uses.items())),
        )
