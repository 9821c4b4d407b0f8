"""From a model's thread to the event loop that asked: bounded, cancellable, and never late.

The loop never waits for the model, and the model never waits for a reader: what a request may still bring is bounded by
its latent steps and new tokens.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Sequence

from cognition.engine.base import Finished, Item, StopReason

GRACE_S = 0.25
"""How long after a deadline the caller waits for the model's own account before it gives one itself."""

Outcome = Item | Exception


class Mailbox:
    """What one request gets, shared by the caller's loop and the model's thread."""

    def __init__(self, deadline_s: float | None) -> None:
        """Has to be made on the loop that will read it."""
        self.loop = asyncio.get_running_loop()
        self.submitted = time.monotonic()
        self.deadline = None if deadline_s is None else self.submitted + deadline_s
        """On the monotonic clock."""
        self.cancelled = threading.Event()
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def send(self, outcome: Outcome) -> None:
        """Hands one thing to the caller, from any thread."""
        deliver([(self, outcome)])

    async def next(self) -> Outcome:
        """The next outcome; past the deadline an account of our own, if the request is queued or in a long step."""
        if self.deadline is None:
            return await self._outcomes.get()
        try:
            async with asyncio.timeout(max(0.0, self.deadline + GRACE_S - time.monotonic())):
                return await self._outcomes.get()
        except TimeoutError:
            return Finished(StopReason.WALL, 0, 0, queued_s=time.monotonic() - self.submitted)

    def put(self, outcome: Outcome) -> None:
        """On the loop itself."""
        self._outcomes.put_nowait(outcome)


def deliver(outcomes: Sequence[tuple[Mailbox, Outcome]]) -> None:
    """Hands over what a step brought, in order, with one call for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Mailbox, Outcome]]] = defaultdict(list)
    for mailbox, outcome in outcomes:
        by_loop[mailbox.loop].append((mailbox, outcome))
    for loop, some in by_loop.items():
        try:
            loop.call_soon_threadsafe(_put, some)
        except RuntimeError:  # the loop is closed: nobody is left to read it
            for mailbox, _ in some:
                mailbox.cancelled.set()


def _put(outcomes: Sequence[tuple[Mailbox, Outcome]]) -> None:
    for mailbox, outcome in outcomes:
        mailbox.put(outcome)
