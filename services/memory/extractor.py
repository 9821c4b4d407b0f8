"""The task that reads Episodes for what they mention and state, after they were written."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from core.entities import Extracted
from core.errors import NotFound, SapienceError
from core.nouns import Episode
from core.ports import Record
from memory.ingest.extract import VERSION, extract
from services.runtime.worker import Worker

log = structlog.get_logger()

PAGE = 256
"""Episodes in one transaction: other writers wait no longer than that takes."""
QUIET_S = 0.05
"""It waits until nothing was written for so long: reading text holds the interpreter that answers calls."""
PATIENCE_S = 0.5
"""While writes go on without a pause, a page is read after each of these."""
LONGEST_BACKOFF_S = 10.0


class Extractor:
    """Owns its task and its thread. What is not read yet is marked so in the record: a restart goes on from there.

    An Episode that the rules fail on is logged and taken as read, so that it does not keep others from it.
    """

    def __init__(self, record: Record, changed: Callable[[], None], timezone: str) -> None:
        """`changed` is called after each transaction that may have made a commit. Dates are those of `timezone`."""
        self._record = record
        self._changed = changed
        self._timezone = timezone
        self._worker = Worker("extract", max_waiting=1)
        self._wake = asyncio.Event()
        self._woken_at = 0.0
        self._pauses = 0
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._task = asyncio.create_task(self._run(), name="extractor")

    def wake(self) -> None:
        """Says that Episodes were written."""
        self._woken_at = time.monotonic()
        self._wake.set()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Reads nothing meanwhile: an import brings Facts that were read elsewhere, and says how many it wrote."""
        self._pauses += 1
        self._resumed.clear()
        try:
            yield
        finally:
            self._pauses -= 1
            if not self._pauses:
                self._resumed.set()
                self.wake()

    async def close(self) -> None:
        """Ends the task and its thread; a page at work is finished by the thread."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._worker.close()

    async def _run(self) -> None:
        backoff = 0.1
        while True:
            try:
                self._wake.clear()
                while await self._page():
                    pass
                backoff = 0.1
                await self._wake.wait()
            except SapienceError as error:
                log.warning("Episodes could not be read, and are later", reason=error.reason, error=error.message)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_S)
            except Exception:
                # A fault of ours must not end reading for good: what was not read is still marked so.
                log.exception("reading Episodes failed by a fault of ours")
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_S)

    async def _page(self) -> bool:
        """Reads a page of each namespace that has one; whether there was any."""
        found = False
        for namespace in await self._worker.run(self._record.namespaces):
            await self._quiet()
            try:
                read = await self._worker.run(self._read, namespace.name)
            except NotFound:  # deleted since it was listed
                continue
            if read:
                found = True
                self._changed()
        return found

    async def _quiet(self) -> None:
        await self._resumed.wait()
        until = time.monotonic() + PATIENCE_S
        while (now := time.monotonic()) < until and now - self._woken_at < QUIET_S:
            await asyncio.sleep(QUIET_S)

    def _read(self, namespace: str) -> int:
        episodes = self._record.unextracted(namespace, VERSION, PAGE)
        self._record.write_extracted(namespace, VERSION, [self._extracted(episode) for episode in episodes])
        return len(episodes)

    def _extracted(self, episode: Episode) -> Extracted:
        try:
            return extract(episode, self._timezone)
        except Exception:
            log.exception("an Episode could not be read for what it says", episode=episode.id)
            return Extracted(episode.id)
