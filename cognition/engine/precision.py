"""Which number formats a CPU computes fastest in, measured once and kept.

bfloat16 halves the memory that is read for each token and is much faster where the processor multiplies in it, and
much slower where that is emulated; four bits quarter it once more, and are good for few rows only. No flag of the
processor tells by how much. What is timed is what decoding and prefill are made of: a matrix of weights times one row,
some rows, and 64.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.processor import processor

if TYPE_CHECKING:
    from cognition.engine.native import Native
    from cognition.engine.products import Formats, Product

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16", "quantised"]
"""`quantised`: matrices that a file holds in four or eight bits stay in them for few rows, where that is faster."""

_SIZE = 2048
"""Rows and columns of the matrix: larger than a core's own cache, as a model's weights are."""
_ROUNDS = 6
_FEW = (1, 2, 4, 8, 16, 32)
_MANY = (16, 64)
_ALL = (1, *_MANY)
_VERSION = 2
"""Of what is measured and kept."""
_WORTH_IT = 0.8
"""float32 is the exact one, so another format must take less than this part of its time."""

Quantised = Literal["int4", "int8"]

Seconds = Mapping[str, Mapping[int, float]]
"""What one product takes, by format and rows. "packed" is bfloat16 in oneDNN's layout; what begins with "native" is
`cognition.engine.native`.
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a CPU is best at: the full format for any model, and what to hold quantised matrices in for few rows."""

    full: Literal["float32", "bfloat16"]
    packed: bool
    """Whether bfloat16 is kept in oneDNN's layout."""
    few: tuple[tuple[Quantised, int], ...]
    """The best first, each with the rows up to which it is better than the full format."""
    native: bool = False
    """Whether these are the compiled products."""
    halves: bool = False
    """Whether bfloat16 is multiplied by the compiled product."""

    def precision(self, *, quantised: bool) -> Precision:
        """The fastest for a model, which was quantised or not."""
        return "quantised" if quantised and self.few else self.full

    def formats(self, precision: Precision, native: Native | None = None) -> Formats:
        """How to hold the matrices of a model on this CPU. `native` computes attention, too."""
        from cognition.engine.products import Formats

        if precision == "quantised":
            half = self.full == "bfloat16"
            return Formats(
                self.full, self.few, half and self.packed, native, half and self.halves, native_products=self.native
            )
        if precision == "bfloat16":
            return Formats(precision, packed=self.packed, native=native, native_halves=self.halves)
        return Formats(native=native)


def measured(cache_dir: Path) -> Choice:
    """Measures for about a second at the first call on a machine, with torch's present number of threads.

    The choice is kept, since a choice that changed from start to start would change answers.
    """
    import torch

    from cognition.engine.native import load

    kernels = load(cache_dir)
    setting = [_VERSION, processor(), torch.__version__, torch.get_num_threads(), os.cpu_count(), kernels is not None]
    key = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
    kept = cache_dir / "models" / f"formats-{key}.json"
    if kept.is_file():
        try:
            return _read(json.loads(kept.read_text())["choice"])
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s); measuring again", kept, error)
    seconds = _measure(kernels)
    choice = chosen(seconds)
    logger.info("models compute here so: %s; seconds measured: %s", choice, seconds)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps({"choice": asdict(choice), "seconds": seconds}))
        written.replace(kept)
    except OSError as error:
        logger.warning("%s could not be written (%s); formats are measured at every start", kept, error)
    return choice


def chosen(seconds: Seconds) -> Choice:
    """The choice that follows from what was measured; formats that are missing cannot be had."""
    packed = "packed" in seconds and _total(seconds["packed"], _MANY) < _total(seconds["bfloat16"], _MANY)
    half = seconds["packed" if packed else "bfloat16"]
    halves = "native bfloat16" in seconds and _total(seconds["native bfloat16"], _ALL) < _total(half, _ALL)
    if halves:
        packed, half = False, seconds["native bfloat16"]
    full: Literal["float32", "bfloat16"] = "float32"
    if _total(half, (1, 64)) < _WORTH_IT * _total(seconds["float32"], (1, 64)):
        full = "bfloat16"
    many = half if full == "bfloat16" else seconds["float32"]
    native = "native int4" in seconds and _total(seconds["native int4"], (1, 8)) < min(
        _total(one, (1, 8)) for name, one in seconds.items() if name in ("float32", "bfloat16", "int4")
    )
    names: tuple[Quantised, ...] = ("int4", "int8")
    held = {one: seconds.get(f"native {one}" if native else one) for one in names}
    better = [(one, taken) for one, taken in held.items() if taken is not None and taken[1] < _WORTH_IT * many[1]]
    better.sort(key=lambda pair: pair[1][1])
    return Choice(full, packed, tuple((one, _most_rows(taken, many)) for one, taken in better), native, halves)


def _most_rows(few: Mapping[int, float], many: Mapping[int, float]) -> int:
    """Up to how many rows the first is the faster one."""
    slower = [rows for rows in _FEW if few.get(rows, math.inf) >= many[rows]]
    return max(rows for rows in _FEW if rows < min(slower, default=_FEW[-1] + 1))


def _total(seconds: Mapping[int, float], rows: tuple[int, ...]) -> float:
    return sum(seconds[count] for count in rows)


def _read(told: Mapping[str, object]) -> Choice:
    """A choice as it was written. Raises ValueError for what is none."""
    known: dict[object, Quantised] = {"int4": "int4", "int8": "int8"}
    named = told["few"]
    if not isinstance(named, list) or not all(isinstance(rows, int) for _, rows in named):
        raise ValueError(f"few is {named!r}")
    full: Literal["float32", "bfloat16"] = "bfloat16" if told["full"] == "bfloat16" else "float32"
    return Choice(
        full,
        bool(told["packed"]),
        tuple((known[one], rows) for one, rows in named),
        bool(told["native"]),
        bool(told["halves"]),
    )


def _measure(kernels: Native | None) -> dict[str, dict[int, float]]:
    """Seconds by format and rows: the least of some rounds, taken in turn, since what else runs here only adds."""
    import torch

    with torch.inference_mode():
        products = _products(kernels)
        seconds: dict[str, dict[int, float]] = {name: {} for name in products}
        for rows in sorted({*_FEW, *_MANY}):
            inputs = torch.ones(rows, _SIZE)
            for _ in range(_ROUNDS):
                for name, multiply in products.items():
                    if "int" in name and rows > _FEW[-1 if "native" in name else 3]:
                        continue  # never the best then, and slow where it is emulated
                    started = time.perf_counter()
                    multiply(inputs)
                    taken = time.perf_counter() - started
                    seconds[name][rows] = min(seconds[name].get(rows, taken), taken)
    return seconds


def _products(kernels: Native | None) -> dict[str, Product]:
    """A matrix in every format that there is here; one's numbers lie on a grid of four bits, another's of eight."""
    import torch

    from cognition.engine.products import Formats, can_int4, can_pack, product

    numbers = torch.arange(_SIZE * _SIZE, dtype=torch.int64).mul_(7919).bitwise_right_shift_(5).view(_SIZE, _SIZE)
    four, eight = numbers.bitwise_and(15).float(), numbers.bitwise_and(127).float()
    four[:, ::32], four[:, 1::32], eight[:, ::32] = 0.0, 15.0, 127.0
    most = _FEW[-1]
    products = {
        "float32": product(four),
        "bfloat16": product(four.to(torch.bfloat16)),
        "int8": product(eight, formats=Formats(few=(("int8", most),))),
    }
    if can_pack():
        products["packed"] = product(four, formats=Formats(many="bfloat16", packed=True))
    if can_int4():
        products["int4"] = product(four, formats=Formats(few=(("int4", most),)))
    if kernels is not None and kernels.halves:
        products["native bfloat16"] = product(four, formats=Formats("bfloat16", native=kernels, native_halves=True))
    if kernels is not None and kernels.products:
        products["native int4"] = product(
            four, formats=Formats(few=(("int4", most),), native=kernels, native_products=True)
        )
        products["native int8"] = product(
            eight, formats=Formats(few=(("int8", most),), native=kernels, native_products=True)
        )
    return products
