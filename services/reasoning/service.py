"""The reasoning service's RPCs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc
from sapience.v1 import reasoning_pb2 as pb
from sapience.v1 import reasoning_pb2_grpc

from cognition.cycle import Cycle, Timer
from cognition.events import Answered
from core.clock import Clock
from core.errors import AlreadyExists
from core.ids import Ids
from services import wire
from services.reasoning import requests
from services.reasoning.events import to_response
from services.reasoning.forgotten import ForgottenEpisodes
from services.reasoning.generating import Generator
from services.reasoning.models import Models
from services.reasoning.thoughts import Thoughts
from services.reasoning.traces import Traces
from services.reasoning.uses import Uses
from services.runtime.server import Service

NAME = "sapience.v1.ReasoningService"
MAX_LISTED = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class Reasoning(reasoning_pb2_grpc.ReasoningServiceServicer):
    """Answers with one cycle, some language models and stores of Traces and of Thoughts. Owns all but the cycle."""

    def __init__(
        self,
        cycle: Cycle[Any],
        models: Models,
        traces: Traces,
        thoughts: Thoughts,
        clock: Clock,
        ids: Ids,
        uses: Uses | None = None,
        forgotten: ForgottenEpisodes | None = None,
    ) -> None:
        """Without `uses` nobody counts what is cited; without `forgotten` Traces quote what memory forgot, and Thoughts
        are kept for namespaces that nobody knows.
        """
        self._cycle = cycle
        self._models = models
        self._traces = traces
        self._thoughts = thoughts
        self._generator = Generator(models, thoughts, clock, ids)
        self._clock = clock
        self._ids = ids
        self._uses = uses
        self._forgotten = forgotten

    async def ready(self) -> bool:
        """Whether the default model is loaded."""
        return self._models.ready

    async def close(self) -> None:
        """Frees the models, writes the counts and the Traces that wait, and closes the stores."""
        if self._uses is not None:
            await self._uses.close()
        if self._forgotten is not None:
            await self._forgotten.close()
        await self._models.close()
        await self._traces.close()
        await self._thoughts.close()

    async def Reason(self, request: pb.ReasonRequest, context: Context) -> AsyncIterator[pb.ReasonResponse]:
        """Answers, event by event. With `learn` and a `request_id` a retry gets the first answer's events again."""
        question = requests.question(request)
        replayable = bool(request.learn and request.request_id)
        digest = _digest(request) if replayable else b""
        if replayable and (known := await self._traces.of_request(request.namespace, request.request_id)) is not None:
            trace, first = known
            if first != digest:
                raise AlreadyExists(
                    f"request_id {request.request_id!r} was used for another question; give a new one",
                    reason="REQUEST_ID_REUSED",
                    field="request_id",
                )
            for message in (await self._shown(trace)).events:
                yield pb.ReasonResponse(event=message)
            return

        model = await self._models.get(request.model)
        question = replace(question, thinking=requests.thinking(request.thinking, request.budget, model))
        trace_id = self._ids.new()
        trace = pb.Trace(
            id=trace_id,
            namespace=request.namespace,
            text=request.text,
            asked_at=wire.timestamp(self._clock.now()),
            model=request.model or str(self._models.default),
        )
        timer = Timer()
        events: list[pb.ReasonEvent] = []
        with requests.on_the_wire({"prompt": "model"}):
            async with aclosing(self._cycle.answer(question, model, f"{trace_id}/1", timer)) as happened:
                async for event in happened:
                    response = to_response(event, len(events), trace_id, self._clock.now())
                    events.append(response.event)
                    if isinstance(event, Answered):
                        trace.timings_ms.update(timer.milliseconds)
                        await self._traces.put(trace, events, request.request_id if replayable else "", digest)
                        context.set_trailing_metadata(_timings(timer))
                        if self._uses is not None:
                            self._uses.note(request.namespace, [one.episode_id for one in event.citations])
                    yield response

    async def Generate(self, request: pb.GenerateRequest, context: Context) -> AsyncIterator[pb.GenerateResponse]:
        """The language model alone."""
        if request.keep or request.WhichOneof("input") == "thought_id":
            await self._checked_namespace(request.namespace)
        elif request.namespace:
            wire.checked_namespace(request.namespace)
        async with aclosing(self._generator.generate(request)) as responses:
            async for response in responses:
                yield response

    async def GetThought(self, request: pb.GetThoughtRequest, context: Context) -> pb.GetThoughtResponse:
        """A Thought, whole."""
        namespace = await self._checked_namespace(request.namespace)
        return pb.GetThoughtResponse(thought=await self._thoughts.get(namespace, request.thought_id))

    async def ListThoughts(self, request: pb.ListThoughtsRequest, context: Context) -> pb.ListThoughtsResponse:
        """The newest first."""
        limit = wire.checked_limit(request.limit, "limit", 20, MAX_LISTED)
        namespace = await self._checked_namespace(request.namespace)
        return pb.ListThoughtsResponse(thoughts=await self._thoughts.newest(namespace, limit, request.before_id))

    async def DeleteThought(self, request: pb.DeleteThoughtRequest, context: Context) -> pb.DeleteThoughtResponse:
        """Deletes one."""
        namespace = await self._checked_namespace(request.namespace)
        await self._thoughts.delete(namespace, request.thought_id)
        return pb.DeleteThoughtResponse()

    async def _checked_namespace(self, name: str) -> str:
        """The name of a namespace that memory has; of one that it had, nothing is kept any more."""
        wire.checked_namespace(name)
        if self._forgotten is not None:
            await self._forgotten.check_namespace(name)
        return name

    async def GetTrace(self, request: pb.GetTraceRequest, context: Context) -> pb.GetTraceResponse:
        """Everything that led to an answer."""
        namespace = wire.checked_namespace(request.namespace)
        return pb.GetTraceResponse(trace=await self._shown(await self._traces.get(namespace, request.trace_id)))

    async def _shown(self, trace: pb.Trace) -> pb.Trace:
        """The Trace, without what memory has forgotten since."""
        if self._forgotten is None or await self._forgotten.check(trace.namespace, trace):
            return trace
        return await self._traces.get(trace.namespace, trace.id)

    async def ListModels(
        self, request: pb.ReasoningServiceListModelsRequest, context: Context
    ) -> pb.ReasoningServiceListModelsResponse:
        """The models that are loaded or loading."""
        return pb.ReasoningServiceListModelsResponse(models=self._models.list())

    async def LoadModel(self, request: pb.LoadModelRequest, context: Context) -> pb.LoadModelResponse:
        """Returns when it answers."""
        return pb.LoadModelResponse(model=await self._models.load(request.model))

    async def UnloadModel(self, request: pb.UnloadModelRequest, context: Context) -> pb.UnloadModelResponse:
        """Frees it."""
        await self._models.unload(request.model)
        return pb.UnloadModelResponse()


def _digest(request: pb.ReasonRequest) -> bytes:
    return hashlib.blake2b(request.SerializeToString(deterministic=True), digest_size=16).digest()


def _timings(timer: Timer) -> tuple[tuple[str, str], ...]:
    """Milliseconds of each stage, for whoever reads trailers and not the Trace."""
    return tuple((f"sapience-{name}-ms", f"{value:.2f}") for name, value in timer.milliseconds.items())


def service(servicer: Reasoning) -> Service:
    """The service as a server takes it."""
    return Service(
        NAME,
        lambda server: reasoning_pb2_grpc.add_ReasoningServiceServicer_to_server(servicer, server),
        servicer.ready,
        servicer.close,
    )
