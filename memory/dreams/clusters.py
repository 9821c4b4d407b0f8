"""Topics: groups of Episodes whose vectors lie together. Greedy, exact and the same in any order of reading.

The Episode with the most others near it takes those that no topic has taken yet; then the next one. Ties go by the
order of telling. It is the first step of density clustering (Daszykowski's greedy cover, as in Butina, 1999): no number
of topics has to be guessed, and what is near to nothing stays alone.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from core.nouns import Float32, Float64, Int64

NEAR = 0.5
"""The cosine from which on two Episodes are of one topic; of MiniLM's vectors, where unrelated ones lie near 0.1."""
_ROWS = 1024


def clusters(
    vectors: Float32, least: int, most: int, near: float = NEAR, may_go_on: Callable[[], bool] = lambda: True
) -> list[list[int]]:
    """Groups of places in `vectors` [n, dimensions] of unit length, each of `least` to `most`, the densest first.

    A group of more than `most` is made of those nearest to its centre. Where `may_go_on` says no, there are none.
    """
    near_by: list[Int64] = []
    for start in range(0, len(vectors), _ROWS):
        if not may_go_on():
            return []
        # Rounded, so that the order of summation of two machines does not decide.
        cosines = np.round(vectors[start : start + _ROWS].astype(np.float64) @ vectors.T.astype(np.float64), 6)
        near_by += [_by_nearness(row, near) for row in cosines]
    free = np.ones(len(vectors), bool)
    found = []
    for centre in sorted(range(len(vectors)), key=lambda one: (-len(near_by[one]), one)):
        if not free[centre]:
            continue
        group = [int(one) for one in near_by[centre] if free[one]][:most]
        if len(group) >= least:
            free[group] = False
            found.append(sorted(group))
    return found


def _by_nearness(cosines: Float64, near: float) -> Int64:
    """The places of what is near enough, the nearest first."""
    places = np.flatnonzero(cosines >= near)
    return places[np.lexsort((places, -cosines[places]))]
