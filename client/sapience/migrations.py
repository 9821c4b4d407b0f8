"""What migrations are made of, as frozen dataclasses. `protos/sapience/v1/migration.proto` says more of each field."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class MigrationState(StrEnum):
    """How far a migration is. ENCODING, CLEANING and UNDOING go on by themselves."""

    UNSPECIFIED = "unspecified"
    ENCODING = "encoding"
    CLEANING = "cleaning"
    SUCCEEDED = "succeeded"
    UNDOING = "undoing"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class VectorSpace:
    """A vector space. Vectors of two are never compared."""

    name: str
    version: str
    dimensions: int


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of a namespace's space. `version` counts its changes, for `watch_migration`."""

    id: str
    namespace: str
    model: str
    source: VectorSpace
    target: VectorSpace
    state: MigrationState
    done: int
    total: int
    expected: timedelta
    message: str
    started_at: datetime
    ended_at: datetime | None
    seq: int
    version: int


@dataclass(frozen=True, slots=True)
class MigrationCost:
    """What a migration takes, judged by `sampled` Concepts. `disk_bytes` is what both spaces together need more."""

    concepts: int
    text_bytes: int
    duration: timedelta
    sampled: int
    vector_bytes: int
    disk_bytes: int


@dataclass(frozen=True, slots=True)
class MigrationPlan:
    """What `migrate` would do."""

    model: str
    source: VectorSpace
    target: VectorSpace
    cost: MigrationCost


@dataclass(frozen=True, slots=True)
class ServedSpace:
    """The space of a namespace, and the address of an encoder of it; empty where none is loaded."""

    namespace: str
    space: VectorSpace
    model: str
