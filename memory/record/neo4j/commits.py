"""Namespaces, commits, the answers to writes, the outbox, in Cypher."""

from __future__ import annotations

from core.nouns import (
    Forgotten,
    Namespace,
    OutboxEntry,
    RecordCounts,
)
from memory.record import rows
from memory.record.neo4j.statements import Statements
from memory.record.transaction import Commit, Held

# Every node but Namespace, Commit, Outbox, Forgotten and Counter carries its namespace's key as `namespace`; the second
# property is what makes the node unique in it, or orders it.
_CONTENT = {
    "Fact": "seq",
    "Merge": "seq",
    "Entity": "normalised",
    "Concept": "id",
    "Episode": "identity",
    "Term": "term",
    "Speaker": "name",
    "Request": "request_id",
    "Dream": "id",
    "Migration": "id",
    "DreamChange": "dream",
    "RelationPolicy": "relation",
}


class Commits(Statements):
    """The part of `Transaction` about commits, namespaces and the outbox."""

    def last_commit(self) -> Commit | None:
        last = self._last
        if last is None:  # a reader
            row = self._one("MATCH (c:Counter {name: 'seq'}) RETURN c.seq AS seq, c.recorded_at AS at")
            last = None if row is None else Commit(row["seq"], row["at"])
        return last if last and last.seq else None

    def commit(self, *commits: Commit) -> None:
        """Commits that follow one another, a number and a microsecond apart, are one node: Facts come by the thousand.

        `others` is how many more come after the one that the node is of; a node of one commit has no such property.
        """
        runs: list[list[int]] = []
        for seq, at in ((one.seq, one.recorded_at) for one in commits):
            if runs and (seq, at) == (runs[-1][0] + runs[-1][2] + 1, runs[-1][1] + runs[-1][2] + 1):
                runs[-1][2] += 1
            else:
                runs.append([seq, at, 0])
        self._do(
            "MATCH (c:Counter {name: 'seq'}) SET c.seq = $seq, c.recorded_at = $at WITH c UNWIND $runs AS row "
            "CREATE (:Commit {seq: row[0], recorded_at: row[1], others: CASE WHEN row[2] > 0 THEN row[2] END})",
            seq=commits[-1].seq,
            at=commits[-1].recorded_at,
            runs=runs,
        )
        self._last = commits[-1]

    def seq_at(self, recorded_by: int) -> int:
        query = """
            MATCH (c:Commit) WHERE c.recorded_at <= $by
            RETURN c.seq AS seq, c.recorded_at AS at, coalesce(c.others, 0) AS others
            ORDER BY c.recorded_at DESC LIMIT 1
        """
        row = self._one(query, by=recorded_by)
        return 0 if row is None else int(row["seq"]) + min(recorded_by - row["at"], row["others"])

    def namespaces(self) -> list[Namespace]:
        query = "MATCH (n:Namespace) RETURN n.name AS name, n.created_at AS at ORDER BY name"
        return [Namespace(row["name"], row["at"]) for row in self._all(query)]

    def held(self, name: str) -> Held | None:
        row = self._one(
            "MATCH (n:Namespace {name: $name}) RETURN n.key AS key, n.episodes AS episodes, n.concepts AS concepts, "
            "coalesce(n.dreamt, 0) AS dreamt, coalesce(n.merges, 0) AS merges, "
            "coalesce(n.merged_seq, 0) AS merged_seq, coalesce(n.slot, 0) AS slot, "
            "n.space_name AS space_name, n.space_version AS space_version, n.dimensions AS dimensions",
            name=name,
        )
        if row is None:
            return None
        space = None if row["dimensions"] is None else rows.space_from(row)
        counts = (row["episodes"], row["concepts"], row["dreamt"], row["merges"], row["merged_seq"], row["slot"])
        return Held(row["key"], name, space, *counts)

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
        # Of the whole store it goes by namespace: no index is over archived Episodes alone.
        which = "MATCH (n:Namespace) WITH n.key AS key" if held is None else "WITH $key AS key"
        apart = self._one(
            f"""
            {which} MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, archived_seq, id)
            WHERE e.namespace = key AND e.archived_seq > 0 AND e.id IS NOT NULL
            RETURN count(e) AS episodes, sum(COUNT {{ (e)-[:HAS]->() }}) AS concepts
            """,
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

    def drop_answers(self, before: int, limit: int) -> int:
        query = """
            MATCH (r:Request) WHERE r.recorded_at < $before WITH r ORDER BY r.recorded_at LIMIT $limit
            DELETE r RETURN count(*) AS count
        """
        row = self._one(query, before=before, limit=limit)
        assert row is not None  # a count has one row, also of nothing
        return int(row["count"])

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
