"""How long Episodes are kept: the archive, holds, ends, counts of use, in Cypher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.nouns import (
    Episode,
    Expiry,
    Keeping,
    TimeToLive,
)
from memory.record import rows
from memory.record.neo4j.episodes import PLAIN, Episodes
from memory.record.neo4j.statements import OURS, THESE
from memory.record.transaction import Held


class KeptEpisodes(Episodes):
    """The part of `Transaction` about how long Episodes are kept."""

    def set_archived(self, held: Held, episode_ids: Sequence[str], seq: int) -> None:
        # A property that is null is not there: the index holds archived Episodes only.
        query = f"{OURS} SET e.archived_seq = $seq"
        self._do(query, ids=list(episode_ids), key=held.key, seq=seq or None)

    def archived_after(self, held: Held, after: tuple[int, str], seq: int, limit: int) -> list[Episode]:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, archived_seq, id)
            WHERE e.namespace = $key AND e.archived_seq >= $after AND e.seq <= $seq AND e.id IS NOT NULL
              AND (e.archived_seq <> $after OR e.id > $id)
            RETURN e ORDER BY e.namespace, e.archived_seq, e.id LIMIT $limit
        """
        return self._episodes(held, query, seq=seq, after=after[0], id=after[1], limit=limit)

    def keepings(self, held: Held, episode_ids: Sequence[str]) -> list[Keeping]:
        query = f"{OURS} RETURN e"
        found: list[dict[str, Any]] = [
            PLAIN | dict(row["e"]) for row in self._all(query, ids=list(episode_ids), key=held.key)
        ]
        return [rows.keeping_from(row, row["holds"]) for row in found]

    def first_hold(self, held: Held, episode_ids: Sequence[str] | None) -> tuple[str, str] | None:
        # `held` is there with `holds`, and indexed: an index on a list finds whole lists only.
        start = "MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, held) WHERE e.held = true"
        if episode_ids is not None:
            start = f"{THESE} AND e.held = true"
        query = f"{start} AND e.namespace = $key RETURN e.id AS id, e.holds AS holds ORDER BY id LIMIT 1"
        row = self._one(query, key=held.key, ids=list(episode_ids or ()))
        return None if row is None else (row["id"], min(row["holds"]))

    def set_hold(self, held: Held, episode_ids: Sequence[str], hold: str, release: bool) -> int:
        left = "[one IN e.holds WHERE one <> $hold]" if release else "coalesce(e.holds, []) + [$hold]"
        query = f"""
            {OURS} AND ($hold IN coalesce(e.holds, [])) = $release
            WITH e, {left} AS holds
            SET e.holds = CASE WHEN size(holds) > 0 THEN holds END, e.held = CASE WHEN size(holds) > 0 THEN true END
            RETURN e.id AS id
        """
        return len(self._ids(query, ids=list(episode_ids), key=held.key, hold=hold, release=release))

    def set_expiry(self, held: Held, episode_ids: Sequence[str], expires_at: int | None, expiry: Expiry) -> None:
        query = f"{OURS} SET e.expires_at = $at, e.expiry = $expiry"
        self._do(query, ids=list(episode_ids), key=held.key, at=expires_at, expiry=int(expiry))

    def time_to_live(self, held: Held) -> TimeToLive | None:
        query = "MATCH (n:Namespace {name: $name}) RETURN n.time_to_live AS lived, n.expiry AS expiry"
        row = self._one(query, name=held.name)
        return None if row is None or row["lived"] is None else TimeToLive(row["lived"], Expiry(row["expiry"]))

    def set_time_to_live(self, held: Held, given: TimeToLive | None) -> None:
        query = "MATCH (n:Namespace {name: $name}) SET n.time_to_live = $lived, n.expiry = $expiry"
        lived, expiry = (given.microseconds, int(given.expiry)) if given else (None, None)
        self._do(query, name=held.name, lived=lived, expiry=expiry)

    def due(self, held: Held, now: int, lived: TimeToLive | None, young: int, limit: int) -> dict[str, Expiry]:
        query = """
            MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, expires_at, id)
            WHERE e.namespace = $key AND e.expires_at <= $now AND e.id IS NOT NULL AND e.held IS NULL
              AND (e.archived_seq IS NULL OR e.expiry = $delete)
            RETURN e.id AS id, e.expiry AS expiry ORDER BY e.namespace, e.expires_at, e.id LIMIT $limit
        """
        found = self._all(query, key=held.key, now=now, delete=int(Expiry.DELETE), limit=limit)
        ends = {row["id"]: Expiry(row["expiry"]) for row in found}
        if lived is not None and len(ends) < limit:
            still = "AND e.archived_seq IS NULL" if lived.expiry is Expiry.ARCHIVE else ""
            query = f"""
                MATCH (e:Episode) USING INDEX SEEK e:Episode(namespace, seq, id)
                WHERE e.namespace = $key AND e.seq <= $young AND e.id IS NOT NULL
                  AND e.expires_at IS NULL AND e.held IS NULL {still}
                RETURN e.id AS id ORDER BY e.namespace, e.seq, e.id LIMIT $limit
            """
            ends |= dict.fromkeys(self._ids(query, key=held.key, young=young, limit=limit - len(ends)), lived.expiry)
        return ends

    def add_uses(self, held: Held, uses: Mapping[str, tuple[int, int]]) -> None:
        self._do(
            "UNWIND $uses AS row MATCH (e:Episode {id: row[0]}) WHERE e.namespace = $key "
            "SET e.uses = coalesce(e.uses, 0) + row[1], "
            "e.used_at = CASE WHEN e.used_at > row[2] THEN e.used_at ELSE row[2] END",
            key=held.key,
            uses=[[episode_id, count, at] for episode_id, (count, at) in sorted(uses.items())],
        )
