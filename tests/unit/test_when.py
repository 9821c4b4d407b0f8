"""Which periods a question names, and what was told near them."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import DAY, micros, to_datetime
from core.nouns import Episode, Interval, Source
from core.windows import EpisodeColumns
from memory.when import nearness, periods, says, time_channel


def at(year: int, month: int, day: int = 1) -> int:
    return micros(datetime(year, month, day, tzinfo=UTC))


def days(found: list[Interval]) -> list[tuple[str, str]]:
    """The first day of each period, and the first one after it."""
    return [
        (f"{to_datetime(one.start):%Y-%m-%d}", f"{to_datetime(one.end):%Y-%m-%d}")
        for one in found
        if one.start is not None and one.end is not None
    ]


def episode(text: str, told_at: int) -> Episode:
    return Episode("id", "home", Source(), "talk", 1, "Ada", text, told_at, "", told_at, 1)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What did Ada paint in May 2023?", [("2023-05-01", "2023-06-01")]),
        ("Whom did Ada meet on 3 July, 2022?", [("2022-07-03", "2022-07-04")]),
        ("What happened between August 11 and August 15 2023?", [("2023-08-11", "2023-08-16")]),
        ("When did Ada move?", []),
        ("What did Ada do last summer?", []),
    ],
)
def test_a_date_of_the_calendar_needs_no_time_of_the_question(question: str, expected: list[tuple[str, str]]) -> None:
    assert days(periods(question, None, [at(2019, 3)])) == expected


def test_what_comes_every_year_is_looked_for_in_each_that_something_was_told_in() -> None:
    told_at = [at(2021, 8), at(2023, 2)]
    assert days(periods("When did Ada go camping in July?", None, told_at)) == [
        ("2020-07-01", "2020-08-01"),
        ("2021-07-01", "2021-08-01"),
        ("2022-07-01", "2022-08-01"),
        ("2023-07-01", "2023-08-01"),
    ]
    christmas = days(periods("What did Ada get for Christmas?", at(2030, 1), [at(2022, 1, 2)]))
    assert christmas == [("2021-12-25", "2021-12-26"), ("2022-12-25", "2022-12-26")]


def test_what_is_counted_from_the_question_is_read_with_its_time_only() -> None:
    question = "What did Ada do two weeks ago?"
    assert periods(question, None, [at(2023, 5)]) == []
    (found,) = periods(question, at(2023, 5, 20), [at(2019, 5)])
    assert days([found]) == [("2023-05-01", "2023-05-08")]
    assert days(periods("Where was Ada last July?", at(2023, 5, 20), [at(2019, 5)])) == [("2022-07-01", "2022-08-01")]


@given(st.integers(-400, 400), st.integers(-400, 400))
def test_the_nearer_the_telling_the_higher_the_score(one: int, other: int) -> None:
    period = Interval(at(2023, 5), at(2023, 6))
    scores = nearness([at(2023, 5, 16) + days * DAY for days in (one, other)], [period])
    assert ((scores >= 0) & (scores <= 1)).all()
    gaps = [max(0, -15 - days, days - 16) for days in (one, other)]
    assert (scores[0] > scores[1] - 1e-12) if gaps[0] <= gaps[1] else (scores[0] < scores[1] + 1e-12)


def test_within_a_period_is_1_and_a_week_off_a_third() -> None:
    scores = nearness([at(2023, 5, 3), at(2023, 6, 8), at(2022, 1)], [Interval(at(2023, 5), at(2023, 6))])
    assert scores == pytest.approx([1, math.exp(-1), 0], abs=1e-6)
    assert nearness([at(1999, 1), at(2024, 1)], [Interval(at(2023, 5), None)]) == pytest.approx([0, 1], abs=1e-6)
    assert nearness([at(1999, 1)], [Interval(None, at(2023, 5))]) == pytest.approx([1])
    assert (nearness([at(1999, 1)], []) == np.zeros(1)).all()


def test_a_date_that_is_said_counts_where_it_lies_within() -> None:
    may = [Interval(at(2023, 5), at(2023, 6))]
    assert says(episode("We met on 12 May 2023.", at(2024, 2)), may)
    assert says(episode("Last month we met.", at(2023, 6, 9)), may)
    assert not says(episode("We met on 12 June 2023.", at(2024, 2)), may)
    assert not says(episode("We met in 2023.", at(2024, 2)), may), "a year says little of a month"
    assert not says(episode("We met.", at(2023, 5, 5)), may)


def test_the_channel_is_there_for_a_question_that_names_a_period() -> None:
    told = EpisodeColumns.of("a", [episode("We moved.", at(2023, 5, 9)), episode("In May 2023 we moved.", at(2024, 9))])
    assert time_channel(1.0, "Where did Ada move?", at(2024, 1), told) == []
    (near,) = time_channel(0.5, "Where did Ada move in May 2023?", None, told)
    assert (near.name, near.weight) == ("time", 0.5)
    assert near.scores == pytest.approx([1, 0], abs=1e-6)
    (said,) = time_channel(0.5, "Where did Ada move in May 2023?", None, told, said=True)
    assert said.scores == pytest.approx([1, 1])
