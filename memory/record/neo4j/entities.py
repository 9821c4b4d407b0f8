"""Mentions, extraction and merges of Entities, in Cypher."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from core.entities import Mention, Merge, NewMention
from core.ids import normalised_name
from core.nouns import AsOf, Entity, Episode
from memory.record import rows
from memory.record.entity_steps import Tally
from memory.record.neo4j.episodes import PLAIN
from memory.record.neo4j.facts import Facts
from memory.record.neo4j.statements import THESE
from memory.record.transaction import Held

_MERGE = """
    MATCH (k:Entity)<-[:KEPT]-(m)-[:MERGED]->(o:Entity)
    RETURN m.id AS id, k.id AS kept_id, k.name AS kept_name, o.id AS merged_id, o.name AS merged_name,
           m.reason AS reason, m.recorded_at AS recorded_at, m.seq AS seq, m.undone_seq AS undone_seq
    ORDER BY seq
"""


class Entities(Facts):
    """The part of `Transaction` about Entities."""

    def unextracted(self, held: Held, version: int, limit: int) -> list[Episode]:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, extractor, seq, ordinal)
            WHERE e.namespace = $key AND e.extractor < $version AND e.seq IS NOT NULL AND e.ordinal IS NOT NULL
            RETURN e ORDER BY e.namespace, e.extractor, e.seq, e.ordinal LIMIT $limit
        """
        found = self._all(query, key=held.key, version=version, limit=limit)
        return [rows.episode_from(held.name, PLAIN | dict(row["e"])) for row in found]

    def first_unextracted(self, held: Held | None, version: int) -> int | None:
        keys = [held.key] if held else [row["key"] for row in self._all("MATCH (n:Namespace) RETURN n.key AS key")]
        query = """
            UNWIND $keys AS key UNWIND $versions AS version
            CALL (key, version) {
                MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, extractor, seq, ordinal)
                WHERE e.namespace = key AND e.extractor = version AND e.seq IS NOT NULL AND e.ordinal IS NOT NULL
                RETURN e.seq AS seq ORDER BY e.namespace, e.extractor, e.seq, e.ordinal LIMIT 1
            }
            RETURN min(seq) AS first
        """
        # Of one version at a time: the index has its first commit first.
        row = self._one(query, keys=keys, versions=list(range(version)))
        return None if row is None else row["first"]

    def write_mentions(self, held: Held, version: int, mentions: Mapping[str, Sequence[NewMention]]) -> None:
        ids = list(mentions)
        these = "USING INDEX SEEK e:Episode(id) WHERE e.id IN $ids"
        query = f"MATCH (e:Episode)-[:MENTIONS]->(x:Entity) {these} RETURN DISTINCT x.normalised AS id"
        before = self._ids(query, ids=ids)
        if before:
            self._do(f"MATCH (e:Episode)-[m:MENTIONS]->() {these} DELETE m", ids=ids)
        names: dict[str, str] = {}
        for one in (one for named in mentions.values() for one in named):
            names.setdefault(normalised_name(one.name), one.name)  # the first spelling is the Entity's
        self._make_entities(held, names)
        # Of several mentions at one place, the first counts.
        placed = {
            (episode_id, one.start_byte, one.end_byte, normalised_name(one.name)): one.kind
            for episode_id, named in mentions.items()
            for one in reversed(named)
        }
        self._do(
            """
            UNWIND $mentions AS row
            MATCH (e:Episode {id: row[0]}), (x:Entity {namespace: $key, normalised: row[3]})
            USING INDEX SEEK x:Entity(namespace, normalised)
            CREATE (e)-[:MENTIONS {start_byte: row[1], end_byte: row[2], kind: row[4]}]->(x)
            """,
            key=held.key,
            mentions=[[*place, kind] for place, kind in placed.items()],
        )
        self._do(
            f"{THESE} SET e.extractor = $version",
            ids=ids,
            version=version,
        )
        if before:
            self._drop_unnamed(held.key, before)

    def entity_named(self, held: Held, name: str) -> Entity | None:
        query = "MATCH (x:Entity {namespace: $key, normalised: $normalised}) RETURN x.id AS id, x.name AS name"
        row = self._one(query, key=held.key, normalised=normalised_name(name))
        return None if row is None else Entity(row["id"], row["name"])

    def entities_by_id(self, held: Held, ids: Sequence[str]) -> list[Entity]:
        query = """
            MATCH (x:Entity) USING INDEX SEEK x:Entity(id) WHERE x.id IN $ids AND x.namespace = $key
            RETURN x.id AS id, x.name AS name ORDER BY id
        """
        return [Entity(row["id"], row["name"]) for row in self._all(query, ids=list(ids), key=held.key)]

    def make_entity(self, held: Held, name: str) -> Entity:
        (made,) = self._make_entities(held, {normalised_name(name): name}).values()
        return made

    def entities_after(self, held: Held, after: str, limit: int) -> list[Entity]:
        query = """
            MATCH (x:Entity) USING INDEX SEEK x:Entity(namespace, normalised)
            WHERE x.namespace = $key AND x.normalised > $after
            RETURN x.id AS id, x.name AS name ORDER BY x.namespace, x.normalised LIMIT $limit
        """
        found = self._all(query, key=held.key, after=after, limit=limit)
        return [Entity(row["id"], row["name"]) for row in found]

    def tallies(self, held: Held, groups: Sequence[Sequence[str]], as_of: AsOf) -> list[Tally]:
        query = """
            UNWIND range(0, size($groups) - 1) AS place
            CALL (place) {
                MATCH (x:Entity)<-[m:MENTIONS]-(e) USING INDEX SEEK x:Entity(id)
                WHERE x.id IN $groups[place] AND e.told_at <= $told AND e.seq <= $seq
                RETURN count(DISTINCT e) AS episodes, collect(m.kind) AS kinds
            }
            CALL (place) {
                MATCH (x:Entity)<-[:SUBJECT|OBJECT]-(f) USING INDEX SEEK x:Entity(id)
                WHERE x.id IN $groups[place] AND f.told_at <= $told_by AND f.seq <= $seq
                RETURN count(DISTINCT f) AS facts
            }
            RETURN place, episodes, kinds, facts ORDER BY place
        """
        told = min(as_of.told_by, as_of.valid_at)
        given = [list(group) for group in groups]
        found = self._all(query, groups=given, told=told, told_by=as_of.told_by, seq=as_of.seq) if groups else []
        return [Tally(row["episodes"], row["facts"], Counter(row["kinds"])) for row in found]

    def mentioning(
        self, held: Held, entity_ids: Sequence[str], as_of: AsOf, limit: int, after: tuple[int, str] | None
    ) -> list[Mention]:
        later = "AND e.told_at >= $after_at AND (e.told_at <> $after_at OR e.id > $after_id)" if after else ""
        query = f"""
            MATCH (x:Entity)<-[m:MENTIONS]-(e) USING INDEX SEEK x:Entity(id)
            WHERE x.id IN $ids AND e.told_at <= $told AND e.seq <= $seq {later}
            WITH e, collect([m.start_byte, m.end_byte]) AS spans
            RETURN e, spans ORDER BY e.told_at, e.id LIMIT $limit
        """
        told = min(as_of.told_by, as_of.valid_at)
        at, last = after or (0, "")
        found = self._all(
            query, ids=list(entity_ids), told=told, seq=as_of.seq, limit=limit, after_at=at, after_id=last
        )
        return [
            Mention(
                rows.episode_from(held.name, PLAIN | dict(row["e"])),
                tuple(sorted((start, end) for start, end in row["spans"] if end)),
            )
            for row in found
        ]

    def mentioned_in(self, held: Held, episode_ids: Sequence[str]) -> list[tuple[str, Entity]]:
        query = """
            MATCH (e:Episode)-[:MENTIONS]->(x:Entity) USING INDEX SEEK e:Episode(id)
            WHERE e.id IN $ids AND e.namespace = $key
            WITH DISTINCT e, x
            RETURN collect([e.id, x.id, x.name]) AS found
        """
        row = self._one(query, ids=list(episode_ids), key=held.key)
        assert row is not None  # `collect` has one row, also of nothing
        return [(episode_id, Entity(key, name)) for episode_id, key, name in row["found"]]

    def merges(self, held: Held) -> list[Merge]:
        query = f"MATCH (m:Merge) WHERE m.namespace = $key AND m.seq IS NOT NULL {_MERGE}"
        return [rows.merge_from(row) for row in self._all(query, key=held.key)]

    def write_merge(self, held: Held, merge: Merge) -> None:
        self._do(
            """
            MATCH (k:Entity {id: $kept}), (o:Entity {id: $merged})
            CREATE (k)<-[:KEPT]-(m:Merge)-[:MERGED]->(o) SET m = $columns
            """,
            kept=merge.kept.id,
            merged=merge.merged.id,
            columns={
                "id": merge.id,
                "namespace": held.key,
                "reason": merge.reason,
                "recorded_at": merge.recorded_at,
                "seq": merge.seq,
                "undone_seq": merge.undone_seq,
            },
        )
        self._merges_changed(held.key, max(merge.seq, merge.undone_seq))

    def undo_merge(self, held: Held, merge_id: str, seq: int) -> None:
        query = "MATCH (m:Merge {id: $id}) WHERE m.namespace = $key SET m.undone_seq = $seq"
        self._do(query, id=merge_id, key=held.key, seq=seq)
        self._merges_changed(held.key, seq)

    def drop_merges(self, held: Held, merge_ids: Sequence[str]) -> None:
        self._drop(held.key, merge_ids)
