"""Between the wire and the nouns: what goes out comes back the same, and whatever comes in is refused or understood."""

# ruff: noqa: PT017 -- properties hold on both branches, of what is read and of what is refused

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sapience.v1 import concept_pb2 as pb
from sapience.v1 import memory_pb2

from core.clock import DAY, EARLIEST, LATEST, to_datetime
from core.errors import FailedPrecondition, InvalidArgument, SapienceError
from core.nouns import AsOf, Entity, Episode, Fact, Interval, Precision, Source, SourceKind, Space
from perception.segment import segment
from services import wire

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
MOMENTS = st.integers(EARLIEST, LATEST)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SPACE = Space("a space", "1", 4)


# Time


@given(MOMENTS)
def test_a_moment_comes_back_from_its_timestamp(at: int) -> None:
    stamp = wire.timestamp(at)
    assert 0 <= stamp.nanos < 1_000_000_000
    assert wire.micros(stamp, "t") == at
    assert stamp.ToJsonString().rstrip("Z")[:19] == to_datetime(at).isoformat()[:19], "protobuf reads it as we do"


@given(INT64, INT32)
def test_any_timestamp_is_a_moment_or_refused(seconds: int, nanos: int) -> None:
    stamp = Timestamp(seconds=seconds, nanos=nanos)
    try:
        at = wire.micros(stamp, "t")
    except InvalidArgument as error:
        assert (error.field, error.reason) == ("t", "TIME_OUT_OF_RANGE")
        assert str(seconds) in error.message
    else:
        assert 0 <= nanos < 1_000_000_000
        assert EARLIEST <= at <= LATEST
        assert at * 1000 <= seconds * 1_000_000_000 + nanos < (at + 1) * 1000, "rounded down to the microsecond"


@given(MOMENTS, MOMENTS)
def test_nothing_is_told_more_than_a_day_ahead(at: int, now: int) -> None:
    if at <= now + DAY:
        assert wire.told_at(wire.timestamp(at), now, "told_at") == at
    else:
        with pytest.raises(InvalidArgument, match="more than a day after now"):
            wire.told_at(wire.timestamp(at), now, "told_at")
    assert wire.told_at(None, now, "told_at") == now


@given(st.none() | MOMENTS, st.none() | MOMENTS, st.sampled_from(Precision), TEXTS, TEXTS)
def test_an_interval_comes_back_or_is_empty(
    start: int | None, end: int | None, precision: Precision, words: str, zone: str
) -> None:
    interval = Interval(start, end, precision, words, zone)
    message = wire.interval_to(interval)
    if start is not None and end is not None and end <= start:
        with pytest.raises(InvalidArgument) as caught:
            wire.interval_from(message, "valid")
        assert (caught.value.field, caught.value.reason) == ("valid.end", "EMPTY_INTERVAL")
    else:
        assert wire.interval_from(message, "valid") == interval


@given(INT32)
def test_any_precision_is_known_or_refused(number: int) -> None:
    message = pb.Interval(precision=number)  # type: ignore[arg-type]
    if number in range(5):
        assert wire.interval_from(message, "valid").precision == (number or Precision.EXACT)
    else:
        with pytest.raises(InvalidArgument, match=str(number)) as caught:
            wire.interval_from(message, "valid")
        assert caught.value.field == "valid.precision"


@given(MOMENTS, MOMENTS, st.integers(0, 2**63 - 1))
def test_a_point_in_time_is_told_whole(valid_at: int, told_by: int, seq: int) -> None:
    message = wire.as_of_to(AsOf(valid_at, told_by, seq))
    assert wire.micros(message.valid_at, "") == valid_at
    assert wire.micros(message.told_by, "") == told_by
    assert (message.WhichOneof("recorded"), message.seq) == ("seq", seq)
    written = pb.AsOf()
    wire.set_as_of(written, AsOf(valid_at, told_by, seq))
    assert written == message


# Vectors

BATCHES = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.just(4)),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


@given(BATCHES)
def test_any_batch_is_brought_to_length_one_or_refused(batch: np.ndarray) -> None:
    """However large or small the numbers are."""
    message = wire.tensor_to(batch, SPACE)
    if not np.isfinite(batch).all() or not batch.any(axis=1).all():
        with pytest.raises(InvalidArgument, match="zero or not finite") as caught:
            wire.tensor_from(message, len(batch), "vectors")
        assert (caught.value.field, caught.value.reason) == ("vectors.data", "BAD_TENSOR")
        return
    vectors, space = wire.tensor_from(message, len(batch), "vectors")
    assert space == SPACE
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=2e-6)
    exact = batch.astype(np.float64)
    exact /= np.abs(exact).max(axis=1, keepdims=True)
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, exact, atol=3e-6)
    again, _ = wire.tensor_from(wire.tensor_to(vectors, SPACE), len(batch), "vectors")
    assert again.tobytes() == vectors.tobytes(), "what has length 1 keeps its bits"


@pytest.mark.parametrize("dimensions", [1, 2, 3, 8, 384, 1024])
def test_unit_vectors_keep_their_bits(dimensions: int) -> None:
    random = np.random.default_rng(dimensions).standard_normal((64, dimensions))
    unit = (random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32)
    space = Space("a", "1", dimensions)
    vectors, _ = wire.tensor_from(wire.tensor_to(unit, space), 64, "vectors")
    assert vectors.tobytes() == unit.tobytes()


def test_half_precision_is_read() -> None:
    half = np.array([[3, 4, 0, 0]], "<f2")
    message = pb.Tensor(space="a", dtype=pb.DTYPE_FLOAT16, shape=[1, 4], data=half.tobytes())
    vectors, space = wire.tensor_from(message, 1, "v")
    np.testing.assert_allclose(vectors, [[0.6, 0.8, 0, 0]], atol=1e-6)
    assert space == Space("a", "", 4)


@given(
    st.integers(-2, 5),
    st.lists(INT64 | st.integers(0, 5), max_size=3),
    st.binary(max_size=80),
    st.sampled_from(["", "a"]),
    st.integers(1, 3),
)
def test_any_tensor_is_read_or_refused(dtype: int, shape: list[int], data: bytes, space: str, rows: int) -> None:
    message = pb.Tensor(space=space, dtype=dtype, shape=shape, data=data)  # type: ignore[arg-type]
    try:
        vectors, _ = wire.tensor_from(message, rows, "v")
    except InvalidArgument as error:
        assert error.reason == "BAD_TENSOR"
        assert error.field.startswith("v.")
    else:
        assert vectors.shape == tuple(shape)
        assert vectors.shape[0] == rows


def test_vectors_of_another_space_are_refused() -> None:
    wire.same_space(SPACE, Space("a space", "1", 4), "v")
    for other in (Space("b", "1", 4), Space("a space", "2", 4), Space("a space", "1", 5)):
        with pytest.raises(FailedPrecondition) as caught:
            wire.same_space(other, SPACE, "v")
        assert caught.value.reason == "SPACE_MISMATCH"
        assert str(other) in caught.value.message


# Nouns


@given(st.text(max_size=70))
def test_any_name_is_a_namespace_or_refused(name: str) -> None:
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789"
    fits = 1 <= len(name) <= 64 and name[0] in allowed and set(name) <= {*allowed, "-", "_", "."}
    if fits:
        assert wire.checked_namespace(name) == name
    else:
        with pytest.raises(InvalidArgument) as caught:
            wire.checked_namespace(name)
        assert caught.value.reason == "BAD_NAMESPACE"


@given(st.text(st.sampled_from(" \n\taé🙂"), max_size=12), st.integers(1, 12))
def test_a_text_says_something_and_fits(text: str, most: int) -> None:
    size = len(text.encode())
    reason = "EMPTY_TEXT" if not text.strip() else "TEXT_TOO_LONG" if size > most else ""
    if not reason:
        assert wire.checked_text(text, "t", most) == text
        return
    with pytest.raises(InvalidArgument) as caught:
        wire.checked_text(text, "t", most)
    assert caught.value.reason == reason


@given(INT32, st.integers(1, 50), st.integers(50, 500))
def test_a_limit_is_in_its_range(value: int, default: int, most: int) -> None:
    if 0 <= value <= most:
        assert wire.checked_limit(value, "limit", default, most) == (value or default)
    else:
        with pytest.raises(InvalidArgument, match=str(value)):
            wire.checked_limit(value, "limit", default, most)


@given(TEXTS.filter(str.strip))
def test_the_spans_of_a_text_come_back(text: str) -> None:
    spans = list(segment(text))
    messages = [wire.span_to(span, ordinal) for ordinal, span in enumerate(spans)]
    read = wire.spans_from(messages, text, "concepts")
    assert [(one.text, one.start_byte, one.end_byte) for one in read] == [
        (one.text, one.start_byte, one.end_byte) for one in spans
    ]


@given(TEXTS, st.lists(st.tuples(TEXTS, INT32 | st.integers(0, 9), INT32 | st.integers(0, 9)), max_size=3))
def test_any_spans_are_bytes_of_the_text_or_refused(text: str, given_: list[tuple[str, int, int]]) -> None:
    messages = [pb.Concept(text=words, start_byte=start, end_byte=end) for words, start, end in given_]
    try:
        spans = wire.spans_from(messages, text, "concepts")
    except InvalidArgument as error:
        assert error.reason == "BAD_SPAN"
    else:
        last = 0
        for span in spans:
            assert text.encode()[span.start_byte : span.end_byte] == span.text.encode()
            assert last <= span.start_byte < span.end_byte
            last = span.end_byte


@given(INT32)
def test_any_kind_of_source_is_known_or_refused(number: int) -> None:
    message = pb.Source(kind=number, name="a")  # type: ignore[arg-type]
    if number in range(6):
        assert wire.source_from(message, "source") == Source(SourceKind(number or 1), "a")
    else:
        with pytest.raises(InvalidArgument, match=str(number)):
            wire.source_from(message, "source")


def test_a_filter_allows_evidence_only_unless_asked() -> None:
    assert wire.filter_from(memory_pb2.RecallFilter()).kinds == (SourceKind.TESTIMONY, SourceKind.DOCUMENT)
    asked = memory_pb2.RecallFilter(source_kinds=[pb.SOURCE_KIND_SELF], speakers=["Ada"], conversations=["c"])
    where = wire.filter_from(asked)
    assert (where.kinds, where.speakers, where.conversations) == ((SourceKind.SELF,), ("Ada",), ("c",))


@given(MOMENTS, MOMENTS, TEXTS, st.sampled_from(SourceKind), st.integers(0, 2**63 - 1))
def test_an_episode_is_told_whole(told_at: int, recorded_at: int, text: str, kind: SourceKind, seq: int) -> None:
    episode = Episode("id", "a", Source(kind, text), text, seq, text, text, told_at, text, recorded_at, seq)
    message = wire.episode_to(episode)
    assert wire.source_from(message.source, "") == episode.source
    assert wire.micros(message.told_at, "") == told_at
    assert wire.micros(message.recorded_at, "") == recorded_at
    for field in ("id", "namespace", "conversation", "position", "speaker", "text", "external_id", "seq"):
        assert getattr(message, field) == getattr(episode, field)


@pytest.mark.parametrize("target", [Entity("e2", "Rome"), "a word"])
def test_a_fact_is_told_whole(target: Entity | str) -> None:
    fact = Fact("f", Entity("e1", "Ada"), "lives_in", target, Interval(5, None), 6, 7, 8, True, "ep", 0.25)
    message = wire.fact_to(fact)
    assert (message.subject.id, message.subject.name, message.relation) == ("e1", "Ada", "lives_in")
    if isinstance(target, Entity):
        assert (message.WhichOneof("object"), message.entity.id, message.entity.name) == ("entity", "e2", "Rome")
    else:
        assert (message.WhichOneof("object"), message.literal) == ("literal", "a word")
    assert wire.interval_from(message.valid, "") == fact.valid
    assert (message.seq, message.retracted, message.episode_id, message.trust) == (8, True, "ep", 0.25)


# Pages


@given(st.binary(), st.integers(0, 2**63 - 1), INT64 | st.lists(INT64 | TEXTS, max_size=2))
def test_a_page_token_leads_back(query: bytes, seq: int, place: Any) -> None:
    assert wire.read_page_token(wire.page_token(query, seq, place), query) == (seq, place)


@given(st.binary(), st.binary())
def test_a_page_token_is_for_its_own_query(query: bytes, other: bytes) -> None:
    token = wire.page_token(query, 1, 0)
    if query != other:
        with pytest.raises(InvalidArgument, match="another query"):
            wire.read_page_token(token, other)


JSON = st.recursive(st.none() | st.booleans() | st.floats() | INT64 | TEXTS, st.lists, max_leaves=5)


@given(TEXTS | JSON.map(lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode()))
def test_any_other_token_is_refused(token: str) -> None:
    with pytest.raises(SapienceError) as caught:
        wire.read_page_token(token, b"a query")
    assert caught.value.field == "page_token"
    assert "begin again" in caught.value.message
