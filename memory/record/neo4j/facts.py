"""Facts, Entities, and the policies of relations, in Cypher."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from core.ids import entity_id, normalised_name
from core.nouns import (
    AsOf,
    Entity,
    Fact,
    RelationPolicy,
)
from memory.record import rows
from memory.record.neo4j.statements import THESE_FACTS, Statements, from_list
from memory.record.transaction import FreshFact, Held

_OWN = (
    "id", "relation", "literal", "valid_start", "valid_end", "precision", "original_text", "timezone", "told_at",
    "recorded_at", "seq", "retracted", "trust", "rule",
)  # fmt: skip
_ENDS_OWN = {
    "subject_id": "s.id",
    "subject_name": "s.name",
    "object_id": "o.id",
    "object_name": "o.name",
    "episode_id": "e.id",
}
_FACT_COLUMNS = {column: f"f.{column}" for column in _OWN} | _ENDS_OWN
FACT = f"""
    MATCH (f)-[:SUBJECT]->(s:Entity)
    OPTIONAL MATCH (f)-[:OBJECT]->(o:Entity)
    OPTIONAL MATCH (f)-[:EVIDENCE]->(e:Episode)
    WITH f, s, o, e ORDER BY f.seq
    RETURN collect([{", ".join(_FACT_COLUMNS.values())}]) AS facts
"""
"""Facts f as one row of lists: what the driver does for each row takes longer than what the server does."""


class Facts(Statements):
    """The part of `Transaction` about Facts."""

    def facts_by_id(self, held: Held, ids: Sequence[str]) -> list[Fact]:
        query = f"MATCH (f:Fact) {THESE_FACTS} AND f.namespace = $key {FACT}"
        return self._facts(query, ids=list(ids), key=held.key)

    def fact_ids_taken(self, ids: Sequence[str]) -> set[str]:
        return set(self._ids(f"MATCH (f:Fact) {THESE_FACTS} RETURN f.id AS id", ids=list(ids))) if ids else set()

    def write_facts(self, held: Held, fresh: Sequence[FreshFact]) -> dict[str, Entity]:
        names: dict[str, str] = {}
        for spelt in (name for one in fresh for name in (one.told.subject, one.told.entity) if name is not None):
            names.setdefault(normalised_name(spelt), spelt)  # the first spelling is the Entity's
        made = self._make_entities(held, names)
        facts = [_fact_columns(one) for one in fresh]
        columns = list(facts[0])
        subject, target, witness = (f"row[{len(columns) + place}]" for place in range(3))
        # Of an object that is a literal, and of no evidence, the seek is for null, and finds nothing to relate to.
        self._do(
            f"""
            UNWIND $facts AS row
            MATCH (x:Entity {{namespace: $key, normalised: {subject}}}) USING INDEX SEEK x:Entity(namespace, normalised)
            CREATE (f:Fact {{{from_list("row", columns)}, namespace: $key}})-[:SUBJECT]->(x)
            WITH f, row
            CALL (f, row) {{
                MATCH (x:Entity {{namespace: $key, normalised: {target}}})
                USING INDEX SEEK x:Entity(namespace, normalised)
                CREATE (f)-[:OBJECT]->(x)
            }}
            CALL (f, row) {{
                MATCH (e:Episode {{id: {witness}}}) USING INDEX SEEK e:Episode(id)
                CREATE (f)-[:EVIDENCE]->(e)
            }}
            """,
            key=held.key,
            facts=[[*fact.values(), *_ends(one)] for fact, one in zip(facts, fresh, strict=True)],
        )
        return made

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
        query = f"{start} WHERE {' AND '.join(clauses)} WITH DISTINCT f {FACT}"
        return self._facts(query, **values)

    def _facts(self, query: str, **values: Any) -> list[Fact]:
        row = self._one(query, **values)
        assert row is not None  # `collect` has one row, also of nothing
        return [rows.fact_from(dict(zip(_FACT_COLUMNS, fact, strict=True))) for fact in row["facts"]]

    def around(self, held: Held, entity: str, as_of: AsOf, contended: Collection[str], limit: int) -> list[Fact]:
        # Of each statement the last version that decides about the moment: an assertion that covers it, or a
        # retraction from then on. All versions of a statement have the same ends, so all of them are here.
        query = f"""
            MATCH (x:Entity) USING INDEX SEEK x:Entity(namespace, normalised)
            WHERE x.namespace = $key AND x.normalised = $normalised
            MATCH (x)<-[:SUBJECT|OBJECT]-(f:Fact)
            WHERE f.seq <= $seq AND f.told_at <= $told_by AND NOT f.relation IN $contended
              AND (f.valid_start IS NULL OR f.valid_start <= $valid_at)
              AND (f.retracted OR f.valid_end IS NULL OR f.valid_end > $valid_at)
            WITH DISTINCT f
            MATCH (f)-[:SUBJECT]->(s:Entity)
            OPTIONAL MATCH (f)-[:OBJECT]->(o:Entity)
            WITH s, o, f ORDER BY f.told_at DESC, f.seq DESC, f.id DESC
            WITH s, o, f.relation AS relation, f.literal AS literal, head(collect(f)) AS f
            WHERE NOT f.retracted
            WITH f ORDER BY f.id LIMIT $limit
            {FACT}
        """
        found = self._facts(
            query,
            key=held.key,
            normalised=normalised_name(entity),
            seq=as_of.seq,
            told_by=as_of.told_by,
            valid_at=as_of.valid_at,
            contended=sorted(contended),
            limit=limit,
        )
        return sorted(found, key=lambda fact: fact.id)

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

    def _make_entities(self, held: Held, names: Mapping[str, str]) -> dict[str, Entity]:
        """The Entities of these names, both by normalised name; made where there are none."""
        made = self._all(
            "UNWIND $entities AS row MERGE (x:Entity {namespace: $key, normalised: row[0]}) "
            "ON CREATE SET x.id = row[1], x.name = row[2] "
            "RETURN x.normalised AS normalised, x.id AS id, x.name AS name",
            key=held.key,
            entities=[[normalised, entity_id(held.name, name), name] for normalised, name in names.items()],
        )
        return {row["normalised"]: Entity(row["id"], row["name"]) for row in made}


def _ends(fresh: FreshFact) -> tuple[str, str | None, str | None]:
    """What a Fact's subject, object and evidence are found by."""
    fact = fresh.told
    target = None if fact.entity is None else normalised_name(fact.entity)
    return normalised_name(fact.subject), target, fact.episode_id or None


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
