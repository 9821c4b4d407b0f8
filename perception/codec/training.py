"""Trains the codec: encoder and decoder together, on sentences that a seed makes.

The loss is the cross-entropy of a sentence given its own vector, to which noise is added, up to `noise` times its
length, so that the decoder learns what the language allows and near vectors become near words. Two thirds of the
sentences are of the grammar, one third of stories; none of them is one that is held out. The best on validation is
kept, which has held-out sentences of seeds that no test uses.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from perception.codec import files
from perception.codec.grammar import Grammar, held_out
from perception.codec.model import Network, Shape, padded
from perception.codec.pieces import PAD, Pieces
from perception.lcm.stories import WIDE, Stories
from perception.training import Budget, Never, OnProgress, Run, Stop, learning_rate

SECONDS = 300.0
"""CPU seconds of a training."""
VALIDATION_SEED, TEST_SEED = 1_000_003, 1_000_033
_GROUPS = 8
"""Batches drawn together and sorted by length, so that little is padding."""
_VALIDATIONS = 6


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training of the codec."""

    seed: int = 0
    seconds: float = SECONDS
    """CPU seconds of this process, the making of sentences included."""
    steps: int = 0
    """Where not 0, so many steps in place of the seconds: repeatable to the bit on one machine."""
    dimensions: int = 512
    width: int = 256
    layers: int = 1
    sentences: int = 120_000
    validation: int = 400
    batch: int = 64
    learning_rate: float = 1e-3
    noise: float = 0.6

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a training."""

    model: Path
    finished: bool
    steps: int
    seconds: float
    exact: float
    """The share of validation sentences that came back to the letter."""


def domain(seed: int, count: int, *, held: bool = False) -> list[str]:
    """Distinct sentences of the codec's domain: two thirds of the grammar, one third of stories."""
    found = dict.fromkeys(Grammar(seed).sentences(count - count // 3, held=held))
    stories = Stories(seed, WIDE)
    while len(found) < count:
        for text in stories.draw().sentences:
            if held_out(text) == held and len(found) < count:
                found[text] = None
    return list(found)


def train(recipe: Recipe, run: Run, *, stop: Stop | None = None, on_progress: OnProgress | None = None) -> Result:
    """Trains, or goes on where the run's checkpoint is. Keeps the weights that are best on validation."""
    return _Training(recipe, run, stop or Never(), on_progress).train()


class _Training:
    def __init__(self, recipe: Recipe, run: Run, stop: Stop, on_progress: OnProgress | None) -> None:
        self._recipe, self._run, self._stop, self._on_progress = recipe, run, stop, on_progress
        self._budget = Budget(recipe.seconds, recipe.steps)
        sentences = domain(recipe.seed, recipe.sentences)
        self._pieces = Pieces.learnt(sentences)
        self._data = [self._pieces.numbers(one) for one in sentences]
        self._validation = domain(VALIDATION_SEED, recipe.validation, held=True)
        torch.manual_seed(recipe.seed)
        self._random = random.Random(recipe.seed)
        self._network = Network(Shape(len(self._pieces), recipe.dimensions, recipe.width, recipe.layers))
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )
        self._step = self._validated = 0
        self._best, self._kept = (-1.0, -1.0), self._copy()
        self._waiting: list[list[int]] = []

    def train(self) -> Result:
        self._restore()
        if self._step == 0:
            self._validate()
        while (done := self._budget.done(self._step)) < 1 and not self._stop.requested:
            loss = self._take_step(done)
            if self._step % 20 == 0:
                self._report(loss)
            if done * _VALIDATIONS >= self._validated + 1:
                self._validated = int(done * _VALIDATIONS)
                self._validate()
                self._save()
        if finished := self._budget.done(self._step) >= 1:
            self._validate()
        self._save()
        self._network.load_state_dict(self._kept)
        folder = self._run.folder / "model"
        trained = {"seed": self._recipe.seed, "cpu_seconds": round(self._budget.used, 1), "steps": self._step}
        files.save(folder, self._network, self._pieces, {**trained, "validation_exact": self._best[0]})
        return Result(folder, finished, self._step, self._budget.used, max(0.0, self._best[0]))

    def _batch(self) -> Tensor:
        size = self._recipe.batch
        if not self._waiting:
            drawn = self._random.sample(range(len(self._data)), min(size * _GROUPS, len(self._data)))
            drawn.sort(key=lambda row: len(self._data[row]))
            self._waiting = [drawn[at : at + size] for at in range(0, len(drawn), size)]
            self._random.shuffle(self._waiting)
        return padded([self._data[row] for row in self._waiting.pop()], self._network.shape.places)

    def _take_step(self, done: float) -> float:
        pieces = self._batch()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._recipe.learning_rate, self._step, done)
        vectors = noisy(self._network.encode(pieces), self._recipe.noise)
        loss = self._network(vectors, pieces).sum() / (pieces != PAD).sum()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        self._step += 1
        return float(loss.detach())

    def _report(self, loss: float) -> None:
        self._run.log(self._step, seconds=round(self._budget.used, 1), loss=round(loss, 4))
        if self._on_progress is not None:
            self._on_progress(*self._budget.told(self._step), {"loss": loss, "exact": max(0.0, self._best[0])})

    def _validate(self) -> None:
        clean = exact(self._network, self._pieces, self._validation)
        blurred = exact(self._network, self._pieces, self._validation, noise=self._recipe.noise)
        self._run.log(self._step, seconds=round(self._budget.used, 1), exact=clean, exact_with_noise=blurred)
        # Of equals the one that bears more noise, then the later, which was trained longer.
        if (clean, blurred) >= self._best:
            self._best, self._kept = (clean, blurred), self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._network.state_dict().items()}

    def _save(self) -> None:
        state = {
            "model": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "kept": self._kept,
            "best": list(self._best),
            "seconds": self._budget.used,
            "validated": self._validated,
            "waiting": self._waiting,
            "random": _plain(self._random.getstate()),
        }
        self._run.save(self._step, state)

    def _restore(self) -> None:
        if (kept := self._run.restore()) is None:
            return
        self._step, state = kept
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._kept, self._best = state["kept"], (state["best"][0], state["best"][1])
        self._budget.spent, self._validated, self._waiting = state["seconds"], state["validated"], state["waiting"]
        version, words, gauss = state["random"]
        self._random.setstate((version, tuple(words), gauss))


def noisy(vectors: Tensor, most: float) -> Tensor:
    """Unit vectors with noise of up to `most` times their length, of unit length again."""
    if most <= 0:
        return vectors
    size = torch.rand(len(vectors), 1, device=vectors.device) * most / math.sqrt(vectors.shape[1])
    return normalize(vectors + size * torch.randn_like(vectors), dim=-1)


def exact(network: Network, pieces: Pieces, texts: Sequence[str], *, noise: float = 0.0) -> float:
    """The share of texts that come back to the letter from their vectors, to which noise of this size is added."""
    generator, same = torch.Generator().manual_seed(0), 0
    for start in range(0, len(texts), 100):
        batch = texts[start : start + 100]
        with torch.no_grad():
            vectors = network.encode(padded([pieces.numbers(one) for one in batch], network.shape.places))
            blur = torch.randn(vectors.shape, generator=generator) * noise / math.sqrt(vectors.shape[1])
            decoded = network.decode(normalize(vectors + blur, dim=-1)).tolist()
        same += sum(pieces.text(one) == text for one, text in zip(decoded, batch, strict=True))
    return same / len(texts)


def _plain(state: tuple[Any, ...]) -> list[Any]:
    version, words, gauss = state
    return [version, list(words), gauss]
