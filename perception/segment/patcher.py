"""A byte model with its calibration: what cuts bytes into patches, found by its address.

`models:byte-ngram` is the one that comes with Sapience; `sapience train patches` makes others. The address of a BLT
checkpoint of transformers works as well: it has no calibration of ours, so the global rule takes the threshold that it
was trained with, and other rules and means need thresholds, or bytes to fit them to.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import FailedPrecondition
from core.models import ModelAddress, locate
from perception.encoders.sentence import Device
from perception.segment import blt, ngram
from perception.segment.calibrating import MEAN, Calibration, fitted
from perception.segment.entropy import ByteModel
from perception.segment.patches import MOST_BYTES, Cut, Patches, Rule, Thresholds, cut


@dataclass(frozen=True)
class Patcher:
    """Cuts bytes by one model."""

    model: ByteModel
    calibration: Calibration
    threshold: float | None = None
    """For the global rule where nothing is calibrated."""

    @property
    def address(self) -> str:
        """The model's address."""
        return self.model.address

    @property
    def parameters(self) -> int:
        """Numbers that the model is made of."""
        return self.model.parameters

    @property
    def licence(self) -> str:
        """The licence of the model; empty where it does not say."""
        return self.model.licence

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.model.device

    def cut_for(self, rule: Rule, *, mean: float = 0.0, most_bytes: int = MOST_BYTES) -> Cut:
        """How to cut for patches of `mean` bytes on average, as calibrated; 0 is the usual mean.

        Raises what `Calibration.thresholds` raises.
        """
        if not mean and rule is Rule.GLOBAL and not self.calibration.points.get(rule) and self.threshold is not None:
            return Cut(rule, Thresholds(entropy=self.threshold), most_bytes)
        return Cut(rule, self.calibration.thresholds(rule, mean or MEAN), most_bytes)

    def fit(self, data: bytes, rule: Rule, *, mean: float = 0.0, most_bytes: int = MOST_BYTES) -> tuple[Cut, Patches]:
        """Cuts bytes by thresholds that give these very bytes patches of `mean` bytes on average.

        Raises what `fitted` raises.
        """
        entropies = self.model.entropies(data)
        how = Cut(rule, fitted([entropies], rule, mean or MEAN, most_bytes), most_bytes)
        return how, cut(entropies, how)


def load(address: ModelAddress, *, device: Device = "auto", threads: int | None = None) -> Patcher:
    """Finds and loads a byte model: call it on the thread that will read.

    Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, DEVICE_UNAVAILABLE).
    """
    folder = locate(address)
    kind = _config(folder, address).get("model_type")
    if kind == ngram.MODEL_TYPE:
        model = ngram.NgramModel.load(folder, str(address))
        return Patcher(model, Calibration.from_json(model.config.get("calibration", {})))
    if kind in blt.MODEL_TYPES:
        patcher = blt.BltModel(folder, address, device=device, threads=threads)
        return Patcher(patcher, Calibration({}), patcher.threshold)
    raise FailedPrecondition(
        f"{address} is a model of type {kind!r}, which tells no entropies of bytes; name one that `sapience train "
        "patches` made, or a BLT checkpoint",
        reason="MODEL_LOAD_FAILED",
    )


def _config(folder: Path, address: ModelAddress) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FailedPrecondition(
            f"{address} has no config.json that can be read ({error}); name a folder with a byte model",
            reason="MODEL_LOAD_FAILED",
        ) from error
    return config if isinstance(config, dict) else {}
