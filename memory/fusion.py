"""One ranking from several channels that measure in different units. Pure functions of arrays of scores.

Every candidate is judged on every channel. Candidates have places, in the order of their ids, and `ranked` breaks ties
by place: so a ranking never depends on the order in which candidates were found.

- `zscore`: how far above the mean of the candidates, in standard deviations. It keeps how much better a hit is, and
  does not change when a channel's scores are scaled or shifted.
- `reciprocal_rank`: 1 / (k + rank), from Cormack, Clarke and Buettcher (SIGIR 2009). It keeps the order only.

`apart` then lets a candidate down for each one beside it, or of its group, that is ranked above: what stands together
says much the same, and room is left for what else bears on the question. It is maximal marginal relevance (Carbonell
and Goldstein, SIGIR 1998) with neighbourhood for similarity, which needs no vectors. `diverse` is the same with the
paper's similarity: a candidate is let down by how like it is to the one ranked above that it is most like.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from core.nouns import Float32, Float64, Int64

RRF_K = 60
"""The constant of the paper: how little the very first ranks stand out."""


@dataclass(frozen=True, slots=True, eq=False)
class Channel:
    """What one way of looking found: a score for every candidate, higher is better; and how much it counts."""

    name: str
    weight: float
    scores: Float64
    """Shape [candidates]."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """One channel's part: `raw` as it measured, `fused` as it counts. The fused parts add up to the whole score."""

    channel: str
    raw: float
    fused: float


def fuse(method: str, channels: Sequence[Channel]) -> Float64:
    """The part of each channel in each candidate's score, [channels, candidates]: a score is the sum of its parts.

    `method` is "zscore" or "rrf"; ValueError for another.
    """
    if method not in _METHODS:
        raise ValueError(f"no fusion method {method!r}; one of {', '.join(_METHODS)}")
    scores = np.array([channel.scores for channel in channels], np.float64)
    judged: Float64 = _METHODS[method](scores)
    return np.array([[channel.weight] for channel in channels]) * judged


def zscore(scores: Float64) -> Float64:
    """Each score's distance from the mean of its row, in standard deviations; all 0 where a row's do not differ."""
    if not scores.size:
        return scores
    away = scores - scores.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.mean(away * away, axis=-1, keepdims=True))
    # Scores that differ only by rounding carry no opinion, and must not be blown up into one.
    opinion = deviation > 1e-9 * np.maximum(1e-9, np.abs(scores).max(axis=-1, keepdims=True))
    return np.asarray(np.where(opinion, away, 0.0) / np.where(opinion, deviation, 1.0), np.float64)


def reciprocal_rank(scores: Float64) -> Float64:
    """1 / (RRF_K + rank in its row), with rank 1 for the highest; equal scores share the best of their ranks."""
    if scores.ndim > 1:
        return np.array([reciprocal_rank(row) for row in scores]).reshape(scores.shape)
    _, place, count = np.unique(-scores, return_inverse=True, return_counts=True)
    above = np.concatenate([[0], np.cumsum(count)[:-1]])
    return np.asarray(1 / (RRF_K + 1 + above[place]), np.float64)


def ranked(scores: Float64) -> list[int]:
    """The candidates' places by descending score, ties by place."""
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    return order


def apart(
    scores: Float64,
    beside: Int64,
    penalty: float,
    among: Iterable[int],
    groups: Sequence[int] = (),
    spread: float = 0.0,
    most: int | None = None,
) -> list[tuple[int, int, int]]:
    """The first `most` of `among` in their order, each with how many of those beside it, and of its group, came before.

    Each of the former takes `penalty` off its score before it is taken, each of the latter `spread` (neither is
    negative). `beside`, [candidates, most], is the places of those beside each one, -1 where there are fewer; `groups`,
    [candidates], is their groups, -1 for none; empty where nobody has one.
    """
    before = dict.fromkeys(among, 0)
    own, near = scores.tolist(), beside.tolist()
    group_of = groups if spread else [-1] * len(own)
    taken = dict.fromkeys(group_of, 0)

    def value(place: int) -> float:
        grouped = taken[group_of[place]] if group_of[place] >= 0 else 0
        return float(own[place] - penalty * before[place] - spread * grouped)

    waiting = [(-own[place], place) for place in before]
    heapq.heapify(waiting)
    order: list[tuple[int, int, int]] = []
    while waiting and (most is None or len(order) < most):
        negative, place = heapq.heappop(waiting)
        now = value(place)
        if -negative != now:
            heapq.heappush(waiting, (-now, place))  # it was let down, and waits further down
            continue
        group = group_of[place]
        order.append((place, before.pop(place), taken[group] if group >= 0 else 0))
        for other in near[place]:
            if other in before:
                before[other] += 1
        taken[group] += 1
    return order


def diverse(
    scores: Float64, vectors: Float32, penalty: float, among: Iterable[int], most: int | None = None
) -> list[tuple[int, float]]:
    """The first `most` of `among` in their order, each with its likeness to the one before it that it is most like.

    Likeness is the cosine, 0 where that is negative and for the first. It takes `penalty` times as much off a score.
    `vectors` is [candidates, dimensions], of unit length. Ties go by place. Takes time by their number times `most`.
    """
    places = np.array(sorted(among), np.int64)
    likeness = np.zeros(len(places))
    left = np.ones(len(places), bool)
    order: list[tuple[int, float]] = []
    for _ in range(len(places) if most is None else min(most, len(places))):
        # The first of those that are highest: `places` ascends.
        best = int(np.argmax(np.where(left, scores[places] - penalty * likeness, -np.inf)))
        order.append((int(places[best]), float(likeness[best])))
        left[best] = False
        likeness = np.maximum(likeness, vectors[places] @ vectors[places[best]])
    return order


_METHODS = {"zscore": zscore, "rrf": reciprocal_rank}
