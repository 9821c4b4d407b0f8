"""Migrations between spaces, and the second vectors of Concepts, in Cypher."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from core.nouns import Space, StoredConcept
from memory.record import rows
from memory.record.migration_rows import MigrationRow
from memory.record.neo4j.episodes import CONCEPT, VECTOR
from memory.record.neo4j.statements import Statements
from memory.record.transaction import Held

_ROW = "RETURN m.id AS id, m.number AS number, m.state AS state, m.body AS body"
_THESE = "MATCH (c:Concept) USING INDEX SEEK c:Concept(namespace, id) WHERE c.namespace = $key AND c.id IN $ids"


class Migrations(Statements):
    """The part of `Transaction` about migrations."""

    def put_migration(self, held: Held, row: MigrationRow) -> None:
        query = (
            "MERGE (m:Migration {namespace: $key, id: $id}) SET m.number = $number, m.state = $state, m.body = $body"
        )
        self._do(query, key=held.key, id=row.id, number=row.number, state=row.state, body=row.body)

    def migration_row(self, held: Held, migration_id: str) -> MigrationRow | None:
        row = self._one(f"MATCH (m:Migration {{namespace: $key, id: $id}}) {_ROW}", key=held.key, id=migration_id)
        return None if row is None else _migration(row)

    def migration_rows(self, held: Held, limit: int, before: int) -> list[MigrationRow]:
        where = "m.namespace = $key AND m.number < $before"
        query = f"MATCH (m:Migration) WHERE {where} {_ROW} ORDER BY number DESC LIMIT $limit"
        return [_migration(row) for row in self._all(query, key=held.key, before=before, limit=limit)]

    def migration_rows_in(self, states: Collection[int]) -> list[tuple[str, MigrationRow]]:
        query = f"""
            MATCH (m:Migration) USING INDEX SEEK m:Migration(state) WHERE m.state IN $states
            MATCH (n:Namespace) WHERE n.key = m.namespace {_ROW}, n.name AS name ORDER BY id
        """
        found = self._all(query, states=sorted(int(state) for state in states))
        return [(row["name"], _migration(row)) for row in found]

    def put_second(self, held: Held, vectors: Sequence[tuple[str, bytes]]) -> None:
        query = f"""
            UNWIND $vectors AS row
            MATCH (c:Concept {{namespace: $key, id: row[0]}}) USING INDEX SEEK c:Concept(namespace, id)
            SET c.{VECTOR[1 - held.slot]} = row[1]
        """
        self._do(query, key=held.key, vectors=[list(one) for one in vectors])

    def second(self, held: Held, space: Space, ids: Sequence[str]) -> list[StoredConcept]:
        other = VECTOR[1 - held.slot]
        query = f"{_THESE} AND c.{other} IS NOT NULL {CONCEPT}".replace("c.$vector", f"c.{other}")
        return [rows.concept_from(space, row) for row in self._all(query, key=held.key, ids=list(ids))]

    def without_second(self, held: Held) -> tuple[int, str] | None:
        row = self._one(
            f"""
            MATCH (c:Concept) USING INDEX SEEK c:Concept(namespace, id)
            WHERE c.namespace = $key AND c.id IS NOT NULL AND c.{VECTOR[1 - held.slot]} IS NULL
            MATCH (e:Episode)-[:HAS]->(c) RETURN e.seq AS seq, e.id AS id LIMIT 1
            """,
            key=held.key,
        )
        return None if row is None else (int(row["seq"]), str(row["id"]))

    def swap(self, held: Held, space: Space) -> None:
        self._do(
            "MATCH (n:Namespace {name: $name}) SET n.slot = 1 - coalesce(n.slot, 0), n.space_name = $space_name, "
            "n.space_version = $space_version, n.dimensions = $dimensions",
            name=held.name,
            space_name=space.name,
            space_version=space.version,
            dimensions=space.dimensions,
        )

    def drop_second(self, held: Held, after: str, limit: int) -> str:
        row = self._one(
            f"""
            MATCH (c:Concept) WHERE c.namespace = $key AND c.id > $after
            WITH c ORDER BY c.namespace, c.id LIMIT $limit
            REMOVE c.{VECTOR[1 - held.slot]} RETURN max(c.id) AS last
            """,
            key=held.key,
            after=after,
            limit=limit,
        )
        return "" if row is None or row["last"] is None else str(row["last"])


def _migration(row: rows.Row) -> MigrationRow:
    return MigrationRow(row["id"], row["number"], row["state"], row["body"])
