"""What `sonar.json` of a converted model says: the folder's part, its space, its languages and its licence.

Beside it lie `config.json` and `model.safetensors` as transformers writes them, and the SentencePiece model.
"""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from core.errors import FailedPrecondition
from core.loading import alone
from core.models import ModelAddress
from core.nouns import Space
from perception import licences

DESCRIPTION = "sonar.json"
PIECES = "sentencepiece.bpe.model"
Part = Literal["encoder", "decoder"]


@dataclass(frozen=True, slots=True)
class Description:
    """A converted SONAR model."""

    part: Part
    space: str
    space_version: str
    dimensions: int
    licence: str
    languages: tuple[str, ...]
    """Their codes, in the order of their tokens."""
    default_language: str
    mean_length: float
    """The usual length of the vectors that its encoder gives; 0 where it is not known."""

    @property
    def named_space(self) -> Space:
        """The vector space."""
        return Space(self.space, self.space_version, self.dimensions)

    def write(self, folder: Path) -> None:
        """Writes it into a folder."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")


def is_sonar(folder: Path, part: Part) -> bool:
    """Whether a folder holds a converted SONAR model of that part."""
    try:
        found = json.loads((folder / DESCRIPTION).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("part") == part


def read(folder: Path, part: Part, address: ModelAddress, accepted: Set[str]) -> Description:
    """What a folder holds, if its licence is accepted.

    Raises FailedPrecondition: MODEL_LOAD_FAILED for a folder that holds no such model, LICENCE_NOT_ACCEPTED.
    """
    try:
        found = json.loads((folder / DESCRIPTION).read_bytes())
        description = Description(**{**found, "languages": tuple(found["languages"])})
        if description.part != part:
            raise ValueError(f"it is SONAR's {description.part}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FailedPrecondition(
            f"{address}: {folder / DESCRIPTION} describes no {part} of SONAR ({type(error).__name__}: {error}); "
            "convert the checkpoint again: sapience models convert-sonar",
            reason="MODEL_LOAD_FAILED",
        ) from error
    licences.check(description.licence, accepted, address)
    return description


def whole(kind: Any, folder: Path) -> Any:
    """A model of transformers in float32. Raises ValueError where the folder lacks some of its weights."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model, found = alone(
        kind.from_pretrained, folder, local_files_only=True, dtype=torch.float32, output_loading_info=True
    )
    absent = sorted(set(found["missing_keys"]) | set(found["unexpected_keys"]))
    if absent:
        raise ValueError(f"weights are missing or not known: {', '.join(absent[:5])}")
    return model
