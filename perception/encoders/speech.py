"""What an encoder of speech is: audio files in, vectors of a space that texts share out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import BinaryIO

from core.errors import InvalidArgument
from perception.encoders.base import Encoded, Encoder


class SpeechEncoder(Encoder):
    """Turns what is said in audio into vectors, with no text between. It reads no texts: their encoder does."""

    @abstractmethod
    def encode_media(self, files: Sequence[BinaryIO]) -> Encoded:
        """Encodes audio files, each of one sentence, read from their beginnings.

        Computes on the calling thread, one call at a time: call it on a thread of its own, never on an event loop.
        Raises InvalidArgument for a file that is no audio (BAD_AUDIO) or too long (AUDIO_TOO_LONG), naming `data` of
        the medium at fault.
        """

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """Refuses: raises InvalidArgument (NO_TEXT)."""
        raise InvalidArgument(
            f"the encoder of {self.space} that was asked for hears speech; give media, or name its text encoder",
            field="texts",
            reason="NO_TEXT",
        )
