"""ProsQA as graphs, as text, as a file and as rows of symbols."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cognition.latent.tasks import prosqa
from cognition.latent.tasks.catalog import named
from cognition.latent.tasks.prosqa_graphs import (
    Graph,
    GraphSampler,
    Pairing,
    children,
    distances,
    farther_from_names,
    names_of,
)
from cognition.latent.tasks.prosqa_rows import GraphTokenizer
from core.errors import InvalidArgument, NotFound

TEXT = (
    "Every shumpus is a rempus. Tom is a terpus. Every terpus is a brimpus. Alex is a shumpus. "
    "Every brimpus is a lempus. Is Tom a lempus or rempus?"
)

graphs = st.builds(
    lambda seed, pairing: GraphSampler(np.random.default_rng(seed), pairing=pairing).draw(),
    st.integers(0, 2**32),
    st.sampled_from([Pairing.OFFICIAL, Pairing.ANY]),
)


def drawn(count: int, seed: int = 0, **asked) -> list[Graph]:
    sampler = GraphSampler(np.random.default_rng(seed), **asked)
    return [sampler.draw() for _ in range(count)]


def test_made_graphs_have_the_official_numbers():
    # Of the official test set: 22.8 nodes, 35.84 edges, hops 3, 4, 5 and 6 in 202, 217, 69 and 12 of 500; 91.1%.
    made = drawn(3000)
    assert np.mean([graph.nodes for graph in made]) == pytest.approx(22.8, abs=0.5)
    assert np.mean([len(graph.edges) for graph in made]) == pytest.approx(35.84, abs=1.0)
    parts = np.bincount([graph.hops for graph in made], minlength=7)[3:] / len(made)
    assert parts == pytest.approx([0.404, 0.434, 0.138, 0.024], abs=0.04)
    assert np.mean([farther_from_names(graph) for graph in made]) == pytest.approx(0.911, abs=0.03)


def test_balanced_graphs_make_the_shortcut_worthless_and_all_hops_equal():
    made = drawn(80, pairing=Pairing.BALANCED)
    assert np.mean([farther_from_names(graph) for graph in made]) == 0.5
    assert np.bincount([graph.hops for graph in made])[3:].tolist() == [20, 20, 20, 20]


@given(graphs)
@settings(max_examples=60, deadline=None)
def test_the_target_is_reached_in_so_many_hops_and_the_other_never(graph):
    found = distances(children(graph.nodes, graph.edges), [graph.root])
    assert found[graph.target] == graph.hops
    assert found[graph.neg_target] == -1
    assert 3 <= graph.hops <= 6
    assert graph.root in names_of(graph.nodes, graph.edges)
    assert len(set(graph.edges)) == len(graph.edges)


def test_hops_and_depth_are_kept_to():
    assert {graph.hops for graph in drawn(20, hops=(7, 8))} <= {7, 8}
    for graph in drawn(200, deepest=6, pairing=Pairing.ANY):
        assert max(distances(children(graph.nodes, graph.edges), [graph.root])) <= 6


def test_the_same_seed_draws_the_same_graphs():
    assert drawn(20, seed=7) == drawn(20, seed=7)
    assert drawn(20, seed=7) != drawn(20, seed=8)


def test_a_range_of_hops_that_is_none_is_refused():
    with pytest.raises(InvalidArgument, match="hops 4 to 3"):
        GraphSampler(np.random.default_rng(0), hops=(4, 3))


@given(graphs, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_text_says_the_graph(graph, seed):
    question = prosqa.worded(graph, np.random.default_rng(seed))
    asked = prosqa.parsed(question.text)
    words = question.symbols
    assert {(asked.symbols[one], asked.symbols[other]) for one, other in asked.edges} == {
        (words[one], words[other]) for one, other in question.graph.edges
    }
    assert asked.symbols[asked.root] == words[question.graph.root]
    assert {asked.symbols[node] for node in asked.candidates} == {
        words[question.graph.target],
        words[question.graph.neg_target],
    }


@given(graphs, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_steps_lead_from_the_root_to_the_answer(graph, seed):
    question = prosqa.worded(graph, np.random.default_rng(seed))
    assert len(question.steps) == graph.hops
    assert all(step in question.text for step in question.steps)
    assert question.steps[0].startswith(question.answer.split()[0])
    assert question.steps[-1].split()[-1] == question.answer.split()[-1]


@given(graphs, st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_rows_say_the_graph_and_the_answer_is_read_back(graph, seed):
    question = prosqa.worded(graph, np.random.default_rng(seed))
    tokenizer = GraphTokenizer(40)
    encoded = tokenizer.encode(question.text)
    asked, back = prosqa.parsed(question.text), tokenizer.graph(encoded.rows)
    # Both number nodes as they are met: the same up to what their symbols are called.
    assert back.edges == asked.edges
    assert (back.root, back.candidates) == (asked.root, asked.candidates)
    place = [asked.symbols[node] for node in asked.candidates].index(question.symbols[question.graph.target])
    assert encoded.answer(encoded.allowed[place]) == question.answer
    assert encoded.rows[-1][0] == tokenizer.vocabulary.start_type
    assert max(token for row in (*encoded.rows, encoded.answer_row) for token in row) < tokenizer.vocabulary.size


def test_symbols_do_not_follow_the_order_of_the_text():
    encoded = GraphTokenizer(40).encode(TEXT)
    sources = [row[1] for row in encoded.rows[:-2]]
    assert sources != sorted(sources)
    assert encoded == GraphTokenizer(40).encode(TEXT)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Tom is a terpus.", "ends in"),
        ("", "ends in"),
        ("Tom likes fish. Is Tom a lempus or rempus?", "'Tom likes fish'"),
        ("Tom is a lempus. Is Tom a lempus or rempus?", "'rempus'"),
        ("Tom is a lempus. Is Tom a lempus or lempus?", "both candidates"),
    ],
)
def test_a_text_that_is_no_question_is_refused_with_its_fault(text, said):
    with pytest.raises(InvalidArgument, match=said):
        prosqa.parsed(text)


def test_a_graph_with_more_nodes_than_symbols_is_refused():
    with pytest.raises(InvalidArgument, match="7 nodes; the model takes 5"):
        GraphTokenizer(5).encode(TEXT)


def test_files_in_the_official_format_are_written_and_read(tmp_path):
    rng = np.random.default_rng(3)
    questions = [prosqa.worded(graph, rng) for graph in drawn(20)]
    prosqa.write(tmp_path / "made.json", questions)
    assert prosqa.read(tmp_path / "made.json") == questions
    item = json.loads((tmp_path / "made.json").read_text())[0]
    assert sorted(item) == sorted(
        ["question", "answer", "steps", "idx_to_symbol", "edges", "root", "target", "neg_target"]
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"root": 99}, "no node 99"),
        ({"edges": []}, "does not reach"),
        ({"edges": None}, "not in the format"),
        ({"neg_target": "target"}, "not in the format"),
    ],
)
def test_an_item_that_is_wrong_is_named(tmp_path, change, said):
    items = [prosqa.as_item(prosqa.worded(graph, np.random.default_rng(0))) for graph in drawn(2)]
    items[1] |= change
    (tmp_path / "made.json").write_text(json.dumps(items))
    with pytest.raises(InvalidArgument, match=said) as caught:
        prosqa.read(tmp_path / "made.json")
    assert caught.value.field == "data[1]"


def test_a_file_that_is_not_there_or_no_json_is_refused(tmp_path):
    with pytest.raises(NotFound):
        prosqa.read(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("[{")
    with pytest.raises(InvalidArgument, match="no JSON"):
        prosqa.read(tmp_path / "broken.json")


def test_the_task_is_found_by_name_and_repeats_itself():
    task = named("prosqa", seed=5)
    small = prosqa.ProsQA(seed=5, train=8, validation=4, test=4)
    assert task.name == small.name == "prosqa"
    examples = small.examples("train")
    assert list(examples) == list(small.examples("train"))
    assert not {one.question for one in examples} & {one.question for one in small.examples("test")}
    assert small.correct(examples[0], f" {examples[0].answer.lower()}")
    assert not small.correct(examples[0], examples[1].answer)
