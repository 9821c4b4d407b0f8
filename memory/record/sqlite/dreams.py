"""Dreams and their changes, and what was derived from what, in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from memory.record.dream_rows import ChangeRow, DreamRow
from memory.record.sqlite.statements import GIVEN, Statements
from memory.record.transaction import Held

_CHANGE = "SELECT ordinal, kind, state, body, inverse FROM dream_change"


class Dreams(Statements):
    """The part of `Transaction` about Dreams."""

    def link(self, held: Held, derived: Sequence[tuple[str, str]]) -> None:
        self._db.executemany(
            "INSERT OR IGNORE INTO derived (episode, source) "
            "SELECT e.key, s.key FROM episode e, episode s WHERE e.id = ? AND s.id = ?",
            derived,
        )

    def derived(self, held: Held, episode_ids: Sequence[str]) -> list[str]:
        # UNION drops what was seen before, so that no circle, which an import might bring, goes on for ever.
        query = f"""
            WITH RECURSIVE given (key) AS (SELECT key FROM episode WHERE +namespace = ? AND id IN {GIVEN}),
            gone (key) AS (SELECT key FROM given UNION SELECT d.episode FROM derived d JOIN gone g ON d.source = g.key)
            SELECT e.id FROM gone JOIN episode e ON e.key = gone.key
            WHERE gone.key NOT IN (SELECT key FROM given) ORDER BY e.id
        """
        return list(self._ids(query, held.key, json.dumps(episode_ids)))

    def sources(self, held: Held, episode_ids: Sequence[str]) -> list[tuple[str, str]]:
        query = f"""
            SELECT e.id AS episode, s.id AS source FROM episode e JOIN derived d ON d.episode = e.key
            JOIN episode s ON s.key = d.source WHERE +e.namespace = ? AND e.id IN {GIVEN} ORDER BY e.id, s.id
        """
        found = self._db.execute(query, (held.key, json.dumps(episode_ids)))
        return [(row["episode"], row["source"]) for row in found]

    def put_dream(self, held: Held, row: DreamRow) -> None:
        query = "INSERT OR REPLACE INTO dream (namespace, id, number, state, body) VALUES (?, ?, ?, ?, ?)"
        self._db.execute(query, (held.key, row.id, row.number, row.state, row.body))

    def dream_row(self, held: Held, dream_id: str) -> DreamRow | None:
        query = "SELECT id, number, state, body FROM dream WHERE namespace = ? AND id = ?"
        row = self._db.execute(query, (held.key, dream_id)).fetchone()
        return DreamRow(*row) if row else None

    def dream_rows(self, held: Held, limit: int, before: int) -> list[DreamRow]:
        columns, where = "id, number, state, body", "namespace = ? AND number < ?"
        query = f"SELECT {columns} FROM dream WHERE {where} ORDER BY number DESC LIMIT ?"
        return [DreamRow(*row) for row in self._db.execute(query, (held.key, before, limit))]

    def dream_rows_in(self, states: Collection[int]) -> list[tuple[str, DreamRow]]:
        query = f"""
            SELECT n.name, d.id, d.number, d.state, d.body FROM dream d JOIN namespace n ON n.key = d.namespace
            WHERE d.state IN {GIVEN} ORDER BY d.id
        """
        return [(name, DreamRow(*row)) for name, *row in self._db.execute(query, (_numbers(states),))]

    def add_changes(self, held: Held, dream_id: str, fresh: Sequence[ChangeRow]) -> None:
        self._db.executemany(
            "INSERT INTO dream_change (namespace, dream, ordinal, kind, state, body, inverse) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            ((held.key, dream_id, one.ordinal, one.kind, one.state, one.body, one.inverse) for one in fresh),
        )

    def set_change(self, held: Held, dream_id: str, row: ChangeRow) -> None:
        query = "UPDATE dream_change SET state = ?, inverse = ? WHERE namespace = ? AND dream = ? AND ordinal = ?"
        self._db.execute(query, (row.state, row.inverse, held.key, dream_id, row.ordinal))

    def change_rows(self, held: Held, dream_id: str, states: Collection[int]) -> list[ChangeRow]:
        where, values = "namespace = ? AND dream = ?", [held.key, dream_id]
        if states:
            where += f" AND state IN {GIVEN}"
            values.append(_numbers(states))
        return self._changes(f"{_CHANGE} WHERE {where} ORDER BY ordinal", *values)

    def change_row(self, held: Held, dream_id: str, ordinal: int) -> ChangeRow | None:
        query = f"{_CHANGE} WHERE namespace = ? AND dream = ? AND ordinal = ?"
        return next(iter(self._changes(query, held.key, dream_id, ordinal)), None)

    def change_rows_of_kind(self, held: Held, kind: int, state: int) -> list[ChangeRow]:
        query = f"{_CHANGE} WHERE namespace = ? AND kind = ? AND state = ? ORDER BY dream, ordinal"
        return self._changes(query, held.key, kind, state)

    def set_uses(self, held: Held, episode_id: str, uses: int, used_at: int | None) -> None:
        query = "UPDATE episode SET uses = ?, used_at = ? WHERE +namespace = ? AND id = ?"
        self._db.execute(query, (uses, used_at, held.key, episode_id))

    def _changes(self, query: str, *values: Any) -> list[ChangeRow]:
        return [ChangeRow(*row) for row in self._db.execute(query, values)]


def _numbers(states: Collection[int]) -> str:
    return json.dumps(sorted(int(state) for state in states))
