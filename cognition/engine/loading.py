"""A language model from its address: loaded, and at work on a thread of its own."""

from __future__ import annotations

from pathlib import Path

from cognition.engine.base import LanguageModel
from cognition.engine.engine import Engine
from cognition.engine.model import DecoderModel, Device, load_model
from cognition.engine.sequential import SequentialModel
from core.models import ModelAddress


def loaded(
    address: ModelAddress, *, cache_dir: Path, device: Device = "auto", threads: int | None = None
) -> LanguageModel:
    """Loads a model and starts it: seconds, so call it on a thread. Raises what `load_model` raises."""
    model = load_model(address, cache_dir=cache_dir, device=device, threads=threads)
    return Engine(model) if isinstance(model, DecoderModel) else SequentialModel(model)
