"""Calls of an encoder put together: each gets its own vectors, whoever else asks, leaves, or has too much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from sapience.v1 import concept_pb2

from core.errors import FailedPrecondition, ResourceExhausted, Unavailable
from core.nouns import Space
from perception.encoders.base import Encoded, Encoder, MultilingualEncoder
from services.perception.batching import Batcher, Cache, content_key
from services.perception.hosting import Hosted
from services.runtime.worker import Worker


def vector_of(text: str) -> np.ndarray:
    made = np.array([len(text), sum(text.encode()) % 97, 1.0], np.float32)
    return made / np.linalg.norm(made)


class Slow(Encoder):
    """Tells what it was asked, and computes when it is let."""

    space = Space("slow", "1", 3)
    max_tokens = 10

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may = threading.Event()
        self.may.set()
        self.fails = False

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        self.batches.append(list(texts))
        assert self.may.wait(30)
        if self.fails:
            raise FailedPrecondition("broken", reason="MODEL_OUTPUT_INVALID")
        cut = [len(text) > self.max_tokens for text in texts]
        return Encoded(np.stack([vector_of(text) for text in texts]), sum(cut), cut=cut)


class Polyglot(MultilingualEncoder):
    space = Space("polyglot", "1", 3)
    max_tokens = 10
    mean_length = 2.0
    languages = ("eng_Latn", "deu_Latn", "fra_Latn")

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def encode(self, texts: Sequence[str], *, query: bool = False, language: str = "") -> Encoded:
        self.asked.append((language, list(texts)))
        lengths = np.array([len(text) for text in texts], np.float32)
        return Encoded(np.stack([vector_of(text) for text in texts]), 0, lengths)


@pytest.fixture
async def slow():
    encoder = Slow()
    hosted = Hosted(concept_pb2.MODEL_KIND_ENCODER, "file:/slow", lambda: encoder, Worker("slow"))
    await hosted.get()
    yield encoder, hosted
    encoder.may.set()
    await hosted.close()


async def until(condition) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_each_call_gets_its_own_vectors_in_its_order(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted, batch_bytes=200)
    wanted = [[f"{'x' * (call % 7)}{call} {place}" for place in range(1 + call % 23)] for call in range(40)]
    found = await asyncio.gather(*(batcher.encode(texts) for texts in wanted))
    for texts, (encoded, cached) in zip(wanted, found, strict=True):
        np.testing.assert_array_equal(encoded.vectors, np.stack([vector_of(text) for text in texts]))
        assert encoded.truncated == sum(len(text) > 10 for text in texts)
        assert (encoded.lengths, cached) == (None, 0)
    assert len(encoder.batches) < 40
    assert sum(batcher.batches) == sum(map(len, wanted))
    await batcher.close()


async def test_what_arrives_while_it_computes_is_the_next_batch(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted)
    encoder.may.clear()
    calls = [asyncio.create_task(batcher.encode([f"text {number}"])) for number in range(9)]
    await until(lambda: encoder.batches)
    await asyncio.sleep(0.02)
    encoder.may.set()
    await asyncio.gather(*calls)
    assert [len(batch) for batch in encoder.batches] == [1, 8]
    await batcher.close()


async def test_a_short_call_is_not_behind_a_long_one(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted, batch_bytes=100)
    encoder.may.clear()
    long = asyncio.create_task(batcher.encode([f"{number:010}" for number in range(500)]))
    await until(lambda: encoder.batches)
    short = asyncio.create_task(batcher.encode(["short"]))
    await asyncio.sleep(0.01)
    encoder.may.set()
    await short
    assert not long.done()
    assert len(encoder.batches) <= 5
    encoded, _ = await long
    assert encoded.vectors.shape == (500, 3)
    await batcher.close()


async def test_a_call_that_is_cancelled_frees_its_place(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted, waiting_bytes=1000)
    encoder.may.clear()
    first = asyncio.create_task(batcher.encode(["first"]))
    await until(lambda: encoder.batches)
    leaver = asyncio.create_task(batcher.encode(["y" * 900]))
    await asyncio.sleep(0.01)
    with pytest.raises(ResourceExhausted, match="900 bytes of text wait") as refused:
        await batcher.encode(["z" * 200])
    assert (refused.value.reason, refused.value.retry_after_s) == ("BUSY", 0.5)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert not batcher._calls, "its texts are held no longer"
    stays = asyncio.create_task(batcher.encode(["z" * 200]))
    await asyncio.sleep(0.01)
    encoder.may.set()
    await asyncio.gather(first, stays)
    assert [text for batch in encoder.batches for text in batch] == ["first", "z" * 200]
    await batcher.close()


async def test_a_call_that_is_larger_than_all_that_may_wait_is_taken_alone(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted, waiting_bytes=10)
    encoded, _ = await batcher.encode(["a text of more than ten bytes"] * 3)
    assert encoded.vectors.shape == (3, 3)
    await batcher.close()


async def test_what_was_encoded_before_is_not_computed_again(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted, cache_bytes=10_000)
    await batcher.encode(["one", "a text that is long"])
    encoded, cached = await batcher.encode(["two", "a text that is long", "one"])
    assert cached == 2
    assert encoded.truncated == 1
    np.testing.assert_array_equal(
        encoded.vectors, np.stack([vector_of(text) for text in ("two", "a text that is long", "one")])
    )
    assert encoder.batches == [["one", "a text that is long"], ["two"]]
    await batcher.close()


async def test_a_fault_goes_to_those_whose_texts_it_met_and_the_next_call_is_served(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted, cache_bytes=10_000)
    encoder.fails = True
    found = await asyncio.gather(*(batcher.encode([f"t{number}"]) for number in range(3)), return_exceptions=True)
    assert all(isinstance(one, FailedPrecondition) for one in found)
    encoder.fails = False
    encoded, cached = await batcher.encode(["t1"])
    assert cached == 0
    np.testing.assert_array_equal(encoded.vectors[0], vector_of("t1"))
    await batcher.close()


async def test_calls_that_wait_when_it_stops_are_told_so(slow):
    encoder, hosted = slow
    batcher = Batcher(hosted)
    encoder.may.clear()
    calls = [asyncio.create_task(batcher.encode([f"text {number}"])) for number in range(4)]
    await until(lambda: encoder.batches)
    await asyncio.sleep(0.01)
    await batcher.close()
    encoder.may.set()
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in found[1:]] == [Unavailable] * 3


async def test_languages_are_in_batches_of_their_own():
    encoder = Polyglot()
    hosted = Hosted(concept_pb2.MODEL_KIND_ENCODER, "file:/polyglot", lambda: encoder, Worker("polyglot"))
    batcher = Batcher(hosted, cache_bytes=10_000)
    texts = [("de", "Gift"), ("en", "Gift"), ("de", "Rat"), ("en", "rat"), ("de", "Gift")]
    found = await asyncio.gather(*(batcher.encode([text], language) for language, text in texts))
    for (_, text), (encoded, _) in zip(texts, found, strict=True):
        assert encoded.lengths.tolist() == [len(text)]
    assert {language for language, _ in encoder.asked} == {"de", "en"}
    assert all(text.lower() in ("gift", "rat") for _, asked in encoder.asked for text in asked)
    _, cached = await batcher.encode(["Gift"], "fr")
    assert cached == 0
    await batcher.close()
    await hosted.close()


def test_a_cache_keeps_to_its_bytes_and_drops_the_least_recently_used():
    space = Space("s", "1", 250)
    keys = [content_key(space, "", str(number)) for number in range(5)]
    cache = Cache(4 * 1200)
    for number, key in enumerate(keys[:4]):
        cache.put(key, np.full(250, number, np.float32), truncated=False, length=1.0)
    assert cache.get(keys[0]) is not None
    cache.put(keys[4], np.full(250, 4, np.float32), truncated=True, length=1.0)
    assert cache.get(keys[1]) is None
    found = cache.get(keys[4])
    assert found is not None
    assert (found[0][0], found[1]) == (4, True)
    assert cache.nbytes == 4 * 1200
    nothing = Cache(0)
    nothing.put(keys[0], np.zeros(250, np.float32), truncated=False, length=1.0)
    assert (nothing.get(keys[0]), nothing.nbytes) == (None, 0)


def test_a_key_tells_spaces_languages_and_texts_apart():
    spaces = [Space("s", "1", 3), Space("s", "2", 3), Space("t", "1", 3)]
    keys = {content_key(space, language, text) for space in spaces for language in ("", "de") for text in ("a", "b")}
    assert len(keys) == 12
