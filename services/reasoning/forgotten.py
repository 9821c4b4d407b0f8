"""What memory has forgotten goes from Traces and from what was learned of it.

A Trace quotes the Episodes that its answer cites, in words of its own as well. Whoever reads one is shown it only after
memory was asked whether they are all there still; and every `EVERY_S` all Traces are looked through, so that words do
not lie on the disk for want of a reader. Where a cited Episode is gone, the Trace loses every word that may be from it
(`events.redact`), and the answer that was learned is forgotten as well. Of a namespace that was deleted no Trace stays,
and no Thought.

It goes by what Traces say: an answer that was learned longer ago than Traces are kept, or under a legal hold, stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import grpc
import structlog
from sapience.v1 import memory_pb2 as memory
from sapience.v1 import memory_pb2_grpc
from sapience.v1 import reasoning_pb2 as pb

from core.errors import NotFound, SapienceError
from services.reasoning.events import cited_by
from services.reasoning.thoughts import Thoughts
from services.reasoning.traces import Traces
from services.runtime.client import Link

log = structlog.get_logger()

EVERY_S = 600.0
CALL_S = 10.0
BATCH = 10_000
"""Episodes that memory is asked for at once."""


class ForgottenEpisodes:
    """Asks memory what is gone, and takes it out. Owns its task; Traces and Thoughts are its caller's."""

    def __init__(self, link: Link, traces: Traces, thoughts: Thoughts | None = None, every_s: float = EVERY_S) -> None:
        self._link = link
        self._stub = memory_pb2_grpc.MemoryServiceStub(link.channel)
        self._traces = traces
        self._thoughts = thoughts
        self._every_s = every_s
        self._task = asyncio.create_task(self._run(), name="forgotten episodes")

    async def close(self) -> None:
        """Ends the task."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def check(self, namespace: str, trace: pb.Trace) -> bool:
        """Whether a Trace may be shown as it is; if not, it was mended where it is kept. Raises what memory raises."""
        return not await self._take_out(namespace, sorted(cited_by(trace)))

    async def check_namespace(self, namespace: str) -> None:
        """Raises NotFound (NAMESPACE_NOT_FOUND) where memory has no such namespace; what was kept of it is gone."""
        if await self._take_out(namespace, []):
            raise NotFound(
                f"there is no namespace {namespace!r}; create it first, for example with "
                f"`sapience namespaces create {namespace}`",
                reason="NAMESPACE_NOT_FOUND",
                field="namespace",
            )

    async def sweep(self) -> None:
        """Looks through all Traces, and for Thoughts of namespaces that are gone."""
        cited_in = await self._traces.cited()
        if self._thoughts is not None:
            cited_in = {name: [] for name in await self._thoughts.namespaces()} | cited_in
        for namespace, cited in cited_in.items():
            for first in range(0, len(cited) or 1, BATCH):
                if await self._take_out(namespace, cited[first : first + BATCH]):
                    log.info("what was forgotten is out of traces", namespace=namespace)

    async def _take_out(self, namespace: str, cited: Sequence[str]) -> bool:
        """Whether anything of these is gone, or the namespace is: so it is asked for even where nothing is cited."""
        request = memory.GetKeepingRequest(namespace=namespace, episode_ids=cited)
        try:
            answer = await self._stub.GetKeeping(request, **self._link.options(CALL_S))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            await self._traces.drop(namespace)
            if self._thoughts is not None:
                await self._thoughts.drop(namespace)
            return True
        gone = set(cited) - {one.episode_id for one in answer.keepings}
        if not gone:
            return False
        # What was learned goes first: were it the other way round, a failure between would leave it for good.
        learned = await self._traces.learned_of(namespace, gone)
        if learned:
            forget = memory.ForgetRequest(namespace=namespace, episode_ids=learned)
            try:
                await self._stub.Forget(forget, **self._link.options(CALL_S))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
                    raise
                log.warning("learned answers are under a legal hold, and stay", error=error.details())
        await self._traces.redact(namespace, gone)
        return True

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.sweep()
            except (grpc.aio.AioRpcError, SapienceError) as error:
                log.warning("traces were not looked through, and are next time", error=str(error))
            except Exception:
                # A fault of ours must not end it for good.
                log.exception("looking through traces failed by a fault of ours")
