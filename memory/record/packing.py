"""Vectors and term weights of a whole batch as bytes, checked by arithmetic over all of them at once.

What is not plainly right is left to `rows`, which looks at one Concept at a time and says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain

import numpy as np

from core.nouns import Float32, Sparse


def packed_vectors(dimensions: int, vectors: Sequence[Float32]) -> list[bytes] | None:
    """Little-endian float32 bytes of each; None where one is of another shape, or not finite."""
    shape = (dimensions,)
    if not vectors or not all(vector.shape == shape for vector in vectors):
        return None
    with np.errstate(over="ignore"):  # beyond float32: infinite, and so found below
        together = np.concatenate(vectors).astype("<f4", copy=False)
    if not np.isfinite(together).all():
        return None
    return _cut(together.tobytes(), range(4 * dimensions, 4 * dimensions * len(vectors) + 1, 4 * dimensions))


def packed_terms(terms: Sequence[Sparse]) -> list[tuple[bytes, bytes]] | None:
    """Bytes of the ids (uint32) and of the weights (float32) of each; None where one is not what `Sparse` says."""
    counts = [len(one.indices) for one in terms]
    total = sum(counts)
    if counts != [len(one.values) for one in terms]:
        return None
    if not total:
        return [(b"", b"")] * len(terms)
    try:
        ids = np.fromiter(chain.from_iterable([one.indices for one in terms]), np.int64, total)
    except OverflowError:
        return None
    with np.errstate(over="ignore"):
        weights = np.fromiter(chain.from_iterable([one.values for one in terms]), np.float64, total).astype("<f4")
    ends = list(accumulate(counts))
    rising = np.diff(ids, prepend=-1) > 0
    starts = np.array([0, *ends[:-1]])
    rising[starts[starts < total]] = True  # the first of each follows none of its own
    if not rising.all() or ids.min() < 0 or ids.max() >= 1 << 32 or not np.isfinite(weights).all():
        return None
    bounds = [4 * end for end in ends]
    return list(zip(_cut(ids.astype("<u4").tobytes(), bounds), _cut(weights.tobytes(), bounds), strict=True))


def _cut(data: bytes, ends: Sequence[int]) -> list[bytes]:
    """Data in pieces that end there."""
    pieces, start = [], 0
    for end in ends:
        pieces.append(data[start:end])
        start = end
    return pieces
