"""How uncertain each byte is, given those before it: the interface of byte models.

A byte model reads a stream of bytes and gives, for each byte, the entropy in nats of what it had expected in its place:
0 where it was sure, ln 256 = 5.55 where it knew nothing. What a byte turns out to be changes only what is expected of
those that follow. `perception.segment.patches` cuts streams by these numbers (BLT, arXiv 2412.09871).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

MOST_ENTROPY = math.log(256)
"""Of a byte of which nothing is known, in nats."""


class EntropyReader(ABC):
    """Reads one stream, piece by piece."""

    @abstractmethod
    def read(self, data: bytes) -> Float32:
        """The entropies of these bytes, which go on where the ones before ended: float32, shape [bytes], in nats.

        However a stream is cut into pieces, its bytes get the same numbers, to the last bit.
        """


class ByteModel(ABC):
    """Knows how bytes follow one another. A model may be read from by many streams, on one thread at a time."""

    address: str = ""
    licence: str = ""
    parameters: int = 0
    device: str = "cpu"

    @abstractmethod
    def reader(self) -> EntropyReader:
        """A reader at the beginning of a stream."""

    def entropies(self, data: bytes) -> Float32:
        """The entropies of all bytes of a stream: float32, shape [bytes], in nats."""
        return self.reader().read(data)

    def entropies_of(self, streams: Sequence[bytes]) -> list[Float32]:
        """The same for many streams, each by itself."""
        return [self.entropies(data) for data in streams]
