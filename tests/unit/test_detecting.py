"""The language of short sentences: named where it is clear, and none where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.segment.detecting import language_of
from perception.segment.languages import checked

SENTENCES = Path(__file__).resolve().parents[1] / "bench" / "data" / "languages" / "sentences.tsv"
ROWS = [line.split("\t") for line in SENTENCES.read_text(encoding="utf-8").splitlines()]


def test_short_sentences_are_named_rightly_or_not_at_all() -> None:
    named = [(language, language_of(text)) for language, text in ROWS]
    assert len({language for language, _ in ROWS}) >= 20
    assert sum(found == language for language, found in named) >= 0.9 * len(named)
    assert sum(found not in ("", language) for language, found in named) <= 0.01 * len(named)


@pytest.mark.parametrize(
    "text",
    ["OK", "No!", "Taxi", "Berlin", "Anna", "haha", "123", "3.50", "😀👍", "a", "", " \n", "x = y + 1;", "v2.0.1",
     "...", "https://example.org/a", "foo.bar()", "Paris, Rom, Berlin", "A1 B2"],
)  # fmt: skip
def test_what_is_in_no_language_or_in_many_is_not_named(text: str) -> None:
    assert language_of(text) == ""


@given(st.text(max_size=60))
def test_any_text_has_a_tag_or_none_and_always_the_same(text: str) -> None:
    found = language_of(text)
    assert checked(found) == found
    assert language_of(text) == found
