"""The loop that perception's models are trained by, and what it needs of a run: a place for figures and checkpoints.

`services.cli` gives it the folder of `cognition.latent.run`, which this package may not import. A budget is CPU seconds
of the process, so that a run on a busy machine is worth what it is worth on an idle one; or a number of steps, which is
repeatable to the bit on one machine.
"""

from __future__ import annotations

import math
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

_REPORTED = 20
"""Steps between two rows of figures."""
OnProgress = Callable[[int, int, Mapping[str, float]], None]
"""Done and whole, in seconds or steps, and the latest figures."""


class Run(Protocol):
    """Where a training keeps what it measures and can go on from."""

    @property
    def folder(self) -> Path:
        """The folder; the trained model goes to `model` in it."""
        ...

    def log(self, step: int, **values: float | int | str | None) -> None:
        """Keeps one row of figures."""
        ...

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Keeps a state to go on from, and that of the generators of Python and torch."""
        ...

    def restore(self, *, device: str = "cpu") -> tuple[int, dict[str, Any]] | None:
        """The step and state that were kept last, if any; sets the generators back."""
        ...


class Stop(Protocol):
    """Whether the training is asked to end."""

    requested: bool


class Never:
    """Nobody asks."""

    requested = False


@dataclass(slots=True)
class Budget:
    """How much of a training is done, in CPU seconds of this process or in steps."""

    seconds: float
    steps: int = 0
    """Where not 0, so many steps in place of the seconds."""
    spent: float = 0.0
    """CPU seconds of the run before it was resumed."""
    started: float = 0.0

    def __post_init__(self) -> None:
        self.started = time.process_time()

    @property
    def used(self) -> float:
        """CPU seconds so far."""
        return self.spent + time.process_time() - self.started

    def done(self, step: int) -> float:
        """The part that is spent; 1 and more is the end."""
        return step / self.steps if self.steps else self.used / self.seconds

    def told(self, step: int) -> tuple[int, int]:
        """Done and whole, for a bar."""
        whole = self.steps or max(1, round(self.seconds))
        return min(whole, round(self.done(step) * whole)), whole


def learning_rate(peak: float, step: int, done: float, *, warmup: int = 50, least: float = 0.02) -> float:
    """Rises over `warmup` steps, then falls along a cosine to `least` of the peak."""
    return peak * min(1.0, (step + 1) / warmup) * max(least, 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


class Training(ABC):
    """Steps of AdamW until the budget is spent; validations on the way, the weights kept that are best by them.

    After each validation a checkpoint is kept, from which a run that ended goes on as if it had not.
    """

    validations: int
    """How many there are, evenly over the budget."""
    best: Any
    """The measure of the weights that are kept: a number, or some."""

    def __init__(
        self,
        network: nn.Module,
        run: Run,
        budget: Budget,
        *,
        seed: int,
        peak: float,
        weight_decay: float,
        stop: Stop | None,
        on_progress: OnProgress | None,
    ) -> None:
        """`peak` is the highest learning rate. What is drawn for the network's weights is the caller's to seed."""
        self.network, self.run, self.budget = network, run, budget
        self.random = random.Random(seed)
        self.step = 0
        self._peak, self._stop, self._on_progress = peak, stop or Never(), on_progress
        self._optimizer = torch.optim.AdamW(
            network.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=weight_decay, fused=True
        )
        self._validated = 0
        self._kept = self._copy()

    @abstractmethod
    def loss(self) -> Tensor:
        """The loss of the next batch."""

    @abstractmethod
    def validate(self) -> None:
        """Measures the weights, and calls `keep` where none were better."""

    @abstractmethod
    def extra(self) -> dict[str, Any]:
        """What else a checkpoint needs: where the data are."""

    @abstractmethod
    def take_back(self, extra: Mapping[str, Any]) -> None:
        """Sets that back."""

    def told(self, loss: float) -> dict[str, float]:
        """What progress shows."""
        return {"loss": loss}

    def begin(self) -> None:  # noqa: B027  (most have nothing to do)
        """Is called before the first step of a new run."""

    def log(self, **values: float) -> None:
        """Keeps a row of figures, with the seconds so far."""
        self.run.log(self.step, seconds=round(self.budget.used, 1), **values)

    def keep(self, measure: Any) -> None:
        """Keeps the weights as they are."""
        self.best, self._kept = measure, self._copy()

    def train(self) -> bool:
        """Trains, or goes on where the run's checkpoint is; whether it came to its end. Leaves the weights kept."""
        self._restore()
        if self.step == 0:
            self.begin()
        while (done := self.budget.done(self.step)) < 1 and not self._stop.requested:
            loss = self._take_step(done)
            if self.step % _REPORTED == 0:
                self.log(loss=round(loss, 4))
                if self._on_progress is not None:
                    self._on_progress(*self.budget.told(self.step), self.told(loss))
            if done * self.validations >= self._validated + 1:
                self._validated = int(done * self.validations)
                self.validate()
                self._save()
        if finished := self.budget.done(self.step) >= 1:
            self.validate()
        self._save()
        self.network.load_state_dict(self._kept)
        return finished

    def _take_step(self, done: float) -> float:
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._peak, self.step, done)
        loss = self.loss()
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        return float(loss.detach())

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in self.network.state_dict().items()}

    def _save(self) -> None:
        version, words, gauss = self.random.getstate()
        state = {
            "model": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "kept": self._kept,
            "best": self.best,
            "seconds": self.budget.used,
            "validated": self._validated,
            "random": [version, list(words), gauss],
            **self.extra(),
        }
        self.run.save(self.step, state)

    def _restore(self) -> None:
        if (kept := self.run.restore()) is None:
            return
        self.step, state = kept
        self.network.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._kept, self.best = state["kept"], state["best"]
        self.budget.spent, self._validated = state["seconds"], state["validated"]
        version, words, gauss = state["random"]
        self.random.setstate((version, tuple(words), gauss))
        self.take_back(state)
