"""The small model of symbols: its gradient, its training, how it is resumed, and that the engine computes the same."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu

from cognition.engine.architecture import described
from cognition.engine.cache import KeyValueCache
from cognition.engine.decoder import Batch as Rows
from cognition.engine.decoder import Chunk, Decoder
from cognition.latent import symbolic
from cognition.latent.run import StopRequest, TrainingRun
from cognition.latent.symbolic import Shape, SymbolicDecoder
from cognition.latent.symbolic_data import DEEPEST, batch, pack, pool
from cognition.latent.symbolic_scoring import Stopping, answers, score
from cognition.latent.symbolic_training import Recipe, objective, train
from cognition.latent.tasks import prosqa
from cognition.latent.tasks.prosqa_graphs import GraphSampler
from services.bench import prosqa as bench

SMALL = Shape(symbols=40, width=32, mlp=64)
SHIPPED = Path(__file__).parents[2] / "models" / "prosqa-latent"


def graphs(count: int, seed: int = 0, **asked):
    sampler = GraphSampler(np.random.default_rng([seed, 99]), **asked)
    return [sampler.draw() for _ in range(count)]


@pytest.fixture
def model() -> SymbolicDecoder:
    torch.manual_seed(0)
    return SymbolicDecoder(SMALL)


def some(count: int = 5):
    return batch(pack(graphs(count), 40), np.arange(count), np.random.default_rng(0))


def recomputed(model: SymbolicDecoder, asked, steps: int):
    """The answers' logits with every row computed anew at every step, by the definition of attention."""
    layer, width = model.layers[0], model.shape.width
    prompt = model.prompt(asked)
    table, vocabulary = model.embed.weight, model.shape.vocabulary
    edges = table[asked.edges[..., 0] + vocabulary.source] + table[asked.edges[..., 1] + vocabulary.target]
    goals = table[asked.candidates + vocabulary.goal].sum(1) + table[vocabulary.goals_type]
    rows = torch.cat([edges + table[vocabulary.edge_type], goals[:, None], model.start(asked)[:, None]], dim=1)

    def last(rows):
        query, key, value = layer.qkv(layer.attention_norm(rows)).split(width, -1)
        extra = rows.shape[1] - prompt.rows.shape[1]
        bias = torch.cat([prompt.bias, torch.zeros(len(rows), 1, extra)], dim=-1)
        shares = (query[:, -1:] @ key.transpose(1, 2) * width**-0.5 + bias).softmax(-1)
        row = rows[:, -1] + layer.output((shares @ value)[:, 0])
        return model.norm(row + layer.down(gelu(layer.up(layer.mlp_norm(row)), approximate="tanh")))

    for _ in range(steps):
        rows = torch.cat([rows, last(rows)[:, None]], dim=1)
    return model.head(last(torch.cat([rows, model.answer_row(asked)[:, None]], dim=1)))


def test_the_gradient_through_kept_rows_is_that_of_computing_all_anew(model):
    asked = some()
    recomputed(model, asked, 3).square().mean().backward()
    expected = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    prompt, past = model.prompt(asked), []
    hidden = model.step(model.start(asked), prompt, past)
    for _ in range(3):
        hidden = model.step(hidden, prompt, past)
    model.head(model.step(model.answer_row(asked), prompt, past)).square().mean().backward()
    prompt.backward()
    for name, gradient in expected.items():
        torch.testing.assert_close(dict(model.named_parameters())[name].grad, gradient, atol=1e-6, rtol=1e-4)


def test_training_steps_leave_nothing_behind(model):
    losses, prompt = objective(model, some(), 2, "hidden", np.random.default_rng(0))
    sum(losses.values()).backward()
    assert all(one.grad_fn is None for pair in prompt.owed for one in pair)
    prompt.backward()
    assert not prompt.owed


@torch.no_grad()
def test_the_engine_computes_the_same_answers(model, tmp_path):
    symbolic.save(tmp_path, model, {"mode": "hidden", "steps": 3})
    config = described(json.loads((tmp_path / "config.json").read_text()))
    decoder = Decoder(config, dict(model.state_dict()))
    asked = some(1)
    expected = answers(model, asked, steps=3)[0][0]

    table, vocabulary = model.embed.weight, model.shape.vocabulary
    edges = table[asked.edges[0, :, 0] + vocabulary.source] + table[asked.edges[0, :, 1] + vocabulary.target]
    goals = table[asked.candidates[0] + vocabulary.goal].sum(0) + table[vocabulary.goals_type]
    prompt = torch.cat([edges + table[vocabulary.edge_type], goals[None], model.start(asked)])
    cache = KeyValueCache(config, 1, 128, "cpu")
    at = 0

    def computed(rows):
        nonlocal at
        step = Rows([Chunk(0, at, len(rows))], config, torch.device("cpu"))
        at += len(rows)
        return decoder.forward(rows, step, cache, torch.tensor([len(rows) - 1]))

    hidden = computed(prompt)
    for _ in range(3):
        hidden = computed(hidden)
    logits = decoder.logits(computed(model.answer_row(asked)))[0]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=1e-4)


def test_stopping_early_hides_the_thoughts_after(model):
    asked = some()
    for count in (1, 3):
        never = answers(model, asked, steps=count)[0]
        model.halt.bias.data.fill_(-50.0)
        logits, taken = answers(model, asked, steps=count, stopping=Stopping(0.5))
        assert taken.tolist() == [count] * 5
        torch.testing.assert_close(logits, never)
    model.halt.bias.data.fill_(50.0)
    logits, taken = answers(model, asked, steps=6, stopping=Stopping(0.5))
    assert taken.tolist() == [1] * 5
    torch.testing.assert_close(logits, answers(model, asked, steps=1)[0])


def test_an_answer_does_not_depend_on_the_order_of_the_candidates(model):
    asked = some()
    turned = replace(asked, candidates=asked.candidates.flip(1))
    torch.testing.assert_close(answers(model, asked, steps=2)[0], answers(model, turned, steps=2)[0])


def test_nothing_in_training_is_deeper_than_six_hops():
    made = pool(200, 40, 0).packed
    assert made.hops.max() <= DEEPEST
    assert made.depth.max() <= DEEPEST


TINY = Recipe(shape=SMALL, graphs=400, validation=40, batch=16, steps=4, optimizer_steps=30)


def test_the_loss_falls_in_a_short_training(tmp_path):
    run = TrainingRun.open(tmp_path / "run", TINY.to_json())
    result = train(replace(TINY, optimizer_steps=150), run)
    rows = [row for row in run.metrics() if "reached" in row]
    assert result.finished
    assert rows[-1]["reached"] < 0.95 * rows[0]["reached"]
    assert (run.folder / "curriculum.svg").is_file()
    assert score(symbolic.load(result.model)[0], pack(graphs(20), 40), steps=4).thoughts == 4


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(tmp_path):
    whole = train(TINY, TrainingRun.open(tmp_path / "whole", TINY.to_json()))

    class After(StopRequest):
        """Asks to stop when it has been looked at so often."""

        looks = 0

        @property
        def requested(self):
            After.looks += 1
            return After.looks > 17

        @requested.setter
        def requested(self, value):
            pass

    broken = train(TINY, TrainingRun.open(tmp_path / "parts", TINY.to_json()), stop=After())
    assert not broken.finished
    again = train(TINY, TrainingRun.open(tmp_path / "parts", TINY.to_json(), resume=True))
    one, other = (symbolic.load(result.model)[0].state_dict() for result in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.skipif(not (SHIPPED / "config.json").is_file(), reason="the models are not in this checkout")
def test_the_model_that_ships_is_as_good_as_its_card_says():
    model, config = symbolic.load(SHIPPED)
    assert model.parameter_count() < 1_000_000
    steps, stopping = config["latent"]["steps"], Stopping(config["latent"]["halt_threshold"])
    found = score(model, pack(graphs(200, seed=5), model.shape.symbols), steps=steps)
    assert found.accuracy >= 0.98
    deep = score(model, pack(graphs(30, seed=5, hops=(7, 8)), model.shape.symbols), steps=steps)
    assert deep.accuracy >= 0.8
    early = score(model, pack(graphs(200, seed=5), model.shape.symbols), steps=steps, stopping=stopping)
    assert early.thoughts <= 0.7 * steps
    assert early.accuracy >= found.accuracy - 0.01


@pytest.mark.skipif(not (SHIPPED / "config.json").is_file(), reason="the models are not in this checkout")
def test_the_bench_tells_figures_and_controls_of_any_file_in_the_official_format(tmp_path):
    rng = np.random.default_rng(1)
    prosqa.write(tmp_path / "made.json", [prosqa.worded(graph, rng) for graph in graphs(20, seed=6)])
    report = bench.run(tmp_path / "made.json", 0, fresh=8)
    assert {"accuracy", "accuracy_balanced", "accuracy_hops_7_8", "adaptive_saved"} <= set(report.figures)
    assert report.figures["accuracy"] >= 0.9
    assert report.figures["shortcut_balanced"] <= 0.55
    assert {"zero-thought", "untrained", "shortcut"} <= set(report.peers)
