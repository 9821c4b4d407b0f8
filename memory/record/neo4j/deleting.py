"""What a deletion takes, and the deletion, in Cypher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.nouns import SourceKind
from memory.record import rows
from memory.record.neo4j.statements import THESE, THESE_FACTS, Statements
from memory.record.transaction import Going, Held


class Deleting(Statements):
    """The part of `Transaction` about deletion."""

    def select(self, held: Held, episode_ids: Sequence[str], speaker: str, conversation: str) -> Going:
        clauses = ["e.namespace = $key", "e.identity IS NOT NULL"]
        values: dict[str, Any] = {"key": held.key, "ids": list(episode_ids)}
        for column, wanted in (("speaker", speaker), ("conversation", conversation)):
            if wanted:
                clauses.append(f"e.{column} = ${column}")
                values[column] = wanted
        if episode_ids:
            clauses.append("e.id IN $ids")
        hint = "USING INDEX SEEK e:Episode(id)" if episode_ids else ""
        query = f"MATCH (e:Episode) {hint} WHERE {' AND '.join(clauses)} RETURN e.id AS id ORDER BY id"
        episodes = self._ids(query, **values)
        of_them = "USING INDEX SEEK e:Episode(id) WHERE e.id IN $ids RETURN x.id AS id ORDER BY id"
        concepts = self._ids(f"MATCH (e:Episode)-[:HAS]->(x:Concept) {of_them}", ids=episodes)
        told = self._ids(f"MATCH (e:Episode)<-[:EVIDENCE]-(x:Fact) {of_them}", ids=episodes)
        same = (
            "{0}.relation = g.relation AND coalesce({0}.literal = g.literal, {0}.literal IS NULL AND g.literal IS NULL)"
        )
        # The object is part of the statement as well: the same Entity, or none on both sides.
        bare = self._ids(
            f"""
            MATCH (g:Fact) USING INDEX SEEK g:Fact(id) WHERE g.id IN $told
            MATCH (g)-[:SUBJECT]->(s:Entity)
            OPTIONAL MATCH (g)-[:OBJECT]->(o:Entity)
            WITH g, s, elementId(o) AS target
            MATCH (s)<-[:SUBJECT]-(r:Fact)
            WHERE r.retracted AND NOT (r)-[:EVIDENCE]->() AND {same.format("r")}
              AND (target IS NULL OR EXISTS {{ MATCH (r)-[:OBJECT]->(x) WHERE elementId(x) = target }})
              AND NOT EXISTS {{
                MATCH (s)<-[:SUBJECT]-(a:Fact)
                WHERE NOT a.retracted AND NOT a.id IN $told AND {same.format("a")}
                  AND (target IS NULL OR EXISTS {{ MATCH (a)-[:OBJECT]->(y) WHERE elementId(y) = target }})
              }}
            RETURN DISTINCT r.id AS id
            """,
            told=told,
        )
        return Going(tuple(episodes), tuple(concepts), tuple(sorted({*told, *bare})))

    def delete(self, held: Held, going: Going) -> None:
        key, episodes, concepts = held.key, list(going.episodes), list(going.concepts)
        these = "MATCH (c:Concept) USING INDEX SEEK c:Concept(namespace, id) WHERE c.namespace = $key AND c.id IN $ids "
        query = these + "MATCH (e:Episode)-[:HAS]->(c) WHERE e.kind <> $kind RETURN c.term_ids AS term_ids"
        packed = self._all(query, key=key, ids=concepts, kind=int(SourceKind.DREAM))
        terms = rows.term_counts(row["term_ids"] for row in packed)
        self._do(
            "UNWIND $terms AS row MATCH (t:Term {namespace: $key, term: row[0]}) SET t.df = t.df - row[1] "
            "WITH t WHERE t.df = 0 DELETE t",
            key=key,
            terms=[list(one) for one in sorted(terms.items())],
        )
        self._do(
            f"{THESE} WITH e.speaker AS name, count(*) AS gone "
            "MATCH (s:Speaker {namespace: $key, name: name}) SET s.episodes = s.episodes - gone "
            "WITH s WHERE s.episodes = 0 DELETE s",
            key=key,
            ids=episodes,
        )
        query = f"MATCH (f:Fact)-[:SUBJECT|OBJECT]->(x:Entity) {THESE_FACTS} RETURN DISTINCT x.normalised AS id"
        named = self._ids(query, ids=list(going.facts))
        theirs = "USING INDEX SEEK e:Episode(id) WHERE e.id IN $ids"
        query = f"MATCH (e:Episode)-[:MENTIONS]->(x:Entity) {theirs} RETURN DISTINCT x.normalised AS id"
        named += self._ids(query, ids=episodes)
        self._do(f"MATCH (f:Fact) {THESE_FACTS} DETACH DELETE f", ids=list(going.facts))
        self._do(f"MATCH (e:Episode)-[m:MENTIONS]->() {theirs} DELETE m", ids=episodes)
        self._drop_unnamed(key, named)
        of_dreams = f"(e:Episode)-[:HAS]->(n:Concept) {theirs} AND e.kind = $kind"
        dreamt = self._count(of_dreams, ids=episodes, kind=int(SourceKind.DREAM))
        self._do(these + "DETACH DELETE c", key=key, ids=concepts)
        self._do(f"{THESE} DETACH DELETE e", ids=episodes)
        self._do(
            "MATCH (n:Namespace {name: $name}) "
            "SET n.episodes = n.episodes - $episodes, n.concepts = n.concepts - $concepts, "
            "n.dreamt = coalesce(n.dreamt, 0) - $dreamt",
            name=held.name,
            episodes=len(episodes),
            concepts=len(concepts),
            dreamt=dreamt,
        )
