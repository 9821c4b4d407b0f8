"""Images and texts as vectors of one space: any CLIP or SigLIP of Hugging Face, by its address.

CLIP: Radford et al. 2021 (arXiv 2103.00020); SigLIP: Zhai et al. 2023 (arXiv 2303.15343). transformers computes them,
and prepares images by Pillow whatever else is installed, so that the same image has the same vector everywhere. Code
that a model brings with it is never run, and nothing is downloaded but by `core.models.locate` for an `hf:` address.

Cosines between an image and a text are smaller than those between two texts: compare them among themselves only.
"""

from __future__ import annotations

import os
import threading
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core.errors import FailedPrecondition
from core.loading import alone
from core.models import ModelAddress, fingerprint, locate
from core.nouns import Float32, Space
from perception.encoders.base import Encoded, Encoder, check_texts, unit
from perception.encoders.sentence import Device, torch_device
from perception.senses.images import opened

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_CONFIGURATION = ("config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json")


class ImageEncoder(Encoder):
    """Turns images, and texts, into vectors of one space."""

    @abstractmethod
    def encode_media(self, files: Sequence[BinaryIO]) -> Encoded:
        """Encodes images. As `encode`; none is ever truncated.

        Raises InvalidArgument (BAD_IMAGE, IMAGE_TOO_LARGE), with the place of the image in the field.
        """


class ClipEncoder(ImageEncoder):
    """A CLIP or SigLIP in the memory of this process. Safe to use from several threads, one computes at a time."""

    def __init__(
        self, address: ModelAddress, *, device: Device = "auto", threads: int | None = None, batch_size: int = 16
    ) -> None:
        """Finds and loads the model: seconds, so call it on a thread.

        Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, DEVICE_UNAVAILABLE): also
        for a model that has no vectors of both images and texts.
        """
        folder = locate(address)
        self.device = torch_device(device)
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
        self._batch_size = batch_size
        self._lock = threading.Lock()
        try:
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

            options = {"local_files_only": True, "trust_remote_code": False}
            model: Any = alone(AutoModel.from_pretrained, str(folder), dtype="float32", **options)
            prepare: Any = AutoImageProcessor
            self._prepare: Any = prepare.from_pretrained(str(folder), backend="pil", **options)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **options)
            if not hasattr(model, "get_image_features") or not hasattr(model, "get_text_features"):
                raise TypeError(f"a {type(model).__name__} gives no vectors of images and texts in one space")
            self._model = model.eval().to(self.device)
            self.max_tokens = int(model.config.text_config.max_position_embeddings)
            self._always_padded = "siglip" in str(model.config.model_type)
            dimensions = self._texts(["."]).shape[1]
        except Exception as error:  # whatever a broken folder makes of the libraries below
            raise FailedPrecondition(
                f"{address}: {folder} could not be loaded as a CLIP or SigLIP ({type(error).__name__}: {error}); check "
                "that it is a whole one, with its tokenizer and preprocessor_config.json",
                reason="MODEL_LOAD_FAILED",
            ) from error
        self.address = address
        self.parameters = sum(weight.numel() for weight in self._model.parameters())
        self.space = Space(address.short_name, _version(folder), dimensions)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """See Encoder."""
        check_texts(texts)
        if not texts:
            return Encoded(np.empty((0, self.space.dimensions), np.float32), 0)
        with self._lock:
            rows = [
                self._texts(texts[start : start + self._batch_size]) for start in range(0, len(texts), self._batch_size)
            ]
            ids = self._tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
        cut = [len(one) > self.max_tokens for one in ids]
        return Encoded(unit(np.concatenate(rows), self.space), sum(cut), cut=cut)

    def encode_media(self, files: Sequence[BinaryIO]) -> Encoded:
        """See ImageEncoder. Decodes one after the other, computes a batch at a time."""
        import torch

        if not files:
            return Encoded(np.empty((0, self.space.dimensions), np.float32), 0)
        rows = []
        with self._lock, torch.inference_mode():
            torch.set_num_threads(self._threads)
            for start in range(0, len(files), self._batch_size):
                batch = files[start : start + self._batch_size]
                # One after the other: a decoded image may take 150 MB, and what is left of it here is small.
                prepared = [
                    self._prepare(images=[opened(file, f"media[{start + place}].data")], return_tensors="pt")
                    for place, file in enumerate(batch)
                ]
                pixels = {name: torch.cat([one[name] for one in prepared]).to(self.device) for name in prepared[0]}
                rows.append(_features(self._model.get_image_features(**pixels)))
        return Encoded(unit(np.concatenate(rows), self.space), 0)

    def _texts(self, texts: Sequence[str]) -> Float32:
        """Vectors of any length. SigLIP was trained on texts filled up to its full length, and has to see them so."""
        import torch

        with torch.inference_mode():
            torch.set_num_threads(self._threads)
            tokens = self._tokenizer(
                list(texts),
                padding="max_length" if self._always_padded else True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            ).to(self.device)
            given = {name: tokens[name] for name in ("input_ids", "attention_mask") if name in tokens}
            return _features(self._model.get_text_features(**given))


def _features(given: Any) -> Float32:
    """The vectors, which transformers returns alone or as the pooled output of a larger one."""
    vectors: Float32 = getattr(given, "pooler_output", given).float().cpu().numpy()
    return vectors


def _version(folder: Path) -> str:
    files = [file for pattern in (*_WEIGHTS, *_CONFIGURATION) for file in folder.glob(pattern)]
    return fingerprint(files)
