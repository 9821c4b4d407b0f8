"""What becomes of text before it is matched."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import DAY
from core.errors import InvalidArgument
from core.nouns import TermStatistics
from memory.analysis import (
    AVERAGE_TERMS,
    K1,
    B,
    document_terms,
    episode_context,
    idf,
    named_speakers,
    query_terms,
    terms,
    without_names,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Dogs", "dog"),
        ("running", "RUNS"),
        ("Straße", "STRASSE"),
        ("café", "cafe\u0301s"),
        ("résumé", "resume"),
        ("Ada's", "ada"),
        ("Ada\u2019s", "ada"),
        ("\uff12\uff10\uff12\uff13", "2023"),
    ],
)
def test_forms_of_a_word_are_one_term(one: str, other: str) -> None:
    assert terms(one) == terms(other) != []


def test_words_that_only_make_a_question_are_left_out() -> None:
    assert query_terms("What did you do, and why didn't they? She'd've known!") == query_terms("known")
    assert query_terms("Which one?") == query_terms("one")


def test_a_month_that_is_a_verb_too_stays() -> None:
    assert terms("May") != []


def test_text_without_spaces_is_matched_by_pairs_of_characters() -> None:
    assert set(terms("東京タワー")) & set(terms("東京に行った"))
    assert len(terms("猫")) == 1
    assert terms("GPU東京") == terms("GPU 東京")


def test_other_languages_have_their_own_stems_and_no_stop_words() -> None:
    assert terms("Häuser", "german") == terms("Haus", "german")
    assert len(terms("where", "german")) == 1
    assert terms("l'eau", "french")[1:] == terms("eau", "french")


def test_an_unknown_language_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="'klingon'; one of arabic") as error:
        terms("nuqneH", "klingon")
    assert error.value.field == "language"


def test_term_ids_never_change() -> None:
    assert terms("harbour") == [int.from_bytes(bytes.fromhex("9e40df4b"), "big")]


def test_threads_get_the_same_terms() -> None:
    words = [f"{stem}{ending}" for stem in ("walk", "harbour", "paint") for ending in ("s", "ed", "ing")] * 50
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(terms, words)) == [terms(word) for word in words]


@given(st.text())
def test_document_terms_are_ascending_unique_and_bounded(text: str) -> None:
    found = document_terms(text)
    assert list(found.indices) == sorted(set(terms(text)))
    assert all(0 <= index < 2**32 for index in found.indices)
    assert all(0 < value < K1 + 1 for value in found.values)


def test_the_weight_is_that_of_bm25() -> None:
    (term,) = terms("boat")
    found = document_terms("boat boat engine")
    expected = 2 * (K1 + 1) / (2 + K1 * (1 - B + B * 3 / AVERAGE_TERMS))
    assert dict(zip(found.indices, found.values, strict=True))[term] == pytest.approx(expected)


def test_context_adds_terms_but_no_length() -> None:
    bare, known = document_terms("bought a boat"), document_terms("bought a boat", "Ada")
    weights = dict(zip(known.indices, known.values, strict=True))
    assert {term: weights[term] for term in bare.indices} == dict(zip(bare.indices, bare.values, strict=True))
    assert set(known.indices) - set(bare.indices) == set(terms("Ada"))


def test_the_context_of_an_episode_is_its_speaker_and_day() -> None:
    assert episode_context("Ada Lovelace", 19_480 * DAY) == "Ada Lovelace 3 May 2023"
    assert set(query_terms("on May 3, 2023")) <= set(terms(episode_context("", 19_480 * DAY)))


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_idf_falls_with_document_frequency_and_is_never_negative(concepts: int, holding: int) -> None:
    holding = min(holding, concepts)
    statistics = TermStatistics(concepts, {1: holding, 2: max(0, holding - 1)})
    assert 0 <= idf(statistics, 1) <= idf(statistics, 2) <= idf(statistics, 3)


def test_idf_is_that_of_bm25() -> None:
    assert idf(TermStatistics(10, {7: 3}), 7) == pytest.approx(math.log(1 + 7.5 / 3.5))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("What did Ada paint?", "What did paint?"),
        ("What is ADA's boat called?", "What is boat called?"),
        ("Where is Ben Marsh\u2019s sister?", "Where is sister?"),
        ("Where did Ben go?", "Where did go?"),
        ("Adamant Benches", "Adamant Benches"),
        ("Is the doctor in?", "Is in?"),
        ("Who is the best?", "Who is the best?"),
        ("Ada?", "Ada?"),
        ("Ada and Ben", "and"),
        ("", ""),
    ],
)
def test_names_are_taken_out(text: str, left: str) -> None:
    assert without_names(text, ["Ada", "Ben Marsh", "The Doctor"]) == left


def test_a_name_that_is_a_common_word_needs_its_capital() -> None:
    assert without_names("When will Will sail?", ["Will"]) == "When will sail?"


def test_speakers_are_named_in_full_or_by_first_name() -> None:
    speakers = ["Ada", "Ben Marsh", "Ben Stone", "The Doctor", ""]
    assert named_speakers("Did ada's boat sink?", speakers) == {"Ada"}
    assert named_speakers("What about Ben?", speakers) == {"Ben Marsh", "Ben Stone"}
    assert named_speakers("What about Ben Stone?", speakers) == {"Ben Stone"}
    assert named_speakers("What about the marsh?", speakers) == frozenset()


@given(st.text(), st.lists(st.text(max_size=12), max_size=4))
def test_taking_names_out_never_leaves_nothing(text: str, speakers: list[str]) -> None:
    left = without_names(text, speakers)
    assert left == text or any(character.isalnum() for character in left)
    assert set(left.split()) <= set(text.split()) or len(left) < len(text)
