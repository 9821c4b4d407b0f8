"""Names in text, and which of them may mean the same."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ids import normalised_name
from memory.ingest.aliases import appositions, candidates, of_name
from memory.ingest.entities import names


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hey Caroline! Good to see you.", ["Caroline"]),
        ("We flew to New York with Anna Kowalski.", ["New York", "Anna Kowalski"]),
        ("Thanks, Melanie! That's kind.", ["Melanie"]),
        ("Anna said yes. Anna is kind.", ["Anna", "Anna"]),
        ("Hiking is fun. Honestly, I love it.", []),
        ("My sister Anna's dog Bruno is ill.", ["Anna", "Bruno"]),
        ("Dr. Smith works at the Museum of Modern Art.", ["Dr. Smith", "Museum of Modern Art"]),
        ("I'm off on Monday in July, OK?", []),
        ("Jean-Luc met Anna and Tom.", ["Jean-Luc", "Anna", "Tom"]),
        ("WHAT A DAY", []),
        ("We learn Swedish in Sweden.", ["Sweden"]),
        ("Zoë lives in Łódź, says Żaneta.", ["Zoë", "Łódź", "Żaneta"]),
        ("", []),
    ],
)
def test_what_is_named(text: str, expected: list[str]) -> None:
    found = names(text)
    assert [one.name for one in found] == expected
    assert all(text[one.start : one.end] == one.name for one in found)


@pytest.mark.parametrize(
    ("text", "name", "kind"),
    [
        ("my sister Anna", "Anna", "person"),
        ("our dog Bruno", "Bruno", "animal"),
        ("Bruno, but my van Erna", "Erna", "thing"),
        ("I stayed in Lisbon", "Lisbon", "place"),
        ("at Oxford University", "Oxford University", "organisation"),
        ("and Dr. Smith", "Dr. Smith", "person"),
        ("about Bruno", "Bruno", ""),
    ],
)
def test_of_which_kind(text: str, name: str, kind: str) -> None:
    assert {one.name: one.kind for one in names(text)}[name] == kind


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    found = names(text)
    assert all(text[one.start : one.end] == one.name for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


@pytest.mark.parametrize(
    ("name", "alias", "reason"),
    [
        ("Melanie", "Mel", "a short form"),
        ("William", "Bill", "a short form"),
        ("Dr. Smith", "Smith", "the same with a title"),
        ("John Smith", "Dr. Smith", "a title and the last name"),
        ("Anna Kowalski", "Anna", "the first of several names"),
        ("Zoë", "Zoe", None),
        ("Jean-Luc", "Jean Luc", "the same but for accents and marks"),
        ("World Health Organization", "WHO", "its first letters"),
    ],
)
def test_candidates(name: str, alias: str, reason: str | None) -> None:
    found = candidates([name, alias, "Bruno"])
    assert [{one.name, one.alias} for one in found] == ([] if reason is None else [{name, alias}])
    assert [one.reason for one in found] == ([] if reason is None else [reason])


def test_only_another_spelling_is_certain() -> None:
    found = candidates(["Melanie", "Mel", "Jean-Luc", "Jean Luc", "Anna", "Anna Kowalski", "Dr. Smith", "Smith"])
    assert {(one.name, one.alias) for one in found if one.certain} == {("Jean-Luc", "Jean Luc")}


def test_a_name_that_several_could_complete_scores_less() -> None:
    (alone,) = candidates(["Anna", "Anna Kowalski"])
    both = candidates(["Anna", "Anna Kowalski", "Anna Berg"])
    assert len(both) == 2
    assert all(one.score < alone.score for one in both)


def test_of_one_name_and_appositions() -> None:
    assert [one.alias for one in of_name("melanie", ["Mel", "Bruno", "Melanie"])] == ["Mel"]
    (one,) = appositions("Bruno, our old van, broke down.")
    assert (one.name, one.alias) == ("Bruno", "van")


written = st.sampled_from(
    ["Anna", "anna ", " ANNA", "Anna  Berg", "Mel", "Melanie", "Dr. Berg", "Berg", "Jo", "Joanna"]
)


@given(st.lists(written))
def test_no_candidate_is_one_name_twice(given_names: list[str]) -> None:
    found = candidates(given_names)
    pairs = [frozenset((normalised_name(one.name), normalised_name(one.alias))) for one in found]
    assert all(len(pair) == 2 for pair in pairs)
    assert len(set(pairs)) == len(pairs)
    assert all(0 < one.score < 1 for one in found)
    assert found == candidates(reversed(given_names))
