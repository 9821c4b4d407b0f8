"""The byte model of a BLT checkpoint: transformers' `BltPatcher` behind the interface of byte models.

Only the patcher's own weights are read, from `model.safetensors` or its shards: those of a whole BLT model
(`model.patcher.…`), or a patcher by itself. A byte is token 4 + byte, after a token that means the beginning.

A stream is read in windows of one size, each of which goes half a window back: so a byte sees at least half a window of
what came before it, or all there is, and a window is computed alike however the stream came. This costs up to twice the
work of one long run. A stream shorter than a window has the entropies that transformers computes for it whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import FailedPrecondition
from core.loading import alone
from core.models import ModelAddress
from perception.encoders.sentence import Device, torch_device
from perception.segment.entropy import ByteModel, EntropyReader, Float32

MODEL_TYPES = ("blt", "blt_patcher")
WINDOW = 512
_OFFSET, _BEGIN = 4, 1
_PREFIXES = ("model.patcher.", "patcher.", "")


class BltModel(ByteModel):
    """A BLT patcher in the memory of this process."""

    def __init__(
        self,
        folder: Path,
        address: ModelAddress,
        *,
        device: Device = "auto",
        threads: int | None = None,
        window: int = WINDOW,
    ) -> None:
        """Loads the patcher: call it on the thread that will read.

        Raises FailedPrecondition (MODEL_LOAD_FAILED, DEVICE_UNAVAILABLE).
        """
        import torch

        place = torch_device(device)
        torch.set_num_threads(threads or max(1, len(os.sched_getaffinity(0)) // 2))
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            self._model = _patcher(folder, config).eval().to(place)
        except Exception as error:  # whatever a broken folder makes of the libraries below
            raise FailedPrecondition(
                f"{address}: {folder} could not be loaded as a BLT patcher ({type(error).__name__}: {error}); check "
                "that it is a whole checkpoint of transformers with safetensors, or get it again",
                reason="MODEL_LOAD_FAILED",
            ) from error
        self.window = min(window, int(self._model.config.max_position_embeddings)) // 2 * 2
        self.threshold: float | None = config.get("patching_threshold")
        """What the checkpoint was trained with, for the global rule."""
        self.address = str(address)
        self.device = place
        self.licence = str(config.get("license", ""))
        self.parameters = sum(weight.numel() for weight in self._model.parameters())

    def reader(self) -> EntropyReader:
        """A reader at the beginning of a stream."""
        return _Reader(self)

    def run(self, tokens: list[int]) -> Float32:
        """What is expected after each of these tokens, at most a window of them: entropies, shape [tokens]."""
        import torch

        padded = torch.zeros((1, self.window), dtype=torch.long, device=self.device)
        padded[0, : len(tokens)] = torch.tensor(tokens, device=self.device)
        with torch.inference_mode():
            entropies = self._model(input_ids=padded)[0]
        found: Float32 = entropies[0, : len(tokens)].float().cpu().numpy()
        if not np.isfinite(found).all():
            raise FailedPrecondition(
                f"{self.address} gave an entropy that is not finite; its weights are damaged: get them again",
                reason="MODEL_OUTPUT_INVALID",
            )
        return found


class _Reader(EntropyReader):
    def __init__(self, model: BltModel) -> None:
        self._model = model
        self._begun = 0
        """The place of the first token that is kept: a multiple of half a window."""
        self._tokens = [_BEGIN]

    def read(self, data: bytes) -> Float32:
        window, half = self._model.window, self._model.window // 2
        # What is expected in the place of a byte is computed at the token before it: so the first is a place behind.
        at = self._begun + len(self._tokens) - 1
        end = at + len(data)
        self._tokens += [_OFFSET + byte for byte in data]
        parts: list[Float32] = []
        while at < end:
            begin = 0 if at < window else (at // half - 1) * half
            until = min(begin + window, end)
            first = begin - self._begun
            computed = self._model.run(self._tokens[first : until - self._begun])
            parts.append(computed[at - begin :])
            at = until
        kept = 0 if end < window else (end // half - 1) * half
        self._tokens = self._tokens[kept - self._begun :]
        self._begun = kept
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _patcher(folder: Path, config: dict[str, Any]) -> Any:
    from safetensors.torch import load_file
    from transformers import BltConfig
    from transformers.models.blt.modeling_blt import BltPatcher

    if config.get("model_type") == "blt":
        wanted: Any = BltConfig.from_pretrained(folder).patcher_config
    else:
        from transformers.models.blt.configuration_blt import BltPatcherConfig

        wanted = BltPatcherConfig.from_pretrained(folder)
    model: Any = alone(BltPatcher, wanted)
    needed = set(model.state_dict())
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors = load_file(file)
        for prefix in _PREFIXES:
            found |= {name: tensors[prefix + name] for name in needed - set(found) if prefix + name in tensors}
    model.load_state_dict({name: tensor.float() for name, tensor in found.items()})
    return model
