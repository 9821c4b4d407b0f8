"""What a decoder is made of, read from a config.json: sizes, positions, norms, and what it needs in memory.

Pure data, no torch. One description serves GPT-2, the Llama family (Llama, SmolLM, Mistral without a window, Qwen2,
Qwen3) and this project's own small checkpoints ("SapienceDecoder"). `described` raises Unsupported, with the reason,
for what `cognition.engine.decoder` would not compute exactly: transformers computes that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cognition.engine.base import Mode

Positions = Literal["none", "learned", "rotary"]

OWN = "SapienceDecoder"
_LLAMAS = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"}
_NO_LIMIT = 2**20
"""Context of a model that states none, in tokens."""


class Unsupported(Exception):
    """The configuration asks for something that the decoder does not compute. Never leaves the engine."""


@dataclass(frozen=True, slots=True)
class Rotary:
    """Rotary position embeddings (Su et al. 2021, arXiv 2104.09864), where need be with scaled frequencies."""

    theta: float
    kind: Literal["default", "linear", "llama3"] = "default"
    factor: float = 1.0
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    """`low`, `high` and `original` are llama3's: frequency factors and the context that it was trained with."""

    def scaled(self, frequency: float) -> float:
        """A frequency in radians a position, as the model was trained with it."""
        if self.kind == "default":
            return frequency
        if self.kind == "linear":
            return frequency / self.factor
        wavelength = 2 * math.pi / frequency
        if wavelength < self.original / self.high:
            return frequency
        if wavelength > self.original / self.low:
            return frequency / self.factor
        smooth = (self.original / wavelength - self.low) / (self.high - self.low)
        return (1 - smooth) * frequency / self.factor + smooth * frequency


@dataclass(frozen=True, slots=True)
class Recurrence:
    """Layers `first` to `last` (exclusive) are passed `passes` times, or as often as a Thought asks, up to `most`.

    Depth in the sense of Universal Transformers (arXiv 1807.03819) and Huginn (arXiv 2502.05171): weights are shared
    between passes, keys and values are not. Where `inject` is set, what entered the block is added again before
    every later pass.
    """

    first: int
    last: int
    passes: int
    most: int
    inject: bool = True


@dataclass(frozen=True, slots=True)
class Latent:
    """How a model was trained to think, from `latent` of its config."""

    mode: Mode = Mode.NONE
    steps: int = 0
    """What it was trained with; 0 where it was not."""
    start_token: int | None = None
    end_token: int | None = None
    pause_token: int | None = None
    """Before the thoughts, after them, and in their place in the mode `pause` and in round 0 of `jacobi`."""
    rounds: int = 3
    threshold: float | None = None
    """Of the halting head, where it has one and is to use it."""


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """The shape of a causal pre-norm decoder."""

    width: int
    layers: int
    heads: int
    key_heads: int
    head_size: int
    mlp: int
    vocabulary: int
    context: int
    positions: Positions
    rms: bool
    gated: bool
    """SwiGLU where True, GELU by its tanh form where not."""
    epsilon: float
    tied: bool
    rotary: Rotary | None = None
    head_norms: bool = False
    """RMS norms of each query and key head (Qwen3)."""
    recurrence: Recurrence | None = None
    latent: Latent = Latent()
    projection: bool = False
    halt: bool = False
    own: bool = False
    """Whether it is a checkpoint of this project's own, which transformers does not know."""

    def order(self, depth: int = 0) -> list[tuple[int, int, bool]]:
        """The layers as they are passed: (layer, place in the cache, whether the block's input is added before it)."""
        loop = self.recurrence
        if loop is None:
            return [(layer, layer, False) for layer in range(self.layers)]
        passes, size = depth or loop.passes, loop.last - loop.first
        steps = [(layer, layer, False) for layer in range(loop.first)]
        for turn in range(passes):
            steps += [
                (layer, layer + turn * size, loop.inject and turn > 0 and layer == loop.first)
                for layer in range(loop.first, loop.last)
            ]
        after = (loop.most - 1) * size
        return steps + [(layer, layer + after, False) for layer in range(loop.last, self.layers)]

    @property
    def cached_layers(self) -> int:
        """Layers that keep keys and values, every pass of a recurrent one counted."""
        loop = self.recurrence
        return self.layers if loop is None else self.layers + (loop.most - 1) * (loop.last - loop.first)

    def cache_bytes(self, rows: int, element: int = 4) -> int:
        """What the keys and values of so many rows take, at `element` bytes a number."""
        return 2 * self.cached_layers * self.key_heads * self.head_size * rows * element


def described(config: Mapping[str, Any]) -> DecoderConfig:
    """The decoder that a config.json describes. Raises Unsupported, and KeyError for a number that is missing."""
    if config.get("quantization_config"):
        raise Unsupported("quantised weights")
    names = config.get("architectures") or []
    if len(names) != 1:
        raise Unsupported(f"architectures {names}")
    if names[0] == OWN:
        return _own(config)
    if names[0] == "GPT2LMHeadModel":
        return _gpt2(config)
    if names[0] in _LLAMAS:
        return _llama(config, names[0])
    raise Unsupported(f"the architecture {names[0]}")


def _latent(config: Mapping[str, Any]) -> Latent:
    told = config.get("latent") or {}
    return Latent(
        mode=Mode(told.get("mode", "none")),
        steps=int(told.get("steps", 0)),
        start_token=told.get("start_token"),
        end_token=told.get("end_token"),
        pause_token=told.get("pause_token"),
        rounds=int(told.get("rounds", 3)),
        threshold=told.get("halt_threshold"),
    )


def _own(config: Mapping[str, Any]) -> DecoderConfig:
    heads, width = config["num_attention_heads"], config["hidden_size"]
    told = config.get("latent") or {}
    loop = config.get("recurrence")
    return DecoderConfig(
        width=width,
        layers=config["num_hidden_layers"],
        heads=heads,
        key_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or width // heads,
        mlp=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        positions=config["position"],
        rms=config["norm"] == "rms",
        gated=config["activation"] == "silu_gated",
        epsilon=config.get("norm_epsilon", 1e-5),
        tied=config.get("tie_word_embeddings", False),
        rotary=Rotary(float(config.get("rope_theta", 10_000.0))) if config["position"] == "rotary" else None,
        recurrence=Recurrence(**loop) if loop else None,
        latent=_latent(config),
        projection=bool(told.get("projection")),
        halt=bool(told.get("halt")),
        own=True,
    )


def _gpt2(config: Mapping[str, Any]) -> DecoderConfig:
    for flag in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"):
        if config.get(flag):
            raise Unsupported(flag)
    if not config.get("scale_attn_weights", True):
        raise Unsupported("attention that is not scaled")
    if config.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"):
        raise Unsupported(f"the activation {config['activation_function']}")
    heads, width = config["n_head"], config["n_embd"]
    told = config.get("latent") or {}
    return DecoderConfig(
        width=width,
        layers=config["n_layer"],
        heads=heads,
        key_heads=heads,
        head_size=width // heads,
        mlp=config.get("n_inner") or 4 * width,
        vocabulary=config["vocab_size"],
        context=config.get("n_positions") or config.get("n_ctx") or _NO_LIMIT,
        positions="learned",
        rms=False,
        gated=False,
        epsilon=config.get("layer_norm_epsilon", 1e-5),
        tied=config.get("tie_word_embeddings", True),
        latent=_latent(config),
        projection=bool(told.get("projection")),
        halt=bool(told.get("halt")),
    )


def _llama(config: Mapping[str, Any], name: str) -> DecoderConfig:
    if config.get("hidden_act", "silu") != "silu":
        raise Unsupported(f"the activation {config['hidden_act']}")
    context = config.get("max_position_embeddings") or _NO_LIMIT
    windowed = config.get("use_sliding_window", name == "MistralForCausalLM")
    if windowed and config.get("sliding_window"):
        raise Unsupported("a sliding window")
    if any(kind != "full_attention" for kind in config.get("layer_types") or []):
        raise Unsupported("layers of several kinds")
    heads, width = config["num_attention_heads"], config["hidden_size"]
    told = config.get("latent") or {}
    return DecoderConfig(
        width=width,
        layers=config["num_hidden_layers"],
        heads=heads,
        key_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or width // heads,
        mlp=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        context=context,
        positions="rotary",
        rms=True,
        gated=True,
        epsilon=config["rms_norm_eps"],
        tied=config.get("tie_word_embeddings", False),
        rotary=_rotary(config),
        head_norms=name == "Qwen3ForCausalLM",
        latent=_latent(config),
        projection=bool(told.get("projection")),
        halt=bool(told.get("halt")),
    )


def _rotary(config: Mapping[str, Any]) -> Rotary:
    """Version 5 of transformers writes `rope_parameters`, earlier ones `rope_theta` and `rope_scaling`."""
    told = {**config, **(config.get("rope_scaling") or {}), **(config.get("rope_parameters") or {})}
    kind: Any = told.get("rope_type") or told.get("type") or "default"
    if kind not in ("default", "linear", "llama3"):
        raise Unsupported(f"rotary embeddings of the kind {kind}")
    if told.get("partial_rotary_factor", 1.0) != 1.0:
        raise Unsupported("partial rotary embeddings")
    return Rotary(
        theta=float(told["rope_theta"]),
        kind=kind,
        factor=float(told.get("factor", 1.0)),
        low=float(told.get("low_freq_factor", 1.0)),
        high=float(told.get("high_freq_factor", 4.0)),
        original=int(told.get("original_max_position_embeddings", 8192)),
    )
