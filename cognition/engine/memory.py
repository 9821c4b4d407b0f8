"""What a model will take in memory, said before it is loaded.

Weights are counted from the headers of their files. The cache of keys and values gets up to a quarter of what is free
besides: as many slots as that holds, 16 at most, each as long as the model's context where four such fit, and shorter
where they do not. On a CPU the cache is reserved, and backed as it is used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cognition.engine.architecture import DecoderConfig

MOST_SLOTS = 16
_LEAST_CONTEXT = 256
_PART = 4
_ELEMENT = {"float32": 4, "bfloat16": 2, "quantised": 3}
"""Bytes of a weight. Where it is quantised: four bits and a scale for few rows, bfloat16 for many."""


@dataclass(frozen=True, slots=True)
class Room:
    """What is planned for one model, in bytes, slots and rows of a slot."""

    weights: int
    cache: int
    available: int
    slots: int
    context: int

    @property
    def short(self) -> bool:
        """Whether it does not fit."""
        return self.weights + self.cache // self.slots > self.available

    def __str__(self) -> str:
        return (
            f"weights {_mib(self.weights)}, cache up to {_mib(self.cache)} "
            f"({self.slots} slots of {self.context} rows), {_mib(self.available)} free"
        )


def reserved(
    folder: Path,
    config: DecoderConfig,
    precision: str,
    device: str,
    slots: int | None = None,
    context: int | None = None,
) -> Room:
    """Plans the memory of a model in a folder of safetensors files. `slots` and `context` as they are, where given."""
    weights = stored_numbers(folder) * _ELEMENT[precision]
    available = _available(device)
    element = 4 if precision == "float32" else 2
    rows = max(0, available - weights) // _PART // config.cache_bytes(1, element)
    longest = min(context or config.context, config.context)
    if context is None:
        longest = min(longest, max(rows // 4, _LEAST_CONTEXT))
    count = slots or max(1, min(rows // longest, MOST_SLOTS))
    return Room(weights, config.cache_bytes(longest * count, element), available, count, longest)


def stored_numbers(folder: Path) -> int:
    """How many numbers the safetensors files of a folder hold, read from their headers."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                count = 1
                for size in tensor["shape"]:
                    count *= size
                total += count
    return total


def _available(device: str) -> int:
    if device != "cpu":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"
