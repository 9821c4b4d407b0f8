"""What was made faster on the way of an Episode into the record says what it said before."""

from __future__ import annotations

import asyncio
import json
import math
import re
import unicodedata
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sapience.v1 import concept_pb2 as pb

from core.clock import EARLIEST, LATEST, to_datetime
from core.errors import InvalidArgument
from core.ids import NAMESPACE_CONCEPT, concept_id, uuid5
from core.nouns import Float32, PerceivedConcept, PerceivedEpisode, Source, Space, Span, Sparse
from memory import analysis
from memory.record import rows
from services import wire
from services.memory.streaming import ahead, batches


@given(st.text(), st.integers(0, 1000))
def test_a_concepts_id_is_the_uuid5_of_its_place(episode: str, ordinal: int) -> None:
    name = f"{episode.encode('utf-8', 'ignore').decode()}/{ordinal}"
    assert concept_id(name.rpartition("/")[0], ordinal) == str(uuid.uuid5(NAMESPACE_CONCEPT, name))


@given(st.uuids(), st.text(st.characters(exclude_categories=["Cs"])))
def test_ids_made_of_names_are_those_of_the_standard_library(root: uuid.UUID, name: str) -> None:
    assert uuid5(root, name) == str(uuid.uuid5(root, name))


@given(st.lists(st.text() | st.integers() | st.none()))
def test_an_identity_is_the_digest_of_compact_json(parts: list[object]) -> None:
    said = json.dumps(parts, separators=(",", ":")).encode()
    assert rows.digest(*parts) == blake2b(said, digest_size=16).hexdigest()


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_text_has_the_words_of_the_general_rule(text: str) -> None:
    folded = unicodedata.normalize("NFKC", text).casefold()
    general = [analysis._ENGLISH_SUFFIX.sub("", word) for word in re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", folded)]
    assert list(analysis._words(text, "english")) == general


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 12))
def test_batches_keep_the_order_and_weigh_no_more_than_they_may(weights: list[int], most: int) -> None:
    async def items() -> AsyncIterator[int]:
        for one in weights:
            yield one

    async def taken() -> list[list[int]]:
        async with aclosing(batches(items(), most, lambda one: one)) as found:
            return [batch async for batch in found]

    found = asyncio.run(taken())
    assert [one for batch in found for one in batch] == weights
    assert all(sum(batch) <= most or len(batch) == 1 for batch in found)


@given(st.text(), st.text(max_size=40))
def test_term_weights_are_those_of_the_formula(text: str, context: str) -> None:
    said, known = analysis.terms(text), analysis.terms(context)
    frequency = Counter(said + known)
    discount = analysis.K1 * (1 - analysis.B + analysis.B * len(said) / analysis.AVERAGE_TERMS)
    weight = [frequency[one] * (analysis.K1 + 1) / (frequency[one] + discount) for one in sorted(frequency)]
    assert analysis.document_terms(text, context) == Sparse(tuple(sorted(frequency)), tuple(weight))


@given(st.lists(st.text(st.characters(max_codepoint=127), max_size=6)))
def test_terms_are_the_same_where_few_words_are_kept(words: list[str]) -> None:
    kept = [analysis.terms(word) for word in words]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "MOST_WORDS", 2)
        patch.setattr(analysis, "_terms_in", analysis._Terms)
        assert [analysis.terms(word) for word in words] == kept


@given(st.integers(EARLIEST, LATEST), st.text(max_size=8))
def test_the_context_of_an_episode_names_speaker_and_day(at: int, speaker: str) -> None:
    told = to_datetime(at)
    assert analysis.episode_context(speaker, at) == f"{speaker} {told.day} {told:%B} {told.year}"


TENSORS = st.builds(
    lambda batch, dtype, shape, cut: pb.Tensor(
        space="a", dtype=dtype, shape=shape or batch.shape, data=batch.tobytes()[cut:]
    ),
    hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4)), elements=st.floats(width=32))
    | st.integers(1, 4).map(lambda size: np.eye(size, dtype=np.float32))
    | st.just(np.array([[0.6, 0.8], [0.8, 0.600001]], np.float32)),
    st.sampled_from([pb.DTYPE_FLOAT32, pb.DTYPE_FLOAT32, pb.DTYPE_FLOAT16]),
    st.none() | st.lists(st.integers(-1, 4), max_size=3),
    st.sampled_from([0, 0, 0, 4]),
)


@given(st.lists(TENSORS, max_size=6), st.integers(1, 3))
def test_vectors_read_together_are_those_read_one_by_one(tensors: list[pb.Tensor], rows_each: int) -> None:
    def outcome(tensor: pb.Tensor, ready: Float32 | None) -> object:
        try:
            vectors, space = wire.tensor_from(tensor, rows_each, "v", ready)
        except InvalidArgument as error:
            return error.field, error.message
        return vectors.tobytes(), vectors.shape, vectors.dtype, space

    together = wire.unit_vectors_from(tensors)
    assert len(together) == len(tensors)
    for tensor, ready in zip(tensors, together, strict=True):
        assert outcome(tensor, ready) == outcome(tensor, None)


NUMBERS = st.floats(width=64, min_value=-1e39, max_value=1e39) | st.sampled_from([math.nan, math.inf])
VECTORS = hnp.arrays(
    st.sampled_from([np.float32, np.float64]), st.sampled_from([2, 2, 2, 3]), elements=st.floats(-1, 1)
)
SPARSE = st.builds(
    lambda ids, weights: Sparse(tuple(ids), tuple(weights)),
    st.lists(st.integers(0, 2**32 - 1), max_size=4, unique=True).map(sorted)
    | st.lists(st.integers(-1, 2**64), max_size=3),
    st.lists(st.floats(0, 9), min_size=4, max_size=4) | st.lists(NUMBERS, max_size=4),
).flatmap(lambda one: st.sampled_from([one, Sparse(one.indices, one.values[: len(one.indices)])]))


@given(st.lists(st.tuples(VECTORS, SPARSE), max_size=5), st.booleans())
def test_a_batch_is_packed_as_its_concepts_are_one_by_one(parts: list[tuple[Float32, Sparse]], infinite: bool) -> None:
    space = Space("a", "1", 2)
    if infinite and parts:
        parts[-1][0][0] = math.inf
    told = [
        PerceivedEpisode(Source(), "Rain.", 1, (PerceivedConcept(Span("Rain.", 0, 5), vector, terms),))
        for vector, terms in parts
    ]

    def outcome(ready: bool) -> object:
        with pytest.MonkeyPatch.context() as patch:
            if not ready:
                patch.setattr(rows, "packed_vectors", lambda *_: None)
            try:
                return rows.pack(space, told)
            except InvalidArgument as error:
                return error.field, error.message

    assert outcome(ready=True) == outcome(ready=False)


@given(st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=4, unique=True)))
def test_terms_are_counted_by_concept(held: list[list[int]]) -> None:
    counts = rows.term_counts(np.array(ids, "<u4").tobytes() for ids in held)
    assert counts == Counter(term for ids in held for term in ids)
    assert list(counts) == sorted(counts)


@given(st.integers(0, 6), st.integers(0, 6), st.booleans())
def test_what_is_made_ahead_comes_in_order_and_a_fault_comes_where_its_item_would(
    count: int, fault: int, in_items: bool
) -> None:
    made: list[int] = []

    async def items() -> AsyncIterator[int]:
        for one in range(count):
            if in_items and one == fault:
                raise LookupError(one)
            yield one

    async def prepare(one: int) -> str:
        if not in_items and one == fault:
            raise LookupError(one)
        made.append(one)
        return str(one)

    async def taken() -> tuple[list[str], list[int], bool]:
        found, seen = [], []
        try:
            async with aclosing(ahead(items(), prepare)) as ready:
                async for one in ready:
                    found.append(one)
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    seen.append(len(made))
        except LookupError:
            return found, seen, True
        return found, seen, False

    found, seen, failed = asyncio.run(taken())
    good = min(count, fault)
    assert found == [str(one) for one in range(good)]
    assert failed is (fault < count)
    assert seen == [min(place + 2, good) for place in range(good)], "one is made ahead, and no more"


def test_what_is_made_ahead_ends_with_who_takes_it() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def taken() -> bool:
        ended = asyncio.Event()

        async def prepare(one: int) -> int:
            if one == 2:
                try:
                    await asyncio.sleep(60)
                finally:
                    ended.set()
            return one

        async with aclosing(ahead(items(), prepare)) as ready:
            assert await anext(ready) == 1
            await asyncio.sleep(0.01)
        return ended.is_set()

    assert asyncio.run(taken())


@given(st.lists(st.tuples(st.text(st.sampled_from("aAbé 's.東") | st.characters()), st.text(max_size=6)), max_size=6))
def test_terms_of_many_texts_are_those_of_each(told: list[tuple[str, str]]) -> None:
    found = analysis.documents_terms([text for text, _ in told], [context for _, context in told])
    assert found == [analysis.document_terms(text, context) for text, context in told]
    assert all(type(one) is int for sparse in found for one in sparse.indices)
