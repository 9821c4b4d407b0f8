"""The codec as perception uses it: an encoder and a decoder of one space."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path

import numpy as np
import torch

from core.errors import InvalidArgument
from core.models import ModelAddress, fingerprint, locate
from core.nouns import Float32, Space
from perception.codec import files
from perception.codec.correcting import corrected
from perception.codec.model import padded
from perception.codec.pieces import END
from perception.decoders.base import Decoder
from perception.encoders.base import Encoded, Encoder, check_texts
from perception.encoders.sentence import Device, torch_device

SPACE = "concept-codec"
_BATCH = 64


class ConceptCodec(Encoder, Decoder):
    """A codec in the memory of this process. Safe to use from several threads, one computes at a time.

    The vector of a text is exact for what `max_tokens` pieces hold, and is decoded to the letter as often as the
    model's card says; outside of its domain words are spelt in bytes, and few of them fit into a vector.
    """

    licence = "Apache-2.0"

    def __init__(self, address: ModelAddress, *, device: Device = "auto", threads: int | None = None) -> None:
        """Finds and loads the model. Raises what `core.models.locate` raises, and FailedPrecondition."""
        folder = locate(address)
        self.device = torch_device(device)
        self.network, self.pieces = files.load(folder, device=self.device)
        self.address = address
        self.space = Space(SPACE, _version(folder), self.network.shape.dimensions)
        self.max_tokens = self.network.shape.places - 1
        self.parameters = sum(one.numel() for one in self.network.parameters())
        self._threads = threads or 1  # so small a network gains nothing by more
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """See Encoder."""
        check_texts(texts)
        vectors = np.empty((len(texts), self.space.dimensions), np.float32)
        numbers = [self.pieces.numbers(text) for text in texts]
        by_length = sorted(range(len(texts)), key=lambda place: len(numbers[place]))
        with self._lock, torch.inference_mode():
            torch.set_num_threads(self._threads)
            for start in range(0, len(texts), _BATCH):
                places = by_length[start : start + _BATCH]
                batch = padded([numbers[place] for place in places], self.network.shape.places)
                vectors[places] = self.network.encode(batch.to(self.device)).cpu().numpy()
        cut = [len(one) > self.max_tokens for one in numbers]
        return Encoded(vectors, sum(cut), cut=cut)

    def decode(self, vectors: Float32, *, language: str = "") -> list[str]:
        """See Decoder. Vectors of any length are taken by their direction; it writes English.

        A sentence that comes back nearly is corrected (`perception.codec.correcting`).
        """
        if vectors.ndim != 2 or vectors.shape[1] != self.space.dimensions:
            raise InvalidArgument(
                f"vectors have shape {list(vectors.shape)}; {self.space} needs [batch, {self.space.dimensions}]",
                field="vectors",
                reason="BAD_TENSOR",
            )
        if language and language.replace("_", "-").split("-")[0].lower() not in ("en", "eng"):
            raise InvalidArgument(
                f"{self.address} writes English only, not {language!r}; leave the language out",
                field="language",
                reason="UNKNOWN_LANGUAGE",
            )
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or (lengths == 0).any():
            raise InvalidArgument(
                "a vector is zero or not finite, and has no direction", field="vectors", reason="BAD_TENSOR"
            )
        texts: list[str] = []
        with self._lock, torch.inference_mode():
            torch.set_num_threads(self._threads)
            for start in range(0, len(vectors), _BATCH):
                rows = torch.from_numpy((vectors / lengths)[start : start + _BATCH].astype(np.float32)).to(self.device)
                written = [[*takewhile(END.__ne__, pieces)] for pieces in self.network.decode(rows).tolist()]
                texts += map(self.pieces.text, corrected(self.network, rows, written))
        return texts


def _version(folder: Path) -> str:
    """By what vectors are made of; what else config.json says of the training changes none."""
    return fingerprint([folder / name for name in ("pieces.json", "model.safetensors")])
