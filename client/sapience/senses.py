"""What `perceive` gives: the words that were heard or read in a file, with where they were."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Modality(StrEnum):
    """The sense that something came in by."""

    UNSPECIFIED = "unspecified"
    TEXT = "text"
    SPEECH = "speech"
    IMAGE = "image"


@dataclass(frozen=True, slots=True)
class PerceivedConcept:
    """A sentence that was heard or read: the bytes [start_byte, end_byte) of the whole text's UTF-8."""

    text: str
    start_byte: int
    end_byte: int
    confidence: float
    """How sure the model was of its words, 0 to 1."""
    start_s: float
    end_s: float
    """When it was said, in seconds from the start of the audio; both 0 for what was read."""
    box: tuple[int, int, int, int] | None
    """Where it is written, in pixels: left, top, right, bottom; None for what was heard."""


@dataclass(frozen=True, slots=True)
class Perceived:
    """All that was heard or read in one file; `text` is empty where there was no speech, or no writing."""

    modality: Modality
    text: str
    """A line for each stretch of speech between longer pauses, or for each line that was read."""
    concepts: tuple[PerceivedConcept, ...]
    language: str
    """BCP 47, "" where it is not known."""
    model: str
    """The address of the model that heard or read it."""
    duration_s: float
    """Of the audio; 0 for an image."""
