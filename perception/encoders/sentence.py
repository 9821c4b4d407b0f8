"""Sentence encoders of the sentence-transformers family: any such model, by its address.

A folder with `modules.json` is used with the pooling it names; a plain transformer gets mean pooling. Code that a model
brings with it is never run. Nothing is downloaded but by `core.models.locate` for an `hf:` address.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument
from core.models import ModelAddress, fingerprint, locate
from core.nouns import Float32, Space
from perception.encoders.base import Encoded, Encoder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Device = Literal["auto", "cpu", "cuda"]

_CONFIGURATION = ("config.json", "modules.json", "sentence_bert_config.json", "tokenizer.json")
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_CARD_TITLE = re.compile(r"^#\s+(?:[\w.-]+/)?([A-Za-z0-9][\w.-]*)\s*$", re.MULTILINE | re.ASCII)
_CARD_BYTES = 16 * 1024


class SentenceEncoder(Encoder):
    """A sentence-transformers model in the memory of this process."""

    def __init__(
        self, address: ModelAddress, *, device: Device = "auto", threads: int | None = None, batch_size: int = 32
    ) -> None:
        """Finds and loads the model: seconds, so call it on a thread.

        `threads` are those that torch computes with on a CPU, in the whole process; by default half the cores, since
        short sentences gain little from more and the rest of the process needs some. Batches of 32 are where the rate
        stops growing on a CPU. Raises what `locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED).
        """
        folder = locate(address)
        if folder.is_file():
            raise FailedPrecondition(
                f"{address} is a GGUF file, which holds no sentence encoder; name a sentence-transformers model",
                reason="MODEL_LOAD_FAILED",
            )
        import torch
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // 2))
        try:
            self._model: SentenceTransformer = SentenceTransformer(
                str(folder),
                device=_torch_device(device),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"dtype": "float32"},
            )
        except Exception as error:  # whatever a broken folder makes of the libraries below
            raise FailedPrecondition(
                f"{address}: {folder} could not be loaded as a sentence encoder ({error}); check that it is a whole "
                "sentence-transformers model, or download it again",
                reason="MODEL_LOAD_FAILED",
            ) from error
        self._model.eval()
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self.address = address
        self.max_tokens = int(self._model.max_seq_length or 512)
        dimensions = self._model.encode(["."], show_progress_bar=False).shape[1]
        self.space = Space(_name(folder, address), _version(folder), dimensions)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """See Encoder. Batches are put together by length, so that little is computed for padding."""
        for place, text in enumerate(texts):
            if not text.strip():
                raise InvalidArgument(f"text {place} of {len(texts)} is blank; leave it out", field=f"texts[{place}]")
        if not texts:
            return Encoded(np.empty((0, self.space.dimensions), np.float32), 0)
        encode = self._model.encode_query if query else self._model.encode_document
        with self._lock:
            truncated = self._count_truncated(texts)
            raw = encode(list(texts), batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True)
        return Encoded(_unit(np.asarray(raw, np.float32), self.space), truncated)

    def _count_truncated(self, texts: Sequence[str]) -> int:
        ids = self._model.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        return sum(len(each) > self.max_tokens for each in ids)


def _unit(vectors: Float32, space: Space) -> Float32:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise FailedPrecondition(
            f"the encoder of {space} gave a vector that is zero or not finite; its weights are damaged: get them again",
            reason="MODEL_OUTPUT_INVALID",
        )
    unit: Float32 = (vectors / lengths).astype(np.float32)
    return unit


def _torch_device(device: Device) -> str:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise FailedPrecondition(
            "the device cuda was asked for, but torch sees no GPU; set the device to auto or cpu",
            reason="DEVICE_UNAVAILABLE",
        )
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _name(folder: Path, address: ModelAddress) -> str:
    """The model's own name, so that its vectors are recognised however it was installed.

    A wheel calls its folder what it likes, but the card that the model came with is still in it.
    """
    card = folder / "README.md"
    if address.scheme != "hf" and card.is_file():
        with card.open("rb") as file:
            title = _CARD_TITLE.search(file.read(_CARD_BYTES).decode(errors="replace"))
        if title:
            return title[1]
    return address.short_name


def _version(folder: Path) -> str:
    """Changes with whatever changes the vectors: weights, tokenizer, pooling, and how much of a text is read."""
    files = [file for pattern in _WEIGHTS for file in folder.rglob(pattern)]
    files += [file for name in _CONFIGURATION for file in folder.rglob(name)]
    return fingerprint(files)
