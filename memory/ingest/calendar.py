"""Stretches of local days, and the moments they begin and end at. Pure; the machine's own timezone is never asked.

A `Period` is whole local days, or one stretch of a day, as a calendar on a wall has them. `interval` makes it
microseconds in a timezone. A local midnight that a change to summer time skips is the first moment after it; one that
comes twice is the first of the two.
"""

from __future__ import annotations

import calendar
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from core.clock import EARLIEST, LATEST, Micros, micros, to_datetime
from core.errors import InvalidArgument
from core.nouns import Interval, Precision

DAY_MINUTES = 24 * 60

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""The month that each begins with, as in the weather reports of the northern hemisphere."""
PARTS = {
    "morning": (6 * 60, 12 * 60),
    "afternoon": (12 * 60, 18 * 60),
    "evening": (18 * 60, DAY_MINUTES),
    "night": (18 * 60, DAY_MINUTES + 6 * 60),
}
"""Parts of a day, in minutes from its midnight. A night ends on the morning after."""


@dataclass(frozen=True, slots=True)
class Period:
    """The local days `first` to `last`, both included; with `part`, those minutes counted from the midnight of `first`.

    `open_start` and `open_end` take an end off: "until June" has no start, "since June" no end.
    """

    first: date
    last: date
    precision: Precision = Precision.DAY
    part: tuple[int, int] | None = None
    open_start: bool = False
    open_end: bool = False


def day(of: date) -> Period:
    """One day."""
    return Period(of, of)


def week(of: date) -> Period:
    """Monday to Sunday."""
    monday = of - timedelta(days=of.weekday())
    return Period(monday, monday + timedelta(days=6))


def weekend(of: date) -> Period:
    """The Saturday and Sunday of the week."""
    saturday = of + timedelta(days=5 - of.weekday())
    return Period(saturday, saturday + timedelta(days=1))


def month(of: date, ahead: int = 0) -> Period:
    """The calendar month, or one so many months ahead."""
    year, index = divmod(of.year * 12 + of.month - 1 + ahead, 12)
    return Period(date(year, index + 1, 1), date(year, index + 1, calendar.monthrange(year, index + 1)[1]),
                  Precision.MONTH)  # fmt: skip


def year(number: int) -> Period:
    """The calendar year."""
    return Period(date(number, 1, 1), date(number, 12, 31), Precision.YEAR)


def season(name: str, number: int) -> Period:
    """The season that begins in that year: three months; a winter ends in the year after."""
    first = month(date(number, SEASONS[name], 1))
    return Period(first.first, month(first.first, 2).last, Precision.MONTH)


def same_day_months(of: date, ahead: int) -> date:
    """The same day so many months ahead, or the last one of that month where it has no such day."""
    there = month(of, ahead)
    return there.first.replace(day=min(of.day, there.last.day))


def with_part(period: Period, part: str) -> Period:
    """A part of one day, by its name."""
    return replace(period, part=PARTS[part])


def easter(number: int) -> date:
    """Easter Sunday of the western churches (Butcher's algorithm, Meeus, Astronomical Algorithms, chapter 8)."""
    a, (b, c) = number % 19, divmod(number, 100)
    d, e = divmod(b, 4)
    g = (b - (b + 8) // 25 + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = divmod(c, 4)
    l = (32 + 2 * e + 2 * i - h - k) % 7  # noqa: E741 - the letters are the algorithm's
    m = (a + 11 * h + 22 * l) // 451
    index, rest = divmod(h + l - 7 * m + 114, 31)
    return date(number, index, rest + 1)


def holiday(name: str, number: int) -> Period:
    """A holiday of that year, by its lower-case name in `HOLIDAYS`."""
    fixed = HOLIDAYS[name]
    if fixed is not None:
        return day(date(number, *fixed))
    if name == "thanksgiving":  # the fourth Thursday of November
        first = date(number, 11, 1)
        return day(first + timedelta(days=(3 - first.weekday()) % 7 + 21))
    return day(easter(number))


HOLIDAYS: dict[str, tuple[int, int] | None] = {
    "christmas eve": (12, 24),
    "christmas": (12, 25),
    "boxing day": (12, 26),
    "new year's eve": (12, 31),
    "new year's day": (1, 1),
    "new year's": (1, 1),
    "valentine's day": (2, 14),
    "halloween": (10, 31),
    "independence day": (7, 4),
    "thanksgiving": None,
    "easter": None,
}
"""Month and day; None for those that move."""


@lru_cache(maxsize=256)
def zone_of(name: str) -> tzinfo:
    """The timezone of an IANA name. Raises InvalidArgument (field "timezone")."""
    if name == "UTC":  # needs no database of timezones, which small systems lack
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        raise InvalidArgument(
            f"{name!r} is no timezone that this system knows; give an IANA name such as Europe/Berlin, or UTC",
            field="timezone",
        ) from error


def local_day(at: Micros, zone: tzinfo) -> date:
    """The day on a calendar there."""
    return to_datetime(at).astimezone(zone).date()


def interval(period: Period, original_text: str, timezone: str) -> Interval:
    """The moments of a period in a timezone. Raises OverflowError outside of the years 1 to 9999."""
    zone = zone_of(timezone)
    begin, end = (0, DAY_MINUTES) if period.part is None else period.part
    last = period.last if period.part is None else period.first
    return Interval(
        start=None if period.open_start else _moment(period.first, begin, zone),
        end=None if period.open_end else _moment(last, end, zone),
        precision=period.precision,
        original_text=original_text,
        timezone=timezone,
    )


def _moment(of: date, minutes: int, zone: tzinfo) -> Micros:
    days, rest = divmod(minutes, DAY_MINUTES)
    there = of + timedelta(days=days)
    local = datetime(there.year, there.month, there.day, rest // 60, rest % 60, tzinfo=zone)
    at = micros(local)
    if not EARLIEST <= at <= LATEST:
        raise OverflowError(f"{local.isoformat()} is outside of the years 1 to 9999")
    return at
