"""Text into sentence-sized spans, by rules: nothing is downloaded, and the same text gives the same spans."""

from perception.segment.sentences import MAX_CHARS, segment

__all__ = ["MAX_CHARS", "segment"]
