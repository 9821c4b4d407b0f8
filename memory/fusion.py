"""One ranking from several channels that measure in different units. Pure functions of scores by id.

Every candidate is judged on every channel. One that a channel did not find gets the channel's floor: what it is known
to be worth at most or at least (a sparse sum of nothing shared is 0), or the lowest score that the channel did give.
Ties go by id, so a ranking never depends on the order in which candidates came.

- `zscore`: how far above the mean of the candidates, in standard deviations. It keeps how much better a hit is, and
  does not change when a channel's scores are scaled or shifted.
- `reciprocal_rank`: 1 / (k + rank), from Cormack, Clarke and Buettcher (SIGIR 2009). It keeps the order only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

RRF_K = 60
"""The constant of the paper: how little the very first ranks stand out."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What one way of searching found: scores by id, higher is better; and how much it counts.

    `floor` is the score of a candidate it did not find; None means the lowest that it gave.
    """

    name: str
    weight: float
    scores: Mapping[str, float]
    floor: float | None = None

    def raw(self, candidates: Iterable[str]) -> list[float]:
        """The candidates' scores, or the floor."""
        floor = self.floor if self.floor is not None else min(self.scores.values(), default=0.0)
        return [self.scores.get(candidate, floor) for candidate in candidates]


@dataclass(frozen=True, slots=True)
class Contribution:
    """One channel's part: `raw` as it measured, `fused` as it counts. The fused parts add up to the whole score."""

    channel: str
    raw: float
    fused: float


@dataclass(frozen=True, slots=True)
class Fused:
    """A candidate with its score and what that is made of, in the order of the channels."""

    id: str
    score: float
    parts: tuple[Contribution, ...]


def fuse(method: str, channels: Iterable[Channel], candidates: Iterable[str]) -> list[Fused]:
    """The candidates by descending score, ties by id. `method` is "zscore" or "rrf"; ValueError for another."""
    if method not in _METHODS:
        raise ValueError(f"no fusion method {method!r}; one of {', '.join(_METHODS)}")
    judge = _METHODS[method]
    ids = sorted(set(candidates))
    columns: list[list[Contribution]] = []
    for channel in channels:
        raw = channel.raw(ids)
        judged = zip(raw, judge(raw), strict=True)
        columns.append([Contribution(channel.name, measured, channel.weight * j) for measured, j in judged])
    fused = [
        Fused(candidate, math.fsum(column[row].fused for column in columns), tuple(column[row] for column in columns))
        for row, candidate in enumerate(ids)
    ]
    # Python's sort is stable and `ids` is sorted: equal scores stay in the order of their ids.
    return sorted(fused, key=lambda candidate: -candidate.score)


def zscore(scores: list[float]) -> list[float]:
    """Each score's distance from the mean, in standard deviations; all 0 where the scores do not differ."""
    if not scores:
        return []
    mean = math.fsum(scores) / len(scores)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scores) / len(scores))
    # Scores that differ only by rounding carry no opinion, and must not be blown up into one.
    if deviation <= 1e-9 * max(1e-9, max(map(abs, scores))):
        return [0.0] * len(scores)
    return [(score - mean) / deviation for score in scores]


def reciprocal_rank(scores: list[float]) -> list[float]:
    """1 / (RRF_K + rank), with rank 1 for the highest; equal scores share the best of their ranks."""
    rank: dict[float, int] = {}
    for place, score in enumerate(sorted(scores, reverse=True), 1):
        rank.setdefault(score, place)
    return [1 / (RRF_K + rank[score]) for score in scores]


_METHODS = {"zscore": zscore, "rrf": reciprocal_rank}
