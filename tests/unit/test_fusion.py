"""What fusion promises, whatever the scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.nouns import Float64, Int64
from memory.fusion import Channel, apart, diverse, fuse, ranked, reciprocal_rank, zscore

METHODS = ("zscore", "rrf")
CANDIDATES = 8
# Multiples of 1/64: sums and products of these are exact, so the tests judge the algebra and not the rounding.
score = st.integers(-640, 640).map(lambda n: n / 64)


def columns(smallest: int = 1, largest: int = CANDIDATES) -> st.SearchStrategy[Float64]:
    return st.lists(score, min_size=smallest, max_size=largest).map(lambda scores: np.array(scores, np.float64))


channel = st.builds(
    Channel, st.sampled_from(["dense", "sparse"]), st.sampled_from([0.5, 1.0, 2.0]), columns(CANDIDATES)
)
channels = st.lists(channel, min_size=1, max_size=3)
method = st.sampled_from(METHODS)


@given(method, channels, st.permutations(range(CANDIDATES)))
def test_the_order_of_candidates_changes_no_score(method: str, channels: list[Channel], shuffled: list[int]) -> None:
    moved = [Channel(one.name, one.weight, one.scores[shuffled]) for one in channels]
    assert fuse(method, moved) == pytest.approx(fuse(method, channels)[:, shuffled], abs=1e-12)


@given(method, channels)
def test_a_channel_is_judged_without_regard_to_the_others(method: str, channels: list[Channel]) -> None:
    parts = fuse(method, channels)
    for part, one in zip(parts, channels, strict=True):
        assert (part == fuse(method, [one])[0]).all()


@given(method, channels)
def test_what_is_no_worse_anywhere_ranks_no_lower(method: str, channels: list[Channel]) -> None:
    scores = fuse(method, channels).sum(axis=0)
    for better in range(CANDIDATES):
        for worse in range(CANDIDATES):
            if all(one.scores[better] >= one.scores[worse] for one in channels):
                assert scores[better] >= scores[worse] - 1e-12


@given(columns(2), score.filter(lambda s: s > 0))
def test_raising_a_score_raises_its_z_score(scores: Float64, more: float) -> None:
    raised = scores.copy()
    raised[0] += more
    assert zscore(raised)[0] >= zscore(scores)[0] - 1e-12


@given(columns(), st.integers(1, 8), score)
def test_z_scores_do_not_know_units(scores: Float64, scale: int, shift: float) -> None:
    assert zscore(scale * scores + shift) == pytest.approx(zscore(scores), abs=1e-9)


@given(columns(2).filter(lambda s: len(set(s.tolist())) > 1))
def test_z_scores_have_mean_0_and_variance_1(scores: Float64) -> None:
    z = zscore(scores)
    assert z.mean() == pytest.approx(0, abs=1e-9)
    assert (z * z).mean() == pytest.approx(1)


@given(columns(0))
def test_reciprocal_rank_knows_the_order_only(scores: Float64) -> None:
    assert (reciprocal_rank(scores**3) == reciprocal_rank(scores)).all()


def test_equal_scores_share_the_best_of_their_ranks() -> None:
    assert reciprocal_rank(np.array([1.0, 5, 5, 9])).tolist() == [1 / 64, 1 / 62, 1 / 62, 1 / 61]


def test_a_channel_that_says_the_same_of_all_says_nothing() -> None:
    assert zscore(np.array([0.1 + 0.2, 0.3, 0.3])).tolist() == [0, 0, 0]
    assert zscore(np.array([])).tolist() == []


def test_the_classic_formula() -> None:
    parts = fuse("rrf", [Channel("x", 1, np.array([9.0, 1])), Channel("y", 1, np.array([0.0, 5]))])
    assert parts.tolist() == [[1 / 61, 1 / 62], [1 / 62, 1 / 61]]


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="'dbsf'; one of zscore, rrf"):
        fuse("dbsf", [])


def test_ties_go_by_place() -> None:
    assert ranked(np.array([1.0, 2, 1, 2])) == [1, 3, 0, 2]


def chain(size: int) -> Int64:
    """Each beside the one before it and the one after."""
    return np.array([[place - 1, place + 1 if place + 1 < size else -1] for place in range(size)], np.int64)


def test_what_is_beside_a_hit_makes_room_for_another() -> None:
    scores = np.array([5.0, 4.5, 0.0, 4.4])
    assert apart(scores, chain(4), 0.0, range(4)) == [(0, 0, 0), (1, 1, 0), (3, 0, 0), (2, 2, 0)]
    assert [place for place, _, _ in apart(scores, chain(4), 0.2, range(4))] == [0, 3, 1, 2]


@given(columns(), st.sampled_from([0.0, 0.25, 1.0]), st.sampled_from([0.0, 0.125, 0.5]), st.data())
def test_apart_takes_the_best_that_is_left(scores: Float64, penalty: float, spread: float, data: st.DataObject) -> None:
    among = data.draw(st.sets(st.sampled_from(range(len(scores)))))
    groups = data.draw(st.lists(st.integers(-1, 2), min_size=len(scores), max_size=len(scores)))
    beside = chain(len(scores))
    taken: list[int] = []

    def before(one: int) -> tuple[int, int]:
        near = len(set(beside[one].tolist()) & set(taken))
        return near, sum(groups[other] == groups[one] for other in taken) if groups[one] >= 0 and spread else 0

    for place, near, grouped in apart(scores, beside, penalty, among, groups, spread):
        # By the definition: counted anew for everyone at every step.
        down = {one: scores[one] - penalty * before(one)[0] - spread * before(one)[1] for one in among - {*taken}}
        assert place == min(down, key=lambda one: (-down[one], one))
        assert (near, grouped) == before(place)
        taken.append(place)
    assert set(taken) == among


@given(columns(), st.sampled_from([0.0, 0.5, 4.0]), st.data())
def test_diverse_takes_what_is_best_and_unlike_the_rest(scores: Float64, penalty: float, data: st.DataObject) -> None:
    among = data.draw(st.sets(st.sampled_from(range(len(scores)))))
    angles = data.draw(st.lists(st.sampled_from([0, 1, 2, 3]), min_size=len(scores), max_size=len(scores)))
    vectors = np.eye(4, dtype=np.float32)[angles]  # alike, or at right angles: exact
    taken: list[int] = []
    for place, likeness in diverse(scores, vectors, penalty, among):
        like = {one: float(any(angles[one] == angles[other] for other in taken)) for one in among - {*taken}}
        assert place == min(like, key=lambda one: (penalty * like[one] - scores[one], one))
        assert likeness == like[place]
        taken.append(place)
    assert set(taken) == among


def test_diverse_ends_where_it_is_told_to() -> None:
    vectors = np.array([[1, 0], [1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    order = diverse(np.array([9.0, 8.5, 8.0, 1.0]), vectors, 2.0, range(4), 3)
    assert [place for place, _ in order] == [0, 2, 1]
    assert [likeness for _, likeness in order] == pytest.approx([0, 0.6, 1])
