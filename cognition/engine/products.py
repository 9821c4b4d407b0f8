"""Linear maps in the number format that a CPU computes them fastest in.

A step of a decoder reads every weight once, so what it costs is how many bytes they take and how well the processor
multiplies in their format; which is best depends on the processor and on how many rows go in together. So a Product
may hold its matrix twice, once for few rows and once for many. Rows are float32 in and out; a format's own conversions
are its business.

- `float32`: the exact one.
- `bfloat16`: half the bytes. Laid out once as the compiled product reads it, or as oneDNN does where that is faster.
- `int4`: four bits a weight, with a scale and an offset in bfloat16 for each 32 of a row; rows in bfloat16. Only for a
  matrix that lies on such a grid, which is what Q4_0 and Q4_1 of a GGUF file are: nothing is rounded but the scales,
  by as much as bfloat16 rounds a weight.
- `int8`: eight bits a weight and a scale for each output, rows in bfloat16. Only for a matrix that was stored in eight
  bits or fewer, whose values it moves by half a step at most.

Where `cognition.engine.native` is there, it computes the last two with the scales as they are stored, and with rows in
bytes that have a scale for each 32. Its bfloat16 takes half of oneDNN's time for one row and as long for 64; where
oneDNN has matrix units to use, it is the faster one for many.

What it does not do: rounding rows with one scale for all, which costs SmolLM2 2 to 4% of perplexity on a page of text;
nor does it quantise a matrix that came in full.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import linear

from cognition.engine.native import GROUP, Blocks, Halves, Matrix, Native, blocks, halves

Format = Literal["float32", "bfloat16", "int8", "int4"]

_PROBED = 16
"""Rows that show whether it is worth looking at all of a matrix."""
_EXACT = 1e-3
"""How far from the grid a weight may lie, in steps of it: float32's rounding, and no more."""
_FEW_PLAIN = 4
"""Rows up to which a compiled layer is faster in float32 than torch's products, which use each weight more often."""
_BLOCK = 16
"""Outputs that the kernels for few bits compute together: they take multiples of it."""


@dataclass(frozen=True, slots=True)
class Formats:
    """Which formats to hold matrices in, as `cognition.engine.precision` measured or a caller wants."""

    many: Format = "float32"
    few: tuple[tuple[Format, int], ...] = ()
    """What for up to how many rows, the best first: the first that can hold a matrix is taken."""
    packed: bool = False
    """Whether bfloat16 is kept in oneDNN's layout; see `can_pack`."""
    native: Native | None = None
    """What is compiled; computes attention in the decoder."""
    native_halves: bool = False
    """Whether it multiplies what is held in bfloat16, too."""
    native_products: bool = False
    """Whether it also multiplies what is held in few bits: exactly as stored, with rows rounded to bytes in groups."""

    @property
    def name(self) -> str:
        """As a person would say it: `int4 up to 4 rows, bfloat16`."""
        return ", ".join([*(f"{kind} up to {rows} rows" for kind, rows in self.few), self.many])


class Product(ABC):
    """A linear map: rows, shape [n, inputs] float32, give [n, outputs] float32."""

    outputs: int
    inputs: int
    nbytes: int
    """What it takes in memory."""
    formats: tuple[Format, ...]
    """What it holds its matrix in."""

    @abstractmethod
    def __call__(self, rows: Tensor) -> Tensor:
        """Computes rows times the matrix, transposed, plus the bias where there is one."""

    @property
    def row_bytes(self) -> int:
        """What is read of it for a single row."""
        return self.nbytes

    @property
    def matrix(self) -> Matrix | None:
        """As a compiled layer reads it; None where it cannot."""
        return None

    def holds(self, weight: Tensor) -> bool:
        """Whether it keeps this very tensor, and so takes no memory of its own for it."""
        return False


def product(weight: Tensor, bias: Tensor | None = None, formats: Formats | None = None) -> Product:
    """A Product of a matrix, shape [outputs, inputs] in float32 or bfloat16, and a bias, shape [outputs].

    Without `formats` it is held as it comes. The tensors are kept where the format is theirs, so they must not change.
    """
    if formats is None:
        return _Plain(weight, bias)
    many = _full(weight, bias, formats)
    for kind, rows in formats.few:
        if (few := _quantised(weight, bias, kind, formats)) is not None:
            return _Either(few, many, rows)
    return many


def can_pack() -> bool:
    """Whether this torch multiplies in bfloat16 by oneDNN on this processor, from a packed matrix."""
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):
        return False


def can_int4() -> bool:
    """Whether this torch has the four-bit kernel for CPUs."""
    return hasattr(torch.ops.aten, "_weight_int4pack_mm_for_cpu")


def int4_grid(weight: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """The four-bit grid that a float32 matrix lies on; None where it lies on none.

    Returns numbers 0 to 15, shape [outputs, inputs] int32, and for each group the step and the least value, shape
    [outputs, inputs / 32]: weight = least + number * step.
    """
    if weight.shape[1] % GROUP or (len(weight) > _PROBED and int4_grid(weight[:_PROBED].contiguous()) is None):
        return None
    groups = weight.view(len(weight), -1, GROUP)
    least, most = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
    step = (most - least) / 15
    # A group of equal weights has no step, and any will do.
    step = torch.where(step > 0, step, torch.ones_like(step))
    numbers = (groups - least).div_(step).round_()
    if float((torch.addcmul(least, numbers, step) - groups).abs_().div_(step).amax()) > _EXACT:
        return None
    return numbers.view_as(weight).to(torch.int32), step[..., 0], least[..., 0]


def int8_grid(weight: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """The eight-bit grid that a float32 matrix lies on, which is GGUF's Q8_0; None where it lies on none.

    Whole multiples, -127 to 127, of one step for each group: told as in `int4_grid`, with numbers 1 to 255.
    """
    if weight.shape[1] % GROUP or (len(weight) > _PROBED and int8_grid(weight[:_PROBED].contiguous()) is None):
        return None
    groups = weight.view(len(weight), -1, GROUP)
    step = groups.abs().amax(2, keepdim=True) / 127
    step = torch.where(step > 0, step, torch.ones_like(step))
    numbers = (groups / step).round_()
    if float((numbers * step - groups).abs_().div_(step).amax()) > _EXACT:
        return None
    return numbers.add_(128).view_as(weight).to(torch.int32), step[..., 0], -128 * step[..., 0]


class _Plain(Product):
    """The matrix as it comes, by torch's own product."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = weight
        self._bias = None if bias is None else bias.to(weight.dtype)
        self.outputs, self.inputs = weight.shape
        self.nbytes = weight.nbytes
        self.formats = ("bfloat16" if weight.dtype == torch.bfloat16 else "float32",)

    def __call__(self, rows: Tensor) -> Tensor:
        return linear(rows.to(self._weight.dtype), self._weight, self._bias).float()

    @property
    def matrix(self) -> Matrix | None:
        """See Product."""
        weight = self._weight
        readable = weight.dtype == torch.float32 and weight.device.type == "cpu" and weight.is_contiguous()
        return Matrix(weight, self._bias, _FEW_PLAIN) if readable else None

    def holds(self, weight: Tensor) -> bool:
        """See Product."""
        return weight.data_ptr() == self._weight.data_ptr()


class _Packed(Product):
    """bfloat16 in oneDNN's layout: reordered once, not at every call."""

    formats = ("bfloat16",)

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs, self.inputs = weight.shape
        self.nbytes = 2 * weight.numel()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(torch.bfloat16).contiguous(), GROUP)
        self._bias = None if bias is None else bias.to(torch.bfloat16)
        self._linear: Any = torch.ops.mkldnn._linear_pointwise.default

    def __call__(self, rows: Tensor) -> Tensor:
        result: Tensor = self._linear(rows.to(torch.bfloat16), self._weight, self._bias, "none", [], "")
        return result.float()


class _Int4(Product):
    """Four bits a weight. The kernel reads weight = (number - 8) * scale + zero."""

    formats = ("int4",)

    def __init__(self, grid: tuple[Tensor, Tensor, Tensor], bias: Tensor | None) -> None:
        numbers, step, least = grid
        self.outputs, self.inputs = numbers.shape
        self._weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 1)
        scales = torch.stack([step.t(), (least + 8 * step).t()], -1)
        self._scales = scales.to(torch.bfloat16).contiguous()
        self._bias = None if bias is None else bias.float()
        self.nbytes = self._weight.nbytes + self._scales.nbytes
        self._multiply: Any = torch.ops.aten._weight_int4pack_mm_for_cpu.default

    def __call__(self, rows: Tensor) -> Tensor:
        result: Tensor = self._multiply(rows.to(torch.bfloat16), self._weight, GROUP, self._scales).float()
        return result if self._bias is None else result.add_(self._bias)


class _Int8(Product):
    """Eight bits a weight, one scale for each output."""

    formats = ("int8",)

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self.outputs, self.inputs = weight.shape
        scale = weight.float().abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        # Rounded first, so that the numbers are right for the scale that is used.
        self._scales = scale.to(torch.bfloat16)
        self._weight = (weight.float() / self._scales.float()[:, None]).round().clamp(-127, 127).to(torch.int8)
        self._bias = None if bias is None else bias.float()
        self.nbytes = self._weight.nbytes + self._scales.nbytes
        self._multiply: Any = torch.ops.aten._weight_int8pack_mm.default

    def __call__(self, rows: Tensor) -> Tensor:
        result: Tensor = self._multiply(rows.to(torch.bfloat16), self._weight, self._scales).float()
        return result if self._bias is None else result.add_(self._bias)


class _Native(Product):
    """Four or eight bits a weight with the scales of the file, by the compiled product."""

    def __init__(self, matrix: Blocks, bias: Tensor | None, native: Native) -> None:
        self.outputs, self.inputs = matrix.outputs, matrix.groups * GROUP
        self.nbytes = matrix.nbytes
        self.formats = ("int4" if matrix.bits == 4 else "int8",)
        self._blocks, self._multiply = matrix, native.multiply
        self._bias = None if bias is None else bias.float()

    def __call__(self, rows: Tensor) -> Tensor:
        result = self._multiply(rows, self._blocks)
        return result if self._bias is None else result.add_(self._bias)

    @property
    def matrix(self) -> Matrix:
        """See Product."""
        return Matrix(self._blocks, self._bias, sys.maxsize)


class _NativeHalves(Product):
    """bfloat16 by the compiled product."""

    formats = ("bfloat16",)

    def __init__(self, matrix: Halves, bias: Tensor | None, native: Native) -> None:
        self.outputs, self.inputs, self.nbytes = matrix.outputs, matrix.inputs, matrix.nbytes
        self._halves, self._multiply = matrix, native.multiply_halves
        self._bias = None if bias is None else bias.float()

    def __call__(self, rows: Tensor) -> Tensor:
        result = self._multiply(rows, self._halves)
        return result if self._bias is None else result.add_(self._bias)

    @property
    def matrix(self) -> Matrix:
        """See Product."""
        return Matrix(self._halves, self._bias, sys.maxsize)


class _Either(Product):
    """One for few rows, another for many."""

    def __init__(self, few: Product, many: Product, few_rows: int) -> None:
        self._few, self._many, self._few_rows = few, many, few_rows
        self.outputs, self.inputs = many.outputs, many.inputs
        self.nbytes = few.nbytes + many.nbytes
        self.formats = (*few.formats, *many.formats)

    @property
    def row_bytes(self) -> int:
        """See Product."""
        return self._few.row_bytes

    @property
    def matrix(self) -> Matrix | None:
        """See Product."""
        few = self._few.matrix
        return None if few is None else replace(few, most_rows=min(few.most_rows, self._few_rows))

    def __call__(self, rows: Tensor) -> Tensor:
        return self._few(rows) if len(rows) <= self._few_rows else self._many(rows)


def _full(weight: Tensor, bias: Tensor | None, formats: Formats) -> Product:
    if formats.many == "float32":
        return _Plain(weight.float(), bias)
    if formats.many != "bfloat16":
        raise ValueError(f"{formats.many} is no format for many rows; those are float32 and bfloat16")
    if formats.native is not None and formats.native_halves and (laid_out := halves(weight)) is not None:
        return _NativeHalves(laid_out, bias, formats.native)
    return _Packed(weight, bias) if formats.packed else _Plain(weight.to(torch.bfloat16), bias)


def _quantised(weight: Tensor, bias: Tensor | None, kind: Format, formats: Formats) -> Product | None:
    """None where the format cannot hold this matrix, or another is as good: then what is for many rows serves."""
    if weight.dtype != torch.float32 or weight.device.type != "cpu":
        return None
    native = formats.native if formats.native_products and len(weight) % _BLOCK == 0 else None
    if kind == "int4" and (native is not None or can_int4()) and len(weight) % _BLOCK == 0:
        if (grid := int4_grid(weight)) is None:
            return None
        return _Int4(grid, bias) if native is None else _Native(blocks(*grid, 4), bias, native)
    if kind == "int8" and native is not None and (grid := int8_grid(weight)) is not None:
        return _Native(blocks(*grid, 8), bias, native)
    if kind == "int8" and native is None and (int8_grid(weight) is not None or int4_grid(weight) is not None):
        return _Int8(weight, bias)
    return None
