"""What was made faster on the way of an Episode into the record says what it said before."""

from __future__ import annotations

import asyncio
import json
import re
import unicodedata
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from core.ids import NAMESPACE_CONCEPT, concept_id
from memory import analysis
from memory.record import rows
from services.memory.streaming import batches


@given(st.text(), st.integers(0, 1000))
def test_a_concepts_id_is_the_uuid5_of_its_place(episode: str, ordinal: int) -> None:
    name = f"{episode.encode('utf-8', 'ignore').decode()}/{ordinal}"
    assert concept_id(name.rpartition("/")[0], ordinal) == str(uuid.uuid5(NAMESPACE_CONCEPT, name))


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
