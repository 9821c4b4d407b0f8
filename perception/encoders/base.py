"""What every encoder is: a named vector space, and texts in, vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument
from core.nouns import Float32, Float64, Space


@dataclass(frozen=True, slots=True)
class Encoded:
    """The vectors of a batch of texts, in its order."""

    vectors: Float32
    """Shape [texts, dimensions], each row of unit length."""
    truncated: int
    """How many of the texts were longer than the encoder reads, so that their ends are not in their vectors."""
    lengths: Float32 | None = None
    """Shape [texts]: how long the rows were before they were brought to length 1. None where that says nothing."""
    cut: Sequence[bool] | None = None
    """Which texts were longer than the encoder reads; None where none was."""

    def __post_init__(self) -> None:
        if self.truncated != sum(self.cut or ()):
            raise ValueError(f"{self.truncated} texts are said to be cut, and {sum(self.cut or ())} are named")


class Encoder(ABC):
    """Turns texts into vectors of one space. A text's vector does not depend on what else is in its batch (to 1e-5)."""

    space: Space
    max_tokens: int
    """How much of a text is read."""

    @abstractmethod
    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """Encodes texts; `query` says that they are questions, for the encoders that treat those differently.

        Computes on the calling thread, one call at a time: call it on a thread of its own, never on an event loop.
        Raises InvalidArgument for a blank text.
        """


class MultilingualEncoder(Encoder):
    """An encoder that has to be told the language of the texts, and whose own vectors are of any length."""

    mean_length: float
    """The usual length of its own vectors, before they are brought to length 1; a decoder of its space expects it."""

    @property
    @abstractmethod
    def languages(self) -> Sequence[str]:
        """The codes of the languages that it reads ("deu_Latn")."""

    @abstractmethod
    def encode(self, texts: Sequence[str], *, query: bool = False, language: str = "") -> Encoded:
        """See Encoder. `language` is that of all the texts, as BCP 47 or as a code of SONAR ("deu_Latn").

        Empty means the encoder's own. Raises InvalidArgument (UNKNOWN_LANGUAGE) for one that it does not read.
        """


def check_texts(texts: Sequence[str]) -> None:
    """Raises InvalidArgument for a blank text, naming its place."""
    for place, text in enumerate(texts):
        if not text.strip():
            raise InvalidArgument(f"text {place} of {len(texts)} is blank; leave it out", field=f"texts[{place}]")


def lengths_of(vectors: Float32 | Float64, space: Space) -> Float64:
    """The lengths of an encoder's own vectors [n, dimensions]. Raises FailedPrecondition (MODEL_OUTPUT_INVALID)."""
    lengths: Float64 = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise FailedPrecondition(
            f"the encoder of {space} gave a vector that is zero or not finite; its weights are damaged: get them again",
            reason="MODEL_OUTPUT_INVALID",
        )
    return lengths


def unit(vectors: Float32, space: Space) -> Float32:
    """An encoder's own vectors at length 1. Raises FailedPrecondition (MODEL_OUTPUT_INVALID)."""
    made: Float32 = (vectors / lengths_of(vectors, space)[:, None]).astype(np.float32)
    return made
