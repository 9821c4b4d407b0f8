"""The cycle's events on the wire, and into Traces."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sapience.v1 import reasoning_pb2 as pb

from cognition.engine.base import Candidate, LatentStep
from cognition.events import (
    Answered,
    Checked,
    DraftRetracted,
    Event,
    Recalled,
    Spent,
    Worded,
)
from core.clock import Micros
from services import wire

REDACTED = "[forgotten]"
"""In the place of words that memory was told to forget."""


def to_response(event: Event, seq: int, trace_id: str, at: Micros) -> pb.ReasonResponse:
    """One event. Built in its place: a message that is put into another one is copied."""
    response = pb.ReasonResponse()
    message = response.event
    message.seq = seq
    message.trace_id = trace_id
    wire.set_timestamp(message.time, at)
    match event:
        case Worded():
            message.token.draft_id = event.draft_id
            message.token.text = event.text
        case LatentStep():
            set_thought(message.thought, event)
        case Recalled():
            message.recall.text = event.text
            found = message.recall.found
            found.recipe = event.found.recipe
            wire.set_as_of(found.as_of, event.found.as_of)
            for piece in event.found.evidence:
                found.hits.add(
                    episode_id=piece.episode_id,
                    concept_id=piece.concept_id,
                    score=piece.score,
                    channels=piece.channels,
                )
        case Checked():
            check = message.check
            check.name = event.name
            check.passed = event.passed
            check.score = event.score
            check.detail = event.detail
        case DraftRetracted():
            message.draft_retracted.draft_id = event.draft_id
            message.draft_retracted.reason = event.reason
        case Spent():
            usage = message.usage
            usage.latent_steps = event.latent_steps
            usage.new_tokens = event.new_tokens
            usage.recalls = event.recalls
            usage.context_tokens = event.context_tokens
            usage.wall_ms = round(event.wall_s * 1e3)
        case Answered():
            _set_answer(message.answer, event)
    return response


def set_thought(message: pb.ThoughtEvent, step: LatentStep) -> None:
    """Writes a latent step into a message."""
    message.step = step.step
    message.norm = step.norm
    if step.entropy is not None:
        message.entropy = step.entropy
    message.nearest.extend(map(candidate, step.nearest))


def candidate(one: Candidate) -> pb.Candidate:
    """A token that might be or was drawn."""
    return pb.Candidate(token=one.token, text=one.text, logprob=one.logprob)


def _set_answer(answer: pb.Answer, event: Answered) -> None:
    answer.text = event.text
    answer.verdict = pb.Verdict.ValueType(event.verdict)
    answer.confidence = event.confidence
    answer.confidence_method = event.confidence_method
    answer.stop_reason = pb.StopReason.ValueType(event.stop_reason)
    answer.wording = pb.Wording.ValueType(event.wording)
    answer.learned_episode_id = event.learned_episode_id
    for piece in event.citations:
        citation = answer.citations.add(
            episode_id=piece.episode_id,
            concept_id=piece.concept_id,
            quote=piece.quote.text,
            start_byte=piece.quote.start_byte,
            end_byte=piece.quote.end_byte,
            speaker=piece.speaker,
            support=piece.support,
            external_id=piece.external_id,
        )
        wire.set_source(citation.source, piece.source)
        wire.set_timestamp(citation.told_at, piece.told_at)


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


def cited_by(trace: pb.Trace) -> set[str]:
    """The Episodes that a Trace's answer cites: whose words it may hold."""
    return {one.episode_id for event in trace.events for one in event.answer.citations}


def learned_by(trace: pb.Trace) -> str:
    """The Episode that a Trace's answer was learned as; empty where it was not."""
    return next((event.answer.learned_episode_id for event in trace.events if event.HasField("answer")), "")


def redact(trace: pb.Trace, gone: Collection[str]) -> None:
    """Takes out of a Trace that cites these Episodes what may be words of theirs. Ids, scores and the question stay."""
    for event in trace.events:
        match event.WhichOneof("event"):
            case "token":
                event.token.text = REDACTED
            case "thought":
                del event.thought.nearest[:]  # what the model was about to say, of what it had read
            case "draft_retracted":
                event.draft_retracted.reason = REDACTED
            case "check":
                event.check.detail = ""
            case "answer":
                event.answer.text = REDACTED
                for one in event.answer.citations:
                    if one.episode_id in gone:
                        bare = pb.Citation(
                            episode_id=one.episode_id, concept_id=one.concept_id, quote=REDACTED, support=one.support
                        )
                        one.CopyFrom(bare)
