"""Where the record suite runs, and what it writes.

It runs on a SQLite file, and on a Neo4j server where one is given: `SAPIENCE_TEST_NEO4J_URL` is its Bolt address, with
`SAPIENCE_TEST_NEO4J_USER` and `SAPIENCE_TEST_NEO4J_PASSWORD` where it asks for them. Every test empties that server.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import neo4j
import numpy as np
import pytest

from core.clock import Clock, ManualClock, SystemClock
from core.errors import SapienceError
from core.ids import Ids, RandomIds
from core.nouns import (
    AsOf,
    Episode,
    EpisodeFilter,
    Interval,
    NewFact,
    PerceivedConcept,
    PerceivedEpisode,
    Source,
    SourceKind,
    Space,
    Span,
    Sparse,
)
from core.ports import Record
from memory.record.neo4j import Neo4jRecord
from memory.record.sqlite import SqliteRecord

SPACE = Space("encoder", "1", 4)
ALL = EpisodeFilter(kinds=())
NOW = AsOf()
TERMS = (0, 1, 2, 2**32 - 1)
T0 = 1_700_000_000_000_000

NEO4J_URL = os.environ.get("SAPIENCE_TEST_NEO4J_URL", "")
NEO4J_USER = os.environ.get("SAPIENCE_TEST_NEO4J_USER", "")
NEO4J_PASSWORD = os.environ.get("SAPIENCE_TEST_NEO4J_PASSWORD", "")
WITHOUT_NEO4J = (
    "SAPIENCE_TEST_NEO4J_URL is not set: no Neo4j server to test; "
    "`scripts/neo4j-local run -- pytest tests/congruence` starts one (it needs Java 17 or 21)"
)
MUST_HAVE_NEO4J = bool(os.environ.get("CI")) and shutil.which("java") is not None
"""A build server with Java tests both: there it fails where it would be skipped elsewhere."""


class Place(Protocol):
    """Where one test keeps a record."""

    def open(self, clock: Clock, ids: Ids) -> Record:
        """A record on this place: on what is there already, if anything is."""
        ...

    def clear(self) -> None:
        """Empties it; no record is open on it."""
        ...


class SqlitePlace:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "record" / "record.db"

    def open(self, clock: Clock, ids: Ids) -> Record:
        return SqliteRecord(self.path, clock, ids)

    def clear(self) -> None:
        shutil.rmtree(self.path.parent, ignore_errors=True)


class Neo4jPlace:
    """The whole default database of a server."""

    def __init__(self, folder: Path) -> None:
        pass

    def open(self, clock: Clock, ids: Ids) -> Record:
        return Neo4jRecord(NEO4J_URL, NEO4J_USER, NEO4J_PASSWORD, "", clock, ids)

    def clear(self) -> None:
        auth = (NEO4J_USER, NEO4J_PASSWORD) if NEO4J_USER else None
        with neo4j.GraphDatabase.driver(NEO4J_URL, auth=auth) as driver:
            # The counter stays: it is the mark that indexes are made, and to make them anew takes most of a second.
            driver.execute_query("MATCH (n) WHERE NOT n:Counter DETACH DELETE n")
            driver.execute_query("MATCH (c:Counter) SET c.seq = 0 REMOVE c.recorded_at")


PLACES = [pytest.param(SqlitePlace, id="sqlite")]
if NEO4J_URL:
    PLACES.append(pytest.param(Neo4jPlace, id="neo4j"))


class Bench:
    """A place with a clock and ids that give the same on every run."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.clock = ManualClock(T0)
        self.ids = RandomIds(self.clock, seed=1)
        self.record = place.open(self.clock, self.ids)

    def reopen(self) -> Record:
        """Closes the record and opens it again, as another process would."""
        self.record.close()
        self.record = self.place.open(self.clock, self.ids)
        return self.record


def concept(
    text: str, within: str = "", vector: Sequence[float] = (1, 0, 0, 0), terms: Sequence[int] = ()
) -> PerceivedConcept:
    """A Concept of `text`, at its first place within a longer one."""
    start = (within or text).encode().index(text.encode())
    span = Span(text, start, start + len(text.encode()), "en")
    weights = tuple(1 + place / 4 for place, _ in enumerate(terms))
    return PerceivedConcept(span, np.array(vector, np.float32), Sparse(tuple(terms), weights))


def told(
    text: str,
    *,
    speaker: str = "Ann",
    conversation: str = "c",
    position: int = 0,
    at: int = T0,
    source: str = "chat",
    kind: SourceKind = SourceKind.TESTIMONY,
    external_id: str = "",
    terms: Sequence[int] = (1, 2),
    concepts: tuple[PerceivedConcept, ...] | None = None,
    given_id: str = "",
    derived_from: tuple[str, ...] = (),
) -> PerceivedEpisode:
    """An Episode of one Concept, its whole text, unless others are given."""
    return PerceivedEpisode(
        source=Source(kind, source),
        text=text,
        told_at=at,
        concepts=(concept(text, terms=terms),) if concepts is None else concepts,
        conversation=conversation,
        position=position,
        speaker=speaker,
        external_id=external_id,
        id=given_id,
        derived_from=derived_from,
    )


def stated(
    subject: str = "Ann",
    relation: str = "lives_in",
    entity: str | None = "Paris",
    *,
    literal: str | None = None,
    valid: Interval = Interval(),
    at: int = T0,
    episode_id: str = "",
    retracted: bool = False,
    given_id: str = "",
) -> NewFact:
    """A Fact about an Entity, or with a literal as its object."""
    return NewFact(
        subject=subject,
        relation=relation,
        valid=valid,
        told_at=at,
        entity=None if literal is not None else entity,
        literal=literal,
        retracted=retracted,
        episode_id=episode_id,
        id=given_id,
    )


def ids_of(record: Record, *episodes: PerceivedEpisode, namespace: str = "a") -> list[str]:
    """Remembers them; the ids they got."""
    return [one.episode_id for one in record.remember(namespace, SPACE, episodes)]


def texts(window: list[Episode]) -> list[str]:
    """What Episodes say."""
    return [episode.text for episode in window]


def refused(kind: type[SapienceError], reason: str, call: Callable[..., object], *given: object) -> SapienceError:
    """The error that a call ends with; it has to be of that kind, for that reason."""
    with pytest.raises(kind) as caught:
        call(*given)
    assert caught.value.reason == reason
    return caught.value


def plain(value: Any) -> Any:
    """Nouns as tuples that compare, without the times of commits."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [one.name for one in dataclasses.fields(value) if one.name not in ("recorded_at", "audit_id")]
        return (type(value).__name__, *(plain(getattr(value, name)) for name in fields))
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def snapshot(record: Record, namespace: str) -> Any:
    """All that a namespace holds."""
    exported = list(record.export_episodes(namespace))
    ids = [one.id for one, _ in exported]
    return plain(
        [
            record.counts(namespace), record.space_of(namespace), exported, record.speakers(namespace),
            dict(record.term_statistics(namespace, TERMS).document_frequency), record.facts(namespace),
            list(record.concept_ids(namespace)), dict(record.window(namespace, ids, 1)), record.outbox(1000),
        ]
    )  # fmt: skip


def run(path: Path) -> None:
    """Remembers batches until it is killed, and says which are acknowledged."""
    clock = SystemClock()
    record = SqliteRecord(path, clock, RandomIds(clock))
    record.create_namespace("a")
    batch = 0
    while True:
        record.remember("a", SPACE, [told(f"{batch}/{place}", position=place) for place in range(5)])
        sys.stdout.write(f"{batch}\n")
        sys.stdout.flush()
        batch += 1


if __name__ == "__main__":
    run(Path(sys.argv[1]))
