"""A small latent model on ProsQA, on graphs it has never seen, and the controls that tell what its thoughts are for.

The models that ship (`models/prosqa-latent`), or with `retrain` such as are trained here from nothing, answer

    accuracy             the items of a file in the official format
    accuracy_fresh       graphs made by the seed in the official distribution
    accuracy_balanced    graphs on which hop counts are equal and the shortcut is worth nothing (`shortcut_balanced`)
    accuracy_hops_7_8    graphs of 7 and 8 hops; training had none with more than 6

each the mean over the models, which differ in their training's seed; `least_…` is the worst of them. An answer is right
where of the two candidates that the question names the target has the greater logit; `strict_…` asks that it has the
greatest of all tokens. `adaptive_…` is on the file with the halting head: how many thoughts it takes and saves against
the fixed number, and against 6, which are as many as the deepest official question needs, and what it costs in points.

Peers are the controls: `pause` (a learned token is fed back in place of the hidden row), `no curriculum` (no
supervision of thoughts) and `no thoughts` (trained to answer at once), each trained as long as a model; `zero-thought`
are the models made to answer at once; `untrained` is a model as it begins; `shortcut` picks the candidate that is
farther from any name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from cognition.latent import symbolic
from cognition.latent.run import TrainingRun
from cognition.latent.symbolic import SymbolicDecoder
from cognition.latent.symbolic_data import Packed, pack
from cognition.latent.symbolic_scoring import Feedback, Stopping, score
from cognition.latent.symbolic_training import SECONDS, Recipe, controls, train
from cognition.latent.tasks import prosqa
from cognition.latent.tasks.prosqa_graphs import Graph, GraphSampler, Pairing, farther_from_names
from core.errors import NotFound
from services.bench.report import Report, versions
from services.cli import show

MODELS = Path(__file__).parents[2] / "models" / "prosqa-latent"
STEPS = 8
NEEDED = 6
"""The hops of the deepest official questions."""

Loaded = tuple[SymbolicDecoder, Feedback, int, Stopping]
"""A model, what it feeds back, how many thoughts it was trained with, and when it has thought enough."""


def run(
    data: Path,
    seed: int,
    *,
    fresh: int = 1000,
    retrain: bool = False,
    seeds: int = 3,
    train_seconds: float = SECONDS,
    models: Path = MODELS,
) -> Report:
    """Measures. `data` is a file in the official format; `fresh` is how many graphs each made set has."""
    torch.set_num_threads(1)
    official = [question.graph for question in prosqa.read(data)]
    sets = {"accuracy": official, **_made(fresh, seed)}
    if retrain:
        trained, beside = _trained(seeds, train_seconds)
    else:
        trained, beside = _shipped(models)
    symbols = trained[0][0].shape.symbols
    packed = {name: pack(graphs, symbols) for name, graphs in sets.items()}
    figures = _figures(trained, packed, seed) | {
        "parameters": float(trained[0][0].parameter_count()),
        "shortcut_balanced": _shortcut(sets["accuracy_balanced"]),
    }
    peers = {name: _accuracies(*control[:3], packed, seed) for name, control in beside.items()}
    without = [_accuracies(model, feedback, 0, packed, seed) for model, feedback, *_ in trained]
    peers["zero-thought"] = {name: _mean([one[name] for one in without]) for name in packed}
    torch.manual_seed(seed)
    peers["untrained"] = _accuracies(SymbolicDecoder(trained[0][0].shape), "hidden", STEPS, packed, seed)
    peers["shortcut"] = {name: _shortcut(graphs) for name, graphs in sets.items()}
    return Report(
        "prosqa",
        seed,
        figures,
        peers,
        {"data": str(data), "items": len(official), "fresh": fresh, "models": len(trained), "retrained": int(retrain)},
        versions("torch"),
    )


def _made(count: int, seed: int) -> dict[str, list[Graph]]:
    kinds = {
        "accuracy_fresh": {"hops": (3, 6)},
        "accuracy_balanced": {"hops": (3, 6), "pairing": Pairing.BALANCED},
        "accuracy_hops_7_8": {"hops": (7, 8)},
    }
    made: dict[str, list[Graph]] = {}
    for number, (name, asked) in enumerate(kinds.items()):
        # Seeds of their own kind: none that a training could have drawn its pool from.
        sampler = GraphSampler(np.random.default_rng([seed, 1_000_003, number]), **asked)  # type: ignore[arg-type]
        graphs = track(
            range(count), f"making {name.removeprefix('accuracy_')} graphs", console=show.err, transient=True
        )
        made[name] = [sampler.draw() for _ in graphs]
    return made


def _figures(trained: list[Loaded], packed: Mapping[str, Packed], seed: int) -> dict[str, float]:
    figures: dict[str, float] = {}
    for name, graphs in packed.items():
        found = [score(model, graphs, steps=STEPS, feedback=feedback, seed=seed) for model, feedback, *_ in trained]
        figures[name] = _mean([one.accuracy for one in found])
        figures[f"least_{name}"] = min(one.accuracy for one in found)
        figures[f"strict_{name}"] = _mean([one.strict for one in found])
    official = packed["accuracy"]
    adaptive = [
        score(model, official, steps=STEPS, feedback=feedback, stopping=stopping, seed=seed)
        for model, feedback, _, stopping in trained
    ]
    thoughts = _mean([one.thoughts for one in adaptive])
    figures |= {
        "adaptive_accuracy": _mean([one.accuracy for one in adaptive]),
        "adaptive_thoughts": thoughts,
        "adaptive_saved": 1 - thoughts / STEPS,
        "adaptive_saved_against_6": 1 - thoughts / NEEDED,
    }
    figures["adaptive_cost_points"] = 100 * (figures["accuracy"] - figures["adaptive_accuracy"])
    return figures


def _accuracies(
    model: SymbolicDecoder, feedback: Feedback, steps: int, packed: Mapping[str, Packed], seed: int
) -> dict[str, float]:
    return {
        name: score(model, graphs, steps=steps, feedback=feedback, seed=seed).accuracy
        for name, graphs in packed.items()
    }


def _shortcut(graphs: list[Graph]) -> float:
    return _mean([farther_from_names(graph) for graph in graphs])


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def _shipped(folder: Path) -> tuple[list[Loaded], dict[str, Loaded]]:
    if not (folder / "config.json").is_file():
        raise NotFound(
            f"no trained models in {folder}; run from a checkout of the project, or with --retrain",
            reason="MODEL_NOT_FOUND",
            field="models",
        )
    seeds = [folder, *sorted(path for path in (folder / "seeds").glob("*") if path.is_dir())]
    beside = sorted(path for path in (folder / "controls").glob("*") if path.is_dir())
    return [_loaded(path) for path in seeds], {path.name.replace("-", " "): _loaded(path) for path in beside}


def _loaded(folder: Path) -> Loaded:
    model, config = symbolic.load(folder)
    latent = config["latent"]
    return (
        model,
        "pause" if latent["mode"] == "pause" else "hidden",
        latent["steps"],
        Stopping(latent["halt_threshold"]),
    )


def _trained(seeds: int, seconds: float) -> tuple[list[Loaded], dict[str, Loaded]]:
    """Trains models, and the controls with the first seed."""
    recipes = {f"seed {seed}": Recipe(seed=seed, seconds=seconds) for seed in range(seeds)}
    beside = dict(controls(recipes["seed 0"]))
    loaded = {}
    with tempfile.TemporaryDirectory() as folder:
        every = list((recipes | beside).items())
        for name, recipe in track(every, "training", console=show.err, transient=True):
            run = TrainingRun.open(Path(folder) / name.replace(" ", "-"), recipe.to_json())
            loaded[name] = _loaded(train(recipe, run).model)
    return [loaded[name] for name in recipes], {name: loaded[name] for name in beside}
