"""The Llama architecture in plain torch: what the default model runs on.

The same arithmetic as LlamaForCausalLM of transformers (Touvron et al. 2023, arXiv 2302.13971, with grouped queries,
arXiv 2305.13245), and the same tokens, which a test holds. It is here for two reasons: it starts without importing
transformers, which takes longer than loading the weights, and it decodes several times faster on a CPU, where a small
model's time goes into hundreds of small operations: query, key and value are one product, gate and up are another, and
the cache is written in place instead of copied for every token.

Weights may be bfloat16; then the products with them are computed in it, and everything between (norms, rotation,
attention, the sum of the layers, the cache) in float32. That costs next to nothing and stays nearer to float32 than
computing all in bfloat16: on a page of text, the same likeliest token 97% of the time against 94%.

What it does not do: batches, scaled rotary embeddings, biases, sliding windows. `supports` says so for a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding, linear, rms_norm, scaled_dot_product_attention, silu

_FIRST_CAPACITY = 512
"""Positions that a new cache has room for; it doubles when it is full."""


def supports(config: Mapping[str, Any]) -> bool:
    """Whether a config.json describes a model that this file computes exactly."""
    rotary = config.get("rope_parameters") or {}
    return (
        config.get("architectures") == ["LlamaForCausalLM"]
        and config.get("hidden_act") == "silu"
        and not config.get("attention_bias")
        and not config.get("mlp_bias")
        and not config.get("rope_scaling")
        and rotary.get("rope_type", "default") == "default"
        and "rope_theta" in {**config, **rotary}
        and "quantization_config" not in config
    )


@dataclass(frozen=True, slots=True)
class _Layer:
    attention_norm: Tensor
    query_key_value: Tensor
    output: Tensor
    mlp_norm: Tensor
    gate_up: Tensor
    down: Tensor


class LlamaCache:
    """Keys and values of one sequence, shape [layers, 2, key heads, capacity, head size], in float32.

    `length` positions are used; setting it back forgets the later ones.
    """

    def __init__(self, layers: int, heads: int, head_size: int, device: torch.device) -> None:
        self.length = 0
        self._stored = torch.empty(layers, 2, heads, _FIRST_CAPACITY, head_size, device=device)

    def reserve(self, more: int) -> None:
        """Makes room for `more` positions."""
        capacity = self._stored.shape[3]
        if self.length + more <= capacity:
            return
        while capacity < self.length + more:
            capacity *= 2
        shape = list(self._stored.shape)
        shape[3] = capacity
        grown = self._stored.new_empty(shape)
        grown[:, :, :, : self.length] = self._stored[:, :, :, : self.length]
        self._stored = grown

    def write(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Puts new positions, shape [key heads, n, head size], after the old; returns all of the layer's."""
        end = self.length + key.shape[1]
        stored = self._stored[layer]
        stored[0, :, self.length : end] = key
        stored[1, :, self.length : end] = value
        return stored[0, :, :end], stored[1, :, :end]


class Llama:
    """Weights and the forward pass. Not thread-safe together with its cache; weights are only read."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
        """Takes the tensors of a Hugging Face checkpoint by their names there. KeyError for one that is missing."""
        self._heads: int = config["num_attention_heads"]
        self._key_heads: int = config.get("num_key_value_heads") or self._heads
        self._head_size: int = config.get("head_dim") or config["hidden_size"] // self._heads
        self._epsilon: float = config["rms_norm_eps"]
        theta = float({**config, **(config.get("rope_parameters") or {})}["rope_theta"])
        self._embedding = weights["model.embed_tokens.weight"]
        tied = config.get("tie_word_embeddings", False)
        self._head = self._embedding if tied else weights["lm_head.weight"]
        self._norm = weights["model.norm.weight"].float()
        self._layers = [
            _Layer(
                attention_norm=weights[f"model.layers.{layer}.input_layernorm.weight"].float(),
                query_key_value=torch.cat(
                    [weights[f"model.layers.{layer}.self_attn.{part}_proj.weight"] for part in "qkv"]
                ),
                output=weights[f"model.layers.{layer}.self_attn.o_proj.weight"],
                mlp_norm=weights[f"model.layers.{layer}.post_attention_layernorm.weight"].float(),
                gate_up=torch.cat([weights[f"model.layers.{layer}.mlp.{part}_proj.weight"] for part in ("gate", "up")]),
                down=weights[f"model.layers.{layer}.mlp.down_proj.weight"],
            )
            for layer in range(config["num_hidden_layers"])
        ]
        # In float32 and on the CPU, as the reference does, whatever the weights are in.
        powers = torch.arange(0, self._head_size, 2, dtype=torch.int64).float() / self._head_size
        self._frequencies = (1.0 / theta**powers).to(self._embedding.device)

    def new_cache(self) -> LlamaCache:
        """An empty cache for one sequence."""
        return LlamaCache(len(self._layers), self._key_heads, self._head_size, self._embedding.device)

    def forward(self, tokens: Tensor, cache: LlamaCache) -> Tensor:
        """Computes tokens, shape [n], on top of the cache and adds them to it.

        Returns the logits of the last, shape [vocabulary].
        """
        count = tokens.shape[0]
        cache.reserve(count)
        hidden = embedding(tokens, self._embedding).float()
        rotation = self._rotation(cache.length, count)
        mask = self._mask(cache.length, count)
        for index, layer in enumerate(self._layers):
            normed = rms_norm(hidden, (hidden.shape[-1],), layer.attention_norm, self._epsilon)
            hidden = hidden + self._attend(index, layer, normed, rotation, mask, cache)
            normed = rms_norm(hidden, (hidden.shape[-1],), layer.mlp_norm, self._epsilon)
            gate, up = _product(normed, layer.gate_up).chunk(2, dim=-1)
            hidden = hidden + _product(silu(gate) * up, layer.down)
        cache.length += count
        last = rms_norm(hidden[-1:], (hidden.shape[-1],), self._norm, self._epsilon)
        return _product(last, self._head)[0]

    def _attend(
        self,
        index: int,
        layer: _Layer,
        normed: Tensor,
        rotation: tuple[Tensor, Tensor],
        mask: Tensor | None,
        cache: LlamaCache,
    ) -> Tensor:
        count = normed.shape[0]
        mixed = _product(normed, layer.query_key_value).view(count, -1, self._head_size).transpose(0, 1)
        turned = _rotate(mixed[: self._heads + self._key_heads], rotation)
        query, key = turned[: self._heads], turned[self._heads :]
        keys, values = cache.write(index, key, mixed[self._heads + self._key_heads :])
        # The query heads of a group share keys: as further rows of one product, these are read once and never copied.
        groups = self._heads // self._key_heads
        rows = query.reshape(self._key_heads, groups * count, self._head_size)
        attended = scaled_dot_product_attention(rows[None], keys[None], values[None], attn_mask=mask)
        attended = attended.view(self._heads, count, self._head_size).transpose(0, 1).reshape(count, -1)
        return _product(attended, layer.output)

    def _rotation(self, start: int, count: int) -> tuple[Tensor, Tensor]:
        positions = torch.arange(start, start + count, device=self._frequencies.device).float()
        angles = torch.outer(positions, self._frequencies).repeat(1, 2)
        return angles.cos(), angles.sin()

    def _mask(self, start: int, count: int) -> Tensor | None:
        """Which positions each row sees, shape [groups * count, start + count]; None when it is all of them."""
        if count == 1:
            return None
        device = self._embedding.device
        seen = torch.arange(start + count, device=device) <= torch.arange(start, start + count, device=device)[:, None]
        return seen.repeat(self._heads // self._key_heads, 1)


def _product(inputs: Tensor, weight: Tensor) -> Tensor:
    """Inputs in float32, shape [n, in], times weights, shape [out, in], in the weights' precision."""
    return linear(inputs.to(weight.dtype), weight).float()


def _rotate(vectors: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding (Su et al. 2021, arXiv 2104.09864): the halves of each head are the pairs' two parts."""
    cosine, sine = rotation
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cosine + torch.cat((-second, first), dim=-1) * sine
