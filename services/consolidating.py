"""The task that lets memory dream by itself: looks at every namespace, begins one Dream at a time, and sees it end.

What is due is said by `cognition.metacognition.consolidation`; the work is memory's. A Dream that outlasts this process
goes on without it: the next one finds it at work, and waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import grpc
import structlog
from google.protobuf.duration_pb2 import Duration
from sapience.v1 import controller_pb2, dream_pb2, memory_pb2, memory_pb2_grpc

from cognition.metacognition.consolidation import Schedule, Seen
from core.errors import SapienceError
from services.runtime.client import Link

log = structlog.get_logger()

Mode = Literal["off", "propose", "automatic"]

LOOK_S = 10.0
"""Seconds between two looks, at most; they are shorter where rest is."""
CALL_S = 5.0
MORE_S = 600.0
"""How long it watches a Dream beyond its budget: its changes are applied however long that takes."""

_BUSY = frozenset(
    {
        dream_pb2.DREAM_STATE_READING,
        dream_pb2.DREAM_STATE_PROPOSED,
        dream_pb2.DREAM_STATE_APPROVED,
        dream_pb2.DREAM_STATE_UNDOING,
    }
)


@dataclass(frozen=True, slots=True)
class Rules:
    """When Dreams begin by themselves, and what each may cost."""

    mode: Mode = "off"
    idle_s: float = 300.0
    least_new: int = 100
    budget_s: float = 60.0


class Consolidation:
    """Owns its task, where the mode is not "off"."""

    def __init__(self, memory: Link, rules: Rules, paused: Callable[[], bool]) -> None:
        """While `paused` says so, none begins."""
        self._link = memory
        self._stub = memory_pb2_grpc.MemoryServiceStub(memory.channel)
        self._rules = rules
        self._paused = paused
        self._schedule = Schedule(rules.idle_s, rules.least_new)
        self._begun = 0
        self._failed = 0
        self._dream = dream_pb2.Dream()
        self._error = ""
        self._task = asyncio.create_task(self._run(), name="consolidation") if rules.mode != "off" else None

    def status(self) -> controller_pb2.ConsolidationStatus:
        """What it did so far."""
        return controller_pb2.ConsolidationStatus(
            mode=self._rules.mode,
            begun=self._begun,
            failed=self._failed,
            namespace=self._dream.namespace,
            dream_id=self._dream.id,
            state=self._dream.state,
            error=self._error,
        )

    async def close(self) -> None:
        """Ends the task; a Dream at work is memory's, and goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            due = ""
            try:
                if not self._paused():
                    due = self._schedule.due(await self._look(), time.monotonic())
                if due:
                    await self._dream_of(due)
            except (grpc.aio.AioRpcError, SapienceError) as error:
                self._fault(due, _why(error))
            except Exception as error:
                # A fault of ours in one round must not end all later ones.
                log.exception("a round of the consolidation failed")
                self._fault(due, f"a fault of ours: {type(error).__name__}")
            await asyncio.sleep(min(LOOK_S, max(self._rules.idle_s / 4, 0.1)))

    async def _look(self) -> list[Seen]:
        known = await self._stub.ListNamespaces(memory_pb2.ListNamespacesRequest(), **self._link.options(CALL_S))
        return [seen for one in known.namespaces if (seen := await self._seen(one.name)) is not None]

    async def _seen(self, namespace: str) -> Seen | None:
        """None where it was deleted since it was listed."""
        try:
            request = memory_pb2.StatsRequest(namespace=namespace)
            held = await self._stub.Stats(request, **self._link.options(CALL_S))
            listed = await self._stub.ListDreams(
                dream_pb2.ListDreamsRequest(namespace=namespace, limit=1), **self._link.options(CALL_S)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        last = listed.dreams[0] if listed.dreams else dream_pb2.Dream()
        # One that failed saw nothing. What it wrote is not new: at most each of its changes is an Episode.
        seen = 0 if last.state == dream_pb2.DREAM_STATE_FAILED else last.told
        new = held.episodes - seen - (last.done if last.state == dream_pb2.DREAM_STATE_APPLIED else 0)
        return Seen(namespace, (held.episodes, held.facts, held.archived), new, last.state in _BUSY)

    async def _dream_of(self, namespace: str) -> None:
        wall = Duration()
        wall.FromMicroseconds(round(self._rules.budget_s * 1e6))
        request = dream_pb2.DreamRequest(
            namespace=namespace,
            automatic=self._rules.mode == "automatic",
            budget=dream_pb2.DreamBudget(wall=wall),
        )
        begun = await self._stub.Dream(request, **self._link.options(CALL_S))
        self._begun += 1
        self._dream = dream_pb2.Dream(id=begun.run.id, namespace=namespace, state=dream_pb2.DREAM_STATE_READING)
        log.info("a Dream begins by itself", namespace=namespace, dream=begun.run.id, mode=self._rules.mode)
        watch = dream_pb2.WatchDreamRequest(namespace=namespace, dream_id=begun.run.id)
        async for seen in self._stub.WatchDream(watch, **self._link.options(self._rules.budget_s + MORE_S)):
            self._dream = seen.dream
        if self._dream.state == dream_pb2.DREAM_STATE_FAILED:
            self._fault(namespace, self._dream.message)
            return
        self._error = ""
        self._schedule.succeeded(namespace)
        state = dream_pb2.DreamState.Name(self._dream.state).removeprefix("DREAM_STATE_").lower()
        log.info("a Dream ended", namespace=namespace, dream=self._dream.id, state=state, changes=self._dream.total)

    def _fault(self, namespace: str, why: str) -> None:
        """Of a Dream, or with no namespace of a look at all of them, which is made again soon."""
        if namespace:
            self._failed += 1
            wait = self._schedule.failed(namespace, time.monotonic())
            log.warning("a Dream that began by itself failed", namespace=namespace, error=why, again_in_s=wait)
        elif why != self._error:
            log.warning("namespaces cannot be looked at for what is new", error=why)
        self._error = why


def _why(error: grpc.aio.AioRpcError | SapienceError) -> str:
    if isinstance(error, SapienceError):
        return error.message
    return f"{error.code().name}: {error.details()}"
