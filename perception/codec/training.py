"""Trains the codec: encoder and decoder together, on sentences that a seed makes.

The loss is the cross-entropy of a sentence given its own vector, to which noise is added, up to `noise` times its
length, so that the decoder learns what the language allows and near vectors become near words. Two thirds of the
sentences are of the grammar, one third of stories; none of them is one that is held out. The best on validation is
kept, which has held-out sentences of seeds that no test uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from perception.codec import files
from perception.codec.grammar import Grammar, held_out
from perception.codec.model import Network, Shape, padded
from perception.codec.pieces import PAD, Pieces
from perception.lcm.stories import WIDE, Stories
from perception.training import Budget, OnProgress, Run, Stop, Training

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
    training = _Training(recipe, run, stop, on_progress)
    finished = training.train()
    folder, seconds = run.folder / "model", training.budget.used
    trained = {"seed": recipe.seed, "cpu_seconds": round(seconds, 1), "steps": training.step}
    files.save(folder, training.codec, training.pieces, {**trained, "validation_exact": training.best[0]})
    return Result(folder, finished, training.step, seconds, max(0.0, training.best[0]))


class _Training(Training):
    validations = _VALIDATIONS

    def __init__(self, recipe: Recipe, run: Run, stop: Stop | None, on_progress: OnProgress | None) -> None:
        self._recipe = recipe
        budget = Budget(recipe.seconds, recipe.steps)
        sentences = domain(recipe.seed, recipe.sentences)
        self.pieces = Pieces.learnt(sentences)
        self._data = [self.pieces.numbers(one) for one in sentences]
        self._validation = domain(VALIDATION_SEED, recipe.validation, held=True)
        torch.manual_seed(recipe.seed)
        self.codec = Network(Shape(len(self.pieces), recipe.dimensions, recipe.width, recipe.layers))
        super().__init__(
            self.codec, run, budget, seed=recipe.seed, peak=recipe.learning_rate, weight_decay=0.0, stop=stop,
            on_progress=on_progress,
        )  # fmt: skip
        self.best = [-1.0, -1.0]
        self._waiting: list[list[int]] = []

    def begin(self) -> None:
        """Untrained weights are measured too: most of the codec is not learnt."""
        self.validate()

    def loss(self) -> Tensor:
        pieces = self._batch()
        vectors = noisy(self.codec.encode(pieces), self._recipe.noise)
        loss: Tensor = self.codec(vectors, pieces).sum() / (pieces != PAD).sum()
        return loss

    def told(self, loss: float) -> dict[str, float]:
        return {"loss": loss, "exact": max(0.0, self.best[0])}

    def validate(self) -> None:
        clean = exact(self.codec, self.pieces, self._validation)
        blurred = exact(self.codec, self.pieces, self._validation, noise=self._recipe.noise)
        self.log(exact=clean, exact_with_noise=blurred)
        # Of equals the one that bears more noise, then the later, which was trained longer.
        if [clean, blurred] >= self.best:
            self.keep([clean, blurred])

    def extra(self) -> dict[str, Any]:
        return {"waiting": self._waiting}

    def take_back(self, extra: Mapping[str, Any]) -> None:
        self._waiting = extra["waiting"]

    def _batch(self) -> Tensor:
        size = self._recipe.batch
        if not self._waiting:
            drawn = self.random.sample(range(len(self._data)), min(size * _GROUPS, len(self._data)))
            drawn.sort(key=lambda row: len(self._data[row]))
            self._waiting = [drawn[at : at + size] for at in range(0, len(drawn), size)]
            self.random.shuffle(self._waiting)
        return padded([self._data[row] for row in self._waiting.pop()], self.codec.shape.places)


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
