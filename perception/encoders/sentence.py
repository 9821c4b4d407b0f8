"""Sentence encoders of the sentence-transformers family: any such model, by its address.

A folder with `modules.json` is used with the pooling it names; a plain transformer gets mean pooling. The common shape,
BERT with mean pooling, runs on plain torch (`perception.encoders.bert`) and starts without sentence-transformers. Code
that a model brings with it is never run. Nothing is downloaded but by `core.models.locate` for an `hf:` address.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from core.errors import FailedPrecondition
from core.loading import alone
from core.models import ModelAddress, fingerprint, locate
from core.nouns import Float32, Space
from perception.encoders.base import Encoded, Encoder, check_texts, unit

Device = Literal["auto", "cpu", "cuda"]

_CONFIGURATION = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_CARD_TITLE = re.compile(r"^#\s+(?:[\w.-]+/)?([A-Za-z0-9][\w.-]*)\s*$", re.MULTILINE | re.ASCII)
_CARD_BYTES = 16 * 1024


class _Backend(Protocol):
    """What computes the vectors."""

    dimensions: int
    max_tokens: int

    def encode(self, texts: Sequence[str]) -> tuple[Float32, list[bool]]:
        """Vectors of any length, and which texts were cut."""
        ...


class SentenceEncoder(Encoder):
    """A sentence encoder in the memory of this process. Safe to use from several threads, one computes at a time."""

    def __init__(
        self,
        address: ModelAddress,
        *,
        device: Device = "auto",
        threads: int | None = None,
        batch_size: int = 32,
        plain: bool = True,
        cache_dir: Path | None = None,
    ) -> None:
        """Finds and loads the model: seconds, so call it on a thread.

        `threads` are those that torch computes with on a CPU, by default half the cores: short sentences gain little
        from more, and the rest of the process needs some. Batches of 32 are where the rate stops growing on a CPU.
        `plain` False uses sentence-transformers even where plain torch would do, to compare the two. `cache_dir` is
        where functions compiled for this processor are kept; without one there are none.

        Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, DEVICE_UNAVAILABLE).
        """
        folder = locate(address)
        if folder.is_file():
            raise FailedPrecondition(
                f"{address} is a GGUF file, which holds no sentence encoder; name a sentence-transformers model",
                reason="MODEL_LOAD_FAILED",
            )
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
        place = torch_device(device)
        self._set_threads()
        try:
            self._backend = _load(folder, place, batch_size, plain, cache_dir)
        except Exception as error:  # whatever a broken folder makes of the libraries below
            raise FailedPrecondition(
                f"{address}: {folder} could not be loaded as a sentence encoder ({type(error).__name__}: {error}); "
                "check that it is a whole sentence-transformers model, or get it again",
                reason="MODEL_LOAD_FAILED",
            ) from error
        self._lock = threading.Lock()
        self.address = address
        self.device = place
        self.max_tokens = self._backend.max_tokens
        self.space = Space(_name(folder, address), _version(folder), self._backend.dimensions)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """See Encoder. Batches are put together by length, so that little is computed for padding."""
        check_texts(texts)
        if not texts:
            return Encoded(np.empty((0, self.space.dimensions), np.float32), 0)
        with self._lock:
            self._set_threads()
            if query and isinstance(self._backend, _SentenceTransformers):
                vectors, cut = self._backend.encode(texts, query=True)
            else:
                vectors, cut = self._backend.encode(texts)
        return Encoded(unit(vectors, self.space), sum(cut), cut=cut)

    def _set_threads(self) -> None:
        """For the calling thread: OpenMP keeps the number for each."""
        import torch

        torch.set_num_threads(self._threads)


def _load(folder: Path, device: str, batch_size: int, plain: bool, cache_dir: Path | None) -> _Backend:
    if plain:
        from perception.encoders.bert import Bert, supports

        if supports(folder):
            return Bert(folder, device=device, batch_size=batch_size, cache_dir=cache_dir)
    return _SentenceTransformers(folder, device=device, batch_size=batch_size)


class _SentenceTransformers:
    """Any model, by the sentence-transformers library."""

    def __init__(self, folder: Path, *, device: str, batch_size: int) -> None:
        from sentence_transformers import SentenceTransformer
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        self._model = alone(
            SentenceTransformer,
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"dtype": "float32"},
        ).eval()
        self._batch_size = batch_size
        self.max_tokens = int(self._model.max_seq_length or 512)
        self.dimensions = int(self._model.encode(["."], show_progress_bar=False).shape[1])

    def encode(self, texts: Sequence[str], *, query: bool = False) -> tuple[Float32, list[bool]]:
        """See _Backend. `query` uses the prompt that the model has for questions, if it has one."""
        encode = self._model.encode_query if query else self._model.encode_document
        ids = self._model.tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        vectors = encode(list(texts), batch_size=self._batch_size, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, np.float32), [len(each) > self.max_tokens for each in ids]


def torch_device(device: Device) -> str:
    """Where torch computes. Raises FailedPrecondition (DEVICE_UNAVAILABLE)."""
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
