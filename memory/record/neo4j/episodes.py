"""Episodes and their Concepts, and the statistics over them, in Cypher."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

from core.nouns import (
    AsOf,
    ConceptColumns,
    Episode,
    EpisodeFilter,
    Expiry,
    Space,
    StoredConcept,
)
from core.windows import EpisodeColumns, Windows, windows_of
from memory.record import rows
from memory.record.neo4j.statements import OURS, THESE, Statements, from_list
from memory.record.transaction import Commit, Held

VECTOR = ("vector", "vector_b")
"""The property of a Concept's vector, by slot; where there is none, the property is not there."""
CONCEPT = """
    MATCH (e:Episode)-[:HAS]->(c)
    RETURN c.id AS id, c.ordinal AS ordinal, c.start_byte AS start_byte, c.end_byte AS end_byte,
           c.language AS language, c.term_ids AS term_ids, c.term_weights AS term_weights, c.$vector AS vector,
           e.id AS episode_id, e.text AS text
"""
# How an Episode is kept that nobody has archived, held, given an end or cited: it has none of these properties.
PLAIN = {"archived_seq": 0, "holds": (), "expires_at": None, "expiry": int(Expiry.ARCHIVE), "uses": 0, "used_at": None}


class Episodes(Statements):
    """The part of `Transaction` about Episodes and Concepts."""

    def known(self, held: Held, identities: Sequence[str]) -> dict[str, tuple[str, int]]:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, identity)
            WHERE e.namespace = $key AND e.identity IN $identities
            RETURN e.identity AS identity, e.id AS id, e.seq AS seq
        """
        found = self._all(query, key=held.key, identities=list(identities))
        return {row["identity"]: (row["id"], row["seq"]) for row in found}

    def taken(self, episode_ids: Sequence[str]) -> str | None:
        if not episode_ids:
            return None
        row = self._one(
            f"{THESE} RETURN e.id AS id LIMIT 1",
            ids=list(episode_ids),
        )
        return None if row is None else str(row["id"])

    def write_episodes(self, held: Held, space: Space, fresh: Sequence[rows.FreshEpisode], commit: Commit) -> None:
        told = []
        for one in fresh:
            recorded_at, seq = one.made(commit.recorded_at, commit.seq)
            own = {"id": one.id, "ordinal": one.ordinal, "recorded_at": recorded_at, "seq": seq, "extractor": 0}
            told.append(own | one.packed.columns())
        parts = [
            [
                {"id": concept_id, "ordinal": ordinal, **concept.columns()}
                for ordinal, (concept_id, concept) in enumerate(zip(one.concept_ids, one.packed.concepts, strict=True))
            ]
            for one in fresh
        ]
        columns = list(told[0])
        query = f"""
            UNWIND $episodes AS row
            CREATE (e:Episode {{namespace: $key, {from_list("row", columns)}}})
        """
        part = next(chain.from_iterable(parts), None)
        if part is not None:
            query += f"""
                WITH e, row UNWIND row[{len(columns)}] AS part
                CREATE (e)-[:HAS]->(:Concept {{namespace: $key, {from_list("part", _in_slot(held, part))}}})
            """
        self._do(
            query,
            key=held.key,
            episodes=[
                [*one.values(), [[*part.values()] for part in its]] for one, its in zip(told, parts, strict=True)
            ],
        )
        terms = rows.term_counts(rows.counted_terms(fresh))
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
            "n.dimensions = $dimensions, n.episodes = n.episodes + $episodes, n.concepts = n.concepts + $concepts, "
            "n.dreamt = coalesce(n.dreamt, 0) + $dreamt",
            name=held.name,
            space_name=space.name,
            space_version=space.version,
            dimensions=space.dimensions,
            episodes=len(fresh),
            concepts=sum(len(one.concept_ids) for one in fresh),
            dreamt=rows.dreamt_counts(fresh),
        )

    def episodes(self, held: Held, ids: Sequence[str]) -> list[Episode]:
        query = f"{OURS} RETURN e"
        return self._episodes(held, query, ids=list(ids))

    def window(self, held: Held, episode_ids: Sequence[str], radius: int) -> Windows:
        # Each Episode comes once, however many windows it stands in.
        query = f"""
            MATCH (m:Episode) USING INDEX SEEK m:Episode(id) WHERE m.id IN $ids AND m.namespace = $key
            CALL (m) {{{_beside("<", "DESC")} RETURN collect(n) AS earlier }}
            CALL (m) {{{_beside(">", "ASC")} RETURN collect(n) AS later }}
            WITH m, reverse(earlier) + [m] + later AS near
            WITH collect({{centre: m.id, near: [n IN near | n.id]}}) AS windows, collect(near) AS all
            UNWIND all AS near UNWIND near AS n
            WITH DISTINCT windows, n ORDER BY n.id
            RETURN windows, collect(n) AS told
        """
        row = self._one(query, ids=list(episode_ids), key=held.key, radius=radius)
        if row is None:
            return windows_of(EpisodeColumns(held.name), (), (), ())
        told: list[dict[str, Any]] = [PLAIN | dict(node) for node in row["told"]]
        columns: list[list[Any]] = [[one[column] for one in told] for column in rows.EPISODE_COLUMNS]
        windows = [one["near"] for one in row["windows"]]
        return windows_of(
            EpisodeColumns(held.name, *columns), columns[0], windows, [one["centre"] for one in row["windows"]]
        )

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
        return self._concepts(held, query + CONCEPT, ids)

    def concepts_of(self, held: Held, episode_ids: Sequence[str]) -> list[StoredConcept]:
        query = f"""
            MATCH (told:Episode)-[:HAS]->(c:Concept) USING INDEX SEEK told:Episode(id)
            WHERE told.id IN $ids AND told.namespace = $key
            {CONCEPT} ORDER BY ordinal
        """
        return self._concepts(held, query, episode_ids)

    def columns_of(self, held: Held, episode_ids: Sequence[str]) -> ConceptColumns:
        query = f"""
            MATCH (e:Episode)-[:HAS]->(c:Concept) USING INDEX SEEK e:Episode(id)
            WHERE e.id IN $ids AND e.namespace = $key
            RETURN c.id AS id, c.ordinal AS ordinal, c.start_byte AS start_byte, c.end_byte AS end_byte,
                   c.language AS language, c.term_ids AS term_ids, c.term_weights AS term_weights,
                   c.{VECTOR[held.slot]} AS vector, e.id AS episode_id
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
        these = "MATCH (t:Term) USING INDEX SEEK t:Term(namespace, term) WHERE t.namespace = $key AND t.term IN $terms"
        query = f"{these} RETURN t.term AS term, t.df AS df"
        return {row["term"]: row["df"] for row in self._all(query, key=held.key, terms=list(terms))}

    def _episodes(self, held: Held, query: str, **values: Any) -> list[Episode]:
        return [
            rows.episode_from(held.name, PLAIN | dict(row["e"])) for row in self._all(query, key=held.key, **values)
        ]

    def _concepts(self, held: Held, query: str, ids: Sequence[str]) -> list[StoredConcept]:
        if held.space is None:  # no Episode was ever written
            return []
        query = query.replace("c.$vector", f"c.{VECTOR[held.slot]}")
        return [rows.concept_from(held.space, row) for row in self._all(query, key=held.key, ids=list(ids))]


def _in_slot(held: Held, columns: Iterable[str]) -> list[str]:
    """The properties of a Concept, its vector in the place that counts."""
    return [VECTOR[held.slot] if one == VECTOR[0] else one for one in columns]


def _beside(comes: str, order: str) -> str:
    """The `$radius` nearest places (position, seq, ordinal) of m's conversation, as n, on one side of m's own.

    Two seeks, each in the order of the index, so that neither reads further than that: one among those at m's position,
    which may be all of a conversation that nobody has numbered, and one beyond.
    """
    place = "namespace, source_name, conversation, position, seq, ordinal"
    seek = f"""
        MATCH (n:Episode) USING INDEX SEEK n:Episode({place})
        WHERE n.namespace = $key AND n.source_name = m.source_name AND m.conversation <> ''
          AND n.conversation = m.conversation AND {{0}} AND n.ordinal IS NOT NULL
        RETURN n ORDER BY {", ".join(f"n.{column} {order}" for column in place.split(", "))} LIMIT $radius
    """
    same = f"n.position = m.position AND n.seq {comes}= m.seq AND (n.seq <> m.seq OR n.ordinal {comes} m.ordinal)"
    return f"""
        CALL (m) {{
            {seek.format(same)} UNION ALL {seek.format(f"n.position {comes} m.position AND n.seq IS NOT NULL")}
        }}
        WITH n ORDER BY n.position {order}, n.seq {order}, n.ordinal {order} LIMIT $radius
    """
