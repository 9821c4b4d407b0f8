"""Trains a concept model by one of four methods, on documents whose sentences a frozen codec encodes.

    mse             the squared error of the next Concept, normalised (the Base-LCM of arXiv 2412.08821)
    two-tower       a denoiser that reads the contextualiser, trained to say x0 at a random time of the schedule
    cross-entropy   the predicted vector goes through the codec's frozen decoder, and the cross-entropy of the next
                    sentence's pieces comes back through it (SONAR-LLM, arXiv 2508.05305)
    contrastive     the cross-entropy of the next sentence among others, whose logits are products with their vectors
                    (InfoNCE, arXiv 1807.03748; of next sentences: Quick-Thoughts, arXiv 1803.02893)

The cross-entropy is taken of some of a batch's Concepts, drawn anew each step, and over the pieces of those sentences
with others drawn by chance, since products with all embeddings would be most of the work. The others of the contrastive
loss are the batch's own sentences, some drawn by chance, and for each that is to be foreseen some of those nearest to
it: by chance alone they differ in their names, and nothing else has to be learnt to tell them apart. What is kept is
best on validation documents by the method's own loss. The budget begins once the documents are encoded.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from perception.codec.codec import ConceptCodec
from perception.codec.model import Network, padded
from perception.codec.pieces import PAD
from perception.lcm import diffusion, files
from perception.lcm.encoded import Batch, Encoded
from perception.lcm.model import ConceptNetwork, Shape
from perception.lcm.names import Context, Method
from perception.lcm.normaliser import Normaliser
from perception.training import Budget, OnProgress, Run, Stop, Training

SECONDS = 300.0
DROPPED = 0.15
"""How often the two-tower model is trained without a context, for classifier-free guidance."""
_VALIDATIONS = 4
_OTHER_PIECES = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """One training of a concept model."""

    method: Method = "cross-entropy"
    seed: int = 0
    seconds: float = SECONDS
    """CPU seconds of this process, once the documents are encoded; wall seconds on a GPU are fewer."""
    steps: int = 0
    """Where not 0, so many steps in place of the seconds."""
    width: int = 256
    layers: int = 3
    batch: int = 8
    learning_rate: float = 2e-3
    context: Context = "whole"
    decoded: int = 48
    """Concepts of a batch whose cross-entropy is taken."""
    others: int = 1024
    """Sentences drawn by chance, beside which a contrastive model tells a batch's next ones."""
    near: int = 8
    """And those drawn of the nearest, for each."""

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
    loss: float
    """Of validation documents, by the method's own measure."""


def train(
    recipe: Recipe,
    documents: Encoded,
    validation: Encoded,
    codec: ConceptCodec,
    run: Run,
    *,
    device: str = "cpu",
    stop: Stop | None = None,
    on_progress: OnProgress | None = None,
) -> Result:
    """Trains, or goes on where the run's checkpoint is."""
    training = _Training(recipe, documents, validation, codec, run, device, stop, on_progress)
    finished = training.train()
    folder, seconds = run.folder / "model", training.budget.used
    trained = {
        "seed": recipe.seed,
        "context": recipe.context,
        "cpu_seconds": round(seconds, 1),
        "steps": training.step,
        "validation_loss": training.best,
    }
    files.save(folder, training.concepts.cpu(), training.normaliser, codec, trained)
    return Result(folder, finished, training.step, seconds, training.best)


class Objective:
    """The loss of a method on batches of documents."""

    def __init__(
        self, network: ConceptNetwork, codec: Network, documents: Encoded, normaliser: Normaliser, recipe: Recipe
    ) -> None:
        self._network, self._codec, self._documents, self._recipe = network, codec, documents, recipe
        device = network.at.device
        self._centre = torch.from_numpy(normaliser.centre).to(device)
        self._scale = torch.from_numpy(normaliser.scale).to(device)
        self._share = diffusion.signal().to(device)
        self._device = device

    def __call__(self, batch: Batch, source: torch.Generator) -> Tensor:
        """The mean loss of the Concepts to be foreseen."""
        concepts = (batch.concepts.to(self._device) - self._centre) / self._scale
        before, after, there = concepts[:, :-1], concepts[:, 1:], batch.after.to(self._device)
        if self._recipe.context == "none":
            before = torch.zeros_like(before)
        elif self._recipe.context == "shuffled":
            # Each place holds one of those up to it: one from behind it might be what has to be foreseen.
            up_to = torch.arange(1, before.shape[1] + 1)
            before = before[:, (torch.rand(len(up_to), generator=source) * up_to).long()]
        match self._recipe.method:
            case "mse":
                error: Tensor = (self._network(before) - after)[there].square().mean()
                return error
            case "two-tower":
                return self._denoising(before, after, there, source)
            case "cross-entropy":
                return self._decoding(before, batch, source)
            case "contrastive":
                return self._choosing(before, batch, source)

    def _denoising(self, before: Tensor, after: Tensor, there: Tensor, source: torch.Generator) -> Tensor:
        times = torch.randint(0, diffusion.STEPS, there.shape, generator=source).to(self._device)
        noise = torch.randn(after.shape, generator=source).to(self._device)
        dropped = (torch.rand(there.shape, generator=source) < DROPPED).to(self._device)
        flat = diffusion.noised(after.flatten(0, 1), noise.flatten(0, 1), times.flatten(), self._share)
        clean = self._network.denoise(flat.view(after.shape), times, self._network.context(before), dropped)
        return (clean - after)[there].square().mean()

    def _decoding(self, before: Tensor, batch: Batch, source: torch.Generator) -> Tensor:
        there = batch.after.nonzero()
        chosen = there[torch.randperm(len(there), generator=source)[: self._recipe.decoded]]
        said = self._network(before)[chosen[:, 0], chosen[:, 1]]
        vectors = normalize(said * self._scale + self._centre, dim=-1)
        rows = batch.rows[chosen[:, 0], chosen[:, 1] + 1].tolist()
        pieces = padded([self._documents.pieces[row] for row in rows], self._codec.shape.places).to(self._device)
        real = pieces != PAD
        expected = self._codec.hidden(vectors, pieces)[real]
        others = torch.randint(0, self._codec.shape.pieces, (_OTHER_PIECES,), generator=source).to(self._device)
        some, places = torch.unique(torch.cat([pieces[real], others]), return_inverse=True)
        logits = nn.functional.linear(expected, self._codec.embed.weight[some], self._codec.bias[some])
        return cross_entropy(logits, places[: len(expected)], reduction="sum") / len(chosen)

    def _choosing(self, before: Tensor, batch: Batch, source: torch.Generator) -> Tensor:
        # The length is left to the network: it says how sure it is, as a temperature of its own for each prediction.
        said = self._network(before)[batch.after.to(self._device)] * self._scale + self._centre
        truth, told = batch.rows[:, 1:][batch.after], batch.rows[batch.rows >= 0]
        drawn = torch.randint(0, len(self._documents.sentences), (self._recipe.others,), generator=source)
        near = self._documents.nearest(truth)
        some = torch.randint(0, near.shape[1], (len(truth), self._recipe.near), generator=source)
        others = torch.cat([told, drawn, near.gather(1, some).flatten()])
        candidates, places = torch.unique(torch.cat([truth, others]), return_inverse=True)
        vectors = torch.from_numpy(self._documents.vectors[candidates.numpy()]).to(self._device)
        logits = said @ vectors.T * self._network.sharp.exp()
        return cross_entropy(logits, places[: len(truth)].to(self._device))


class _Training(Training):
    validations = _VALIDATIONS

    def __init__(
        self,
        recipe: Recipe,
        documents: Encoded,
        validation: Encoded,
        codec: ConceptCodec,
        run: Run,
        device: str,
        stop: Stop | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._recipe, self._documents = recipe, documents
        budget = Budget(recipe.seconds, recipe.steps)
        torch.manual_seed(recipe.seed)
        self._source = torch.Generator().manual_seed(recipe.seed)
        self.normaliser = Normaliser.of(documents.vectors)
        shape = Shape(recipe.method, codec.space.dimensions, recipe.width, recipe.layers)
        self.concepts = ConceptNetwork(shape).to(device)
        super().__init__(
            self.concepts, run, budget, seed=recipe.seed, peak=recipe.learning_rate, weight_decay=0.01, stop=stop,
            on_progress=on_progress,
        )  # fmt: skip
        self.best = float("inf")
        frozen = codec.network.to(device).requires_grad_(False)
        self._objective = Objective(self.concepts, frozen, documents, self.normaliser, recipe)
        self._validating = Objective(self.concepts, frozen, validation, self.normaliser, recipe)
        self._validation = validation.batches(recipe.batch, random.Random(0))[:8]
        self._waiting: list[Batch] = []

    def loss(self) -> Tensor:
        if not self._waiting:
            self._waiting = self._documents.batches(self._recipe.batch, self.random)
        return self._objective(self._waiting.pop(), self._source)

    def validate(self) -> None:
        source = torch.Generator().manual_seed(0)  # the same draws each time
        self.concepts.eval()
        with torch.no_grad():
            losses = [float(self._validating(batch, source)) for batch in self._validation]
        self.concepts.train()
        loss = sum(losses) / len(losses)
        self.log(validation_loss=loss)
        if loss <= self.best:
            self.keep(loss)

    def extra(self) -> dict[str, Any]:
        return {"source": self._source.get_state(), "waiting": [batch.rows for batch in self._waiting]}

    def take_back(self, extra: Mapping[str, Any]) -> None:
        self._source.set_state(extra["source"])
        self._waiting = [
            self._documents.batch([[row for row in document if row >= 0] for document in rows.tolist()])
            for rows in cast(list[Tensor], extra["waiting"])
        ]
