"""Whether an Episode was told about when the query asks of: "in May 2023", "on 3 July", "last summer".

A period is one of three kinds, and told apart by what it is counted from, not by its words:

- *of the calendar*: "May 2023" is the same whoever asks, and whenever;
- *of every year*: "in July" is the July of any year that something was told in, since the question says no other;
- *counted from the question*: "last summer", "two weeks ago". Without the time of the question it is not read.

What happened is told on the day or in the days after, and planned in those before: so an Episode told within the
period scores 1, and outside of it less with each day, down to a third after a week. With `said`, an Episode that was
told long after scores 1 too, if it names a date within the period; that reads each Episode, for some 50 microseconds.

It does not read the question: in "What did she plan in May for July?" either period will do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from core.clock import DAY, Micros, micros, to_datetime
from core.nouns import Episode, Float64, Interval
from core.windows import EpisodeColumns
from memory.fusion import Channel
from memory.ingest.calendar import HOLIDAYS, MONTHS, SEASONS
from memory.ingest.dates import dates

SCALE = 7 * DAY
"""How fast being told before or after a period tells against an Episode: exp(-distance / SCALE)."""
YEARS = 30
"""Of how many years, the latest that something was told in, what comes every year is looked for."""
MUCH_LONGER = 4
"""A date said in an Episode that is so many times as long as the period is not within it, though they overlap."""

_TIMES = tuple(micros(datetime(year, month, 1, tzinfo=UTC)) for year, month in ((2001, 2), (2039, 9)))
_EVERY_YEAR = re.compile(
    "|".join(rf"\b{re.escape(name)}" for name in (*(month[:3] for month in MONTHS), *SEASONS, *HOLIDAYS)),
    re.IGNORECASE,
)
_COUNTED = re.compile(r"\b(?:last|this|next|past|coming|ago)\b", re.IGNORECASE)


def periods(
    question: str, asked_at: Micros | None, told_at: Sequence[Micros] = (), timezone: str = "UTC"
) -> list[Interval]:
    """The stretches of time that a question names, each once; what comes every year in each that `told_at` has."""
    first, second = ([one.interval for one in dates(question, at, timezone)] for at in _TIMES)
    if not first and not second:
        return []
    found = dict.fromkeys(one for one in first if one in second)

    def add(at: Micros, *, every_year: bool) -> None:
        for one in dates(question, at, timezone):
            if one.interval not in second and _of_every_year(one.interval.original_text) is every_year:
                found[one.interval] = None

    for year in _years(told_at):
        add(micros(datetime(year, 12, 31, tzinfo=UTC)), every_year=True)
    if asked_at is not None:
        add(asked_at, every_year=False)
    return list(found)


def nearness(told_at: Sequence[Micros], asked: Sequence[Interval]) -> Float64:
    """Shape [episodes], from 0 to 1: how near to the nearest of these periods each was told."""
    at = np.array(told_at, np.float64)[:, None]
    start = np.array([-np.inf if one.start is None else one.start for one in asked])
    end = np.array([np.inf if one.end is None else one.end for one in asked])
    distance = np.maximum(0.0, np.maximum(start - at, at - end)).min(axis=1, initial=np.inf)
    return np.asarray(np.exp(-distance / SCALE), np.float64)


def says(episode: Episode, asked: Sequence[Interval], timezone: str = "UTC") -> bool:
    """Whether an Episode names a date within one of these periods, or one that holds it and is not much longer."""
    return any(
        _meets(one.interval, period) for one in dates(episode.text, episode.told_at, timezone) for period in asked
    )


def time_channel(
    weight: float, question: str, asked_at: Micros | None, episodes: EpisodeColumns, *, said: bool = False
) -> list[Channel]:
    """None where the question names no period. `said`: whether dates in what the Episodes say count as well."""
    asked = periods(question, asked_at, episodes.told_at)
    if not asked:
        return []
    scores = nearness(episodes.told_at, asked)
    if said:
        scores = np.maximum(scores, [float(says(one, asked)) for one in episodes])
    return [Channel("time", weight, scores)]


def _of_every_year(words: str) -> bool:
    return _EVERY_YEAR.search(words) is not None and _COUNTED.search(words) is None


def _years(told_at: Sequence[Micros]) -> list[int]:
    """The years that something was told in, and those before: what is told in January may be of December."""
    told = {to_datetime(at).year for at in told_at}
    return sorted(told | {year - 1 for year in told if year > 1})[-YEARS:]


def _meets(said: Interval, asked: Interval) -> bool:
    if said.start is None or said.end is None:
        return False
    start = max(said.start, said.start if asked.start is None else asked.start)
    end = min(said.end, said.end if asked.end is None else asked.end)
    if end <= start:
        return False
    if asked.start is None or asked.end is None:
        return True
    return said.end - said.start <= MUCH_LONGER * (asked.end - asked.start)
