"""Calls of the reasoning service: questions, plain generation and Traces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from sapience import events, types, wire
from sapience.calls import Call, Streaming
from sapience.calls.memory import SECONDS, new_request_id
from sapience.errors import Internal, InvalidArgument
from sapience.v1 import reasoning_pb2

THINKING_SECONDS = 120.0
"""How long an answer or a generation may take unless its `timeout` says otherwise."""
LOADING_SECONDS = 600.0
"""How long the loading of a model may take unless its `timeout` says otherwise."""


def ask(
    text: str,
    *,
    as_of: datetime | types.AsOf | None = None,
    learn: bool = False,
    max_citations: int = 3,
    budget: types.Budget | None = None,
    model: str = "",
    recipe: str = "",
    temperature: float = 0.0,
    top_p: float = 0.0,
    seed: int = 0,
    conversation: str = "",
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = THINKING_SECONDS,
) -> Streaming[types.Event]:
    """Asks a question (1 byte to 8 KiB of UTF-8). `ask` returns the Answer; `ask_stream` every Event that leads to it.

    `as_of` a datetime means told by then and valid then. `learn` remembers the exchange, as an Episode that is never
    evidence. `max_citations` is at most 20. `budget` limits what the answer may cost. `temperature` 0 takes the
    likeliest token each time; `top_p` 0 means 1. `model` and `recipe` "" mean the service's defaults. `request_id`
    is random unless given; with `learn`, asking again under the same id learns nothing twice.
    """
    request = wire.message(
        reasoning_pb2.ReasonRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        text=text,
        as_of=wire.as_of(as_of),
        budget=wire.budget(budget),
        learn=learn,
        model=model,
        recipe=recipe,
        max_citations=max_citations,
        sampling=wire.message(reasoning_pb2.Sampling, temperature=temperature, top_p=top_p, seed=seed),
        conversation=conversation,
    )
    return Streaming(
        "reasoning", "Reason", request, timeout, namespace is None, lambda response: events.read_event(response.event)
    )


def required(answer: types.Answer | None) -> types.Answer:
    """The answer that a stream of events ended with. Raises Internal where it ended with none."""
    if answer is None:
        raise Internal("reasoning ended its stream with no answer")
    return answer


def generate(
    prompt: str | Iterable[types.ChatMessage | Mapping[str, str]],
    *,
    model: str = "",
    budget: types.Budget | None = None,
    temperature: float = 0.0,
    top_p: float = 0.0,
    seed: int = 0,
    timeout: float | None = THINKING_SECONDS,
) -> Streaming[str]:
    """Continues a text, or a chat, with the language model alone: no memory, no citations. Gives text piece by piece.

    A chat is messages, oldest first: ChatMessage, or mappings with "role" and "content". Of `budget`, `new_tokens` and
    `wall_ms` hold here.
    """
    plain = isinstance(prompt, str)
    request = wire.message(
        reasoning_pb2.GenerateRequest,
        model=model,
        prompt=prompt if plain else None,
        chat=None if isinstance(prompt, str) else _chat(prompt),
        budget=wire.budget(budget),
        sampling=wire.message(reasoning_pb2.Sampling, temperature=temperature, top_p=top_p, seed=seed),
    )
    return Streaming("reasoning", "Generate", request, timeout, False, lambda response: response.text or None)


def _chat(messages: Iterable[types.ChatMessage | Mapping[str, str]]) -> reasoning_pb2.Chat:
    return wire.message(reasoning_pb2.Chat, messages=[_chat_message(i, said) for i, said in enumerate(messages)])


def _chat_message(index: int, said: types.ChatMessage | Mapping[str, str]) -> reasoning_pb2.ChatMessage:
    match said:
        case types.ChatMessage(role=role, content=content) | {"role": role, "content": content}:
            return wire.message(reasoning_pb2.ChatMessage, role=role, content=content)
    raise InvalidArgument(
        f'prompt: message {index} is {said!r}; give a ChatMessage or a mapping with "role" and "content"',
        reason="INVALID_FIELD",
        field=f"chat.messages[{index}]",
    )


def trace(trace_id: str, *, namespace: str | None = None, timeout: float | None = SECONDS) -> Call[types.Trace]:
    """Everything that led to an answer; `trace_id` is on every Event of it."""
    request = wire.message(reasoning_pb2.GetTraceRequest, namespace=namespace, trace_id=trace_id)
    return Call(
        "reasoning",
        "GetTrace",
        request,
        timeout,
        namespace is None,
        lambda response: events.read_trace(response.trace),
    )


def load_model(model: str, *, timeout: float | None = LOADING_SECONDS) -> Call[types.Model]:
    """Loads a language model ("wheel:NAME", "hf:OWNER/NAME" or "file:/FOLDER"); returns when it answers."""
    request = wire.message(reasoning_pb2.LoadModelRequest, model=model)
    return Call("reasoning", "LoadModel", request, timeout, False, lambda response: wire.read_model(response.model))


def unload_model(model: str, *, timeout: float | None = SECONDS) -> Call[None]:
    """Frees a language model. Calls that use it end first."""
    request = wire.message(reasoning_pb2.UnloadModelRequest, model=model)
    return Call("reasoning", "UnloadModel", request, timeout, False, lambda response: None)
