"""The decoders that are trained: models of transformers, computed a pass at a time from their own modules.

GPT-2, and Llama with those built like it (SmolLM2, Qwen 2 and 3, Mistral without a window). The parameters, and the
modules that hold them, are the model's own, adapters included; what is computed here is the order of things, for three
gains that the model's own forward has no place for:

    keys and values stay in place between passes, with their gradient (`cognition.latent.cached`)
    the last layer computes keys and values for all columns, and everything else only for those that are read
    masks and positions are made once a batch

It gives the hidden states that the model itself gives, which a test holds for each family. What it does not do:
windows, other attention than scaled dot products, models whose logits are more than the head's product.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cognition.latent.cached import KeptKeys, Visible, attend
from core.errors import FailedPrecondition

LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3")


class Decoder(ABC):
    """A causal language model between its embeddings and its head."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.embedding: nn.Module = model.get_input_embeddings()
        self.head: nn.Module = model.get_output_embeddings()
        self.width: int = model.config.hidden_size
        self.body: Any = model.base_model

    @property
    @abstractmethod
    def layers(self) -> Sequence[Any]:
        """The layers, first to last."""

    def keep(self, capacity: int) -> list[KeptKeys]:
        """Empty keys and values for passes of `capacity` columns in all."""
        return [KeptKeys(capacity) for _ in self.layers]

    def forward(
        self,
        rows: Tensor,
        positions: Tensor,
        visible: Visible,
        *,
        start: int = 0,
        kept: Sequence[KeptKeys] | None = None,
        read: int | None = None,
    ) -> Tensor:
        """Hidden states after the final norm, [rows, read, width], of the last `read` columns (None: of all).

        `rows`, [rows, n, width], are the inputs of columns `start` to `start + n`, at `positions` [rows, n]; the
        columns before are in `kept`.
        """
        end = start + rows.shape[1]
        hidden, turned = self._begin(rows, positions)
        last = len(self.layers) - 1
        for index, layer in enumerate(self.layers):
            dropped = rows.shape[1] - read if index == last and read is not None else 0
            hidden = self._layer(layer, hidden, turned, dropped, kept[index] if kept else None, visible, end)
        return self._norm(hidden)

    @abstractmethod
    def _begin(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Any]:
        """The first layer's input, and what layers need to know of positions."""

    @abstractmethod
    def _layer(
        self, layer: Any, hidden: Tensor, turned: Any, dropped: int, kept: KeptKeys | None, visible: Visible, end: int
    ) -> Tensor:
        """One layer; its output leaves out the first `dropped` columns."""

    @abstractmethod
    def _norm(self, hidden: Tensor) -> Tensor: ...


def decoder_of(model: Any) -> Decoder:
    """The decoder of a model of transformers. Raises FailedPrecondition (MODEL_UNSUPPORTED) for another kind."""
    config = model.config
    kind = config.model_type
    windows = {layer for layer in getattr(config, "layer_types", None) or () if layer != "full_attention"}
    if kind == "mistral" and config.sliding_window is not None:
        windows.add("sliding_window")
    if kind == "gpt2" and not (
        config.add_cross_attention or config.scale_attn_by_inverse_layer_idx or config.reorder_and_upcast_attn
    ):
        return GPT2Decoder(model)
    if kind in LLAMA_LIKE and not windows:
        return LlamaDecoder(model)
    raise FailedPrecondition(
        f"a model of type {kind}{f' with {sorted(windows)}' if windows else ''} cannot be trained here; take a GPT-2, "
        f"or one of {', '.join(LLAMA_LIKE)} with full attention",
        reason="MODEL_UNSUPPORTED",
        field="model",
    )


class GPT2Decoder(Decoder):
    """GPT-2 (Radford et al. 2019)."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        for layer in self.layers:
            # The same function, x Phi(x) by tanh, as one operation instead of eight over the widest rows there are.
            if type(layer.mlp.act).__name__ == "NewGELUActivation":
                layer.mlp.act = nn.GELU(approximate="tanh")

    @property
    def layers(self) -> Sequence[Any]:
        """See Decoder."""
        return self.body.h  # type: ignore[no-any-return]

    def _begin(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Any]:
        return self.body.drop(rows + self.body.wpe(positions)), None

    def _layer(
        self, layer: Any, hidden: Tensor, turned: Any, dropped: int, kept: KeptKeys | None, visible: Visible, end: int
    ) -> Tensor:
        attention = layer.attn
        rows, count, width = hidden.shape
        shape = (rows, count, attention.num_heads, attention.head_dim)
        mixed = attention.c_attn(layer.ln_1(hidden)).split(width, dim=2)
        query, key, value = (part.view(shape).transpose(1, 2) for part in mixed)
        dropout = attention.attn_dropout.p if self.model.training else 0.0
        attended = attend(query[:, :, dropped:], key, value, kept, visible, end, dropout)
        attended = attended.transpose(1, 2).reshape(rows, count - dropped, width)
        hidden = hidden[:, dropped:] + attention.resid_dropout(attention.c_proj(attended))
        return hidden + layer.mlp(layer.ln_2(hidden))  # type: ignore[no-any-return]

    def _norm(self, hidden: Tensor) -> Tensor:
        return self.body.ln_f(hidden)  # type: ignore[no-any-return]


class LlamaDecoder(Decoder):
    """Llama (Touvron et al. 2023, arXiv 2302.13971) and its like; Qwen 3 also norms queries and keys."""

    @property
    def layers(self) -> Sequence[Any]:
        """See Decoder."""
        return self.body.layers  # type: ignore[no-any-return]

    def _begin(self, rows: Tensor, positions: Tensor) -> tuple[Tensor, Any]:
        return rows, self.body.rotary_emb(rows, position_ids=positions)

    def _layer(
        self, layer: Any, hidden: Tensor, turned: Any, dropped: int, kept: KeptKeys | None, visible: Visible, end: int
    ) -> Tensor:
        attention = layer.self_attn
        cosine, sine = (part[:, None] for part in turned)
        rows, count, _ = hidden.shape
        normed = layer.input_layernorm(hidden)

        def heads(projected: Tensor, norm: Any = None) -> Tensor:
            split = projected.view(rows, -1, projected.shape[-1] // attention.head_dim, attention.head_dim)
            return (norm(split) if norm is not None else split).transpose(1, 2)

        query = heads(attention.q_proj(normed[:, dropped:]), getattr(attention, "q_norm", None))
        query = _turn(query, cosine[:, :, dropped:], sine[:, :, dropped:])
        key = _turn(heads(attention.k_proj(normed), getattr(attention, "k_norm", None)), cosine, sine)
        value = heads(attention.v_proj(normed))
        dropout = attention.attention_dropout if self.model.training else 0.0
        attended = attend(query, key, value, kept, visible, end, dropout)
        attended = attended.transpose(1, 2).reshape(rows, count - dropped, -1)
        hidden = hidden[:, dropped:] + attention.o_proj(attended)
        return hidden + layer.mlp(layer.post_attention_layernorm(hidden))  # type: ignore[no-any-return]

    def _norm(self, hidden: Tensor) -> Tensor:
        return self.body.norm(hidden)  # type: ignore[no-any-return]


def _turn(vectors: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary embedding (Su et al. 2021, arXiv 2104.09864); the halves of each head are the pairs' two parts."""
    first, second = vectors.chunk(2, dim=-1)
    return vectors * cosine + torch.cat((-second, first), dim=-1) * sine
