"""The noise schedule of the Two-Tower concept model (arXiv 2412.08821, section 2.3.3), and its sampler.

A cosine schedule over `STEPS` times, rescaled so that the last one is noise alone (zero terminal signal-to-noise, Lin
et al. 2024, arXiv 2305.08891); the network says x0, the clean vector. Sampling takes some of the times by DDIM (Song et
al. 2021), without the noise that the paper's sampler adds; classifier-free guidance with its rescaling (Lin et al.,
equations 15 and 16) turns away from the prediction without context.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 100
"""Times of the schedule, T."""
INFERENCE_STEPS = 40
GUIDANCE = 3.0
RESCALE = 0.7

Denoise = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Noisy vectors [batch, dimensions] and times [batch] to x0 with the context and without it."""


def signal() -> Tensor:
    """The share of signal, sqrt(alpha bar), at each time: falls from nearly 1 to exactly 0; shape [STEPS]."""
    times = torch.arange(STEPS + 1, dtype=torch.float64) / STEPS
    cosine = torch.cos((times + 0.008) / 1.008 * math.pi / 2) ** 2
    share = (cosine / cosine[0])[1:].clamp(min=0).sqrt()
    first, last = share[0].clone(), share[-1].clone()
    return ((share - last) * first / (first - last)).float()


def noised(clean: Tensor, noise: Tensor, times: Tensor, share: Tensor) -> Tensor:
    """Vectors at some times of the schedule `share`: their share of signal, and noise for the rest of the variance."""
    kept = share[times][:, None]
    return kept * clean + (1 - kept**2).sqrt() * noise


def guided(with_context: Tensor, without: Tensor, guidance: float, rescale: float = RESCALE) -> Tensor:
    """x0 by both predictions. `guidance` 1 is the one with context."""
    away = without + guidance * (with_context - without)
    if rescale <= 0:
        return away
    size = with_context.std(dim=-1, keepdim=True) / away.std(dim=-1, keepdim=True).clamp(min=1e-6)
    return rescale * away * size + (1 - rescale) * away


def sample(denoise: Denoise, start: Tensor, *, steps: int = INFERENCE_STEPS, guidance: float = GUIDANCE) -> Tensor:
    """x0 from noise [batch, dimensions], in `steps` of the times, the last one first."""
    share = signal().to(start.device)
    times = torch.linspace(STEPS - 1, 0, min(steps, STEPS)).round().long().tolist()
    noisy, clean = start, start
    for number, time in enumerate(times):
        at = torch.full((len(start),), time, device=start.device)
        clean = guided(*denoise(noisy, at), guidance)
        if number + 1 < len(times):
            kept, then = share[time], share[times[number + 1]]
            noise = (noisy - kept * clean) / (1 - kept**2).sqrt()
            noisy = then * clean + (1 - then**2).sqrt() * noise
    return clean
