"""Dates in text: what each way of saying one means, and what holds whatever is said."""

from __future__ import annotations

import os
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import Micros, micros, to_datetime
from core.errors import InvalidArgument
from core.nouns import Precision
from memory.ingest import calendar as cal
from memory.ingest.dates import Dated, dates

THURSDAY = micros(datetime(2023, 5, 25, 13, 14, tzinfo=UTC))
DAY, MONTH, YEAR, EXACT = Precision.DAY, Precision.MONTH, Precision.YEAR, Precision.EXACT

# What is said on Thursday 25 May 2023; its words, first day, last day (both included), precision.
SAID = [
    ("I ran a race last Saturday", "last Saturday", "2023-05-20", "2023-05-20", DAY),
    ("It was last Thursday", "last Thursday", "2023-05-18", "2023-05-18", DAY),
    ("It was last Tues. and fun", "last Tues.", "2023-05-23", "2023-05-23", DAY),
    ("See you next Thursday", "next Thursday", "2023-06-01", "2023-06-01", DAY),
    ("We fly this Saturday", "this Saturday", "2023-05-27", "2023-05-27", DAY),
    ("We did it this Monday", "this Monday", "2023-05-22", "2023-05-22", DAY),
    ("I saw her on Friday", "Friday", "2023-05-19", "2023-05-19", DAY),
    ("I will see her on Friday", "Friday", "2023-05-26", "2023-05-26", DAY),
    ("I can't wait for Friday", "Friday", "2023-05-26", "2023-05-26", DAY),
    ("It rained yesterday", "yesterday", "2023-05-24", "2023-05-24", DAY),
    ("The day before yesterday it snowed", "The day before yesterday", "2023-05-23", "2023-05-23", DAY),
    ("It starts the day after tomorrow", "the day after tomorrow", "2023-05-27", "2023-05-27", DAY),
    ("Three days ago", "Three days ago", "2023-05-22", "2023-05-22", DAY),
    ("A few days ago", "A few days ago", "2023-05-20", "2023-05-23", DAY),
    ("two weeks ago", "two weeks ago", "2023-05-08", "2023-05-14", DAY),
    ("a couple of weekends ago", "a couple of weekends ago", "2023-05-13", "2023-05-14", DAY),
    ("five months ago", "five months ago", "2022-12-01", "2022-12-31", MONTH),
    ("10 years ago", "10 years ago", "2013-01-01", "2013-12-31", YEAR),
    ("We leave in three days", "in three days", "2023-05-28", "2023-05-28", DAY),
    ("in a week's time", "in a week's time", "2023-05-29", "2023-06-04", DAY),
    ("six months from now", "six months from now", "2023-11-01", "2023-11-30", MONTH),
    ("last week", "last week", "2023-05-15", "2023-05-21", DAY),
    ("this week", "this week", "2023-05-22", "2023-05-28", DAY),
    ("next week", "next week", "2023-05-29", "2023-06-04", DAY),
    ("last weekend", "last weekend", "2023-05-20", "2023-05-21", DAY),
    ("Next month I start", "Next month", "2023-06-01", "2023-06-30", MONTH),
    ("last year", "last year", "2022-01-01", "2022-12-31", YEAR),
    ("over the past two weeks", "the past two weeks", "2023-05-11", "2023-05-25", DAY),
    ("last summer", "last summer", "2022-06-01", "2022-08-31", MONTH),
    ("the winter of 2020", "winter of 2020", "2020-12-01", "2021-02-28", MONTH),
    ("I was there in June", "June", "2022-06-01", "2022-06-30", MONTH),
    ("I was there in May", "May", "2023-05-01", "2023-05-31", MONTH),
    ("We will be there in June", "June", "2023-06-01", "2023-06-30", MONTH),
    ("last June", "last June", "2022-06-01", "2022-06-30", MONTH),
    ("July 2019 was hot", "July 2019", "2019-07-01", "2019-07-31", MONTH),
    ("back in 2016", "2016", "2016-01-01", "2016-12-31", YEAR),
    ("on 3 May", "3 May", "2023-05-03", "2023-05-03", DAY),
    ("on the 3rd of May, 2021", "3rd of May, 2021", "2021-05-03", "2021-05-03", DAY),
    ("June 5th, 2020", "June 5th, 2020", "2020-06-05", "2020-06-05", DAY),
    ("on June 5", "June 5", "2022-06-05", "2022-06-05", DAY),
    ("Sept. 5, 2021", "Sept. 5, 2021", "2021-09-05", "2021-09-05", DAY),
    ("2023-02-28", "2023-02-28", "2023-02-28", "2023-02-28", DAY),
    ("on 13/5/2023", "13/5/2023", "2023-05-13", "2023-05-13", DAY),
    ("the week of 3 May", "the week of 3 May", "2023-05-01", "2023-05-07", DAY),
    ("the weekend before 5 June 2023", "the weekend before 5 June 2023", "2023-06-03", "2023-06-04", DAY),
    ("The Friday before 3 May 2023", "The Friday before 3 May 2023", "2023-04-28", "2023-04-28", DAY),
    ("Christmas 2019", "Christmas 2019", "2019-12-25", "2019-12-25", DAY),
    ("at Easter last year", "Easter last year", "2022-04-17", "2022-04-17", DAY),
    ("Thanksgiving was fun", "Thanksgiving", "2022-11-24", "2022-11-24", DAY),
    ("on my birthday last year", "my birthday last year", "2022-03-09", "2022-03-09", DAY),
    ("from 2015 to 2018", "from 2015 to 2018", "2015-01-01", "2018-12-31", YEAR),
    ("2015-2018", "2015-2018", "2015-01-01", "2018-12-31", YEAR),
    ("between June and August 2020", "between June and August 2020", "2020-06-01", "2020-08-31", MONTH),
    ("We stayed from Monday to Friday", "from Monday to Friday", "2023-05-15", "2023-05-19", DAY),
    ("29 February", "29 February", "2020-02-29", "2020-02-29", DAY),
]  # fmt: skip


def only(text: str, at: Micros = THURSDAY, timezone: str = "UTC") -> Dated:
    (one,) = dates(text, at, timezone, {"birthday": (3, 9)})
    return one


@pytest.mark.parametrize(("text", "words", "first", "last", "precision"), SAID)
def test_what_it_means(text: str, words: str, first: str, last: str, precision: Precision) -> None:
    found = only(text)
    held = found.interval
    assert held.start is not None
    assert held.end is not None
    assert held.original_text == words
    assert text.encode()[found.start_byte : found.end_byte].decode() == words
    assert (to_datetime(held.start).date().isoformat(), held.precision) == (first, precision)
    assert (to_datetime(held.end) - timedelta(days=1)).date().isoformat() == last
    assert held.timezone == "UTC"


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("last night", "2023-05-24T18:00", "2023-05-25T06:00"),
        ("yesterday evening", "2023-05-24T18:00", "2023-05-25T00:00"),
        ("this morning", "2023-05-25T06:00", "2023-05-25T12:00"),
        ("Monday afternoon", "2023-05-22T12:00", "2023-05-22T18:00"),
        ("yesterday evening at 7:30", "2023-05-24T19:30", "2023-05-24T19:31"),
        ("tomorrow at 5 pm", "2023-05-26T17:00", "2023-05-26T17:01"),
        ("on June 5, 2021 at 17:05", "2021-06-05T17:05", "2021-06-05T17:06"),
    ],
)
def test_parts_of_a_day(text: str, start: str, end: str) -> None:
    held = only(text).interval
    assert held.start is not None
    assert held.end is not None
    assert to_datetime(held.start).isoformat().startswith(start)
    assert to_datetime(held.end).isoformat().startswith(end)


def test_open_ends() -> None:
    assert only("I have been here since June 2020").interval.end is None
    assert only("I stay until June 2024").interval.start is None
    assert only("until June 2024").interval.end == micros(datetime(2024, 7, 1, tzinfo=UTC))
    long = only("I've lived here for three years.").interval
    assert (long.start, long.end, long.precision) == (micros(datetime(2020, 5, 25, tzinfo=UTC)), None, YEAR)


@pytest.mark.parametrize(
    "text",
    [
        "I may march on", "someday", "recently", "the other day", "room 2023", "it costs $2,000", "4/5/2023",
        "12,000 years ago", "31 June", "my birthday party", "for three years of service", "sat in the sun", "",
    ],
)  # fmt: skip
def test_what_is_no_date(text: str) -> None:
    assert dates(text, THURSDAY) == []


def test_several_in_one_text() -> None:
    text = "Dr. Smith came on Monday. “Café” opened yesterday!"
    assert [one.interval.original_text for one in dates(text, THURSDAY)] == ["Monday", "yesterday"]
    assert all(
        text.encode()[one.start_byte : one.end_byte].decode() == one.interval.original_text
        for one in dates(text, THURSDAY)
    )


def test_the_day_is_that_of_the_timezone() -> None:
    late = micros(datetime(2023, 5, 25, 23, 30, tzinfo=UTC))  # the 26th in Berlin
    held = only("yesterday", late, "Europe/Berlin").interval
    assert held.start == micros(datetime(2023, 5, 25, tzinfo=ZoneInfo("Europe/Berlin")))
    assert held.end == micros(datetime(2023, 5, 26, tzinfo=ZoneInfo("Europe/Berlin")))
    assert held.timezone == "Europe/Berlin"


def test_a_day_of_the_change_of_clocks_has_the_hours_it_has() -> None:
    told = micros(datetime(2023, 3, 27, 12, tzinfo=UTC))
    held = only("yesterday", told, "Europe/Berlin").interval  # 26 March 2023: 23 hours
    assert held.start is not None
    assert held.end is not None
    assert held.end - held.start == 23 * 3_600_000_000


def test_an_unknown_timezone_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="Mars/Olympus"):
        dates("yesterday", THURSDAY, "Mars/Olympus")


def test_easter_of_known_years() -> None:
    known = {1961: (4, 2), 2000: (4, 23), 2018: (4, 1), 2024: (3, 31), 2038: (4, 25)}
    assert {year: (cal.easter(year).month, cal.easter(year).day) for year in known} == known


moments = st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)).map(micros)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata"])
sayings = st.sampled_from([text for text, *_ in SAID])


@given(sayings, moments, zones)
def test_days_begin_and_end_at_local_midnight(text: str, at: Micros, zone: str) -> None:
    for one in dates(text, at, zone, {"birthday": (3, 9)}):
        held = one.interval
        assert held.start is not None
        assert held.end is not None
        assert held.start < held.end
        for moment in (held.start, held.end):
            local = to_datetime(moment).astimezone(ZoneInfo(zone))
            assert (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
            if held.precision is MONTH:
                assert local.day == 1
            if held.precision is YEAR:
                assert (local.month, local.day) == (1, 1)


@given(moments, zones, st.sampled_from(cal.WEEKDAYS))
def test_last_is_before_and_next_is_after(at: Micros, zone: str, weekday: str) -> None:
    today = cal.local_day(at, ZoneInfo(zone))

    def named(text: str) -> date:
        start = only(text, at, zone).interval.start
        assert start is not None
        return to_datetime(start).astimezone(ZoneInfo(zone)).date()

    last, this, following = (named(f"{which} {weekday}") for which in ("last", "this", "next"))
    assert timedelta(days=1) <= today - last <= timedelta(days=7)
    assert timedelta(days=1) <= following - today <= timedelta(days=7)
    assert this.isocalendar()[:2] == today.isocalendar()[:2]
    assert {last.weekday(), this.weekday(), following.weekday()} == {cal.WEEKDAYS.index(weekday)}


@pytest.mark.parametrize("machine", ["Pacific/Kiritimati", "America/Adak"])
def test_the_timezone_of_the_machine_does_not_count(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [dates(text, THURSDAY, "Europe/Berlin") for text, *_ in SAID]
    try:
        monkeypatch.setitem(os.environ, "TZ", machine)
        time.tzset()
        assert [dates(text, THURSDAY, "Europe/Berlin") for text, *_ in SAID] == before
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.text(), st.integers(-(10**15), 4 * 10**15))
def test_any_text_is_read_and_spans_are_its_own_bytes(text: str, at: Micros) -> None:
    for one in dates(text, at):
        assert text.encode()[one.start_byte : one.end_byte].decode() == one.interval.original_text
