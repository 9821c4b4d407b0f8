"""One suite for every index: each must answer as a brute-force oracle does, in ids, in order, and in scores to 1e-5.

After it, what only one backend can do: Qdrant Edge is killed, damaged and held twice; a server does not answer.
"""

from __future__ import annotations

import logging
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from index_backends import LASTING_PLACES, PLACES, SPACE, T0, Maker, Oracle, Place, history, run

from core.clock import DAY, EARLIEST, LATEST
from core.errors import FailedPrecondition, InvalidArgument, Unavailable
from core.nouns import AsOf, EpisodeFilter, IndexPoint, Interval, ScoredConcept, SourceKind, Space, Sparse
from core.ports import Index
from memory.index.edge import EdgeIndex
from memory.index.qdrant import QdrantIndex

ALL = EpisodeFilter(kinds=())
NOW = AsOf()


def same(found: list[ScoredConcept], expected: list[ScoredConcept]) -> None:
    """The same scores, ids and order; but float32 cannot tell which of two scores is higher when they all but tie."""
    np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], rtol=0, atol=1e-5)
    start = 0
    for end in range(1, len(expected) + 1):
        if end == len(expected) or expected[end - 1].score - expected[end].score > 1e-6:
            ours, theirs = (_names(hits[start:end]) for hits in (found, expected))
            assert ours == theirs or (expected[start].score > expected[end - 1].score and set(ours) == set(theirs))
            start = end


def _names(hits: list[ScoredConcept]) -> list[tuple[str, str]]:
    return [(hit.concept_id, hit.episode_id) for hit in hits]


def agrees(
    index: Index,
    oracle: Oracle,
    make: Maker,
    namespace: str = "a",
    where: EpisodeFilter = ALL,
    as_of: AsOf = NOW,
    limit: int = 10,
) -> list[ScoredConcept]:
    """One dense and one sparse search give what the oracle gives; returns the dense one."""
    vector, terms = make.vector(), make.terms(5)
    found = index.search_dense(SPACE, namespace, vector, limit, where, as_of)
    same(found, oracle.dense(namespace, vector, limit, where, as_of))
    same(
        index.search_sparse(SPACE, namespace, terms, limit, where, as_of),
        oracle.sparse(namespace, terms, limit, where, as_of),
    )
    return found


@pytest.fixture(params=PLACES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    place: Place = request.param(tmp_path)
    index = place.open()
    yield index
    index.close()
    place.clear()


@pytest.fixture(params=LASTING_PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place: Place = request.param(tmp_path)
    yield place
    place.clear()


@pytest.fixture(scope="module", params=PLACES)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Index, Oracle]]:
    """400 points in two namespaces, for tests that only read."""
    place: Place = request.param(tmp_path_factory.mktemp("filled"))
    index, oracle, make = place.open(), Oracle(), Maker(1)
    for namespace in ("a", "b"):
        points = make.points(200, namespace)
        index.upsert(SPACE, points)
        oracle.upsert(points)
    yield index, oracle
    index.close()
    place.clear()


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
def test_searches_equal_brute_force(filled: tuple[Index, Oracle], limit: int) -> None:
    make = Maker(limit)
    for _ in range(5):
        found = agrees(*filled, make, limit=limit)
        assert len(found) == min(limit, 200)


DAY_50 = T0 + 50 * DAY
FILTERS = {
    "default": (EpisodeFilter(), NOW),
    "one speaker": (replace(ALL, speakers=("Zoë ÆØÅ 林",)), NOW),
    "the empty speaker": (replace(ALL, speakers=("",)), NOW),
    "two speakers": (replace(ALL, speakers=("Ada", "Grace Hopper")), NOW),
    "an unknown speaker": (replace(ALL, speakers=("ada",)), NOW),
    "one kind": (EpisodeFilter(kinds=(SourceKind.DREAM,)), NOW),
    "one conversation": (replace(ALL, conversations=("c/1",)), NOW),
    "the empty conversation and another": (replace(ALL, conversations=("", "c 2")), NOW),
    "told from": (replace(ALL, told=Interval(DAY_50, None)), NOW),
    "told before": (replace(ALL, told=Interval(None, DAY_50)), NOW),
    "told within a day": (replace(ALL, told=Interval(DAY_50, DAY_50 + DAY)), NOW),
    "told within nothing": (replace(ALL, told=Interval(DAY_50, DAY_50)), NOW),
    "valid at": (ALL, AsOf(valid_at=DAY_50)),
    "told by": (ALL, AsOf(told_by=DAY_50)),
    "told by, a moment before": (ALL, AsOf(told_by=DAY_50 - 1)),
    "valid before told by": (ALL, AsOf(valid_at=DAY_50, told_by=DAY_50 + 9 * DAY)),
    "seq": (ALL, AsOf(seq=50)),
    "seq before all": (ALL, AsOf(seq=0)),
    "before all": (ALL, AsOf(told_by=T0 - 1)),
    "all at once": (
        EpisodeFilter(
            speakers=("Ada", ""),
            kinds=(SourceKind.TESTIMONY, SourceKind.SELF, SourceKind.DREAM),
            conversations=("c/1", ""),
            told=Interval(T0 + 5 * DAY, T0 + 95 * DAY),
        ),
        AsOf(valid_at=T0 + 90 * DAY, told_by=T0 + 92 * DAY, seq=90),
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_filters_equal_brute_force(filled: tuple[Index, Oracle], name: str) -> None:
    where, as_of = FILTERS[name]
    make = Maker(3)
    for limit in (3, 40):
        agrees(*filled, make, where=where, as_of=as_of, limit=limit)


def test_random_filters_equal_brute_force(filled: tuple[Index, Oracle]) -> None:
    make = Maker(4)
    pick = make.random
    for _ in range(60):
        start, end = (pick.choice([None, T0 + pick.randrange(100) * DAY]) for _ in range(2))
        where = EpisodeFilter(
            speakers=tuple(pick.sample(["", "Ada", "Grace Hopper", "nobody"], pick.choice([0, 0, 1, 2]))),
            kinds=tuple(pick.sample(list(SourceKind), pick.choice([0, 2, 4]))),
            conversations=tuple(pick.sample(["", "c/1", "c 2"], pick.choice([0, 0, 1, 2]))),
            told=Interval(start, end),
        )
        as_of = AsOf(
            valid_at=pick.choice([LATEST, T0 + pick.randrange(100) * DAY]),
            told_by=pick.choice([LATEST, T0 + pick.randrange(100) * DAY]),
            seq=pick.choice([2**63 - 1, pick.randrange(100)]),
        )
        agrees(*filled, make, where=where, as_of=as_of)


def test_random_histories_equal_brute_force(index: Index) -> None:
    make, oracle = Maker(5), Oracle()
    pick = make.random
    for _ in range(40):
        namespace = pick.choice(["a", "b"])
        action = pick.random()
        held = oracle.ids(namespace)
        if action < 0.5:
            points = make.points(pick.randrange(1, 12), namespace)
            index.upsert(SPACE, points)
            oracle.upsert(points)
        elif action < 0.7 and held:
            points = [replace(make.point(namespace), concept_id=pick.choice(held)) for _ in range(3)]
            index.upsert(SPACE, points)
            oracle.upsert(points)
        elif action < 0.95:
            gone = pick.sample(held, min(len(held), 5))
            index.delete(SPACE, namespace, gone)
            for concept_id in gone:
                del oracle.points[namespace, concept_id]
        else:
            index.drop_namespace(SPACE, namespace)
            oracle.points = {key: point for key, point in oracle.points.items() if key[0] != namespace}
        for name in ("a", "b"):
            agrees(index, oracle, make, name)
            assert list(index.ids(SPACE, name)) == oracle.ids(name)
            assert index.count(SPACE, name) == len(oracle.ids(name))
        assert index.count(SPACE) == len(oracle.points)


def test_nothing_is_found_before_anything_is_written(index: Index) -> None:
    make = Maker(6)
    assert index.search_dense(SPACE, "a", make.vector(), 5, ALL, NOW) == []
    assert index.search_sparse(SPACE, "a", Sparse((1,), (1.0,)), 5, ALL, NOW) == []
    assert index.count(SPACE) == 0
    assert list(index.ids(SPACE, "a")) == []
    assert index.optimize(SPACE) is False
    index.delete(SPACE, "a", ["nothing"])
    index.drop_namespace(SPACE, "a")
    index.upsert(SPACE, [])
    assert index.count(SPACE) == 0


def test_no_search_crosses_a_namespace_and_none_moves_the_scores_of_another(index: Index) -> None:
    make = Maker(7)
    mine = make.points(20, "a")
    index.upsert(SPACE, mine)
    vector, terms = make.vector(), make.terms(8)
    before = (
        index.search_dense(SPACE, "a", vector, 50, ALL, NOW),
        index.search_sparse(SPACE, "a", terms, 50, ALL, NOW),
    )
    index.upsert(SPACE, [replace(make.point("a "), vector=vector, terms=terms) for _ in range(60)])
    after = (
        index.search_dense(SPACE, "a", vector, 50, ALL, NOW),
        index.search_sparse(SPACE, "a", terms, 50, ALL, NOW),
    )
    same(after[0], before[0])
    same(after[1], before[1])
    assert {hit.concept_id for hit in after[0]} == {point.concept_id for point in mine}
    assert index.search_dense(SPACE, "A", vector, 50, ALL, NOW) == []


def test_two_namespaces_may_hold_the_same_concept(index: Index) -> None:
    make = Maker(8)
    mine = make.point("a")
    theirs = replace(make.point("b"), concept_id=mine.concept_id)
    index.upsert(SPACE, [mine, theirs])
    assert index.count(SPACE) == 2
    assert index.search_dense(SPACE, "a", mine.vector, 5, ALL, NOW)[0].episode_id == mine.episode_id
    index.delete(SPACE, "a", [mine.concept_id])
    assert (index.count(SPACE, "a"), index.count(SPACE, "b")) == (0, 1)
    index.delete(SPACE, "a", [mine.concept_id])
    assert list(index.ids(SPACE, "b")) == [theirs.concept_id]


def test_an_upsert_replaces_the_whole_point(index: Index) -> None:
    make = Maker(9)
    old = replace(make.point(), terms=Sparse((1, 2), (1.0, 1.0)), speaker="Ada", seq=5)
    new = replace(make.point(), concept_id=old.concept_id, terms=Sparse(), speaker="Grace Hopper", seq=6)
    index.upsert(SPACE, [old])
    index.upsert(SPACE, [new])
    index.upsert(SPACE, [new])
    assert index.count(SPACE) == 1
    found = index.search_dense(SPACE, "a", new.vector, 5, ALL, NOW)
    same(found, [ScoredConcept(new.concept_id, new.episode_id, 1.0)])
    assert index.search_sparse(SPACE, "a", Sparse((1,), (1.0,)), 5, ALL, NOW) == []
    assert index.search_dense(SPACE, "a", new.vector, 5, replace(ALL, speakers=("Ada",)), NOW) == []
    assert index.search_dense(SPACE, "a", new.vector, 5, ALL, AsOf(seq=5)) == []


def test_the_last_of_a_concept_in_one_upsert_counts(index: Index) -> None:
    make = Maker(10)
    first = make.point()
    last = replace(make.point(), concept_id=first.concept_id)
    index.upsert(SPACE, [first, *make.points(3), last])
    assert index.count(SPACE) == 4
    assert index.search_dense(SPACE, "a", last.vector, 1, ALL, NOW)[0].episode_id == last.episode_id


def test_concept_ids_are_opaque(index: Index) -> None:
    make = Maker(11)
    names = ["z", "10", "9", "", "a/b c", "é", "z" * 300]
    index.upsert(SPACE, [replace(make.point(), concept_id=name) for name in names])
    assert list(index.ids(SPACE, "a")) == sorted(names)
    index.delete(SPACE, "a", ["10", "é"])
    assert list(index.ids(SPACE, "a")) == sorted(set(names) - {"10", "é"})


def test_more_points_than_a_batch_or_a_page(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    make, oracle = Maker(12), Oracle()
    monkeypatch.setattr("memory.index.points.BATCH", 32)
    monkeypatch.setattr("memory.index.edge._PAGE", 7)
    monkeypatch.setattr("memory.index.qdrant._PAGE", 7)
    points = make.points(100)
    index.upsert(SPACE, points)
    oracle.upsert(points)
    assert list(index.ids(SPACE, "a")) == oracle.ids("a")
    index.delete(SPACE, "a", oracle.ids("a")[:70])
    assert list(index.ids(SPACE, "a")) == oracle.ids("a")[70:]


def test_ties_are_by_concept_id_however_many_there_are(index: Index) -> None:
    make = Maker(13)
    vector, terms = make.vector(), Sparse((3, 4), (0.5, 0.25))
    tied = [replace(make.point(), vector=vector, terms=terms) for _ in range(150)]
    best = replace(make.point(), vector=vector, terms=Sparse((3, 4), (0.5, 0.5)))
    index.upsert(SPACE, [*tied, best])
    in_order = sorted(point.concept_id for point in tied)
    for limit in (1, 10, 60):
        dense = index.search_dense(SPACE, "a", vector, limit, ALL, NOW)
        assert [hit.concept_id for hit in dense] == sorted([*in_order, best.concept_id])[:limit]
        sparse = index.search_sparse(SPACE, "a", Sparse((3, 4), (1.0, 1.0)), limit, ALL, NOW)
        assert [hit.concept_id for hit in sparse] == [best.concept_id, *in_order][:limit]


def test_a_concept_or_a_query_may_have_no_terms(index: Index) -> None:
    make = Maker(14)
    silent = replace(make.point(), terms=Sparse())
    index.upsert(SPACE, [silent, replace(make.point(), terms=Sparse((0, 2**32 - 1), (2.0, 3.0)))])
    assert index.search_sparse(SPACE, "a", Sparse(), 5, ALL, NOW) == []
    assert index.search_sparse(SPACE, "a", Sparse((7,), (1.0,)), 5, ALL, NOW) == []
    assert [hit.score for hit in index.search_sparse(SPACE, "a", Sparse((2**32 - 1,), (1.5,)), 5, ALL, NOW)] == [4.5]
    assert len(index.search_dense(SPACE, "a", silent.vector, 5, ALL, NOW)) == 2


def test_times_are_exact_to_the_microsecond_from_year_1_to_9999(index: Index) -> None:
    make, oracle = Maker(15), Oracle()
    moments = [
        EARLIEST,
        EARLIEST + 1,
        -(2**53) - 1,
        -1,
        0,
        1,
        2**53,
        2**53 + 1,
        2**53 + 2,
        LATEST - 2,
        LATEST - 1,
        LATEST,
    ]
    points = [replace(make.point(), told_at=moment, seq=2**62 + n) for n, moment in enumerate(moments)]
    index.upsert(SPACE, points)
    oracle.upsert(points)
    for n, moment in enumerate(moments):
        for as_of in (AsOf(told_by=moment), AsOf(valid_at=moment), AsOf(seq=2**62 + n)):
            assert len(agrees(index, oracle, make, as_of=as_of, limit=50)) == n + 1
            agrees(index, oracle, make, as_of=as_of, limit=1)
        assert len(agrees(index, oracle, make, where=replace(ALL, told=Interval(moment, None)), limit=50)) == 12 - n
        assert len(agrees(index, oracle, make, where=replace(ALL, told=Interval(None, moment)), limit=50)) == n


def test_two_spaces_do_not_meet(index: Index) -> None:
    make = Maker(16)
    spaces = [SPACE, Space("encoder/mini", "2", 16), Space("encoder/mini", "1", 5), Space("encoder mini", "1", 16)]
    held = {}
    for space in spaces:
        held[space] = make.point(dimensions=space.dimensions)
        index.upsert(space, [held[space]])
    for space, point in held.items():
        assert index.count(space) == 1
        assert list(index.ids(space, "a")) == [point.concept_id]
        assert index.search_dense(space, "a", point.vector, 5, ALL, NOW)[0].concept_id == point.concept_id
    index.drop_namespace(SPACE, "a")
    assert [index.count(space) for space in spaces] == [0, 1, 1, 1]


def test_no_limit_no_result(index: Index) -> None:
    make = Maker(17)
    index.upsert(SPACE, make.points(3))
    assert index.search_dense(SPACE, "a", make.vector(), 0, ALL, NOW) == []
    assert index.search_sparse(SPACE, "a", Sparse((1,), (1.0,)), 0, ALL, NOW) == []


@pytest.mark.parametrize(
    "bad",
    [
        {"vector": np.ones(15, dtype=np.float32)},
        {"vector": np.ones((1, 16), dtype=np.float32)},
        {"vector": np.full(16, np.nan, dtype=np.float32)},
        {"terms": Sparse((1, 2), (1.0,))},
        {"terms": Sparse((2, 1), (1.0, 1.0))},
        {"terms": Sparse((1,), (float("inf"),))},
        {"terms": Sparse((2**32,), (1.0,))},
    ],
    ids=["short", "matrix", "nan", "lengths", "order", "infinite", "range"],
)
def test_what_is_not_of_the_space_is_refused_and_nothing_is_written(index: Index, bad: dict[str, object]) -> None:
    make = Maker(18)
    wrong = replace(make.point(), **bad)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as refusal:
        index.upsert(SPACE, [*make.points(2), wrong])
    assert refusal.value.field in bad
    assert index.count(SPACE) == 0
    index.upsert(SPACE, make.points(2))
    search: Callable[[], object] = (
        partial(index.search_dense, SPACE, "a", wrong.vector, 5, ALL, NOW)
        if "vector" in bad
        else partial(index.search_sparse, SPACE, "a", wrong.terms, 5, ALL, NOW)
    )
    with pytest.raises(InvalidArgument):
        search()


def test_optimizing_changes_no_answer(index: Index) -> None:
    make, oracle = Maker(19), Oracle()
    points = make.points(120)
    index.upsert(SPACE, points)
    index.delete(SPACE, "a", [point.concept_id for point in points[:40]])
    oracle.upsert(points[40:])
    assert index.optimize(SPACE) in (True, False)
    agrees(index, oracle, make, limit=100)
    more = make.points(20)
    index.upsert(SPACE, more)
    oracle.upsert(more)
    agrees(index, oracle, make, limit=100)
    assert list(index.ids(SPACE, "a")) == oracle.ids("a")


def test_what_was_written_is_there_when_opened_again(place: Place) -> None:
    make, oracle = Maker(20), Oracle()
    points = make.points(60)
    index = place.open()
    index.upsert(SPACE, points)
    index.delete(SPACE, "a", [points[0].concept_id])
    index.close()
    oracle.upsert(points[1:])
    again = place.open()
    assert list(again.ids(SPACE, "a")) == oracle.ids("a")
    agrees(again, oracle, make, limit=100)
    agrees(again, oracle, make, where=replace(ALL, speakers=("Ada",)), as_of=AsOf(seq=40))
    again.close()


def test_a_closed_index_says_so(place: Place) -> None:
    make = Maker(21)
    index = place.open()
    index.upsert(SPACE, make.points(1))
    index.close()
    index.close()
    with pytest.raises(Unavailable) as closed:
        index.count(SPACE)
    assert closed.value.reason == "INDEX_CLOSED"
    with pytest.raises(Unavailable):
        index.upsert(SPACE, make.points(1))


def fill(folder: Path, count: int = 30, seed: int = 22) -> Oracle:
    """Writes an Edge index in the folder; returns what it must answer."""
    oracle, points = Oracle(), Maker(seed).points(count)
    index = EdgeIndex(folder)
    index.upsert(SPACE, points)
    index.close()
    oracle.upsert(points)
    return oracle


def shard_of(folder: Path) -> Path:
    return next(path for path in folder.iterdir() if path.is_dir() and "." not in path.name)


def test_edge_refuses_a_second_holder_and_lets_go_when_closed(tmp_path: Path) -> None:
    first = EdgeIndex(tmp_path)
    with pytest.raises(FailedPrecondition, match="held by another process") as refusal:
        EdgeIndex(tmp_path)
    assert refusal.value.reason == "INDEX_IN_USE"
    code = "import sys, pathlib; from memory.index.edge import EdgeIndex; EdgeIndex(pathlib.Path(sys.argv[1]))"
    other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "FailedPrecondition: the index in" in other.stderr
    first.close()
    EdgeIndex(tmp_path).close()


@pytest.mark.parametrize("acks", [0, 1, 3, 8, 16, 28])
def test_edge_killed_at_any_point_keeps_what_it_returned_for(tmp_path: Path, acks: int) -> None:
    """The child prints a line after each step of a history; it may have done one more step than it could say."""
    child = subprocess.Popen(
        [sys.executable, run.__code__.co_filename, str(tmp_path), str(acks)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(1 + acks):  # the first line says that it starts
        assert child.stdout.readline()
    time.sleep(random.uniform(0, 0.03))
    child.kill()
    done = acks + len(child.stdout.readlines())
    child.wait()
    child.stdout.close()

    oracle = Oracle()
    possible: list[dict[tuple[str, str], IndexPoint]] = [{}]  # after the steps told of, and after one more
    for change, _ in zip(history(acks), range(done + 1), strict=False):
        change(oracle)
        possible = [*possible[-1:], dict(oracle.points)]
    index = EdgeIndex(tmp_path)
    held = {namespace: list(index.ids(SPACE, namespace)) for namespace in ("a", "b")}
    oracle.points = next(state for state in possible if all(_ids(state, name) == held[name] for name in held))
    for namespace in held:
        agrees(index, oracle, Maker(23), namespace, limit=500)
    index.upsert(SPACE, Maker(24).points(3))
    index.close()


def _ids(points: Mapping[tuple[str, str], object], namespace: str) -> list[str]:
    return sorted(concept_id for owner, concept_id in points if owner == namespace)


@pytest.mark.parametrize("victim", ["edge_config.json", "segment.json", "status.dat"])
def test_edge_puts_a_damaged_shard_aside_and_starts_empty(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, victim: str
) -> None:
    oracle = fill(tmp_path)
    index = EdgeIndex(tmp_path, optimize_every=1)
    index.optimize(SPACE)
    index.close()
    shard = shard_of(tmp_path)
    for damaged in shard.rglob(victim):
        damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 3])
    index = EdgeIndex(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert index.count(SPACE) == 0
    assert "index the space again from the record" in caplog.text
    assert (tmp_path / f"{shard.name}.damaged-1").is_dir()
    index.upsert(SPACE, list(oracle.points.values()))
    agrees(index, oracle, Maker(25), limit=100)
    index.close()


def test_edge_ends_what_a_crash_left_half_done(tmp_path: Path) -> None:
    oracle = fill(tmp_path)
    shard = shard_of(tmp_path)
    shard.rename(shard.with_name(f"{shard.name}.old"))
    for leftover in ("new", "next-123"):
        shard.with_name(f"{shard.name}.{leftover}").mkdir()
    index = EdgeIndex(tmp_path)
    agrees(index, oracle, Maker(26), limit=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["lock", shard.name])
    index.close()


def test_edge_optimizes_when_enough_was_written_and_searches_go_on(tmp_path: Path) -> None:
    make, oracle = Maker(27), Oracle()
    index = EdgeIndex(tmp_path, optimize_every=2000)
    points = make.points(1999)
    index.upsert(SPACE, points)
    assert index.optimize(SPACE) is False
    more = make.points(1)
    index.upsert(SPACE, more)
    index.delete(SPACE, "a", [point.concept_id for point in points[:1500]])
    oracle.upsert([*points[1500:], *more])
    outcome: list[bool] = []
    thread = threading.Thread(target=lambda: outcome.append(index.optimize(SPACE)))
    thread.start()
    searches = 0
    while thread.is_alive():
        agrees(index, oracle, make)
        searches += 1
    thread.join()
    assert outcome == [True]
    assert searches > 3
    agrees(index, oracle, make, limit=1000)
    assert index.optimize(SPACE) is False
    index.close()
    again = EdgeIndex(tmp_path)
    agrees(again, oracle, make, limit=1000)
    again.close()


def test_edge_survives_an_optimize_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oracle = fill(tmp_path)
    index = EdgeIndex(tmp_path, optimize_every=1)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(Unavailable) as failure:
        index.optimize(SPACE)
    assert failure.value.reason == "INDEX_OPTIMIZE_FAILED"
    agrees(index, oracle, Maker(28), limit=100)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["lock", shard_of(tmp_path).name])
    index.close()


def test_edge_closed_while_it_optimizes_stays_as_it_was(tmp_path: Path) -> None:
    oracle = fill(tmp_path, count=1000)
    index = EdgeIndex(tmp_path, optimize_every=1)
    failures: list[str] = []

    def optimize() -> None:
        try:
            index.optimize(SPACE)
        except Unavailable as error:
            failures.append(error.reason)

    thread = threading.Thread(target=optimize)
    thread.start()
    while not list(tmp_path.glob("*.next-*")):
        time.sleep(0.001)
    index.close()
    thread.join()
    assert failures in (["INDEX_OPTIMIZE_FAILED"], ["INDEX_CLOSED"])
    again = EdgeIndex(tmp_path)
    agrees(again, oracle, Maker(31), limit=1000)
    again.close()


def test_edge_is_written_and_read_by_many_threads(tmp_path: Path) -> None:
    index, oracle, errors = EdgeIndex(tmp_path), Oracle(), []
    kept = Maker(29).points(50, "kept")
    index.upsert(SPACE, kept)
    oracle.upsert(kept)

    def work(seed: int) -> None:
        make = Maker(seed)
        try:
            for _ in range(10):
                points = make.points(5, f"thread {seed}")
                index.upsert(SPACE, points)
                agrees(index, oracle, make, "kept")
                index.delete(SPACE, f"thread {seed}", [points[0].concept_id])
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert index.count(SPACE) == 50 + 6 * 10 * 4
    index.close()


def test_edge_opened_again_answers_from_memory_as_it_did_from_the_shard(tmp_path: Path) -> None:
    make = Maker(30)
    points = [make.point() for _ in range(600)]
    first = EdgeIndex(tmp_path)
    first.upsert(SPACE, points)
    first.delete(SPACE, "a", [point.concept_id for point in points[:50]])
    first.close()
    index = EdgeIndex(tmp_path)

    def found() -> list[list[ScoredConcept]]:
        asked = points[100:110]
        dense = [index.search_dense(SPACE, "a", one.vector, 20, ALL, NOW) for one in asked]
        return dense + [index.search_sparse(SPACE, "a", one.terms, 20, ALL, NOW) for one in asked]

    from_shard = found()
    assert not index._columns, "nothing was taken into memory yet"
    for namespace in sorted({point.namespace for point in points}):
        index.warm(SPACE, namespace)
    assert index._columns
    for warm, cold in zip(found(), from_shard, strict=True):
        same(warm, cold)
    late = make.point()
    index.upsert(SPACE, [late])
    assert index.search_dense(SPACE, late.namespace, late.vector, 1, ALL, NOW)[0].concept_id == late.concept_id
    index.close()


def test_a_server_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:9 ") as failure:
        QdrantIndex.connect("http://127.0.0.1:9", grpc_port=9, timeout_s=1)
    assert failure.value.reason == "INDEX_UNAVAILABLE"


def test_a_process_killed_again_and_again_applies_no_log_that_grows(tmp_path: Path) -> None:
    """After a start the first write brings into the segments what only the log had: without it all is there."""

    def left_behind(folder: str, index: EdgeIndex) -> Path:
        """The folder as a kill would leave it."""
        copy = tmp_path / folder
        shutil.copytree(index._folder, copy, ignore=shutil.ignore_patterns("lock"))
        index.close()
        return copy

    points = Maker(12).points(6)
    first = EdgeIndex(tmp_path / "first")
    first.upsert(SPACE, points[:5])
    second = EdgeIndex(left_behind("second", first))
    second.upsert(SPACE, points[5:])
    third = left_behind("third", second)
    (log,) = third.glob("*/wal")
    shutil.rmtree(log)
    index = EdgeIndex(third)
    assert list(index.ids(SPACE, "a")) == sorted(point.concept_id for point in points)
    index.close()
