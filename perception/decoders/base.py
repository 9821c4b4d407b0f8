"""What every decoder is: vectors of one named space in, texts out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from core.nouns import Float32, Space


class Decoder(ABC):
    """Turns vectors of one space into texts. A vector's text does not depend on what else is in its batch."""

    space: Space
    """The space whose vectors it reads: that of the encoder it was trained with."""
    licence: str
    """The SPDX identifier of its weights' licence; empty where that is not known."""
    mean_length: float = 1.0
    """The usual length of the vectors that it was trained on; 0 where that is not known.

    Spaces are of vectors of length 1, but some decoders read vectors as their encoder gave them. `decode` takes them at
    that length, so who has vectors of length 1 multiplies them by this.
    """

    @abstractmethod
    def decode(self, vectors: Float32, *, language: str = "") -> Sequence[str]:
        """One text for each row of `vectors`, shape [texts, dimensions] and of about `mean_length`.

        `language` is the one to write, as BCP 47 or as a code of SONAR ("deu_Latn"); empty means the decoder's own.
        Computes on the calling thread, one call at a time: call it on a thread of its own, never on an event loop.
        Raises InvalidArgument (UNKNOWN_LANGUAGE) for a language that it does not write.
        """
