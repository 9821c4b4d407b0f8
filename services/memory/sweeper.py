"""The task that ends what has reached its end: looks every so often, archives or deletes, and says when it did.

It also drops the answers that were kept for retries, when no retry is to be expected any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from core.clock import DAY, Clock
from core.errors import NotFound, SapienceError
from core.ports import Record
from services.runtime.worker import Worker

log = structlog.get_logger()

BATCH = 1000
"""Episodes in one transaction: other writers wait no longer than that takes."""


class Sweeper:
    """Owns its task, and borrows the thread that writes. An end is met within `every_s` and the time of a sweep."""

    def __init__(
        self,
        record: Record,
        writes: Worker,
        ended: Callable[[], None],
        clock: Clock,
        every_s: float,
        request_keep_days: float = 7.0,
    ) -> None:
        """`ended` is called after each transaction that ended something."""
        self._record = record
        self._writes = writes
        self._ended = ended
        self._clock = clock
        self._every_s = every_s
        self._keep = round(request_keep_days * DAY)
        self._task = asyncio.create_task(self._run(), name="sweeper")

    async def close(self) -> None:
        """Ends the task; a transaction at work is finished by its thread."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._sweep()
            except SapienceError as error:
                log.warning("what is over could not be ended, and is next time", reason=error.reason, error=str(error))
            except Exception:
                # A fault of ours must not keep what is over for good.
                log.exception("sweeping failed by a fault of ours")

    async def _sweep(self) -> None:
        while await self._writes.run(self._record.drop_answers, self._clock.now() - self._keep, BATCH) == BATCH:
            pass
        for namespace in await self._writes.run(self._record.namespaces):
            more = True
            while more:
                try:
                    ended = await self._writes.run(self._record.expire, namespace.name, self._clock.now(), BATCH)
                except NotFound:  # deleted since it was listed
                    break
                if ended.archived or ended.deleted:
                    log.info("ended", namespace=namespace.name, archived=ended.archived, deleted=ended.deleted)
                    self._ended()
                more = ended.archived + ended.deleted == BATCH
