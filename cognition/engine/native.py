"""Inner loops of decoding in C, where a compiler is at hand: an option, never a need.

torch has no kernel for one row each of many sequences of different lengths, nor for a few rows times a matrix of four
bits in whole numbers; its nearest ones took 1.7 to 5 times as long, measured in turns on one processor. Nor has it one
for a whole layer, whose dozen calls take longer than their arithmetic where a model is small and its rows are few. So
`native.c` is compiled once, in two seconds, for the processor it runs on, and kept in the cache; without a compiler,
or where what it computes does not agree with torch, `load` gives None, and torch computes.

Rows are rounded to bytes with a scale for each 32 numbers, as llama.cpp does: a tenth of a percent of perplexity, where
one scale for a whole row would cost three. Only processors with AVX-512 VNNI have that product, and only such with
AVX-512 BF16 the one in bfloat16; attention and layers are plain C.

Threads are torch's own: both are linked to the same OpenMP.
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, layer_norm, linear, scaled_dot_product_attention

from core.compiling import library

logger = logging.getLogger(__name__)

MOST_HEAD_SIZE = 128
GROUP = 32
_LANES = 16
"""Outputs of a block."""
_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = (
    "-O3", "-march=native", "-fassociative-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno",
    "-ffp-contract=fast",
)  # fmt: skip
"""Sums may be reordered; numbers that are none stay so, and nothing is set for the whole process, as -ffast-math would.
"""
_AGREES = 2e-5


@dataclass(frozen=True, slots=True)
class Halves:
    """A matrix in bfloat16, laid out for `Native.multiply_halves`: blocks of 16 outputs, in them pairs of inputs."""

    numbers: Tensor
    outputs: int
    inputs: int

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.numbers.nbytes


def halves(weight: Tensor) -> Halves | None:
    """Lays out a matrix, shape [outputs, inputs]; None where outputs or inputs are no multiple of 16."""
    outputs, inputs = weight.shape
    if outputs % _LANES or inputs % _LANES:
        return None
    by_pair = weight.to(torch.bfloat16).view(outputs // _LANES, _LANES, inputs // 2, 2).permute(0, 2, 1, 3)
    return Halves(by_pair.contiguous(), outputs, inputs)


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix in groups of 32 inputs, laid out for `Native.multiply`: weight = number * step + least."""

    numbers: Tensor
    steps: Tensor
    leasts: Tensor
    outputs: int
    groups: int
    bits: int

    @property
    def nbytes(self) -> int:
        """What it takes in memory."""
        return self.numbers.nbytes + self.steps.nbytes + self.leasts.nbytes


def blocks(numbers: Tensor, step: Tensor, least: Tensor, bits: int) -> Blocks:
    """Lays out numbers 0 to 2^bits - 1, shape [outputs, inputs], with step and least, shape [outputs, inputs / 32].

    Steps and leasts are kept in half precision, as GGUF has them. `outputs` is a multiple of 16, `inputs` of 32.
    """
    outputs, inputs = numbers.shape
    # Eight vectors for a group, each of 16 outputs by 4 inputs.
    by_vector = numbers.to(torch.uint8).view(outputs // _LANES, _LANES, inputs // GROUP, 8, 4).permute(0, 2, 3, 1, 4)
    if bits == 4:
        by_vector = by_vector[:, :, :4] | (by_vector[:, :, 4:] << 4)

    def by_block(scales: Tensor) -> Tensor:
        return scales.half().view(outputs // _LANES, _LANES, -1).permute(0, 2, 1).contiguous()

    return Blocks(by_vector.contiguous(), by_block(step), by_block(least), outputs, inputs // GROUP, bits)


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix with its bias, as a compiled layer reads it: a float32 tensor, shape [outputs, inputs], or laid out."""

    held: Tensor | Halves | Blocks
    bias: Tensor | None
    most_rows: int
    """For more rows, other ways to multiply are faster."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What a norm multiplies with and adds, float32, shape [size]."""

    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, slots=True)
class LayerParts:
    """What a layer of a decoder is made of; see `cognition.engine.decoder`."""

    attention_norm: Scale
    mlp_norm: Scale
    query_norm: Scale | None
    key_norm: Scale | None
    qkv: Matrix
    output: Matrix
    up: Matrix
    down: Matrix
    heads: int
    key_heads: int
    head_size: int
    gated: bool
    rms: bool
    epsilon: float


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("numbers", ctypes.c_void_p),
        ("steps", ctypes.c_void_p),
        ("leasts", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("outputs", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("bits", ctypes.c_int64),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", ctypes.c_void_p), ("bias", ctypes.c_void_p))


class _Layer(ctypes.Structure):
    _fields_ = (
        *((name, _Norm) for name in ("attention_norm", "mlp_norm", "query_norm", "key_norm")),
        *((name, _Matrix) for name in ("qkv", "output", "up", "down")),
        *((name, ctypes.c_int64) for name in ("heads", "key_heads", "size", "gated", "rms")),
        ("epsilon", ctypes.c_double),
    )


class CompiledLayer:
    """A layer for up to `most_rows` rows, each of another slot. Keeps the tensors that it is made of."""

    def __init__(self, function: Any, parts: LayerParts) -> None:
        self.most_rows = min(one.most_rows for one in (parts.qkv, parts.output, parts.up, parts.down))
        self._function, self._parts = function, parts
        self._layer = _Layer(
            *(_norm(one) for one in (parts.attention_norm, parts.mlp_norm, parts.query_norm, parts.key_norm)),
            *(_matrix(one) for one in (parts.qkv, parts.output, parts.up, parts.down)),
            parts.heads,
            parts.key_heads,
            parts.head_size,
            parts.gated,
            parts.rms,
            parts.epsilon,
        )
        self._address = ctypes.addressof(self._layer)

    def __call__(
        self,
        hidden: Tensor,
        stored: Tensor,
        slots: Tensor,
        lengths: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """Passes hidden [n, width] float32 through the layer and adds its keys and values to the cache.

        `stored`, `slots` and `lengths` are as in `Native.attend`; row i goes to lengths[i] - 1. `rotation` is a cosine
        and a signed sine, [n, 1, head size] each.
        """
        hidden = hidden.contiguous()
        out = torch.empty_like(hidden)
        half, capacity = stored.dtype == torch.bfloat16, stored.shape[3]
        keys = stored.data_ptr()
        values = keys + stored.stride(0) * stored.element_size()
        cosine, sine = (one.data_ptr() for one in rotation) if rotation is not None else (None, None)
        failed = self._function(
            self._address, hidden.data_ptr(), len(hidden), out.data_ptr(), keys, values, half, capacity,
            slots.data_ptr(), lengths.data_ptr(), cosine, sine, torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"a layer of {len(hidden)} rows could not be computed")
        return out


def _norm(scale: Scale | None) -> _Norm:
    if scale is None:
        return _Norm(None, None)
    return _Norm(scale.weight.data_ptr(), None if scale.bias is None else scale.bias.data_ptr())


def _matrix(matrix: Matrix) -> _Matrix:
    held, bias = matrix.held, None if matrix.bias is None else matrix.bias.data_ptr()
    if isinstance(held, Tensor):
        return _Matrix(held.data_ptr(), None, None, bias, *held.shape, 32)
    if isinstance(held, Halves):
        return _Matrix(held.numbers.data_ptr(), None, None, bias, held.outputs, held.inputs, 16)
    addresses = (one.data_ptr() for one in (held.numbers, held.steps, held.leasts))
    return _Matrix(*addresses, bias, held.outputs, held.groups * GROUP, held.bits)


class Native:
    """The compiled functions. Inputs are on the CPU."""

    def __init__(self, library: Path) -> None:
        """Raises OSError for what is no library, and AttributeError for one that has other functions."""
        self._library = ctypes.CDLL(str(library))
        address, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self._attend: Any = self._library.attend
        self._attend.argtypes = [
            address, address, address, number, address, address, size, size, size, size, size, ctypes.c_float, address,
            number,
        ]  # fmt: skip
        self._multiply: Any = self._library.multiply
        self._multiply.argtypes = [address, size, address, address, address, size, size, number, address, number]
        self._multiply_halves: Any = self._library.multiply_halves
        self._multiply_halves.argtypes = [address, size, address, size, size, address, number]
        self.halves = bool(self._library.has_halves())
        """Whether `multiply_halves` works on this processor."""
        self._pass: Any = self._library.pass_layer
        self._pass.argtypes = [
            address, address, size, address, address, address, number, size, address, address, address, address,
            number,
        ]  # fmt: skip
        self.products = bool(self._library.has_products())
        """Whether `multiply` works on this processor."""

    def attend(self, query: Tensor, stored: Tensor, slots: Tensor, lengths: Tensor) -> Tensor:
        """Attention of one row each of n sequences: query [n, key heads, groups, head size] float32 gives the same.

        `stored` is a layer of the cache, [2, slots, key heads, capacity, head size] in float32 or bfloat16, of which
        row i sees the first lengths[i] rows of slots[i]; both int64, shape [n], each length 1 or more.
        """
        query = query.contiguous()
        out = torch.empty_like(query)
        count, heads, groups, head_size = query.shape
        failed = self._attend(
            query.data_ptr(), stored[0].data_ptr(), stored[1].data_ptr(), stored.dtype == torch.bfloat16,
            slots.data_ptr(), lengths.data_ptr(), count, heads, groups, stored.shape[3], head_size, head_size**-0.5,
            out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"attention of heads of {head_size} over {stored.shape[3]} rows could not be computed")
        return out

    def layer(self, parts: LayerParts) -> CompiledLayer:
        """A layer in one call for few rows. Its tensors are contiguous, and must not change."""
        return CompiledLayer(self._pass, parts)

    def multiply(self, rows: Tensor, matrix: Blocks) -> Tensor:
        """Rows [n, inputs] float32 times the matrix, transposed: [n, outputs] float32."""
        rows = rows.contiguous()
        out = rows.new_empty(len(rows), matrix.outputs)
        failed = self._multiply(
            rows.data_ptr(), len(rows), matrix.numbers.data_ptr(), matrix.steps.data_ptr(), matrix.leasts.data_ptr(),
            matrix.outputs, matrix.groups, matrix.bits, out.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"a product with {matrix.outputs} outputs could not be computed")
        return out

    def multiply_halves(self, rows: Tensor, matrix: Halves) -> Tensor:
        """Rows [n, inputs] float32, rounded to bfloat16, times the matrix, transposed: [n, outputs] float32."""
        rows = rows.contiguous()
        out = rows.new_empty(len(rows), matrix.outputs)
        failed = self._multiply_halves(
            rows.data_ptr(), len(rows), matrix.numbers.data_ptr(), matrix.outputs, matrix.inputs // 2, out.data_ptr(),
            torch.get_num_threads(),
        )  # fmt: skip
        if failed:
            raise MemoryError(f"a product with {matrix.outputs} outputs could not be computed")
        return out


@cache
def load(cache_dir: Path) -> Native | None:
    """The compiled functions; None where there is no compiler, or they do not agree with torch. Compiles once."""
    compiled = library(_SOURCE, _FLAGS, cache_dir)
    if compiled is None:
        return None
    try:
        native = Native(compiled)
    except (OSError, AttributeError) as error:
        logger.warning("the compiled functions cannot be used (%s); torch computes", error)
        return None
    if not _agrees(native):
        logger.warning("%s does not compute what torch does; torch computes", compiled)
        return None
    return native


def _agrees(native: Native) -> bool:
    """Whether a small case of each comes to what torch makes of it."""
    made = torch.Generator().manual_seed(0)
    query = torch.randn(2, 2, 3, 64, generator=made)
    stored = torch.randn(2, 3, 2, 40, 64, generator=made).to(torch.bfloat16)
    slots, lengths = torch.tensor([2, 0]), torch.tensor([40, 7])
    ours = native.attend(query, stored, slots, lengths)
    for row in range(2):
        keys, values = stored[:, slots[row], :, : lengths[row]].float()
        theirs = scaled_dot_product_attention(query[row : row + 1], keys[None], values[None])
        if not torch.allclose(ours[row], theirs[0], atol=_AGREES):
            return False
    if not _layer_agrees(native, made):
        return False
    if native.halves:
        matrix, rows = torch.randn(32, 48, generator=made), torch.randn(19, 48, generator=made)
        laid_out = halves(matrix)
        assert laid_out is not None
        theirs = linear(rows.to(torch.bfloat16).float(), matrix.to(torch.bfloat16).float())
        if not torch.allclose(native.multiply_halves(rows, laid_out), theirs, atol=1e-4):
            return False
    if not native.products:
        return True
    numbers = torch.randint(0, 16, (32, 64), generator=made)
    step, least = torch.full((32, 2), 0.0625), torch.full((32, 2), -0.5)
    # Whole numbers, the largest of each group 127: rounding them to bytes changes nothing.
    rows = torch.randint(-127, 128, (11, 64), generator=made).float()
    rows[:, ::32] = 127.0
    return torch.allclose(
        native.multiply(rows, blocks(numbers, step, least, 4)), linear(rows, numbers * 0.0625 - 0.5), atol=1e-2
    )


def _layer_agrees(native: Native, made: torch.Generator) -> bool:
    """A layer without rotation, its first row of a sequence: attention then gives the row's own value."""
    width, rows = 32, torch.randn(3, 32, generator=made)
    weights = [torch.randn(*shape, generator=made) / 6 for shape in ((96, 32), (32, 32), (64, 32), (32, 64))]
    biases = [torch.randn(len(weight), generator=made) for weight in weights]
    qkv, output, up, down = (Matrix(*pair, 4) for pair in zip(weights, biases, strict=True))
    scale = Scale(torch.randn(width, generator=made), torch.randn(width, generator=made))
    parts = LayerParts(
        scale, scale, None, None, qkv, output, up, down, 1, 1, width, gated=False, rms=False, epsilon=1e-5
    )
    stored, ones = torch.zeros(2, 3, 1, 4, width), torch.ones(3, dtype=torch.int64)
    ours = native.layer(parts)(rows, stored, torch.tensor([2, 0, 1]), ones, None)
    values = linear(layer_norm(rows, (width,), scale.weight, scale.bias), weights[0], biases[0])[:, 2 * width :]
    middle = rows + linear(values, weights[1], biases[1])
    inner = linear(layer_norm(middle, (width,), scale.weight, scale.bias), weights[2], biases[2])
    theirs = middle + linear(gelu(inner, approximate="tanh"), weights[3], biases[3])
    return torch.allclose(ours, theirs, atol=_AGREES) and torch.allclose(
        stored[1, [2, 0, 1], 0, 0], values, atol=_AGREES
    )
