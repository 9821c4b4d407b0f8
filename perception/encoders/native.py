"""BERT's forward pass in C where the processor multiplies tiles (AMX): 2 to 3 times what torch gets there.

torch multiplies float32 by AVX-512 alone, a tenth of what AMX does in bfloat16, and the dozens of small calls of a
layer take longer than their arithmetic where texts are short. `native.c` cuts each float32 factor into two bfloat16
parts and multiplies those: three products for one, still three times as fast, with vectors the same to 1e-5. It is
compiled at first use and kept in the cache; where there is no compiler, no AMX or another shape, `load` or `compiled`
gives None, and torch computes.

Every row is summed by itself: what else is in a batch changes the last bits of a text's vector at most.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.compiling import library
from core.nouns import Float32

logger = logging.getLogger(__name__)

Affine = tuple[Tensor, Tensor]
"""A weight and a bias."""
_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = ("-O3", "-march=native", "-ffp-contract=fast")
_SIDE, _CHUNK = 16, 32
"""Rows of a tile; inputs of one, and outputs that are computed together."""
_HEAD_SIZES = (32, 64)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer's weights, float32 on the CPU: shapes [3 * width, width], [width, width], [inner, width], [width, inner].

    What a norm multiplies with and adds has shape [width].
    """

    query_key_value: Affine
    output: Affine
    output_norm: Affine
    widen: Affine
    narrow: Affine
    narrow_norm: Affine


@dataclass(frozen=True, slots=True)
class Weights:
    """All of a model: words [vocabulary, width], positions [longest, width], and its layers."""

    words: Tensor
    positions: Tensor
    norm: Affine
    layers: Sequence[Layer]
    heads: int
    epsilon: float


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("parts", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("outputs", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Matrix) for name in ("query_key_value", "output", "widen", "narrow")),
        *((name, _Norm) for name in ("output_norm", "narrow_norm")),
    )


class _Bert(ctypes.Structure):
    _fields_ = (
        ("words", ctypes.c_void_p),
        ("positions", ctypes.c_void_p),
        ("norm", _Norm),
        ("layers", ctypes.POINTER(_Layer)),
        *((name, ctypes.c_int64) for name in ("depth", "width", "inner", "heads")),
        ("epsilon", ctypes.c_double),
    )


class CompiledBert:
    """A model laid out for the compiled functions. Keeps its own copy of what is multiplied."""

    def __init__(self, function: Any, weights: Weights) -> None:
        self._function = function
        self._held: list[Tensor] = []
        layers = (_Layer * len(weights.layers))(
            *(
                _Layer(
                    *(self._matrix(one) for one in (layer.query_key_value, layer.output, layer.widen, layer.narrow)),
                    self._norm(layer.output_norm),
                    self._norm(layer.narrow_norm),
                )
                for layer in weights.layers
            )
        )
        self._words, self._width = weights.words.shape
        self._positions = len(weights.positions)
        self._bert = _Bert(
            self._address(weights.words), self._address(weights.positions), self._norm(weights.norm), layers,
            len(layers), self._width, weights.layers[0].widen[0].shape[0], weights.heads, weights.epsilon,
        )  # fmt: skip

    def __call__(self, batch: Sequence[Sequence[int]]) -> Float32:
        """Mean-pooled vectors of token sequences, none empty, shape [batch, width]; with as many threads as torch.

        Raises IndexError for a token that has no word, and for more tokens than there are positions: C would read on.
        """
        starts = np.fromiter(accumulate(map(len, batch), initial=0), np.int64, len(batch) + 1)
        tokens = np.fromiter((token for each in batch for token in each), np.int64, starts[-1])
        if not 0 <= tokens.min() <= tokens.max() < self._words:
            raise IndexError(f"a token is none of 0 to {self._words - 1}: the tokenizer is another model's")
        if not 0 < np.diff(starts).min() <= np.diff(starts).max() <= self._positions:
            raise IndexError(f"a sequence has no token, or more than the {self._positions} positions of the model")
        out = np.empty((len(batch), self._width), np.float32)
        failed = self._function(
            ctypes.byref(self._bert), tokens.ctypes.data, starts.ctypes.data, len(batch), out.ctypes.data,
            torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"{len(tokens)} tokens could not be encoded")
        return out

    def _address(self, tensor: Tensor) -> int:
        held = tensor.contiguous()
        self._held.append(held)
        return held.data_ptr()

    def _matrix(self, affine: Affine) -> _Matrix:
        weight, bias = affine
        return _Matrix(self._address(_parts(weight)), self._address(bias), *weight.shape)

    def _norm(self, affine: Affine) -> _Norm:
        return _Norm(*map(self._address, affine))


def _parts(weight: Tensor) -> Tensor:
    """Shape [outputs, inputs] as [outputs / 16, inputs / 32, 2, 16, 16, 2]: high parts, low parts, pairs of inputs."""
    outputs, inputs = weight.shape
    high = weight.to(torch.bfloat16)
    both = torch.stack([high, (weight - high.float()).to(torch.bfloat16)])
    tiles = both.view(2, outputs // _SIDE, _SIDE, inputs // _CHUNK, _CHUNK // 2, 2)
    return tiles.permute(1, 3, 0, 4, 2, 5)


def compiled(weights: Weights, cache_dir: Path) -> CompiledBert | None:
    """The model in C; None where the processor, the compiler or the model's shape is none for it."""
    width = weights.words.shape[1]
    affine = [one for layer in weights.layers for one in (layer.query_key_value, layer.output, layer.widen)]
    if width // weights.heads not in _HEAD_SIZES or any(size % _CHUNK for one in affine for size in one[0].shape):
        return None
    function = _function(cache_dir)
    return None if function is None else CompiledBert(function, weights)


@cache
def _function(cache_dir: Path) -> Any | None:
    """The forward pass; None where there is none. Compiles once, in two seconds."""
    made = library(_SOURCE, _FLAGS, cache_dir)
    if made is None:
        return None
    try:
        functions = ctypes.CDLL(str(made))
        if not functions.has_tiles():
            return None
        function: Any = functions.encode
    except (OSError, AttributeError) as error:
        logger.warning("the compiled functions cannot be used (%s); torch computes", error)
        return None
    address = ctypes.c_void_p
    function.argtypes = [address, address, address, ctypes.c_int64, address, ctypes.c_int]
    return function
