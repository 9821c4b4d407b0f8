"""Facts, Entities, and the policies of relations, in Cypher."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core.ids import entity_id, normalised_name
from core.nouns import (
    AsOf,
    Fact,
    RelationPolicy,
)
from memory.record import rows
from memory.record.neo4j.statements import Statements
from memory.record.transaction import FreshFact, Held

_FACT = """
    MATCH (f)-[:SUBJECT]->(s:Entity)
    OPTIONAL MATCH (f)-[:OBJECT]->(o:Entity)
    OPTIONAL MATCH (f)-[:EVIDENCE]->(e:Episode)
    RETURN f.id AS id, f.relation AS relation, f.literal AS literal, f.valid_start AS valid_start,
           f.valid_end AS valid_end, f.precision AS precision, f.original_text AS original_text,
           f.timezone AS timezone, f.told_at AS told_at, f.recorded_at AS recorded_at, f.seq AS seq,
           f.retracted AS retracted, f.trust AS trust, f.rule AS rule, s.id AS subject_id, s.name AS subject_name,
           o.id AS object_id, o.name AS object_name, e.id AS episode_id
"""


class Facts(Statements):
    """The part of `Transaction` about Facts."""

    def facts_by_id(self, held: Held, ids: Sequence[str]) -> list[Fact]:
        query = f"MATCH (f:Fact) WHERE f.id IN $ids AND f.namespace = $key {_FACT}"
        return [rows.fact_from(row) for row in self._all(query, ids=list(ids), key=held.key)]

    def fact_ids_taken(self, ids: Sequence[str]) -> set[str]:
        return set(self._ids("MATCH (f:Fact) WHERE f.id IN $ids RETURN f.id AS id", ids=list(ids))) if ids else set()

    def write_facts(self, held: Held, fresh: Sequence[FreshFact]) -> None:
        names: dict[str, str] = {}
        for spelt in (end_of(one) for one in fresh for end_of in (_subject, _object)):
            if spelt is not None:
                names.setdefault(normalised_name(spelt), spelt)  # the first spelling is the Entity's
        self._make_entities(held, names)
        self._do(
            "UNWIND $facts AS columns CREATE (f:Fact {namespace: $key}) SET f += columns",
            key=held.key,
            facts=[_fact_columns(one) for one in fresh],
        )
        for role, name_of in (("SUBJECT", _subject), ("OBJECT", _object)):
            self._do(
                f"""
                UNWIND $ends AS row
                MATCH (f:Fact {{id: row[0]}}), (x:Entity {{namespace: $key, normalised: row[1]}})
                USING INDEX SEEK x:Entity(namespace, normalised)
                CREATE (f)-[:{role}]->(x)
                """,
                key=held.key,
                ends=[[one.id, normalised_name(name)] for one in fresh if (name := name_of(one)) is not None],
            )
        self._do(
            "UNWIND $witnesses AS row MATCH (f:Fact {id: row[0]}), (e:Episode {id: row[1]}) "
            "CREATE (f)-[:EVIDENCE]->(e)",
            witnesses=[[one.id, one.told.episode_id] for one in fresh if one.told.episode_id],
        )

    def facts(
        self, held: Held, entity: str | None, relation: str, as_of: AsOf, contended: Collection[str]
    ) -> list[Fact]:
        clauses = ["f.namespace = $key", "f.seq <= $seq", "f.told_at <= $told_by"]
        values: dict[str, Any] = {"key": held.key, "seq": as_of.seq, "told_by": as_of.told_by}
        start = "MATCH (f:Fact)"
        if entity is not None:
            values |= {"normalised": normalised_name(entity), "contended": sorted(contended)}
            # A subject's own Facts bring their rivals along; those of others that name it as object do not.
            rivals = """
                UNION MATCH (x)<-[:OBJECT]-(t:Fact)-[:SUBJECT]->(:Entity)<-[:SUBJECT]-(f:Fact)
                WHERE t.relation IN $contended AND f.relation = t.relation
                  AND t.seq <= $seq AND t.told_at <= $told_by
                RETURN f
            """
            start = f"""
                MATCH (x:Entity) USING INDEX SEEK x:Entity(namespace, normalised)
                WHERE x.namespace = $key AND x.normalised = $normalised
                CALL (x) {{
                    MATCH (x)<-[:SUBJECT|OBJECT]-(f:Fact) RETURN f
                    {rivals if contended else ""}
                }}
                WITH f
            """
        if relation:
            clauses.append("f.relation = $relation")
            values["relation"] = relation
        query = f"{start} WHERE {' AND '.join(clauses)} WITH DISTINCT f {_FACT} ORDER BY seq"
        return [rows.fact_from(row) for row in self._all(query, **values)]

    def write_policy(self, held: Held, policy: RelationPolicy) -> None:
        columns = {"relation": policy.relation, "policy": int(policy.policy)}
        made = {"namespace": held.key, "recorded_at": policy.recorded_at, "seq": policy.seq}
        self._do("CREATE (p:RelationPolicy) SET p = $columns", columns=columns | made)

    def policies(self, held: Held, seq: int) -> list[RelationPolicy]:
        query = """
            MATCH (p:RelationPolicy) WHERE p.namespace = $key AND p.relation IS NOT NULL AND p.seq <= $seq
            WITH p ORDER BY p.seq DESC
            WITH p.relation AS relation, head(collect(p)) AS last
            RETURN relation, last.policy AS policy, last.recorded_at AS recorded_at, last.seq AS seq
        """
        return [rows.policy_from(row) for row in self._all(query, key=held.key, seq=seq)]

    def _make_entities(self, held: Held, names: Mapping[str, str]) -> None:
        self._do(
            "UNWIND $entities AS row MERGE (x:Entity {namespace: $key, normalised: row.normalised}) "
            "ON CREATE SET x.id = row.id, x.name = row.name",
            key=held.key,
            entities=[
                {"normalised": normalised, "id": entity_id(held.name, name), "name": name}
                for normalised, name in names.items()
            ],
        )


def _subject(fact: FreshFact) -> str | None:
    return fact.told.subject


def _object(fact: FreshFact) -> str | None:
    return fact.told.entity


def _fact_columns(fresh: FreshFact) -> dict[str, Any]:
    """What is kept on a Fact's own node; its ends and its evidence are relationships."""
    fact, valid = fresh.told, fresh.told.valid
    return {
        "id": fresh.id,
        "relation": fact.relation,
        "literal": fact.literal,
        "valid_start": valid.start,
        "valid_end": valid.end,
        "precision": int(valid.precision),
        "original_text": valid.original_text,
        "timezone": valid.timezone,
        "told_at": fact.told_at,
        "recorded_at": fresh.commit.recorded_at,
        "seq": fresh.commit.seq,
        "retracted": fact.retracted,
        "trust": float(fact.trust),
        "rule": fact.rule or None,
    }
