"""Either half of a converted SONAR model, loaded by transformers from its folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

from core.errors import FailedPrecondition
from core.models import ModelAddress, locate
from perception.encoders.sentence import Device, torch_device
from perception.sonar import folder as folders
from perception.sonar.folder import Description, Part
from perception.sonar.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Half:
    """An encoder or a decoder of SONAR."""

    description: Description
    vocabulary: Vocabulary
    model: Any
    device: str
    threads: int

    @property
    def parameters(self) -> int:
        """How many numbers it has learned."""
        return sum(weight.numel() for weight in self.model.parameters())


def loaded(
    address: ModelAddress,
    part: Part,
    architecture: Callable[[], Any],
    *,
    device: Device,
    threads: int | None,
    accepted: Set[str],
) -> Half:
    """Loads a half: seconds, so call it on a thread. `architecture` imports the class of transformers.

    Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, LICENCE_NOT_ACCEPTED,
    DEVICE_UNAVAILABLE).
    """
    folder = locate(address)
    description = folders.read(folder, part, address, accepted)
    place, count = torch_device(device), threads or max(1, len(os.sched_getaffinity(0)) // 2)
    try:
        import torch

        torch.set_num_threads(count)
        vocabulary = Vocabulary(folder / folders.PIECES, description.languages, description.default_language)
        model = folders.whole(architecture(), folder)
        if model.config.vocab_size != vocabulary.size:
            raise ValueError(f"{model.config.vocab_size} embeddings for {vocabulary.size} tokens")
    except Exception as error:  # whatever a broken folder makes of the libraries below
        raise FailedPrecondition(
            f"{address}: {folder} could not be loaded as SONAR's {part} ({type(error).__name__}: {error}); "
            "convert the checkpoint again: sapience models convert-sonar",
            reason="MODEL_LOAD_FAILED",
        ) from error
    return Half(description, vocabulary, model.eval().to(place), place, count)
