"""How good a model of symbols is on graphs: accuracy with all its thoughts, with few, and with as many as it wants.

An answer is a node. The question names two candidates, so what counts is which of the two has the greater logit;
`strict` counts an answer only where the target has the greatest of all tokens. Computed as in training; that
the engine says the same is a test's matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cognition.latent.symbolic import SymbolicDecoder
from cognition.latent.symbolic_data import Batch, Packed, batch

Feedback = Literal["hidden", "pause"]
_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Scores:
    """Over some graphs."""

    accuracy: float
    strict: float
    thoughts: float
    """The mean number of latent steps."""
    by_hops: dict[int, float]


@dataclass(frozen=True, slots=True)
class Stopping:
    """When to stop thinking: after a step whose halting head says `threshold` or more (a probability)."""

    threshold: float


@torch.no_grad()
def score(
    model: SymbolicDecoder,
    packed: Packed,
    *,
    steps: int,
    feedback: Feedback = "hidden",
    stopping: Stopping | None = None,
    seed: int = 0,
) -> Scores:
    """Answers every graph after `steps` thoughts, or after fewer where `stopping` says so.

    Symbols are drawn by the seed.
    """
    rng = np.random.default_rng([seed, 3])
    right, strict, used = [], [], []
    for first in range(0, len(packed), _AT_ONCE):
        some = batch(packed, np.arange(first, min(first + _AT_ONCE, len(packed))), rng)
        logits, taken = answers(model, some, steps=steps, feedback=feedback, stopping=stopping)
        node = model.shape.vocabulary.node
        of_two = logits.gather(1, node + some.candidates)
        right.append(of_two[:, 0] > of_two[:, 1])
        strict.append(logits.argmax(-1) == node + some.target)
        used.append(taken)
    correct = torch.cat(right).float()
    hops = torch.from_numpy(packed.hops)
    return Scores(
        float(correct.mean()),
        float(torch.cat(strict).float().mean()),
        float(torch.cat(used).float().mean()),
        {depth: float(correct[hops == depth].mean()) for depth in sorted(set(hops.tolist()))},
    )


def answers(
    model: SymbolicDecoder, some: Batch, *, steps: int, feedback: Feedback = "hidden", stopping: Stopping | None = None
) -> tuple[Tensor, Tensor]:
    """Logits of the answers, shape [batch, vocabulary], and how many thoughts each took, shape [batch]."""
    prompt, past = model.prompt(some), list[Tensor]()
    hidden = model.step(model.start(some), prompt, past)
    count = len(hidden)
    taken = torch.full((count,), steps)
    going = torch.ones(count, dtype=torch.bool)
    for number in range(1, steps + 1):
        row = hidden if feedback == "hidden" else model.pause_row(count)
        hidden = model.step(row, prompt, past)
        if stopping is not None:
            enough = going & (torch.sigmoid(model.halt(hidden)[:, 0]) >= stopping.threshold)
            taken[enough] = number
            going &= ~enough
    hidden = model.step(model.answer_row(some), prompt, past, bias=hides(taken, steps))
    return model.head(hidden), taken


def hides(taken: Tensor, steps: int) -> Tensor:
    """A bias that shows the row of the answer only the first `taken` of all thoughts, shape [batch, steps + 2]."""
    rows = torch.arange(steps + 2)
    hidden = (rows > taken[:, None]) & (rows <= steps)
    return torch.zeros(hidden.shape).masked_fill(hidden, -1e9)
