"""From tokens to text as they come: whole characters only, and nothing past a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\ufffd"
"""What a decoder makes of bytes that are no character, or not yet."""
_MOST_WAITING = 8
"""Tokens that may pass before broken bytes are taken for final: a character has at most four."""


class IncrementalDecoder:
    """Turns token ids into text one by one.

    A character of several bytes may be cut between tokens, and some tokenizers write a token differently at the start
    of a text. So each step decodes a short window twice, without and with the new token, and the difference is the new
    text; while the window ends in a broken character, nothing comes out. What never becomes whole is left out.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._window = 0
        self._read = 0

    def add(self, token: int) -> str:
        """The text that this token completes; often "" while a character is incomplete."""
        self._ids.append(token)
        before = self._decode(self._ids[self._window : self._read])
        after = self._decode(self._ids[self._window :])
        waiting = len(self._ids) - self._read
        if len(after) <= len(before) or (after.endswith(_BROKEN) and waiting <= _MOST_WAITING):
            return ""
        self._window, self._read = self._read, len(self._ids)
        return after[len(before) :]


class StopStrings:
    """Holds text back while it may be the beginning of a stop string, and ends it before the first that is whole."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.reached = False

    def add(self, text: str) -> str:
        """The text that is surely before any stop string. Sets `reached` when one has come."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.reached = True
            text, self._held = self._held[: min(found)], ""
            return text
        keep = max((self._overlap(stop) for stop in self._stops), default=0)
        cut = len(self._held) - keep
        text, self._held = self._held[:cut], self._held[cut:]
        return text

    def flush(self) -> str:
        """What was held back, once it is sure that nothing follows."""
        text, self._held = self._held, ""
        return text

    def _overlap(self, stop: str) -> int:
        """How long the longest end of the held text is that begins `stop`."""
        longest = min(len(stop) - 1, len(self._held))
        return next((size for size in range(longest, 0, -1) if self._held.endswith(stop[:size])), 0)
