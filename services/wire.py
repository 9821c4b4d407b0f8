"""Between the wire and the nouns: protobuf messages on one side, `core.nouns` on the other, with every check between.

Functions that read a request raise InvalidArgument with the path of the field at fault.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from sapience.v1 import concept_pb2 as pb
from sapience.v1 import memory_pb2

from core.clock import DAY, EARLIEST, LATEST, Micros, isoformat
from core.errors import FailedPrecondition, InvalidArgument
from core.nouns import (
    AsOf,
    Concept,
    Entity,
    Episode,
    EpisodeFilter,
    Fact,
    Float32,
    Interval,
    Namespace,
    Precision,
    Source,
    SourceKind,
    Space,
    Span,
    StoredConcept,
)

MAX_EPISODE_BYTES = 64 << 10
MAX_QUERY_BYTES = 8 << 10
MAX_TEXT_BYTES = 1 << 20
MAX_PAGE_TOKEN_BYTES = 1 << 10
NAMESPACE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def checked_namespace(name: str) -> str:
    """The name, if it can be one."""
    if not NAMESPACE.fullmatch(name):
        raise InvalidArgument(
            f"{name[:80]!r} is not a namespace: use 1 to 64 of a-z, 0-9, '-', '_', '.', a letter or digit first",
            field="namespace",
            reason="BAD_NAMESPACE",
        )
    return name


def checked_text(text: str, field: str, max_bytes: int) -> str:
    """The text, if it says something and is not too long."""
    if not text.strip():
        raise InvalidArgument(f"{field} is empty; give at least one word", field=field, reason="EMPTY_TEXT")
    size = len(text.encode())
    if size > max_bytes:
        raise InvalidArgument(
            f"{field} has {size} bytes; at most {max_bytes} are taken, split it", field=field, reason="TEXT_TOO_LONG"
        )
    return text


def checked_limit(value: int, field: str, default: int, most: int) -> int:
    """The value, `default` for 0."""
    if not 0 <= value <= most:
        raise InvalidArgument(f"{field} is {value}; give 1 to {most}, or 0 for {default}", field=field)
    return value or default


# Time


def timestamp(at: Micros) -> Timestamp:
    """Microseconds as a Timestamp."""
    seconds, micros = divmod(at, 1_000_000)
    return Timestamp(seconds=seconds, nanos=micros * 1000)


def set_timestamp(stamp: Timestamp, at: Micros) -> None:
    """Writes microseconds into a message's Timestamp: for messages made by the thousand, it saves a copy."""
    stamp.seconds, rest = divmod(at, 1_000_000)
    stamp.nanos = rest * 1000


def micros(stamp: Timestamp, field: str) -> Micros:
    """A Timestamp as microseconds, rounded down. Refuses what is outside the years 1 to 9999."""
    at = stamp.seconds * 1_000_000 + stamp.nanos // 1000
    if not (EARLIEST <= at <= LATEST and 0 <= stamp.nanos < 1_000_000_000):
        raise InvalidArgument(
            f"{field} is {stamp.seconds} s {stamp.nanos} ns from 1970; give a time in the years 1 to 9999",
            field=field,
            reason="TIME_OUT_OF_RANGE",
        )
    return at


def told_at(stamp: Timestamp | None, now: Micros, field: str) -> Micros:
    """When it was said: now where that is not given, and not more than a day ahead."""
    if stamp is None:
        return now
    at = micros(stamp, field)
    if at > now + DAY:
        raise InvalidArgument(
            f"{field} is {isoformat(at)}, more than a day after now ({isoformat(now)}); nothing is told in the future",
            field=field,
            reason="TIME_OUT_OF_RANGE",
        )
    return at


def interval_from(message: pb.Interval, field: str) -> Interval:
    """A half-open interval; an end at or before the start is refused."""
    start = micros(message.start, f"{field}.start") if message.HasField("start") else None
    end = micros(message.end, f"{field}.end") if message.HasField("end") else None
    if start is not None and end is not None and end <= start:
        raise InvalidArgument(
            f"{field} ends at {isoformat(end)}, not after its start {isoformat(start)}",
            field=f"{field}.end",
            reason="EMPTY_INTERVAL",
        )
    if message.precision not in (0, *Precision):
        raise InvalidArgument(
            f"{field}.precision is {message.precision}, which is no precision", field=f"{field}.precision"
        )
    return Interval(
        start, end, Precision(message.precision or Precision.EXACT), message.original_text, message.timezone
    )


def interval_to(interval: Interval) -> pb.Interval:
    """An interval as a message; open ends are absent."""
    message = pb.Interval(
        precision=pb.Precision.ValueType(interval.precision),
        original_text=interval.original_text,
        timezone=interval.timezone,
    )
    if interval.start is not None:
        message.start.CopyFrom(timestamp(interval.start))
    if interval.end is not None:
        message.end.CopyFrom(timestamp(interval.end))
    return message


def as_of_to(as_of: AsOf) -> pb.AsOf:
    """A resolved AsOf as a message."""
    return pb.AsOf(valid_at=timestamp(as_of.valid_at), told_by=timestamp(as_of.told_by), seq=as_of.seq)


def set_as_of(message: pb.AsOf, as_of: AsOf) -> None:
    """Writes a resolved AsOf into a message's."""
    set_timestamp(message.valid_at, as_of.valid_at)
    set_timestamp(message.told_by, as_of.told_by)
    message.seq = as_of.seq


# Vectors


_DTYPES: dict[int, np.dtype[np.float32] | np.dtype[np.float16]] = {
    pb.DTYPE_FLOAT32: np.dtype("<f4"),
    pb.DTYPE_FLOAT16: np.dtype("<f2"),
}


def tensor_to(vectors: Float32, space: Space) -> pb.Tensor:
    """A batch [n, dimensions] as a Tensor."""
    data = np.ascontiguousarray(vectors, dtype="<f4")
    return pb.Tensor(
        space=space.name,
        space_version=space.version,
        dtype=pb.DTYPE_FLOAT32,
        shape=data.shape,
        data=data.tobytes(),
    )


def tensor_from(tensor: pb.Tensor, rows: int, field: str, ready: Float32 | None = None) -> tuple[Float32, Space]:
    """A batch of `rows` unit vectors out of a Tensor, with its space. Vectors are brought to length 1.

    One that has length 1 already, as near as float32 tells, keeps its bits: an export imported again is the same.
    `ready` is what `unit_vectors_from` found in it.
    """
    if ready is not None and tensor.space and len(ready) == rows:
        return ready, _space(tensor.space, tensor.space_version, ready.shape[1])

    def wrong(what: str, part: str = "") -> InvalidArgument:
        return InvalidArgument(f"{field}{part} {what}", field=f"{field}{part}", reason="BAD_TENSOR")

    if tensor.dtype not in _DTYPES:
        raise wrong("is not given; use DTYPE_FLOAT32 or DTYPE_FLOAT16", ".dtype")
    if not tensor.space:
        raise wrong("is empty; name the vector space", ".space")
    shape = tuple(tensor.shape)
    if len(shape) != 2 or shape[0] != rows or not 1 <= shape[1] <= 65_536:
        raise wrong(f"is {list(shape)}; give [{rows}, dimensions]", ".shape")
    dtype = _DTYPES[tensor.dtype]
    if len(tensor.data) != rows * shape[1] * dtype.itemsize:
        raise wrong(
            f"has {len(tensor.data)} bytes; {list(shape)} of {dtype.name} takes {rows * shape[1] * dtype.itemsize}",
            ".data",
        )
    vectors = np.frombuffer(tensor.data, dtype=dtype).reshape(shape).astype(np.float32)
    # In float64: the squares of large float32 numbers overflow, those of small ones vanish.
    precise = vectors.astype(np.float64)
    for row in range(rows):
        length = math.sqrt(precise[row].dot(precise[row]))
        if not 0 < length < math.inf:  # false for NaN too
            raise wrong("holds a vector that is zero or not finite", ".data")
        if abs(length - 1) >= 1e-6:
            vectors[row] = vectors[row] / np.float64(length)
    return vectors, _space(tensor.space, tensor.space_version, shape[1])


def vector_from(tensor: pb.Tensor, field: str) -> Float32:
    """One vector [dimensions] of any length out of a Tensor [dimensions] or [1, dimensions], of any space."""

    def wrong(what: str, part: str) -> InvalidArgument:
        return InvalidArgument(f"{field}{part} {what}", field=f"{field}{part}", reason="BAD_TENSOR")

    if tensor.dtype not in _DTYPES:
        raise wrong("is not given; use DTYPE_FLOAT32 or DTYPE_FLOAT16", ".dtype")
    shape, dtype = tuple(tensor.shape), _DTYPES[tensor.dtype]
    if not shape or len(shape) > 2 or shape[:-1] not in ((), (1,)) or not 1 <= shape[-1] <= 65_536:
        raise wrong(f"is {list(shape)}; give [dimensions]", ".shape")
    if len(tensor.data) != shape[-1] * dtype.itemsize:
        raise wrong(
            f"has {len(tensor.data)} bytes; {list(shape)} of {dtype.name} takes {shape[-1] * dtype.itemsize}", ".data"
        )
    vector = np.frombuffer(tensor.data, dtype=dtype).astype(np.float32)
    if not np.isfinite(vector).all():
        raise wrong("holds a number that is not finite", ".data")
    return vector


_space = lru_cache(maxsize=256)(Space)  # the same few with every message


def unit_vectors_from(tensors: Sequence[pb.Tensor]) -> list[Float32 | None]:
    """Of each Tensor what `tensor_from` makes of its data, for many at once and read-only; None where that has to look.

    Not None are float32 of as many rows and dimensions as they say, each row plainly of length 1: what encoders send.
    """
    found: list[Float32 | None] = [None] * len(tensors)
    alike: defaultdict[int, list[tuple[int, int, bytes]]] = defaultdict(list)  # by dimensions: place, rows, data
    for place, tensor in enumerate(tensors):
        shape = tuple(tensor.shape)
        if tensor.dtype == pb.DTYPE_FLOAT32 and len(shape) == 2 and shape[0] > 0 and 1 <= shape[1] <= 65_536:
            data = tensor.data
            if len(data) == 4 * shape[0] * shape[1]:
                alike[shape[1]].append((place, shape[0], data))
    for dimensions, these in alike.items():
        joined = np.frombuffer(b"".join([data for _, _, data in these]), "<f4").reshape(-1, dimensions)
        squares = np.einsum("ij,ij->i", joined, joined, dtype=np.float64)
        plain = np.abs(squares - 1) < 1e-6  # so the length is within 5e-7 of 1; false for NaN and infinity
        ends = list(accumulate(rows for _, rows, _ in these))
        whole = np.logical_and.reduceat(plain, [0, *ends[:-1]]).tolist()
        for (place, rows, _), end, every in zip(these, ends, whole, strict=True):
            if every:
                found[place] = joined[end - rows : end]
    return found


def same_space(given: Space, expected: Space, field: str) -> None:
    """Refuses vectors of another space."""
    if given != expected:
        raise FailedPrecondition(
            f"{field} is in space {given}, but this namespace keeps {expected}; encode with that model",
            reason="SPACE_MISMATCH",
            field=field,
        )


# Nouns


def namespace_to(namespace: Namespace) -> pb.Namespace:
    """A namespace as a message."""
    return pb.Namespace(name=namespace.name, created_at=timestamp(namespace.created_at))


_KINDS = {0: SourceKind.TESTIMONY, **{int(kind): kind for kind in SourceKind}}


def source_from(message: pb.Source, field: str) -> Source:
    """A source; TESTIMONY where no kind is given."""
    kind = _KINDS.get(message.kind)
    if kind is None:
        raise InvalidArgument(f"{field}.kind is {message.kind}, which is no kind of source", field=f"{field}.kind")
    return _source(kind, message.name)


_source = lru_cache(maxsize=1024)(Source)  # the same few with every Episode


def set_source(message: pb.Source, source: Source) -> None:
    """Writes a source into a message's."""
    message.kind = pb.SourceKind.ValueType(source.kind)
    message.name = source.name


def episode_to(episode: Episode) -> pb.Episode:
    """An Episode as a message."""
    message = pb.Episode(
        id=episode.id,
        namespace=episode.namespace,
        conversation=episode.conversation,
        position=episode.position,
        speaker=episode.speaker,
        text=episode.text,
        external_id=episode.external_id,
        seq=episode.seq,
        archived_seq=episode.archived_seq,
    )
    set_source(message.source, episode.source)
    set_timestamp(message.told_at, episode.told_at)
    set_timestamp(message.recorded_at, episode.recorded_at)
    return message


def span_to(span: Span, ordinal: int, concept_id: str = "", episode_id: str = "") -> pb.Concept:
    """A stretch of text as a Concept message; one of no Episode yet has no ids."""
    return pb.Concept(
        id=concept_id,
        episode_id=episode_id,
        ordinal=ordinal,
        text=span.text,
        start_byte=span.start_byte,
        end_byte=span.end_byte,
        modality=pb.MODALITY_TEXT,
        language=span.language,
    )


def concept_to(concept: Concept) -> pb.Concept:
    """A Concept as a message."""
    return span_to(concept.span, concept.ordinal, concept.id, concept.episode_id)


def spans_from(concepts: Sequence[pb.Concept], text: str, field: str) -> list[Span]:
    """The spans of Concepts that a caller perceived; each must be the bytes it says it is, in order."""
    data = text.encode()
    spans, last = [], 0
    for number, concept in enumerate(concepts):
        start, end = concept.start_byte, concept.end_byte
        if not last <= start < end <= len(data) or data[start:end] != concept.text.encode():
            raise InvalidArgument(
                f"{field}[{number}] says bytes {start} to {end}, which are not its text {concept.text[:40]!r}",
                field=f"{field}[{number}]",
                reason="BAD_SPAN",
            )
        spans.append(Span(concept.text, start, end, concept.language))
        last = end
    return spans


def stored_to(episode: Episode, concepts: list[StoredConcept]) -> memory_pb2.EpisodeRecord:
    """An Episode with its Concepts and vectors, whole enough to be rebuilt."""
    record = memory_pb2.EpisodeRecord(
        episode=episode_to(episode), concepts=[concept_to(stored.concept) for stored in concepts]
    )
    if concepts:
        vectors = np.stack([stored.vector for stored in concepts])
        record.vectors.CopyFrom(tensor_to(vectors, concepts[0].space))
    return record


def fact_to(fact: Fact) -> pb.Fact:
    """A version of a Fact as a message."""
    message = pb.Fact(
        id=fact.id,
        subject=_entity(fact.subject),
        relation=fact.relation,
        valid=interval_to(fact.valid),
        told_at=timestamp(fact.told_at),
        recorded_at=timestamp(fact.recorded_at),
        seq=fact.seq,
        retracted=fact.retracted,
        episode_id=fact.episode_id,
        trust=fact.trust,
        rule=fact.rule,
    )
    if isinstance(fact.object, Entity):
        message.entity.CopyFrom(_entity(fact.object))
    else:
        message.literal = fact.object
    return message


def _entity(entity: Entity) -> pb.Entity:
    return pb.Entity(id=entity.id, name=entity.name)


def filter_from(message: memory_pb2.RecallFilter, field: str = "filter") -> EpisodeFilter:
    """A filter; evidence only where no kind is given."""
    unknown = [kind for kind in message.source_kinds if int(kind) not in tuple(SourceKind)]
    if unknown:
        raise InvalidArgument(
            f"{field}.source_kinds holds {unknown[0]}, which is no kind", field=f"{field}.source_kinds"
        )
    kinds = tuple(SourceKind(kind) for kind in message.source_kinds)
    return EpisodeFilter(
        speakers=tuple(message.speakers),
        kinds=kinds or EpisodeFilter().kinds,
        conversations=tuple(message.conversations),
        told=interval_from(message.told, f"{field}.told"),
    )


# Pages


def page_token(query: bytes, seq: int, place: object) -> str:
    """A token that continues this query, at this commit, from this place."""
    body = json.dumps([_digest(query), seq, place], separators=(",", ":"))
    return base64.urlsafe_b64encode(body.encode()).decode()


def read_page_token(token: str, query: bytes) -> tuple[int, object]:
    """The commit and the place of a token. Refuses one that is damaged or belongs to another query."""
    try:
        if len(token.encode()) > MAX_PAGE_TOKEN_BYTES:
            raise ValueError("too long to be one of ours")
        digest, seq, place = json.loads(base64.urlsafe_b64decode(token.encode()))
        if not isinstance(seq, int) or not 0 <= seq < 1 << 63:
            raise ValueError("no commit in it")
    except (ValueError, TypeError) as error:
        raise InvalidArgument("page_token is damaged; begin again without one", field="page_token") from error
    if digest != _digest(query):
        raise InvalidArgument("page_token belongs to another query; begin again without one", field="page_token")
    return seq, place


def _digest(query: bytes) -> str:
    return hashlib.blake2b(query, digest_size=9).hexdigest()
