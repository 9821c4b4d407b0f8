"""How a transaction runs its statements, in Cypher."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import neo4j


class Statements:
    """A connection inside a transaction, and what every part asks of it."""

    def __init__(self, tx: neo4j.ManagedTransaction) -> None:
        self._tx = tx

    def _all(self, query: str, **values: Any) -> list[neo4j.Record]:
        return list(self._tx.run(query, values))

    def _one(self, query: str, **values: Any) -> neo4j.Record | None:
        return next(iter(self._all(query, **values)), None)

    def _do(self, query: str, **values: Any) -> None:
        self._tx.run(query, values).consume()

    def _ids(self, query: str, **values: Any) -> list[str]:
        return [row["id"] for row in self._all(query, **values)]

    def _drop_unnamed(self, key: int, names: Iterable[str]) -> None:
        """Deletes those of the Entities that nothing names any more, and the merges they are in."""
        self._do(
            """
            MATCH (x:Entity) WHERE x.namespace = $key AND x.normalised IN $names
              AND NOT (x)<-[:SUBJECT|OBJECT|MENTIONS]-()
            OPTIONAL MATCH (x)<-[:KEPT|MERGED]-(m:Merge)
            DETACH DELETE m, x
            """,
            key=key,
            names=sorted(set(names)),
        )

    def _count(self, what: str, **values: Any) -> int:
        row = self._one(f"MATCH {what} RETURN count(n) AS count", **values)
        assert row is not None  # a count has one row, also of nothing
        return int(row["count"])
