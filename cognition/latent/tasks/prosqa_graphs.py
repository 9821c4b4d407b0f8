"""Graphs of ProsQA's distribution, drawn from a seed.

The sampler is the one of Coconut (arXiv 2412.06769, appendix A.2), with its constants fitted to the official sets:
nodes come one by one and take parents among what is there, one family under each of two names. The root is the name
that reaches deeper, the target its deepest leaf, the other candidate a leaf of the other family. `Pairing.BALANCED`
draws instead a leaf at a hop count in turn, and a pair in which the target is nearer to a name as often as it is
farther, so that the known shortcut (`farther_from_names`) is worth nothing.

Ids here follow the order of making, which leaks the depth: whoever shows them to a model shuffles them first.
Pure Python over draws of a numpy generator; some 5,000 graphs a second; balanced ones some 40.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.errors import InvalidArgument

Edge = tuple[int, int]

PARENTS = 1.45
"""The mean number of parents drawn for a node (Poisson)."""
NAMES = 0.12
"""The probability that a node which drew no parent is kept, as one more name."""
FAMILY = 0.35
"""The probability of taking the parents from the first family; the same for the second; else from anywhere."""
DEPTH_WEIGHT = 1.5
"""A parent at depth d is drawn with weight 1 + DEPTH_WEIGHT * d."""
MEAN_NODES, NODES_DEVIATION = 23.1, 2.0
NEITHER, FIRST, SECOND = 0, 1, 2


class Pairing(StrEnum):
    """How the question to a graph is chosen."""

    OFFICIAL = "official"
    """The root that reaches deeper and its deepest leaf, as in the official sets."""
    BALANCED = "balanced"
    """Each hop count in turn, and the shortcut right and wrong in turn."""
    ANY = "any"
    """Any root, any leaf, any other leaf: for training, ten times as fast as `BALANCED`."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A question over a graph: which of two nodes can be reached from the root?

    `edges` are (child, parent concept) pairs of node ids below `nodes`. `hops` is the shortest distance from `root` to
    `target`; `neg_target` cannot be reached.
    """

    nodes: int
    edges: tuple[Edge, ...]
    root: int
    target: int
    neg_target: int
    hops: int


def children(nodes: int, edges: Sequence[Edge]) -> list[list[int]]:
    """What each node points at."""
    out: list[list[int]] = [[] for _ in range(nodes)]
    for source, target in edges:
        out[source].append(target)
    return out


def distances(out: Sequence[Sequence[int]], sources: Sequence[int]) -> list[int]:
    """The shortest distance of every node from any of the sources; -1 where there is no path."""
    found = [-1] * len(out)
    for source in sources:
        found[source] = 0
    queue = list(sources)
    for node in queue:
        for child in out[node]:
            if found[child] < 0:
                found[child] = found[node] + 1
                queue.append(child)
    return found


def names_of(nodes: int, edges: Sequence[Edge]) -> list[int]:
    """The entity names: nodes that nothing points at."""
    below = {target for _, target in edges}
    return [node for node in range(nodes) if node not in below]


def farther_from_names(graph: Graph) -> float:
    """The known shortcut: pick the candidate that is farther from any name. 1 where right, 0.5 at a tie, else 0."""
    depth = distances(children(graph.nodes, graph.edges), names_of(graph.nodes, graph.edges))
    target, other = depth[graph.target], depth[graph.neg_target]
    return 1.0 if target > other else 0.5 if target == other else 0.0


class _Draws:
    """Uniform numbers of a numpy generator, taken a block at a time: one by one costs ten times as much."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._numbers = self._stream(rng)
        self._poisson = [math.exp(-PARENTS)]
        for count in range(1, 12):
            self._poisson.append(self._poisson[-1] + math.exp(-PARENTS) * PARENTS**count / math.factorial(count))

    @staticmethod
    def _stream(rng: np.random.Generator) -> Iterator[float]:
        while True:
            yield from rng.random(4096).tolist()

    def uniform(self) -> float:
        return next(self._numbers)

    def index(self, length: int) -> int:
        return int(next(self._numbers) * length)

    def parents(self) -> int:
        drawn = next(self._numbers)
        return next((count for count, edge in enumerate(self._poisson) if drawn < edge), len(self._poisson))

    def normal(self) -> float:
        radius = math.sqrt(-2.0 * math.log(1.0 - next(self._numbers)))
        return radius * math.cos(2.0 * math.pi * next(self._numbers))


@dataclass(slots=True)
class _Grown:
    """A graph before a question is asked of it. `family` of a node: the names it hangs under, as bits."""

    edges: list[Edge]
    family: list[int]
    out: list[list[int]]


def _grow(draws: _Draws, nodes: int) -> _Grown | None:
    """One graph, or None where a name is left with nothing under it."""
    edges: list[Edge] = []
    family = [FIRST, SECOND]
    weight = [1.0, 1.0]
    groups: tuple[list[int], ...] = ([], [0], [1], [])
    out: list[list[int]] = [[], []]
    while len(family) < nodes:
        count = draws.parents()
        place = draws.uniform()
        if place <= FAMILY:
            eligible = groups[NEITHER] + groups[FIRST]
        elif place <= 2 * FAMILY:
            eligible = groups[NEITHER] + groups[SECOND]
        else:
            eligible = list(range(len(family)))
        count = min(count, len(eligible))
        if count == 0 and draws.uniform() > NAMES:
            continue
        node, bits, depth = len(family), 0, math.inf
        total = sum([weight[parent] for parent in eligible])
        for _ in range(count):
            at = draws.uniform() * total
            for parent in eligible:
                at -= weight[parent]
                if at < 0:
                    break
            eligible.remove(parent)
            total -= weight[parent]
            bits |= family[parent]
            depth = min(depth, weight[parent])
            edges.append((parent, node))
            out[parent].append(node)
        groups[bits].append(node)
        family.append(bits)
        weight.append(depth + DEPTH_WEIGHT if count else 1.0)
        out.append([])
    return _Grown(edges, family, out) if out[0] and out[1] else None


def _leaves(grown: _Grown, root: int) -> tuple[list[int], list[int]]:
    """The distances from a name, and the leaves of its own family."""
    found = distances(grown.out, [root])
    family = FIRST if root == 0 else SECOND
    return found, [
        node
        for node in range(2, len(found))
        if found[node] > 0 and grown.family[node] == family and not grown.out[node]
    ]


class GraphSampler:
    """Draws graphs with a hop count within `hops` (both ends in), official or balanced.

    `mean_nodes` is the mean size before nodes without an edge are left out. `deepest`, where set, bounds the
    distance of every node from the root, not of the target alone.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        *,
        hops: tuple[int, int] = (3, 6),
        pairing: Pairing = Pairing.OFFICIAL,
        mean_nodes: float = MEAN_NODES,
        deviation: float = NODES_DEVIATION,
        most_nodes: int = 40,
        deepest: int | None = None,
    ) -> None:
        low, high = hops
        if not 1 <= low <= high:
            raise InvalidArgument(f"hops {low} to {high} is no range; give 1 or more, the lower first", field="hops")
        self._draws = _Draws(rng)
        self._low, self._high = low, high
        self._ask = {
            Pairing.OFFICIAL: self._official,
            Pairing.BALANCED: self._balanced,
            Pairing.ANY: self._any,
        }[pairing]
        self._mean, self._deviation, self._most = mean_nodes, deviation, most_nodes
        self._deepest = deepest
        self._turn = 0

    def __iter__(self) -> Iterator[Graph]:
        while True:
            yield self.draw()

    def draw(self) -> Graph:
        """One graph."""
        while True:
            size = round(self._mean + self._deviation * self._draws.normal())
            grown = _grow(self._draws, min(size, self._most))
            graph = self._ask(grown) if grown else None
            if graph:
                self._turn += 1
                return graph

    def _official(self, grown: _Grown) -> Graph | None:
        sides = [_leaves(grown, 0), _leaves(grown, 1)]
        if not sides[0][1] or not sides[1][1]:
            return None
        depth = [max(found[node] for node in leaves) for found, leaves in sides]
        root = 0 if depth[0] > depth[1] else 1
        found, leaves = sides[root]
        if not self._low <= depth[root] <= self._high or self._too_deep(found):
            return None
        target = self._one([node for node in leaves if found[node] == depth[root]])
        return _asked(grown, root, target, self._one(sides[1 - root][1]), depth[root])

    def _balanced(self, grown: _Grown) -> Graph | None:
        """One with the hop count and the sign of the shortcut whose turn it is."""
        span = self._high - self._low + 1
        hops, farther = self._low + self._turn // 2 % span, self._turn % 2 == 0
        sides = [_leaves(grown, 0), _leaves(grown, 1)]
        depth: list[int] = []
        for root in (0, 1):
            found, leaves = sides[root]
            targets = [node for node in leaves if found[node] == hops]
            if not targets or self._too_deep(found):
                continue
            depth = depth or distances(grown.out, names_of(len(grown.out), grown.edges))
            pairs = [
                (target, other)
                for target in targets
                for other in sides[1 - root][1]
                if (depth[target] > depth[other] if farther else depth[target] < depth[other])
            ]
            if pairs:
                target, other = pairs[self._draws.index(len(pairs))]
                return _asked(grown, root, target, other, hops)
        return None

    def _any(self, grown: _Grown) -> Graph | None:
        """One with either root and any leaf in range, each distance as likely as the others that the graph has."""
        first = self._draws.index(2)
        for root in (first, 1 - first):
            found, leaves = _leaves(grown, root)
            reached = sorted({found[node] for node in leaves if self._low <= found[node] <= self._high})
            others = _leaves(grown, 1 - root)[1]
            if reached and others and not self._too_deep(found):
                hops = self._one(reached)
                target = self._one([node for node in leaves if found[node] == hops])
                return _asked(grown, root, target, self._one(others), hops)
        return None

    def _too_deep(self, found: Sequence[int]) -> bool:
        return self._deepest is not None and max(found) > self._deepest

    def _one(self, nodes: Sequence[int]) -> int:
        return nodes[self._draws.index(len(nodes))]


def _asked(grown: _Grown, root: int, target: int, other: int, hops: int) -> Graph:
    """The question with nodes that have no edge left out."""
    used = sorted({node for edge in grown.edges for node in edge})
    place = {node: number for number, node in enumerate(used)}
    edges = tuple((place[source], place[end]) for source, end in grown.edges)
    return Graph(len(used), edges, place[root], place[target], place[other], hops)
