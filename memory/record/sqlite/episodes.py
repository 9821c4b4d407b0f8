"""Episodes and their Concepts, and the statistics over them, in SQL."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain

from core.nouns import (
    AsOf,
    ConceptColumns,
    Episode,
    EpisodeFilter,
    Space,
    StoredConcept,
)
from core.windows import EpisodeColumns, Windows, windows_of
from memory.record import rows
from memory.record.sqlite.statements import GIVEN, Statements
from memory.record.transaction import Commit, Held

VECTOR = ("vector", "vector_b")
"""The column of a Concept's vector, by slot."""
CONCEPT = """
    SELECT c.id, c.ordinal, c.start_byte, c.end_byte, c.language, c.term_ids, c.term_weights, c.{} AS vector,
           e.id AS episode_id, e.text
    FROM concept c JOIN episode e ON e.key = c.episode
"""

# All windows by one statement: for each centre, its neighbours on either side are a short walk along the index by
# place. One statement for each of them would hand the interpreter back and forth twice as often as there are centres.
# The limit keeps a side's rows in its order, which is that of the list.
_SIDE = """
    SELECT group_concat(key) FROM (
        SELECT n.key FROM episode n
        WHERE n.namespace = c.namespace AND n.source_name = c.source_name AND n.conversation = c.conversation
          AND n.conversation != '' AND (n.position, n.seq, n.ordinal) {0} (c.position, c.seq, c.ordinal)
        ORDER BY n.position {1}, n.seq {1}, n.ordinal {1} LIMIT :radius
    )
"""
_WINDOW = f"""
    SELECT c.key, ({_SIDE.format("<", "DESC")}), ({_SIDE.format(">", "ASC")}) FROM episode c
    WHERE +c.namespace = :namespace AND c.id IN (SELECT value FROM json_each(:ids))
"""


class Episodes(Statements):
    """The part of `Transaction` about Episodes and Concepts."""

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self._keys: dict[tuple[int, str], int] = {}
        """Of Episodes whose windows were read, by namespace and id: in a snapshot their Concepts are asked for next."""

    def known(self, held: Held, identities: Sequence[str]) -> dict[str, tuple[str, int]]:
        query = f"SELECT identity, id, seq FROM episode WHERE namespace = ? AND identity IN {GIVEN}"
        found = self._db.execute(query, (held.key, json.dumps(identities)))
        return {row["identity"]: (row["id"], row["seq"]) for row in found}

    def taken(self, episode_ids: Sequence[str]) -> str | None:
        query = f"SELECT id FROM episode WHERE id IN {GIVEN} LIMIT 1"
        row = self._db.execute(query, (json.dumps(episode_ids),)).fetchone()
        return None if row is None else str(row["id"])

    def write_episodes(self, held: Held, space: Space, fresh: Sequence[rows.FreshEpisode], commit: Commit) -> None:
        # Keys are given here, so that Concepts can name them with no look-up in between.
        first = self._db.execute("SELECT coalesce(max(key), 0) + 1 FROM episode").fetchone()[0]
        self._insert_many(
            "episode",
            (
                *("key", "id", "namespace", "recorded_at", "seq", "ordinal", "identity", "kind", "source_name"),
                *("conversation", "position", "speaker", "text", "told_at", "external_id"),
            ),
            [
                (key, one.id, held.key, *one.made(commit.recorded_at, commit.seq), one.ordinal, *one.packed.values())
                for key, one in enumerate(fresh, first)
            ],
        )
        self._insert_many(
            "concept",
            (
                *("id", "namespace", "episode", "ordinal", "start_byte", "end_byte", "language"),
                *("term_ids", "term_weights", VECTOR[held.slot], VECTOR[1 - held.slot]),
            ),
            [
                (concept_id, held.key, key, ordinal, *concept.values(), b"")
                for key, one in enumerate(fresh, first)
                for ordinal, (concept_id, concept) in enumerate(zip(one.concept_ids, one.packed.concepts, strict=True))
            ],
        )
        terms = rows.term_counts(rows.counted_terms(fresh))
        self._insert_many(
            "term",
            ("namespace", "term", "df"),
            [(held.key, term, df) for term, df in terms.items()],
            "ON CONFLICT (namespace, term) DO UPDATE SET df = df + excluded.df",
        )
        self._insert_many(
            "speaker",
            ("namespace", "name", "episodes"),
            [(held.key, name, episodes) for name, episodes in rows.speaker_counts(fresh).items()],
            "ON CONFLICT (namespace, name) DO UPDATE SET episodes = episodes + excluded.episodes",
        )
        self._db.execute(
            "UPDATE namespace SET space = ?, episodes = episodes + ?, concepts = concepts + ?, dreamt = dreamt + ? "
            "WHERE key = ?",
            (
                self._space_key(space),
                len(fresh),
                sum(len(one.concept_ids) for one in fresh),
                rows.dreamt_counts(fresh),
                held.key,
            ),
        )

    def episodes(self, held: Held, ids: Sequence[str]) -> list[Episode]:
        return [rows.episode_from(held.name, row) for row in self._episode_rows(held, ids)]

    def window(self, held: Held, episode_ids: Sequence[str], radius: int) -> Windows:
        windows, centres = [], []
        asked = {"namespace": held.key, "ids": json.dumps(episode_ids), "radius": radius}
        for centre, earlier, later in self._db.execute(_WINDOW, asked):
            centres.append(centre)
            windows.append([*reversed(_keys(earlier)), centre, *_keys(later)])
        keys = json.dumps(sorted(set(chain.from_iterable(windows))))
        query = f"SELECT key, {', '.join(rows.EPISODE_COLUMNS)} FROM episode WHERE key IN {GIVEN} ORDER BY id"
        own, *columns = zip(*self._db.execute(query, (keys,)), strict=True) if windows else ((), ())
        self._keys.update(((held.key, id_), key) for id_, key in zip(columns[0], own, strict=True))
        return windows_of(EpisodeColumns(held.name, *columns), own, windows, centres)

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
                clauses.append(f"{column} IN {GIVEN}")
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
        return self._concepts(held, f"WHERE c.namespace = ? AND c.id IN {GIVEN}", ids)

    def concepts_of(self, held: Held, episode_ids: Sequence[str]) -> list[StoredConcept]:
        query = f"WHERE +e.namespace = ? AND e.id IN {GIVEN} ORDER BY c.ordinal"
        return self._concepts(held, query, episode_ids)

    def columns_of(self, held: Held, episode_ids: Sequence[str]) -> ConceptColumns:
        keys = self._keys_of(held, episode_ids)
        query = f"""
            SELECT episode, id, ordinal, start_byte, end_byte, language, term_ids, term_weights,
                   {VECTOR[held.slot]} AS vector
            FROM concept WHERE episode IN {GIVEN} ORDER BY episode, ordinal
        """
        of_key: dict[int, list[sqlite3.Row]] = {}
        for row in self._db.execute(query, (json.dumps(sorted(keys.values())),)):
            of_key.setdefault(row["episode"], []).append(row)
        found = [(episode_id, *row[1:]) for episode_id in sorted(keys) for row in of_key.get(keys[episode_id], ())]
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
        query = f"SELECT term, df FROM term WHERE namespace = ? AND term IN {GIVEN}"
        return {row["term"]: row["df"] for row in self._db.execute(query, (held.key, json.dumps(terms)))}

    def _keys_of(self, held: Held, episode_ids: Sequence[str]) -> Mapping[str, int]:
        """The keys of those that exist."""
        known = {one: self._keys.get((held.key, one)) for one in episode_ids}
        if None not in known.values():
            return {one: key for one, key in known.items() if key is not None}
        query = f"SELECT id, key FROM episode WHERE +namespace = ? AND id IN {GIVEN}"
        return {row["id"]: row["key"] for row in self._db.execute(query, (held.key, json.dumps(episode_ids)))}

    def _episode_rows(self, held: Held, ids: Sequence[str]) -> sqlite3.Cursor:
        query = f"SELECT * FROM episode WHERE +namespace = ? AND id IN {GIVEN}"
        return self._db.execute(query, (held.key, json.dumps(ids)))

    def _concepts(self, held: Held, which: str, ids: Sequence[str]) -> list[StoredConcept]:
        if held.space is None:  # no Episode was ever written
            return []
        query = CONCEPT.format(VECTOR[held.slot]) + which
        return [rows.concept_from(held.space, row) for row in self._db.execute(query, (held.key, json.dumps(ids)))]


def _keys(listed: str | None) -> list[int]:
    return [int(key) for key in listed.split(",")] if listed else []
