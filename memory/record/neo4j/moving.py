"""What a backup reads and a restore writes beside the rest, in Cypher."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from core.moving import Audit, StoredNamespace
from core.nouns import Expiry, Fact, RelationPolicy, Space, TimeToLive
from memory.record import rows
from memory.record.neo4j.facts import FACT, Facts
from memory.record.neo4j.statements import OURS
from memory.record.tombstones import Buried
from memory.record.transaction import Commit, Held

_AUDIT = ("audit_id", "namespace", "recorded_at", "seq", "episodes", "concepts", "facts")


class Moving(Facts):
    """The part of `Transaction` about backups."""

    def commit_by(self, seq: int) -> Commit | None:
        run = self._run_by(seq)
        if run is None:
            return None
        first, at, others = run
        return Commit(first + min(seq - first, others), at + min(seq - first, others))

    def commits_after(self, after: int, up_to: int, limit: int) -> list[Commit]:
        query = """
            MATCH (c:Commit) WHERE c.seq > $after AND c.seq <= $up_to
            RETURN c.seq AS seq, c.recorded_at AS at, coalesce(c.others, 0) AS others ORDER BY c.seq LIMIT $limit
        """
        found = self._all(query, after=after, up_to=up_to, limit=limit)
        runs = [(row["seq"], row["at"], row["others"]) for row in found]
        if (begun := self._run_by(after)) is not None:  # what is after may begin in the middle of it
            runs.insert(0, begun)
        each = (Commit(seq + place, at + place) for seq, at, others in runs for place in range(others + 1))
        return list(islice((one for one in each if after < one.seq <= up_to), limit))

    def put_commits(self, commits: Sequence[Commit]) -> None:
        # One that stands in a run has no node of its own, and must not get one.
        seqs = [one.seq for one in commits]
        there = {one.seq for one in self.commits_after(min(seqs) - 1, max(seqs), len(seqs))} if seqs else set()
        self._do(
            "UNWIND $commits AS row CREATE (:Commit {seq: row[0], recorded_at: row[1]})",
            commits=[[one.seq, one.recorded_at] for one in commits if one.seq not in there],
        )
        last = max(commits, key=lambda one: one.seq, default=Commit(0, 0))
        query = "MATCH (c:Counter {name: 'seq'}) WHERE c.seq < $seq SET c.seq = $seq, c.recorded_at = $at"
        self._do(query, seq=last.seq, at=last.recorded_at)

    def _run_by(self, seq: int) -> tuple[int, int, int] | None:
        """The node of the commit `seq`, or of the last before it: its first commit, the time, and how many follow."""
        query = """
            MATCH (c:Commit) WHERE c.seq <= $seq
            RETURN c.seq AS seq, c.recorded_at AS at, coalesce(c.others, 0) AS others ORDER BY c.seq DESC LIMIT 1
        """
        row = self._one(query, seq=seq)
        return None if row is None else (row["seq"], row["at"], row["others"])

    def clear(self) -> None:
        self._do("MATCH (n) WHERE n:Request OR n:Namespace OR n:Commit DETACH DELETE n")
        self._do("MATCH (c:Counter {name: 'seq'}) SET c.seq = 0 REMOVE c.recorded_at")

    def stored_namespaces(self) -> list[StoredNamespace]:
        query = """
            MATCH (n:Namespace)
            RETURN n.key AS key, n.name AS name, n.created_at AS at, n.time_to_live AS lived, n.expiry AS expiry,
                   n.space_name AS space_name, n.space_version AS space_version, n.dimensions AS dimensions
            ORDER BY name
        """
        return [
            StoredNamespace(
                row["name"],
                row["key"],
                row["at"],
                None if row["dimensions"] is None else rows.space_from(row),
                None if row["lived"] is None else TimeToLive(row["lived"], Expiry(row["expiry"])),
            )
            for row in self._all(query)
        ]

    def set_space(self, held: Held, space: Space) -> None:
        self._do(
            "MATCH (n:Namespace {name: $name}) SET n.space_name = $space_name, n.space_version = $space_version, "
            "n.dimensions = $dimensions",
            name=held.name,
            space_name=space.name,
            space_version=space.version,
            dimensions=space.dimensions,
        )

    def ordinals(self, held: Held, episode_ids: Sequence[str]) -> dict[str, int]:
        query = f"{OURS} RETURN e.id AS id, e.ordinal AS ordinal"
        found = self._all(query, ids=list(episode_ids), key=held.key)
        return {row["id"]: row["ordinal"] for row in found}

    def facts_after(self, held: Held, after: int, up_to: int, limit: int) -> list[Fact]:
        query = f"""
            MATCH (f:Fact) USING INDEX SEEK f:Fact(namespace, seq)
            WHERE f.namespace = $key AND f.seq > $after AND f.seq <= $up_to
            WITH f ORDER BY f.namespace, f.seq LIMIT $limit
            {FACT}
        """
        return self._facts(query, key=held.key, after=after, up_to=up_to, limit=limit)

    def policies_after(self, held: Held, after: int, up_to: int) -> list[RelationPolicy]:
        query = """
            MATCH (p:RelationPolicy)
            WHERE p.namespace = $key AND p.relation IS NOT NULL AND p.seq > $after AND p.seq <= $up_to
            RETURN p.relation AS relation, p.policy AS policy, p.recorded_at AS recorded_at, p.seq AS seq
        """
        return [rows.policy_from(row) for row in self._all(query, key=held.key, after=after, up_to=up_to)]

    def reset_kept(self, held: Held, up_to: int) -> None:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, seq, id)
            WHERE e.namespace = $key AND e.seq <= $up_to AND e.id IS NOT NULL
            REMOVE e.archived_seq, e.expires_at, e.expiry, e.uses, e.used_at, e.holds, e.held
        """
        self._do(query, key=held.key, up_to=up_to)

    def audits_after(self, after: int, up_to: int, limit: int) -> list[Audit]:
        query = "MATCH (n:Forgotten) WHERE n.seq > $after AND n.seq <= $up_to RETURN n ORDER BY n.seq LIMIT $limit"
        found = self._all(query, after=after, up_to=up_to, limit=limit)
        return [Audit(*(row["n"][column] for column in _AUDIT)) for row in found]

    def audits_known(self, audit_ids: Sequence[str]) -> set[str]:
        these = "MATCH (n:Forgotten) USING INDEX SEEK n:Forgotten(audit_id) WHERE n.audit_id IN $ids"
        return set(self._ids(f"{these} RETURN n.audit_id AS id", ids=list(audit_ids)))

    def buried_namespaces(self) -> list[str]:
        query = """
            MATCH (t:Tombstone) WHERE t.namespace IS NOT NULL AND t.seq IS NOT NULL
            RETURN DISTINCT t.namespace AS id ORDER BY id
        """
        return self._ids(query)

    def tombstones_after(
        self, namespace: str, kind: Buried, after: str, later_than: int, limit: int
    ) -> list[tuple[str, int]]:
        query = """
            MATCH (t:Tombstone)
            WHERE t.namespace = $namespace AND t.kind = $kind AND t.digest > $after AND t.seq > $later_than
            RETURN t.digest AS digest, t.seq AS seq ORDER BY digest LIMIT $limit
        """
        values = {"namespace": namespace, "kind": int(kind), "after": after, "later_than": later_than, "limit": limit}
        return [(row["digest"], row["seq"]) for row in self._all(query, **values)]
