"""The codec's network: pieces bound to their places and added up to one vector; a causal decoder that unbinds them.

Encoder. Each piece's embedding, with a little of its neighbours, is bound to its place by a rotation: pairs of
dimensions are complex numbers that are multiplied by a phase (Plate 1995, holographic reduced representations in the
frequency domain). The sum over places, scaled to length 1, is the Concept. Random codes alone keep about
dimensions / 30 pieces so; training decides what each piece is worth and where it may be confused.

Decoder. The vector, turned back by each place's phase, is that place's piece with the others as noise. A causal
transformer cleans it up, given the pieces before; logits are products with the embeddings. So every row says at once
what the vector holds and what the language allows, and the cross-entropy of a sentence given a vector is a loss that a
concept model can be trained by (SONAR-LLM, arXiv 2508.05305).

Both use the same embeddings and phases, and a network as it begins already reads its own code.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from perception.codec.pieces import END, PAD


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of the network."""

    pieces: int
    dimensions: int = 512
    """Of the Concept's vector and of the embeddings; even."""
    width: int = 256
    """Of the decoder's hidden rows."""
    layers: int = 1
    heads: int = 4
    places: int = 40
    """Pieces of a sentence that are read, the end included."""

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


class _Block(nn.Module):
    """A pre-norm transformer block with causal attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_wide = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, rows: Tensor, past: list[Tensor] | None = None) -> Tensor:
        """Rows [batch, places, width]. With `past`, rows are one place, which sees the ones before and is added."""
        batch, places, width = rows.shape
        mixed = self.mix(self.norm(rows)).view(batch, places, 3, self.heads, width // self.heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        if past is not None:
            past[:] = [torch.cat([*past[:1], key], 2), torch.cat([*past[1:], value], 2)] if past else [key, value]
            key, value = past
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        rows = rows + self.out(attended.transpose(1, 2).reshape(batch, places, width))
        out: Tensor = rows + self.narrow(functional.gelu(self.widen(self.norm_wide(rows))))
        return out


class Network(nn.Module):
    """Encoder and decoder with their shared embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        size, width = shape.dimensions, shape.width
        self._scale = math.sqrt(size)  # vectors and embeddings are of length 1; rows are better of unit variance
        self.embed = nn.Embedding(shape.pieces, size)
        nn.init.normal_(self.embed.weight, std=size**-0.5)
        self.phases = nn.Parameter(torch.rand(shape.places, size // 2) * 2 * math.pi)
        self.near = nn.Linear(3 * size, width)
        self.near_out = nn.Linear(width, size)
        nn.init.zeros_(self.near_out.weight)
        nn.init.zeros_(self.near_out.bias)
        self.weigh = nn.Linear(width, 1)
        nn.init.zeros_(self.weigh.weight)
        nn.init.zeros_(self.weigh.bias)
        self.read = nn.Linear(size, width)
        self.before = nn.Linear(size, width, bias=False)
        self.at = nn.Parameter(torch.randn(shape.places, width) * 0.02)
        self.whole = nn.Linear(size, width, bias=False)
        self.blocks = nn.ModuleList(_Block(width, shape.heads) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(width)
        self.said = nn.Linear(width, size)
        nn.init.zeros_(self.said.weight)
        nn.init.zeros_(self.said.bias)
        self.sharp = nn.Parameter(torch.tensor(math.log(36.0)))
        self.bias = nn.Parameter(torch.zeros(shape.pieces))

    def encode(self, pieces: Tensor) -> Tensor:
        """Unit vectors [batch, dimensions] of pieces [batch, places], each ended by END and filled up with PAD."""
        return functional.normalize(self.bound(pieces), dim=-1)

    def bound(self, pieces: Tensor) -> Tensor:
        """The same before it is brought to length 1: the sum of all pieces' codes, each turned to its place."""
        real = (pieces != PAD)[..., None]
        rows = self.embed(pieces) * real  # what fills a batch up is no neighbour
        sides = functional.pad(rows, (0, 0, 1, 1))
        return self._turned(self.codes(sides[:, :-2], rows, sides[:, 2:]) * real, 1.0).sum(1)

    def codes(self, before: Tensor, rows: Tensor, after: Tensor) -> Tensor:
        """What pieces add to a sum: embeddings [..., dimensions], weighed and changed a little by their neighbours'."""
        near = functional.gelu(self.near(torch.cat([before, rows, after], dim=-1)))
        coded: Tensor = (rows + self.near_out(near)) * torch.exp(self.weigh(near))
        return coded

    def hidden(self, vectors: Tensor, pieces: Tensor) -> Tensor:
        """What is expected at each place, as embeddings [batch, places, dimensions].

        `vectors` [batch, dimensions]; `pieces` [batch, places] are those said so far: row i sees pieces before i.
        """
        held = self._held(vectors, pieces.shape[1])
        before = functional.pad(self.embed(pieces[:, :-1]), (0, 0, 1, 0))
        rows = self.read(held * self._scale) + self.before(before * self._scale)
        rows = rows + self.at[: pieces.shape[1]] + self._about(vectors)
        for block in self.blocks:
            rows = block(rows)
        return self._expected(held, rows)

    def logits(self, expected: Tensor) -> Tensor:
        """Logits of pieces for what is expected, shape [..., pieces]."""
        return functional.linear(expected, self.embed.weight, self.bias)

    def forward(self, vectors: Tensor, pieces: Tensor) -> Tensor:
        """The cross-entropy in nats of each piece given its vector and those before, [batch, places]; 0 for PAD."""
        real = pieces != PAD
        logits = self.logits(self.hidden(vectors, pieces)[real])
        losses = torch.zeros(pieces.shape, dtype=logits.dtype, device=logits.device)
        losses[real] = functional.cross_entropy(logits, pieces[real], reduction="none")
        return losses

    @torch.no_grad()
    def decode(self, vectors: Tensor) -> Tensor:
        """The likeliest piece at each place, one after another: [batch, places], PAD after the end."""
        count = len(vectors)
        pieces = torch.full((count, self.shape.places), PAD, device=vectors.device)
        open_ = torch.ones(count, dtype=torch.bool, device=vectors.device)
        held, about = self._held(vectors, self.shape.places), self._about(vectors)
        before = torch.zeros_like(vectors)
        past: list[list[Tensor]] = [[] for _ in self.blocks]
        for place in range(self.shape.places):
            here = held[:, place : place + 1]
            rows = self.read(here * self._scale) + self.before(before * self._scale)[:, None] + self.at[place] + about
            for block, kept in zip(self.blocks, past, strict=True):
                rows = block(rows, kept)
            best = self.logits(self._expected(here, rows))[:, 0].argmax(-1)
            before = self.embed(best)
            pieces[:, place] = torch.where(open_, best, pieces[:, place])
            open_ &= best != END
            if not bool(open_.any()):
                break
        return pieces

    def _held(self, vectors: Tensor, places: int) -> Tensor:
        """What vectors hold at each place, with the other places as noise."""
        return self._turned(vectors[:, None].expand(-1, places, -1), -1.0)

    def _about(self, vectors: Tensor) -> Tensor:
        said: Tensor = self.whole(vectors * self._scale)
        return said[:, None]

    def _expected(self, held: Tensor, rows: Tensor) -> Tensor:
        expected: Tensor = held * self.sharp.exp() + self.said(self.norm(rows))
        return expected

    def _turned(self, rows: Tensor, way: float) -> Tensor:
        """Rows [batch, places, dimensions] as complex numbers, times each place's phase."""
        return turned(rows, self.phases[: rows.shape[1]], way)


def turned(rows: Tensor, phases: Tensor, way: float) -> Tensor:
    """Rows [..., places, dimensions] as complex numbers, times the phases [places, dimensions / 2] of their places.

    `way` is 1.0 to bind and -1.0 to turn back.
    """
    cos, sin = phases.cos(), way * phases.sin()
    real, imaginary = rows.chunk(2, dim=-1)
    return torch.cat([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)


def padded(sentences: list[list[int]], places: int) -> Tensor:
    """Pieces [batch, longest], each sentence cut to `places` with its end, filled up with PAD."""
    ended = [[*one[: places - 1], END] for one in sentences]
    longest = max(map(len, ended))
    return torch.tensor([one + [PAD] * (longest - len(one)) for one in ended])
