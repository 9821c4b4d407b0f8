"""What Dreams are made of, as frozen dataclasses. `protos/sapience/v1/dream.proto` says more of each field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class DreamKind(StrEnum):
    """What a Dream looks for."""

    UNSPECIFIED = "unspecified"
    DUPLICATES = "duplicates"
    SUMMARIES = "summaries"
    CONTRADICTIONS = "contradictions"
    PROCEDURES = "procedures"
    STRENGTHENING = "strengthening"
    ALIASES = "aliases"
    FACTS = "facts"


class DreamState(StrEnum):
    """How far a Dream is. READING, APPROVED and UNDOING go on by themselves."""

    UNSPECIFIED = "unspecified"
    READING = "reading"
    PROPOSED = "proposed"
    APPROVED = "approved"
    APPLIED = "applied"
    UNDOING = "undoing"
    UNDONE = "undone"
    CANCELLED = "cancelled"
    FAILED = "failed"


class DreamChangeState(StrEnum):
    """What became of one change."""

    UNSPECIFIED = "unspecified"
    PROPOSED = "proposed"
    APPROVED = "approved"
    DECLINED = "declined"
    APPLIED = "applied"
    SKIPPED = "skipped"
    UNDONE = "undone"
    FOUND = "found"


class Sign(StrEnum):
    """What becomes of what a line of a diff shows."""

    UNSPECIFIED = "unspecified"
    KEPT = "kept"
    ADDED = "added"
    ARCHIVED = "archived"
    STRENGTHENED = "strengthened"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class DreamBudget:
    """What a Dream may cost: 0, and None, mean the service's default."""

    episodes: int = 0
    changes: int = 0
    wall: timedelta | None = None
    readings: int = 0


@dataclass(frozen=True, slots=True)
class Dream:
    """One consolidation. `total` and `done` count its changes; `version` counts its states, for `watch_dream`."""

    id: str
    namespace: str
    kinds: tuple[DreamKind, ...]
    automatic: bool
    state: DreamState
    episodes: int
    total: int
    done: int
    message: str
    started_at: datetime
    ended_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True)
class Consolidation:
    """Dreams that begin by themselves: "off", "propose" or "automatic". `dream_id` is the last one, `error` what went
    wrong last.
    """

    mode: str
    begun: int
    failed: int
    namespace: str
    dream_id: str
    state: DreamState
    error: str


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a diff: an Episode, a Fact or a name.

    `uses` is how many a STRENGTHENED one gets, `same_as` the name that a MERGED one means from then on. A name was
    told at no one time.
    """

    sign: Sign
    episode_id: str
    fact_id: str
    text: str
    speaker: str
    told_at: datetime | None
    uses: int
    same_as: str


@dataclass(frozen=True, slots=True)
class DreamChange:
    """A change that a Dream proposes, or something that it found; `ordinal` counts from 1."""

    ordinal: int
    kind: DreamKind
    state: DreamChangeState
    reason: str
    score: float
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class DreamDiff:
    """A Dream with some of its changes: iterate it. `more`: there are others after these."""

    dream: Dream
    changes: tuple[DreamChange, ...]
    more: bool

    def __iter__(self) -> Iterator[DreamChange]:
        return iter(self.changes)

    def __len__(self) -> int:
        return len(self.changes)
