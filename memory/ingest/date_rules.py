"""The ways to say a date in English, as a table: a pattern, and the period that what it matched means.

A period is counted from the day of telling. What a sentence does around a date ("since", "the week before") is not
said here, nor are timezones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

from core.nouns import Precision
from memory.ingest import calendar as cal
from memory.ingest.calendar import Period


@dataclass(frozen=True, slots=True)
class Told:
    """What a date is counted from: the local day of telling, whether the sentence looks ahead, and known birthdays."""

    today: date
    ahead: bool = False
    anniversaries: Mapping[str, tuple[int, int]] | None = None


Resolve = Callable[[re.Match[str], Told], Period | None]


# The pieces that rules are made of. Names of months and days are capitalised: "may" and "march" are verbs, "sat" too.
_MONTH = "|".join([*cal.MONTHS, *(f"{name[:3]}\\b\\.?" for name in cal.MONTHS if name != "May"), r"Sept\b\.?"])
_MONTHS = "|".join(cal.MONTHS)
WEEKDAY = "|".join(cal.WEEKDAYS)
_SEASON = "|".join(cal.SEASONS)
_PART = "|".join(cal.PARTS)
_NUMBERS = {
    word: number
    for number, words in enumerate(
        ["", "one|a|an", "two|couple|couple of|a couple of|a couple", "three", "four", "five", "six", "seven", "eight",
         "nine", "ten", "eleven", "twelve"]
    )
    for word in words.split("|")
    if word
}  # fmt: skip
_FEW = ("few", "a few", "several")
_NUMBER = "|".join([r"\d{1,3}", *sorted([*_NUMBERS, *_FEW], key=len, reverse=True)])
_HOLIDAY = "|".join(
    re.escape(name.title().replace("'S", "'s")).replace("'", "['\u2019]?")
    for name in sorted(cal.HOLIDAYS, key=len, reverse=True)
)
_YEAR = r"(?:19|20)\d\d"
_NTH = r"(\d{1,2})(?:st|nd|rd|th)?"


def _month_of(name: str) -> int:
    return next(number for number, month in enumerate(cal.MONTHS, 1) if month.startswith(name[:3].title()))


def _counted(word: str) -> tuple[int, int]:
    """The least and the greatest number that a word stands for."""
    word = word.lower()
    if word in _FEW:
        return 2, 5
    number = int(word) if word.isdigit() else _NUMBERS[word]
    return number, number


def _near(told: Told, of_year: Callable[[int], Period]) -> Period:
    """What comes once a year, the nearest one in the direction of the sentence; the day of telling is in both."""
    this = of_year(told.today.year)
    if told.ahead:
        return this if this.last >= told.today else of_year(told.today.year + 1)
    return this if this.first <= told.today else of_year(told.today.year - 1)


def _iso(match: re.Match[str], told: Told) -> Period | None:
    return cal.day(date(int(match[1]), int(match[2]), int(match[3])))


def _numeric(match: re.Match[str], told: Told) -> Period | None:
    one, other = int(match[1]), int(match[2])
    if one <= 12 and other <= 12 and one != other:
        return None
    of_year = int(match[3]) + (2000 if len(match[3]) == 2 else 0)
    return cal.day(date(of_year, min(one, other), max(one, other)))


def _day_month(match: re.Match[str], told: Told) -> Period | None:
    return _named_day(_month_of(match[2]), int(match[1]), match[3], told)


def _month_day(match: re.Match[str], told: Told) -> Period | None:
    return _named_day(_month_of(match[1]), int(match[2]), match[3], told)


def _named_day(of_month: int, of_day: int, of_year: str | None, told: Told) -> Period:
    if of_year:
        return cal.day(date(int(of_year), of_month, of_day))
    if (of_month, of_day) == (2, 29):  # of a year that has one
        leap = told.today.year - told.today.year % 4
        if told.ahead and date(leap, 2, 29) < told.today:
            leap += 4
        return cal.day(date(leap, 2, 29))
    return _near(told, lambda number: cal.day(date(number, of_month, of_day)))


def _month_year(match: re.Match[str], told: Told) -> Period | None:
    return cal.month(date(int(match[2]), _month_of(match[1]), 1))


def _month_alone(match: re.Match[str], told: Told) -> Period | None:
    return _near(told, lambda number: cal.month(date(number, _month_of(match["said"]), 1)))


def _month_which(match: re.Match[str], told: Told) -> Period | None:
    which, this = match[1].lower(), cal.month(date(told.today.year, _month_of(match[2]), 1))
    if which == "last":
        return this if this.last < told.today.replace(day=1) else cal.month(this.first, -12)
    if which == "next":
        return this if this.first > told.today else cal.month(this.first, 12)
    return this


def _year(match: re.Match[str], told: Told) -> Period | None:
    return cal.year(int(match["said"] or match["alone"]))


def _years(match: re.Match[str], told: Told) -> Period | None:
    first, last = int(match[1]), int(match[2])
    return replace(cal.year(first), last=cal.year(last).last) if first < last else None


def _season_year(match: re.Match[str], told: Told) -> Period | None:
    return cal.season(match[1].lower(), int(match[2]))


def _season(match: re.Match[str], told: Told) -> Period | None:
    which, name = match[1].lower(), match[2].lower()
    this = cal.season(name, told.today.year)
    if which == "last":  # the latest that is over
        return this if this.last < told.today else cal.season(name, told.today.year - 1)
    if which == "next":
        return this if this.first > told.today else cal.season(name, told.today.year + 1)
    return this if this.first <= told.today or which == "this" else _near(told, lambda n: cal.season(name, n))


def _word(match: re.Match[str], told: Told) -> Period | None:
    ahead = {"yesterday": -1, "today": 0, "tonight": 0, "tomorrow": 1}
    word = match[0].lower()
    if word == "the day before yesterday":
        return cal.day(told.today - timedelta(days=2))
    if word == "the day after tomorrow":
        return cal.day(told.today + timedelta(days=2))
    first, _, part = word.partition(" ")
    there = cal.day(told.today + timedelta(days=ahead[first]))
    part = "evening" if first == "tonight" else part
    return cal.with_part(there, part) if part else there


def _this_part(match: re.Match[str], told: Told) -> Period | None:
    return cal.with_part(cal.day(told.today), match[1].lower())


def _last_night(match: re.Match[str], told: Told) -> Period | None:
    return cal.with_part(cal.day(told.today - timedelta(days=1)), "night")


def _ago(match: re.Match[str], told: Told) -> Period | None:
    return _distance(match[1], match[2], told, -1)


def _from_now(match: re.Match[str], told: Told) -> Period | None:
    return _distance(match[1] or match[3], match[2] or match[4], told, 1)


def _distance(count: str, unit: str, told: Told, sign: int) -> Period:
    least, most = _counted(count)
    one, other = sorted((sign * least, sign * most))
    unit = unit.lower()
    if unit == "day":
        return Period(told.today + timedelta(days=one), told.today + timedelta(days=other))
    if unit == "week":
        return _spanning(cal.week, told.today + timedelta(weeks=one), told.today + timedelta(weeks=other))
    if unit == "weekend":
        return _spanning(cal.weekend, told.today + timedelta(weeks=one), told.today + timedelta(weeks=other))
    if unit == "month":
        return replace(cal.month(told.today, one), last=cal.month(told.today, other).last)
    return replace(cal.year(told.today.year + one), last=date(told.today.year + other, 12, 31))


def _spanning(stretch: Callable[[date], Period], one: date, other: date) -> Period:
    return Period(stretch(one).first, stretch(other).last)


def _unit(match: re.Match[str], told: Told) -> Period | None:
    step = {"last": -1, "past": -1, "previous": -1, "this": 0, "next": 1, "coming": 1}[match[1].lower().split()[-1]]
    unit = match[2].lower()
    if unit == "weekend" and step == -1:  # the latest that is over: on a Sunday, the one a week before
        return cal.weekend(told.today - timedelta(weeks=1))
    return _distance("1", unit, told, step) if step else _distance("0", unit, told, 1)


def _over_past(match: re.Match[str], told: Told) -> Period | None:
    begin = _back(match[1], match[2], told.today)
    return Period(begin, told.today, _PRECISIONS[match[2].lower()])


def _for_long(match: re.Match[str], told: Told) -> Period | None:
    begin = _back(match[2], match[3], told.today)
    return Period(begin, told.today, _PRECISIONS[match[3].lower()], open_end=True)


_PRECISIONS = {"day": Precision.DAY, "week": Precision.DAY, "month": Precision.MONTH, "year": Precision.YEAR}


def _back(count: str, unit: str, today: date) -> date:
    _, most = _counted(count)
    unit = unit.lower()
    if unit in ("day", "week"):
        return today - timedelta(days=most * (7 if unit == "week" else 1))
    return cal.same_day_months(today, -most * (12 if unit == "year" else 1))


def _weekday(match: re.Match[str], told: Told) -> Period | None:
    which, part = (match[1] or "").lower().split()[-1:], match[3]
    index = next(place for place, name in enumerate(cal.WEEKDAYS) if name.startswith(match[2][:3]))
    behind = (told.today.weekday() - index) % 7
    if which == ["this"]:
        found = cal.week(told.today).first + timedelta(days=index)
    elif which == ["next"] or which == ["coming"] or (not which and told.ahead):
        found = told.today + timedelta(days=7 - behind)
    else:
        found = told.today - timedelta(days=behind or 7)
    return cal.with_part(cal.day(found), part.lower()) if part else cal.day(found)


def _holiday(match: re.Match[str], told: Told) -> Period | None:
    name = match[1].lower().replace("\u2019", "'")
    name = {"new years": "new year's", "new years eve": "new year's eve", "new years day": "new year's day",
            "valentines day": "valentine's day"}.get(name, name)  # fmt: skip
    return _yearly(lambda number: cal.holiday(name, number), match[2], told)


def _anniversary(match: re.Match[str], told: Told) -> Period | None:
    known = (told.anniversaries or {}).get(match[1].lower())
    if known is None:
        return None
    return _yearly(lambda number: cal.day(date(number, *known)), match[2], told)


def _yearly(of_year: Callable[[int], Period], when: str | None, told: Told) -> Period:
    when = (when or "").strip(" ,").lower()
    if when.isdigit():
        return of_year(int(when))
    if when.endswith("year"):
        return of_year(told.today.year + {"last": -1, "this": 0, "next": 1}[when.split()[0]])
    return _near(told, of_year)


@dataclass(frozen=True, slots=True)
class Rule:
    """One way to say a date. `resolve` gives None, or raises ValueError or OverflowError, for what is none."""

    pattern: re.Pattern[str]
    resolve: Resolve
    worth: frozenset[str]
    """Words of which every match holds one: most rules need not be tried on most sentences."""


_MONTH_WORDS = " ".join([*cal.MONTHS, *(name[:3] for name in cal.MONTHS), "sept"])
_DIGITS = "0 1 2 3 4 5 6 7 8 9"


def _rule(pattern: str, resolve: Resolve, worth: str, case: bool = False) -> Rule:
    compiled = re.compile(pattern, re.NOFLAG if case else re.IGNORECASE)
    return Rule(compiled, resolve, frozenset(worth.lower().split()))


_WHEN = rf"(,? {_YEAR}| (?:last|this|next) year)?"
RULES: tuple[Rule, ...] = (
    _rule(r"\b(\d{4})-(\d{2})-(\d{2})\b", _iso, _DIGITS),
    _rule(rf"\b(\d{{1,2}})/(\d{{1,2}})/({_YEAR}|\d\d)\b", _numeric, _DIGITS),
    _rule(rf"\b{_NTH}(?: of)? ({_MONTH})(?:,? ({_YEAR}))?(?!\w)", _day_month, _MONTH_WORDS, case=True),
    _rule(rf"\b({_MONTH}) (?:the )?{_NTH}(?:,? ({_YEAR}))?(?![\w:])", _month_day, _MONTH_WORDS, case=True),
    _rule(rf"\b({_MONTH})(?: of)?,? ({_YEAR})\b", _month_year, _MONTH_WORDS, case=True),
    _rule(
        r"\b(?:[Ii]n|[Ss]ince|[Uu]ntil|[Tt]ill|[Bb]y|[Dd]uring|[Ee]arly|[Mm]id|[Ll]ate|[Ff]rom|[Tt]o|[Tt]hrough|"
        rf"[Bb]etween|and|of)[ -](?P<said>{_MONTHS})\b(?! \d)",
        _month_alone, _MONTH_WORDS, case=True,
    ),
    _rule(rf"\b([Tt]his|[Ll]ast|[Nn]ext) ({_MONTHS})\b(?! \d)", _month_which, _MONTH_WORDS, case=True),
    _rule(
        r"\b(?:in|since|until|till|by|during|from|to|through|between|and|of|around|before|after|year|early|late) "
        rf"(?P<said>{_YEAR})\b(?![-/:]?\d)|\((?P<alone>{_YEAR})\)",
        _year, _DIGITS,
    ),
    _rule(rf"\b({_YEAR}) ?[-\u2013] ?({_YEAR})\b", _years, _DIGITS),
    _rule(rf"\b({_SEASON}) (?:of )?({_YEAR})\b", _season_year, _DIGITS),
    _rule(rf"\b(last|this|next|in the|during the|over the) ({_SEASON})\b", _season, " ".join(cal.SEASONS)),
    _rule(
        r"\bthe day (?:before yesterday|after tomorrow)\b|\b(?:today|tonight)\b|"
        rf"\b(?:yesterday|tomorrow)(?: (?:{_PART}))?\b",
        _word, "yesterday tomorrow today tonight",
    ),
    _rule(r"\bthis (morning|afternoon|evening)\b", _this_part, "morning afternoon evening"),
    _rule(r"\blast night\b", _last_night, "night"),
    _rule(rf"(?<![\d,.])\b({_NUMBER}) (day|week|weekend|month|year)s? (?:ago|back)\b", _ago, "ago back"),
    _rule(
        rf"\b(?:in|within) ({_NUMBER}) (day|week|month|year)s?(?:['\u2019]s?)?(?: time)?(?! (?:of|old|straight|row))\b|"
        rf"\b({_NUMBER}) (day|week|month|year)s? from now\b",
        _from_now, "day days week weeks month months year years",
    ),
    _rule(
        r"\b(?:the )?(last|past|this past|this|next|this coming|coming|previous) (week|weekend|month|year)\b(?! of\b)",
        _unit, "week weekend month year",
    ),
    _rule(rf"\b(?:the )?(?:last|past) ({_NUMBER}) (day|week|month|year)s?\b", _over_past, "last past"),
    _rule(
        r"(?:\bhave|\bhas|['\u2019]ve|['\u2019]s|\bbeen)\b[^.!?\n]{0,60}?\b"
        rf"(?P<said>for (?:about |around |over |almost |nearly )?({_NUMBER}) (day|week|month|year)s?)\b"
        r"(?= now|[.,!]| and| already|$)",
        _for_long, "day days week weeks month months year years",
    ),
    _rule(
        rf"\b(?:(last|this|next|this past|this coming|[Tt]his|[Ll]ast|[Nn]ext) )?({WEEKDAY})(?: ({_PART}))?\b",
        _weekday, " ".join(cal.WEEKDAYS), case=True,
    ),
    _rule(
        rf"\b(last|this|next|[Tt]his|[Ll]ast|[Nn]ext) (Mon|Tues?|Wed|Thurs?|Fri|Sat|Sun)\b\.?(?: ({_PART}))?",
        _weekday,
        "mon tue tues wed thu thurs fri sat sun",
        case=True,
    ),
    _rule(rf"\b({_HOLIDAY}){_WHEN}(?!\w)", _holiday,
        "christmas boxing new valentine valentines halloween independence thanksgiving easter"),
    _rule(rf"\bmy (\w+(?: anniversary)?){_WHEN}\b", _anniversary, "birthday anniversary"),
)  # fmt: skip

WORTH = frozenset().union(*(rule.worth for rule in RULES))
"""A text with none of these words names no date."""
