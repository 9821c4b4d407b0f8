"""One row for every slot in a step of fixed shape, captured once as a CUDA graph and replayed.

On a GPU a small model's step is hundreds of kernels of a few microseconds, and launching them one by one takes longer
than they do. A graph launches them all at once, but its shapes and addresses are fixed. So here a step always has a row
for each slot: those that do not compute have zeros for input and write to a row of the cache beyond its capacity that
nobody reads. How far attention reaches is rounded up to a power of two, with a graph for each.

Where the device is no GPU the same steps run as they are, for tests: the arithmetic is that of a graph, without one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cognition.engine.cache import KeyValueCache
from cognition.engine.decoder import Batch, Chunk, Decoder

_LEAST_REACH = 128
_WARM_UPS = 3
"""Steps before a capture, as torch asks for: libraries set themselves up in the first."""


class EverySlot(Batch):
    """A batch of one row for each slot, whose tensors stay where they are from step to step."""

    def __init__(self, decoder: Decoder, cache: KeyValueCache, reach: int, positions: Tensor) -> None:
        super().__init__([Chunk(slot, 0, 1) for slot in range(cache.slots)], decoder.config, decoder.device)
        self.positions = positions
        self.reach = reach
        self.apart = False
        self._rows = torch.arange(reach, device=decoder.device)

    def write(self, cache: KeyValueCache, layer: int, keys: Tensor, values: Tensor) -> Tensor:
        """By indices whatever the number of slots: where rows go is not known when a graph is captured."""
        return cache.write(layer, self.slots, self.positions, keys, values)

    def look(self) -> None:
        """What each row sees, from where it stands now."""
        self.mask = (self._rows <= self.positions[:, None])[:, None, None]


class Graphs:
    """Steps of one decoder and cache. The first step of each reach captures a graph, which takes a moment."""

    def __init__(self, decoder: Decoder, cache: KeyValueCache) -> None:
        self._decoder, self._cache = decoder, cache
        self._inputs = torch.zeros(cache.slots, decoder.config.width, device=decoder.device)
        self._positions = torch.full((cache.slots,), cache.capacity, dtype=torch.int64, device=decoder.device)
        self._steps: dict[int, Callable[[], Tensor]] = {}

    def step(self, inputs: Tensor, chunks: Sequence[Chunk]) -> Tensor:
        """Computes one row for each of some slots: inputs, [n, width], give hidden rows after the final norm."""
        device = self._decoder.device
        slots = torch.tensor([chunk.slot for chunk in chunks], device=device)
        self._positions.fill_(self._cache.capacity)
        self._positions[slots] = torch.tensor([chunk.start for chunk in chunks], device=device)
        self._inputs.zero_()
        self._inputs[slots] = inputs
        reach = self._reach(max(chunk.start for chunk in chunks) + 1)
        if reach not in self._steps:
            self._steps[reach] = self._made(reach)
        return self._steps[reach]()[slots]

    def _reach(self, rows: int) -> int:
        reach = _LEAST_REACH
        while reach < rows:
            reach *= 2
        return min(reach, self._cache.capacity)

    def _made(self, reach: int) -> Callable[[], Tensor]:
        batch = EverySlot(self._decoder, self._cache, reach, self._positions)

        def compute() -> Tensor:
            batch.look()
            return self._decoder.forward(self._inputs, batch, self._cache, None)

        return compute if self._decoder.device.type != "cuda" else _captured(compute)


def _captured(compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A computation as a CUDA graph: what it reads and writes stays at the same addresses."""
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(_WARM_UPS):
            compute()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = compute()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay
