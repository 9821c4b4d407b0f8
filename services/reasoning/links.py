"""The cycle's ports over gRPC: perception and memory, wherever they run."""

from __future__ import annotations

import uuid

import grpc
from sapience.v1 import (
    concept_pb2,
    memory_pb2,
    memory_pb2_grpc,
    perception_pb2,
    perception_pb2_grpc,
)

from cognition.events import Answered, Evidence, Question, Recollection
from core.nouns import AsOf, Source, SourceKind, Span
from services import wire
from services.runtime.client import Link
from services.runtime.errors import reason_of

LEARNED_FROM = "sapience"
"""The source name of Episodes that are our own answers."""
MAX_ELSEWHERE = 10_000


class RemotePerceiver:
    """The perception service."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stub = perception_pb2_grpc.PerceptionServiceStub(link.channel)

    async def perceive(self, text: str) -> concept_pb2.Tensor:
        """The vector of one text, as it came: memory checks what it is given."""
        response = await self._stub.Encode(perception_pb2.EncodeRequest(texts=[text]), **self._link.options())
        return response.vectors


class RemoteMemory:
    """The memory service."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stub = memory_pb2_grpc.MemoryServiceStub(link.channel)
        self._elsewhere: set[str] = set()
        """Namespaces that did not take the default encoder's vector. One that has moved to it since costs no more."""

    async def recall(self, question: Question, percept: concept_pb2.Tensor, limit: int) -> Recollection:
        """Asks with the question as it is; memory takes names out where its recipe says so."""
        request = memory_pb2.RecallRequest(
            namespace=question.namespace,
            text=question.text,
            recipe=question.recipe,
            as_of=as_of_message(question),
            limit=limit,
        )
        # In a namespace that is in another space than the default encoder's, memory encodes the text itself.
        if question.namespace not in self._elsewhere:
            request.vector.CopyFrom(percept)
        try:
            response = await self._stub.Recall(request, **self._link.options())
        except grpc.aio.AioRpcError as error:
            if not request.HasField("vector") or reason_of(error) != "SPACE_MISMATCH":
                raise
            if len(self._elsewhere) >= MAX_ELSEWHERE:
                self._elsewhere.clear()
            self._elsewhere.add(question.namespace)
            request.ClearField("vector")
            response = await self._stub.Recall(request, **self._link.options())
        return Recollection(
            tuple(_evidence(hit) for hit in response.hits),
            response.recipe,
            AsOf(
                wire.micros(response.as_of.valid_at, "as_of.valid_at"),
                wire.micros(response.as_of.told_by, "as_of.told_by"),
                response.as_of.seq,
            ),
        )

    async def learn(self, question: Question, answer: Answered) -> str:
        """Remembers question and answer as one Episode of kind SELF, which recall never takes for evidence."""
        episode = memory_pb2.NewEpisode(
            source=concept_pb2.Source(kind=concept_pb2.SOURCE_KIND_SELF, name=LEARNED_FROM),
            conversation=question.conversation,
            speaker=LEARNED_FROM,
            text=f"Asked: {question.text}\nAnswered: {answer.text}",
            external_id=question.request_id,
            # What it answers from: forgotten with it, and what Dreams see of use.
            derived_from=list(dict.fromkeys(cited.episode_id for cited in answer.citations)),
        )
        request = memory_pb2.RememberRequest(
            namespace=question.namespace,
            # Never without one: the link tries again when memory was not reached, and must not learn twice.
            request_id=f"learn/{question.request_id or uuid.uuid4()}",
            episodes=[episode],
        )
        response = await self._stub.Remember(request, **self._link.options())
        return response.remembered[0].episode_id


def as_of_message(question: Question) -> concept_pb2.AsOf:
    """The question's AsOf, as it was asked."""
    message = concept_pb2.AsOf()
    for field in ("valid_at", "told_by", "recorded_by"):
        if (at := getattr(question, field)) is not None:
            getattr(message, field).CopyFrom(wire.timestamp(at))
    if question.seq is not None:
        message.seq = question.seq
    return message


def _evidence(hit: memory_pb2.Hit) -> Evidence:
    episode, concept = hit.episode, hit.concept
    return Evidence(
        episode_id=episode.id,
        concept_id=concept.id,
        text=episode.text,
        quote=Span(concept.text, concept.start_byte, concept.end_byte, concept.language),
        speaker=episode.speaker,
        source=Source(SourceKind(episode.source.kind), episode.source.name),
        told_at=wire.micros(episode.told_at, "told_at"),
        external_id=episode.external_id,
        score=hit.score,
        support=hit.support,
        channels={channel.channel: channel.raw for channel in hit.channels},
        conversation=episode.conversation,
        position=episode.position,
    )


__all__ = ["RemoteMemory", "RemotePerceiver", "as_of_message"]
