"""The task that keeps the index following the record, and knows how far it has come."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from core.errors import NotFound, SapienceError
from core.ports import Index, Record
from memory.indexing import Indexer
from services.runtime import telemetry
from services.runtime.worker import Worker

log = structlog.get_logger()

T = TypeVar("T")

IDLE_BEFORE_OPTIMIZE_S = 2.0
"""Graphs are built when nothing was written for so long: building takes the index's thread."""
LONGEST_BACKOFF_S = 10.0
BUSY_S = 0.2
"""Writers are busy for so long after a write."""
YIELD = 3.0
"""Beside busy writers the index rests so many times as long as it works: what it does holds the interpreter's lock, and
an acknowledgement is waited for. It follows at its own pace, and the outbox keeps what is behind."""


class Drainer:
    """Owns the thread that writes to the index.

    At the start it drains what an earlier process left, then compares the index with the record and mends what
    differs. After that it sleeps until `wake`. When a store is down it tries again, waiting longer each time.
    """

    def __init__(self, record: Record, index: Index) -> None:
        self._record = record
        self._index = index
        self._indexer = Indexer(record, index)
        self._worker = Worker("index-write", max_waiting=8)
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._indexed = 0
        self._woken = -math.inf
        self._awaited = 0
        self._started = False
        self._error: SapienceError | None = None
        self._task = asyncio.create_task(self._run(), name="index drainer")

    @property
    def started(self) -> bool:
        """Whether the index was brought up to the record once."""
        return self._started

    @property
    def indexed(self) -> int:
        """The last commit that the index has taken."""
        return self._indexed

    def wake(self) -> None:
        """Says that the record has changed."""
        self._woken = time.monotonic()
        self._wake.set()

    async def reach(self, seq: int, timeout: float) -> bool:
        """Waits until the index has taken commit `seq`; False when it had not by then. Raises what keeps it from it."""
        if self._indexed >= seq:
            return True
        self._wake.set()
        self._awaited += 1
        try:
            async with asyncio.timeout(timeout), self._moved:
                await self._moved.wait_for(lambda: self._indexed >= seq or self._error is not None)
        except TimeoutError:
            return False
        finally:
            self._awaited -= 1
        if self._indexed < seq and self._error is not None:
            raise self._error
        return True

    async def aside(self, work: Callable[[], T]) -> T:
        """Runs something else that writes to the index on its thread, between two drains."""
        return await self._worker.run(work)

    async def close(self) -> None:
        """Ends the task and its thread. What is not drained waits in the outbox."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._worker.close()

    async def _run(self) -> None:
        backoff = 0.1
        while True:
            try:
                await self._drain()
                if not self._started:
                    await self._worker.run(self._mend)
                    self._started = True
                    await self._warm()
                backoff = 0.1
                await self._say(None)
                await self._sleep()
            except SapienceError as error:
                log.warning("the index cannot follow the record", reason=error.reason, error=error.message)
                await self._say(error)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_S)
            except Exception as error:
                # A fault of ours must not end indexing for good: the outbox keeps what was not done.
                log.exception("indexing failed by a fault of ours")
                await self._say(SapienceError(f"indexing failed: {error!r}", reason="INTERNAL"))
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_S)

    async def _drain(self) -> None:
        while True:
            self._wake.clear()
            # Read before draining: commits made while it runs wake it again.
            seq = await self._worker.run(self._record.seq)
            began = time.monotonic()
            taken = await self._worker.run(self._indexer.drain)
            async with self._moved:
                self._indexed = max(self._indexed, seq if taken is None else taken)
                self._moved.notify_all()
            telemetry.BEHIND.set(max(0, seq - self._indexed))
            if taken is None:
                return
            ended = time.monotonic()
            if self._started and not self._awaited and ended - self._woken < BUSY_S:
                await asyncio.sleep(YIELD * (ended - began))

    async def _sleep(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), IDLE_BEFORE_OPTIMIZE_S)
        except TimeoutError:
            await self._worker.run(self._optimize)
            await self._wake.wait()

    async def _say(self, error: SapienceError | None) -> None:
        async with self._moved:
            self._error = error
            self._moved.notify_all()

    def _mend(self) -> None:
        for namespace in self._record.namespaces():
            found = self._indexer.reconcile(namespace.name)
            if found.missing or found.foreign:
                log.warning(
                    "the index differed from the record and was mended",
                    namespace=namespace.name,
                    missing=found.missing,
                    foreign=found.foreign,
                )

    async def _warm(self) -> None:
        """A namespace at a time, so that what is written meanwhile waits for one of them only."""
        for namespace in await self._worker.run(self._record.namespaces):
            await self._worker.run(self._warm_one, namespace.name)
            await self._drain()

    def _warm_one(self, namespace: str) -> None:
        try:
            space = self._record.space_of(namespace)
        except NotFound:  # deleted since it was listed
            return
        if space is not None:
            self._index.warm(space, namespace)

    def _optimize(self) -> None:
        spaces = {self._record.space_of(namespace.name) for namespace in self._record.namespaces()}
        for space in sorted((space for space in spaces if space is not None), key=str):
            if self._index.optimize(space):
                log.info("merged the index", space=str(space))
