"""Dreams and their changes, and what was derived from what, in Cypher."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from memory.record import rows
from memory.record.dream_rows import ChangeRow, DreamRow
from memory.record.neo4j.statements import Statements
from memory.record.transaction import Held

_DREAM = "RETURN d.id AS id, d.number AS number, d.state AS state, d.body AS body"
_CHANGE = """
    RETURN c.ordinal AS ordinal, c.kind AS kind, c.state AS state, c.body AS body, c.inverse AS inverse
    ORDER BY c.dream, c.ordinal
"""


class Dreams(Statements):
    """The part of `Transaction` about Dreams."""

    def link(self, held: Held, derived: Sequence[tuple[str, str]]) -> None:
        self._do(
            "UNWIND $pairs AS row MATCH (e:Episode {id: row[0]}), (s:Episode {id: row[1]}) "
            "MERGE (e)-[:DERIVED_FROM]->(s)",
            pairs=[list(pair) for pair in derived],
        )

    def derived(self, held: Held, episode_ids: Sequence[str]) -> list[str]:
        query = """
            MATCH (s:Episode) USING INDEX SEEK s:Episode(id) WHERE s.id IN $ids AND s.namespace = $key
            MATCH (s)<-[:DERIVED_FROM*1..]-(e:Episode) WHERE NOT e.id IN $ids
            RETURN DISTINCT e.id AS id ORDER BY id
        """
        return self._ids(query, ids=list(episode_ids), key=held.key)

    def sources(self, held: Held, episode_ids: Sequence[str]) -> list[tuple[str, str]]:
        query = """
            MATCH (e:Episode)-[:DERIVED_FROM]->(s:Episode) USING INDEX SEEK e:Episode(id)
            WHERE e.id IN $ids AND e.namespace = $key
            RETURN e.id AS episode, s.id AS source ORDER BY episode, source
        """
        return [(row["episode"], row["source"]) for row in self._all(query, ids=list(episode_ids), key=held.key)]

    def put_dream(self, held: Held, row: DreamRow) -> None:
        query = "MERGE (d:Dream {namespace: $key, id: $id}) SET d.number = $number, d.state = $state, d.body = $body"
        self._do(query, key=held.key, id=row.id, number=row.number, state=row.state, body=row.body)

    def dream_row(self, held: Held, dream_id: str) -> DreamRow | None:
        row = self._one(f"MATCH (d:Dream {{namespace: $key, id: $id}}) {_DREAM}", key=held.key, id=dream_id)
        return None if row is None else _dream(row)

    def dream_rows(self, held: Held, limit: int, before: int) -> list[DreamRow]:
        where = "d.namespace = $key AND d.number < $before"
        query = f"MATCH (d:Dream) WHERE {where} {_DREAM} ORDER BY number DESC LIMIT $limit"
        return [_dream(row) for row in self._all(query, key=held.key, before=before, limit=limit)]

    def dream_rows_in(self, states: Collection[int]) -> list[tuple[str, DreamRow]]:
        query = f"""
            MATCH (d:Dream) USING INDEX SEEK d:Dream(state) WHERE d.state IN $states
            MATCH (n:Namespace) WHERE n.key = d.namespace {_DREAM}, n.name AS name ORDER BY id
        """
        return [(row["name"], _dream(row)) for row in self._all(query, states=_numbers(states))]

    def add_changes(self, held: Held, dream_id: str, fresh: Sequence[ChangeRow]) -> None:
        self._do(
            "UNWIND $fresh AS columns CREATE (c:DreamChange {namespace: $key, dream: $dream}) SET c += columns",
            key=held.key,
            dream=dream_id,
            fresh=[
                {"ordinal": one.ordinal, "kind": one.kind, "state": one.state, "body": one.body, "inverse": one.inverse}
                for one in fresh
            ],
        )

    def set_change(self, held: Held, dream_id: str, row: ChangeRow) -> None:
        self._do(
            "MATCH (c:DreamChange {namespace: $key, dream: $dream, ordinal: $ordinal}) "
            "SET c.state = $state, c.inverse = $inverse",
            key=held.key,
            dream=dream_id,
            ordinal=row.ordinal,
            state=row.state,
            inverse=row.inverse,
        )

    def change_rows(self, held: Held, dream_id: str, states: Collection[int]) -> list[ChangeRow]:
        narrowed = "AND c.state IN $states" if states else ""
        query = f"""
            MATCH (c:DreamChange) USING INDEX SEEK c:DreamChange(namespace, dream, ordinal)
            WHERE c.namespace = $key AND c.dream = $dream AND c.ordinal > 0 {narrowed} {_CHANGE}
        """
        return self._changes(query, key=held.key, dream=dream_id, states=_numbers(states))

    def change_row(self, held: Held, dream_id: str, ordinal: int) -> ChangeRow | None:
        query = f"MATCH (c:DreamChange {{namespace: $key, dream: $dream, ordinal: $ordinal}}) {_CHANGE}"
        return next(iter(self._changes(query, key=held.key, dream=dream_id, ordinal=ordinal)), None)

    def change_rows_of_kind(self, held: Held, kind: int, state: int) -> list[ChangeRow]:
        query = f"MATCH (c:DreamChange) WHERE c.namespace = $key AND c.kind = $kind AND c.state = $state {_CHANGE}"
        return self._changes(query, key=held.key, kind=int(kind), state=int(state))

    def set_uses(self, held: Held, episode_id: str, uses: int, used_at: int | None) -> None:
        query = "MATCH (e:Episode {id: $id}) WHERE e.namespace = $key SET e.uses = $uses, e.used_at = $at"
        # As in one that was never cited, the properties are not there.
        self._do(query, id=episode_id, key=held.key, uses=uses or None, at=used_at)

    def _changes(self, query: str, **values: Any) -> list[ChangeRow]:
        return [
            ChangeRow(row["ordinal"], row["kind"], row["state"], row["body"], row["inverse"])
            for row in self._all(query, **values)
        ]


def _dream(row: rows.Row) -> DreamRow:
    return DreamRow(row["id"], row["number"], row["state"], row["body"])


def _numbers(states: Collection[int]) -> list[int]:
    return sorted(int(state) for state in states)
