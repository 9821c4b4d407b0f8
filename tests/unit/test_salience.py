"""Salience of candidates, against a plain reading of what it says it is."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import DAY
from core.nouns import ConceptColumns, Episode, Keeping, Source
from core.windows import EpisodeColumns
from memory.analysis import context_terms, episode_context
from memory.channels import Pool
from memory.forget import retention
from memory.salience import impressions, retentions, salience_channel

told = st.lists(st.frozensets(st.integers(0, 12), max_size=6), min_size=1, max_size=8)


def pool_of(said: list[frozenset[int]], told_at: list[int]) -> Pool:
    """Episodes of two Concepts, a statement and a question. What is even is stated, what is odd is asked."""
    episodes = [
        Episode(f"e{place:02}", "home", Source(), "", place, "Ada", "So. So?", at, "", at, place)
        for place, at in enumerate(told_at)
    ]
    rows = [
        sorted({*(term for term in terms if term % 2 == odd), *context_terms(episode_context("Ada", at))})
        for terms, at in zip(said, told_at, strict=True)
        for odd in (0, 1)
    ]
    entries = [(row, term) for row, terms in enumerate(rows) for term in terms]
    columns = ConceptColumns(
        episode_ids=tuple(one.id for one in episodes for _ in range(2)),
        ids=tuple(map(str, range(len(rows)))),
        ordinals=(0, 1) * len(said),
        start_bytes=(0, 4) * len(said),
        end_bytes=(3, 7) * len(said),
        languages=("",) * len(rows),
        vectors=np.zeros((len(rows), 2), np.float32),
        term_rows=np.array([row for row, _ in entries], np.int64),
        terms=np.array([term for _, term in entries], np.int64),
        term_weights=np.ones(len(entries), np.float32),
    )
    none = np.full((len(episodes), 0), -1, np.int64)
    return Pool(EpisodeColumns.of("home", episodes), none, np.full(len(episodes), -1, np.int64), columns)


@given(told, st.randoms(use_true_random=False))
def test_strength_and_surprise_are_those_of_a_reading_in_order(said: list[frozenset[int]], random: object) -> None:
    told_at = list(range(len(said)))
    random.shuffle(told_at)  # type: ignore[attr-defined]
    strength, surprise = impressions(pool_of(said, told_at))
    many, known = len(said), set[int]()
    for place in sorted(range(many), key=lambda one: told_at[one]):
        holding = [sum(term in other for other in said) for term in said[place] if term % 2 == 0]
        expected = math.fsum(math.log(1 + (many - count + 0.5) / (count + 0.5)) for count in holding)
        assert strength[place] == pytest.approx(expected)
        assert surprise[place] == pytest.approx(len(said[place] - known) / max(1, len(said[place])))
        known |= said[place]


def test_retention_is_that_of_forgetting() -> None:
    pool = pool_of([frozenset({1, 2}), frozenset({2, 3, 4}), frozenset()], [0, 30 * DAY, 60 * DAY])
    strength, surprise = impressions(pool)
    expected = [
        retention(strong, new, (60 - 30 * place) * DAY)
        for place, (strong, new) in enumerate(zip(strength.tolist(), surprise.tolist(), strict=True))
    ]
    assert retentions(pool, {}) == pytest.approx(expected)
    assert retentions(pool, {})[2] == 0


def test_what_was_cited_is_more_salient() -> None:
    pool = pool_of([frozenset({1, 2}), frozenset({1, 2}), frozenset({1, 4})], [0, 0, 0])
    kept = {
        "e01": Keeping("e01", uses=3, used_at=5 * DAY),
        "e00": Keeping("e00"),
        "e02": Keeping("e02", uses=1, used_at=3 * DAY),
    }
    channel = salience_channel(0.5, pool, kept)
    plain, cited = retentions(pool, {}), channel.scores
    assert (channel.name, channel.weight) == ("salience", 0.5)
    assert cited[0] == plain[0]
    assert cited[1] > plain[1]
    (strong, _, other), (new, _, newer) = (figures.tolist() for figures in impressions(pool))
    assert cited[1] == pytest.approx(retention(strong, 0, 0, 3, 0))
    assert cited[2] == pytest.approx(retention(other, newer, 0, 1, 2 * DAY))
    assert new == 1
