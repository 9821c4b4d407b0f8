"""A causal decoder over rows of embeddings, for many sequences at once.

The arithmetic is that of GPT-2 (Radford et al. 2019) and of the Llama family (Touvron et al. 2023, arXiv 2302.13971,
with grouped queries, arXiv 2305.13245), and so are the tokens, which tests hold against transformers. What differs is
what goes in and how it is laid out:

- Input is rows of embeddings, shape [rows, width], not ids: a row is a token, a sum of tokens, or a vector that was
  thought. The rows of all sequences of a step lie one after another, with no padding; only attention looks at which
  row is whose.
- A step is a list of chunks: so many rows of the sequence in a slot, after so many that are in the cache. One row of a
  Thought that thinks or speaks, and a hundred of one that is read, are the same thing.
- Logits are computed for the rows that are asked for, mostly one for each sequence.

Matrices may be held in fewer bits (`cognition.engine.products`); then the products with them are computed so, attention
in the cache's format, and everything between (norms, rotation, the sum of the layers) in float32. That costs next to
nothing and stays nearer to float32 than computing all in bfloat16. Not safe for several threads together with one
cache.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import (
    embedding,
    gelu,
    layer_norm,
    pad,
    rms_norm,
    scaled_dot_product_attention,
    silu,
)

from cognition.engine.architecture import DecoderConfig
from cognition.engine.cache import KeyValueCache
from cognition.engine.native import MOST_HEAD_SIZE, CompiledLayer, LayerParts, Native, Scale
from cognition.engine.products import Formats, Product, product

_CALL_BYTES = 200_000
"""Of keys and values that are read in the time that one more call of the attention takes, on a CPU."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one sequence that are computed together."""

    slot: int
    start: int
    """How many rows of the sequence are in the cache."""
    count: int


class Batch:
    """The chunks of one step, with what every layer needs to know of them. Chunks of one row come first, by slot."""

    def __init__(self, chunks: Sequence[Chunk], config: DecoderConfig, device: torch.device) -> None:
        self.chunks = chunks
        self.singles = [chunk for chunk in chunks if chunk.count == 1]
        self.longer = [chunk for chunk in chunks if chunk.count > 1]
        if len(chunks) > 1 and (
            [*self.singles, *self.longer] != list(chunks) or self.singles != _by_slot(self.singles)
        ):
            raise ValueError("chunks of one row come first, in the order of their slots")
        positions = [at for chunk in chunks for at in range(chunk.start, chunk.start + chunk.count)]
        slots = [chunk.slot for chunk in chunks for _ in range(chunk.count)]
        self.positions = torch.tensor(positions, device=device)
        self.slots = torch.tensor(slots, device=device)
        self.lengths = self.positions + 1
        """How many rows of the cache each row sees."""
        self.groups = config.heads // config.key_heads
        self.span = (self.singles[0].slot, self.singles[-1].slot + 1) if self.singles else (0, 0)
        self.reach = max((chunk.start + 1 for chunk in self.singles), default=0)
        """Rows of the cache that the longest of the singles sees."""
        self.gaps: Tensor | None = None
        self.mask: Tensor | None = None
        self.apart = True
        """Whether singles are attended one by one: where their lengths differ much, that reads less of the cache."""
        if len(self.singles) > 1:
            self._look_together(config, device)
        self.masks = [_causal(chunk, self.groups, device) for chunk in self.longer]

    def _look_together(self, config: DecoderConfig, device: torch.device) -> None:
        """Whether singles are better attended in one product with a mask, and which."""
        first, end = self.span
        lengths = [chunk.start + 1 for chunk in self.singles]
        call = _CALL_BYTES // (8 * config.key_heads * config.head_size)
        self.apart = device.type == "cpu" and sum(lengths) + call * len(lengths) < (end - first) * self.reach + call
        if self.apart:
            return
        seen = torch.ones(end - first, dtype=torch.int64)
        seen[[chunk.slot - first for chunk in self.singles]] = torch.tensor(lengths)
        # Slots between that do not compute see their first row, for the sake of the arithmetic.
        self.mask = (torch.arange(self.reach) < seen[:, None])[:, None, None].to(device)
        if end - first > len(self.singles):
            self.gaps = torch.tensor([chunk.slot - first for chunk in self.singles], device=device)

    def write(self, cache: KeyValueCache, layer: int, keys: Tensor, values: Tensor) -> Tensor:
        """Puts rows, shape [rows, key heads, head size], into the cache; returns the layer's tensor."""
        if len(self.chunks) == 1:
            return cache.write_run(layer, self.chunks[0].slot, self.chunks[0].start, keys, values)
        return cache.write(layer, self.slots, self.positions, keys, values)

    @property
    def last(self) -> list[int]:
        """The place of each chunk's last row among all rows."""
        ends, at = [], 0
        for chunk in self.chunks:
            at += chunk.count
            ends.append(at - 1)
        return ends


class Decoder:
    """Weights and the forward pass."""

    def __init__(
        self, config: DecoderConfig, weights: MutableMapping[str, Tensor], formats: Formats | None = None
    ) -> None:
        """Takes tensors named as in `cognition.engine.weights`. KeyError for one that is missing.

        `formats` None holds matrices as they come; else those of the layers are taken out of `weights` one by one, so
        that no second copy of all is in memory.
        """
        self.config = config
        self.parameters = sum(tensor.numel() for tensor in weights.values())
        self.embedding = weights["embed.weight"]
        self.device = self.embedding.device
        self._position: Tensor | None = None
        if config.positions == "learned":
            # With one for the row beyond the capacity of a cache, whose outcome nobody reads.
            self._position = pad(weights["position.weight"].float(), (0, 0, 0, 1))
        self._head = product(self.embedding if config.tied else weights["head.weight"], None, formats)
        if formats is not None and formats.many == "bfloat16":
            self.embedding = self.embedding.to(torch.bfloat16)
        self._norm = _Norm(weights, "norm", config)
        self._layers = []
        for number in range(config.layers):
            self._layers.append(_Layer(weights, f"layers.{number}", config, formats))
            if formats is not None:
                for name in [name for name in weights if name.startswith(f"layers.{number}.")]:
                    del weights[name]
        self.projection = _Projection(weights) if config.projection else None
        native = formats.native if formats is not None and self.device.type == "cpu" else None
        self._native = native if config.head_size <= MOST_HEAD_SIZE else None
        self._compiled: list[CompiledLayer] = []
        """The layers for few rows; empty where they cannot be had."""
        if self._native is not None:
            compiled = [layer.compiled(self._native, config) for layer in self._layers]
            self._compiled = [one for one in compiled if one is not None]
            if len(self._compiled) < config.layers:
                self._compiled = []
        self._few = min((one.most_rows for one in self._compiled), default=0)
        self.halt = (weights["halt.weight"].float(), weights["halt.bias"].float()) if config.halt else None
        self.nbytes = self.embedding.nbytes + sum(layer.nbytes for layer in self._layers)
        if not (config.tied and self._head.holds(self.embedding)):
            self.nbytes += self._head.nbytes
        self.step_bytes = self._head.row_bytes + sum(layer.row_bytes for layer in self._layers)
        """What a step of one row reads of the weights, every pass but the first of a recurrent block left out."""
        self._frequencies: Tensor | None = None
        if config.rotary is not None:
            # In float32 and on the CPU, as the reference does, whatever the weights are in.
            powers = torch.arange(0, config.head_size, 2, dtype=torch.int64).float() / config.head_size
            plain = 1.0 / config.rotary.theta**powers
            if config.rotary.kind != "default":
                plain = torch.tensor([config.rotary.scaled(float(one)) for one in plain])
            self._frequencies = plain.to(self.device)

    def embed(self, ids: Tensor) -> Tensor:
        """Rows of tokens: ids, shape [n], give [n, width] in float32."""
        return embedding(ids, self.embedding).float()

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden rows after the final norm, shape [n, width], give [n, vocabulary] in float32."""
        return self._head(hidden)

    def forward(
        self, inputs: Tensor, batch: Batch, cache: KeyValueCache, select: Tensor | None, depth: int = 0
    ) -> Tensor:
        """Computes rows, shape [rows, width] float32, on top of the cache and adds them to it.

        Returns the hidden rows at `select`, or all of them, after the final norm, shape [len(select), width]. `depth`
        passes of the recurrent block; 0 means as the model was made.
        """
        hidden = inputs
        if self._position is not None:
            hidden = hidden + embedding(batch.positions, self._position)
        rotation = self._rotation(batch.positions)
        few = len(inputs) <= self._few and not batch.longer
        entered = hidden
        first = self.config.recurrence.first if self.config.recurrence else -1
        for number, place, inject in self.config.order(depth):
            layer = self._layers[number]
            if inject:
                hidden = hidden + entered
            elif number == first and place == first:
                entered = hidden
            if few:
                stored = cache.layers[place]
                hidden = self._compiled[number](hidden, stored, batch.slots, batch.lengths, rotation)
                continue
            hidden = hidden + self._attend(layer, place, layer.attention_norm(hidden), rotation, batch, cache)
            hidden = hidden + layer.mlp(layer.mlp_norm(hidden))
        return self._norm(hidden if select is None else hidden.index_select(0, select))

    def _attend(
        self,
        layer: _Layer,
        place: int,
        normed: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        batch: Batch,
        cache: KeyValueCache,
    ) -> Tensor:
        config = self.config
        rows, heads, keys = normed.shape[0], config.heads, config.key_heads
        mixed = layer.qkv(normed).view(rows, -1, config.head_size)
        if layer.query_norm is not None and layer.key_norm is not None:
            turned = torch.cat([layer.query_norm(mixed[:, :heads]), layer.key_norm(mixed[:, heads : heads + keys])], 1)
        else:
            turned = mixed[:, : heads + keys]
        if rotation is not None:
            turned = _rotated(turned, rotation)
        stored = batch.write(cache, place, turned[:, heads:], mixed[:, heads + keys :])
        # The query heads of a group share keys: as further rows of one product, these are read once and never copied.
        query = turned[:, :heads].reshape(rows, keys, batch.groups, config.head_size)
        parts = []
        at = len(batch.singles)
        if at and self._native is not None:
            parts.append(self._native.attend(query[:at], stored, batch.slots, batch.lengths))
        elif at:
            parts.append(_attend_singles(query[:at].to(stored.dtype), stored, batch))
        query = query[at:].to(stored.dtype)
        for chunk, mask in zip(batch.longer, batch.masks, strict=True):
            parts.append(_attend_chunk(query[: chunk.count], stored, chunk, mask))
            query = query[chunk.count :]
        attended = parts[0] if len(parts) == 1 else torch.cat(parts)
        return layer.output(attended.reshape(rows, -1).float())

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor] | None:
        if self._frequencies is None:
            return None
        angles = torch.outer(positions.float(), self._frequencies)[:, None]
        cosine, sine = angles.cos(), angles.sin()
        return torch.cat([cosine, cosine], -1), torch.cat([-sine, sine], -1)


def _linear(weights: Mapping[str, Tensor], name: str, formats: Formats | None) -> Product:
    return product(weights[f"{name}.weight"], weights.get(f"{name}.bias"), formats)


class _Norm:
    def __init__(self, weights: Mapping[str, Tensor], name: str, config: DecoderConfig) -> None:
        self._weight = weights[f"{name}.weight"].float()
        bias = weights.get(f"{name}.bias")
        self._bias = None if bias is None else bias.float()
        self._rms, self._epsilon = config.rms, config.epsilon

    @property
    def scale(self) -> Scale:
        """As a compiled layer reads it."""
        return Scale(self._weight, self._bias)

    def __call__(self, inputs: Tensor) -> Tensor:
        if self._rms:
            return rms_norm(inputs, (inputs.shape[-1],), self._weight, self._epsilon)
        return layer_norm(inputs, (inputs.shape[-1],), self._weight, self._bias, self._epsilon)


class _Layer:
    def __init__(
        self, weights: Mapping[str, Tensor], name: str, config: DecoderConfig, formats: Formats | None
    ) -> None:
        self.attention_norm = _Norm(weights, f"{name}.attention_norm", config)
        self.mlp_norm = _Norm(weights, f"{name}.mlp_norm", config)
        self.qkv = _linear(weights, f"{name}.qkv", formats)
        self.output = _linear(weights, f"{name}.output", formats)
        self._up = _linear(weights, f"{name}.up", formats)
        self._down = _linear(weights, f"{name}.down", formats)
        self._gated = config.gated
        self.query_norm = _Norm(weights, f"{name}.query_norm", config) if config.head_norms else None
        self.key_norm = _Norm(weights, f"{name}.key_norm", config) if config.head_norms else None
        products = (self.qkv, self.output, self._up, self._down)
        self.nbytes = sum(one.nbytes for one in products)
        self.row_bytes = sum(one.row_bytes for one in products)

    def compiled(self, native: Native, config: DecoderConfig) -> CompiledLayer | None:
        """The same in one call for few rows; None where one of its products cannot be read so."""
        qkv, output, up, down = self.qkv.matrix, self.output.matrix, self._up.matrix, self._down.matrix
        if qkv is None or output is None or up is None or down is None:
            return None
        return native.layer(
            LayerParts(
                attention_norm=self.attention_norm.scale,
                mlp_norm=self.mlp_norm.scale,
                query_norm=None if self.query_norm is None else self.query_norm.scale,
                key_norm=None if self.key_norm is None else self.key_norm.scale,
                qkv=qkv,
                output=output,
                up=up,
                down=down,
                heads=config.heads,
                key_heads=config.key_heads,
                head_size=config.head_size,
                gated=config.gated,
                rms=config.rms,
                epsilon=config.epsilon,
            )
        )

    def mlp(self, normed: Tensor) -> Tensor:
        if not self._gated:
            return self._down(gelu(self._up(normed), approximate="tanh"))
        gate, up = self._up(normed).chunk(2, dim=-1)
        return self._down(silu(gate) * up)


class _Projection:
    """What CODI (arXiv 2502.21074, section 3) puts between a thought and the next row: an MLP, then a layer norm."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._first, self._second = _linear(weights, "feedback.0", None), _linear(weights, "feedback.2", None)
        self._weight, self._bias = weights["feedback.norm.weight"].float(), weights["feedback.norm.bias"].float()

    def __call__(self, hidden: Tensor) -> Tensor:
        inner = self._second(gelu(self._first(hidden)))
        return layer_norm(inner, (inner.shape[-1],), self._weight, self._bias)


def _attend_singles(query: Tensor, stored: Tensor, batch: Batch) -> Tensor:
    """One row of each of several sequences: query [n, key heads, groups, head size] gives the same shape.

    Either one by one, or all slots from the first to the last in one product with a mask, since a view of the cache
    costs nothing.
    """
    if batch.apart:
        keys, values = stored
        return torch.cat(
            [
                scaled_dot_product_attention(
                    query[at : at + 1],
                    keys[chunk.slot : chunk.slot + 1, :, : chunk.start + 1],
                    values[chunk.slot : chunk.slot + 1, :, : chunk.start + 1],
                )
                for at, chunk in enumerate(batch.singles)
            ]
        )
    first, end = batch.span
    keys, values = stored[0, first:end, :, : batch.reach], stored[1, first:end, :, : batch.reach]
    if batch.gaps is not None:
        spread = query.new_zeros((end - first, *query.shape[1:]))
        spread[batch.gaps] = query
        return scaled_dot_product_attention(spread, keys, values, attn_mask=batch.mask)[batch.gaps]
    return scaled_dot_product_attention(query, keys, values, attn_mask=batch.mask)


def _attend_chunk(query: Tensor, stored: Tensor, chunk: Chunk, mask: Tensor) -> Tensor:
    """Several rows of one sequence: query [count, key heads, groups, head size] gives the same shape."""
    count, heads, groups, size = query.shape
    end = chunk.start + count
    rows = query.permute(1, 2, 0, 3).reshape(1, heads, groups * count, size)
    keys, values = stored[:, chunk.slot, :, :end]
    attended = scaled_dot_product_attention(rows, keys[None], values[None], attn_mask=mask)
    return attended.view(heads, groups, count, size).permute(2, 0, 1, 3)


def _causal(chunk: Chunk, groups: int, device: torch.device) -> Tensor:
    """Which rows of the cache each row of a chunk sees, shape [groups * count, start + count]."""
    end = chunk.start + chunk.count
    rows = torch.arange(chunk.start, end, device=device)[:, None]
    return (torch.arange(end, device=device) <= rows).repeat(groups, 1)


def _rotated(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding (Su et al. 2021, arXiv 2104.09864): the halves of each head are the pairs' two parts."""
    cosine, sine = rotation
    return torch.addcmul(vectors * cosine, vectors.roll(vectors.shape[-1] // 2, -1), sine)


def _by_slot(chunks: Sequence[Chunk]) -> list[Chunk]:
    return sorted(chunks, key=lambda chunk: chunk.slot)
