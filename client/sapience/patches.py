"""What `patch` gives: bytes in patches that are easy to foresee once begun."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class PatchRule(StrEnum):
    """What makes a byte begin a patch: uncertainty, a rise of it, or both (BLT)."""

    UNSPECIFIED = "unspecified"
    GLOBAL = "global"
    MONOTONIC = "monotonic"
    COMBINED = "combined"


@dataclass(frozen=True, slots=True)
class BytePatch:
    """The bytes [start, end)."""

    start: int
    end: int
    entropy: float
    """How uncertain its first byte was, in nats."""
    began: datetime | None = None
    """When its first byte came; None where no arrivals were given."""
    ended: datetime | None = None
    """When its last byte came."""


@dataclass(frozen=True, slots=True)
class Patched:
    """Bytes in patches: the first begins at 0, each where the one before ends."""

    patches: tuple[BytePatch, ...]
    model: str
    entropy_threshold: float
    """The threshold of entropies that they were cut by, in nats; the monotonic rule does not look at it."""
    rise_threshold: float
    """That of their rises; the global rule does not look at it."""
