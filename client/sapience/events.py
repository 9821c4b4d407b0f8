"""The events of an answer, read from the wire: one typed dataclass for each kind. Pure."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sapience import types, wire
from sapience.v1 import reasoning_pb2

_PLAIN: dict[str, type[types.Event]] = {
    "thought": types.Thought,
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
        case "answer":
            return _read_answer(head, event.answer)
        case str(name) if name in _PLAIN:
            kind, body = _PLAIN[name], getattr(event, name)
            return kind(
                **head, **{field.name: getattr(body, field.name) for field in fields(kind) if field.name not in head}
            )
    return None


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
