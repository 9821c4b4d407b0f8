"""Calls of the reasoning service: questions, Traces and models."""

from __future__ import annotations

from datetime import datetime

from sapience import events, types, wire
from sapience.calls import Call, Streaming
from sapience.calls.memory import SECONDS, new_request_id
from sapience.calls.thinking import THINKING_SECONDS
from sapience.errors import Internal
from sapience.v1 import reasoning_pb2

LOADING_SECONDS = 600.0
"""How long the loading of a model may take unless its `timeout` says otherwise."""


def ask(
    text: str,
    *,
    as_of: datetime | types.AsOf | None = None,
    learn: bool = False,
    max_citations: int = 3,
    budget: types.Budget | None = None,
    thinking: types.Thinking | None = None,
    model: str = "",
    recipe: str = "",
    temperature: float = 0.0,
    top_p: float = 0.0,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int = 0,
    conversation: str = "",
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = THINKING_SECONDS,
) -> Streaming[types.Event]:
    """Asks a question (1 byte to 8 KiB of UTF-8). `ask` returns the Answer; `ask_stream` every Event that leads to it.

    `as_of` a datetime means told by then and valid then. `learn` remembers the exchange, as an Episode that is never
    evidence. `max_citations` is at most 20. `budget` limits what the answer may cost; `thinking` and its
    `latent_steps` say how the model thinks before it words one. `temperature` 0 takes the likeliest token each time;
    `top_p` 0 means 1, `top_k` and `min_p` 0 mean all. `model` and `recipe` "" mean the service's defaults. `request_id`
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
        sampling=wire.message(
            reasoning_pb2.Sampling, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed
        ),
        conversation=conversation,
        thinking=wire.thinking(thinking),
    )
    return Streaming(
        "reasoning", "Reason", request, timeout, namespace is None, lambda response: events.read_event(response.event)
    )


def required(answer: types.Answer | None) -> types.Answer:
    """The answer that a stream of events ended with. Raises Internal where it ended with none."""
    if answer is None:
        raise Internal("reasoning ended its stream with no answer")
    return answer


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
    """Loads a language model (wheel:NAME, models:NAME, hf:OWNER/NAME or file:/FOLDER); returns when it answers."""
    request = wire.message(reasoning_pb2.LoadModelRequest, model=model)
    return Call("reasoning", "LoadModel", request, timeout, False, lambda response: wire.read_model(response.model))


def unload_model(model: str, *, timeout: float | None = SECONDS) -> Call[None]:
    """Frees a language model. Calls that use it end first."""
    request = wire.message(reasoning_pb2.UnloadModelRequest, model=model)
    return Call("reasoning", "UnloadModel", request, timeout, False, lambda response: None)
