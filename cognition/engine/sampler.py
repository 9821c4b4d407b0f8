"""How the next token is drawn from logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cognition.engine.base import Sampling

if TYPE_CHECKING:
    import torch


def draw(logits: torch.Tensor, sampling: Sampling, step: int) -> int:
    """The token of step `step` (from 0) from its logits, shape [vocabulary].

    Temperature 0 is greedy. Otherwise the distribution is cut to its nucleus (Holtzman et al. 2019, "The Curious Case
    of Neural Text Degeneration", section 3.1): the likeliest tokens that together reach `top_p`. The draw takes one
    number from a counter-based generator (Philox) keyed by the seed at position `step`. So it depends on nothing but
    the logits, the seed and the step: not on other requests, on a pause, or on the device's own generator.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    scaled = logits.float().cpu().numpy().astype(np.float64) / sampling.temperature
    order = np.argsort(-scaled, kind="stable")
    weights = np.exp(scaled[order] - scaled[order[0]])
    cumulative = np.cumsum(weights)
    if sampling.top_p < 1:
        kept = int(np.searchsorted(cumulative, sampling.top_p * cumulative[-1])) + 1
        cumulative = cumulative[:kept]
    uniform = np.random.Generator(np.random.Philox(key=sampling.seed, counter=step)).random()
    place = int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"))
    return int(order[min(place, len(cumulative) - 1)])
