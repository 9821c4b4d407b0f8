"""Personalised PageRank over Episodes, the Entities that they mention, and Facts; and the channel "graph" made of it.

    x = (1 - DAMPING) s + DAMPING P^T x

s is where a walk begins, and begins again: at the Entities that the query names and at the first candidates. P steps
along a link, each as likely as its weight says. So what hangs together with the best candidates, or with whom the query
names, gets a share of their score, over as many steps as it takes: Page, Brin, Motwani and Winograd, "The PageRank
Citation Ranking" (1999), personalised after Haveliwala (WWW 2002); for recall over what texts mention, HippoRAG
(Gutierrez et al., NeurIPS 2024).

An Episode is linked to what it mentions, the stronger the fewer of the others mention it too: a link to a speaker, whom
half of all turns mention, says little. A Fact is linked to both its ends and to the Episode that it was read in.

`facts_about` brings in what no search found: the Episodes of Facts about whom the query names, where they share a
word with it. "Where does Ada live?" finds the Episode of (Ada, lives in, Lisbon) by "live".

Everything is in memory and as large as the pool; the whole graph of a namespace is never walked.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.ids import normalised_name
from core.nouns import AsOf, Entity, Fact, Float64, Int64
from core.ports import Record
from memory.analysis import name_terms, query_terms
from memory.fusion import Channel
from memory.ingest.entities import names

DAMPING = 0.5
"""How likely a walk goes on. Half, as HippoRAG has it: what is near the seeds counts most."""
TOLERANCE = 1e-9
"""Where the iteration stops: each step halves what is left to do, so after some 30."""
SEEDS = 10
"""How many of the first candidates a walk begins at."""
NAMES = 8
"""How many names of a query are looked up."""
FACTS_READ = 500
"""Of one Entity."""
FACTS = 20
"""How many Facts about whom the query names take part."""


class Graph:
    """Nodes by what they stand for, and links between them, either way."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._links: list[tuple[int, int]] = []
        self._weights: list[float] = []

    def __len__(self) -> int:
        return len(self._numbers)

    def __contains__(self, node: Hashable) -> bool:
        return node in self._numbers

    def number(self, node: Hashable) -> int:
        """Its place in every array, in the order in which they were first asked for; it is added if need be."""
        return self._numbers.setdefault(node, len(self._numbers))

    def link(self, one: Hashable, other: Hashable, weight: float = 1.0) -> None:
        """`weight` is above 0. Linked twice, two nodes are linked with the sum."""
        self._links.append((self.number(one), self.number(other)))
        self._weights.append(weight)

    def steps(self) -> tuple[Int64, Int64, Float64]:
        """Where each step begins, where it ends, and how likely it is from there."""
        links = np.array(self._links, np.int64).reshape(-1, 2)
        begin, end = np.concatenate([links, links[:, ::-1]]).T
        weight = np.array(self._weights * 2)
        return begin, end, weight / np.bincount(begin, weight, len(self))[begin]


def personalised_pagerank(graph: Graph, seeds: Float64, damping: float = DAMPING) -> Float64:
    """How much of the time a walk is at each node; adds up to 1. From a node without links it begins again.

    `seeds`, [nodes], is 0 or more each, and not 0 everywhere; `damping` is at least 0 and less than 1.
    """
    start = seeds / seeds.sum()
    begin, end, likely = graph.steps()
    stuck = np.bincount(begin, minlength=len(graph)) == 0
    at = start
    while True:
        moved = np.bincount(end, at[begin] * likely, len(graph)) + at[stuck].sum() * start
        there = (1 - damping) * start + damping * moved
        if float(np.abs(there - at).sum()) <= TOLERANCE:
            return np.asarray(there, np.float64)
        at = there


@dataclass(frozen=True, slots=True)
class About:
    """Whom and what a query names, and the Facts about them that share a word with it, best first."""

    named: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    @property
    def sources(self) -> set[str]:
        """The Episodes that the Facts were read in, or told with."""
        return {fact.episode_id for fact in self.facts}


def facts_about(record: Record, namespace: str, text: str, weights: Mapping[int, float], as_of: AsOf) -> About:
    """Names that are Entities here are those that their Entity is shown by, as of then.

    Facts are those that hold then and have an Episode, by the IDF of the words that they share with the query besides
    the name, ties by id. `weights` is the IDF of each of the query's terms.
    """
    said = list(dict.fromkeys(normalised_name(one.name) for one in names(text)))[:NAMES]
    named = tuple(dict.fromkeys(record.names_of(namespace, name, as_of)[0] for name in said))
    found: dict[str, tuple[float, Fact]] = {}
    for name in named:
        others = {term: weight for term, weight in weights.items() if term not in name_terms(name)}
        for fact in record.around(namespace, name, as_of, limit=FACTS_READ):
            shared = math.fsum(others.get(term, 0.0) for term in query_terms(_words(fact)))
            if shared and fact.episode_id:
                found[fact.id] = (shared, fact)
    best = sorted(found.values(), key=lambda one: (-one[0], one[1].id))
    return About(named, tuple(fact for _, fact in best[:FACTS]))


def graph_channel(
    weight: float,
    scores: Float64,
    episode_ids: Sequence[str],
    mentioned: Mapping[str, Sequence[Entity]],
    about: About,
) -> Channel:
    """The share of the walks that each Episode gets. `scores` is what the channels before gave, [episodes].

    `mentioned` is what each of the Episodes mentions.
    """
    graph = Graph()
    for one in episode_ids:
        graph.number(("episode", one))
    many = Counter(entity.id for entities in mentioned.values() for entity in entities)
    for one, entities in mentioned.items():
        for entity in entities:
            rarity = math.log(1 + (len(episode_ids) - many[entity.id] + 0.5) / (many[entity.id] + 0.5))
            graph.link(("episode", one), _node(entity), rarity)
    for fact in about.facts:
        graph.link(("fact", fact.id), _node(fact.subject))
        if isinstance(fact.object, Entity):
            graph.link(("fact", fact.id), _node(fact.object))
        if ("episode", fact.episode_id) in graph:
            graph.link(("fact", fact.id), ("episode", fact.episode_id))
    seeds = np.zeros(len(graph))
    first = np.argsort(-scores, kind="stable")[:SEEDS]
    trust = np.exp(scores[first] - scores[first].max())
    seeds[first] = trust / trust.sum()
    asked = [graph.number(node) for name in about.named if (node := ("entity", normalised_name(name))) in graph]
    seeds[asked] += 1 / max(len(asked), 1)
    return Channel("graph", weight, personalised_pagerank(graph, seeds)[: len(episode_ids)])


def _node(entity: Entity) -> tuple[str, str]:
    return "entity", normalised_name(entity.name)


def _words(fact: Fact) -> str:
    """A Fact in words: "Ada lives in Lisbon"."""
    target = fact.object.name if isinstance(fact.object, Entity) else fact.object
    return f"{fact.subject.name} {fact.relation.replace('_', ' ')} {target}"
