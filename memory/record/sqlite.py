"""The record in one SQLite file: the default, for one machine.

What it promises: when a write returns, its transaction is in the write-ahead log and the log has been synced to the
disk (`synchronous = FULL`), so neither a kill -9 nor a power cut takes it back, as far as the disk keeps its word. A
write that did not return is there whole or not at all. Every read sees one snapshot, and never waits for a write.

Several processes may open one file; writers take turns. The rules are in `base`; here is what they are in SQL.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

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
from memory.record.schema import APPLICATION_ID, MIGRATIONS
from memory.record.sqlite_file import SqliteFile
from memory.record.transaction import Commit, FreshFact, Going, Held, Transaction

_T = TypeVar("_T")

# A list of values goes in as one JSON parameter. A plus before a column keeps SQLite from an index that begins with
# it: where ids are given, the index on ids is the one to walk, and the planner cannot know how few they are.
_GIVEN = "(SELECT value FROM json_each(?))"

_CONCEPT = """
    SELECT c.id, c.ordinal, c.start_byte, c.end_byte, c.language, c.term_ids, c.term_weights, c.vector,
           e.id AS episode_id, e.text
    FROM concept c JOIN episode e ON e.key = c.episode
"""
_FACT = """
    SELECT f.*, s.id AS subject_id, s.name AS subject_name, o.id AS object_id, o.name AS object_name,
           e.id AS episode_id
    FROM fact f JOIN entity s ON s.key = f.subject
    LEFT JOIN entity o ON o.key = f.entity LEFT JOIN episode e ON e.key = f.episode
"""


class SqliteRecord(TransactionalRecord):
    """A `core.ports.Record` over one file. Safe for many threads; close it to let go of the file."""

    backend = "sqlite"

    def __init__(self, path: Path, clock: Clock, ids: Ids) -> None:
        """Opens the file, or makes it, and brings its tables up to date. Raises FailedPrecondition, Unavailable."""
        super().__init__(_SqliteStore(path), clock, ids)


class _SqliteStore:
    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, APPLICATION_ID, MIGRATIONS)

    def read(self, work: Callable[[Transaction], _T]) -> _T:
        with self._file.reading() as db:
            return work(_SqliteTransaction(db))

    def write(self, work: Callable[[Transaction], _T]) -> _T:
        with self._file.writing() as db:
            return work(_SqliteTransaction(db))

    def scrub(self) -> None:
        self._file.checkpoint()

    def close(self) -> None:
        self._file.close()


class _SqliteTransaction:
    """`Transaction` in SQL. Rows name one another by integer keys, which do not leave this class."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def last_commit(self) -> Commit | None:
        row = self._db.execute("SELECT seq, recorded_at FROM commits ORDER BY seq DESC LIMIT 1").fetchone()
        return Commit(*row) if row else None

    def commit(self, *commits: Commit) -> None:
        numbered = [(commit.seq, commit.recorded_at) for commit in commits]
        self._db.executemany("INSERT INTO commits (seq, recorded_at) VALUES (?, ?)", numbered)

    def seq_at(self, recorded_by: int) -> int:
        query = "SELECT seq FROM commits WHERE recorded_at <= ? ORDER BY recorded_at DESC LIMIT 1"
        row = self._db.execute(query, (recorded_by,)).fetchone()
        return int(row["seq"]) if row else 0

    def namespaces(self) -> list[Namespace]:
        return [Namespace(*row) for row in self._db.execute("SELECT name, created_at FROM namespace ORDER BY name")]

    def held(self, name: str) -> Held | None:
        query = """
            SELECT n.key, n.episodes, n.concepts, s.name AS space_name, s.version AS space_version, s.dimensions
            FROM namespace n LEFT JOIN space s ON s.key = n.space WHERE n.name = ?
        """
        row = self._db.execute(query, (name,)).fetchone()
        if row is None:
            return None
        space = None if row["dimensions"] is None else rows.space_from(row)
        return Held(row["key"], name, space, row["episodes"], row["concepts"])

    def make_namespace(self, name: str, commit: Commit) -> None:
        values = (commit.seq, name, commit.recorded_at)
        self._db.execute("INSERT INTO namespace (key, name, created_at) VALUES (?, ?, ?)", values)

    def delete_namespace(self, held: Held) -> None:
        for table in (
            *("hold", "fact", "entity_name", "entity", "relation_policy"),
            *("concept", "episode", "term", "speaker", "request"),
        ):
            self._db.execute(f"DELETE FROM {table} WHERE namespace = ?", (held.key,))
        self._db.execute("DELETE FROM namespace WHERE key = ?", (held.key,))

    def counts(self, held: Held | None) -> RecordCounts:
        if held is None:
            episodes, concepts = self._db.execute("SELECT total(episodes), total(concepts) FROM namespace").fetchone()
            entities, facts, pending = (self._count(f"{table}") for table in ("entity", "fact", "outbox"))
        else:
            episodes, concepts = held.episodes, held.concepts
            entities, facts = (self._count(f"{table} WHERE namespace = ?", held.key) for table in ("entity", "fact"))
            pending = self._count("outbox WHERE namespace = ?", held.name)
        last = self.last_commit()
        where = "e.archived_seq > 0" if held is None else "e.namespace = ? AND e.archived_seq > 0"
        key = () if held is None else (held.key,)
        archived = self._count(f"episode e WHERE {where}", *key)
        apart = self._count(f"episode e JOIN concept c ON c.episode = e.key WHERE {where}", *key) if archived else 0
        seq = last.seq if last else 0
        return RecordCounts(int(episodes), int(concepts), entities, facts, seq, pending, archived, apart)

    def answer(self, held: Held, request_id: str) -> rows.Row | None:
        query = "SELECT kind, digest, response FROM request WHERE namespace = ? AND request_id = ?"
        row: sqlite3.Row | None = self._db.execute(query, (held.key, request_id)).fetchone()
        return row

    def store_answer(self, held: Held, request_id: str, kind: str, asked: str, response: str, at: int) -> None:
        self._db.execute(
            "INSERT INTO request (namespace, request_id, kind, digest, response, recorded_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (held.key, request_id, kind, asked, response, at),
        )

    def known(self, held: Held, identities: Sequence[str]) -> dict[str, tuple[str, int]]:
        query = f"SELECT identity, id, seq FROM episode WHERE namespace = ? AND identity IN {_GIVEN}"
        found = self._db.execute(query, (held.key, json.dumps(identities)))
        return {row["identity"]: (row["id"], row["seq"]) for row in found}

    def taken(self, episode_ids: Sequence[str]) -> str | None:
        query = f"SELECT id FROM episode WHERE id IN {_GIVEN} LIMIT 1"
        row = self._db.execute(query, (json.dumps(episode_ids),)).fetchone()
        return None if row is None else str(row["id"])

    def write_episodes(self, held: Held, space: Space, fresh: Sequence[rows.FreshEpisode], commit: Commit) -> None:
        common = {"namespace": held.key, "recorded_at": commit.recorded_at, "seq": commit.seq}
        # Keys are given here, so that Concepts can name them with no look-up in between.
        first = self._db.execute("SELECT coalesce(max(key), 0) + 1 FROM episode").fetchone()[0]
        self._db.executemany(
            """
            INSERT INTO episode (key, id, namespace, identity, kind, source_name, conversation, position, speaker, text,
                                 told_at, external_id, recorded_at, seq, ordinal)
            VALUES (:key, :id, :namespace, :identity, :kind, :source_name, :conversation, :position, :speaker, :text,
                    :told_at, :external_id, :recorded_at, :seq, :ordinal)
            """,
            (
                {"key": key, "id": one.id, "ordinal": one.ordinal, **one.packed.columns(), **common}
                for key, one in enumerate(fresh, first)
            ),
        )
        self._db.executemany(
            """
            INSERT INTO concept (id, namespace, episode, ordinal, start_byte, end_byte, language, term_ids,
                                 term_weights, vector)
            VALUES (:id, :namespace, :episode, :ordinal, :start_byte, :end_byte, :language, :term_ids,
                    :term_weights, :vector)
            """,
            (
                {"id": concept_id, "episode": key, "ordinal": ordinal, **concept.columns(), **common}
                for key, one in enumerate(fresh, first)
                for ordinal, (concept_id, concept) in enumerate(zip(one.concept_ids, one.packed.concepts, strict=True))
            ),
        )
        terms = rows.term_counts(concept.term_ids for one in fresh for concept in one.packed.concepts)
        self._db.executemany(
            "INSERT INTO term (namespace, term, df) VALUES (?, ?, ?) "
            "ON CONFLICT (namespace, term) DO UPDATE SET df = df + excluded.df",
            ((held.key, term, df) for term, df in sorted(terms.items())),
        )
        self._db.executemany(
            "INSERT INTO speaker (namespace, name, episodes) VALUES (?, ?, ?) "
            "ON CONFLICT (namespace, name) DO UPDATE SET episodes = episodes + excluded.episodes",
            ((held.key, name, episodes) for name, episodes in rows.speaker_counts(fresh).items()),
        )
        self._db.execute(
            "UPDATE namespace SET space = ?, episodes = episodes + ?, concepts = concepts + ? WHERE key = ?",
            (self._space_key(space), len(fresh), sum(len(one.concept_ids) for one in fresh), held.key),
        )

    def episodes(self, held: Held, ids: Sequence[str]) -> list[Episode]:
        return [rows.episode_from(held.name, row) for row in self._episode_rows(held, ids)]

    def window(self, held: Held, episode_ids: Sequence[str], radius: int) -> dict[str, list[Episode]]:
        half = """
            SELECT * FROM episode
            WHERE namespace = ? AND source_name = ? AND conversation = ? AND conversation != ''
              AND (position, seq, ordinal) {0} (?, ?, ?)
            ORDER BY position {1}, seq {1}, ordinal {1} LIMIT ?
        """
        before, after = half.format("<", "DESC"), half.format(">", "ASC")
        windows = {}
        for centre in self._episode_rows(held, episode_ids).fetchall():
            near = [centre]
            if centre["conversation"]:
                place = (
                    *(held.key, centre["source_name"], centre["conversation"]),
                    *(centre["position"], centre["seq"], centre["ordinal"]),
                    radius,
                )
                earlier = self._db.execute(before, place).fetchall()
                near = [*reversed(earlier), centre, *self._db.execute(after, place)]
            windows[centre["id"]] = [rows.episode_from(held.name, row) for row in near]
        return windows

    def timeline(
        self, held: Held, where: EpisodeFilter, as_of: AsOf, limit: int, after: tuple[int, str] | None
    ) -> list[Episode]:
        clauses = ["namespace = ?", "told_at <= ?", "seq <= ?"]
        values: list[object] = [held.key, min(as_of.told_by, as_of.valid_at), as_of.seq]
        for column, chosen in (
            ("speaker", where.speakers),
            ("kind", [int(kind) for kind in where.kinds]),
            ("conversation", where.conversations),
        ):
            if chosen:
                clauses.append(f"{column} IN {_GIVEN}")
                values.append(json.dumps(chosen))
        if where.told.start is not None:
            clauses.append("told_at >= ?")
            values.append(where.told.start)
        if where.told.end is not None:
            clauses.append("told_at < ?")
            values.append(where.told.end)
        if after is not None:
            clauses.append("(told_at, id) > (?, ?)")
            values += after
        query = f"SELECT * FROM episode WHERE {' AND '.join(clauses)} ORDER BY told_at, id LIMIT ?"
        return [rows.episode_from(held.name, row) for row in self._db.execute(query, (*values, limit))]

    def episodes_after(self, held: Held, after: tuple[int, str], up_to_seq: int, limit: int) -> list[Episode]:
        query = "SELECT * FROM episode WHERE namespace = ? AND (seq, id) > (?, ?) AND seq <= ? ORDER BY seq, id LIMIT ?"
        found = self._db.execute(query, (held.key, *after, up_to_seq, limit))
        return [rows.episode_from(held.name, row) for row in found]

    def concepts(self, held: Held, ids: Sequence[str]) -> list[StoredConcept]:
        return self._concepts(held, f"{_CONCEPT} WHERE c.namespace = ? AND c.id IN {_GIVEN}", ids)

    def concepts_of(self, held: Held, episode_ids: Sequence[str]) -> list[StoredConcept]:
        query = f"{_CONCEPT} WHERE +e.namespace = ? AND e.id IN {_GIVEN} ORDER BY c.ordinal"
        return self._concepts(held, query, episode_ids)

    def columns_of(self, held: Held, episode_ids: Sequence[str]) -> ConceptColumns:
        query = f"""
            SELECT e.id, c.id, c.ordinal, start_byte, end_byte, language, term_ids, term_weights, vector
            FROM concept c JOIN episode e ON e.key = c.episode
            WHERE +e.namespace = ? AND e.id IN {_GIVEN} ORDER BY e.id, c.ordinal
        """
        found = self._db.execute(query, (held.key, json.dumps(episode_ids))).fetchall()
        columns = zip(*found, strict=True) if found else [()] * len(rows.CONCEPT_COLUMNS)
        return rows.columns_from(held.space, dict(zip(rows.CONCEPT_COLUMNS, columns, strict=True)))

    def concept_ids_after(self, held: Held, after: str, limit: int) -> list[str]:
        query = """
            SELECT c.id FROM concept c CROSS JOIN episode e ON e.key = c.episode
            WHERE c.namespace = ? AND c.id > ? AND e.archived_seq = 0 ORDER BY c.id LIMIT ?
        """
        return [row["id"] for row in self._db.execute(query, (held.key, after, limit))]

    def speakers(self, held: Held) -> dict[str, int]:
        query = "SELECT name, episodes FROM speaker WHERE namespace = ? ORDER BY name"
        return {row["name"]: row["episodes"] for row in self._db.execute(query, (held.key,))}

    def document_frequency(self, held: Held, terms: Sequence[int]) -> dict[int, int]:
        query = f"SELECT term, df FROM term WHERE namespace = ? AND term IN {_GIVEN}"
        return {row["term"]: row["df"] for row in self._db.execute(query, (held.key, json.dumps(terms)))}

    def facts_by_id(self, held: Held, ids: Sequence[str]) -> list[Fact]:
        query = f"{_FACT} WHERE +f.namespace = ? AND f.id IN {_GIVEN}"
        return [rows.fact_from(row) for row in self._db.execute(query, (held.key, json.dumps(ids)))]

    def fact_ids_taken(self, ids: Sequence[str]) -> set[str]:
        return set(self._ids(f"SELECT id FROM fact WHERE id IN {_GIVEN}", json.dumps(ids))) if ids else set()

    def write_facts(self, held: Held, fresh: Sequence[FreshFact]) -> None:
        for one in fresh:
            fact, valid, commit = one.told, one.told.valid, one.commit
            subject = self._entity(held, fact.subject)
            target = None if fact.entity is None else self._entity(held, fact.entity)
            self._db.execute(
                "INSERT INTO fact (id, namespace, subject, relation, entity, literal, valid_start, valid_end, "
                "precision, original_text, timezone, told_at, recorded_at, seq, retracted, trust, episode) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT key FROM episode WHERE id = ?))",
                (
                    *(one.id, held.key, subject, fact.relation, target, fact.literal),
                    *(valid.start, valid.end, valid.precision, valid.original_text, valid.timezone),
                    *(fact.told_at, commit.recorded_at, commit.seq, fact.retracted, fact.trust, fact.episode_id),
                ),
            )

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
                    WHERE t.entity = ? AND t.told_at <= ? AND t.seq <= ? AND t.relation IN {_GIVEN}
                """
                values += [known, as_of.told_by, as_of.seq, json.dumps(sorted(contended))]
            clauses.append(f"f.key IN ({reached})")
        if relation:
            clauses.append("f.relation = ?")
            values.append(relation)
        query = f"{_FACT} WHERE {' AND '.join(clauses)} ORDER BY f.seq"
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

    def select(self, held: Held, episode_ids: Sequence[str], speaker: str, conversation: str) -> Going:
        clauses = ["+namespace = ?" if episode_ids else "namespace = ?"]
        values: list[object] = [held.key]
        for column, wanted in (("speaker", speaker), ("conversation", conversation)):
            if wanted:
                clauses.append(f"{column} = ?")
                values.append(wanted)
        if episode_ids:
            clauses.append(f"id IN {_GIVEN}")
            values.append(json.dumps(episode_ids))
        episodes = self._ids(f"SELECT id FROM episode WHERE {' AND '.join(clauses)} ORDER BY id", *values)
        concepts = self._ids(
            f"SELECT c.id FROM concept c JOIN episode e ON e.key = c.episode WHERE e.id IN {_GIVEN} ORDER BY c.id",
            json.dumps(episodes),
        )
        same = (
            "{0}.subject = {1}.subject AND {0}.relation = {1}.relation "
            "AND {0}.entity IS {1}.entity AND {0}.literal IS {1}.literal"
        )
        facts = self._ids(
            f"""
            WITH told AS (SELECT f.* FROM fact f JOIN episode e ON e.key = f.episode WHERE e.id IN {_GIVEN})
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
        query = f"SELECT term_ids FROM concept WHERE namespace = ? AND id IN {_GIVEN}"
        packed = (row["term_ids"] for row in self._db.execute(query, (held.key, concepts)))
        terms = sorted(rows.term_counts(packed).items())
        self._db.executemany(
            "UPDATE term SET df = df - ? WHERE namespace = ? AND term = ?", ((df, held.key, term) for term, df in terms)
        )
        self._db.executemany(
            "DELETE FROM term WHERE namespace = ? AND term = ? AND df = 0", ((held.key, term) for term, _ in terms)
        )
        speakers = self._db.execute(
            f"SELECT count(*), namespace, speaker FROM episode WHERE id IN {_GIVEN} AND speaker != '' "
            "GROUP BY namespace, speaker",
            (episodes,),
        ).fetchall()
        self._db.executemany("UPDATE speaker SET episodes = episodes - ? WHERE namespace = ? AND name = ?", speakers)
        self._db.execute("DELETE FROM speaker WHERE namespace = ? AND episodes = 0", (held.key,))
        query = f"SELECT subject FROM fact WHERE id IN {_GIVEN} UNION SELECT entity FROM fact WHERE id IN {_GIVEN}"
        named = [key for (key,) in self._db.execute(query, (facts, facts)) if key is not None]
        self._db.execute(f"DELETE FROM fact WHERE id IN {_GIVEN}", (facts,))
        for key in named:
            query = "SELECT 1 FROM fact WHERE subject = ?1 UNION ALL SELECT 1 FROM fact WHERE entity = ?1 LIMIT 1"
            if self._db.execute(query, (key,)).fetchone() is None:
                self._db.execute("DELETE FROM entity_name WHERE entity = ?", (key,))
                self._db.execute("DELETE FROM entity WHERE key = ?", (key,))
        self._db.execute(f"DELETE FROM concept WHERE namespace = ? AND id IN {_GIVEN}", (held.key, concepts))
        self._db.execute(f"DELETE FROM episode WHERE id IN {_GIVEN}", (episodes,))
        self._db.execute(
            "UPDATE namespace SET episodes = episodes - ?, concepts = concepts - ? WHERE key = ?",
            (len(going.episodes), len(going.concepts), held.key),
        )

    def set_archived(self, held: Held, episode_ids: Sequence[str], seq: int) -> None:
        query = f"UPDATE episode SET archived_seq = ? WHERE +namespace = ? AND id IN {_GIVEN}"
        self._db.execute(query, (seq, held.key, json.dumps(episode_ids)))

    def archived_after(self, held: Held, after: tuple[int, str], seq: int, limit: int) -> list[Episode]:
        query = """
            SELECT * FROM episode INDEXED BY episode_archived
            WHERE namespace = ? AND archived_seq > 0 AND (archived_seq, id) > (?, ?) AND seq <= ?
            ORDER BY archived_seq, id LIMIT ?
        """
        found = self._db.execute(query, (held.key, *after, seq, limit))
        return [rows.episode_from(held.name, row) for row in found]

    def keepings(self, held: Held, episode_ids: Sequence[str]) -> list[Keeping]:
        query = f"""
            SELECT e.*, (SELECT json_group_array(h.name) FROM hold h WHERE h.episode = e.key) AS holds
            FROM episode e WHERE +e.namespace = ? AND e.id IN {_GIVEN}
        """
        found = self._db.execute(query, (held.key, json.dumps(episode_ids)))
        return [rows.keeping_from(row, json.loads(row["holds"])) for row in found]

    def first_hold(self, held: Held, episode_ids: Sequence[str] | None) -> tuple[str, str] | None:
        query = "SELECT e.id, h.name FROM hold h JOIN episode e ON e.key = h.episode WHERE h.namespace = ?"
        values: list[object] = [held.key]
        if episode_ids is not None:
            query += f" AND e.id IN {_GIVEN}"
            values.append(json.dumps(episode_ids))
        row = self._db.execute(f"{query} ORDER BY e.id, h.name LIMIT 1", values).fetchone()
        return None if row is None else (row["id"], row["name"])

    def set_hold(self, held: Held, episode_ids: Sequence[str], hold: str, release: bool) -> int:
        of_them = f"SELECT key FROM episode WHERE +namespace = ? AND id IN {_GIVEN}"
        values = (held.key, json.dumps(episode_ids))
        if release:
            query = f"DELETE FROM hold WHERE name = ? AND episode IN ({of_them})"
            return self._db.execute(query, (hold, *values)).rowcount
        query = f"INSERT OR IGNORE INTO hold (namespace, episode, name) SELECT ?, key, ? FROM ({of_them})"
        return self._db.execute(query, (held.key, hold, *values)).rowcount

    def set_expiry(self, held: Held, episode_ids: Sequence[str], expires_at: int | None, expiry: Expiry) -> None:
        query = f"UPDATE episode SET expires_at = ?, expiry = ? WHERE +namespace = ? AND id IN {_GIVEN}"
        self._db.execute(query, (expires_at, expiry, held.key, json.dumps(episode_ids)))

    def time_to_live(self, held: Held) -> TimeToLive | None:
        query = "SELECT time_to_live, expiry FROM namespace WHERE key = ?"
        row = self._db.execute(query, (held.key,)).fetchone()
        return None if row["time_to_live"] is None else TimeToLive(row["time_to_live"], Expiry(row["expiry"]))

    def set_time_to_live(self, held: Held, given: TimeToLive | None) -> None:
        values = (given.microseconds, given.expiry) if given else (None, Expiry.ARCHIVE)
        self._db.execute("UPDATE namespace SET time_to_live = ?, expiry = ? WHERE key = ?", (*values, held.key))

    def due(self, held: Held, now: int, lived: TimeToLive | None, young: int, limit: int) -> dict[str, Expiry]:
        free = "NOT EXISTS (SELECT 1 FROM hold h WHERE h.episode = episode.key)"
        query = f"""
            SELECT id, expiry FROM episode INDEXED BY episode_by_end
            WHERE namespace = ? AND expires_at <= ? AND (archived_seq = 0 OR expiry = ?) AND {free}
            ORDER BY expires_at, id LIMIT ?
        """
        found = self._db.execute(query, (held.key, now, Expiry.DELETE, limit)).fetchall()
        ends = {row["id"]: Expiry(row["expiry"]) for row in found}
        if lived is not None and len(ends) < limit:
            where = "namespace = ? AND seq <= ? AND expires_at IS NULL"
            if lived.expiry is Expiry.ARCHIVE:
                where += " AND archived_seq = 0"
            query = f"SELECT id FROM episode WHERE {where} AND {free} ORDER BY seq, id LIMIT ?"
            left = self._db.execute(query, (held.key, young, limit - len(ends)))
            ends |= {row["id"]: lived.expiry for row in left}
        return ends

    def add_uses(self, held: Held, uses: Mapping[str, tuple[int, int]]) -> None:
        self._db.executemany(
            "UPDATE episode SET uses = uses + ?1, used_at = max(coalesce(used_at, ?2), ?2) "
            "WHERE +namespace = ?3 AND id = ?4",
            ((count, at, held.key, episode_id) for episode_id, (count, at) in sorted(uses.items())),
        )

    def audit(self, namespace: str, gone: Forgotten, commit: Commit) -> None:
        self._db.execute(
            "INSERT INTO forgotten (audit_id, namespace, recorded_at, seq, episodes, concepts, facts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (gone.audit_id, namespace, commit.recorded_at, commit.seq, gone.episodes, gone.concepts, gone.facts),
        )

    def outbox(self, limit: int) -> list[OutboxEntry]:
        query = """
            SELECT o.seq, o.namespace, o.concept_ids, o.deleted,
                   s.name AS space_name, s.version AS space_version, s.dimensions
            FROM outbox o JOIN space s ON s.key = o.space ORDER BY o.seq LIMIT ?
        """
        return [
            OutboxEntry(
                position=row["seq"],
                namespace=row["namespace"],
                space=rows.space_from(row),
                concept_ids=tuple(json.loads(row["concept_ids"])),
                deleted=bool(row["deleted"]),
                seq=row["seq"],
            )
            for row in self._db.execute(query, (limit,))
        ]

    def outbox_add(self, entry: OutboxEntry) -> None:
        ids = json.dumps(entry.concept_ids, separators=(",", ":"))
        self._db.execute(
            "INSERT INTO outbox (seq, namespace, space, concept_ids, deleted) VALUES (?, ?, ?, ?, ?)",
            (entry.seq, entry.namespace, self._space_key(entry.space), ids, entry.deleted),
        )

    def outbox_done(self, position: int) -> None:
        self._db.execute("DELETE FROM outbox WHERE seq <= ?", (position,))

    def _count(self, what: str, *values: object) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {what}", values).fetchone()[0])

    def _ids(self, query: str, *values: object) -> tuple[str, ...]:
        return tuple(row["id"] for row in self._db.execute(query, values))

    def _space_key(self, space: Space) -> int:
        values = (space.name, space.version, space.dimensions)
        self._db.execute("INSERT OR IGNORE INTO space (name, version, dimensions) VALUES (?, ?, ?)", values)
        query = "SELECT key FROM space WHERE name = ? AND version = ? AND dimensions = ?"
        return int(self._db.execute(query, values).fetchone()["key"])

    def _episode_rows(self, held: Held, ids: Sequence[str]) -> sqlite3.Cursor:
        query = f"SELECT * FROM episode WHERE +namespace = ? AND id IN {_GIVEN}"
        return self._db.execute(query, (held.key, json.dumps(ids)))

    def _concepts(self, held: Held, query: str, ids: Sequence[str]) -> list[StoredConcept]:
        if held.space is None:  # no Episode was ever written
            return []
        return [rows.concept_from(held.space, row) for row in self._db.execute(query, (held.key, json.dumps(ids)))]

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
