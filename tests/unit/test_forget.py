"""Retention is monotone and bounded; what is chosen is the least retained, and never what is held."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import DAY
from core.errors import InvalidArgument
from core.nouns import Concept, Episode, Keeping, Source, Space, StoredConcept
from memory.analysis import document_terms, episode_context
from memory.forget import Retained, choose, impressions, retained, retention
from perception.segment import segment

SPACE = Space("encoder", "1", 2)
T0 = 1_700_000_000_000_000

strengths = st.floats(0, 1e9)
surprises = st.floats(0, 1)
times = st.integers(-DAY, 200 * 365 * DAY)
counts = st.integers(0, 10**9)
known = st.tuples(strengths, surprises, times, counts, st.none() | times)


def told(text: str, number: int = 0, *, speaker: str = "Ann", conversation: str = "c", at: int = T0) -> Episode:
    return Episode(f"e{number}", "a", Source(), conversation, number, speaker, text, at, "", 0, number + 1)


def perceived(episode: Episode) -> tuple[Episode, list[StoredConcept]]:
    context = episode_context(episode.speaker, episode.told_at)
    return episode, [
        StoredConcept(
            Concept(f"{episode.id}/{ordinal}", episode.id, ordinal, span),
            SPACE,
            np.array([1, 0], np.float32),
            document_terms(span.text, context),
        )
        for ordinal, span in enumerate(segment(episode.text))
    ]


def left_by(*episodes: Episode) -> dict[str, tuple[float, float]]:
    found = impressions(perceived(one) for one in episodes)
    return {key: (one.strength, one.surprise) for key, one in found.items()}


@given(known)
def test_retention_is_between_0_and_1(one: tuple[float, float, int, int, int | None]) -> None:
    assert 0 <= retention(*one) <= 1


@given(known, strengths)
def test_what_is_stronger_is_retained_better_at_every_age(
    one: tuple[float, float, int, int, int | None], more: float
) -> None:
    strength, *rest = one
    assert retention(strength + more, *rest) >= retention(strength, *rest)


@given(known, surprises)
def test_what_surprised_more_is_retained_better(one: tuple[float, float, int, int, int | None], other: float) -> None:
    strength, surprise, *rest = one
    low, high = sorted((surprise, other))
    assert retention(strength, high, *rest) >= retention(strength, low, *rest)


@given(known, counts)
def test_what_was_used_more_is_retained_better(one: tuple[float, float, int, int, int | None], more: int) -> None:
    strength, surprise, age, uses, since = one
    assert retention(strength, surprise, age, uses + more, since) >= retention(strength, surprise, age, uses, since)


@given(known, st.integers(0, 100 * 365 * DAY))
def test_what_is_older_is_retained_less(one: tuple[float, float, int, int, int | None], more: int) -> None:
    strength, surprise, age, uses, since = one
    assert retention(strength, surprise, age + more, uses, since) <= retention(strength, surprise, age, uses, since)


@given(known, times, st.integers(0, 100 * 365 * DAY))
def test_what_was_used_longer_ago_is_retained_less(
    one: tuple[float, float, int, int, int | None], since: int, more: int
) -> None:
    strength, surprise, age, uses, _ = one
    assert retention(strength, surprise, age, uses, since + more) <= retention(strength, surprise, age, uses, since)


def test_a_use_and_a_strong_memory_count_alike_when_new() -> None:
    assert retention(30, 0, 0) == retention(0, 0, 10**15, uses=1, since_use=0) == 0.5


def test_forgetting_is_a_power_of_time_and_not_an_exponential() -> None:
    """The share lost in a year shrinks with age: four years later the odds are halved once, not four times."""
    year = 365 * DAY

    def odds(age: int) -> float:
        kept = retention(30, 0, age)
        return kept / (1 - kept)

    assert odds(3 * year) == pytest.approx(odds(0) / 2)
    assert odds(15 * year) == pytest.approx(odds(3 * year) / 2)


def test_an_episode_that_says_more_is_stronger() -> None:
    left = left_by(told("Thanks!"), told("We rented a wooden sailing boat near Lisbon in August.", 1))
    assert left["e0"][0] < left["e1"][0]


def test_a_question_says_nothing_yet_but_may_surprise() -> None:
    asked = left_by(told("Ann rented a wooden boat?"), told("Nothing new.", 1))["e0"]
    said = left_by(told("Ann rented a wooden boat."), told("Nothing new.", 1))["e0"]
    assert asked[0] == 0 < said[0]
    assert asked[1] == said[1]


def test_a_reply_takes_over_what_it_was_asked() -> None:
    question = told("What is the yacht called?", 0, speaker="Bea")
    answers = {
        "reply": told("Windflower.", 1),
        "same speaker": told("Windflower.", 1, speaker="Bea"),
        "elsewhere": told("Windflower.", 1, conversation="d"),
        "in no conversation": told("Windflower.", 1, conversation=""),
    }
    strength = {name: left_by(question, one)["e1"][0] for name, one in answers.items()}
    stated = told("The yacht is called.", 0, speaker="Bea")
    asked = left_by(stated, answers["elsewhere"])["e0"][0]
    assert strength["reply"] - strength["elsewhere"] == pytest.approx(asked)
    assert strength["same speaker"] == strength["elsewhere"] == strength["in no conversation"]


def test_the_first_mention_surprises_and_the_second_does_not() -> None:
    left = left_by(told("A wooden boat.", 1, at=T0 + 1), told("A wooden boat.", 0), told("A wooden hut.", 2, at=T0 + 2))
    assert [left[key][1] for key in ("e0", "e1", "e2")] == [1, 0, 0.5]


def test_who_spoke_and_when_is_no_strength() -> None:
    assert left_by(told("Hm.", 0, speaker="Ann"))["e0"] == left_by(told("Hm.", 0, speaker="Bartholomew Longname"))["e0"]


def test_an_episode_without_concepts_has_no_strength() -> None:
    assert impressions([(told("…"), [])])["e0"].strength == 0


def test_uses_and_holds_come_from_how_it_is_kept() -> None:
    said = [perceived(told("A wooden boat.")), perceived(told("A wooden boat.", 1))]
    keepings = {"e1": Keeping("e1", holds=("case",), uses=2, used_at=T0)}
    first, second = retained(said, keepings, T0)
    assert not first.held
    assert second.held
    assert second.retention > first.retention


def rated(*values: float, held: frozenset[int] = frozenset(), archived: frozenset[int] = frozenset()) -> list[Retained]:
    made = []
    for number, value in enumerate(values):
        episode = Episode(
            f"e{number}", "a", Source(), "", 0, "", "x", 0, "", 0, 1, archived_seq=9 if number in archived else 0
        )
        made.append(Retained(episode, value, number in held))
    return made


def ids(chosen: list[Retained]) -> list[str]:
    return [one.episode.id for one in chosen]


def test_the_least_retained_are_chosen_ties_by_id() -> None:
    assert ids(choose(rated(0.5, 0.1, 0.9, 0.1), share=0.75)) == ["e1", "e3", "e0"]
    assert ids(choose(rated(0.5, 0.1, 0.9, 0.1), threshold=0.5)) == ["e1", "e3"]


def test_what_is_held_is_never_chosen_and_what_is_archived_counts() -> None:
    some = rated(0.1, 0.2, 0.3, 0.4, held=frozenset({0}), archived=frozenset({1}))
    assert ids(choose(some, share=0.5)) == ["e2"]
    assert ids(choose(some, share=1)) == ["e2", "e3"]
    assert ids(choose(some, share=0.25)) == []
    assert ids(choose(some, threshold=1)) == ["e2", "e3"]


@given(st.lists(st.floats(0, 1), max_size=40), st.floats(0, 1), st.randoms())
def test_the_choice_does_not_depend_on_the_order_given_and_takes_no_more_than_the_share(
    values: list[float], share: float, random: object
) -> None:
    some = rated(*values)
    shuffled = list(some)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    chosen = choose(some, share=share)
    assert chosen == choose(shuffled, share=share)
    assert len(chosen) <= share * len(values) + 1e-5
    kept = {one.episode.id for one in some} - set(ids(chosen))
    assert all(one.retention <= some[int(key[1:])].retention for one in chosen for key in kept)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "share"),
        ({"share": 0.1, "threshold": 0.1}, "share"),
        ({"share": 2}, "share"),
        ({"threshold": -1}, "threshold"),
    ],
)
def test_a_bad_choice_is_refused(given: dict[str, float], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        choose([], **given)
    assert caught.value.field == field


def test_half_a_share_is_not_lost_to_rounding() -> None:
    assert len(choose(rated(*[0.5] * 10), share=0.3)) == 3
