"""Personalised PageRank against a linear solver, and what the channel made of it says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.nouns import Entity, Fact, Float64, Interval
from memory.graph import About, Graph, graph_channel, personalised_pagerank

NODES = 7
node = st.integers(0, NODES - 1)
links = st.lists(st.tuples(node, node, st.sampled_from([0.5, 1.0, 3.0])), min_size=1, max_size=15)
seeds = st.lists(st.sampled_from([0.0, 1.0, 2.5]), min_size=NODES, max_size=NODES).filter(any).map(np.array)
damping = st.sampled_from([0.0, 0.3, 0.5, 0.85])


def graph_of(linked: list[tuple[int, int, float]]) -> Graph:
    graph = Graph()
    for number in range(NODES):
        graph.number(number)
    for one, other, weight in linked:
        graph.link(one, other, weight)
    return graph


@given(links, seeds, damping)
def test_it_is_the_solution_of_the_linear_system(
    linked: list[tuple[int, int, float]], begun: Float64, going_on: float
) -> None:
    weights = np.zeros((NODES, NODES))
    for one, other, weight in linked:
        weights[one, other] += weight
        weights[other, one] += weight
    start = begun / begun.sum()
    steps = np.array([row / row.sum() if row.any() else start for row in weights])
    solved = np.linalg.solve(np.eye(NODES) - going_on * steps.T, (1 - going_on) * start)
    assert personalised_pagerank(graph_of(linked), begun, going_on) == pytest.approx(solved, abs=1e-7)


@given(links, seeds)
def test_shares_add_up_and_scale_does_not_matter(linked: list[tuple[int, int, float]], begun: Float64) -> None:
    found = personalised_pagerank(graph_of(linked), begun)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1)
    tripled = [(one, other, 3 * weight) for one, other, weight in linked]
    assert personalised_pagerank(graph_of(tripled), 2 * begun) == pytest.approx(found)


def test_a_graph_without_links_stays_at_its_seeds() -> None:
    graph = Graph()
    assert [graph.number(name) for name in ("one", "other", "one")] == [0, 1, 0]
    assert personalised_pagerank(graph, np.array([3.0, 1.0])) == pytest.approx([0.75, 0.25])


def entity(name: str) -> Entity:
    return Entity(f"id of {name}", name)


def test_what_mentions_the_same_is_ahead_of_what_mentions_what_all_do() -> None:
    ids = ["first", "same", "common", "alone"]
    ada, tilly = entity("Ada"), entity("Tilly")
    mentioned = {"first": [ada, tilly], "same": [tilly], "common": [ada]}
    scores = np.array([5.0, 0.0, 0.0, 0.0])
    crowd = {f"other {number}": [ada] for number in range(8)}
    channel = graph_channel(0.5, np.pad(scores, (0, 8)), [*ids, *crowd], mentioned | crowd, About())
    first, same, common, alone = channel.scores[:4].tolist()
    assert (channel.name, channel.weight, len(channel.scores)) == ("graph", 0.5, 12)
    assert first > same > common > alone >= 0


def test_whom_the_query_names_and_its_facts_lead_to_their_episodes() -> None:
    ids = ["lisbon", "paris", "first"]
    fact = Fact("f", entity("Ada"), "lives_in", entity("Lisbon"), Interval(), 1, 1, 1, episode_id="lisbon")
    gone = Fact("g", entity("Ada"), "likes", "tea", Interval(), 1, 1, 1, episode_id="not in the pool")
    mentioned = {"lisbon": [entity("Lisbon")], "paris": [entity("Paris")]}
    scores = np.array([0.0, 0.0, 9.0])
    about = About(("Ada", "Nobody"), (fact, gone))
    lisbon, paris, _ = graph_channel(1.0, scores, ids, mentioned, about).scores.tolist()
    assert lisbon > paris
    assert about.sources == {"lisbon", "not in the pool"}
    assert graph_channel(1.0, scores, ids, mentioned, about).scores.sum() < 1, "Entities and Facts have their share"
