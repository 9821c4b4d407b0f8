"""From what a caller sends to what the record takes: checked, split into Concepts, with vectors and term weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from sapience.v1 import memory_pb2

from core.clock import Micros
from core.errors import InvalidArgument
from core.nouns import Float32, PerceivedConcept, PerceivedEpisode, Source, SourceKind, Space, Span, Sparse
from memory.analysis import documents_terms, episode_context
from perception.segment import segment
from services import wire
from services.runtime.worker import Worker

MAX_NAME = 256
MAX_SOURCES = 1024


class Encoder(Protocol):
    """Whatever turns texts into vectors: `services.memory.encoders` over the perception service."""

    async def encode(self, texts: Sequence[str], space: Space | None = None) -> tuple[Float32, Space]:
        """Unit vectors [texts, dimensions] in that space, or in the default encoder's, and their space.

        Raises FailedPrecondition (ENCODER_NOT_LOADED) where no encoder has it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """A NewEpisode that passed every check. `vectors` where the caller gave them."""

    message: memory_pb2.NewEpisode
    source: Source
    told_at: Micros
    spans: tuple[Span, ...]
    vectors: Float32 | None
    space: Space | None
    id: str = ""


def check(message: memory_pb2.NewEpisode, path: str, now: Micros, ready: Float32 | None = None) -> Checked:
    """Checks one Episode. Errors name the field under `path`, for example "episodes[3]".

    `ready` is what `wire.unit_vectors_from` found in its vectors.
    """
    text = wire.checked_text(message.text, f"{path}.text", wire.MAX_EPISODE_BYTES)
    _checked_name(message.conversation, path, "conversation")
    _checked_name(message.speaker, path, "speaker")
    _checked_name(message.external_id, path, "external_id")
    _checked_name(message.source.name, path, "source.name")
    if message.position < 0:
        raise InvalidArgument(f"{path}.position is {message.position}; places count from 0", field=f"{path}.position")
    source = wire.source_from(message.source, f"{path}.source")
    if len(message.derived_from) > MAX_SOURCES:
        raise InvalidArgument(
            f"{path}.derived_from holds {len(message.derived_from)}; at most {MAX_SOURCES} are taken",
            field=f"{path}.derived_from",
        )
    told_at = wire.told_at(message.told_at if message.HasField("told_at") else None, now, f"{path}.told_at")
    if not message.concepts:
        if message.HasField("vectors"):
            raise InvalidArgument(
                f"{path}.vectors came without concepts; give both or neither", field=f"{path}.concepts"
            )
        return Checked(message, source, told_at, tuple(segment(text)), None, None)
    spans = wire.spans_from(message.concepts, text, f"{path}.concepts")
    if not message.HasField("vectors"):
        raise InvalidArgument(f"{path}.concepts came without vectors; give both or neither", field=f"{path}.vectors")
    vectors, space = wire.tensor_from(message.vectors, len(spans), f"{path}.vectors", ready)
    return Checked(message, source, told_at, tuple(spans), vectors, space)


def _checked_name(value: str, path: str, name: str) -> None:
    if len(value) > MAX_NAME // 4 and len(value.encode()) > MAX_NAME:  # a character is 4 bytes at most
        field = f"{path}.{name}"
        raise InvalidArgument(f"{field} has {len(value.encode())} bytes; at most {MAX_NAME} are taken", field=field)


async def perceive(
    episodes: Sequence[Checked],
    encoder: Encoder,
    path: Callable[[int], str],
    space: Space | None,
    worker: Worker,
) -> tuple[list[PerceivedEpisode], Space]:
    """Vectors for those that have none, term weights for all. All have to be in one space: `space`, where one is given.

    Terms are found on a thread of `worker`. Raises FailedPrecondition (SPACE_MISMATCH) with the field under `path`.
    """
    wanting = [span.text for episode in episodes if episode.vectors is None for span in episode.spans]
    fresh: Float32 | None = None
    if wanting:
        fresh, encoded_in = await encoder.encode(wanting, space)
        if space is None:
            space = encoded_in
        first = next(number for number, episode in enumerate(episodes) if episode.vectors is None)
        wire.same_space(encoded_in, space, f"{path(first)}.text")
    return await worker.run(_all_perceived, episodes, fresh, path, space)


def _all_perceived(
    episodes: Sequence[Checked], fresh: Float32 | None, path: Callable[[int], str], space: Space | None
) -> tuple[list[PerceivedEpisode], Space]:
    terms = _terms(episodes)
    perceived, row = [], 0
    for number, episode in enumerate(episodes):
        if episode.vectors is not None and episode.space is not None:
            vectors = episode.vectors
            if space is None:
                space = episode.space
            if episode.space is not space and episode.space != space:
                wire.same_space(episode.space, space, f"{path(number)}.vectors.space")
        else:
            assert fresh is not None, "Episodes without vectors were encoded before"
            vectors = fresh[row : row + len(episode.spans)]
            row += len(episode.spans)
        concepts = [
            PerceivedConcept(span, vector, next(terms)) for span, vector in zip(episode.spans, vectors, strict=True)
        ]
        perceived.append(as_told(episode, tuple(concepts)))
    if space is None:
        raise InvalidArgument("there are no Episodes in the request", field="episodes", reason="EMPTY_BATCH")
    return perceived, space


def _terms(episodes: Sequence[Checked]) -> Iterator[Sparse]:
    """The term weights of all Concepts, in order.

    What a Dream wrote has none and is found by its vectors alone: the words it quotes were told by somebody else.
    """
    texts, contexts = [], []
    for episode in episodes:
        if episode.source.kind is not SourceKind.DREAM:
            context = episode_context(episode.message.speaker, episode.told_at)
            for span in episode.spans:
                texts.append(span.text)
                contexts.append(context)
    found = iter(documents_terms(texts, contexts))
    for episode in episodes:
        dreamt = episode.source.kind is SourceKind.DREAM
        yield from (Sparse() if dreamt else next(found) for _ in episode.spans)


def as_told(episode: Checked, concepts: tuple[PerceivedConcept, ...] = ()) -> PerceivedEpisode:
    """The Episode; without its Concepts it is what a duplicate is known by."""
    message = episode.message
    return PerceivedEpisode(
        source=episode.source,
        text=message.text,
        told_at=episode.told_at,
        concepts=concepts,
        conversation=message.conversation,
        position=message.position,
        speaker=message.speaker,
        external_id=message.external_id,
        id=episode.id,
        derived_from=tuple(message.derived_from),
    )
