"""The cascade that hears: decode, find speech, transcribe window by window, put together. The default transcriber.

Memory holds one window at a time, whatever the length of the audio. What it does not do: it tells no speakers apart,
and of a recording in several languages it hears the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from core.models import ModelAddress
from core.nouns import Float32
from perception.senses import audio
from perception.senses.base import Part, Sensed, Stop, Stopped, Transcriber, concepts_of
from perception.senses.voice import VoiceDetector, Window, Windows
from perception.senses.whisper import Whisper, load, whisper_language


class Cascade(Transcriber):
    """A voice detector and a Whisper."""

    def __init__(
        self,
        address: ModelAddress,
        *,
        device: str = "auto",
        threads: int | None = None,
        windows: Windows = Windows(),
        whisper: Whisper | None = None,
    ) -> None:
        """Loads both: a second or more, so call it on a thread. Raises what `whisper.load` raises.

        `whisper` is one that is loaded already, in place of the address.
        """
        self.address = address
        self._whisper = whisper or load(address, device=device, threads=threads)
        self._detector = VoiceDetector()
        self._windows = windows
        self.device = self._whisper.device
        self.parameters = self._whisper.parameters
        self.licence = self._whisper.licence

    def hear(self, file: BinaryIO, language: str = "", stop: Stop = lambda: False) -> Sensed:
        """See Transcriber."""
        spoken = whisper_language(language, self._whisper.languages())
        length = 0

        def blocks() -> Iterator[Float32]:
            nonlocal length
            for block in audio.blocks(file):
                if stop():
                    raise Stopped
                length += len(block)
                yield block

        text, parts = "", list[Part]()
        for window in self._detector.windows(blocks(), self._windows):
            if stop():
                raise Stopped
            spoken = spoken or self._whisper.detect(window.samples)
            text = _add(text, parts, window, self._whisper, spoken)
        return Sensed(text, concepts_of(text, parts, spoken), spoken if text else "", length / audio.RATE)


def _add(text: str, parts: list[Part], window: Window, whisper: Whisper, language: str) -> str:
    """The text with the words of the window after it, and their parts."""
    found = whisper.words(window.samples, language)
    if not found.text:
        return text
    before = text + ((" " if window.follows else "\n") if text else "")
    for one in found.parts:
        start, end = one.start + len(before), one.end + len(before)
        parts.append(Part(start, end, one.confidence, window.start_s + one.start_s, window.start_s + one.end_s))
    return before + found.text
