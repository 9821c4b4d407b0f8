"""A namespace's points in memory: what is found equals brute force, and a sketch of the vectors misses little."""

from __future__ import annotations

import random

import numpy as np
import pytest

from core.clock import LATEST
from core.nouns import AsOf, EpisodeFilter, Float32, IndexPoint, Interval, ScoredConcept, SourceKind, Sparse
from memory.index import columns as under_test
from memory.index.columns import Columns

WIDE = 24
EVERY = EpisodeFilter(kinds=())
FILTERS = (
    (EVERY, AsOf()),
    (EpisodeFilter(), AsOf()),
    (EpisodeFilter(speakers=("s1", "nobody")), AsOf()),
    (EpisodeFilter(conversations=("c0", "c2"), kinds=(SourceKind.SELF,)), AsOf()),
    (EpisodeFilter(told=Interval(200, 700), kinds=()), AsOf()),
    (EVERY, AsOf(told_by=500)),
    (EVERY, AsOf(valid_at=300, told_by=LATEST)),
    (EVERY, AsOf(seq=5)),
    (EpisodeFilter(speakers=("nobody",)), AsOf()),
)


def point(rng: random.Random, concept: int) -> IndexPoint:
    drawn = random.Random(rng.randrange(150))  # now and then the same vector again: a tie
    vector = np.array([drawn.gauss() for _ in range(WIDE)], np.float32)
    terms = sorted(rng.sample(range(40), rng.randrange(6)))
    return IndexPoint(
        f"concept {concept:04d}",
        f"episode {concept // 2}",
        "n",
        vector,
        Sparse(tuple(terms), tuple(rng.choice((0.5, 1.0, 2.0)) for _ in terms)),
        rng.randrange(1000),
        rng.randrange(1, 12),
        rng.choice(list(SourceKind)),
        f"s{rng.randrange(3)}",
        f"c{rng.randrange(3)}",
    )


def allowed(one: IndexPoint, where: EpisodeFilter, as_of: AsOf) -> bool:
    return (
        (not where.speakers or one.speaker in where.speakers)
        and (not where.kinds or one.kind in where.kinds)
        and (not where.conversations or one.conversation in where.conversations)
        and where.told.contains(one.told_at)
        and one.told_at <= min(as_of.told_by, as_of.valid_at)
        and one.seq <= as_of.seq
    )


def ranked(scored: list[tuple[IndexPoint, float]], limit: int) -> list[tuple[str, float]]:
    best = sorted(((-round(score, 9), one.concept_id) for one, score in scored))[:limit]
    return [(concept, -score) for score, concept in best]


def said(found: list[ScoredConcept]) -> list[tuple[str, float]]:
    return [(one.concept_id, round(one.score, 9)) for one in found]


def cosine(one: IndexPoint, vector: Float32) -> float:
    a, b = (each / np.linalg.norm(each) for each in (one.vector.astype(np.float32), vector))
    return float(a.astype(np.float64) @ b.astype(np.float64))


@pytest.mark.parametrize("seed", range(4))
def test_searches_equal_brute_force_whatever_was_written_replaced_and_deleted(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "_BLOCK", 64)
    rng = random.Random(seed)
    columns, held = Columns(WIDE, exact=True), {}
    for _ in range(30):
        if rng.random() < 0.7 or not held:
            new = [point(rng, rng.randrange(400)) for _ in range(rng.randrange(40))]
            columns.upsert(new)
            held |= {one.concept_id: one for one in new}
        else:
            gone = [*rng.sample(sorted(held), len(held) // 2), "never there"]
            columns.delete(gone)
            held = {concept: one for concept, one in held.items() if concept not in gone}
        if not columns.packed():
            columns = columns.repacked()
        assert len(columns) == len(held)
    for where, as_of in FILTERS:
        seen = [one for one in held.values() if allowed(one, where, as_of)]
        for limit in (0, 1, 7, 1000):
            asked = point(rng, 0)
            dense = [(one, cosine(one, asked.vector)) for one in seen]
            assert [concept for concept, _ in said(columns.dense(asked.vector, limit, where, as_of))] == [
                concept for concept, _ in ranked(dense, limit)
            ]
            weights = dict(zip(asked.terms.indices, asked.terms.values, strict=True))
            sparse = [
                (
                    one,
                    sum(
                        value * weights[term]
                        for term, value in zip(one.terms.indices, one.terms.values, strict=True)
                        if term in weights
                    ),
                )
                for one in seen
                if weights.keys() & set(one.terms.indices)
            ]
            assert said(columns.sparse(asked.terms, limit, where, as_of)) == ranked(sparse, limit)


def gathered(count: int, dimensions: int) -> Float32:
    """Vectors that gather in groups, as those of sentences do."""
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((count // 100, dimensions)) + 0.5  # and lean to one side, as encoders' do
    vectors = centres[rng.integers(len(centres), size=count)] + rng.standard_normal((count, dimensions))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_a_sketch_of_many_vectors_misses_at_most_one_in_a_hundred_of_the_thirty_nearest() -> None:
    count, limit = 40_000, 30
    vectors = gathered(count, 384)
    columns = Columns(384, exact=False)
    points = [
        IndexPoint(f"{row:06d}", "", "n", vector, Sparse(), 0, 1, SourceKind.TESTIMONY, "", "")
        for row, vector in enumerate(vectors)
    ]
    columns.upsert(points)
    assert count > under_test.EXACT_ROWS, "else all are compared"
    rng = np.random.default_rng(8)
    shares = []
    for row in rng.integers(count, size=100).tolist():
        query = vectors[row] + rng.standard_normal(384).astype(np.float32) * 0.02
        nearest = set(np.argsort(-(vectors @ query), kind="stable")[:limit].tolist())
        found = {int(hit.concept_id) for hit in columns.dense(query, limit, EVERY, AsOf())}
        shares.append(len(found & nearest) / limit)
    assert np.mean(shares) >= 0.99
