"""Facts, Entities, and the policies of relations, in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from core.ids import entity_id, normalised_name
from core.nouns import (
    AsOf,
    Entity,
    Fact,
    RelationPolicy,
)
from memory.record import rows
from memory.record.sqlite.statements import GIVEN, Statements
from memory.record.transaction import FreshFact, Held

FACT = """
    SELECT f.*, s.id AS subject_id, s.name AS subject_name, o.id AS object_id, o.name AS object_name,
           e.id AS episode_id
    FROM fact f JOIN entity s ON s.key = f.subject
    LEFT JOIN entity o ON o.key = f.entity LEFT JOIN episode e ON e.key = f.episode
"""

# One end's Facts in the order of their ids, as far as the limit asks for: each is held against the later versions of
# its own statement. A version decides about a moment if it is an assertion that covers it, or takes back from then on.
_DECIDES = """
    {0}.told_at <= :told_by AND {0}.seq <= :seq AND ({0}.valid_start IS NULL OR {0}.valid_start <= :valid_at)
    AND ({0}.retracted OR {0}.valid_end IS NULL OR {0}.valid_end > :valid_at)
"""
_AROUND = f"""
    SELECT f.key, f.id FROM fact f INDEXED BY fact_by_{{0}}
    WHERE f.{{1}} = :entity AND NOT f.retracted AND {_DECIDES.format("f")}
      AND f.relation NOT IN (SELECT value FROM json_each(:contended))
      AND NOT EXISTS (
          SELECT 1 FROM fact g INDEXED BY fact_by_statement
          WHERE g.subject = f.subject AND g.relation = f.relation AND g.entity IS f.entity
            AND substr(g.literal, 1, 40) IS substr(f.literal, 1, 40) AND g.literal IS f.literal
            AND (g.told_at, g.seq, g.id) > (f.told_at, f.seq, f.id) AND {_DECIDES.format("g")}
      )
    ORDER BY f.id LIMIT :limit
"""
_AROUND_BOTH = f"""
    SELECT key FROM (
        SELECT * FROM ({_AROUND.format("subject", "subject")})
        UNION SELECT * FROM ({_AROUND.format("object", "entity")})
        ORDER BY id LIMIT :limit
    )
"""


class Facts(Statements):
    """The part of `Transaction` about Facts."""

    def facts_by_id(self, held: Held, ids: Sequence[str]) -> list[Fact]:
        query = f"{FACT} WHERE +f.namespace = ? AND f.id IN {GIVEN}"
        return [rows.fact_from(row) for row in self._db.execute(query, (held.key, json.dumps(ids)))]

    def fact_ids_taken(self, ids: Sequence[str]) -> set[str]:
        return set(self._ids(f"SELECT id FROM fact WHERE id IN {GIVEN}", json.dumps(ids))) if ids else set()

    def write_facts(self, held: Held, fresh: Sequence[FreshFact]) -> dict[str, Entity]:
        keys: dict[str, int] = {}
        for spelt in (name for one in fresh for name in (one.told.subject, one.told.entity) if name is not None):
            normalised = normalised_name(spelt)
            if normalised not in keys:  # the first spelling is the Entity's
                keys[normalised] = self._entity(held, spelt)
        for one in fresh:
            fact, valid, commit = one.told, one.told.valid, one.commit
            subject = keys[normalised_name(fact.subject)]
            target = None if fact.entity is None else keys[normalised_name(fact.entity)]
            self._db.execute(
                "INSERT INTO fact (id, namespace, subject, relation, entity, literal, valid_start, valid_end, "
                "precision, original_text, timezone, told_at, recorded_at, seq, retracted, trust, rule, episode) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT key FROM episode WHERE id = ?))",
                (
                    *(one.id, held.key, subject, fact.relation, target, fact.literal),
                    *(valid.start, valid.end, valid.precision, valid.original_text, valid.timezone),
                    *(fact.told_at, commit.recorded_at, commit.seq, fact.retracted, fact.trust),
                    *(fact.rule, fact.episode_id),
                ),
            )
        query = f"SELECT key, id, name FROM entity WHERE key IN {GIVEN}"
        made = {
            row["key"]: Entity(row["id"], row["name"])
            for row in self._db.execute(query, (json.dumps([*keys.values()]),))
        }
        return {normalised: made[key] for normalised, key in keys.items()}

    def facts(
        self, held: Held, entity: str | None, relation: str, as_of: AsOf, contended: Collection[str]
    ) -> list[Fact]:
        clauses = ["f.namespace = ?", "f.told_at <= ?", "f.seq <= ?"]
        values: list[object] = [held.key, as_of.told_by, as_of.seq]
        if entity is not None:
            known = self._known_entity(held, entity)
            if known is None:
                return []
            # A subject's own Facts bring their rivals along; those of others that name it as object do not.
            reached = "SELECT key FROM fact WHERE subject = ? UNION SELECT key FROM fact WHERE entity = ?"
            clauses = [f"+{clause}" for clause in clauses]
            values += [known, known]
            if contended:
                reached += f"""
                    UNION SELECT r.key FROM fact t JOIN fact r ON r.subject = t.subject AND r.relation = t.relation
                    WHERE t.entity = ? AND t.told_at <= ? AND t.seq <= ? AND t.relation IN {GIVEN}
                """
                values += [known, as_of.told_by, as_of.seq, json.dumps(sorted(contended))]
            clauses.append(f"f.key IN ({reached})")
        if relation:
            clauses.append("f.relation = ?")
            values.append(relation)
        query = f"{FACT} WHERE {' AND '.join(clauses)} ORDER BY f.seq"
        return [rows.fact_from(row) for row in self._db.execute(query, values)]

    def around(self, held: Held, entity: str, as_of: AsOf, contended: Collection[str], limit: int) -> list[Fact]:
        known = self._known_entity(held, entity)
        if known is None:
            return []
        values = {
            "entity": known,
            "told_by": as_of.told_by,
            "seq": as_of.seq,
            "valid_at": as_of.valid_at,
            "contended": json.dumps(sorted(contended)),
            "limit": limit,
        }
        query = f"{FACT} WHERE f.key IN ({_AROUND_BOTH}) ORDER BY f.id"
        return [rows.fact_from(row) for row in self._db.execute(query, values)]

    def write_policy(self, held: Held, policy: RelationPolicy) -> None:
        self._db.execute(
            "INSERT INTO relation_policy (namespace, relation, seq, recorded_at, policy) VALUES (?, ?, ?, ?, ?)",
            (held.key, policy.relation, policy.seq, policy.recorded_at, policy.policy),
        )

    def policies(self, held: Held, seq: int) -> list[RelationPolicy]:
        # With max(), SQLite takes the other columns from the row that has it.
        query = """
            SELECT relation, policy, recorded_at, max(seq) AS seq FROM relation_policy
            WHERE namespace = ? AND seq <= ? GROUP BY relation
        """
        return [rows.policy_from(row) for row in self._db.execute(query, (held.key, seq))]

    def _known_entity(self, held: Held, name: str) -> int | None:
        query = "SELECT entity FROM entity_name WHERE namespace = ? AND normalised = ?"
        row = self._db.execute(query, (held.key, normalised_name(name))).fetchone()
        return None if row is None else int(row["entity"])

    def _entity(self, held: Held, name: str) -> int:
        """The key of the Entity that a name means; made where there is none."""
        known = self._known_entity(held, name)
        if known is not None:
            return known
        query = "INSERT INTO entity (id, namespace, name) VALUES (?, ?, ?) RETURNING key"
        made = int(self._db.execute(query, (entity_id(held.name, name), held.key, name)).fetchone()["key"])
        query = "INSERT INTO entity_name (namespace, normalised, entity) VALUES (?, ?, ?)"
        self._db.execute(query, (held.key, normalised_name(name), made))
        return made
