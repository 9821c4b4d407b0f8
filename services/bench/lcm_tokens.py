"""The token-level baseline of `bench lcm`: a small causal transformer over the codec's pieces of whole documents.

Trained on the same documents for the same CPU seconds as a concept model, it scores a candidate by the log-likelihood
of its pieces after those of the sentences before. It is a peer for the bench and nothing that is served.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from core.nouns import Float64
from perception.codec.pieces import END, PAD, Pieces
from perception.lcm.documents import Document
from perception.training import learning_rate

LONGEST = 256
"""Pieces that are read: of a longer context the last ones."""


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.mix, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, rows: Tensor, past: list[Tensor] | None = None, keep: bool = False) -> Tensor:
        batch, count, width = rows.shape
        mixed = self.mix(self.norm(rows)).view(batch, count, 3, self.heads, -1)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        if past:
            key = torch.cat([past[0].expand(batch, -1, -1, -1), key], 2)
            value = torch.cat([past[1].expand(batch, -1, -1, -1), value], 2)
        if keep and past is not None:
            past[:] = [key, value]
        before = key.shape[2] - count
        mask = torch.ones(count, count + before, dtype=torch.bool).tril(before)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        rows = rows + self.out(attended.transpose(1, 2).reshape(batch, count, width))
        fed: Tensor = rows + self.feed(rows)
        return fed


class TokenModel(nn.Module):
    """A decoder-only transformer with tied embeddings."""

    def __init__(self, pieces: int, width: int = 256, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Embedding(pieces, width)
        nn.init.normal_(self.embed.weight, std=0.02)
        self.at = nn.Parameter(torch.randn(LONGEST + 64, width) * 0.02)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def hidden(self, pieces: Tensor, past: list[list[Tensor]] | None = None, keep: bool = False) -> Tensor:
        """Rows [batch, places, width] of pieces [batch, places], after those in `past`."""
        before = past[0][0].shape[2] if past and past[0] else 0
        rows = self.embed(pieces) + self.at[before : before + pieces.shape[1]]
        for number, block in enumerate(self.blocks):
            rows = block(rows, past[number] if past else None, keep)
        normed: Tensor = self.norm(rows)
        return normed

    def losses(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy of targets [n] given rows [n, width]."""
        return functional.cross_entropy(functional.linear(hidden, self.embed.weight), targets, reduction="none")


def trained(documents: Sequence[Document], pieces: Pieces, seed: int, seconds: float, batch: int = 16) -> TokenModel:
    """Trains for so many CPU seconds."""
    torch.manual_seed(seed)
    source = random.Random(seed)
    data = [[END, *(n for text in document for n in (*pieces.numbers(text), END))][:LONGEST] for document in documents]
    model = TokenModel(len(pieces))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    started, step = time.process_time(), 0
    while (done := (time.process_time() - started) / seconds) < 1:
        rows = source.sample(data, min(batch, len(data)))
        longest = max(map(len, rows))
        padded = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
        targets = padded[:, 1:]
        real = targets != PAD
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(1e-3, step, done)
        loss = model.losses(model.hidden(padded[:, :-1])[real], targets[real]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
    return model.eval()


@torch.inference_mode()
def scores(model: TokenModel, pieces: Pieces, before: Sequence[str], candidates: Sequence[str]) -> Float64:
    """The log-likelihood in nats of each candidate after the sentences before."""
    context = [END, *(number for text in before for number in (*pieces.numbers(text), END))][-LONGEST:]
    past: list[list[Tensor]] = [[] for _ in model.blocks]
    last = model.hidden(torch.tensor([context]), past, keep=True)[:, -1:]
    rows = [[*pieces.numbers(text), END] for text in candidates]
    longest = max(map(len, rows))
    padded = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])
    hidden = torch.cat([last.expand(len(rows), -1, -1), model.hidden(padded[:, :-1], past)], 1)
    real = padded != PAD
    losses = torch.zeros(padded.shape)
    losses[real] = model.losses(hidden[real], padded[real])
    scored: Float64 = -losses.sum(1).double().numpy()
    return scored
