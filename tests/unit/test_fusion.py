"""What fusion promises, whatever the scores."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.fusion import Channel, fuse, reciprocal_rank, zscore

METHODS = ("zscore", "rrf")
# Multiples of 1/64: sums and products of these are exact, so the tests judge the algebra and not the rounding.
score = st.integers(-640, 640).map(lambda n: n / 64)
column = st.dictionaries(st.sampled_from("abcdefgh"), score, max_size=8)
channels = st.lists(
    st.builds(Channel, st.sampled_from(["dense", "sparse"]), st.sampled_from([0.5, 1.0, 2.0]), column),
    min_size=1,
    max_size=3,
)
method = st.sampled_from(METHODS)
CANDIDATES = "abcdefgh"


@given(method, channels, st.permutations(list(CANDIDATES)))
def test_the_order_of_candidates_changes_nothing(method: str, channels: list[Channel], shuffled: list[str]) -> None:
    assert fuse(method, channels, shuffled) == fuse(method, channels, CANDIDATES)


@given(method, channels, st.randoms())
def test_the_order_of_channels_changes_no_score(method: str, channels: list[Channel], random: object) -> None:
    backwards = fuse(method, list(reversed(channels)), CANDIDATES)
    assert [(f.id, f.score) for f in backwards] == [(f.id, f.score) for f in fuse(method, channels, CANDIDATES)]


@given(method, channels)
def test_what_is_no_worse_anywhere_ranks_no_lower(method: str, channels: list[Channel]) -> None:
    fused = {f.id: f.score for f in fuse(method, channels, CANDIDATES)}
    raw = [dict(zip(CANDIDATES, channel.raw(CANDIDATES), strict=True)) for channel in channels]
    for better in CANDIDATES:
        for worse in CANDIDATES:
            if all(scores[better] >= scores[worse] for scores in raw):
                assert fused[better] >= fused[worse] - 1e-12


@given(column.filter(lambda c: len(c) > 1), score.filter(lambda s: s > 0))
def test_raising_a_score_raises_its_z_score(scores: dict[str, float], more: float) -> None:
    ids = sorted(scores)
    before = zscore([scores[i] for i in ids])[0]
    after = zscore([scores[i] + (more if i == ids[0] else 0.0) for i in ids])[0]
    assert after >= before - 1e-12


@given(st.lists(score, min_size=1), st.integers(1, 8), score)
def test_z_scores_do_not_know_units(scores: list[float], scale: int, shift: float) -> None:
    assert zscore([scale * s + shift for s in scores]) == pytest.approx(zscore(scores), abs=1e-9)


@given(st.lists(score, min_size=2).filter(lambda s: len(set(s)) > 1))
def test_z_scores_have_mean_0_and_variance_1(scores: list[float]) -> None:
    z = zscore(scores)
    assert math.fsum(z) == pytest.approx(0, abs=1e-9)
    assert math.fsum(v * v for v in z) / len(z) == pytest.approx(1)


@given(st.lists(score))
def test_reciprocal_rank_knows_the_order_only(scores: list[float]) -> None:
    assert reciprocal_rank([s**3 for s in scores]) == reciprocal_rank(scores)


@given(method, channels)
def test_the_parts_add_up(method: str, channels: list[Channel]) -> None:
    for fused in fuse(method, channels, CANDIDATES):
        assert fused.score == pytest.approx(math.fsum(part.fused for part in fused.parts))
        assert [part.channel for part in fused.parts] == [channel.name for channel in channels]


@pytest.mark.parametrize("method", METHODS)
def test_ties_go_by_id(method: str) -> None:
    assert [f.id for f in fuse(method, [Channel("dense", 1, {"c": 1, "a": 1, "b": 1})], "cab")] == ["a", "b", "c"]


def test_a_channel_that_says_the_same_of_all_says_nothing() -> None:
    assert zscore([0.1 + 0.2, 0.3, 0.3]) == [0, 0, 0]


def test_what_a_channel_did_not_find_gets_its_floor_or_its_lowest_score() -> None:
    scores = {"a": 3, "b": 2}
    assert Channel("sparse", 1, scores, floor=0).raw("abc") == [3, 2, 0]
    assert Channel("dense", 1, scores).raw("abc") == [3, 2, 2]
    assert Channel("dense", 1, {}).raw("abc") == [0, 0, 0]


def test_the_classic_formula() -> None:
    fused = fuse("rrf", [Channel("x", 1, {"a": 9, "b": 1}), Channel("y", 1, {"a": 0, "b": 5})], "ab")
    assert [(f.id, f.score) for f in fused] == [("a", 1 / 61 + 1 / 62), ("b", 1 / 62 + 1 / 61)]


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ValueError, match="'dbsf'; one of zscore, rrf"):
        fuse("dbsf", [], "a")
