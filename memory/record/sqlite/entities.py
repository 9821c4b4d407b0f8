"""Mentions, extraction and merges of Entities, in SQL."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

from core.entities import Mention, Merge, NewMention
from core.nouns import AsOf, Entity, Episode
from memory.record import rows
from memory.record.entity_steps import Tally
from memory.record.sqlite.facts import Facts
from memory.record.sqlite.statements import GIVEN
from memory.record.transaction import Held


class Entities(Facts):
    """The part of `Transaction` about Entities."""

    def unextracted(self, held: Held, version: int, limit: int) -> list[Episode]:
        query = """
            SELECT * FROM episode INDEXED BY episode_by_extractor
            WHERE namespace = ? AND extractor < ? ORDER BY extractor, seq, ordinal LIMIT ?
        """
        return [rows.episode_from(held.name, row) for row in self._db.execute(query, (held.key, version, limit))]

    def first_unextracted(self, held: Held | None, version: int) -> int | None:
        keys = [held.key] if held else [key for (key,) in self._db.execute("SELECT key FROM namespace")]
        # Of one version at a time: the index has its first commit first.
        query = "SELECT min(seq) FROM episode INDEXED BY episode_by_extractor WHERE namespace = ? AND extractor = ?"
        firsts = (self._db.execute(query, (key, read)).fetchone()[0] for key in keys for read in range(version))
        return min((first for first in firsts if first is not None), default=None)

    def write_mentions(self, held: Held, version: int, mentions: Mapping[str, Sequence[NewMention]]) -> None:
        ids = json.dumps(list(mentions))
        query = f"SELECT id, key FROM episode WHERE +namespace = ? AND id IN {GIVEN}"
        keys = {row["id"]: row["key"] for row in self._db.execute(query, (held.key, ids))}
        these = json.dumps(list(keys.values()))
        before = [key for (key,) in self._db.execute(f"SELECT entity FROM mention WHERE episode IN {GIVEN}", (these,))]
        if before:
            self._db.execute(f"DELETE FROM mention WHERE episode IN {GIVEN}", (these,))
        known: dict[str, int] = {}
        for name in (one.name for named in mentions.values() for one in named):
            if name not in known:
                known[name] = self._entity(held, name)
        self._db.executemany(
            "INSERT OR IGNORE INTO mention (episode, start_byte, end_byte, entity, kind) VALUES (?, ?, ?, ?, ?)",
            (
                (keys[episode_id], one.start_byte, one.end_byte, known[one.name], one.kind)
                for episode_id, named in mentions.items()
                for one in named
            ),
        )
        self._db.execute(f"UPDATE episode SET extractor = ? WHERE key IN {GIVEN}", (version, these))
        self._drop_unnamed(held.key, sorted(set(before)))

    def entity_named(self, held: Held, name: str) -> Entity | None:
        key = self._known_entity(held, name)
        return None if key is None else self._entity_of(key)

    def entities_by_id(self, held: Held, ids: Sequence[str]) -> list[Entity]:
        query = f"SELECT id, name FROM entity WHERE +namespace = ? AND id IN {GIVEN} ORDER BY id"
        return [Entity(*row) for row in self._db.execute(query, (held.key, json.dumps(list(ids))))]

    def make_entity(self, held: Held, name: str) -> Entity:
        return self._entity_of(self._entity(held, name))

    def entities_after(self, held: Held, after: str, limit: int) -> list[Entity]:
        query = """
            SELECT x.id, x.name FROM entity_name n CROSS JOIN entity x ON x.key = n.entity
            WHERE n.namespace = ? AND n.normalised > ? ORDER BY n.normalised LIMIT ?
        """
        return [Entity(row["id"], row["name"]) for row in self._db.execute(query, (held.key, after, limit))]

    def tallies(self, held: Held, groups: Sequence[Sequence[str]], as_of: AsOf) -> list[Tally]:
        told = f"""
            FROM mention m JOIN episode e ON e.key = m.episode
            WHERE m.entity IN (SELECT key FROM entity WHERE id IN {GIVEN}) AND +e.told_at <= ? AND +e.seq <= ?
        """
        stated = f"""
            WITH ours AS (SELECT key FROM entity WHERE id IN {GIVEN})
            SELECT count(*) FROM (
                SELECT key, told_at, seq FROM fact WHERE subject IN ours
                UNION SELECT key, told_at, seq FROM fact WHERE entity IN ours
            ) WHERE told_at <= ? AND seq <= ?
        """
        found = []
        for group in groups:
            told_then = (json.dumps(group), min(as_of.told_by, as_of.valid_at), as_of.seq)
            (episodes,) = self._db.execute(f"SELECT count(DISTINCT m.episode) {told}", told_then).fetchone()
            kinds = self._db.execute(f"SELECT m.kind, count(*) {told} GROUP BY m.kind", told_then)
            (facts,) = self._db.execute(stated, (json.dumps(group), as_of.told_by, as_of.seq)).fetchone()
            found.append(Tally(episodes, facts, dict(tuple(row) for row in kinds)))
        return found

    def mentioning(
        self, held: Held, entity_ids: Sequence[str], as_of: AsOf, limit: int, after: tuple[int, str] | None
    ) -> list[Mention]:
        query = f"""
            SELECT * FROM episode e
            WHERE +e.namespace = ? AND +e.told_at <= ? AND +e.seq <= ? AND e.key IN (
                SELECT m.episode FROM mention m WHERE m.entity IN (SELECT key FROM entity WHERE id IN {GIVEN})
            ) {"AND (told_at, id) > (?, ?)" if after else ""} ORDER BY told_at, id LIMIT ?
        """
        ids = json.dumps(list(entity_ids))
        told = (held.key, min(as_of.told_by, as_of.valid_at), as_of.seq, ids, *(after or ()), limit)
        page = self._db.execute(query, told).fetchall()
        query = f"""
            SELECT episode, start_byte, end_byte FROM mention
            WHERE episode IN {GIVEN} AND +entity IN (SELECT key FROM entity WHERE id IN {GIVEN})
            ORDER BY episode, start_byte, end_byte
        """
        spans: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for episode, start, end in self._db.execute(query, (json.dumps([row["key"] for row in page]), ids)):
            if end:
                spans[episode].append((start, end))
        return [Mention(rows.episode_from(held.name, row), tuple(spans[row["key"]])) for row in page]

    def mentioned_in(self, held: Held, episode_ids: Sequence[str]) -> list[tuple[str, Entity]]:
        query = f"""
            SELECT DISTINCT e.id AS episode_id, x.id, x.name
            FROM episode e CROSS JOIN mention m ON m.episode = e.key CROSS JOIN entity x ON x.key = m.entity
            WHERE +e.namespace = ? AND e.id IN {GIVEN}
        """
        found = self._db.execute(query, (held.key, json.dumps(list(episode_ids))))
        return [(row["episode_id"], Entity(row["id"], row["name"])) for row in found]

    def merges(self, held: Held) -> list[Merge]:
        query = """
            SELECT m.*, k.id AS kept_id, k.name AS kept_name, o.id AS merged_id, o.name AS merged_name
            FROM entity_merge m JOIN entity k ON k.key = m.kept JOIN entity o ON o.key = m.merged
            WHERE m.namespace = ? ORDER BY m.seq
        """
        return [rows.merge_from(row) for row in self._db.execute(query, (held.key,))]

    def write_merge(self, held: Held, merge: Merge) -> None:
        self._db.execute(
            "INSERT INTO entity_merge (id, namespace, kept, merged, reason, recorded_at, seq, undone_seq) VALUES "
            "(?, ?, (SELECT key FROM entity WHERE id = ?), (SELECT key FROM entity WHERE id = ?), ?, ?, ?, ?)",
            (
                *(merge.id, held.key, merge.kept.id, merge.merged.id),
                *(merge.reason, merge.recorded_at, merge.seq, merge.undone_seq),
            ),
        )
        self._merges_changed(held.key, max(merge.seq, merge.undone_seq))

    def undo_merge(self, held: Held, merge_id: str, seq: int) -> None:
        query = "UPDATE entity_merge SET undone_seq = ? WHERE +namespace = ? AND id = ?"
        self._db.execute(query, (seq, held.key, merge_id))
        self._merges_changed(held.key, seq)

    def drop_merges(self, held: Held, merge_ids: Sequence[str]) -> None:
        query = f"DELETE FROM entity_merge WHERE +namespace = ? AND id IN {GIVEN}"
        self._db.execute(query, (held.key, json.dumps(list(merge_ids))))
        self._merges_changed(held.key)

    def _entity_of(self, key: int) -> Entity:
        return Entity(*self._db.execute("SELECT id, name FROM entity WHERE key = ?", (key,)).fetchone())
