"""What a trainer of perception needs of a run: a place for figures and checkpoints, and to be asked to stop.

`services.cli` gives it the folder of `cognition.latent.run`, which this package may not import. A budget is CPU seconds
of the process, so that a run on a busy machine is worth what it is worth on an idle one; or a number of steps, which is
repeatable to the bit on one machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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
