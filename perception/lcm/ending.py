"""How a continuation is asked for, and when it ends: without torch, for those who call a model elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from core.errors import FailedPrecondition
from core.nouns import Float32
from perception.encoders.base import Encoder
from perception.lcm import END_OF_TEXT

STOP_COSINE = 0.9
"""A Concept this near to that of the end of a text ends it (arXiv 2412.08821, section 2.4.4)."""
REPEATED_COSINE = 0.98
"""A Concept this near to one of the last few repeats it."""
_REMEMBERED = 4


class End(StrEnum):
    """Why a continuation ended."""

    END_OF_TEXT = "end of text"
    LENGTH = "length"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Asked:
    """How to foresee. 0 is the model's own, for guidance and for steps."""

    seed: int = 0
    guidance: float = 0.0
    steps: int = 0


class Ending:
    """The rule by which a continuation ends, told one Concept after another."""

    def __init__(self, end_of_text: Float32, most: int, stop_cosine: float = STOP_COSINE) -> None:
        """`end_of_text` is the unit vector of END_OF_TEXT, and `most` how many Concepts there may be."""
        self._end, self._most, self._cosine = end_of_text, most, stop_cosine
        self._said: list[Float32] = []

    def told(self, concept: Float32, read: Float32 | None = None) -> End | None:
        """Whether the text ends at this Concept, which then is not part of it, but for LENGTH, whose last one is.

        `read` is the vector of the Concept's words, where it has some: either of the two may say that the text ends.
        """
        read = concept if read is None else read
        if max(float(concept @ self._end), float(read @ self._end)) >= self._cosine:
            return End.END_OF_TEXT
        if any(float(read @ before) >= REPEATED_COSINE for before in self._said[-_REMEMBERED:]):
            return End.REPEATED
        self._said.append(read)
        return End.LENGTH if len(self._said) >= self._most else None


def end_of_text(encoder: Encoder) -> Float32:
    """The unit vector of the end of a text. Raises FailedPrecondition where the encoder gives none."""
    vector: Float32 = encoder.encode([END_OF_TEXT]).vectors[0]
    if not np.isfinite(vector).all():
        raise FailedPrecondition(f"{encoder.space} has no vector for {END_OF_TEXT!r}", reason="MODEL_OUTPUT_INVALID")
    return vector
