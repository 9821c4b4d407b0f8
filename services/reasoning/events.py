"""The cycle's events on the wire, and into Traces."""

from __future__ import annotations

from collections.abc import Iterable

from sapience.v1 import concept_pb2
from sapience.v1 import reasoning_pb2 as pb

from cognition.events import (
    Answered,
    Checked,
    DraftRetracted,
    Event,
    Evidence,
    Recalled,
    Spent,
    Worded,
)
from core.clock import Micros
from services import wire


def to_message(event: Event, seq: int, trace_id: str, at: Micros) -> pb.ReasonEvent:
    """One event."""
    message = pb.ReasonEvent(seq=seq, trace_id=trace_id, time=wire.timestamp(at))
    match event:
        case Worded():
            message.token.draft_id = event.draft_id
            message.token.text = event.text
        case Recalled():
            message.recall.text = event.text
            found = message.recall.found
            found.recipe = event.found.recipe
            found.as_of.CopyFrom(wire.as_of_to(event.found.as_of))
            for piece in event.found.evidence:
                found.hits.add(
                    episode_id=piece.episode_id,
                    concept_id=piece.concept_id,
                    score=piece.score,
                    channels=piece.channels,
                )
        case Checked():
            message.check.CopyFrom(
                pb.CheckEvent(name=event.name, passed=event.passed, score=event.score, detail=event.detail)
            )
        case DraftRetracted():
            message.draft_retracted.draft_id = event.draft_id
            message.draft_retracted.reason = event.reason
        case Spent():
            message.usage.CopyFrom(
                concept_pb2.Usage(
                    new_tokens=event.new_tokens,
                    recalls=event.recalls,
                    context_tokens=event.context_tokens,
                    wall_ms=round(event.wall_s * 1e3),
                )
            )
        case Answered():
            message.answer.CopyFrom(_answer(event))
    return message


def _answer(event: Answered) -> pb.Answer:
    return pb.Answer(
        text=event.text,
        verdict=pb.Verdict.ValueType(event.verdict),
        citations=[_citation(piece) for piece in event.citations],
        confidence=event.confidence,
        confidence_method=event.confidence_method,
        stop_reason=pb.StopReason.ValueType(event.stop_reason),
        wording=pb.Wording.ValueType(event.wording),
        learned_episode_id=event.learned_episode_id,
    )


def _citation(piece: Evidence) -> pb.Citation:
    return pb.Citation(
        episode_id=piece.episode_id,
        concept_id=piece.concept_id,
        quote=piece.quote.text,
        start_byte=piece.quote.start_byte,
        end_byte=piece.quote.end_byte,
        speaker=piece.speaker,
        source=wire.source_to(piece.source),
        told_at=wire.timestamp(piece.told_at),
        support=piece.support,
        external_id=piece.external_id,
    )


def joined(events: Iterable[pb.ReasonEvent]) -> list[pb.ReasonEvent]:
    """The events as a Trace keeps them and a retry gets them: neighbouring tokens of one draft as one, renumbered."""
    kept: list[pb.ReasonEvent] = []
    for event in events:
        last = kept[-1] if kept else None
        if (
            last is not None
            and event.WhichOneof("event") == last.WhichOneof("event") == "token"
            and event.token.draft_id == last.token.draft_id
        ):
            last.token.text += event.token.text
        else:
            copy = pb.ReasonEvent()
            copy.CopyFrom(event)
            copy.seq = len(kept)
            kept.append(copy)
    return kept
