"""What every encoder is: a named vector space, and texts in, vectors out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from core.nouns import Float32, Space


@dataclass(frozen=True, slots=True)
class Encoded:
    """The vectors of a batch of texts, in its order."""

    vectors: Float32
    """Shape [texts, dimensions], each row of unit length."""
    truncated: int
    """How many of the texts were longer than the encoder reads, so that their ends are not in their vectors."""
    lengths: Float32 | None = None
    """Shape [texts]: how long the rows were before they were brought to length 1. None where that says nothing."""


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

    @abstractmethod
    def encode(self, texts: Sequence[str], *, query: bool = False, language: str = "") -> Encoded:
        """See Encoder. `language` is that of all the texts, as BCP 47 or as a code of SONAR ("deu_Latn").

        Empty means the encoder's own. Raises InvalidArgument (UNKNOWN_LANGUAGE) for one that it does not read.
        """
