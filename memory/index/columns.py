"""A namespace's points as columns in memory, and the searches over them: what makes the embedded index fast.

A store that answers each search by walking its points through filters takes some 0.2 ms for each 1,000 of them. Side by
side in arrays they take a hundredth: a filter is a comparison of a column, sparse search adds up the postings of the
query's terms, and dense search multiplies a matrix.

Dense search over more than `EXACT_ROWS` rows is done in two steps where it need not be exact. Each vector keeps one bit
for each dimension, its sign after a random rotation; the share of bits in which two vectors differ estimates the angle
between them (Charikar, STOC 2002). A pass over the bits, a thirtieth of the vectors' size, picks `shortlist` rows, and
the vectors decide among these. `tests/unit/test_columns.py` holds what it misses against exact search.

Not thread-safe: the owner locks. A row is never moved; one that is deleted or replaced is only marked (see `packed`).
Takes some 2 KB a row at 384 dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from core.clock import EARLIEST, LATEST
from core.nouns import AsOf, EpisodeFilter, Float32, Float64, IndexPoint, Int64, ScoredConcept, SourceKind, Sparse

EXACT_ROWS = 16_384
"""Up to so many rows all vectors are compared: that takes as long as a pass over the bits of ten times as many."""
_BLOCK = 8_192
"""Rows of vectors in one piece of memory: growing copies nothing."""
_NEAR = 1e-4
"""How far the quick sums may be off: all that could belong to the best are summed again, in float64."""


_Float = TypeVar("_Float", np.float32, np.float64)


class Columns:
    """The points of one namespace in one space."""

    def __init__(self, dimensions: int, *, exact: bool) -> None:
        """`exact` False lets dense search over many rows miss a few of the nearest."""
        self._dimensions = dimensions
        self._bits = None if exact else _Bits(dimensions)
        self._blocks: list[Float32] = []
        self._concepts: list[str] = []
        self._episodes: list[str] = []
        self._row_of: dict[str, int] = {}
        self._speakers, self._conversations = _Codes(), _Codes()
        self._told_at, self._seq = _Growing((), np.int64), _Growing((), np.int64)
        self._kind, self._speaker, self._conversation = (_Growing((), np.int32) for _ in range(3))
        self._last_told, self._last_seq = EARLIEST, 0
        self._kinds: set[int] = set()
        self._alive = _Growing((), np.bool_)
        self._postings = _Postings()

    def __len__(self) -> int:
        return len(self._row_of)

    def upsert(self, points: Sequence[IndexPoint]) -> None:
        """Adds points; one of a Concept that is there takes its place."""
        if not points:
            return
        points = list({point.concept_id: point for point in points}.values())
        self.delete([point.concept_id for point in points])
        first = len(self._concepts)
        vectors = np.stack([point.vector for point in points]).astype(np.float32)
        # Row by row in float64, so that equal vectors stay equal whatever they are written with.
        lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, None]
        vectors = (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        self._append(vectors)
        if self._bits is not None:
            self._bits.append(vectors)
        for column, values in (
            (self._told_at, [one.told_at for one in points]),
            (self._seq, [one.seq for one in points]),
            (self._kind, [int(one.kind) for one in points]),
            (self._speaker, [self._speakers.of(one.speaker) for one in points]),
            (self._conversation, [self._conversations.of(one.conversation) for one in points]),
        ):
            column.append(np.array(values, column.values.dtype))
        self._last_told = max(self._last_told, *(one.told_at for one in points))
        self._last_seq = max(self._last_seq, *(one.seq for one in points))
        self._kinds.update(int(one.kind) for one in points)
        self._alive.append(np.ones(len(points), np.bool_))
        self._postings.append(first, [point.terms for point in points])
        for row, point in enumerate(points, first):
            self._concepts.append(point.concept_id)
            self._episodes.append(point.episode_id)
            self._row_of[point.concept_id] = row

    def delete(self, concept_ids: Iterable[str]) -> None:
        """Takes points out; those that are not there are no error."""
        for one in concept_ids:
            row = self._row_of.pop(one, None)
            if row is not None:
                self._alive.values[row] = False

    def packed(self) -> bool:
        """Whether most rows are still of use."""
        return len(self._concepts) < 2 * len(self._row_of) + _BLOCK

    def repacked(self) -> Columns:
        """The same points, without the rows that are of no use any more."""
        rows = np.flatnonzero(self._alive.values)
        fresh = Columns(self._dimensions, exact=self._bits is None)
        terms = self._postings.rows(rows)
        speakers, conversations = self._speakers.names(), self._conversations.names()
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            fresh.upsert(
                [
                    IndexPoint(
                        self._concepts[row],
                        self._episodes[row],
                        "",
                        vector,
                        terms[start + place],
                        int(self._told_at.values[row]),
                        int(self._seq.values[row]),
                        SourceKind(int(self._kind.values[row])),
                        speakers[self._speaker.values[row]],
                        conversations[self._conversation.values[row]],
                    )
                    for place, (row, vector) in enumerate(zip(part.tolist(), self._take(part), strict=True))
                ]
            )
        return fresh

    def dense(self, vector: Float32, limit: int, where: EpisodeFilter, as_of: AsOf) -> list[ScoredConcept]:
        """The nearest by cosine, ties by Concept id."""
        query = vector.astype(np.float32)
        query /= np.linalg.norm(query) or 1
        mask = self._mask(where, as_of)
        rows = np.arange(len(self._concepts)) if mask is None else np.flatnonzero(mask)
        if self._bits is not None and len(rows) > EXACT_ROWS:
            rows = self._bits.nearest(query, rows, shortlist(len(rows), limit))
            scores = _products(self._take(rows), query)
        elif 2 * len(rows) < len(self._concepts):
            scores = _products(self._take(rows), query)
        else:
            scores = self._every(query)[rows]
        rows = rows[_best(scores, limit, _NEAR)]
        exact = _products(self._take(rows).astype(np.float64), query.astype(np.float64))
        return self._found(rows, exact, limit)

    def sparse(self, terms: Sparse, limit: int, where: EpisodeFilter, as_of: AsOf) -> list[ScoredConcept]:
        """The highest sums of products, ties by Concept id; what shares no term is not found."""
        scores, held = self._postings.sums(terms, len(self._concepts))
        mask = self._mask(where, as_of)
        rows = np.flatnonzero(held if mask is None else held & mask)
        rows = rows[_best(scores[rows], limit, 0)]
        return self._found(rows, scores[rows], limit)

    def _found(self, rows: Int64, scores: Float64, limit: int) -> list[ScoredConcept]:
        hits = [
            ScoredConcept(self._concepts[row], self._episodes[row], score)
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
        ]
        return sorted(hits, key=lambda hit: (-hit.score, hit.concept_id))[: max(0, limit)]

    def _mask(self, where: EpisodeFilter, as_of: AsOf) -> NDArray[np.bool_] | None:
        """Shape [rows]: which of them the filter allows as of then. None for all: what all meet is not looked at."""
        told = where.told
        last = min(as_of.told_by, as_of.valid_at, LATEST if told.end is None else told.end - 1)
        masks = []
        if len(self._row_of) < len(self._concepts):
            masks.append(self._alive.values)
        if self._last_told > last:
            masks.append(self._told_at.values <= last)
        if told.start is not None and told.start > EARLIEST:
            masks.append(self._told_at.values >= told.start)
        if self._last_seq > as_of.seq:
            masks.append(self._seq.values <= as_of.seq)
        kinds = [int(kind) for kind in where.kinds]
        if kinds and not self._kinds.issubset(kinds):
            masks.append(np.isin(self._kind.values, kinds))
        if where.speakers:
            masks.append(np.isin(self._speaker.values, self._speakers.known(where.speakers)))
        if where.conversations:
            masks.append(np.isin(self._conversation.values, self._conversations.known(where.conversations)))
        return reduce(np.logical_and, masks) if masks else None

    def _append(self, vectors: Float32) -> None:
        at = len(self._concepts)
        while len(vectors):
            filled = at % _BLOCK
            if not filled:
                self._blocks.append(np.empty((_BLOCK, self._dimensions), np.float32))
            part = vectors[: _BLOCK - filled]
            self._blocks[-1][filled : filled + len(part)] = part
            at += len(part)
            vectors = vectors[len(part) :]

    def _every(self, query: Float32) -> Float32:
        """The quick sums of all rows."""
        scores = np.empty(len(self._blocks) * _BLOCK, np.float32)
        rows = len(self._concepts)
        for number, block in enumerate(self._blocks):
            start = number * _BLOCK
            end = min(rows, start + _BLOCK)
            scores[start:end] = _products(block[: end - start], query)
        return scores[:rows]

    def _take(self, rows: Int64) -> Float32:
        """The vectors of some rows, ascending."""
        taken = np.empty((len(rows), self._dimensions), np.float32)
        bounds = np.searchsorted(rows, np.arange(len(self._blocks) + 1) * _BLOCK)
        for number, block in enumerate(self._blocks):
            start, end = bounds[number], bounds[number + 1]
            if start < end:
                np.take(block, rows[start:end] - number * _BLOCK, axis=0, out=taken[start:end])
        return taken


def shortlist(rows: int, limit: int) -> int:
    """How many of so many rows the bits bring before the vectors."""
    return max(2048, 32 * limit, rows // 64)


def _products(matrix: NDArray[_Float], vector: NDArray[_Float]) -> NDArray[_Float]:
    """`matrix @ vector` row by row: equal rows give equal products, wherever they stand.

    BLAS does not promise that. And as fast as it is on one processor, on several its threads wait for one another by
    spinning, which on a busy machine takes many times as long as the products.
    """
    products: NDArray[_Float] = np.vecdot(matrix, vector)
    return products


def _best(scores: NDArray[np.floating[Any]], limit: int, near: float) -> Int64:
    """The places of the `limit` highest, of all that tie with the last of them, and of all within `near` of it."""
    if limit <= 0:
        return np.zeros(0, np.int64)
    if len(scores) <= limit:
        return np.arange(len(scores))
    last = np.partition(scores, len(scores) - limit)[len(scores) - limit]
    return np.flatnonzero(scores >= last - near)


class _Growing:
    """Rows of numbers that grow at the end."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self._room: NDArray[Any] = np.empty((0, *shape), dtype)
        self._filled = 0

    @property
    def values(self) -> NDArray[Any]:
        """All rows so far."""
        return self._room[: self._filled]

    def append(self, rows: NDArray[Any]) -> None:
        """Adds rows."""
        needed = self._filled + len(rows)
        if needed > len(self._room):
            room = np.empty((max(needed, 2 * len(self._room)), *self._room.shape[1:]), self._room.dtype)
            room[: self._filled] = self.values
            self._room = room
        self._room[self._filled : needed] = rows
        self._filled = needed


class _Codes:
    """A number for each different string."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def of(self, value: str) -> int:
        """The number of a string; a new one gets the next."""
        return self._codes.setdefault(value, len(self._codes))

    def known(self, values: Iterable[str]) -> list[int]:
        """The numbers of some strings; -1, which no row has, for those that never came."""
        return [self._codes.get(value, -1) for value in values]

    def names(self) -> list[str]:
        """The strings by number."""
        return list(self._codes)


class _Bits:
    """The signs of rotated vectors, 64 in a word; words of one place in the vector stand side by side."""

    def __init__(self, dimensions: int) -> None:
        self._rotation = _rotation(dimensions)
        self._words = [_Growing((), np.uint64) for _ in range(-(-dimensions // 64))]

    def append(self, vectors: Float32) -> None:
        """Adds rows."""
        for words, packed in zip(self._words, self._packed(vectors).T, strict=True):
            words.append(packed)

    def nearest(self, query: Float32, rows: Int64, count: int) -> Int64:
        """At least `count` of the rows, ascending: those that differ from the query in the fewest bits."""
        apart = np.zeros(len(self._words[0].values), np.uint16)
        for words, asked in zip(self._words, self._packed(query[None])[0], strict=True):
            apart += np.bitwise_count(words.values ^ asked)
        if len(rows) < len(apart):
            apart = apart[rows]
        reached = np.cumsum(np.bincount(apart))
        return rows[apart <= np.searchsorted(reached, count)]

    def _packed(self, vectors: Float32) -> NDArray[np.uint64]:
        """Shape [rows, words]."""
        bits = np.packbits(vectors @ self._rotation > 0, axis=1)
        padded = np.zeros((len(vectors), 8 * len(self._words)), np.uint8)
        padded[:, : bits.shape[1]] = bits
        return padded.view(np.uint64)


@lru_cache(maxsize=8)
def _rotation(dimensions: int) -> Float32:
    """A random rotation, always the same: without one, a dimension that all vectors share would waste its bit."""
    drawn = np.random.default_rng(dimensions).standard_normal((dimensions, dimensions))
    return np.linalg.qr(drawn)[0].astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class _Segment:
    """Postings in the order of terms: of each term the rows that hold it, and how much."""

    terms: Int64
    rows: NDArray[np.int32]
    weights: Float32
    keys: Int64
    """The different terms, ascending."""
    starts: Int64
    """Where each of them begins, and the end."""

    @classmethod
    def of(cls, terms: Int64, rows: NDArray[np.int32], weights: Float32) -> _Segment:
        """From postings in any order of terms."""
        order = np.argsort(terms, kind="stable")
        terms, rows, weights = terms[order], rows[order], weights[order]
        starts = np.flatnonzero(np.diff(terms, prepend=-1))
        return cls(terms, rows, weights, terms[starts], np.append(starts, len(terms)))

    def joined(self, other: _Segment) -> _Segment:
        """Both in one."""
        return _Segment.of(
            np.concatenate([self.terms, other.terms]),
            np.concatenate([self.rows, other.rows]),
            np.concatenate([self.weights, other.weights]),
        )


class _Postings:
    """An inverted index in segments: each is at least twice as long as the next, so there are few."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []

    def append(self, first: int, sparse: Sequence[Sparse]) -> None:
        """Adds rows, numbered from `first` on."""
        counts = [len(one.indices) for one in sparse]
        total = sum(counts)
        if not total:
            return
        segment = _Segment.of(
            np.fromiter(chain.from_iterable(one.indices for one in sparse), np.int64, total),
            np.repeat(np.arange(first, first + len(sparse), dtype=np.int32), counts),
            np.fromiter(chain.from_iterable(one.values for one in sparse), np.float32, total),
        )
        self._segments.append(segment)
        while len(self._segments) > 1 and len(self._segments[-2].rows) < 2 * len(self._segments[-1].rows):
            last = self._segments.pop()
            self._segments[-1] = self._segments[-1].joined(last)

    def sums(self, terms: Sparse, rows: int) -> tuple[Float64, NDArray[np.bool_]]:
        """For each row the sum of products, and whether it holds any of the terms."""
        scores, held = np.zeros(rows), np.zeros(rows, np.bool_)
        asked = np.array(terms.indices, np.int64)
        for segment in self._segments:
            places = np.minimum(np.searchsorted(segment.keys, asked), len(segment.keys) - 1)
            for place, term, weight in zip(places.tolist(), terms.indices, terms.values, strict=True):
                if segment.keys[place] == term:
                    found = slice(segment.starts[place], segment.starts[place + 1])
                    # A row holds a term once, so no row is added to twice in one statement.
                    scores[segment.rows[found]] += segment.weights[found] * np.float64(weight)
                    held[segment.rows[found]] = True
        return scores, held

    def rows(self, wanted: Int64) -> list[Sparse]:
        """The terms of some rows, ascending, each in the order of its terms."""
        if not self._segments:
            return [Sparse()] * len(wanted)
        whole = reduce(_Segment.joined, self._segments)
        order = np.argsort(whole.rows, kind="stable")
        bounds = np.searchsorted(whole.rows[order], np.stack([wanted, wanted + 1]))
        found = []
        for start, end in bounds.T.tolist():
            of_row = order[start:end]
            found.append(Sparse(tuple(whole.terms[of_row].tolist()), tuple(whole.weights[of_row].tolist())))
        return found
