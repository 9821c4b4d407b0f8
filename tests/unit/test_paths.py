"""Paths between two Entities, against an oracle that tries every sequence of Facts."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.nouns import AsOf, Contradiction, Entity, Fact, Interval
from memory import paths as module
from memory.paths import paths

NAMES = "abcde"
NOW = AsOf(valid_at=5)


def linked(one: str, other: str, number: int, relation: str = "knows") -> Fact:
    ends = (Entity(f"id-{name}", name) for name in (one, other))
    return Fact(f"f{number}", next(ends), relation, next(ends), Interval(0, 9), number, number, number)


links = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=6, unique=True).map(
    lambda pairs: [linked(*pair, number) for number, pair in enumerate(pairs)]
)


def ids(found: tuple[tuple[Fact, ...], ...]) -> list[list[str]]:
    return [[fact.id for fact in path] for path in found]


def oracle(facts: list[Fact], start: str, end: str, hops: int) -> list[list[str]]:
    found = []
    for length in range(1, hops + 1):
        for chosen in permutations(facts, length):
            at, passed = start, [start]
            for fact in chosen:
                ends = [fact.subject.name, fact.object.name]  # type: ignore[union-attr]
                if at not in ends or at == end:
                    break
                at = ends[1 - ends.index(at)]
                passed.append(at)
            if at == end and len(passed) == length + 1 == len(set(passed)):
                found.append([fact.id for fact in chosen])
    return sorted(found, key=lambda path: (len(path), path))


@given(links, st.integers(1, 4))
def test_all_simple_paths_shortest_first_then_by_id(facts: list[Fact], hops: int) -> None:
    asked: list[str] = []

    def facts_of(name: str) -> list[Fact]:
        asked.append(name)
        return [fact for fact in facts if name in (fact.subject.name, fact.object.name)]  # type: ignore[union-attr]

    found = paths("A ", "e", hops, facts_of, NOW, limit=1000)
    assert ids(found.found) == oracle(facts, "a", "e", hops)
    assert not found.truncated
    assert len(asked) == len(set(asked)), "each Entity is read once"
    few = paths("a", "e", hops, facts_of, NOW, limit=1)
    assert few.found == found.found[:1]
    assert few.truncated == (len(found.found) > 1)


def test_what_does_not_hold_is_no_way() -> None:
    def lives(who: str, where: str, number: int) -> Fact:
        return linked(who, where, number, "lives_in")

    facts = [lives("a", "b", 1), lives("a", "c", 2), lives("e", "b", 3)]
    assert ids(paths("a", "e", 4, lambda _: facts, NOW, 9).found) == [["f1", "f3"]]
    single = {"lives_in": Contradiction.SINGLE}
    assert paths("a", "e", 4, lambda _: facts, NOW, 9, single).found == (), "a has moved on to c"
    assert paths("a", "e", 4, lambda _: facts, AsOf(valid_at=9), 9).found == ()


def test_what_is_cut_short_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [linked("a", "b", 1), linked("b", "c", 2), linked("c", "e", 3), linked("b", "e", 4)]
    whole = paths("a", "e", 4, lambda _: facts, NOW, 9)
    assert ids(whole.found) == [["f1", "f4"], ["f1", "f2", "f3"]]
    assert not whole.truncated
    for bound in ("MAX_READ", "MAX_TRIED"):
        with monkeypatch.context() as patched:
            patched.setattr(module, bound, 2)
            cut = paths("a", "e", 4, lambda _: facts, NOW, 9)
        assert cut.truncated
        assert set(cut.found) < set(whole.found)
