"""Bytes into patches: a patch begins where the next byte is hard to foresee (BLT, arXiv 2412.09871, section 2.3).

    global      H(x_t) > entropy                     the byte is uncertain
    monotonic   H(x_t) - H(x_t-1) > rise             it is less certain than the byte before it
    combined    both

A patch also ends when it has `most_bytes`. Whether a byte begins a patch depends only on what came before it: so
patches do not depend on what is cut beside them, and a stream that is cut as it comes has the patches of the whole.
They hold every byte once, in order, whatever the bytes are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from core.errors import InvalidArgument
from perception.segment.entropy import ByteModel, Float32

Bools = npt.NDArray[np.bool_]
Int64 = npt.NDArray[np.int64]
T = TypeVar("T")

MOST_BYTES = 64
"""The longest patch unless asked otherwise."""
LIMIT = 65_536
"""The longest patch that may be asked for."""


class Rule(StrEnum):
    """What makes a byte begin a patch."""

    GLOBAL = "global"
    MONOTONIC = "monotonic"
    COMBINED = "combined"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What has to be exceeded, in nats. The global rule looks at `entropy` only, the monotonic one at `rise`."""

    entropy: float = 0.0
    rise: float = 0.0


@dataclass(frozen=True, slots=True)
class Cut:
    """How bytes are cut: a rule, its thresholds, and the longest patch."""

    rule: Rule
    thresholds: Thresholds
    most_bytes: int = MOST_BYTES

    def __post_init__(self) -> None:
        if not 1 <= self.most_bytes <= LIMIT:
            raise InvalidArgument(
                f"a patch of at most {self.most_bytes} bytes was asked for; give 1 to {LIMIT}", field="most_bytes"
            )


@dataclass(frozen=True, slots=True)
class Patches:
    """The patches of some bytes: the first begins at 0, each where the one before ends."""

    ends: Int64
    """For each patch, the first byte after it: shape [patches], rising."""
    entropies: Float32
    """For each patch, how uncertain its first byte was, in nats: shape [patches]."""

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def starts(self) -> Int64:
        """For each patch, its first byte."""
        return np.concatenate([np.zeros(min(1, len(self.ends)), np.int64), self.ends[:-1]])

    def of(self, data: bytes) -> Iterator[bytes]:
        """The patches as bytes; `data` is what was cut."""
        for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True):
            yield data[start:end]


def cut(entropies: Float32, how: Cut) -> Patches:
    """The patches of bytes with these entropies. No bytes have none."""
    starts = np.flatnonzero(_begins(entropies, how, before=None))
    if not len(starts):
        return Patches(np.zeros(0, np.int64), np.zeros(0, np.float32))
    # Between two beginnings, another one after each `most_bytes`.
    gaps = np.diff(starts, append=len(entropies))
    pieces = -(-gaps // how.most_bytes)
    first = np.repeat(starts, pieces)
    place = np.arange(len(first)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = first + place * how.most_bytes
    return Patches(np.append(starts[1:], len(entropies)), entropies[starts])


def patch(model: ByteModel, data: bytes, how: Cut) -> Patches:
    """Cuts bytes into patches, of any number: ten megabytes of one line take as much time a byte as ten lines."""
    return cut(model.entropies(data), how)


def patch_all(model: ByteModel, streams: Sequence[bytes], how: Cut) -> list[Patches]:
    """The same for many; each has the patches it would have alone."""
    return [cut(entropies, how) for entropies in model.entropies_of(streams)]


@dataclass(frozen=True, slots=True)
class TimedPatch(Generic[T]):
    """A patch of a stream, with the times at which its first and its last byte came."""

    data: bytes
    start: int
    """Its first byte, counted from the beginning of the stream."""
    entropy: float
    """How uncertain that byte was, in nats."""
    began: T
    ended: T

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.start + len(self.data)


class PatchStream(Generic[T]):
    """Cuts a stream as it comes, in pieces of any size; each piece has a time, of any type.

    The patches are those of the whole stream cut at once. One is given when it is known to have ended: when the next
    one begins, when it is full, or at the end of the stream. At most one patch waits.
    """

    def __init__(self, model: ByteModel, how: Cut) -> None:
        self._reader = model.reader()
        self._how = how
        self._start = 0
        self._entropy = 0.0
        self._waiting = bytearray()
        self._began: T | None = None
        self._ended: T | None = None
        self._last: float | None = None

    def feed(self, piece: bytes, time: T) -> list[TimedPatch[T]]:
        """Takes the next bytes; returns the patches that have ended by them."""
        if not piece:
            return []
        entropies = self._reader.read(piece)
        begins = _begins(entropies, self._how, before=self._last)
        self._last = float(entropies[-1])
        done: list[TimedPatch[T]] = []
        at = 0
        for start in [*np.flatnonzero(begins).tolist(), len(piece)]:
            self._take(piece, at, start, entropies, time, done)
            if start < len(piece):
                done.extend(self._close())
            at = start
        return done

    def end(self) -> list[TimedPatch[T]]:
        """Ends the stream: returns the patch that waits, if there is one."""
        return self._close()

    def _take(self, piece: bytes, at: int, end: int, entropies: Float32, time: T, done: list[TimedPatch[T]]) -> None:
        """Adds bytes in which no patch begins by the rule; full ones end."""
        while at < end:
            if len(self._waiting) == self._how.most_bytes:
                done.extend(self._close())
            if not self._waiting:
                self._entropy, self._began = float(entropies[at]), time
            size = min(end - at, self._how.most_bytes - len(self._waiting))
            self._waiting += piece[at : at + size]
            self._ended = time
            at += size

    def _close(self) -> list[TimedPatch[T]]:
        if not self._waiting or self._began is None or self._ended is None:
            return []
        patch = TimedPatch(bytes(self._waiting), self._start, self._entropy, self._began, self._ended)
        self._start = patch.end
        self._waiting.clear()
        return [patch]


def _begins(entropies: Float32, how: Cut, before: float | None) -> Bools:
    """Which bytes begin a patch by the rule; `before` is the entropy of the byte before the first, if there is one."""
    high = entropies > np.float32(how.thresholds.entropy)
    rises = np.diff(entropies, prepend=np.float32(0.0 if before is None else before)) > np.float32(how.thresholds.rise)
    begins: Bools = {Rule.GLOBAL: high, Rule.MONOTONIC: rises, Rule.COMBINED: high & rises}[how.rule]
    if before is None:
        begins[:1] = True
    return begins
