"""The networks of concept models: a contextualiser over the Concepts so far, and a head or a denoiser for the next.

Concepts [batch, places, dimensions] come normalised (`perception.lcm.normaliser`), and the next one is predicted in the
same scale. `mse`, `cross-entropy` and `contrastive` share one architecture, a causal transformer with a linear head,
and differ in the loss; `two-tower` gives the head's parameters to a denoiser whose layers read the contextualiser's
rows by cross-attention and are told the time by adaptive norms (AdaLN, Peebles and Xie 2023), as arXiv 2412.08821 has
it.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perception.lcm.names import Method


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a concept model."""

    method: Method
    dimensions: int
    width: int = 256
    layers: int = 3
    """In all: the two-tower model has one or more of them in its contextualiser, and the others as denoiser."""
    heads: int = 4
    places: int = 64
    """Concepts that are read: of a longer context the last ones."""

    @property
    def denoiser_layers(self) -> int:
        """Layers of the denoiser; 0 for a model without one."""
        return max(1, self.layers // 2) if self.method == "two-tower" else 0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, rows: Tensor, seen: Tensor, *, causal: bool = False, mask: Tensor | None = None) -> Tensor:
        batch, count, width = rows.shape
        query = self.query(rows).view(batch, count, self.heads, -1).transpose(1, 2)
        key, value = self.key_value(seen).view(batch, seen.shape[1], 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, count, width))
        return out


class _Feed(nn.Sequential):
    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))


class _Layer(nn.Module):
    """A pre-norm causal transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.attend = nn.LayerNorm(width), _Attention(width, heads)
        self.norm_feed, self.feed = nn.LayerNorm(width), _Feed(width)

    def forward(self, rows: Tensor) -> Tensor:
        normed = self.norm(rows)
        rows = rows + self.attend(normed, normed, causal=True)
        out: Tensor = rows + self.feed(self.norm_feed(rows))
        return out


class _Denoising(nn.Module):
    """A layer of the denoiser: reads the context, and is scaled, shifted and gated by the time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attend = _Attention(width, heads)
        self.norm_feed = nn.LayerNorm(width, elementwise_affine=False)
        self.feed = _Feed(width)
        self.adapt = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.adapt.weight)
        nn.init.zeros_(self.adapt.bias)

    def forward(self, rows: Tensor, seen: Tensor, mask: Tensor | None, told: Tensor) -> Tensor:
        scale, shift, gate, scale_feed, shift_feed, gate_feed = self.adapt(told).chunk(6, dim=-1)
        rows = rows + (1 + gate) * self.attend(self.norm(rows) * (1 + scale) + shift, seen, mask=mask)
        out: Tensor = rows + (1 + gate_feed) * self.feed(self.norm_feed(rows) * (1 + scale_feed) + shift_feed)
        return out


class ConceptNetwork(nn.Module):
    """Concepts so far to what is expected next."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width = shape.width
        self.read = nn.Linear(shape.dimensions, width)
        self.at = nn.Parameter(torch.randn(shape.places, width) * 0.02)
        self.layers = nn.ModuleList(_Layer(width, shape.heads) for _ in range(shape.layers - shape.denoiser_layers))
        self.norm = nn.LayerNorm(width)
        self.say = nn.Linear(width, shape.dimensions)
        if shape.method == "contrastive":
            # What cosines are multiplied with before the softmax of InfoNCE, as a logarithm: one over the temperature.
            self.sharp = nn.Parameter(torch.tensor(math.log(40.0)))
        if shape.method == "two-tower":
            self.nothing = nn.Parameter(torch.randn(width) * 0.02)
            self.begin = nn.Linear(shape.dimensions, width)
            self.told = nn.Sequential(nn.Linear(width, width), nn.SiLU())
            self.denoising = nn.ModuleList(_Denoising(width, shape.heads) for _ in range(shape.denoiser_layers))

    def context(self, concepts: Tensor) -> Tensor:
        """The contextualiser's rows [batch, places, width]; each has read the Concepts up to its own."""
        rows = self.read(concepts) + self.at[: concepts.shape[1]]
        for layer in self.layers:
            rows = layer(rows)
        out: Tensor = self.norm(rows)
        return out

    def forward(self, concepts: Tensor) -> Tensor:
        """What is expected after each Concept, [batch, places, dimensions]. Not of a two-tower model."""
        said: Tensor = self.say(self.context(concepts))
        return said

    def denoise(self, noisy: Tensor, times: Tensor, context: Tensor, dropped: Tensor | None = None) -> Tensor:
        """x0 of noisy vectors [batch, places, dimensions] at times [batch, places].

        The one at place i reads the rows of `context` [batch, places, width] up to i, and none where `dropped`
        [batch, places] is true.
        """
        batch, places, _ = noisy.shape
        seen = torch.cat([self.nothing.expand(batch, 1, -1), context], 1)
        mask = torch.ones(places, places + 1, dtype=torch.bool, device=noisy.device).tril(1)
        if dropped is not None:
            only = torch.zeros(places + 1, dtype=torch.bool, device=noisy.device)
            only[0] = True
            mask = torch.where(dropped[..., None], only, mask)[:, None]
        return self._denoised(noisy, times, seen, mask)

    def denoise_after(self, noisy: Tensor, times: Tensor, context: Tensor) -> Tensor:
        """x0 of noisy vectors [batch, dimensions] at times [batch], all after one whole context [1, places, width]."""
        seen = torch.cat([self.nothing.expand(1, 1, -1), context], 1)
        return self._denoised(noisy[None], times[None], seen, None)[0]

    def _denoised(self, noisy: Tensor, times: Tensor, seen: Tensor, mask: Tensor | None) -> Tensor:
        told = self.told(_sinusoid(times, self.shape.width))
        rows = self.begin(noisy)
        for layer in self.denoising:
            rows = layer(rows, seen, mask, told)
        said: Tensor = self.say(functional.layer_norm(rows, rows.shape[-1:]))
        return said


def _sinusoid(times: Tensor, width: int) -> Tensor:
    frequencies = torch.exp(torch.arange(width // 2, device=times.device) * (-math.log(1000.0) / (width // 2)))
    angles = times[..., None].float() * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
