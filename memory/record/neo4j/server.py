"""The connection to a Neo4j server: sessions, constraints and indexes, and errors that say how to mend them.

Knows nothing of Episodes but the names of their indexes. The driver keeps a pool of connections, and repeats a
transaction that the server asks to repeat, or that found no server, for `RETRY_TIME_S`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import neo4j
from neo4j import exceptions

from core.errors import FailedPrecondition, SapienceError, Unavailable

SCHEMA_VERSION = 5
RETRY_TIME_S = 5.0
"""How long the driver goes on repeating what may succeed when repeated; the last wait may end later."""
CONNECT_TIMEOUT_S = 5.0

_SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")
_UNIQUE = {
    "counter": ("Counter", "name"),
    "commit": ("Commit", "seq"),
    "namespace": ("Namespace", "name"),
    "namespace_key": ("Namespace", "key"),
    "episode": ("Episode", "id"),
    "episode_identity": ("Episode", "namespace", "identity"),
    "concept": ("Concept", "namespace", "id"),
    "term": ("Term", "namespace", "term"),
    "speaker": ("Speaker", "namespace", "name"),
    "entity": ("Entity", "namespace", "normalised"),
    "fact": ("Fact", "id"),
    "entity_id": ("Entity", "id"),
    "merge": ("Merge", "id"),
    "relation_policy": ("RelationPolicy", "namespace", "relation", "seq"),
    "request": ("Request", "namespace", "request_id"),
    "outbox": ("Outbox", "seq"),
    "dream": ("Dream", "namespace", "id"),
    "dream_number": ("Dream", "namespace", "number"),
    "migration": ("Migration", "namespace", "id"),
    "migration_number": ("Migration", "namespace", "number"),
    "dream_change": ("DreamChange", "namespace", "dream", "ordinal"),
    "forgotten": ("Forgotten", "audit_id"),
    "tombstone": ("Tombstone", "namespace", "kind", "digest"),
}
_INDEXES = {
    "commit_by_time": ("Commit", "recorded_at"),
    "episode_by_commit": ("Episode", "namespace", "seq", "id"),
    "episode_by_time": ("Episode", "namespace", "told_at", "id"),
    "episode_at_place": ("Episode", "namespace", "source_name", "conversation", "position", "seq", "ordinal"),
    "fact_by_commit": ("Fact", "namespace", "seq"),
    "request_by_time": ("Request", "recorded_at"),
    "outbox_by_namespace": ("Outbox", "namespace"),
    "episode_by_archival": ("Episode", "namespace", "archived_seq", "id"),
    "episode_ending": ("Episode", "namespace", "expires_at", "id"),
    "dream_by_state": ("Dream", "state"),
    "migration_by_state": ("Migration", "state"),
    "dream_change_by_kind": ("DreamChange", "namespace", "kind", "state"),
    "episode_by_extractor": ("Episode", "namespace", "extractor", "seq", "ordinal"),
    "merge_by_namespace": ("Merge", "namespace", "seq"),
    "episode_held": ("Episode", "namespace", "held"),
    "tombstone_by_commit": ("Tombstone", "namespace", "seq"),
    "forgotten_by_commit": ("Forgotten", "seq"),
}
_DROPPED = ("episode_by_place", "episode_archived", "episode_by_end")
"""Indexes of earlier versions, in whose place there are longer ones."""


class Neo4jServer:
    """A database of a server, with the constraints and indexes of the record. Safe for many threads."""

    def __init__(self, url: str, user: str, password: str, database: str) -> None:
        self._url = url
        self._closed = False
        try:
            if urlsplit(url).scheme not in _SCHEMES:  # the driver takes http as well, which the record does not
                raise ValueError(f"it does not begin with one of {', '.join(_SCHEMES)}")
            self._driver = neo4j.GraphDatabase.driver(
                url,
                auth=(user, password) if user else None,
                max_transaction_retry_time=RETRY_TIME_S,
                connection_timeout=CONNECT_TIMEOUT_S,
                notifications_min_severity="OFF",  # an empty store has none of our labels yet: no news
            )
        except (exceptions.Neo4jError, exceptions.DriverError, ValueError) as error:
            raise FailedPrecondition(
                f"{url!r} is no address of a Neo4j server ({error}); give one such as bolt://localhost:7687",
                reason="STORE_ADDRESS",
            ) from error
        self._database = database or None
        self._bookmarks = neo4j.GraphDatabase.bookmark_manager()  # on a cluster, reads follow our own writes
        try:
            self._make_schema()
        except BaseException:
            self._driver.close()
            raise

    def close(self) -> None:
        """Lets go of the connections. May be repeated."""
        self._closed = True
        self._driver.close()

    @contextmanager
    def session(self) -> Iterator[neo4j.Session]:
        """A session; what goes wrong in it is raised as ours."""
        if self._closed:
            raise Unavailable(f"the record on {self._url} is closed; open it again", reason="STORE_CLOSED")
        try:
            with self._driver.session(database=self._database, bookmark_manager=self._bookmarks) as session:
                yield session
        except (exceptions.Neo4jError, exceptions.DriverError) as error:
            raise self._translated(error) from error

    def _make_schema(self) -> None:
        with self.session() as session:
            if self._version(session) == SCHEMA_VERSION:
                return
            for name, (label, *columns) in _UNIQUE.items():
                listed = ", ".join(f"n.{column}" for column in columns)
                query = f"CREATE CONSTRAINT {name}_unique IF NOT EXISTS FOR (n:{label}) REQUIRE ({listed}) IS UNIQUE"
                session.run(query).consume()
            for name, (label, *columns) in _INDEXES.items():
                listed = ", ".join(f"n.{column}" for column in columns)
                query = f"CREATE INDEX {name} IF NOT EXISTS FOR (n:{label}) ON ({listed})"
                session.run(query).consume()
            for name in _DROPPED:
                session.run(f"DROP INDEX {name} IF EXISTS").consume()
            session.run("CALL db.awaitIndexes(300)").consume()
            # An index over properties holds no node that lacks one: Episodes of an earlier version get theirs.
            query = "MATCH (e:Episode) WHERE e.extractor IS NULL SET e.extractor = 0"
            session.run(query).consume()
            # Last, as the mark that all is made. The constraint on its name stands by now: of two that open a new store
            # at once, one makes the node.
            query = (
                "MERGE (c:Counter {name: 'seq'}) ON CREATE SET c.seq = 0 "
                "SET c.schema = $version, c.secret = coalesce(c.secret, $secret)"
            )
            session.run(query, version=SCHEMA_VERSION, secret=os.urandom(32)).consume()

    def _version(self, session: neo4j.Session) -> int:
        """The version of the schema that stands; 0 where none does. Raises FailedPrecondition for a later one."""
        made = session.run("MATCH (c:Counter {name: 'seq'}) RETURN c.schema AS version").single()
        version = 0 if made is None else int(made["version"])
        if version > SCHEMA_VERSION:
            raise FailedPrecondition(
                f"the record on {self._url} has schema version {version}, and this program knows {SCHEMA_VERSION}; "
                "open it with the version that wrote it, or a later one",
                reason="SCHEMA_TOO_NEW",
            )
        return version

    def _translated(self, error: exceptions.Neo4jError | exceptions.DriverError) -> SapienceError:
        """The error as ours: Unavailable where trying again may help, else FailedPrecondition with the mend."""
        code = getattr(error, "code", None) or ""
        if isinstance(error, exceptions.AuthError):
            return FailedPrecondition(
                f"{self._url} does not take the user or password of the record ({code}); "
                "set those that the Neo4j server was given",
                reason="STORE_AUTH",
            )
        if code == "Neo.ClientError.Database.DatabaseNotFound":
            return FailedPrecondition(
                f"{self._url} has no database {self._database!r}; name one that it has, or leave the name empty",
                reason="STORE_DATABASE",
            )
        if isinstance(error, exceptions.ConfigurationError):
            return FailedPrecondition(f"cannot use {self._url!r}: {error}", reason="STORE_ADDRESS")
        if code.startswith("Neo.ClientError."):
            return FailedPrecondition(f"the record on {self._url} refused: {error}", reason="STORE_FAILED")
        return Unavailable(
            f"the record on {self._url} does not answer as it should ({code or type(error).__name__}: {error}); "
            "see that the Neo4j server runs and has disk and memory, and try again",
            reason="STORE_UNAVAILABLE",
        )
