"""Migrations between spaces, and the second vectors of Concepts, in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from core.nouns import Space, StoredConcept
from memory.record import rows
from memory.record.migration_rows import MigrationRow
from memory.record.sqlite.episodes import CONCEPT, VECTOR
from memory.record.sqlite.statements import GIVEN, Statements
from memory.record.transaction import Held

_COLUMNS = "id, number, state, body"


class Migrations(Statements):
    """The part of `Transaction` about migrations."""

    def put_migration(self, held: Held, row: MigrationRow) -> None:
        query = f"INSERT OR REPLACE INTO migration (namespace, {_COLUMNS}) VALUES (?, ?, ?, ?, ?)"
        self._db.execute(query, (held.key, row.id, row.number, row.state, row.body))

    def migration_row(self, held: Held, migration_id: str) -> MigrationRow | None:
        query = f"SELECT {_COLUMNS} FROM migration WHERE namespace = ? AND id = ?"
        row = self._db.execute(query, (held.key, migration_id)).fetchone()
        return MigrationRow(*row) if row else None

    def migration_rows(self, held: Held, limit: int, before: int) -> list[MigrationRow]:
        query = f"SELECT {_COLUMNS} FROM migration WHERE namespace = ? AND number < ? ORDER BY number DESC LIMIT ?"
        return [MigrationRow(*row) for row in self._db.execute(query, (held.key, before, limit))]

    def migration_rows_in(self, states: Collection[int]) -> list[tuple[str, MigrationRow]]:
        query = f"""
            SELECT n.name, m.id, m.number, m.state, m.body FROM migration m JOIN namespace n ON n.key = m.namespace
            WHERE m.state IN {GIVEN} ORDER BY m.id
        """
        given = json.dumps(sorted(int(state) for state in states))
        return [(name, MigrationRow(*row)) for name, *row in self._db.execute(query, (given,))]

    def put_second(self, held: Held, vectors: Sequence[tuple[str, bytes]]) -> None:
        query = f"UPDATE concept SET {VECTOR[1 - held.slot]} = ? WHERE namespace = ? AND id = ?"
        self._db.executemany(query, [(vector, held.key, key) for key, vector in vectors])

    def second(self, held: Held, space: Space, ids: Sequence[str]) -> list[StoredConcept]:
        other = VECTOR[1 - held.slot]
        where = f"WHERE c.namespace = ? AND c.id IN {GIVEN} AND length(c.{other}) > 0"
        found = self._db.execute(CONCEPT.format(other) + where, (held.key, json.dumps(ids)))
        return [rows.concept_from(space, row) for row in found]

    def without_second(self, held: Held) -> tuple[int, str] | None:
        query = f"""
            SELECT e.seq, e.id FROM concept c JOIN episode e ON e.key = c.episode
            WHERE c.namespace = ? AND length(c.{VECTOR[1 - held.slot]}) = 0 LIMIT 1
        """
        row = self._db.execute(query, (held.key,)).fetchone()
        return (int(row[0]), str(row[1])) if row else None

    def swap(self, held: Held, space: Space) -> None:
        query = "UPDATE namespace SET slot = 1 - slot, space = ? WHERE key = ?"
        self._db.execute(query, (self._space_key(space), held.key))

    def drop_second(self, held: Held, after: str, limit: int) -> str:
        query = "SELECT id FROM concept WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?"
        found = self._ids(query, held.key, after, limit)
        if not found:
            return ""
        query = f"UPDATE concept SET {VECTOR[1 - held.slot]} = x'' WHERE namespace = ? AND id > ? AND id <= ?"
        self._db.execute(query, (held.key, after, found[-1]))
        return found[-1]
