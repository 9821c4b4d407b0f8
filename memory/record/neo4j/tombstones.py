"""What stays of what was deleted, in Cypher."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from memory.record.neo4j.statements import OURS, Statements
from memory.record.tombstones import Buried, Mark
from memory.record.transaction import Held


class Tombstones(Statements):
    """The part of `Transaction` about tombstones."""

    def secret(self) -> bytes:
        row = self._one("MATCH (c:Counter {name: 'seq'}) RETURN c.secret AS secret")
        assert row is not None  # the schema was made with it
        return bytes(row["secret"])

    def identities(self, held: Held, episode_ids: Sequence[str] | None) -> Iterator[tuple[str, str]]:
        # Two properties are asked for, so that the index over both is used.
        match = "MATCH (e:Episode) WHERE e.namespace = $key AND e.identity IS NOT NULL"
        if episode_ids is not None:
            match = OURS
        query = f"{match} RETURN e.id AS id, e.identity AS identity"
        for row in self._all(query, key=held.key, ids=list(episode_ids or ())):
            yield row["id"], row["identity"]

    def fact_ids(self, held: Held) -> Iterator[str]:
        query = "MATCH (f:Fact) WHERE f.namespace = $key AND f.seq IS NOT NULL RETURN f.id AS id"
        yield from self._ids(query, key=held.key)

    def any_buried(self, namespace: str) -> bool:
        query = "MATCH (t:Tombstone) WHERE t.namespace = $namespace AND t.seq > 0 RETURN t.seq AS seq LIMIT 1"
        return self._one(query, namespace=namespace) is not None

    def buried(self, namespace: str, marks: Collection[Mark]) -> set[Mark]:
        query = """
            UNWIND $marks AS row MATCH (t:Tombstone {namespace: $namespace, kind: row[0], digest: row[1]})
            RETURN t.kind AS kind, t.digest AS digest
        """
        found = self._all(query, namespace=namespace, marks=[[int(kind), digest] for kind, digest in marks])
        return {(Buried(row["kind"]), row["digest"]) for row in found}

    def bury(self, namespace: str, marks: Collection[Mark], seq: int) -> None:
        self._do(
            """
            UNWIND $marks AS row MERGE (t:Tombstone {namespace: $namespace, kind: row[0], digest: row[1]})
            SET t.seq = CASE WHEN t.seq > $seq THEN t.seq ELSE $seq END
            """,
            namespace=namespace,
            marks=[[int(kind), digest] for kind, digest in marks],
            seq=seq,
        )

    def unbury(self, namespace: str, marks: Collection[Mark]) -> None:
        query = """
            UNWIND $marks AS row MATCH (t:Tombstone {namespace: $namespace, kind: row[0], digest: row[1]}) DELETE t
        """
        self._do(query, namespace=namespace, marks=[[int(kind), digest] for kind, digest in marks])
