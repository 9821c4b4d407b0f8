"""The events of an answer, read from the wire: one typed dataclass for each kind. Pure."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sapience import types, wire
from sapience.v1 import reasoning_pb2

_PLAIN: dict[str, type[types.Event]] = {
    "token": types.Token,
    "draft_retracted": types.DraftRetracted,
    "check": types.Check,
    "usage": types.Usage,
}
"""Kinds whose fields are those of their message, by their name in the contract."""


def read_event(event: reasoning_pb2.ReasonEvent) -> types.Event | None:
    """An event; None for a kind that only a newer service knows."""
    head: dict[str, Any] = {"seq": event.seq, "trace_id": event.trace_id, "time": wire.read_moment(event, "time")}
    match event.WhichOneof("event"):
        case "recall":
            found = event.recall.found
            return types.Recalled(
                **head,
                text=event.recall.text,
                hits=tuple(
                    types.TracedHit(hit.episode_id, hit.concept_id, hit.score, dict(hit.channels)) for hit in found.hits
                ),
                recipe=found.recipe,
                as_of=wire.read_as_of(found.as_of),
            )
        case "thought":
            return types.LatentStep(**head, **_told_of(event.thought))
        case "answer":
            return _read_answer(head, event.answer)
        case str(name) if name in _PLAIN:
            kind, body = _PLAIN[name], getattr(event, name)
            return kind(
                **head, **{field.name: getattr(body, field.name) for field in fields(kind) if field.name not in head}
            )
    return None


def _told_of(value: reasoning_pb2.ThoughtEvent) -> dict[str, Any]:
    return {
        "step": value.step,
        "norm": value.norm,
        "entropy": value.entropy if value.HasField("entropy") else None,
        "nearest": tuple(map(_read_candidate, value.nearest)),
    }


def _read_candidate(value: reasoning_pb2.Candidate) -> types.Candidate:
    return types.Candidate(value.token, value.text, value.logprob)


def read_generated(value: reasoning_pb2.GenerateResponse) -> types.Step | types.Piece | types.Finished:
    """One response of Generate: a latent step, a piece of text, or the end."""
    if value.HasField("thought"):
        return types.Step(**_told_of(value.thought))
    if not value.stop_reason:
        tokens = (
            types.DrawnToken(_read_candidate(one.token), tuple(map(_read_candidate, one.alternatives)))
            for one in value.tokens
        )
        return types.Piece(value.text, tuple(tokens))
    return types.Finished(
        stop_reason=wire.read_enum(types.StopReason, value.stop_reason),
        latent_steps=value.usage.latent_steps,
        new_tokens=value.usage.new_tokens,
        prompt_tokens=value.usage.context_tokens,
        wall_ms=value.usage.wall_ms,
        thought_id=value.thought_id,
        confidence=value.confidence if value.HasField("confidence") else None,
    )


def read_thought(value: reasoning_pb2.Thought) -> types.Thought:
    """A Thought that was kept."""
    return types.Thought(
        id=value.id,
        parent_id=value.parent_id,
        namespace=value.namespace,
        model=value.model,
        created_at=wire.read_moment(value, "created_at"),
        mode=wire.read_enum(types.ThinkingMode, value.mode),
        prompt=value.prompt,
        text=value.text,
        latent_steps=value.latent_steps,
        new_tokens=value.new_tokens,
        stop_reason=wire.read_enum(types.StopReason, value.stop_reason),
        confidence=value.confidence if value.HasField("confidence") else None,
        prompt_rows=tuple(tuple(row.token_ids) for row in value.prompt_rows),
        latent_rows=tuple(tuple(row.token_ids) for row in value.latent_rows),
        suffix_rows=tuple(tuple(row.token_ids) for row in value.suffix_rows),
        latent=wire.read_tensor(value.latent) if value.HasField("latent") else None,
        tokens=tuple(value.tokens),
        symbols=tuple(value.symbols),
        allowed_tokens=tuple(value.allowed_tokens),
        depth=value.depth,
        steps=tuple(types.Step(**_told_of(step)) for step in value.steps),
    )


def _read_answer(head: dict[str, Any], value: reasoning_pb2.Answer) -> types.Answer:
    return types.Answer(
        **head,
        text=value.text,
        verdict=wire.read_enum(types.Verdict, value.verdict),
        citations=tuple(map(_read_citation, value.citations)),
        confidence=value.confidence,
        confidence_method=value.confidence_method,
        stop_reason=wire.read_enum(types.StopReason, value.stop_reason),
        wording=wire.read_enum(types.Wording, value.wording),
        learned_episode_id=value.learned_episode_id,
    )


def _read_citation(value: reasoning_pb2.Citation) -> types.Citation:
    return types.Citation(
        episode_id=value.episode_id,
        concept_id=value.concept_id,
        quote=value.quote,
        start_byte=value.start_byte,
        end_byte=value.end_byte,
        speaker=value.speaker,
        source=value.source.name,
        kind=wire.read_enum(types.SourceKind, value.source.kind),
        told_at=wire.read_moment(value, "told_at"),
        support=value.support,
        external_id=value.external_id,
    )


def read_trace(value: reasoning_pb2.Trace) -> types.Trace:
    """Everything that led to an answer."""
    return types.Trace(
        id=value.id,
        namespace=value.namespace,
        text=value.text,
        asked_at=wire.read_moment(value, "asked_at"),
        events=tuple(event for event in map(read_event, value.events) if event is not None),
        timings_ms=dict(value.timings_ms),
        model=value.model,
    )
