"""How a transaction runs its statements, in SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain

from core.nouns import (
    Space,
)

# A list of values goes in as one JSON parameter. A plus before a column keeps SQLite from an index that begins with
# it: where ids are given, the index on ids is the one to walk, and the planner cannot know how few they are.
GIVEN = "(SELECT value FROM json_each(?))"

_ROWS_A_STATEMENT = (1024, 256, 64, 16, 4, 2, 1)
"""Of up to 15 columns: half of the 32,766 values that SQLite takes in one statement. Of few sizes, since a statement
that was compiled once is kept, and one of a thousand rows takes half a MB."""


class Statements:
    """A connection inside a transaction, and what every part asks of it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def _count(self, what: str, *values: object) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {what}", values).fetchone()[0])

    def _ids(self, query: str, *values: object) -> tuple[str, ...]:
        return tuple(row["id"] for row in self._db.execute(query, values))

    def _insert_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[object]], or_else: str = ""
    ) -> None:
        """Inserts rows, many by one statement; `or_else` says what becomes of one that is there (ON CONFLICT ...).

        The driver lets go of the interpreter for each step of a statement and waits to get it back, which takes as long
        as other threads like: with a row for each statement, a busy process would wait once for every row.
        """
        names, values = ", ".join(columns), f"({', '.join('?' * len(columns))})"
        start = 0
        for size in _ROWS_A_STATEMENT:
            if len(rows) - start < size:
                continue
            query = f"INSERT INTO {table} ({names}) VALUES {', '.join([values] * size)} {or_else}"
            while len(rows) - start >= size:
                self._db.execute(query, list(chain.from_iterable(rows[start : start + size])))
                start += size

    def _merges_changed(self, namespace: int, seq: int = 0) -> None:
        """By that commit, or by none of its own."""
        query = "UPDATE namespace SET merges = merges + 1, merged_seq = max(merged_seq, ?) WHERE key = ?"
        self._db.execute(query, (seq, namespace))

    def _drop_unnamed(self, namespace: int, keys: Iterable[int]) -> None:
        """Deletes those of the Entities that nothing names any more, and the merges they are in."""
        query = """
            SELECT 1 FROM fact WHERE subject = ?1 UNION ALL SELECT 1 FROM fact WHERE entity = ?1
            UNION ALL SELECT 1 FROM mention WHERE entity = ?1 LIMIT 1
        """
        dropped = 0
        for key in keys:
            if self._db.execute(query, (key,)).fetchone() is None:
                for end in ("kept", "merged"):
                    dropped += self._db.execute(f"DELETE FROM entity_merge WHERE {end} = ?", (key,)).rowcount
                self._db.execute("DELETE FROM entity_name WHERE entity = ?", (key,))
                self._db.execute("DELETE FROM entity WHERE key = ?", (key,))
        if dropped:
            self._merges_changed(namespace)

    def _space_key(self, space: Space) -> int:
        values = (space.name, space.version, space.dimensions)
        self._db.execute("INSERT OR IGNORE INTO space (name, version, dimensions) VALUES (?, ?, ?)", values)
        query = "SELECT key FROM space WHERE name = ? AND version = ? AND dimensions = ?"
        return int(self._db.execute(query, values).fetchone()["key"])
