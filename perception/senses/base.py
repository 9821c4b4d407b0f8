"""What every sense is: a file in, words with their places out; and how words become Concepts.

A transcriber gives each word a stretch of time and a probability, a reader gives each line a box and one. `concepts_of`
cuts the text that they make up into sentences as any text is cut, and gives each sentence what its parts have.
"""

from __future__ import annotations

import bisect
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from core.nouns import Span
from perception.segment import segment

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the upright image."""
Stop = Callable[[], bool]
"""Whether nobody waits for the result any more."""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a text and where it came from: a word that was heard, or a line that was read."""

    start: int
    """The first character of it in the text."""
    end: int
    confidence: float
    start_s: float = 0.0
    end_s: float = 0.0
    box: Box | None = None


@dataclass(frozen=True, slots=True)
class SensedConcept:
    """A sentence that was heard or read."""

    span: Span
    confidence: float
    """How sure the model was of its words, 0 to 1: the mean of its parts, by their lengths."""
    start_s: float = 0.0
    end_s: float = 0.0
    """When it was said, in seconds from the start of the audio; both 0 for what was read."""
    box: Box | None = None
    """The smallest box that holds all lines of it; None for what was heard."""


@dataclass(frozen=True, slots=True)
class Sensed:
    """All that was heard or read in one file. No text where there was no speech, or no writing."""

    text: str
    """A line for each stretch of speech between longer pauses, or for each line that was read."""
    concepts: tuple[SensedConcept, ...]
    language: str
    """BCP 47, empty where it is not known."""
    duration_s: float = 0.0


class Transcriber(ABC):
    """Hears what is said in audio."""

    licence: str = ""

    @abstractmethod
    def hear(self, file: BinaryIO, language: str = "", stop: Stop = lambda: False) -> Sensed:
        """Hears one file, from its beginning; memory does not grow with its length but for the words.

        Computes on the calling thread, one file at a time. Looks at `stop` at least once in half a minute of audio, and
        raises Stopped where it is true. Raises InvalidArgument: BAD_AUDIO for what is no audio or is broken,
        UNKNOWN_LANGUAGE for a language (BCP 47) that it does not know.
        """


class Reader(ABC):
    """Reads what is written on images."""

    licence: str = ""

    @abstractmethod
    def read(self, file: BinaryIO, language: str = "", stop: Stop = lambda: False) -> Sensed:
        """Reads one image. As `Transcriber.hear`, with BAD_IMAGE and IMAGE_TOO_LARGE for what is no image to read."""


class Stopped(Exception):
    """The work was given up because nobody waits for it."""


def concepts_of(text: str, parts: Sequence[Part], language: str) -> tuple[SensedConcept, ...]:
    """The sentences of a text, each with the time or the box and the confidence of the parts that it shares text with.

    `parts` are in the order of the text and do not overlap.
    """
    starts, found, at = [part.start for part in parts], [], 0
    for span in segment(text):
        start = text.index(span.text, at)
        at = end = start + len(span.text)
        first = max(bisect.bisect_right(starts, start) - 1, 0)
        last = bisect.bisect_left(starts, end)
        own = [part for part in parts[first:last] if part.start < end and part.end > start]
        shares = [min(part.end, end) - max(part.start, start) for part in own]
        whole = sum(shares)
        sure = sum(part.confidence * share for part, share in zip(own, shares, strict=True)) / whole if whole else 0.0
        boxes = [part.box for part in own if part.box is not None]
        found.append(
            SensedConcept(
                Span(span.text, span.start_byte, span.end_byte, language),
                min(max(sure, 0.0), 1.0),
                min((part.start_s for part in own), default=0.0),
                max((part.end_s for part in own), default=0.0),
                _around(boxes),
            )
        )
    return tuple(found)


def _around(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
