"""What a deletion takes, and the deletion, in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from core.nouns import SourceKind
from memory.record import rows
from memory.record.sqlite.statements import GIVEN, Statements
from memory.record.transaction import Going, Held


class Deleting(Statements):
    """The part of `Transaction` about deletion."""

    def select(self, held: Held, episode_ids: Sequence[str], speaker: str, conversation: str) -> Going:
        clauses = ["+namespace = ?" if episode_ids else "namespace = ?"]
        values: list[object] = [held.key]
        for column, wanted in (("speaker", speaker), ("conversation", conversation)):
            if wanted:
                clauses.append(f"{column} = ?")
                values.append(wanted)
        if episode_ids:
            clauses.append(f"id IN {GIVEN}")
            values.append(json.dumps(episode_ids))
        episodes = self._ids(f"SELECT id FROM episode WHERE {' AND '.join(clauses)} ORDER BY id", *values)
        concepts = self._ids(
            f"SELECT c.id FROM concept c JOIN episode e ON e.key = c.episode WHERE e.id IN {GIVEN} ORDER BY c.id",
            json.dumps(episodes),
        )
        same = (
            "{0}.subject = {1}.subject AND {0}.relation = {1}.relation "
            "AND {0}.entity IS {1}.entity AND {0}.literal IS {1}.literal"
        )
        facts = self._ids(
            f"""
            WITH told AS (SELECT f.* FROM fact f JOIN episode e ON e.key = f.episode WHERE e.id IN {GIVEN})
            SELECT id FROM told
            UNION
            SELECT r.id FROM told g JOIN fact r ON {same.format("r", "g")}
            WHERE r.retracted AND r.episode IS NULL AND NOT EXISTS (
                SELECT 1 FROM fact a
                WHERE {same.format("a", "r")} AND NOT a.retracted AND a.key NOT IN (SELECT key FROM told)
            )
            ORDER BY id
            """,
            json.dumps(episodes),
        )
        return Going(episodes, concepts, facts)

    def delete(self, held: Held, going: Going) -> None:
        episodes, concepts, facts = (json.dumps(ids) for ids in (going.episodes, going.concepts, going.facts))
        query = f"""
            SELECT term_ids FROM concept c JOIN episode e ON e.key = c.episode
            WHERE c.namespace = ? AND c.id IN {GIVEN} AND e.kind != ?
        """
        packed = (row["term_ids"] for row in self._db.execute(query, (held.key, concepts, SourceKind.DREAM)))
        terms = sorted(rows.term_counts(packed).items())
        self._db.executemany(
            "UPDATE term SET df = df - ? WHERE namespace = ? AND term = ?", ((df, held.key, term) for term, df in terms)
        )
        self._db.executemany(
            "DELETE FROM term WHERE namespace = ? AND term = ? AND df = 0", ((held.key, term) for term, _ in terms)
        )
        speakers = self._db.execute(
            f"SELECT count(*), namespace, speaker FROM episode WHERE id IN {GIVEN} AND speaker != '' "
            "GROUP BY namespace, speaker",
            (episodes,),
        ).fetchall()
        self._db.executemany("UPDATE speaker SET episodes = episodes - ? WHERE namespace = ? AND name = ?", speakers)
        self._db.execute("DELETE FROM speaker WHERE namespace = ? AND episodes = 0", (held.key,))
        query = f"SELECT subject FROM fact WHERE id IN {GIVEN} UNION SELECT entity FROM fact WHERE id IN {GIVEN}"
        named = {key for (key,) in self._db.execute(query, (facts, facts)) if key is not None}
        those = f"FROM mention WHERE episode IN (SELECT key FROM episode WHERE id IN {GIVEN})"
        named |= {key for (key,) in self._db.execute(f"SELECT DISTINCT entity {those}", (episodes,))}
        self._db.execute(f"DELETE FROM fact WHERE id IN {GIVEN}", (facts,))
        self._db.execute(f"DELETE {those}", (episodes,))
        self._drop_unnamed(held.key, sorted(named))
        of_dreams = f"concept c JOIN episode e ON e.key = c.episode WHERE e.kind = ? AND e.id IN {GIVEN}"
        dreamt = self._count(of_dreams, SourceKind.DREAM, episodes)
        self._db.execute(f"DELETE FROM concept WHERE namespace = ? AND id IN {GIVEN}", (held.key, concepts))
        keys = f"(SELECT key FROM episode WHERE id IN {GIVEN})"
        self._db.execute(f"DELETE FROM derived WHERE episode IN {keys} OR source IN {keys}", (episodes, episodes))
        self._db.execute(f"DELETE FROM episode WHERE id IN {GIVEN}", (episodes,))
        self._db.execute(
            "UPDATE namespace SET episodes = episodes - ?, concepts = concepts - ?, dreamt = dreamt - ? WHERE key = ?",
            (len(going.episodes), len(going.concepts), dreamt, held.key),
        )
