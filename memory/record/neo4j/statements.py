"""How a transaction runs its statements, in Cypher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import neo4j

from memory.record.transaction import Commit

THESE = "MATCH (e:Episode) USING INDEX SEEK e:Episode(id) WHERE e.id IN $ids"
"""Episodes by id. Left to itself the planner scans the index of a store that it takes to be small."""
OURS = f"{THESE} AND e.namespace = $key"
"""Those of a namespace."""
THESE_FACTS = "USING INDEX SEEK f:Fact(id) WHERE f.id IN $ids"
"""The same of Facts, after their pattern."""


class Statements:
    """A connection inside a transaction, and what every part asks of it."""

    def __init__(self, tx: neo4j.ManagedTransaction, last: Commit | None = None) -> None:
        """`last` is what a writer read of the counter when it locked it; seq 0 where nothing was committed yet."""
        self._tx = tx
        self._last = last

    def _all(self, query: str, **values: Any) -> list[dict[str, Any]]:
        """As dicts: the driver's own rows look for the name of a column among all of them at every access."""
        result = self._tx.run(query, values)
        columns = result.keys()
        return [dict(zip(columns, row.values(), strict=True)) for row in result]

    def _one(self, query: str, **values: Any) -> dict[str, Any] | None:
        return next(iter(self._all(query, **values)), None)

    def _do(self, query: str, **values: Any) -> None:
        self._tx.run(query, values).consume()

    def _ids(self, query: str, **values: Any) -> list[str]:
        return [row["id"] for row in self._all(query, **values)]

    def _drop_unnamed(self, key: int, names: Iterable[str]) -> None:
        """Deletes those of the Entities that nothing names any more, and the merges they are in."""
        unnamed = """
            MATCH (x:Entity) USING INDEX SEEK x:Entity(namespace, normalised)
            WHERE x.namespace = $key AND x.normalised IN $names
              AND NOT (x)<-[:SUBJECT|OBJECT|MENTIONS]-()
        """
        values = {"key": key, "names": sorted(set(names))}
        merges = self._ids(f"{unnamed} MATCH (x)<-[:KEPT|MERGED]-(m:Merge) RETURN DISTINCT m.id AS id", **values)
        if merges:
            self._drop(key, merges)
        self._do(f"{unnamed} DELETE x", **values)

    def _drop(self, key: int, merge_ids: Sequence[str]) -> None:
        """Deletes merges of Entities."""
        query = "MATCH (m:Merge) USING INDEX SEEK m:Merge(id) WHERE m.id IN $ids AND m.namespace = $key DETACH DELETE m"
        self._do(query, ids=list(merge_ids), key=key)
        self._merges_changed(key)

    def _merges_changed(self, key: int, seq: int = 0) -> None:
        """By that commit, or by none of its own."""
        self._do(
            "MATCH (n:Namespace {key: $key}) SET n.merges = coalesce(n.merges, 0) + 1, "
            "n.merged_seq = CASE WHEN n.merged_seq > $seq THEN n.merged_seq ELSE $seq END",
            key=key,
            seq=seq,
        )

    def _count(self, what: str, **values: Any) -> int:
        row = self._one(f"MATCH {what} RETURN count(n) AS count", **values)
        assert row is not None  # a count has one row, also of nothing
        return int(row["count"])


def from_list(row: str, columns: Iterable[str]) -> str:
    """Properties that a statement takes from a list of their values: with maps, every row would bring all the keys."""
    return ", ".join(f"{column}: {row}[{place}]" for place, column in enumerate(columns))
