"""Generate: the language model alone, from a prompt, a chat or a Thought that was kept, response by response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sapience.v1 import concept_pb2
from sapience.v1 import reasoning_pb2 as pb

from cognition.cycle import STOPPED, Timer
from cognition.engine.base import Finished, LanguageModel, LatentStep, Mode, Piece, Prompt, Request, ThoughtState
from core.clock import Clock
from core.errors import FailedPrecondition, InvalidArgument
from core.ids import Ids
from core.models import ModelAddress
from services import wire
from services.reasoning import requests
from services.reasoning.events import candidate, set_thought
from services.reasoning.models import Models
from services.reasoning.states import forked, kept_steps, read_state, write_state
from services.reasoning.thoughts import Thoughts


class Generator:
    """Answers Generate with some language models and one store of Thoughts, which are its caller's."""

    def __init__(self, models: Models, thoughts: Thoughts, clock: Clock, ids: Ids) -> None:
        self._models = models
        self._thoughts = thoughts
        self._clock = clock
        self._ids = ids

    async def generate(self, request: pb.GenerateRequest) -> AsyncGenerator[pb.GenerateResponse, None]:
        """The responses of one call; the last has the account. The namespace has been checked."""
        timer = Timer()
        parent = await self._parent(request)
        if parent is None:
            model = await self._models.get(request.model)
            thought = _Thought(request, model, requests.prompt(request))
        else:
            model = await self._models.get(_model_of(parent, request.model))
            # Thousands of rows take milliseconds, here and below, which the loop does not have.
            state = await asyncio.to_thread(lambda: forked(read_state(parent), request))
            thought = _Thought(request, model, state, parent)
        with requests.on_the_wire(_names(request)):
            async with aclosing(model.generate(thought.asked)) as said:
                async for item in said:
                    match item:
                        case LatentStep():
                            yield pb.GenerateResponse(thought=thought.stepped(item))
                        case Piece():
                            yield _piece(item)
                        case Finished():
                            yield await self._ended(thought, item, timer)

    async def _parent(self, request: pb.GenerateRequest) -> pb.Thought | None:
        if request.WhichOneof("input") == "thought_id":
            return await self._thoughts.get(request.namespace, request.thought_id)
        for field in ("keep_latent_steps", "keep_tokens"):
            if request.HasField(field):
                raise _of_a_thought_only(field)
        if request.edits:
            raise _of_a_thought_only("edits")
        return None

    async def _ended(self, thought: _Thought, end: Finished, timer: Timer) -> pb.GenerateResponse:
        response = pb.GenerateResponse(
            stop_reason=pb.StopReason.ValueType(STOPPED[end.stop_reason]),
            usage=concept_pb2.Usage(
                latent_steps=end.latent_steps,
                new_tokens=end.new_tokens,
                context_tokens=end.prompt_tokens,
                wall_ms=round(timer.seconds * 1e3),
            ),
            confidence=end.confidence,
        )
        if end.state is not None:
            kept = await asyncio.to_thread(thought.kept, end.state)
            kept.id = response.thought_id = self._ids.new()
            wire.set_timestamp(kept.created_at, self._clock.now())
            kept.stop_reason = response.stop_reason
            if end.confidence is not None:
                kept.confidence = end.confidence
            await self._thoughts.put(kept)
        return response


class _Thought:
    """One call at work: what was asked of the model, and what it has told of its latent steps."""

    def __init__(
        self,
        request: pb.GenerateRequest,
        model: LanguageModel,
        given: Prompt | ThoughtState,
        parent: pb.Thought | None = None,
    ) -> None:
        before = given if isinstance(given, ThoughtState) else None
        own = None if parent is None else requests.MODES.get(parent.mode, Mode.NONE)
        self.asked: Request = requests.generation(request, given, model, own)
        self._request = request
        self._model = model
        self._parent = parent
        self._steps = [] if parent is None or before is None else kept_steps(parent, before, request.edits)
        asked = model.capabilities.default if self.asked.thinking is None else self.asked.thinking
        goes_on = before is not None and bool(before.latent or before.depth)
        self._mode = own if goes_on and own is not None and asked.mode is Mode.NONE else asked.mode

    def stepped(self, step: LatentStep) -> pb.ThoughtEvent:
        """A latent step, counted from the first one of the Thought."""
        event = pb.ThoughtEvent()
        set_thought(event, step)
        event.step = len(self._steps)
        self._steps.append(event)
        return event

    def kept(self, state: ThoughtState) -> pb.Thought:
        """The Thought as it is kept, but for its id and its end."""
        request, parent = self._request, self._parent
        thought = pb.Thought(
            parent_id=request.thought_id,
            namespace=request.namespace,
            mode=requests.MODES_ON_THE_WIRE[self._mode],
            prompt=_prompt_text(request) if parent is None else parent.prompt,
            text=self._model.text_of(state),
            steps=self._steps,
        )
        write_state(thought, state)
        return thought


def _piece(item: Piece) -> pb.GenerateResponse:
    response = pb.GenerateResponse(text=item.text)
    for place, token in enumerate(item.tokens):
        drawn = response.tokens.add(token=candidate(token))
        if item.alternatives:
            drawn.alternatives.extend(map(candidate, item.alternatives[place]))
    return response


def _model_of(parent: pb.Thought, asked: str) -> str:
    if asked and ModelAddress.parse(asked) != ModelAddress.parse(parent.model):
        raise FailedPrecondition(
            f"thought {parent.id} is one of {parent.model}, and its rows mean nothing to {asked}; leave model empty",
            reason="SPACE_MISMATCH",
            field="model",
        )
    return parent.model


def _names(request: pb.GenerateRequest) -> dict[str, str]:
    """What the engine's fields are called in this request."""
    given = {"prompt": "prompt", "chat": "chat.messages", "thought_id": "thought_id"}
    names = {"prompt": given[request.WhichOneof("input") or "prompt"]}
    if (kind := request.WhichOneof("constraint")) is not None:
        names["constraint"] = kind
    return names


def _of_a_thought_only(field: str) -> InvalidArgument:
    return InvalidArgument(f"{field} is about a thought that is continued; name it in thought_id", field=field)


def _prompt_text(request: pb.GenerateRequest) -> str:
    if request.WhichOneof("input") == "prompt":
        return request.prompt
    return "\n".join(f"{message.role}: {message.content}" for message in request.chat.messages)
