"""Dates in English text, made absolute against the time of telling: "last Saturday", "two weeks ago", "3 May".

Every date is an `Interval` in the timezone given, with its own words and their place. What the words mean, where people
differ, is fixed here:

- **last Saturday** is the latest Saturday before the day of telling; **next Saturday** the first one after it; **this
  Saturday** the one of the running week (Monday to Sunday).
- A bare **Saturday**, **June** or **5 June** is the nearest one in the direction that the sentence speaks of: before
  the day of telling, unless it speaks of the future ("will", "going to", "can't wait").
- **last week** is the calendar week before, **last month** and **last year** likewise; **two weeks ago** is the
  calendar week that holds the day two weeks before, **two months ago** the calendar month, **three years ago** the
  calendar year. Days are counted exactly.
- A **few** or **several** are two to five.
- **since June** has no end; **until June** ends when June does.
- **4/5/2023** may be a day in April or in May and is not read; 13/5/2023 is.
- A part of a day has the precision of a day: its interval says which part.

What is too vague ("recently", "the other day"), or names no date ("someday"), is left alone. A birthday is known where
the caller says which day it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from core.clock import Micros
from core.nouns import Interval, Precision
from memory.ingest import calendar as cal
from memory.ingest.calendar import Period
from memory.ingest.date_rules import RULES, WEEKDAY, WORTH, Told
from memory.ingest.sentences import sentences, words_of


@dataclass(frozen=True, slots=True)
class Dated:
    """A date as a text says it: bytes [start_byte, end_byte) of the text's UTF-8 are `interval.original_text`."""

    interval: Interval
    start_byte: int
    end_byte: int


def dates(
    text: str,
    told_at: Micros,
    timezone: str = "UTC",
    anniversaries: Mapping[str, tuple[int, int]] | None = None,
) -> list[Dated]:
    """Every date that the text names, in order, none overlapping another.

    `anniversaries` maps lower-case words after "my" ("birthday", "wedding anniversary") to a month and a day. Raises
    InvalidArgument for an unknown timezone.
    """
    zone = cal.zone_of(timezone)
    if WORTH.isdisjoint(words_of(text)):
        return []
    today = cal.local_day(told_at, zone)
    found: list[tuple[int, int, Period]] = []
    for start, end in sentences(text):
        words = words_of(text[start:end])
        if not WORTH.isdisjoint(words):
            told = Told(today, looks_ahead(text[start:end]), anniversaries)
            found += _in_sentence(text, start, end, words, told)
    plain = text.isascii()
    dated = []
    for start, end, period in found:
        said = text[start:end]
        try:
            held = cal.interval(period, said, timezone)
        except OverflowError:  # "12,000 years ago" is no day of this calendar
            continue
        first = start if plain else len(text[:start].encode())
        dated.append(Dated(held, first, first + (len(said) if plain else len(said.encode()))))
    return dated


def looks_ahead(sentence: str) -> bool:
    """Whether a sentence speaks of what is to come."""
    return _AHEAD.search(sentence) is not None


_AHEAD = re.compile(
    r"\b(?:will|shall|gonna|upcoming|soon|tomorrow|tonight|can(?:'|\u2019)?t wait|looking forward|about to|going to|"
    r"hop(?:e|ing) to|plan(?:s|ning)? (?:to|on|for)|excited (?:for|about)|next)\b|['\u2019]ll\b",
    re.IGNORECASE,
)

# What may stand before a date and change it, and a time of day after it.
_AROUND = re.compile(rf"\b(?:the )?(week|weekend|{WEEKDAY}|day|night)(?: (of|before|after))? (?:the )?$", re.IGNORECASE)
_BOUND = re.compile(r"\b(since|until|till|through|from|between)(?: about| around)? (?:the )?$", re.IGNORECASE)
_TO = re.compile(r"(?: ?- ?| ?\u2013 ?| (?:to|until|till|through|and) )(?:the )?", re.IGNORECASE)
_AT = re.compile(r",? (?:at|around) (\d{1,2})(?::(\d\d))?(?: ?([ap])\.?m\b\.?)?(?!\w)", re.IGNORECASE)


def _in_sentence(text: str, start: int, end: int, words: set[str], told: Told) -> list[tuple[int, int, Period]]:
    candidates: list[tuple[int, int, Period]] = []
    for rule in RULES:
        if rule.worth.isdisjoint(words):
            continue
        for match in rule.pattern.finditer(text, start, end):
            try:
                period = rule.resolve(match, told)
            except (ValueError, OverflowError):  # "31 June", "900 years ago"
                continue
            if period is not None:
                candidates.append((_begin(match), match.end(), period))
    # The longest of those that begin first; "5 June 2023" before "5 June" and "2023".
    candidates.sort(key=lambda one: (one[0], -one[1]))
    chosen: list[tuple[int, int, Period]] = []
    for one in candidates:
        if not chosen or one[0] >= chosen[-1][1]:
            chosen.append(one)
    wide: list[tuple[int, int, Period]] = []
    for one in chosen:
        one = _widened(text, start, end, one)
        while wide and wide[-1][1] > one[0]:  # the Friday of "the Friday before 3 May"
            wide.pop()
        wide.append(one)
    return _bounded(text, start, wide)


def _begin(match: re.Match[str]) -> int:
    """Where the words of the date begin: prepositions that a rule asks for are not among them."""
    return match.start("said") if "said" in match.re.groupindex and match["said"] else match.start()


def _widened(text: str, start: int, end: int, one: tuple[int, int, Period]) -> tuple[int, int, Period]:
    """With what stands around a day: "the week of", "the Friday before", "at 5 pm"."""
    first, last, period = one
    if period.precision is Precision.DAY and period.first == period.last:
        before = _AROUND.search(text, start, first)
        if before is not None and before.end() == first:
            moved = _around(before[1].lower(), (before[2] or "").lower(), period.first)
            if moved is not None:
                return before.start(), last, moved
        after = _AT.match(text, last, end)
        minutes = None if after is None else _clock(after, period)
        if after is not None and minutes is not None:
            exact = replace(period, part=(minutes, minutes + 1), precision=Precision.EXACT)
            return first, after.end(), exact
    return one


def _around(what: str, side: str, of: date) -> Period | None:
    step = {"": 0, "of": 0, "before": -1, "after": 1}[side]
    if what == "week":
        return cal.week(of + timedelta(weeks=step)) if side else None
    if what == "weekend":
        return cal.weekend(of + timedelta(weeks=step)) if side else None
    if not step:
        return None
    if what in ("day", "night"):
        there = cal.day(of + timedelta(days=step))
        return cal.with_part(there, "night") if what == "night" else there
    index = cal.WEEKDAYS.index(what.title())
    if step < 0:
        return cal.day(of - timedelta(days=(of.weekday() - index) % 7 or 7))
    return cal.day(of + timedelta(days=(index - of.weekday()) % 7 or 7))


def _clock(match: re.Match[str], period: Period) -> int | None:
    """Minutes from midnight; None where neither a half of the day nor minutes make it a time."""
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    elif match[2] is None:
        return None
    elif period.part is not None and period.part[0] >= 12 * 60 and hour < 12:
        hour += 12  # "yesterday evening at 7:30"
    return hour * 60 + minute if hour < 24 and minute < 60 else None


def _bounded(text: str, start: int, found: Sequence[tuple[int, int, Period]]) -> list[tuple[int, int, Period]]:
    """Joins the two ends of a range, and opens an end where a word says so."""
    joined: list[tuple[int, int, Period]] = []
    place = 0
    while place < len(found):
        first, last, period = found[place]
        bound = _BOUND.search(text, start, first)
        word = bound[1].lower() if bound is not None and bound.end() == first else ""
        if place + 1 < len(found) and word in ("from", "between", ""):
            after, end, other = found[place + 1]
            to = _TO.fullmatch(text, last, after)
            if to is not None and (word or not to[0].strip().isalpha()):
                begin = bound.start() if bound is not None and word else first
                joined.append((begin, end, _range(period, other, _DIGITS4.search(text, first, last) is not None)))
                place += 2
                continue
        if word == "since" and bound is not None and not period.open_end:
            joined.append((bound.start(), last, replace(period, open_end=True)))
        elif word in ("until", "till", "through") and bound is not None:
            joined.append((bound.start(), last, replace(period, open_start=True)))
        else:
            joined.append((first, last, period))
        place += 1
    return joined


_DIGITS4 = re.compile(r"\d{4}")


def _range(one: Period, other: Period, has_year: bool) -> Period:
    """From the one to the other; an end that names no year, or no week, is taken from beside the other end."""
    begin, end = one.first, other.last
    weekdays = one.precision is Precision.DAY and abs((begin - end).days) < 7
    if begin > end and weekdays:
        begin -= timedelta(days=7)
    elif not has_year and one.precision is not Precision.YEAR:
        begin = cal.same_day_months(begin, 12 * (end.year - begin.year))
        begin = cal.same_day_months(begin, -12) if begin > end else begin
    if begin > end:
        begin, end = other.first, one.last
    return Period(begin, end, max(one.precision, other.precision))
