"""The reasoning service's RPCs."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
from sapience.v1 import concept_pb2, reasoning_pb2_grpc
from sapience.v1 import reasoning_pb2 as pb

from cognition.cycle import STOPPED, Cycle, Timer
from cognition.engine.base import Finished, Message, Piece, Request, Sampling
from cognition.events import Answered, Budget, Question
from core.clock import Clock
from core.errors import AlreadyExists, InvalidArgument, NotYet
from core.ids import Ids
from services import wire
from services.reasoning.events import to_response
from services.reasoning.forgotten import ForgottenEpisodes
from services.reasoning.models import Models
from services.reasoning.traces import Traces
from services.reasoning.uses import Uses
from services.runtime.deadline import remaining
from services.runtime.server import Service

NAME = "sapience.v1.ReasoningService"
MAX_NEW_TOKENS = 2048
MAX_CITATIONS = 20
MAX_GENERATED_TOKENS = 4096
MAX_REQUEST_ID = 120
MAX_CONVERSATION = 256
DEFAULT_GENERATED_TOKENS = 256
DEFAULT_GENERATION_S = 120.0

Context = grpc.aio.ServicerContext[Any, Any]


class Reasoning(reasoning_pb2_grpc.ReasoningServiceServicer):
    """Answers with one cycle, some language models and one store of Traces. Owns the last two."""

    def __init__(
        self,
        cycle: Cycle[Any],
        models: Models,
        traces: Traces,
        clock: Clock,
        ids: Ids,
        uses: Uses | None = None,
        forgotten: ForgottenEpisodes | None = None,
    ) -> None:
        """Without `uses` nobody counts what is cited; without `forgotten` Traces quote what memory forgot."""
        self._cycle = cycle
        self._models = models
        self._traces = traces
        self._clock = clock
        self._ids = ids
        self._uses = uses
        self._forgotten = forgotten

    async def ready(self) -> bool:
        """Whether the default model is loaded."""
        return self._models.ready

    async def close(self) -> None:
        """Frees the models, and writes the counts and the Traces that wait."""
        if self._uses is not None:
            await self._uses.close()
        if self._forgotten is not None:
            await self._forgotten.close()
        await self._models.close()
        await self._traces.close()

    async def Reason(self, request: pb.ReasonRequest, context: Context) -> AsyncIterator[pb.ReasonResponse]:
        """Answers, event by event. With `learn` and a `request_id` a retry gets the first answer's events again."""
        question = _question(request)
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
        model = await self._models.get(request.model)
        _checked_sampling(request.sampling)
        prompt: str | list[Message]
        match request.WhichOneof("input"):
            case "prompt":
                prompt = wire.checked_text(request.prompt, "prompt", wire.MAX_TEXT_BYTES)
            case "chat":
                prompt = _messages(request.chat)
            case _:
                raise InvalidArgument("give a prompt or a chat", field="prompt", reason="EMPTY_TEXT")
        timer = Timer()
        asked = Request(
            prompt,
            new_tokens=_checked_new_tokens(request.budget, DEFAULT_GENERATED_TOKENS, MAX_GENERATED_TOKENS),
            sampling=Sampling(request.sampling.temperature, request.sampling.top_p or 1.0, request.sampling.seed),
            deadline_s=_wall_s(request.budget, DEFAULT_GENERATION_S),
        )
        drawn = model.generate(asked)
        async with aclosing(drawn) as said:
            async for item in said:
                if isinstance(item, Finished):
                    yield pb.GenerateResponse(
                        stop_reason=pb.StopReason.ValueType(STOPPED[item.stop_reason]),
                        usage=concept_pb2.Usage(new_tokens=item.new_tokens, wall_ms=round(timer.seconds * 1e3)),
                    )
                elif isinstance(item, Piece):
                    yield pb.GenerateResponse(text=item.text)

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


def _question(request: pb.ReasonRequest) -> Question:
    """A Reason request, checked."""
    as_of = request.as_of
    axis = as_of.WhichOneof("recorded")
    _checked_sampling(request.sampling)
    default = Budget()
    return Question(
        namespace=wire.checked_namespace(request.namespace),
        text=wire.checked_text(request.text, "text", wire.MAX_QUERY_BYTES),
        valid_at=wire.micros(as_of.valid_at, "as_of.valid_at") if as_of.HasField("valid_at") else None,
        told_by=wire.micros(as_of.told_by, "as_of.told_by") if as_of.HasField("told_by") else None,
        recorded_by=wire.micros(as_of.recorded_by, "as_of.recorded_by") if axis == "recorded_by" else None,
        seq=as_of.seq if axis == "seq" else None,
        recipe=request.recipe,
        budget=Budget(
            new_tokens=_checked_new_tokens(request.budget, default.new_tokens, MAX_NEW_TOKENS),
            context_tokens=wire.checked_limit(
                request.budget.context_tokens, "budget.context_tokens", default.context_tokens, 1 << 20
            ),
            wall_s=_wall_s(request.budget, default.wall_s),
        ),
        max_citations=wire.checked_limit(request.max_citations, "max_citations", 3, MAX_CITATIONS),
        learn=request.learn,
        request_id=_checked_size(request.request_id, "request_id", MAX_REQUEST_ID),
        conversation=_checked_size(request.conversation, "conversation", MAX_CONVERSATION),
        temperature=request.sampling.temperature,
        top_p=request.sampling.top_p or 1.0,
        seed=request.sampling.seed,
    )


def _checked_new_tokens(budget: concept_pb2.Budget, default: int, most: int) -> int:
    if budget.latent_steps or budget.self_prompts or budget.recalls:
        _refuse_more(budget)
    return wire.checked_limit(budget.new_tokens, "budget.new_tokens", default, most)


def _refuse_more(budget: concept_pb2.Budget) -> None:
    """Refuses what this version cannot spend."""
    for field in ("latent_steps", "self_prompts", "recalls"):
        if getattr(budget, field) < 0:
            raise InvalidArgument(f"budget.{field} is {getattr(budget, field)}; leave it at 0", field=f"budget.{field}")
    for field in ("latent_steps", "self_prompts"):
        if getattr(budget, field):
            raise NotYet(f"budget.{field} is {getattr(budget, field)}; this version takes none, leave it at 0")
    if budget.recalls > 1:
        raise NotYet(f"budget.recalls is {budget.recalls}; this version recalls once, leave it at 0 or 1")


def _checked_size(value: str, field: str, most: int) -> str:
    """What learning would refuse is refused before anything is thought."""
    if (size := len(value.encode())) > most:
        raise InvalidArgument(f"{field} has {size} bytes; at most {most} are taken", field=field)
    return value


def _wall_s(budget: concept_pb2.Budget, default: float) -> float:
    if budget.wall_ms < 0:
        raise InvalidArgument(f"budget.wall_ms is {budget.wall_ms}; give 1 or more, or 0", field="budget.wall_ms")
    asked = budget.wall_ms / 1e3 or default
    left = remaining()
    return asked if left is None else min(asked, left)


def _checked_sampling(sampling: pb.Sampling) -> None:
    if not 0 <= sampling.temperature <= 10:
        raise InvalidArgument(
            f"sampling.temperature is {sampling.temperature}; give 0 to 10", field="sampling.temperature"
        )
    if not 0 <= sampling.top_p <= 1:
        raise InvalidArgument(f"sampling.top_p is {sampling.top_p}; give 0 to 1", field="sampling.top_p")


def _messages(chat: pb.Chat) -> list[Message]:
    if not chat.messages:
        raise InvalidArgument("chat has no messages", field="chat.messages", reason="EMPTY_TEXT")
    for number, message in enumerate(chat.messages):
        if message.role not in ("system", "user", "assistant"):
            raise InvalidArgument(
                f"chat.messages[{number}].role is {message.role!r}; give system, user or assistant",
                field=f"chat.messages[{number}].role",
            )
        wire.checked_text(message.content, f"chat.messages[{number}].content", wire.MAX_TEXT_BYTES)
    return [Message(message.role, message.content) for message in chat.messages]


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
