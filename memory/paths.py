"""The ways from one Entity to another over the Facts that hold as of a moment. Pure: Facts come from a function.

A path is a sequence of Facts, each with an Entity that the one before it has too; it passes no Entity twice, and takes
a Fact in either direction. Facts with a plain value as object lead nowhere. Facts are read breadth first from both ends
to the middle, which is all that a path can be made of; then paths are put together from the start, and no step is taken
from where the end can no longer be reached. Both are bounded, and what was cut short says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from core.ids import normalised_name
from core.nouns import AsOf, Entity, Fact
from memory.temporal import ALL_MANY, Policies, holding, touches

MAX_READ = 2_000
"""Entities whose Facts are read for one answer."""
MAX_TRIED = 100_000
"""Steps that are tried for one answer, those into a dead end included."""

_Edges = Mapping[str, Mapping[str, tuple[Fact, str]]]
"""By the normalised name of an Entity and the id of a Fact: the Fact, and the Entity at its other end."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Paths, shortest first, then by the ids of their Facts in turn. `truncated`: there may be more."""

    found: tuple[tuple[Fact, ...], ...]
    truncated: bool


def paths(
    start: str,
    end: str,
    hops: int,
    facts_of: Callable[[str], Iterable[Fact]],
    as_of: AsOf,
    limit: int,
    policies: Policies = ALL_MANY,
) -> Paths:
    """At most `limit` paths of at most `hops` Facts between two Entities of other names.

    `facts_of` is that of `memory.temporal.neighbours`, and called at most once for each Entity.
    """
    first, last = normalised_name(start), normalised_name(end)
    read = _Reading(facts_of, as_of, policies)
    # An edge of a path is at most hops // 2 away from the one end, or less than that from the other.
    whole = read.around(first, hops - hops // 2) and read.around(last, hops // 2)
    search = _Search(read.edges, last, limit)
    for length in range(1, hops + 1):
        search.extend(first, length, (), {first})
    return Paths(tuple(search.found), search.stopped or not whole)


class _Reading:
    """Facts around Entities, each Entity read once."""

    def __init__(self, facts_of: Callable[[str], Iterable[Fact]], as_of: AsOf, policies: Policies) -> None:
        self.edges: defaultdict[str, dict[str, tuple[Fact, str]]] = defaultdict(dict)
        self._facts_of = facts_of
        self._as_of = as_of
        self._policies = policies
        self._done: set[str] = set()

    def around(self, name: str, steps: int) -> bool:
        """Reads breadth first what is within so many steps; False where there was too much to read."""
        frontier, seen = [name], {name}
        for _ in range(steps):
            following: list[str] = []
            for one in frontier:
                if not self._read(one):
                    return False
                following += (other for _, other in self.edges[one].values())
            frontier = sorted(set(following) - seen)
            seen.update(frontier)
        return True

    def _read(self, name: str) -> bool:
        if name in self._done:
            return True
        if len(self._done) >= MAX_READ:
            return False
        self._done.add(name)
        for fact in holding(self._facts_of(name), self._as_of, self._policies):
            if isinstance(fact.object, Entity) and touches(fact, name):
                one, other = normalised_name(fact.subject.name), normalised_name(fact.object.name)
                if one != other:
                    self.edges[one][fact.id] = (fact, other)
                    self.edges[other][fact.id] = (fact, one)
        return True


class _Search:
    """Puts paths to one Entity together, up to a limit. `stopped`: it ended before it had tried all."""

    def __init__(self, edges: _Edges, end: str, limit: int) -> None:
        self.found: list[tuple[Fact, ...]] = []
        self.stopped = False
        self._edges = edges
        self._end = end
        self._limit = limit
        self._tried = 0
        self._away = dict(_distances(edges, end))

    def extend(self, name: str, left: int, path: tuple[Fact, ...], passed: set[str]) -> None:
        """Adds the paths that begin with `path`, which has come to `name`, and have exactly `left` more Facts."""
        for _, (fact, other) in sorted(self._edges.get(name, {}).items()):
            if other in passed or self._away.get(other, left) > left - 1 or (other == self._end) != (left == 1):
                continue
            self._tried += 1
            one_too_many = left == 1 and len(self.found) == self._limit
            self.stopped = self.stopped or one_too_many or self._tried > MAX_TRIED
            if self.stopped:
                return
            if left == 1:
                self.found.append((*path, fact))
            else:
                self.extend(other, left - 1, (*path, fact), passed | {other})


def _distances(edges: _Edges, end: str) -> Iterator[tuple[str, int]]:
    """Every Entity from which there is a way to the end, with the number of Facts on the shortest."""
    frontier, seen, away = [end], {end}, 0
    while frontier:
        yield from ((name, away) for name in frontier)
        frontier = sorted({other for name in frontier for _, other in edges.get(name, {}).values()} - seen)
        seen.update(frontier)
        away += 1
