"""Trains a model of symbols on graphs: what each thought has reached, what is answered, and when to stop.

Three losses, of the prompt's last row and every latent step: after k thoughts the head names all nodes within k + 1
edges of the root (binary cross-entropy, the breadth-first curriculum of the thoughts); the answer, given after a number
of thoughts drawn between the hops and all, is the target (cross-entropy over all tokens); and the halting head says
whether the target has been reached. The number of thoughts grows over the first part of the budget, and so does the
batch. The budget is CPU seconds of this process, the making of the pool included.

Controls are recipes: `pause` feeds a learned token back instead of the hidden row, `curriculum` False leaves the answer
as the only loss, `steps` 0 answers at once. Validation graphs are made by the seed; nothing else decides what is kept.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, linear

from cognition.latent import symbolic
from cognition.latent.run import PanelOf, Progress, StopRequest, TrainingRun
from cognition.latent.symbolic import Shape, SymbolicDecoder
from cognition.latent.symbolic_data import DEEPEST, Batch, Packed, Pool, batch, pack, pool
from cognition.latent.symbolic_scoring import Feedback, hides, score
from cognition.latent.tasks.prosqa_graphs import GraphSampler, Pairing

SECONDS = 330.0
"""CPU seconds of a training."""
HALT_THRESHOLD = 0.97
"""Chosen on validation graphs of seed 0: of 0.5, 0.9, 0.97, 0.99, 0.995 and 0.999 the least that costs at most 0.1
points of accuracy there."""
MODEL = "model"
"""The folder of the trained model in that of the run."""
_REACHED_WEIGHT, _HALT_WEIGHT = 4.0, 0.1
_WARMUP = 100
_GROUPS = 4
"""Batches drawn together and sorted by size, so that little is padding."""
_VALIDATIONS = 10


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training. All but `seconds` or `steps_limit` can stay as they are."""

    seed: int = 0
    seconds: float = SECONDS
    """CPU seconds of this process, all in."""
    optimizer_steps: int = 0
    """Where not 0, so many optimiser steps in place of the seconds: repeatable to the bit."""
    shape: Shape = Shape()
    steps: int = 8
    """Latent steps at the end of the ramp."""
    feedback: Feedback = "hidden"
    curriculum: bool = True
    graphs: int = 20_000
    validation: int = 600
    batch: int = 32
    """At first; twice as much after 35% of the budget, four times after 70%."""
    learning_rate: float = 2e-3
    ramp: float = 0.15
    """The part of the budget over which the number of latent steps grows."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a training."""

    model: Path
    finished: bool
    optimizer_steps: int
    seconds: float
    accuracy: float
    """On the validation graphs, of what was kept."""


def train(recipe: Recipe, run: TrainingRun, *, stop: StopRequest | None = None) -> Result:
    """Trains, or goes on where the run's checkpoint is. Keeps the weights that are best on validation."""
    return _Training(recipe, run, stop or StopRequest()).train()


class _Training:
    def __init__(self, recipe: Recipe, run: TrainingRun, stop: StopRequest) -> None:
        self._recipe, self._run, self._stop = recipe, run, stop
        self._before, self._started = 0.0, time.process_time()
        symbols = recipe.shape.symbols
        self._pool: Pool = pool(recipe.graphs, symbols, recipe.seed)
        self._validation = _validation(recipe)
        torch.manual_seed(recipe.seed)
        self._rng = np.random.default_rng([recipe.seed, 4])
        self._model = SymbolicDecoder(recipe.shape)
        matrices = [one for one in self._model.parameters() if one.ndim > 1]
        vectors = [one for one in self._model.parameters() if one.ndim == 1]
        groups = [{"params": matrices, "weight_decay": 0.01}, {"params": vectors, "weight_decay": 0.0}]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
        self._step = 0
        self._best, self._kept = (-1.0, -1.0), self._copy()
        self._waiting: list[np.ndarray[Any, np.dtype[np.int64]]] = []
        self._validated = 0

    def train(self) -> Result:
        self._restore()
        while (done := self._done()) < 1 and not self._stop.requested:
            losses = self._take_step(done)
            if self._step % 50 == 0:
                self._report(losses, done)
            if done * _VALIDATIONS >= self._validated + 1:
                self._validated = int(done * _VALIDATIONS)
                self._validate()
                self._save()
        finished = self._done() >= 1
        if finished:
            self._validate()
        self._save()
        self._run.plot(
            "ProsQA in symbols",
            [
                PanelOf("loss", ["reached", "answer", "halt"]),
                PanelOf("accuracy on validation", ["accuracy", "strict"], percent=True),
            ],
        )
        self._model.load_state_dict(self._kept)
        folder = self._run.folder / MODEL
        mode = {"hidden": "hidden", "pause": "pause"}[self._recipe.feedback] if self._recipe.steps else "none"
        symbolic.save(
            folder, self._model, {"mode": mode, "steps": self._recipe.steps, "halt_threshold": HALT_THRESHOLD}
        )
        return Result(folder, finished, self._step, self._seconds(), max(self._best[0], 0.0))

    def _seconds(self) -> float:
        return self._before + time.process_time() - self._started

    def _done(self) -> float:
        """The part of the budget that is spent."""
        if self._recipe.optimizer_steps:
            return self._step / self._recipe.optimizer_steps
        return self._seconds() / self._recipe.seconds

    def _thoughts(self, done: float) -> int:
        """How many latent steps to train with now."""
        most = self._recipe.steps
        return min(most, 1 + int(most * done / self._recipe.ramp)) if most else 0

    def _rows(self, done: float) -> np.ndarray[Any, np.dtype[np.int64]]:
        if not self._waiting:
            size = self._recipe.batch * (1 if done < 0.35 else 2 if done < 0.7 else 4)
            drawn = self._pool.draw(size * _GROUPS, self._rng)
            sorted_rows = drawn[self._pool.packed.counts[drawn].argsort(kind="stable")].reshape(_GROUPS, size)
            self._waiting = [sorted_rows[at] for at in self._rng.permutation(_GROUPS)]
        return self._waiting.pop()

    def _take_step(self, done: float) -> dict[str, Tensor]:
        recipe = self._recipe
        some = batch(self._pool.packed, self._rows(done), self._rng)
        rate = recipe.learning_rate * min(1.0, (self._step + 1) / _WARMUP)
        rate *= max(0.02, 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        losses, prompt = objective(
            self._model, some, self._thoughts(done), recipe.feedback, self._rng, curriculum=recipe.curriculum
        )
        self._optimizer.zero_grad(set_to_none=True)
        total = torch.stack(list(losses.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        prompt.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimizer.step()
        self._step += 1
        return losses

    def _report(self, losses: Mapping[str, Tensor], done: float) -> None:
        values = {name: round(float(loss.detach()), 4) for name, loss in losses.items()}
        self._run.log(self._step, seconds=round(self._seconds(), 1), thoughts=self._thoughts(done), **values)
        whole = self._recipe.optimizer_steps or round(self._recipe.seconds)
        self._run.progress(Progress(min(whole, round(done * whole)), whole, values=values))

    def _validate(self) -> None:
        found = score(
            self._model,
            self._validation,
            steps=self._recipe.steps,
            feedback=self._recipe.feedback,
            seed=self._recipe.seed,
        )
        self._run.log(self._step, seconds=round(self._seconds(), 1), accuracy=found.accuracy, strict=found.strict)
        # Of equals the later, which was trained longer.
        if (found.accuracy, found.strict) >= self._best:
            self._best, self._kept = (found.accuracy, found.strict), self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._model.state_dict().items()}

    def _save(self) -> None:
        state = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "kept": self._kept,
            "best": list(self._best),
            "seconds": self._seconds(),
            "validated": self._validated,
            "rng": self._rng.bit_generator.state,
            "waiting": [rows.tolist() for rows in self._waiting],
        }
        self._run.save(self._step, state)

    def _restore(self) -> None:
        if (kept := self._run.restore()) is None:
            return
        self._step, state = kept
        self._model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._kept, self._best = state["kept"], (state["best"][0], state["best"][1])
        self._before, self._validated = state["seconds"], state["validated"]
        self._rng.bit_generator.state = state["rng"]
        self._waiting = [np.array(rows, np.int64) for rows in state["waiting"]]


def objective(
    model: SymbolicDecoder,
    some: Batch,
    steps: int,
    feedback: Feedback,
    rng: np.random.Generator,
    *,
    curriculum: bool = True,
) -> tuple[dict[str, Tensor], symbolic.Prompt]:
    """The weighted losses of a batch, and the prompt, whose backward pass is to follow that of their sum.

    The answer counts for graphs that `steps` thoughts can reach the target of; without the curriculum, for all.
    """
    prompt, past = model.prompt(some), list[Tensor]()
    hidden = [model.step(model.start(some), prompt, past)]
    count = len(some.root)
    for _ in range(steps):
        row = hidden[-1] if feedback == "hidden" else model.pause_row(count)
        hidden.append(model.step(row, prompt, past))
    room = (steps - some.hops).clamp(min=0) if curriculum else torch.zeros_like(some.hops)
    drawn = torch.from_numpy(rng.random(count))
    taken = some.hops.clamp(max=steps) + (drawn * (room + 1)).long() if curriculum else torch.full((count,), steps)
    answered = model.head(model.step(model.answer_row(some), prompt, past, bias=hides(taken, steps)))
    within = (some.hops <= steps) if curriculum and steps else torch.ones(count, dtype=torch.bool)
    each = cross_entropy(answered, some.target + model.shape.vocabulary.node, reduction="none")
    losses = {"answer": (each * within).sum() / within.sum().clamp(min=1)}
    if curriculum:
        thought = torch.stack(hidden, dim=1)
        first, symbols = model.shape.vocabulary.node, model.shape.symbols
        logits = linear(thought, model.head.weight[first : first + symbols])
        within_edges = torch.arange(1, steps + 2)[:, None]
        reached = (some.depth[:, None] >= 0) & (some.depth[:, None] <= within_edges)
        losses["reached"] = _REACHED_WEIGHT * binary_cross_entropy_with_logits(logits, reached.float())
        if steps:
            enough = torch.arange(1, steps + 1) >= some.hops[:, None]
            said = model.halt(thought[:, 1:])[..., 0]
            losses["halt"] = _HALT_WEIGHT * binary_cross_entropy_with_logits(said, enough.float())
    return losses, prompt


def controls(recipe: Recipe) -> Iterator[tuple[str, Recipe]]:
    """The controls of a recipe, by name: the same budget, data and seed, one thing changed."""
    yield "pause", replace(recipe, feedback="pause")
    yield "no curriculum", replace(recipe, curriculum=False)
    yield "no thoughts", replace(recipe, steps=0)


def _validation(recipe: Recipe) -> Packed:
    """Graphs to select by: half official, half with any leaves as candidates, none deeper than in training."""
    half = recipe.validation // 2
    made = []
    for number, pairing in enumerate((Pairing.OFFICIAL, Pairing.ANY)):
        rng = np.random.default_rng([recipe.seed, 5, number])
        sampler = GraphSampler(rng, pairing=pairing, deepest=DEEPEST, most_nodes=recipe.shape.symbols)
        made += [sampler.draw() for _ in range(max(1, half))]
    return pack(made, recipe.shape.symbols)
