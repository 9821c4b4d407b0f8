"""The record on a Neo4j server (5.23 or later, Community or Enterprise): for several machines over one store.

What it promises: when a write returns, the server has committed it, which by default means synced to its disk. Each
write is one managed transaction that first locks a single node, `(:Counter {name: 'seq'})`: so writers take turns over
all machines, and commits are numbered in the order in which they come to be seen. The driver repeats a transaction
that the server asks to repeat; one whose commit got no answer is not repeated but raises Unavailable: send it again
with its request_id.

Where it differs from the file: a read of several statements sees what is committed by each of them, not one snapshot,
and what was deleted stays in the server's store files until their space is used again. The rules are in `base`; here
is what they are in Cypher.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import neo4j

from core.clock import Clock
from core.ids import Ids, entity_id, normalised_name
from core.nouns import (
    AsOf,
    ConceptColumns,
    Episode,
    EpisodeFilter,
    Expiry,
    Fact,
    Forgotten,
    Keeping,
    Namespace,
    OutboxEntry,
    RecordCounts,
    RelationPolicy,
    Space,
    StoredConcept,
    TimeToLive,
)
from memory.record import rows
from memory.record.base import TransactionalRecord
from memory.record.neo4j_server import Neo4jServer
from memory.record.transaction import Commit, FreshFact, Going, Held, Transaction

_T = TypeVar("_T")

# Every node but Namespace, Commit, Outbox, Forgotten and Counter carries its namespace's key as `namespace`; the second
# property is what makes the node unique in it, or orders it.
_CONTENT = {
    "Fact": "seq",
    "Entity": "normalised",
    "Concept": "id",
    "Episode": "identity",
    "Term": "term",
    "Speaker": "name",
    "Request": "request_id",
    "RelationPolicy": "relation",
}
_CONCEPT = """
    MATCH (e:Episode)-[:HAS]->(c)
    RETURN c.id AS id, c.ordinal AS ordinal, c.start_byte AS start_byte, c.end_byte AS end_byte,
           c.language AS language, c.term_ids AS term_ids, c.term_weights AS term_weights, c.vector AS vector,
           e.id AS episode_id, e.text AS text
"""
_ARCHIVED = "WHERE e.archived_seq > 0"
# How an Episode is kept that nobody has archived, held, given an end or cited: it has none of these properties.
_PLAIN = {"archived_seq": 0, "holds": (), "expires_at": None, "expiry": int(Expiry.ARCHIVE), "uses": 0, "used_at": None}
_FACT = """
    MATCH (f)-[:SUBJECT]->(s:Entity)
    OPTIONAL MATCH (f)-[:OBJECT]->(o:Entity)
    OPTIONAL MATCH (f)-[:EVIDENCE]->(e:Episode)
    RETURN f.id AS id, f.relation AS relation, f.literal AS literal, f.valid_start AS valid_start,
           f.valid_end AS valid_end, f.precision AS precision, f.original_text AS original_text,
           f.timezone AS timezone, f.told_at AS told_at, f.recorded_at AS recorded_at, f.seq AS seq,
           f.retracted AS retracted, f.trust AS trust, s.id AS subject_id, s.name AS subject_name,
           o.id AS object_id, o.name AS object_name, e.id AS episode_id
"""


class Neo4jRecord(TransactionalRecord):
    """A `core.ports.Record` on a server. Safe for many threads; close it to let go of the connections."""

    backend = "neo4j"

    def __init__(self, url: str, user: str, password: str, database: str, clock: Clock, ids: Ids) -> None:
        """Connects, and makes constraints and indexes where there are none.

        Without a `user` it connects with no authentication; an empty `database` is the server's default one. Raises
        Unavailable, and FailedPrecondition for a wrong address, password or database.
        """
        super().__init__(_Neo4jStore(url, user, password, database), clock, ids)


class _Neo4jStore:
    def __init__(self, url: str, user: str, password: str, database: str) -> None:
        self._server = Neo4jServer(url, user, password, database)

    def read(self, work: Callable[[Transaction], _T]) -> _T:
        with self._server.session() as session:
            return session.execute_read(lambda tx: work(_Neo4jTransaction(tx)))

    def write(self, work: Callable[[Transaction], _T]) -> _T:
        def locked(tx: neo4j.ManagedTransaction) -> _T:
            # To write a property takes the lock, before anything is read that another writer may be changing.
            tx.run("MATCH (c:Counter {name: 'seq'}) SET c.locked = true").consume()
            return work(_Neo4jTransaction(tx))

        with self._server.session() as session:
            return session.execute_write(locked)

    def scrub(self) -> None:
        """Nothing: the server has no such call."""

    def close(self) -> None:
        self._server.close()


class _Neo4jTransaction:
    """`Transaction` in Cypher. Lists go in as parameters and are unwound there: one round trip for a batch.

    The server plans by what it counted a while ago, and a young store was empty then: hints name the index where a
    wrong guess would read all of a namespace, or of the store.
    """

    def __init__(self, tx: neo4j.ManagedTransaction) -> None:
        self._tx = tx

    def last_commit(self) -> Commit | None:
        row = self._one("MATCH (c:Counter {name: 'seq'}) RETURN c.seq AS seq, c.recorded_at AS at")
        return None if row is None or row["seq"] == 0 else Commit(row["seq"], row["at"])

    def commit(self, *commits: Commit) -> None:
        self._do(
            "MATCH (c:Counter {name: 'seq'}) SET c.seq = $seq, c.recorded_at = $at "
            "WITH c UNWIND $commits AS row CREATE (:Commit {seq: row[0], recorded_at: row[1]})",
            seq=commits[-1].seq,
            at=commits[-1].recorded_at,
            commits=[[commit.seq, commit.recorded_at] for commit in commits],
        )

    def seq_at(self, recorded_by: int) -> int:
        query = "MATCH (c:Commit) WHERE c.recorded_at <= $by RETURN c.seq AS seq ORDER BY c.recorded_at DESC LIMIT 1"
        row = self._one(query, by=recorded_by)
        return 0 if row is None else int(row["seq"])

    def namespaces(self) -> list[Namespace]:
        query = "MATCH (n:Namespace) RETURN n.name AS name, n.created_at AS at ORDER BY name"
        return [Namespace(row["name"], row["at"]) for row in self._all(query)]

    def held(self, name: str) -> Held | None:
        row = self._one(
            "MATCH (n:Namespace {name: $name}) RETURN n.key AS key, n.episodes AS episodes, n.concepts AS concepts, "
            "n.space_name AS space_name, n.space_version AS space_version, n.dimensions AS dimensions",
            name=name,
        )
        if row is None:
            return None
        space = None if row["dimensions"] is None else rows.space_from(row)
        return Held(row["key"], name, space, row["episodes"], row["concepts"])

    def make_namespace(self, name: str, commit: Commit) -> None:
        query = "CREATE (:Namespace {key: $key, name: $name, created_at: $at, episodes: 0, concepts: 0})"
        self._do(query, key=commit.seq, name=name, at=commit.recorded_at)

    def delete_namespace(self, held: Held) -> None:
        for label, column in _CONTENT.items():
            # An index over two properties is used only where both are asked for.
            query = f"MATCH (n:{label}) WHERE n.namespace = $key AND n.{column} IS NOT NULL DETACH DELETE n"
            self._do(query, key=held.key)
        self._do("MATCH (n:Namespace {name: $name}) DELETE n", name=held.name)

    def counts(self, held: Held | None) -> RecordCounts:
        if held is None:
            row = self._one("MATCH (n:Namespace) RETURN sum(n.episodes) AS episodes, sum(n.concepts) AS concepts")
            assert row is not None  # a sum has one row, also over nothing
            episodes, concepts = row["episodes"], row["concepts"]
            entities, facts, pending = (self._count(f"(n:{label})") for label in ("Entity", "Fact", "Outbox"))
        else:
            episodes, concepts = held.episodes, held.concepts
            entities, facts = (
                self._count(f"(n:{label}) WHERE n.namespace = $key AND n.{_CONTENT[label]} IS NOT NULL", key=held.key)
                for label in ("Entity", "Fact")
            )
            pending = self._count("(n:Outbox) WHERE n.namespace = $name", name=held.name)
        last = self.last_commit()
        apart = self._one(
            f"MATCH (e:Episode) {_ARCHIVED} "
            + ("" if held is None else "AND e.namespace = $key ")
            + "RETURN count(e) AS episodes, sum(COUNT { (e)-[:HAS]->() }) AS concepts",
            key=held.key if held else None,
        )
        assert apart is not None  # a count has one row, also of nothing
        archived = (apart["episodes"], apart["concepts"])
        return RecordCounts(episodes, concepts, entities, facts, last.seq if last else 0, pending, *archived)

    def answer(self, held: Held, request_id: str) -> rows.Row | None:
        return self._one(
            "MATCH (r:Request {namespace: $key, request_id: $request_id}) "
            "RETURN r.kind AS kind, r.digest AS digest, r.response AS response",
            key=held.key,
            request_id=request_id,
        )

    def store_answer(self, held: Held, request_id: str, kind: str, asked: str, response: str, at: int) -> None:
        answer = {"namespace": held.key, "request_id": request_id, "kind": kind, "digest": asked, "response": response}
        self._do("CREATE (r:Request) SET r = $answer", answer=answer | {"recorded_at": at})

    def known(self, held: Held, identities: Sequence[str]) -> dict[str, tuple[str, int]]:
        query = """
            MATCH (e:Episode) WHERE e.namespace = $key AND e.identity IN $identities
            RETURN e.identity AS identity, e.id AS id, e.seq AS seq
        """
        found = self._all(query, key=held.key, identities=list(identities))
        return {row["identity"]: (row["id"], row["seq"]) for row in found}

    def taken(self, episode_ids: Sequence[str]) -> str | None:
        if not episode_ids:
            return None
        row = self._one("MATCH (e:Episode) WHERE e.id IN $ids RETURN e.id AS id LIMIT 1", ids=list(episode_ids))
        return None if row is None else str(row["id"])

    def write_episodes(self, held: Held, space: Space, fresh: Sequence[rows.FreshEpisode], commit: Commit) -> None:
        self._do(
            """
            UNWIND $episodes AS row
            CREATE (e:Episode {namespace: $key, recorded_at: $at, seq: $seq})
            SET e += row.columns
            WITH e, row
            UNWIND row.concepts AS columns
            CREATE (e)-[:HAS]->(c:Concept {namespace: $key})
            SET c += columns
            """,
            key=held.key,
            at=commit.recorded_at,
            seq=commit.seq,
            episodes=[
                {
                    "columns": {"id": one.id, "ordinal": one.ordinal, **one.packed.columns()},
                    "concepts": [
                        {"id": concept_id, "ordinal": ordinal, **concept.columns()}
                        for ordinal, (concept_id, concept) in enumerate(
                            zip(one.concept_ids, one.packed.concepts, strict=True)
                        )
                    ],
                }
                for one in fresh
            ],
        )
        terms = rows.term_counts(concept.term_ids for one in fresh for concept in one.packed.concepts)
        self._do(
            "UNWIND $terms AS row MERGE (t:Term {namespace: $key, term: row[0]}) "
            "ON CREATE SET t.df = row[1] ON MATCH SET t.df = t.df + row[1]",
            key=held.key,
            terms=[list(one) for one in sorted(terms.items())],
        )
        self._do(
            "UNWIND $speakers AS row MERGE (s:Speaker {namespace: $key, name: row[0]}) "
            "ON CREATE SET s.episodes = row[1] ON MATCH SET s.episodes = s.episodes + row[1]",
            key=held.key,
            speakers=[list(one) for one in rows.speaker_counts(fresh).items()],
        )
        self._do(
            "MATCH (n:Namespace {name: $name}) SET n.space_name = $space_name, n.space_version = $space_version, "
            "n.dimensions = $dimensions, n.episodes = n.episodes + $episodes, n.concepts = n.concepts + $concepts",
            name=held.name,
            space_name=space.name,
            space_version=space.version,
            dimensions=space.dimensions,
            episodes=len(fresh),
            concepts=sum(len(one.concept_ids) for one in fresh),
        )

    def episodes(self, held: Held, ids: Sequence[str]) -> list[Episode]:
        query = "MATCH (e:Episode) WHERE e.id IN $ids AND e.namespace = $key RETURN e"
        return self._episodes(held, query, ids=list(ids))

    def window(self, held: Held, episode_ids: Sequence[str], radius: int) -> dict[str, list[Episode]]:
        half = """
            CALL (m) {{
                MATCH (n:Episode) USING INDEX SEEK n:Episode(namespace, source_name, conversation, position)
                WHERE n.namespace = $key AND n.source_name = m.source_name AND m.conversation <> ''
                  AND n.conversation = m.conversation AND n.position {0}= m.position
                  AND (n.position {0} m.position OR n.seq {0} m.seq OR (n.seq = m.seq AND n.ordinal {0} m.ordinal))
                WITH n ORDER BY n.position {1}, n.seq {1}, n.ordinal {1} LIMIT $radius
                RETURN collect(n) AS {2}
            }}
        """
        query = f"""
            MATCH (m:Episode) WHERE m.id IN $ids AND m.namespace = $key
            {half.format("<", "DESC", "earlier")} {half.format(">", "ASC", "later")}
            RETURN m.id AS id, reverse(earlier) + [m] + later AS near
        """
        found = self._all(query, ids=list(episode_ids), key=held.key, radius=radius)
        return {row["id"]: [rows.episode_from(held.name, _PLAIN | dict(node)) for node in row["near"]] for row in found}

    def timeline(
        self, held: Held, where: EpisodeFilter, as_of: AsOf, limit: int, after: tuple[int, str] | None
    ) -> list[Episode]:
        clauses = ["e.namespace = $key", "e.told_at <= $told_by", "e.id IS NOT NULL", "e.seq <= $seq"]
        values: dict[str, Any] = {"told_by": min(as_of.told_by, as_of.valid_at), "seq": as_of.seq, "limit": limit}
        for column, chosen in (
            ("speaker", list(where.speakers)),
            ("kind", [int(kind) for kind in where.kinds]),
            ("conversation", list(where.conversations)),
        ):
            if chosen:
                clauses.append(f"e.{column} IN ${column}")
                values[column] = chosen
        if where.told.start is not None:
            clauses.append("e.told_at >= $start")
            values["start"] = where.told.start
        if where.told.end is not None:
            clauses.append("e.told_at < $end")
            values["end"] = where.told.end
        if after is not None:
            clauses.append("e.told_at >= $after_at AND (e.told_at <> $after_at OR e.id > $after_id)")
            values["after_at"], values["after_id"] = after
        query = f"""
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, told_at, id)
            WHERE {" AND ".join(clauses)}
            RETURN e ORDER BY e.namespace, e.told_at, e.id LIMIT $limit
        """
        return self._episodes(held, query, **values)

    def episodes_after(self, held: Held, after: tuple[int, str], up_to_seq: int, limit: int) -> list[Episode]:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, seq, id)
            WHERE e.namespace = $key AND e.seq >= $seq AND e.seq <= $up_to AND e.id IS NOT NULL
              AND (e.seq <> $seq OR e.id > $id)
            RETURN e ORDER BY e.namespace, e.seq, e.id LIMIT $limit
        """
        return self._episodes(held, query, seq=after[0], id=after[1], up_to=up_to_seq, limit=limit)

    def concepts(self, held: Held, ids: Sequence[str]) -> list[StoredConcept]:
        query = "MATCH (c:Concept) USING INDEX SEEK c:Concept(namespace, id) WHERE c.namespace = $key AND c.id IN $ids"
        return self._concepts(held, query + _CONCEPT, ids)

    def concepts_of(self, held: Held, episode_ids: Sequence[str]) -> list[StoredConcept]:
        query = f"""
            MATCH (told:Episode)-[:HAS]->(c:Concept) WHERE told.id IN $ids AND told.namespace = $key
            {_CONCEPT} ORDER BY ordinal
        """
        return self._concepts(held, query, episode_ids)

    def columns_of(self, held: Held, episode_ids: Sequence[str]) -> ConceptColumns:
        query = """
            MATCH (e:Episode)-[:HAS]->(c:Concept) WHERE e.id IN $ids AND e.namespace = $key
            RETURN c.id AS id, c.ordinal AS ordinal, c.start_byte AS start_byte, c.end_byte AS end_byte,
                   c.language AS language, c.term_ids AS term_ids, c.term_weights AS term_weights,
                   c.vector AS vector, e.id AS episode_id
            ORDER BY episode_id, ordinal
        """
        found = self._all(query, key=held.key, ids=list(episode_ids))
        return rows.columns_from(held.space, {name: [row[name] for row in found] for name in rows.CONCEPT_COLUMNS})

    def concept_ids_after(self, held: Held, after: str, limit: int) -> list[str]:
        query = """
            MATCH (c:Concept) WHERE c.namespace = $key AND c.id > $after
              AND NOT EXISTS { MATCH (e:Episode)-[:HAS]->(c) WHERE e.archived_seq > 0 }
            RETURN c.id AS id ORDER BY c.namespace, c.id LIMIT $limit
        """
        return self._ids(query, key=held.key, after=after, limit=limit)

    def speakers(self, held: Held) -> dict[str, int]:
        query = """
            MATCH (s:Speaker) WHERE s.namespace = $key AND s.name IS NOT NULL
            RETURN s.name AS name, s.episodes AS episodes ORDER BY name
        """
        return {row["name"]: row["episodes"] for row in self._all(query, key=held.key)}

    def document_frequency(self, held: Held, terms: Sequence[int]) -> dict[int, int]:
        query = "MATCH (t:Term) WHERE t.namespace = $key AND t.term IN $terms RETURN t.term AS term, t.df AS df"
        return {row["term"]: row["df"] for row in self._all(query, key=held.key, terms=list(terms))}

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
        self._do(
            "UNWIND $entities AS row MERGE (x:Entity {namespace: $key, normalised: row.normalised}) "
            "ON CREATE SET x.id = row.id, x.name = row.name",
            key=held.key,
            entities=[
                {"normalised": normalised, "id": entity_id(held.name, name), "name": name}
                for normalised, name in names.items()
            ],
        )
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

    def select(self, held: Held, episode_ids: Sequence[str], speaker: str, conversation: str) -> Going:
        clauses = ["e.namespace = $key", "e.identity IS NOT NULL"]
        values: dict[str, Any] = {"key": held.key, "ids": list(episode_ids)}
        for column, wanted in (("speaker", speaker), ("conversation", conversation)):
            if wanted:
                clauses.append(f"e.{column} = ${column}")
                values[column] = wanted
        if episode_ids:
            clauses.append("e.id IN $ids")
        hint = "USING INDEX e:Episode(id)" if episode_ids else ""
        query = f"MATCH (e:Episode) {hint} WHERE {' AND '.join(clauses)} RETURN e.id AS id ORDER BY id"
        episodes = self._ids(query, **values)
        of_them = "USING INDEX e:Episode(id) WHERE e.id IN $ids RETURN x.id AS id ORDER BY id"
        concepts = self._ids(f"MATCH (e:Episode)-[:HAS]->(x:Concept) {of_them}", ids=episodes)
        told = self._ids(f"MATCH (e:Episode)<-[:EVIDENCE]-(x:Fact) {of_them}", ids=episodes)
        same = (
            "{0}.relation = g.relation AND coalesce({0}.literal = g.literal, {0}.literal IS NULL AND g.literal IS NULL)"
        )
        # The object is part of the statement as well: the same Entity, or none on both sides.
        bare = self._ids(
            f"""
            MATCH (g:Fact) WHERE g.id IN $told
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
        query = these + "RETURN c.term_ids AS term_ids"
        terms = rows.term_counts(row["term_ids"] for row in self._all(query, key=key, ids=concepts))
        self._do(
            "UNWIND $terms AS row MATCH (t:Term {namespace: $key, term: row[0]}) SET t.df = t.df - row[1] "
            "WITH t WHERE t.df = 0 DELETE t",
            key=key,
            terms=[list(one) for one in sorted(terms.items())],
        )
        self._do(
            "MATCH (e:Episode) WHERE e.id IN $ids WITH e.speaker AS name, count(*) AS gone "
            "MATCH (s:Speaker {namespace: $key, name: name}) SET s.episodes = s.episodes - gone "
            "WITH s WHERE s.episodes = 0 DELETE s",
            key=key,
            ids=episodes,
        )
        query = "MATCH (f:Fact)-[:SUBJECT|OBJECT]->(x:Entity) WHERE f.id IN $ids RETURN DISTINCT x.normalised AS id"
        named = self._ids(query, ids=list(going.facts))
        self._do("MATCH (f:Fact) WHERE f.id IN $ids DETACH DELETE f", ids=list(going.facts))
        self._do(
            "MATCH (x:Entity) WHERE x.namespace = $key AND x.normalised IN $names "
            "AND NOT (x)<-[:SUBJECT|OBJECT]-() DELETE x",
            key=key,
            names=named,
        )
        self._do(these + "DETACH DELETE c", key=key, ids=concepts)
        self._do("MATCH (e:Episode) WHERE e.id IN $ids DETACH DELETE e", ids=episodes)
        self._do(
            "MATCH (n:Namespace {name: $name}) "
            "SET n.episodes = n.episodes - $episodes, n.concepts = n.concepts - $concepts",
            name=held.name,
            episodes=len(episodes),
            concepts=len(concepts),
        )

    def set_archived(self, held: Held, episode_ids: Sequence[str], seq: int) -> None:
        # A property that is null is not there: the index holds archived Episodes only.
        query = "MATCH (e:Episode) WHERE e.id IN $ids AND e.namespace = $key SET e.archived_seq = $seq"
        self._do(query, ids=list(episode_ids), key=held.key, seq=seq or None)

    def archived_after(self, held: Held, after: tuple[int, str], seq: int, limit: int) -> list[Episode]:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, archived_seq)
            WHERE e.namespace = $key AND e.archived_seq >= $after AND e.seq <= $seq
              AND (e.archived_seq <> $after OR e.id > $id)
            RETURN e ORDER BY e.archived_seq, e.id LIMIT $limit
        """
        return self._episodes(held, query, seq=seq, after=after[0], id=after[1], limit=limit)

    def keepings(self, held: Held, episode_ids: Sequence[str]) -> list[Keeping]:
        query = "MATCH (e:Episode) WHERE e.id IN $ids AND e.namespace = $key RETURN e"
        found: list[dict[str, Any]] = [
            _PLAIN | dict(row["e"]) for row in self._all(query, ids=list(episode_ids), key=held.key)
        ]
        return [rows.keeping_from(row, row["holds"]) for row in found]

    def first_hold(self, held: Held, episode_ids: Sequence[str] | None) -> tuple[str, str] | None:
        # `held` is there with `holds`, and indexed: an index on a list finds whole lists only.
        start = "MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, held) WHERE e.held = true"
        if episode_ids is not None:
            start = "MATCH (e:Episode) USING INDEX e:Episode(id) WHERE e.id IN $ids AND e.held = true"
        query = f"{start} AND e.namespace = $key RETURN e.id AS id, e.holds AS holds ORDER BY id LIMIT 1"
        row = self._one(query, key=held.key, ids=list(episode_ids or ()))
        return None if row is None else (row["id"], min(row["holds"]))

    def set_hold(self, held: Held, episode_ids: Sequence[str], hold: str, release: bool) -> int:
        left = "[one IN e.holds WHERE one <> $hold]" if release else "coalesce(e.holds, []) + [$hold]"
        query = f"""
            MATCH (e:Episode) WHERE e.id IN $ids AND e.namespace = $key
              AND ($hold IN coalesce(e.holds, [])) = $release
            WITH e, {left} AS holds
            SET e.holds = CASE WHEN size(holds) > 0 THEN holds END, e.held = CASE WHEN size(holds) > 0 THEN true END
            RETURN e.id AS id
        """
        return len(self._ids(query, ids=list(episode_ids), key=held.key, hold=hold, release=release))

    def set_expiry(self, held: Held, episode_ids: Sequence[str], expires_at: int | None, expiry: Expiry) -> None:
        query = "MATCH (e:Episode) WHERE e.id IN $ids AND e.namespace = $key SET e.expires_at = $at, e.expiry = $expiry"
        self._do(query, ids=list(episode_ids), key=held.key, at=expires_at, expiry=int(expiry))

    def time_to_live(self, held: Held) -> TimeToLive | None:
        query = "MATCH (n:Namespace {name: $name}) RETURN n.time_to_live AS lived, n.expiry AS expiry"
        row = self._one(query, name=held.name)
        return None if row is None or row["lived"] is None else TimeToLive(row["lived"], Expiry(row["expiry"]))

    def set_time_to_live(self, held: Held, given: TimeToLive | None) -> None:
        query = "MATCH (n:Namespace {name: $name}) SET n.time_to_live = $lived, n.expiry = $expiry"
        lived, expiry = (given.microseconds, int(given.expiry)) if given else (None, None)
        self._do(query, name=held.name, lived=lived, expiry=expiry)

    def due(self, held: Held, now: int, lived: TimeToLive | None, young: int, limit: int) -> dict[str, Expiry]:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, expires_at)
            WHERE e.namespace = $key AND e.expires_at <= $now AND e.held IS NULL
              AND (e.archived_seq IS NULL OR e.expiry = $delete)
            RETURN e.id AS id, e.expiry AS expiry ORDER BY e.expires_at, id LIMIT $limit
        """
        found = self._all(query, key=held.key, now=now, delete=int(Expiry.DELETE), limit=limit)
        ends = {row["id"]: Expiry(row["expiry"]) for row in found}
        if lived is not None and len(ends) < limit:
            still = "AND e.archived_seq IS NULL" if lived.expiry is Expiry.ARCHIVE else ""
            query = f"""
                MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, seq, id)
                WHERE e.namespace = $key AND e.seq <= $young AND e.id IS NOT NULL
                  AND e.expires_at IS NULL AND e.held IS NULL {still}
                RETURN e.id AS id ORDER BY e.seq, id LIMIT $limit
            """
            ends |= dict.fromkeys(self._ids(query, key=held.key, young=young, limit=limit - len(ends)), lived.expiry)
        return ends

    def add_uses(self, held: Held, uses: Mapping[str, tuple[int, int]]) -> None:
        self._do(
            "UNWIND $uses AS row MATCH (e:Episode {id: row[0]}) WHERE e.namespace = $key "
            "SET e.uses = coalesce(e.uses, 0) + row[1], "
            "e.used_at = CASE WHEN e.used_at > row[2] THEN e.used_at ELSE row[2] END",
            key=held.key,
            uses=[[episode_id, count, at] for episode_id, (count, at) in sorted(uses.items())],
        )

    def audit(self, namespace: str, gone: Forgotten, commit: Commit) -> None:
        left = {"audit_id": gone.audit_id, "namespace": namespace, "recorded_at": commit.recorded_at, "seq": commit.seq}
        counted = {"episodes": gone.episodes, "concepts": gone.concepts, "facts": gone.facts}
        self._do("CREATE (n:Forgotten) SET n = $columns", columns=left | counted)

    def outbox(self, limit: int) -> list[OutboxEntry]:
        query = """
            MATCH (o:Outbox) WHERE o.seq > 0
            RETURN o.seq AS seq, o.namespace AS namespace, o.concept_ids AS concept_ids, o.deleted AS deleted,
                   o.space_name AS space_name, o.space_version AS space_version, o.dimensions AS dimensions
            ORDER BY o.seq LIMIT $limit
        """
        return [
            OutboxEntry(
                position=row["seq"],
                namespace=row["namespace"],
                space=rows.space_from(row),
                concept_ids=tuple(row["concept_ids"]),
                deleted=row["deleted"],
                seq=row["seq"],
            )
            for row in self._all(query, limit=limit)
        ]

    def outbox_add(self, entry: OutboxEntry) -> None:
        columns = {
            "seq": entry.seq,
            "namespace": entry.namespace,
            "space_name": entry.space.name,
            "space_version": entry.space.version,
            "dimensions": entry.space.dimensions,
            "concept_ids": list(entry.concept_ids),
            "deleted": entry.deleted,
        }
        self._do("CREATE (o:Outbox) SET o = $columns", columns=columns)

    def outbox_done(self, position: int) -> None:
        self._do("MATCH (o:Outbox) WHERE o.seq <= $position DELETE o", position=position)

    def _all(self, query: str, **values: Any) -> list[neo4j.Record]:
        return list(self._tx.run(query, values))

    def _one(self, query: str, **values: Any) -> neo4j.Record | None:
        return next(iter(self._all(query, **values)), None)

    def _do(self, query: str, **values: Any) -> None:
        self._tx.run(query, values).consume()

    def _ids(self, query: str, **values: Any) -> list[str]:
        return [row["id"] for row in self._all(query, **values)]

    def _count(self, what: str, **values: Any) -> int:
        row = self._one(f"MATCH {what} RETURN count(n) AS count", **values)
        assert row is not None  # a count has one row, also of nothing
        return int(row["count"])

    def _episodes(self, held: Held, query: str, **values: Any) -> list[Episode]:
        return [
            rows.episode_from(held.name, _PLAIN | dict(row["e"])) for row in self._all(query, key=held.key, **values)
        ]

    def _concepts(self, held: Held, query: str, ids: Sequence[str]) -> list[StoredConcept]:
        if held.space is None:  # no Episode was ever written
            return []
        return [rows.concept_from(held.space, row) for row in self._all(query, key=held.key, ids=list(ids))]


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
    }
