"""BERT sentence encoders in plain torch: what the default encoder runs on.

The same arithmetic as BertModel of transformers (Devlin et al. 2018, arXiv 1810.04805) with mean pooling, and the same
vectors to 1e-5, which a test holds. It is here because importing sentence-transformers takes several times longer than
loading a small model's weights, and because a compiled pass (`perception.encoders.native`) can take its place where
the processor has one.

What it does not do: other poolings, dense layers, prompts, relative positions. `supports` says so for a folder.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import embedding, gelu, layer_norm, linear, scaled_dot_product_attention

from core.nouns import Float32
from perception.encoders.native import Affine, CompiledBert, Layer, Weights, compiled

logger = logging.getLogger(__name__)

_POOLING = {
    "word_embedding_dimension": None,
    "embedding_dimension": None,
    "pooling_mode": "mean",
    "pooling_mode_mean_tokens": True,
    "include_prompt": True,
}
"""What a pooling's config.json may say (None: anything), beside settings that are false."""
_TRANSFORMER = {
    "max_seq_length": None,
    "do_lower_case": False,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
"""The same for sentence_bert_config.json."""
_NORMALISER = {
    "lowercase": "do_lower_case",
    "strip_accents": "strip_accents",
    "handle_chinese_chars": "tokenize_chinese_chars",
}
"""Settings of a tokenizer.json and their names in tokenizer_config.json, which wins where they differ."""
_TRIED_LENGTHS, _AGREES = (3, 18, 1), 1e-5
"""Tokens of texts that both passes encode when a model is loaded, and how far their vectors may differ."""


def supports(folder: Path) -> bool:
    """Whether this file computes the vectors that sentence-transformers would, going by every configuration there."""
    needed = ("config.json", "modules.json", "tokenizer.json", "model.safetensors", "1_Pooling/config.json")
    if not all((folder / name).is_file() for name in needed):
        return False
    config, pooling = _read(folder / "config.json"), _read(folder / "1_Pooling/config.json")
    modules = [(str(module["type"]).rsplit(".", 1)[-1], module["path"]) for module in _read(folder / "modules.json")]
    shape = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    outer = _read(folder / "config_sentence_transformers.json")
    sentence = _read(folder / "sentence_bert_config.json")
    return (
        modules in (shape, shape[:2])
        and config.get("architectures") == ["BertModel"]
        and config.get("hidden_act") == "gelu"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and all(_POOLING.get(name, False) in (None, value) for name, value in pooling.items())
        and all(_TRANSFORMER.get(name, False) in (None, value) for name, value in sentence.items())
        and not any((outer.get("prompts") or {}).values())
        and _tokenizer_agrees(_read(folder / "tokenizer.json"), _read(folder / "tokenizer_config.json"))
    )


def _tokenizer_agrees(tokenizer: dict[str, Any], settings: dict[str, Any]) -> bool:
    normaliser = tokenizer.get("normalizer") or {}
    return normaliser.get("type") == "BertNormalizer" and all(
        settings.get(theirs, normaliser.get(ours)) == normaliser.get(ours) for ours, theirs in _NORMALISER.items()
    )


def _read(path: Path) -> Any:
    return json.loads(path.read_text()) if path.is_file() else {}


class _Ragged:
    """Where the tokens of sequences of unlike lengths lie in rows of one length."""

    def __init__(self, row: Tensor, place: Tensor, rows: int, longest: int) -> None:
        self.row, self.place = row, place
        self._shape = (rows, longest)
        self.mask = torch.zeros(self._shape, dtype=torch.bool, device=row.device)
        self.mask[row, place] = True
        self.mask = self.mask[:, None, None, :]

    def laid_out(self, packed: Tensor) -> Tensor:
        """Shape [tokens, n] as [rows, longest, n], with zeros between."""
        rows = packed.new_zeros(*self._shape, packed.shape[1])
        rows[self.row, self.place] = packed
        return rows


class Bert:
    """Weights, tokenizer and the forward pass. Not thread-safe."""

    def __init__(self, folder: Path, *, device: str, batch_size: int, cache_dir: Path | None = None) -> None:
        """Loads a folder that `supports` takes. KeyError for a tensor that is missing.

        `cache_dir` is where the compiled pass is kept; without one torch computes.
        """
        config = _read(folder / "config.json")
        weights = _weights(folder, config, device)
        self._batch_size = batch_size
        self._pass: Callable[[Sequence[Sequence[int]]], Float32] = _TorchPass(weights, device)
        self.compiled = False
        """Whether the compiled pass computes."""
        found = compiled(weights, cache_dir) if device == "cpu" and cache_dir is not None else None
        if found is not None:
            self.compiled = _agree(found, self._pass, len(weights.words))
            if self.compiled:
                self._pass = found
            else:
                logger.warning("the compiled pass does not compute what torch does with %s; torch computes", folder)
        self.dimensions: int = config["hidden_size"]
        # The one was where the limit stood up to sentence-transformers 5, the other is where it stands since.
        stated = _read(folder / "sentence_bert_config.json").get("max_seq_length")
        stated = stated or _read(folder / "tokenizer_config.json").get("model_max_length")
        limit: int = config["max_position_embeddings"]
        self.max_tokens = min(limit, stated or limit)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens)

    def encode(self, texts: Sequence[str]) -> tuple[Float32, list[bool]]:
        """Mean-pooled vectors, shape [texts, dimensions], not yet of unit length; and which texts were cut."""
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = [encoding.ids for encoding in encodings]
        by_length = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        vectors = np.empty((len(ids), self.dimensions), np.float32)
        for start in range(0, len(ids), self._batch_size):
            places = by_length[start : start + self._batch_size]
            vectors[places] = self._pass([ids[place] for place in places])
        return vectors, [bool(encoding.overflowing) for encoding in encodings]


def _weights(folder: Path, config: dict[str, Any], device: str) -> Weights:
    from safetensors.torch import load_file

    held = {name: tensor.float().to(device) for name, tensor in load_file(folder / "model.safetensors").items()}

    def pair(name: str) -> Affine:
        return held[f"{name}.weight"], held[f"{name}.bias"]

    layers = []
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        parts = [pair(f"{layer}.attention.self.{part}") for part in ("query", "key", "value")]
        layers.append(
            Layer(
                query_key_value=(torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])),
                output=pair(f"{layer}.attention.output.dense"),
                output_norm=pair(f"{layer}.attention.output.LayerNorm"),
                widen=pair(f"{layer}.intermediate.dense"),
                narrow=pair(f"{layer}.output.dense"),
                narrow_norm=pair(f"{layer}.output.LayerNorm"),
            )
        )
    # Every text is a single segment, so the embedding of the first is part of every position's.
    segment = held["embeddings.token_type_embeddings.weight"][0]
    return Weights(
        words=held["embeddings.word_embeddings.weight"],
        positions=held["embeddings.position_embeddings.weight"] + segment,
        norm=pair("embeddings.LayerNorm"),
        layers=layers,
        heads=config["num_attention_heads"],
        epsilon=config["layer_norm_eps"],
    )


class _TorchPass:
    """The forward pass by torch."""

    def __init__(self, weights: Weights, device: str) -> None:
        self._weights, self._device = weights, device

    @torch.inference_mode()
    def __call__(self, batch: Sequence[Sequence[int]]) -> Float32:
        """Mean-pooled vectors of token sequences, shape [batch, width].

        Tokens of all lie one after another, with no padding; only attention lays them out as rows of one length.
        """
        held, width = self._weights, self._weights.words.shape[1]
        counts = [len(each) for each in batch]
        lengths = torch.tensor(counts, device=self._device)
        tokens = torch.tensor([token for each in batch for token in each], device=self._device)
        row = torch.repeat_interleave(torch.arange(len(batch), device=self._device), lengths)
        place = torch.arange(len(tokens), device=self._device) - (lengths.cumsum(0) - lengths)[row]
        ragged = _Ragged(row, place, len(batch), max(counts)) if len(set(counts)) > 1 else None
        hidden = self._normed(embedding(tokens, held.words) + held.positions[place], held.norm)
        for layer in held.layers:
            attended = self._attend(linear(hidden, *layer.query_key_value), len(batch), ragged)
            hidden = self._normed(hidden + linear(attended, *layer.output), layer.output_norm)
            widened = gelu(linear(hidden, *layer.widen))
            hidden = self._normed(hidden + linear(widened, *layer.narrow), layer.narrow_norm)
        pooled = hidden.new_zeros(len(batch), width).index_add_(0, row, hidden)
        vectors: Float32 = (pooled / lengths[:, None]).cpu().numpy()
        return vectors

    def _attend(self, mixed: Tensor, batch: int, ragged: _Ragged | None) -> Tensor:
        """Queries, keys and values, shape [tokens, 3 * width], give [tokens, width]."""
        width, heads = mixed.shape[1] // 3, self._weights.heads
        laid_out = mixed.view(batch, -1, 3 * width) if ragged is None else ragged.laid_out(mixed)
        query, key, value = laid_out.view(batch, -1, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        mask = None if ragged is None else ragged.mask
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
        if ragged is None:
            return attended.reshape(-1, width)
        return attended.reshape(batch, -1, width)[ragged.row, ragged.place]

    def _normed(self, hidden: Tensor, norm: Affine) -> Tensor:
        return layer_norm(hidden, hidden.shape[1:], *norm, self._weights.epsilon)


def _agree(ours: CompiledBert, theirs: Callable[[Sequence[Sequence[int]]], Float32], words: int) -> bool:
    """Whether two passes give the same unit vectors of some tokens, in texts of unlike lengths."""
    batch = [[(37 * place + 101) % words for place in range(length)] for length in _TRIED_LENGTHS]
    return all(
        bool(np.allclose(one / np.linalg.norm(one), other / np.linalg.norm(other), rtol=0.0, atol=_AGREES))
        for one, other in zip(ours(batch), theirs(batch), strict=True)
    )
