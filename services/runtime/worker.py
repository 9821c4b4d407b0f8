"""Threads that blocking work runs on: models, stores. The event loop never computes and never waits for a disk.

A hand-over is two moves: a queue takes the work to a thread, and a callback brings the result back to the loop, with
all that ended before the loop came to it. An executor of the standard library takes three locks and two futures for
each, several times the cost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, TypeVar

import structlog

from core.errors import ResourceExhausted, Unavailable

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

_Work = tuple[asyncio.Future[Any], Callable[[], Any]]


class Worker:
    """A pool of named threads with a bounded queue, for callers on one event loop.

    Work that waits is dropped when its caller is cancelled, and its place is free; work that runs is finished, and its
    result dropped. Threads start when there is more work than threads, and end with `close` or with the process.
    """

    def __init__(self, name: str, threads: int = 1, max_waiting: int = 512) -> None:
        self.name = name
        self._most_threads = threads
        self._most = threads + max_waiting
        self._held = 0
        self._closed = False
        self._threads: list[Thread] = []
        # None ends a thread. Work is the one thing in a list, and is of whoever takes it out: a thread, or the caller
        # who is cancelled. What waits is bounded by `_most`, and so are the empty lists of those who left.
        self._queue: SimpleQueue[list[_Work] | None] = SimpleQueue()
        self._left = 0
        """Callers who were cancelled since the queue was last swept."""
        # Threads append, the loop takes; bounded by `_most` too.
        self._ended: deque[tuple[asyncio.Future[Any], Any, BaseException | None]] = deque()
        # Whether the loop will come for them. A thread looks after it appended, and the loop takes it back before it
        # takes anything: work that ended is told of once or, where two threads look at once, twice, but never not.
        self._told = False

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs `work` on a thread of the pool. Raises ResourceExhausted (BUSY) when the queue is full."""
        if self._closed:
            raise Unavailable(f"{self.name} is stopping", reason="STOPPING", retry_after_s=1.0)
        if self._held >= self._most:
            raise ResourceExhausted(
                f"{self.name} has {self._held} pieces of work waiting", reason="BUSY", retry_after_s=0.5
            )
        self._held += 1
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiting: list[_Work] = [(future, partial(work, *args, **kwargs) if args or kwargs else work)]
        self._queue.put(waiting)
        if len(self._threads) < min(self._held, self._most_threads):
            self._start_thread()
        try:
            return await future
        except asyncio.CancelledError:
            self._give_up(waiting)
            raise

    async def close(self) -> None:
        """Drops what waits, lets what runs end, and ends the threads."""
        self._closed = True
        while True:
            try:
                waiting = self._queue.get_nowait()
            except Empty:
                break
            if waiting:
                waiting[0][0].cancel()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)

    def _give_up(self, waiting: list[_Work]) -> None:
        """Takes work out that nobody waits for, unless a thread has it, which tells when it has ended."""
        try:
            waiting.pop()
        except IndexError:
            return
        self._held -= 1
        self._left += 1
        if self._left > self._most:
            self._sweep()

    def _sweep(self) -> None:
        """Takes what is empty out of the queue. Only the loop puts things in, so that their order stays."""
        self._left = 0
        full = []
        while True:
            try:
                item = self._queue.get_nowait()
            except Empty:
                break
            if item is None or item:
                full.append(item)
        for item in full:
            self._queue.put(item)

    def _start_thread(self) -> None:
        # A daemon: a process that ends without `close` must not hang on a thread that waits for work.
        thread = Thread(target=self._work, name=f"{self.name}_{len(self._threads)}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (waiting := self._queue.get()) is not None:
            try:
                future, work = waiting.pop()
            except IndexError:
                continue  # the caller left, and took it
            result: Any = None
            error: BaseException | None = None
            try:
                result = work()
            except BaseException as raised:  # the caller's to handle, whatever it is
                error = raised
            loop = future.get_loop()
            self._ended.append((future, result, error))
            del future, waiting, work, result, error  # nothing is kept alive while waiting
            if self._told:
                continue
            self._told = True
            try:
                loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                # The loop was closed while this ran: nobody waits any more.
                log.debug("work ended after its event loop", worker=self.name)

    def _deliver(self) -> None:
        self._told = False
        while self._ended:
            future, result, error = self._ended.popleft()
            self._held -= 1
            if future.done():
                continue  # the caller was cancelled
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
