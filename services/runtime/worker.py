"""Threads that blocking work runs on: models, stores. The event loop never computes and never waits for a disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from core.errors import ResourceExhausted, Unavailable

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """A pool of named threads with a bounded queue.

    Work that waits is dropped when its caller is cancelled; work that runs is finished, and its result dropped.
    """

    def __init__(self, name: str, threads: int = 1, max_waiting: int = 512) -> None:
        self.name = name
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._most = threads + max_waiting
        self._held = 0
        self._closed = False

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` on a thread of the pool. Raises ResourceExhausted (BUSY) when the queue is full."""
        if self._closed:
            raise Unavailable(f"{self.name} is stopping", reason="STOPPING", retry_after_s=1.0)
        if self._held >= self._most:
            raise ResourceExhausted(
                f"{self.name} has {self._held} pieces of work waiting", reason="BUSY", retry_after_s=0.5
            )
        self._held += 1
        future = self._pool.submit(work, *args, **kwargs)
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release) if not loop.is_closed() else None)
        return await asyncio.wrap_future(future)

    def _release(self) -> None:
        self._held -= 1

    async def close(self) -> None:
        """Drops what waits, lets what runs end, and ends the threads."""
        self._closed = True
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)
