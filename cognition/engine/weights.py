"""The weights of a decoder under one set of names, wherever they come from.

Checkpoints name and shape their tensors by their origin: GPT-2 keeps its products transposed, the Llama family keeps
query, key and value apart, and gate and up. Here they become the few tensors that `cognition.engine.decoder` computes
with. A checkpoint of this project's own has these names already:

    embed.weight [V, D]   position.weight [P, D]   head.weight [V, D], where it is not the embedding
    layers.N.attention_norm.{weight,bias} [D]      layers.N.mlp_norm.{weight,bias} [D]     norm.{weight,bias} [D]
    layers.N.qkv.{weight,bias} [(H + 2 K) S, D]    the rows of all query heads, then keys, then values
    layers.N.output.{weight,bias} [D, H S]         layers.N.{query_norm,key_norm}.weight [S], where heads are normed
    layers.N.up.{weight,bias} [M or 2 M, D]        gate first, then up, where the MLP is gated
    layers.N.down.{weight,bias} [D, M]
    feedback.{0,2}.{weight,bias}, feedback.norm.{weight,bias}    the projection of thoughts (CODI)
    halt.weight [1, D], halt.bias [1]              the halting head

Biases are there or not, tensor by tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cognition.engine.architecture import DecoderConfig

Convert = Callable[[Tensor], Tensor]
"""Takes a tensor to the precision and the device that it is kept in."""

_EXTRAS = ("feedback.", "halt.")


def read(folder: Path, config: DecoderConfig, convert: Convert) -> dict[str, Tensor]:
    """Reads the safetensors files of a folder, tensor by tensor, so that no second copy of all is in memory.

    Raises KeyError naming a tensor that is missing.
    """
    return named(_Files(folder), config, convert)


class _Files(Mapping[str, Tensor]):
    """The tensors of all safetensors files of a folder, each read when it is asked for."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        opened: list[Any] = [safe_open(file, framework="pt") for file in sorted(folder.glob("*.safetensors"))]
        self._where = {name: file for file in opened for name in file.keys()}  # noqa: SIM118  (it is no mapping)

    def __getitem__(self, name: str) -> Tensor:
        tensor: Tensor = self._where[name].get_tensor(name)
        return tensor

    def __contains__(self, name: object) -> bool:
        return name in self._where

    def __iter__(self) -> Iterator[str]:
        return iter(self._where)

    def __len__(self) -> int:
        return len(self._where)


def named(weights: Mapping[str, Tensor], config: DecoderConfig, convert: Convert) -> dict[str, Tensor]:
    """The tensors of a checkpoint under the names above. Raises KeyError naming one that is missing."""
    if "embed.weight" in weights:
        return {name: convert(weights[name]) for name in weights}
    extras = {name: convert(weights[name]) for name in weights if name.startswith(_EXTRAS)}
    if any(name.endswith("wte.weight") for name in weights):
        return _gpt2(weights, config, convert) | extras
    return _llama(weights, config, convert) | extras


def _gpt2(weights: Mapping[str, Tensor], config: DecoderConfig, convert: Convert) -> dict[str, Tensor]:
    root = "transformer." if "transformer.wte.weight" in weights else ""
    parts = {"qkv": "attn.c_attn", "output": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}
    norms = {"attention_norm": "ln_1", "mlp_norm": "ln_2"}
    named = {
        "embed.weight": convert(weights[f"{root}wte.weight"]),
        "position.weight": convert(weights[f"{root}wpe.weight"]),
        "norm.weight": convert(weights[f"{root}ln_f.weight"]),
        "norm.bias": convert(weights[f"{root}ln_f.bias"]),
    }
    if not config.tied:
        named["head.weight"] = convert(weights["lm_head.weight"])
    for layer in range(config.layers):
        source, target = f"{root}h.{layer}", f"layers.{layer}"
        for ours, theirs in parts.items():
            # Conv1D keeps [in, out].
            named[f"{target}.{ours}.weight"] = convert(weights[f"{source}.{theirs}.weight"].t().contiguous())
            named[f"{target}.{ours}.bias"] = convert(weights[f"{source}.{theirs}.bias"])
        for ours, theirs in norms.items():
            for kind in ("weight", "bias"):
                named[f"{target}.{ours}.{kind}"] = convert(weights[f"{source}.{theirs}.{kind}"])
    return named


def _llama(weights: Mapping[str, Tensor], config: DecoderConfig, convert: Convert) -> dict[str, Tensor]:
    named = {
        "embed.weight": convert(weights["model.embed_tokens.weight"]),
        "norm.weight": convert(weights["model.norm.weight"]),
    }
    if not config.tied:
        named["head.weight"] = convert(weights["lm_head.weight"])

    def joined(sources: Iterable[str], kind: str) -> Tensor | None:
        names = [f"{source}.{kind}" for source in sources]
        if kind == "bias" and names[0] not in weights:
            return None
        return convert(torch.cat([weights[name] for name in names]))

    for layer in range(config.layers):
        source, target = f"model.layers.{layer}", f"layers.{layer}"
        products = {
            "qkv": [f"{source}.self_attn.{part}_proj" for part in "qkv"],
            "output": [f"{source}.self_attn.o_proj"],
            "up": [f"{source}.mlp.{part}_proj" for part in ("gate", "up")],
            "down": [f"{source}.mlp.down_proj"],
            "attention_norm": [f"{source}.input_layernorm"],
            "mlp_norm": [f"{source}.post_attention_layernorm"],
        }
        if config.head_norms:
            products |= {f"{part}_norm": [f"{source}.self_attn.{part[0]}_norm"] for part in ("query", "key")}
        for ours, theirs in products.items():
            for kind in ("weight", "bias"):
                if (tensor := joined(theirs, kind)) is not None:
                    named[f"{target}.{ours}.{kind}"] = tensor
    return named
