"""Keys and values of earlier passes, kept in place together with their gradient.

A cache that grows by concatenation copies all keys for every thought, and autograd then splits and adds up the gradient
of every copy. Here each layer has one buffer for keys and values, and in the backward pass one for their gradient: a
pass writes its own columns, reads all before them, and adds what it owes those to the buffer. When the backward pass
reaches the pass that made some keys, their gradient is complete.

That holds because passes depend on one another in a line: a pass begins with the output of the one before, so autograd
is done with all later passes before it comes to an earlier one. `attend` is therefore for rows where every pass but the
first takes the last output as an input, as thoughts do. Gradients of gradients are not computed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention


class Visible:
    """Which columns a query sees: none after its own, and none of the padding on the left of its row."""

    def __init__(self, padding: Tensor | None, device: torch.device) -> None:
        """`padding` are the columns of padding on the left, shape [rows]; None where there are none."""
        self._padding = padding
        self._device = device
        self._made: dict[tuple[int, int], Tensor | None] = {}

    def mask(self, start: int, end: int) -> Tensor | None:
        """For queries of columns start to end and keys of columns 0 to end: True where seen, or None for all.

        Shape [rows, 1, end - start, end], or [end - start, end] without padding. A column of padding sees itself, so
        that no query sees nothing, which has no softmax.
        """
        if (start, end) not in self._made:
            self._made[start, end] = self._make(start, end)
        return self._made[start, end]

    def is_causal(self, start: int) -> bool:
        """Whether a plain causal mask says the same, which kernels know by themselves."""
        return start == 0 and self._padding is None

    def _make(self, start: int, end: int) -> Tensor | None:
        if self._padding is None and end - start == 1:
            return None
        keys = torch.arange(end, device=self._device)
        queries = torch.arange(start, end, device=self._device)[:, None]
        seen = keys <= queries
        if self._padding is None:
            return seen
        real = keys >= self._padding[:, None, None, None]
        return (seen & real) | (keys == queries)


class KeptKeys:
    """The keys and values of one layer for `capacity` columns, and their gradient while it is gathered."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._kept: Tensor | None = None
        self._gradient: Tensor | None = None

    def write(self, key: Tensor, value: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Puts columns, shape [rows, key heads, n, head size], at `start`; all columns so far, as views."""
        rows, heads, count, size = key.shape
        if self._kept is None:
            self._kept = key.new_empty(2, rows, heads, self._capacity, size)
        end = start + count
        # By .data, whose writes autograd does not count: what earlier passes have saved are columns before these.
        kept = self._kept.data
        kept[0, :, :, start:end] = key.detach()
        kept[1, :, :, start:end] = value.detach()
        return kept[0, :, :, :end], kept[1, :, :, :end]

    def owed(self, end: int) -> Tensor:
        """The gradient of columns 0 to `end`, shape [2, rows, key heads, end, head size], to be added to in place."""
        assert self._kept is not None
        if self._gradient is None:
            self._gradient = torch.zeros_like(self._kept)
        return self._gradient[:, :, :, :end]


def attend(
    query: Tensor, key: Tensor, value: Tensor, kept: KeptKeys | None, visible: Visible, end: int, dropout: float
) -> Tensor:
    """Attention of queries, shape [rows, heads, n, head size], which are the columns up to `end`, to all before them.

    `key` and `value`, [rows, key heads, m, head size], are new columns up to `end`, with m >= n; earlier ones are in
    `kept`, which takes the new ones too. None is for a single pass. Scores are divided by the root of the head size;
    heads share key heads in groups. Returns the shape of the query.
    """
    # Rotation leaves float32 where products are in bfloat16.
    query, key = query.to(value.dtype), key.to(value.dtype)
    if kept is None:
        start = end - query.shape[2]
        causal = visible.is_causal(start)
        return scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if causal else visible.mask(start, end),
            dropout_p=dropout,
            is_causal=causal,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    attended: Tensor = _Attend.apply(query, key, value, kept, visible, end, dropout, torch.is_grad_enabled())
    return attended


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        kept: KeptKeys,
        visible: Visible,
        end: int,
        dropout: float,
        learns: bool,
    ) -> Tensor:
        ctx.kept, ctx.start, ctx.end = kept, end - key.shape[2], end
        keys, values = kept.write(key, value, ctx.start)
        first = end - query.shape[2]
        ctx.single = query.shape[2] == 1 and not dropout
        if ctx.single:
            return _single(ctx, query, keys, values, visible.mask(first, end))
        query, keys, values = (one.detach().requires_grad_(learns) for one in (query, keys, values))
        causal = visible.is_causal(first)
        with torch.set_grad_enabled(learns):
            attended = scaled_dot_product_attention(
                query,
                keys,
                values,
                attn_mask=None if causal else visible.mask(first, end),
                dropout_p=dropout,
                is_causal=causal,
                enable_gqa=query.shape[1] != keys.shape[1],
            )
        ctx.inside = (query, keys, values, attended) if learns else None
        return attended.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        owed = ctx.kept.owed(ctx.end)
        if ctx.single:
            of_query = _single_backward(ctx, gradient, owed)
        else:
            query, keys, values, attended = ctx.inside
            of_query, of_keys, of_values = torch.autograd.grad(attended, (query, keys, values), gradient)
            owed[0] += of_keys
            owed[1] += of_values
            ctx.inside = None
        own = owed[:, :, :, ctx.start :]
        return of_query, own[0], own[1], None, None, None, None, None


def _single(ctx: Any, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """One query a head: products of matrices do it in a fraction of what a kernel for blocks of queries takes."""
    rows, heads, _, size = query.shape
    groups = keys.shape[1]
    ctx.scale = size**-0.5
    grouped = query.reshape(rows, groups, heads // groups, size)
    scores = (grouped @ keys.transpose(-1, -2)).mul_(ctx.scale)
    if mask is not None:
        scores.masked_fill_(~mask, float("-inf"))
    shares = scores.softmax(-1).to(values.dtype)  # autocast may give float32, and backward multiplies both
    ctx.inside = (grouped, keys, values, shares)
    return (shares @ values).reshape(rows, heads, 1, size)


def _single_backward(ctx: Any, gradient: Tensor, owed: Tensor) -> Tensor:
    grouped, keys, values, shares = ctx.inside
    ctx.inside = None
    gradient = gradient.reshape(grouped.shape)
    of_shares = gradient @ values.transpose(-1, -2)
    of_scores = shares * (of_shares - (of_shares * shares).sum(-1, keepdim=True)) * ctx.scale
    owed[0] += of_scores.transpose(-1, -2) @ grouped
    owed[1] += shares.transpose(-1, -2) @ gradient
    of_query: Tensor = of_scores @ keys
    return of_query.reshape(of_query.shape[0], -1, 1, of_query.shape[-1])
