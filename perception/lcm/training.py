"""Trains a concept model by one of three methods, on documents whose sentences a frozen codec encodes.

    mse             the squared error of the next Concept, normalised (the Base-LCM of arXiv 2412.08821)
    two-tower       a denoiser that reads the contextualiser, trained to say x0 at a random time of the schedule
    cross-entropy   the predicted vector goes through the codec's frozen decoder, and the cross-entropy of the next
                    sentence's pieces comes back through it (SONAR-LLM, arXiv 2508.05305)

The cross-entropy is taken of some of a batch's Concepts, drawn anew each step, and over the pieces of those sentences
with others drawn by chance, since products with all embeddings would be most of the work. What is kept is best on
validation documents by the method's own loss. The budget begins once the documents are encoded.
"""

from __future__ import annotations

import random
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
from perception.lcm.encoded import Batch, Context, Encoded
from perception.lcm.model import ConceptNetwork, Method, Shape
from perception.lcm.normaliser import Normaliser
from perception.training import Budget, Never, OnProgress, Run, Stop, learning_rate

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
    return _Training(recipe, documents, validation, codec, run, device, stop or Never(), on_progress).train()


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
            before = before[:, torch.randperm(before.shape[1], generator=source)]
        match self._recipe.method:
            case "mse":
                error: Tensor = (self._network(before) - after)[there].square().mean()
                return error
            case "two-tower":
                return self._denoising(before, after, there, source)
            case "cross-entropy":
                return self._decoding(before, batch, source)

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


class _Training:
    def __init__(
        self,
        recipe: Recipe,
        documents: Encoded,
        validation: Encoded,
        codec: ConceptCodec,
        run: Run,
        device: str,
        stop: Stop,
        on_progress: OnProgress | None,
    ) -> None:
        self._recipe, self._run, self._stop, self._on_progress = recipe, run, stop, on_progress
        self._documents, self._codec = documents, codec
        self._budget = Budget(recipe.seconds, recipe.steps)
        torch.manual_seed(recipe.seed)
        self._random = random.Random(recipe.seed)
        self._source = torch.Generator().manual_seed(recipe.seed)
        self._normaliser = Normaliser.of(documents.vectors)
        self._network = ConceptNetwork(
            Shape(recipe.method, codec.space.dimensions, recipe.width, recipe.layers)
        ).to(device)  # fmt: skip
        frozen = codec.network.to(device).requires_grad_(False)
        self._objective = Objective(self._network, frozen, documents, self._normaliser, recipe)
        self._validating = Objective(self._network, frozen, validation, self._normaliser, recipe)
        self._validation = validation.batches(recipe.batch, random.Random(0))[:8]
        self._optimizer = torch.optim.AdamW(
            self._network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        self._step = self._validated = 0
        self._best, self._kept = float("inf"), self._copy()
        self._waiting: list[Batch] = []

    def train(self) -> Result:
        self._restore()
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
        trained = {
            "seed": self._recipe.seed,
            "context": self._recipe.context,
            "cpu_seconds": round(self._budget.used, 1),
            "steps": self._step,
            "validation_loss": self._best,
        }
        files.save(folder, self._network.cpu(), self._normaliser, self._codec, trained)
        return Result(folder, finished, self._step, self._budget.used, self._best)

    def _take_step(self, done: float) -> float:
        if not self._waiting:
            self._waiting = self._documents.batches(self._recipe.batch, self._random)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._recipe.learning_rate, self._step, done)
        loss = self._objective(self._waiting.pop(), self._source)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), 1.0)
        self._optimizer.step()
        self._step += 1
        return float(loss.detach())

    def _report(self, loss: float) -> None:
        self._run.log(self._step, seconds=round(self._budget.used, 1), loss=round(loss, 4))
        if self._on_progress is not None:
            self._on_progress(*self._budget.told(self._step), {"loss": loss})

    def _validate(self) -> None:
        source = torch.Generator().manual_seed(0)  # the same draws each time
        self._network.eval()
        with torch.no_grad():
            losses = [float(self._validating(batch, source)) for batch in self._validation]
        self._network.train()
        loss = sum(losses) / len(losses)
        self._run.log(self._step, seconds=round(self._budget.used, 1), validation_loss=loss)
        if loss <= self._best:
            self._best, self._kept = loss, self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self._network.state_dict().items()}

    def _save(self) -> None:
        state = {
            "model": self._network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "kept": self._kept,
            "best": self._best,
            "seconds": self._budget.used,
            "validated": self._validated,
            "random": _plain(self._random.getstate()),
            "source": self._source.get_state(),
            "waiting": [batch.rows for batch in self._waiting],
        }
        self._run.save(self._step, state)

    def _restore(self) -> None:
        if (kept := self._run.restore()) is None:
            return
        self._step, state = kept
        self._network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._kept, self._best = state["kept"], state["best"]
        self._budget.spent, self._validated = state["seconds"], state["validated"]
        version, words, gauss = state["random"]
        self._random.setstate((version, tuple(words), gauss))
        self._source.set_state(state["source"])
        self._waiting = [
            self._documents.batch([[row for row in document if row >= 0] for document in rows.tolist()])
            for rows in cast(list[Tensor], state["waiting"])
        ]


def _plain(state: tuple[Any, ...]) -> list[Any]:
    version, words, gauss = state
    return [version, list(words), gauss]
