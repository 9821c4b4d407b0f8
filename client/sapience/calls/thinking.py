"""Calls that think: the language model alone, with latent steps, and the Thoughts that are kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sapience import events, types, wire
from sapience.calls import Call, Streaming
from sapience.calls.memory import SECONDS
from sapience.errors import InvalidArgument
from sapience.v1 import reasoning_pb2

THINKING_SECONDS = 120.0
"""How long an answer or a generation may take unless its `timeout` says otherwise."""

Prompt = str | Iterable[types.ChatMessage | Mapping[str, str]]


def generate(
    prompt: Prompt,
    *,
    model: str = "",
    budget: types.Budget | None = None,
    thinking: types.Thinking | None = None,
    temperature: float = 0.0,
    top_p: float = 0.0,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    json_schema: str | Mapping[str, Any] | None = None,
    regex: str | None = None,
    grammar: str | None = None,
    timeout: float | None = THINKING_SECONDS,
) -> Streaming[str]:
    """Continues a text, or a chat, with the language model alone: no memory, no citations. Gives text piece by piece.

    A chat is messages, oldest first: ChatMessage, or mappings with "role" and "content". Of `budget`, `latent_steps`,
    `new_tokens` and `wall_ms` hold here. The text ends before the first of `stop`; `json_schema`, `regex` or `grammar`
    (Lark's syntax; one of the three) says what it has to be. `think` gives all that happens, not the text alone.
    """
    request = _request(
        _given(prompt), model, budget, thinking, _sampling(temperature, top_p, top_k, min_p, seed), stop,
        (json_schema, regex, grammar),
    )  # fmt: skip
    return Streaming("reasoning", "Generate", request, timeout, False, lambda response: response.text or None)


def think(
    prompt: Prompt,
    *,
    model: str = "",
    budget: types.Budget | None = None,
    thinking: types.Thinking | None = None,
    temperature: float = 0.0,
    top_p: float = 0.0,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    json_schema: str | Mapping[str, Any] | None = None,
    regex: str | None = None,
    grammar: str | None = None,
    logprobs: int | None = None,
    keep: bool = False,
    namespace: str | None = None,
    timeout: float | None = THINKING_SECONDS,
) -> Streaming[types.Step | types.Piece | types.Finished]:
    """The same as `generate`, with all that happens: a Step for each latent one, Pieces of text, and one Finished.

    `thinking` and `budget.latent_steps` say how the model thinks before its first token; neither given means as it was
    trained to. `logprobs` 0 tells the drawn tokens' log-probabilities, more also those of so many likeliest ones.
    `keep` keeps the Thought in `namespace`; Finished has the id that `resume` and `get_thought` take.
    """
    request = _request(
        _given(prompt), model, budget, thinking, _sampling(temperature, top_p, top_k, min_p, seed), stop,
        (json_schema, regex, grammar), logprobs, keep, namespace,
    )  # fmt: skip
    return _thinking(request, timeout, default_namespace=keep and namespace is None)


def resume(
    thought_id: str,
    *,
    keep_latent_steps: int | None = None,
    keep_tokens: int | None = None,
    edits: Mapping[int, types.Tensor] | None = None,
    budget: types.Budget | None = None,
    thinking: types.Thinking | None = None,
    temperature: float = 0.0,
    top_p: float = 0.0,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    json_schema: str | Mapping[str, Any] | None = None,
    regex: str | None = None,
    grammar: str | None = None,
    logprobs: int | None = None,
    keep: bool = False,
    namespace: str | None = None,
    timeout: float | None = THINKING_SECONDS,
) -> Streaming[types.Step | types.Piece | types.Finished]:
    """Goes on with a Thought that was kept, where it ended; or forks it: the Thought itself stays as it is.

    `keep_latent_steps` and `keep_tokens` keep only so many of it. `edits` gives other vectors for latent steps, from 0,
    in the space of the Thought: another one's (`other.vector(2)`), or your own (`thought.latent.vector([...])`). What
    followed the last of them is left out. Latent steps are taken only where `budget.latent_steps` or `thinking` asks
    for them. The rest is as for `think`.
    """
    given = {
        "thought_id": thought_id,
        "keep_latent_steps": keep_latent_steps,
        "keep_tokens": keep_tokens,
        "edits": [
            wire.message(reasoning_pb2.ThoughtEdit, step=step, vector=wire.tensor(vector, f"edits[{place}].vector"))
            for place, (step, vector) in enumerate((edits or {}).items())
        ],
    }
    request = _request(
        given, "", budget, thinking, _sampling(temperature, top_p, top_k, min_p, seed), stop,
        (json_schema, regex, grammar), logprobs, keep, namespace,
    )  # fmt: skip
    return _thinking(request, timeout, default_namespace=namespace is None)


def get_thought(
    thought_id: str, *, namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[types.Thought]:
    """A Thought that was kept, whole: its rows, its vectors, and how each latent step went."""
    request = wire.message(reasoning_pb2.GetThoughtRequest, namespace=namespace, thought_id=thought_id)
    return Call(
        "reasoning",
        "GetThought",
        request,
        timeout,
        namespace is None,
        lambda response: events.read_thought(response.thought),
    )


def thoughts(
    *, limit: int = 20, before: str = "", namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[list[types.Thought]]:
    """The Thoughts that are kept, newest first, without their rows; `before` is the last id of the page before."""
    request = wire.message(reasoning_pb2.ListThoughtsRequest, namespace=namespace, limit=limit, before_id=before)
    return Call(
        "reasoning",
        "ListThoughts",
        request,
        timeout,
        namespace is None,
        lambda response: [events.read_thought(one) for one in response.thoughts],
    )


def delete_thought(thought_id: str, *, namespace: str | None = None, timeout: float | None = SECONDS) -> Call[None]:
    """Deletes a Thought. Those that were continued from it stay."""
    request = wire.message(reasoning_pb2.DeleteThoughtRequest, namespace=namespace, thought_id=thought_id)
    return Call("reasoning", "DeleteThought", request, timeout, namespace is None, lambda response: None)


def _thinking(
    request: reasoning_pb2.GenerateRequest, timeout: float | None, *, default_namespace: bool
) -> Streaming[types.Step | types.Piece | types.Finished]:
    return Streaming("reasoning", "Generate", request, timeout, default_namespace, events.read_generated)


def _request(
    given: Mapping[str, Any],
    model: str,
    budget: types.Budget | None,
    thinking: types.Thinking | None,
    sampling: reasoning_pb2.Sampling,
    stop: Sequence[str],
    constraint: tuple[str | Mapping[str, Any] | None, str | None, str | None],
    logprobs: int | None = None,
    keep: bool = False,
    namespace: str | None = None,
) -> reasoning_pb2.GenerateRequest:
    schema, regex, grammar = constraint
    if isinstance(schema, Mapping):
        schema = json.dumps(schema)
    chosen = {"json_schema": schema, "regex": regex, "grammar": grammar}
    if sum(value is not None for value in chosen.values()) > 1:
        raise InvalidArgument(
            "json_schema, regex and grammar are three ways to say what the text has to be; give one of them",
            reason="INVALID_FIELD",
            field="constraint",
        )
    return wire.message(
        reasoning_pb2.GenerateRequest,
        **given,
        **chosen,
        namespace=namespace,
        model=model,
        budget=wire.budget(budget),
        thinking=wire.thinking(thinking),
        sampling=sampling,
        stop=wire.words(stop, "stop"),
        logprobs=logprobs,
        keep=keep,
    )


def _sampling(temperature: float, top_p: float, top_k: int, min_p: float, seed: int) -> reasoning_pb2.Sampling:
    return wire.message(
        reasoning_pb2.Sampling, temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=seed
    )


def _given(prompt: Prompt) -> dict[str, Any]:
    if isinstance(prompt, str):
        return {"prompt": prompt}
    messages = [_chat_message(place, said) for place, said in enumerate(prompt)]
    return {"chat": wire.message(reasoning_pb2.Chat, messages=messages)}


def _chat_message(index: int, said: types.ChatMessage | Mapping[str, str]) -> reasoning_pb2.ChatMessage:
    match said:
        case types.ChatMessage(role=role, content=content) | {"role": role, "content": content}:
            return wire.message(reasoning_pb2.ChatMessage, role=role, content=content)
    raise InvalidArgument(
        f'prompt: message {index} is {said!r}; give a ChatMessage or a mapping with "role" and "content"',
        reason="INVALID_FIELD",
        field=f"chat.messages[{index}]",
    )
