"""A byte model of contexts: for each run of up to `order` bytes that was seen in training, how uncertain the next is.

An n-gram model whose longer contexts are mixed with shorter ones gives every context one distribution of the next byte,
and so one entropy. That number is all that patches need: the model is a table from contexts to entropies, and reading a
byte means finding the longest context in the table that ends before it. `perception.segment.counting` makes tables.

A folder holds it as `config.json` and `model.safetensors`: for each length k the contexts as bytes [contexts, k], in
the order of their keys, and their entropies in 65,535 steps of 0 to ln 256, so that every machine reads the same
numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import FailedPrecondition
from perception.segment.entropy import MOST_ENTROPY, ByteModel, EntropyReader, Float32

UInt64 = npt.NDArray[np.uint64]
UInt16 = npt.NDArray[np.uint16]

MODEL_TYPE = "byte-ngram"
MAX_ORDER = 7
"""A context and the byte after it fit into 64 bits."""
STEPS = 65_535
_CHUNK = 1 << 16
"""Bytes that are looked up at once: so much memory whatever the stream."""


class NgramModel(ByteModel):
    """A table of contexts.

    `contexts[k]` are the contexts of k bytes as sorted keys, the last byte in the lowest bits; `entropies[k]` belong to
    them. The empty context is always there.
    """

    def __init__(
        self,
        contexts: Sequence[UInt64],
        entropies: Sequence[UInt16],
        *,
        config: Mapping[str, Any] | None = None,
        address: str = "",
    ) -> None:
        """Raises FailedPrecondition (MODEL_LOAD_FAILED) for tables that belong to no such model."""
        sound = (
            1 <= len(contexts) == len(entropies) <= MAX_ORDER + 1
            and len(contexts[0]) == 1
            and all(len(keys) == len(values) for keys, values in zip(contexts, entropies, strict=False))
            and all(bool((keys[1:] > keys[:-1]).all()) for keys in contexts)
        )
        if not sound:
            raise FailedPrecondition(
                f"the byte model {address or 'given'} is damaged: its tables are not sorted, or not of one length; "
                "train it again with `sapience train patches`",
                reason="MODEL_LOAD_FAILED",
            )
        self.contexts = [np.ascontiguousarray(keys, np.uint64) for keys in contexts]
        self.steps = [np.ascontiguousarray(values, np.uint16) for values in entropies]
        self.config = dict(config or {})
        self.address = address
        self.licence = str(self.config.get("licence", ""))
        self.parameters = sum(len(keys) for keys in self.contexts)
        scale = MOST_ENTROPY / STEPS
        self._entropies = [(values * scale).astype(np.float32) for values in self.steps]

    @property
    def order(self) -> int:
        """The longest context, in bytes."""
        return len(self.contexts) - 1

    def reader(self) -> EntropyReader:
        """A reader at the beginning of a stream."""
        return _Reader(self)

    @classmethod
    def load(cls, folder: Path, address: str = "") -> NgramModel:
        """Reads a folder. Raises FailedPrecondition (MODEL_LOAD_FAILED) where it holds no such model."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            tensors = load_file(folder / "model.safetensors")
            order = int(config["order"])
            if config["model_type"] != MODEL_TYPE or not 0 <= order <= MAX_ORDER:
                raise ValueError(f"model_type {config['model_type']!r}, order {order}")
            contexts = [_keys(tensors[f"contexts.{k}"], k) for k in range(order + 1)]
            entropies = [tensors[f"entropies.{k}"] for k in range(order + 1)]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise FailedPrecondition(
                f"{address or folder} is no byte model that this version reads ({error}); `sapience train patches` "
                "makes one",
                reason="MODEL_LOAD_FAILED",
            ) from error
        return cls(contexts, entropies, config=config, address=address)

    def save(self, folder: Path) -> None:
        """Writes `config.json` and `model.safetensors` into a folder, which is made where it is missing."""
        from safetensors.numpy import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, npt.NDArray[Any]] = {}
        for k, (keys, values) in enumerate(zip(self.contexts, self.steps, strict=True)):
            # The last byte is lowest in a key; as bytes a context reads from left to right.
            tensors[f"contexts.{k}"] = np.ascontiguousarray(
                keys.astype("<u8").view(np.uint8).reshape(len(keys), 8)[:, :k][:, ::-1]
            )
            tensors[f"entropies.{k}"] = values
        save_file(tensors, folder / "model.safetensors")
        config = {"kind": "patcher", "model_type": MODEL_TYPE, "order": self.order, **self.config}
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (folder / "config.json").write_text(text, encoding="utf-8")


def histories(data: bytes, before: bytes = b"") -> UInt64:
    """For each byte the 7 before it as one number, the last lowest; zeros where there are fewer: shape [bytes]."""
    joined = np.frombuffer(before[-MAX_ORDER:] + data, np.uint8).astype(np.uint64)
    skipped = len(joined) - len(data)
    made = np.zeros(len(joined), np.uint64)
    for back in range(1, min(MAX_ORDER, len(joined) - 1) + 1):
        made[back:] |= joined[: len(joined) - back] << np.uint64(8 * (back - 1))
    return made[skipped:]


def mask(order: int) -> np.uint64:
    """What leaves of a history its last `order` bytes."""
    return np.uint64((1 << 8 * order) - 1)


def _keys(table: npt.NDArray[Any], k: int) -> UInt64:
    if table.dtype != np.uint8 or table.ndim != 2 or table.shape[1] != k:
        raise ValueError(f"contexts.{k} has shape {table.shape}")
    padded = np.zeros((len(table), 8), np.uint8)
    padded[:, :k] = table[:, ::-1]
    return padded.view("<u8").reshape(-1).astype(np.uint64)


class _Reader(EntropyReader):
    def __init__(self, model: NgramModel) -> None:
        self._model = model
        self._before = b""

    def read(self, data: bytes) -> Float32:
        found = np.empty(len(data), np.float32)
        for start in range(0, len(data), _CHUNK):
            chunk = data[start : start + _CHUNK]
            found[start : start + len(chunk)] = self._chunk(chunk)
            self._before = (self._before + chunk)[-MAX_ORDER:]
        return found

    def _chunk(self, data: bytes) -> Float32:
        model = self._model
        seen = histories(data, self._before)
        found = np.full(len(data), model._entropies[0][0], np.float32)
        # Where nothing longer was found yet; at the beginning of a stream long contexts do not exist.
        waiting = np.arange(len(data))
        for k in range(model.order, 0, -1):
            keys = model.contexts[k]
            if not len(keys):
                continue
            asked = seen[waiting] & mask(k)
            at = np.searchsorted(keys, asked)
            at[at == len(keys)] = 0
            hit = keys[at] == asked
            if (short := k - len(self._before)) > 0:
                hit &= waiting >= short
            found[waiting[hit]] = model._entropies[k][at[hit]]
            waiting = waiting[~hit]
        return found
