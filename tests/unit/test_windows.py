"""Episodes as columns say what Episodes one by one say, and windows who stands beside whom."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.nouns import AsOf, Episode, EpisodeFilter, Interval, Source, SourceKind
from core.windows import EpisodeColumns, beside, windows_of

NAMES = st.sampled_from(["", "Ann", "Bob"])
MOMENTS = st.integers(0, 4)
KINDS = st.sampled_from(list(SourceKind))
SOME = st.lists(NAMES, max_size=2).map(tuple)


@st.composite
def episodes(draw: st.DrawFn) -> list[Episode]:
    count = draw(st.integers(0, 6))
    return [
        Episode(f"e{n}", "a", Source(draw(KINDS), "s"), draw(NAMES), n, draw(NAMES), f"text {n}", draw(MOMENTS), "x", 7,
                draw(MOMENTS), draw(MOMENTS))
        for n in range(count)
    ]  # fmt: skip


ends = st.builds(Interval, st.none() | MOMENTS, st.none() | MOMENTS.map(lambda end: end + 5))


@given(
    episodes(),
    st.builds(
        EpisodeFilter, speakers=SOME, kinds=st.lists(KINDS, max_size=2).map(tuple), conversations=SOME, told=ends
    ),
    st.builds(AsOf, MOMENTS, MOMENTS, MOMENTS),
)
def test_columns_say_what_the_episodes_say(told: list[Episode], where: EpisodeFilter, as_of: AsOf) -> None:
    columns = EpisodeColumns.of("a", told)
    assert list(columns) == told
    assert columns.allowed(where, as_of).tolist() == [where.allows(one, as_of) for one in told]
    assert columns.archived(as_of).tolist() == [one.archived(as_of) for one in told]
    assert list(columns.take([*reversed(range(len(told)))])) == told[::-1]


@given(st.lists(st.lists(st.integers(0, 9), max_size=5, unique=True), max_size=5), st.integers(0, 4))
def test_beside_is_who_stands_within_the_radius_in_any_window(windows: list[list[int]], radius: int) -> None:
    places = np.full((len(windows), max(map(len, windows), default=0)), -1, np.int64)
    expected: list[set[int]] = [set() for _ in range(10)]
    for row, window in enumerate(windows):
        places[row, : len(window)] = window
        for at, one in enumerate(window):
            expected[one] |= set(window[max(0, at - radius) : at + radius + 1]) - {one}
    near, _ = beside(places, 10, radius)
    assert [[other for other in row if other >= 0] for row in near.tolist()] == [sorted(one) for one in expected]


def test_before_is_the_one_right_before_and_nobody_where_that_is_not_there() -> None:
    _, before = beside(np.array([[0, 1, 2], [-1, 3, 4], [5, -1, -1]]), 6, 1)
    assert before.tolist() == [-1, 0, 1, -1, 3, -1]


def test_a_window_is_read_by_the_id_of_its_centre() -> None:
    source = Source(SourceKind.TESTIMONY, "s")
    told = EpisodeColumns.of("a", (Episode(f"e{n}", "a", source, "c", n, "", str(n), 0, "", 0, 1) for n in range(3)))
    windows = windows_of(told, [10, 11, 12], [[12, 10], [11]], [12, 11])
    assert {centre: [one.text for one in near] for centre, near in windows.items()} == {"e2": ["2", "0"], "e1": ["1"]}
    assert len(windows_of(EpisodeColumns("a"), [], [], [])) == 0
