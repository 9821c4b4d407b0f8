"""Time as the project keeps it: int64 microseconds since 1970-01-01T00:00:00 UTC, and a clock that tests can set."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

Micros = int
"""Microseconds since the Unix epoch, UTC. Negative before 1970."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND: Micros = 1_000_000
DAY: Micros = 86_400 * SECOND
EARLIEST: Micros = -62_135_596_800 * SECOND
"""0001-01-01T00:00:00Z, the first moment that a Timestamp can hold."""
LATEST: Micros = 253_402_300_800 * SECOND - 1
"""9999-12-31T23:59:59.999999Z, the last."""


class Clock(Protocol):
    """Tells the time. Never goes back within one process."""

    def now(self) -> Micros:
        """The time, in microseconds since the epoch."""
        ...


class SystemClock:
    """The machine's clock, kept from going back when the machine's is set back."""

    def __init__(self) -> None:
        self._last: Micros = 0

    def now(self) -> Micros:
        """The time, at least one microsecond after the last answer."""
        self._last = max(self._last + 1, time.time_ns() // 1000)
        return self._last


class ManualClock:
    """A clock that stands still until it is moved, for tests."""

    def __init__(self, at: Micros = 0, step: Micros = 1) -> None:
        self.at = at
        self.step = step

    def now(self) -> Micros:
        """The time set; each answer moves it on by `step`."""
        self.at += self.step
        return self.at


def micros(moment: datetime) -> Micros:
    """The microseconds of an aware datetime. Raises ValueError for a naive one: its zone would be a guess."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no timezone; give one, for example {moment.isoformat()}+00:00")
    return (moment - EPOCH) // MICROSECOND


def to_datetime(at: Micros) -> datetime:
    """The UTC datetime of microseconds within the years 1 to 9999."""
    return EPOCH + timedelta(microseconds=at)


def isoformat(at: Micros) -> str:
    """RFC 3339 in UTC, for people and JSON."""
    return to_datetime(at).isoformat().replace("+00:00", "Z")
