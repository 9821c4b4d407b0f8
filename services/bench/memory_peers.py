"""The peers of `sapience bench memory`: Qdrant's local mode, and as-of edges in Neo4j as Graphiti keeps them.

Each is used as its own documentation advises: points in batches and a payload index where there is one; nodes and
edges by UNWIND, with Graphiti's indexes. A peer that cannot take the whole load in reasonable time takes a part; its
figures say of what size they are. What there is not here to measure is left out, and said.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from itertools import islice

import numpy as np

from services.bench import memory_load as made
from services.runtime.settings import load

LOCAL_MOST = 20_000
"""Qdrant's local mode keeps its points in Python lists and warns of sizes above this."""
EDGES_MOST = 200_000
QUERIES = 100
BATCH = 256
EDGE_BATCH = 5_000
LIMIT = 10

Say = Callable[[str], None]
Figures = Mapping[str, float]


def measured(seed: int, talk: made.Talk, edges: made.Edges, neo4j: str, say: Say) -> dict[str, Figures]:
    """The figures of each peer, by name."""
    say("qdrant-client, local mode")
    found: dict[str, Figures] = {"qdrant-client local mode": qdrant_local(talk)}
    try:
        say("edges in Neo4j")
        found["edges as Graphiti's, in Neo4j"] = graphiti_edges(seed, edges, neo4j)
    except ConnectionError as error:
        say(f"Neo4j is left out: {error}")
    return found


def qdrant_local(talk: made.Talk) -> Figures:
    """`QdrantClient(path=...)`: upserts in batches, then dense search with a filter on the tenant."""
    from qdrant_client import QdrantClient
    from qdrant_client import models as m

    size = min(talk.n, LOCAL_MOST)
    with tempfile.TemporaryDirectory(prefix="bench-qdrant-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a payload index that local mode does not have
        client = QdrantClient(path=folder)
        try:
            client.create_collection("bench", m.VectorParams(size=made.DIMENSIONS, distance=m.Distance.COSINE))
            turns = talk.turns()
            began = time.perf_counter()
            for first in range(0, size, BATCH):
                batch = list(islice(turns, min(BATCH, size - first)))
                client.upsert(
                    "bench",
                    m.Batch(
                        ids=[turn.number for turn in batch],
                        vectors=talk.vectors[first : first + len(batch)].tolist(),
                        payloads=[{"text": turn.text, "speaker": turn.speaker, "at": turn.told_at} for turn in batch],
                    ),
                )
            written_s = time.perf_counter() - began
            ms = []
            for query in talk.queries(QUERIES):
                began = time.perf_counter()
                client.query_points("bench", query=query.vector, limit=LIMIT)
                ms.append((time.perf_counter() - began) * 1e3)
        finally:
            client.close()
    return {"n": size, "episodes_per_s": size / written_s, **_percentiles("recall", ms)}


AS_OF = """
    MATCH (n:Entity {uuid: $uuid, group_id: $group})-[e:RELATES_TO]-(m:Entity)
    WHERE e.group_id = $group AND e.created_at <= $told
      AND (e.valid_at IS NULL OR e.valid_at <= $valid) AND (e.invalid_at IS NULL OR e.invalid_at > $valid)
      AND (e.expired_at IS NULL OR e.expired_at > $told)
    RETURN e.uuid AS uuid, e.name AS name, e.fact AS fact, m.name AS other, e.valid_at AS valid_at,
           e.invalid_at AS invalid_at
    ORDER BY e.uuid LIMIT 100
"""


def graphiti_edges(seed: int, edges: made.Edges, url: str) -> Figures:
    """One hop as of a time, over Bolt: what Graphiti's shape of edges can answer, since it keeps no past beliefs.

    Raises ConnectionError where no Neo4j answers.
    """
    from neo4j import GraphDatabase
    from neo4j.exceptions import DriverError, Neo4jError

    settings = load()
    password = settings.neo4j_password.get_secret_value() if settings.neo4j_password else ""
    auth = (settings.neo4j_user, password) if password else None
    size = min(len(edges.subjects), EDGES_MOST)
    part = made.Edges.made(seed, size) if size < len(edges.subjects) else edges
    group = "sapience-bench"
    try:
        driver = GraphDatabase.driver(url or settings.neo4j_url, auth=auth)
        with driver, driver.session(database=settings.neo4j_database) as session:
            for index in (
                "CREATE INDEX entity_uuid IF NOT EXISTS FOR (n:Entity) ON (n.uuid)",
                "CREATE INDEX entity_group_id IF NOT EXISTS FOR (n:Entity) ON (n.group_id)",
                "CREATE INDEX relation_uuid IF NOT EXISTS FOR ()-[e:RELATES_TO]-() ON (e.uuid)",
                "CREATE INDEX relation_group_id IF NOT EXISTS FOR ()-[e:RELATES_TO]-() ON (e.group_id)",
                "CREATE INDEX created_at_edge_index IF NOT EXISTS FOR ()-[e:RELATES_TO]-() ON (e.created_at)",
                "CREATE INDEX expired_at_edge_index IF NOT EXISTS FOR ()-[e:RELATES_TO]-() ON (e.expired_at)",
                "CREATE INDEX valid_at_edge_index IF NOT EXISTS FOR ()-[e:RELATES_TO]-() ON (e.valid_at)",
                "CREATE INDEX invalid_at_edge_index IF NOT EXISTS FOR ()-[e:RELATES_TO]-() ON (e.invalid_at)",
            ):
                session.run(index).consume()
            session.run("CALL db.awaitIndexes(300)").consume()
            try:
                began = time.perf_counter()
                for rows in _nodes(part):
                    session.run(
                        "UNWIND $rows AS row CREATE (n:Entity) SET n = row, n.group_id = $group", rows=rows, group=group
                    ).consume()
                for rows in _relations(part):
                    session.run(
                        "UNWIND $rows AS row MATCH (a:Entity {uuid: row.a}) MATCH (b:Entity {uuid: row.b}) "
                        "CREATE (a)-[e:RELATES_TO]->(b) SET e = row.e, e.group_id = $group",
                        rows=rows,
                        group=group,
                    ).consume()
                written_s = time.perf_counter() - began
                asked = part.asked(seed, QUERIES + 20)
                figures = {"facts": float(size), "facts_per_s": size / written_s}
                for name, entities in (("as_of", [one for one, _, _ in asked]), ("hub", [made.entity(0)] * len(asked))):
                    ms = []
                    for entity, (_, valid, told) in zip(entities, asked, strict=True):
                        began = time.perf_counter()
                        list(session.run(AS_OF, uuid=entity, group=group, valid=valid, told=told))
                        ms.append((time.perf_counter() - began) * 1e3)
                    figures |= _percentiles(name, ms[20:])
                return figures
            finally:
                session.run(
                    "MATCH (n:Entity {group_id: $group}) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 10000 ROWS",
                    group=group,
                ).consume()
    except (DriverError, Neo4jError, OSError) as error:
        raise ConnectionError(" ".join(str(error).split())[:200]) from error


def _nodes(edges: made.Edges) -> list[list[dict[str, object]]]:
    numbers = np.unique(np.concatenate([edges.subjects, edges.objects])).tolist()
    rows: list[dict[str, object]] = [
        {"uuid": made.entity(one), "name": made.entity(one), "summary": "", "created_at": made.T0} for one in numbers
    ]
    return [rows[first : first + EDGE_BATCH] for first in range(0, len(rows), EDGE_BATCH)]


def _relations(edges: made.Edges) -> list[list[dict[str, object]]]:
    """What takes a statement back ends its edge, as Graphiti does in place; it makes no edge of its own."""
    rows: list[dict[str, object]] = []
    last: dict[tuple[str, str, str | None], dict[str, object]] = {}
    for number, fact in enumerate(edges.facts(0, len(edges.subjects))):
        statement = (fact.subject, fact.relation, fact.entity)
        if fact.retracted:
            if statement in last:
                last[statement] |= {"invalid_at": fact.valid.start, "expired_at": fact.told_at}
            continue
        edge: dict[str, object] = {
            "uuid": f"{number:012d}",
            "name": fact.relation,
            "fact": f"{fact.subject} {fact.relation} {fact.entity}",
            "created_at": fact.told_at,
            "valid_at": fact.valid.start,
            "invalid_at": fact.valid.end,
            "expired_at": None,
        }
        last[statement] = edge
        rows.append({"a": fact.subject, "b": fact.entity, "e": edge})
    return [rows[first : first + EDGE_BATCH] for first in range(0, len(rows), EDGE_BATCH)]


def _percentiles(name: str, ms: list[float]) -> Figures:
    return {f"{name}_p95_ms": float(np.percentile(ms, 95)), f"{name}_p50_ms": statistics.median(ms)}
