"""What stays of what was deleted, in SQL."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from memory.record.sqlite.statements import GIVEN, Statements
from memory.record.tombstones import Buried, Mark
from memory.record.transaction import Held


class Tombstones(Statements):
    """The part of `Transaction` about tombstones."""

    def secret(self) -> bytes:
        return bytes(self._db.execute("SELECT secret FROM store").fetchone()["secret"])

    def identities(self, held: Held, episode_ids: Sequence[str] | None) -> Iterator[tuple[str, str]]:
        if episode_ids is None:
            found = self._db.execute("SELECT id, identity FROM episode WHERE namespace = ?", (held.key,))
        else:
            query = f"SELECT id, identity FROM episode WHERE +namespace = ? AND id IN {GIVEN}"
            found = self._db.execute(query, (held.key, json.dumps(episode_ids)))
        for row in found:
            yield row["id"], row["identity"]

    def fact_ids(self, held: Held) -> Iterator[str]:
        for row in self._db.execute("SELECT id FROM fact WHERE namespace = ?", (held.key,)):
            yield row["id"]

    def any_buried(self, namespace: str) -> bool:
        query = "SELECT 1 FROM tombstone WHERE namespace = ? LIMIT 1"
        return self._db.execute(query, (namespace,)).fetchone() is not None

    def buried(self, namespace: str, marks: Collection[Mark]) -> set[Mark]:
        found: set[Mark] = set()
        for kind in Buried:
            digests = json.dumps([digest for of, digest in marks if of is kind])
            query = f"SELECT digest FROM tombstone WHERE namespace = ? AND kind = ? AND digest IN {GIVEN}"
            found |= {(kind, row["digest"]) for row in self._db.execute(query, (namespace, kind, digests))}
        return found

    def bury(self, namespace: str, marks: Collection[Mark], seq: int) -> None:
        self._db.executemany(
            "INSERT INTO tombstone (namespace, kind, digest, seq) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (namespace, kind, digest) DO UPDATE SET seq = max(seq, excluded.seq)",
            ((namespace, kind, digest, seq) for kind, digest in marks),
        )

    def unbury(self, namespace: str, marks: Collection[Mark]) -> None:
        self._db.executemany(
            "DELETE FROM tombstone WHERE namespace = ? AND kind = ? AND digest = ?",
            ((namespace, kind, digest) for kind, digest in marks),
        )
