"""The record on a Neo4j server (5.23 or later, Community or Enterprise): for several machines over one store.

What it promises: when a write returns, the server has committed it, which by default means synced to its disk. Each
write is one managed transaction that first locks a single node, `(:Counter {name: 'seq'})`: so writers take turns over
all machines, and commits are numbered in the order in which they come to be seen. The driver repeats a transaction
that the server asks to repeat; one whose commit got no answer is not repeated but raises Unavailable: send it again
with its request_id.

Where it differs from the file: a read of several statements sees what is committed by each of them, not one snapshot,
and what was deleted stays in the server's store files until their space is used again. The rules are in `base`; here
is what they are in Cypher.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import neo4j

from core.clock import Clock
from core.ids import Ids
from memory.record.base import TransactionalRecord
from memory.record.neo4j.commits import Commits
from memory.record.neo4j.deleting import Deleting
from memory.record.neo4j.dreams import Dreams
from memory.record.neo4j.entities import Entities
from memory.record.neo4j.keeping import KeptEpisodes
from memory.record.neo4j.migrations import Migrations
from memory.record.neo4j.moving import Moving
from memory.record.neo4j.server import Neo4jServer
from memory.record.neo4j.tombstones import Tombstones
from memory.record.transaction import Commit, Transaction

_T = TypeVar("_T")


class Neo4jRecord(TransactionalRecord):
    """A `core.ports.Record` on a server. Safe for many threads; close it to let go of the connections."""

    backend = "neo4j"

    def __init__(self, url: str, user: str, password: str, database: str, clock: Clock, ids: Ids) -> None:
        """Connects, and makes constraints and indexes where there are none.

        Without a `user` it connects with no authentication; an empty `database` is the server's default one. Raises
        Unavailable, and FailedPrecondition for a wrong address, password or database.
        """
        super().__init__(_Neo4jStore(url, user, password, database), clock, ids)


class _Neo4jStore:
    def __init__(self, url: str, user: str, password: str, database: str) -> None:
        self._server = Neo4jServer(url, user, password, database)

    def read(self, work: Callable[[Transaction], _T]) -> _T:
        with self._server.session() as session:
            return session.execute_read(lambda tx: work(_Neo4jTransaction(tx)))

    def snapshot(self) -> AbstractContextManager[None]:
        """No more than each read by itself: a transaction here reads what others commit meanwhile."""
        return nullcontext()

    def write(self, work: Callable[[Transaction], _T]) -> _T:
        def locked(tx: neo4j.ManagedTransaction) -> _T:
            # To write a property takes the lock, before anything is read that another writer may be changing.
            query = "MATCH (c:Counter {name: 'seq'}) SET c.locked = true RETURN c.seq AS seq, c.recorded_at AS at"
            (counter,) = tx.run(query)
            return work(_Neo4jTransaction(tx, Commit(counter["seq"], counter["at"])))

        with self._server.session() as session:
            return session.execute_write(locked)

    def scrub(self) -> None:
        """Nothing: the server has no such call."""

    def close(self) -> None:
        self._server.close()


class _Neo4jTransaction(Commits, Entities, KeptEpisodes, Deleting, Tombstones, Moving, Dreams, Migrations):
    """`Transaction` in Cypher. Lists go in as parameters and are unwound there: one round trip for a batch.

    The server plans by what it counted a while ago, and a young store was empty then: hints name the index where a
    wrong guess would read all of a namespace, or of the store.
    """
