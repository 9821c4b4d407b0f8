"""How the next token is drawn from logits.

`draw` says what is meant, for one row and in float64; `sample` does the same for the rows of a step, without sorting
the whole vocabulary where that changes nothing. A draw takes one number from a counter-based generator (Philox) keyed
by the seed at the position of the token. So it depends on nothing but the logits, the seed and the position: not on
other Thoughts, on a pause, or on a device's own generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cognition.engine.base import Sampling

_FIRST = 256
"""So many of the likeliest tokens are looked at first; most draws fall among them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn for the rows of a step; tensors stay where the logits are."""

    tokens: Tensor
    """Shape [rows], int64."""
    logprobs: Tensor
    """Their log-probabilities under the model, before temperature and cuts, shape [rows]."""


def draw(logits: Tensor, sampling: Sampling, step: int) -> int:
    """The token of step `step` (from 0) from its logits, shape [vocabulary].

    Temperature 0 is greedy. Otherwise logits are divided by the temperature and cut, in this order: to the `top_k`
    likeliest; to the nucleus (Holtzman et al. 2019, "The Curious Case of Neural Text Degeneration", section 3.1), the
    fewest of these that together reach `top_p`; and to those with at least `min_p` times the likeliest one's
    probability (Nguyen et al. 2024, arXiv 2407.01082). The draw is by inverse transform, the likeliest first.
    """
    if sampling.temperature == 0:
        return int(logits.argmax())
    scaled = logits.double().cpu().numpy() / sampling.temperature
    order = np.argsort(-scaled, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    weights = np.exp(scaled[order] - scaled[order[0]])
    cumulative = np.cumsum(weights)
    kept = len(order)
    if sampling.top_p < 1:
        kept = int(np.searchsorted(cumulative, sampling.top_p * cumulative[-1])) + 1
    kept = max(1, min(kept, int(np.count_nonzero(weights >= sampling.min_p))))
    place = int(np.searchsorted(cumulative[:kept], uniform(sampling, step) * cumulative[kept - 1], side="right"))
    return int(order[min(place, kept - 1)])


def uniform(sampling: Sampling, step: int) -> float:
    """The number in [0, 1) that decides step `step`."""
    return float(np.random.Generator(np.random.Philox(key=sampling.seed, counter=step)).random())


def sample(logits: Tensor, samplings: Sequence[Sampling], steps: Sequence[int]) -> Drawn:
    """Draws a token for each row of logits, shape [rows, vocabulary], as `draw` does; no row waits for another."""
    tokens = logits.argmax(dim=-1)
    warm = [row for row, sampling in enumerate(samplings) if sampling.temperature > 0]
    if warm and logits.device.type == "cpu":
        for row in warm:
            tokens[row] = _among_the_likeliest(logits[row], samplings[row], steps[row])
    elif warm:
        drawn = draw_on_device(logits[warm], [samplings[row] for row in warm], [steps[row] for row in warm])
        tokens[torch.tensor(warm, device=logits.device)] = drawn
    picked = logits.gather(-1, tokens[:, None])[:, 0]
    return Drawn(tokens, picked - logits.logsumexp(dim=-1))


def _among_the_likeliest(logits: Tensor, sampling: Sampling, step: int) -> int:
    """As `draw`, from a part of the vocabulary where that is sure to hold the outcome."""
    if sampling.top_k and sampling.top_k <= _FIRST:
        # Ties at the cut are broken by id, as a stable sort does.
        least = logits.topk(min(sampling.top_k, len(logits))).values[-1]
        ids = (logits >= least).nonzero()[:, 0]
        return int(ids[draw(logits[ids], sampling, step)])
    if sampling.top_k or len(logits) <= 4 * _FIRST:
        return draw(logits, sampling, step)
    scaled = logits.double() / sampling.temperature
    values, ids = scaled.topk(_FIRST)
    # topk does not say in which order it gives equals.
    order = np.lexsort((ids.numpy(), -values.numpy()))
    weights = np.exp(values.numpy()[order] - float(values[0]))
    total = float((scaled - values[0]).exp().sum())
    cumulative = np.cumsum(weights)
    kept, known = _FIRST, cumulative[-1]
    if sampling.top_p < 1:
        if cumulative[-1] <= sampling.top_p * total:
            return draw(logits, sampling, step)
        kept = int(np.searchsorted(cumulative, sampling.top_p * total)) + 1
    if sampling.min_p:
        kept = min(kept, int(np.count_nonzero(weights >= sampling.min_p)))
    reach = cumulative[kept - 1] if kept < _FIRST else total
    target = uniform(sampling, step) * reach
    # The last place is not trusted: whoever is equal to it may be outside.
    if kept == _FIRST and target >= known - weights[-1]:
        return draw(logits, sampling, step)
    return int(ids[int(order[int(np.searchsorted(cumulative[:kept], target, side="right"))])])


def draw_on_device(logits: Tensor, samplings: Sequence[Sampling], steps: Sequence[int]) -> Tensor:
    """As `draw`, for all rows at once and with no number read back: shape [rows], on the device of the logits."""
    device = logits.device

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)[:, None]

    scaled = logits.double() / column([one.temperature for one in samplings])
    values, order = scaled.sort(dim=-1, descending=True, stable=True)
    weights = (values - values[:, :1]).exp()
    places = torch.arange(logits.shape[-1], device=device)
    weights = weights.masked_fill(places >= column([one.top_k or logits.shape[-1] for one in samplings]), 0.0)
    cumulative = weights.cumsum(dim=-1)
    before = cumulative - weights
    nucleus = before >= column([one.top_p for one in samplings]) * cumulative[:, -1:]
    cut = (nucleus & (column([one.top_p for one in samplings]) < 1)) | (
        weights < column([one.min_p for one in samplings])
    )
    cut[:, 0] = False
    weights = weights.masked_fill(cut, 0.0)
    cumulative = weights.cumsum(dim=-1)
    target = column([uniform(one, step) for one, step in zip(samplings, steps, strict=True)]) * cumulative[:, -1:]
    place = torch.searchsorted(cumulative, target, right=True)
    last = (weights > 0).sum(dim=-1, keepdim=True) - 1
    return order.gather(-1, place.minimum(last))[:, 0]
