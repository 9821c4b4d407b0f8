"""Graphs for training a model of symbols: packed once, then drawn in batches with new symbols every time.

Making graphs is Python and slow, so a pool of them is made and kept as arrays; a batch takes some, gives every node of
every graph a symbol by chance and looks up the rest, all vectorised. So a graph that comes again is told in other
symbols. Pools are of graphs with no node deeper than `DEEPEST`: nothing in training has seven hops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cognition.latent.tasks.prosqa_graphs import (
    Graph,
    GraphSampler,
    Pairing,
    children,
    distances,
    farther_from_names,
)
from core.errors import InvalidArgument

DEEPEST = 6
"""The greatest distance of any node from the root in training."""
_RARITY = 0.6
"""A kind of graph (by hops and by the shortcut) that makes up a part p of its pool is drawn in proportion to
p ** (1 - _RARITY)."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Graphs as arrays. Nodes have the ids of their graphs."""

    edges: NDArray[np.int64]
    """[graphs, most edges, 2], zero where a graph has fewer."""
    counts: NDArray[np.int64]
    """How many edges each has."""
    asked: NDArray[np.int64]
    """[graphs, 3]: root, target, the other candidate."""
    hops: NDArray[np.int64]
    depth: NDArray[np.int64]
    """[graphs, symbols]: the distance of every node from the root, -1 where there is no path."""

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def symbols(self) -> int:
        """The most nodes a graph can have here."""
        return int(self.depth.shape[1])


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions in symbols. Candidates are in the order (target, other): whoever reads them may only add them up."""

    edges: Tensor
    """[batch, edges, 2] int64."""
    real: Tensor
    """[batch, edges]: False for padding."""
    root: Tensor
    candidates: Tensor
    """[batch, 2]."""
    hops: Tensor
    depth: Tensor
    """[batch, symbols]: as in `Packed`."""

    @property
    def target(self) -> Tensor:
        """The right one, shape [batch]."""
        return self.candidates[:, 0]


def pack(graphs: Sequence[Graph], symbols: int) -> Packed:
    """Packs graphs. InvalidArgument for one that has more nodes than there are symbols."""
    most = max(len(graph.edges) for graph in graphs)
    edges = np.zeros((len(graphs), most, 2), np.int64)
    depth = np.full((len(graphs), symbols), -1, np.int64)
    for row, graph in enumerate(graphs):
        if graph.nodes > symbols:
            raise InvalidArgument(
                f"graph {row} has {graph.nodes} nodes; the model takes {symbols} at most", field=f"data[{row}]"
            )
        edges[row, : len(graph.edges)] = graph.edges
        depth[row, : graph.nodes] = distances(children(graph.nodes, graph.edges), [graph.root])
    return Packed(
        edges,
        np.array([len(graph.edges) for graph in graphs]),
        np.array([(graph.root, graph.target, graph.neg_target) for graph in graphs]),
        np.array([graph.hops for graph in graphs]),
        depth,
    )


def batch(packed: Packed, rows: NDArray[np.int64], rng: np.random.Generator) -> Batch:
    """The graphs of these rows, in symbols drawn anew."""
    symbols, each = packed.symbols, np.arange(len(rows))
    place = rng.random((len(rows), symbols)).argsort(axis=1)
    counts = packed.counts[rows]
    most = int(counts.max())
    edges = packed.edges[rows, :most].reshape(len(rows), -1)
    depth = np.empty_like(packed.depth, shape=place.shape)
    np.put_along_axis(depth, place, packed.depth[rows], axis=1)
    root, target, other = (torch.from_numpy(place[each, node]) for node in packed.asked[rows].T)
    return Batch(
        torch.from_numpy(np.take_along_axis(place, edges, axis=1).reshape(len(rows), most, 2)),
        torch.from_numpy(np.arange(most) < counts[:, None]),
        root,
        torch.stack([target, other], dim=1),
        torch.from_numpy(packed.hops[rows]),
        torch.from_numpy(depth),
    )


@dataclass(frozen=True, slots=True)
class Pool:
    """What is trained on: graphs, and how often each is drawn."""

    packed: Packed
    cumulative: NDArray[np.float64]

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Rows of the pool, by their weight."""
        return np.searchsorted(self.cumulative, rng.random(count)).clip(max=len(self.packed) - 1)


def pool(graphs: int, symbols: int, seed: int, stopped: Callable[[], bool] = lambda: False) -> Pool:
    """A pool to train on: half official, a quarter with any leaves as candidates, a quarter of those larger.

    The halves are drawn equally often. Deep graphs, and such as the shortcut fails on, are rare: they are drawn more
    often than their share.
    """
    half, quarter = graphs // 2, graphs // 4
    parts: list[tuple[int, Iterator[Graph]]] = [
        (half, iter(GraphSampler(np.random.default_rng([seed, 0]), deepest=DEEPEST, most_nodes=symbols))),
        (
            quarter,
            iter(
                GraphSampler(np.random.default_rng([seed, 1]), pairing=Pairing.ANY, deepest=DEEPEST, most_nodes=symbols)
            ),
        ),
        (
            graphs - half - quarter,
            iter(
                GraphSampler(
                    np.random.default_rng([seed, 2]),
                    pairing=Pairing.ANY,
                    deepest=DEEPEST,
                    mean_nodes=min(28.0, 0.7 * symbols),
                    deviation=5.0,
                    most_nodes=symbols,
                )
            ),
        ),
    ]
    made = [next(drawn) for count, drawn in parts for _ in range(count) if not stopped()]
    kind = np.array([graph.hops * 3 + round(2 * farther_from_names(graph)) for graph in made])
    weight = np.bincount(kind)[kind].astype(np.float64) ** -_RARITY
    weight[:half] /= weight[:half].sum()
    weight[half:] /= max(weight[half:].sum(), 1e-12)
    return Pool(pack(made, symbols), np.cumsum(weight / weight.sum()))
