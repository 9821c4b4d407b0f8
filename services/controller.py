"""The controller service: watches the others, keeps the workspace, and says what the system wants.

Each cycle asks the other services whether they answer and memory how it stands, measures the goals with that, and
lets what changed compete for the workspace: the most salient items are broadcast to all who watch. A goal that is not
met makes it ask itself why; the answer it keeps is what it measured. Beside that it lets memory dream: `consolidating`.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from sapience.v1 import controller_pb2 as pb
from sapience.v1 import controller_pb2_grpc, memory_pb2, memory_pb2_grpc

from cognition.metacognition.workspace import Item, Workspace
from core.clock import Clock, Micros, SystemClock
from core.errors import InvalidArgument, SapienceError
from services import runs, wire
from services.consolidating import Consolidation, Rules
from services.runtime.client import Link
from services.runtime.names import full_name
from services.runtime.server import Service

NAME = "sapience.v1.ControllerService"
INTERVAL_S = 1.0
KEPT_PROMPTS = 1000

Context = grpc.aio.ServicerContext[Any, Any]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Seen:
    """One service, as it was last seen."""

    serving: bool
    latency_ms: float
    detail: str
    at: Micros


class Controller(controller_pb2_grpc.ControllerServiceServicer):
    """Owns two tasks: its cycle, and the one that lets memory dream."""

    def __init__(self, links: Mapping[str, Link], clock: Clock | None = None, rules: Rules = Rules()) -> None:
        """`rules` say when Dreams begin by themselves: by default never."""
        self._links = dict(links)
        self._clock = clock or SystemClock()
        self._memory = memory_pb2_grpc.MemoryServiceStub(self._links["memory"].channel)
        self._workspace = Workspace(capacity=256)
        self._changed = asyncio.Condition()
        self._seen: dict[str, Seen] = {}
        self._stats: memory_pb2.StatsResponse | None = None
        self._goals: dict[str, pb.Goal] = {}
        self._prompts: deque[pb.SelfPrompt] = deque(maxlen=KEPT_PROMPTS)
        self._prompted = 0
        self._paused = False
        self._cycles = 0
        self._started = self._clock.now()
        self._task = asyncio.create_task(self._run(), name="controller cycle")
        self._consolidation = Consolidation(self._links["memory"], rules, lambda: self._paused)

    async def ready(self) -> bool:
        """Whether its cycle goes round."""
        return not self._task.done()

    async def close(self) -> None:
        """Ends the cycle, and what lets memory dream."""
        await self._consolidation.close()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def Status(self, request: pb.StatusRequest, context: Context) -> pb.StatusResponse:
        """As last seen; asks at once while nothing was seen yet."""
        if not self._seen:
            await self._look()
        response = pb.StatusResponse(
            paused=self._paused,
            cycles=self._cycles,
            started_at=wire.timestamp(self._started),
            consolidation=self._consolidation.status(),
        )
        for name, seen in sorted(self._seen.items()):
            response.services.add(
                name=name,
                serving=seen.serving,
                latency_ms=seen.latency_ms,
                detail=seen.detail,
                checked_at=wire.timestamp(seen.at),
            )
        return response

    async def WatchWorkspace(
        self, request: pb.WatchWorkspaceRequest, context: Context
    ) -> AsyncIterator[pb.WatchWorkspaceResponse]:
        """Items as they win. A watcher that is slower than the workspace turns over misses the ones in between."""
        after = request.after_seq or self._workspace.seq
        if not 0 <= after <= self._workspace.seq:
            raise InvalidArgument(
                f"after_seq is {after}, and the items so far are 1 to {self._workspace.seq}: they begin again when the "
                "controller does; watch from 0",
                field="after_seq",
                reason="UNKNOWN_CURSOR",
            )
        while True:
            async with self._changed:
                while self._workspace.seq <= after:
                    await self._changed.wait()
                items = self._workspace.since(after)
            for item in items:
                after = item.seq
                yield pb.WatchWorkspaceResponse(
                    item=pb.WorkspaceItem(
                        seq=item.seq,
                        module=item.module,
                        salience=item.salience,
                        text=item.text,
                        time=wire.timestamp(item.at),
                    )
                )

    async def Goals(self, request: pb.GoalsRequest, context: Context) -> pb.GoalsResponse:
        """As last measured."""
        if not self._goals:
            await self._look()
        return pb.GoalsResponse(goals=sorted(self._goals.values(), key=lambda goal: (-goal.priority, goal.name)))

    async def SelfPrompts(self, request: pb.SelfPromptsRequest, context: Context) -> pb.SelfPromptsResponse:
        """The newest first."""
        limit = wire.checked_limit(request.limit, "limit", 50, KEPT_PROMPTS)
        return pb.SelfPromptsResponse(prompts=list(self._prompts)[:limit])

    async def Runs(self, request: pb.RunsRequest, context: Context) -> pb.RunsResponse:
        """Dreams of every namespace: what memory keeps of them."""
        limit = wire.checked_limit(request.limit, "limit", 50, 1000)
        return pb.RunsResponse(runs=await runs.newest(self._memory, self._links["memory"], limit))

    async def Pause(self, request: pb.PauseRequest, context: Context) -> pb.PauseResponse:
        """Cycles go on watching, but ask nothing of themselves, and no Dream begins by itself."""
        self._paused = True
        return pb.PauseResponse()

    async def Resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:
        """Asks again."""
        self._paused = False
        return pb.ResumeResponse()

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                # The watch must outlast any fault of one round; the next round starts from nothing.
                log.exception("a cycle of the controller failed")
            await asyncio.sleep(INTERVAL_S)

    async def _look(self) -> None:
        before = {name: seen.serving for name, seen in self._seen.items()}
        # All at once, so that no caller reads half a round.
        self._seen = {name: await self._ask(name, link) for name, link in self._links.items()}
        try:
            self._stats = await self._memory.Stats(memory_pb2.StatsRequest(), **self._links["memory"].options(2.0))
        except (grpc.aio.AioRpcError, SapienceError):
            self._stats = None
        goals = {goal.name: goal for goal in self._measure()}
        news = [
            Item(name, 1.0 if not seen.serving else 0.6, f"{name} {'answers' if seen.serving else 'does not answer'}")
            for name, seen in self._seen.items()
            if before.get(name) is not seen.serving
        ]
        for goal in goals.values():
            known = self._goals.get(goal.name)
            if known is None or known.satisfied != goal.satisfied:
                news.append(Item("goals", 0.8 if not goal.satisfied else 0.4, f"{goal.name}: {goal.evidence}"))
                if not goal.satisfied and not self._paused:
                    self._ask_self(goal)
        self._goals = goals
        self._cycles += 1
        if news:
            async with self._changed:
                self._workspace.compete(news, self._clock.now())
                self._changed.notify_all()

    async def _ask(self, name: str, link: Link) -> Seen:
        started = time.perf_counter()
        try:
            serving = await link.serving(full_name(name))
            detail = "" if serving else "it is up, and not ready yet"
        except grpc.aio.AioRpcError as error:
            serving, detail = False, f"{error.code().name}: {error.details()}"
        return Seen(serving, (time.perf_counter() - started) * 1e3, detail, self._clock.now())

    def _measure(self) -> list[pb.Goal]:
        down = sorted(name for name, seen in self._seen.items() if not seen.serving)
        stats = self._stats
        behind = stats.outbox_pending if stats else -1
        differ = stats is None or (behind == 0 and stats.indexed != stats.concepts)
        return [
            pb.Goal(
                name="services answer",
                description="Every service answers its health check.",
                priority=3,
                satisfied=not down,
                evidence=f"not answering: {', '.join(down)}" if down else "all answer",
            ),
            pb.Goal(
                name="index follows record",
                description="What was remembered can be found: nothing waits in the outbox.",
                priority=2,
                satisfied=behind == 0,
                evidence="memory does not answer" if behind < 0 else f"{behind} changes wait",
            ),
            pb.Goal(
                name="index equals record",
                description="The index has as many points as the record has Concepts.",
                priority=1,
                satisfied=not differ,
                evidence=(
                    "memory does not answer" if stats is None else f"{stats.concepts} Concepts, {stats.indexed} points"
                ),
            ),
        ]

    def _ask_self(self, goal: pb.Goal) -> None:
        self._prompted += 1
        self._prompts.appendleft(
            pb.SelfPrompt(
                seq=self._prompted,
                goal=goal.name,
                text=f"Why is it not so: {goal.description}",
                answer=goal.evidence,
                time=wire.timestamp(self._clock.now()),
            )
        )


def service(servicer: Controller) -> Service:
    """The service as a server takes it."""
    return Service(
        NAME,
        lambda server: controller_pb2_grpc.add_ControllerServiceServicer_to_server(servicer, server),
        servicer.ready,
        servicer.close,
    )
