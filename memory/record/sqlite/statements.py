"""How a transaction runs its statements, in SQL."""

from __future__ import annotations

import sqlite3

from core.nouns import (
    Space,
)

# A list of values goes in as one JSON parameter. A plus before a column keeps SQLite from an index that begins with
# it: where ids are given, the index on ids is the one to walk, and the planner cannot know how few they are.
GIVEN = "(SELECT value FROM json_each(?))"


class Statements:
    """A connection inside a transaction, and what every part asks of it."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def _count(self, what: str, *values: object) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {what}", values).fetchone()[0])

    def _ids(self, query: str, *values: object) -> tuple[str, ...]:
        return tuple(row["id"] for row in self._db.execute(query, values))

    def _space_key(self, space: Space) -> int:
        values = (space.name, space.version, space.dimensions)
        self._db.execute("INSERT OR IGNORE INTO space (name, version, dimensions) VALUES (?, ?, ?)", values)
        query = "SELECT key FROM space WHERE name = ? AND version = ? AND dimensions = ?"
        return int(self._db.execute(query, values).fetchone()["key"])
