"""What the export of another system comes to: Episodes, Facts, and counts of what is not taken."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from sapience import NewEpisode
from sapience.v1 import concept_pb2, memory_pb2

MAX_NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class ToldFact:
    """A Fact, and the place among the Episodes of the one that is its evidence."""

    fact: concept_pb2.Fact
    evidence: int | None = None

    def record(self, episode_id: str) -> memory_pb2.MemoryRecord:
        """As Import takes it."""
        record = memory_pb2.MemoryRecord(fact=self.fact)
        record.fact.episode_id = episode_id
        return record


@dataclass(slots=True)
class Reading:
    """What a file holds, and what of it is not taken, by why."""

    episodes: list[NewEpisode] = field(default_factory=list)
    facts: list[ToldFact] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


def skip(reading: Reading, why: str, count: int = 1) -> None:
    """Counts what is not taken, by why."""
    if count:
        reading.skipped[why] += int(count)


def is_name(text: str) -> bool:
    """Whether an Entity can have it."""
    return bool(text.strip()) and len(text.encode()) <= MAX_NAME_BYTES


def relation_of(text: str) -> str:
    """In snake_case, as relations are here; empty where nothing is left."""
    snake = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).casefold()).strip("_")
    return re.sub(r"^(?=[0-9])", "r_", snake)[:64].rstrip("_")


def derived(system: str, key: str) -> str:
    """The id of a Fact that the other system has none for: the same at every import."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{system}/{key}"))


def fact(
    key: str,
    subject: str,
    relation: str,
    target: str,
    told_at: datetime,
    start: datetime | None = None,
    end: datetime | None = None,
) -> concept_pb2.Fact:
    """A statement between two Entities; open ends are None."""
    made = concept_pb2.Fact(
        id=key,
        subject=concept_pb2.Entity(name=subject),
        relation=relation,
        entity=concept_pb2.Entity(name=target),
        told_at=_stamp(told_at),
        trust=1.0,
    )
    if start is not None:
        made.valid.start.CopyFrom(_stamp(start))
    if end is not None:
        made.valid.end.CopyFrom(_stamp(end))
    return made


def _stamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
