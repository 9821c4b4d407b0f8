"""The deadline of the call at work, carried by context so that calls to other services pass on what remains of it.

gRPC cancels the calls made on behalf of a cancelled one, but does not pass a deadline on: each hop has to say it.
"""

from __future__ import annotations

import time
from contextvars import ContextVar

from core.errors import SapienceError

_DEADLINE: ContextVar[float | None] = ContextVar("sapience_deadline", default=None)


class DeadlineExceeded(SapienceError):
    """The time that the caller gave is over."""

    def __init__(self) -> None:
        super().__init__("the deadline of the call is over", reason="DEADLINE_EXCEEDED")


def begin(seconds: float) -> None:
    """Sets the deadline of the current task: so many seconds from now."""
    _DEADLINE.set(time.monotonic() + seconds)


def remaining(at_most: float | None = None) -> float | None:
    """Seconds left, never more than `at_most`; None where neither says. Raises DeadlineExceeded when none is left."""
    deadline = _DEADLINE.get()
    if deadline is None:
        return at_most
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineExceeded
    return left if at_most is None else min(left, at_most)
