"""Keys and values of all Thoughts that compute, in slots that are laid out once.

A slot is room for one sequence of up to `capacity` rows. All of it is reserved when the model is loaded; on a CPU the
system backs memory when it is first written, so a slot costs what its longest sequence so far took. What a Thought
leaves behind stays readable until its slot is given to another: `Slots` knows which rows are in which slot, and a new
Thought that begins with the same rows takes them over, by a copy where they are another's.

A row's key says what it is: the ids of its tokens, or the vector object itself, equal to nothing else. Rows of
different recurrent depth are never the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cognition.engine.architecture import DecoderConfig

Key = object
"""An int for a row of one token, a tuple for one of several, bytes or an object of its own for a vector."""


class KeyValueCache:
    """The tensors: one for each layer, shape [2, slots, key heads, capacity + 1, head size].

    The row beyond the capacity is read by nobody: steps of fixed shape (`cognition.engine.graphs`) let the slots that
    do not compute write there.
    """

    def __init__(
        self, config: DecoderConfig, slots: int, capacity: int, device: str, dtype: torch.dtype = torch.float32
    ) -> None:
        shape = (2, slots, config.key_heads, capacity + 1, config.head_size)
        self.layers = [_zeros(shape, device, dtype) for _ in range(config.cached_layers)]
        self.slots, self.capacity = slots, capacity

    def copy(self, source: int, target: int, rows: int) -> None:
        """Copies the first rows of one slot to another."""
        for layer in self.layers:
            layer[:, target, :, :rows] = layer[:, source, :, :rows]

    def clear(self, slot: int) -> None:
        """Zeroes a slot, where numbers that are none may have got into it: a masked NaN is a NaN still."""
        for layer in self.layers:
            layer[:, slot] = 0

    @property
    def nbytes(self) -> int:
        """What is reserved."""
        return sum(layer.nbytes for layer in self.layers)

    def write(self, layer: int, slots: Tensor, positions: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Puts rows, shape [n, key heads, head size], at [slot, position]; returns the layer's tensor."""
        stored = self.layers[layer]
        stored[0, slots, :, positions] = keys.to(stored.dtype)
        stored[1, slots, :, positions] = values.to(stored.dtype)
        return stored

    def write_run(self, layer: int, slot: int, start: int, keys: Tensor, values: Tensor) -> Tensor:
        """The same for rows of one slot that follow each other, several times faster than by indices."""
        stored = self.layers[layer]
        end = start + keys.shape[0]
        stored[0, slot, :, start:end] = keys.transpose(0, 1)
        stored[1, slot, :, start:end] = values.transpose(0, 1)
        return stored


def _zeros(shape: tuple[int, ...], device: str, dtype: torch.dtype) -> Tensor:
    """Zeros, on a CPU of memory that the system backs only when it is written."""
    if device != "cpu":
        return torch.zeros(shape, device=device, dtype=dtype)
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.from_numpy(np.zeros((*shape[:-1], shape[-1] * size), np.uint8)).view(dtype)


@dataclass(slots=True)
class _Slot:
    keys: list[Key] = field(default_factory=list)
    depth: int = 0
    owner: object | None = None
    used: int = 0
    """When it was last given or left, as a count: the least is taken next."""


class Slots:
    """Which rows are in which slot, and whose it is. Knows nothing of tensors but through `cache.copy`."""

    def __init__(self, cache: KeyValueCache) -> None:
        self._cache = cache
        self._slots = [_Slot() for _ in range(cache.slots)]
        self._clock = 0

    @property
    def free(self) -> int:
        """How many have no owner."""
        return sum(slot.owner is None for slot in self._slots)

    def take(self, owner: object, keys: Sequence[Key], depth: int = 0) -> tuple[int, int]:
        """A slot for a sequence that begins with these rows, and how many of them it holds already.

        At least one row is always left to compute, since its outcome is not kept. Raises LookupError where none is
        free.
        """
        free = [number for number, slot in enumerate(self._slots) if slot.owner is None]
        if not free:
            raise LookupError("no slot is free")
        most = len(keys) - 1
        common = {
            number: _common(slot.keys, keys, most)
            for number, slot in enumerate(self._slots)
            if slot.keys and slot.depth == depth
        }
        best = max(common, key=lambda number: (common[number], number in free), default=None)
        shared = common[best] if best is not None else 0
        target = min(free, key=lambda number: (self._slots[number].used, number))
        if best is not None and shared > 0:
            if best in free and 2 * shared >= len(self._slots[best].keys):
                # Mostly what is there: taken over as it is, however recently it was used.
                target = best
            elif best != target:
                self._cache.copy(best, target, shared)
        self._clock += 1
        self._slots[target] = _Slot(list(keys[:shared]), depth, owner, self._clock)
        return target, shared

    def computed(self, slot: int, keys: Sequence[Key], start: int) -> None:
        """Rows from `start` on were computed into a slot; whatever it held from there is gone."""
        held = self._slots[slot].keys
        del held[start:]
        held.extend(keys)

    def leave(self, slot: int) -> None:
        """The owner goes; what it computed stays until the slot is given to another."""
        self._clock += 1
        self._slots[slot].owner = None
        self._slots[slot].used = self._clock

    def forget(self, slot: int) -> None:
        """What is in a slot is in doubt, and is not shared."""
        self._slots[slot].keys.clear()

    def owners(self) -> dict[int, object]:
        """Slots by number that have an owner."""
        return {number: slot.owner for number, slot in enumerate(self._slots) if slot.owner is not None}

    def held(self, slot: int) -> Sequence[Key]:
        """The rows that a slot holds."""
        return self._slots[slot].keys


def _common(held: Sequence[Key], wanted: Sequence[Key], most: int) -> int:
    most = min(len(held), most)
    # Whole blocks first: comparing lists is done in C.
    at = 0
    while at < most and held[at : at + 64] == wanted[at : at + 64] and at + 64 <= most:
        at += 64
    return next((place for place in range(at, most) if held[place] != wanted[place]), most)
