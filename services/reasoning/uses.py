"""Counts what is cited, and tells memory now and then: an answer never waits for it.

The counts wait in this process. One that is killed loses those of the last `EVERY_S` seconds, and while memory does not
answer, those beyond `MOST` Episodes are dropped: they decide what is forgotten first, and what is true never.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import islice

import grpc
import structlog
from sapience.v1 import memory_pb2 as pb
from sapience.v1 import memory_pb2_grpc

from core.errors import SapienceError
from services.runtime.client import Link

log = structlog.get_logger()

EVERY_S = 5.0
CALL_S = 5.0
BATCH = 10_000
MOST = 100_000
"""Episodes whose counts may wait."""


class Uses:
    """Owns its task. Used on the event loop only."""

    def __init__(self, link: Link, every_s: float = EVERY_S) -> None:
        self._link = link
        self._stub = memory_pb2_grpc.MemoryServiceStub(link.channel)
        self._every_s = every_s
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._task = asyncio.create_task(self._run(), name="uses")

    def note(self, namespace: str, episode_ids: Iterable[str]) -> None:
        """Counts one use of each of these."""
        for episode_id in episode_ids:
            key = (namespace, episode_id)
            if key in self._waiting or len(self._waiting) < MOST:
                self._waiting[key] += 1

    async def close(self) -> None:
        """Ends the task, and sends what waits."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._send()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._send()

    async def _send(self) -> None:
        for namespace in sorted({namespace for namespace, _ in self._waiting}):
            mine = {key: count for key, count in self._waiting.items() if key[0] == namespace}
            batch = dict(islice(mine.items(), BATCH))
            request = pb.RecordUseRequest(
                namespace=namespace, uses=[pb.Use(episode_id=key[1], count=count) for key, count in batch.items()]
            )
            try:
                await self._stub.RecordUse(request, **self._link.options(CALL_S))
            except (grpc.aio.AioRpcError, SapienceError) as error:
                if isinstance(error, grpc.aio.AioRpcError) and error.code() is not grpc.StatusCode.UNAVAILABLE:
                    # It may have counted them, or never will: asking again would be wrong or of no use.
                    self._waiting.subtract(batch)
                log.warning("uses were not counted", namespace=namespace, error=str(error))
            else:
                self._waiting.subtract(batch)
            self._waiting = +self._waiting
