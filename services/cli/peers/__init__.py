"""What `sapience import` reads of other systems: the exports of ChatGPT, mem0 and Graphiti, known by what is in them.

Everything gets an id of its own from the other system, so that a later export adds what is new and repeats nothing.
What is not taken is counted by why, and said.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.cli import formats
from services.cli.peers import chatgpt, graphiti, mem0
from services.cli.peers.reading import Reading, ToldFact

_SYSTEMS: tuple[tuple[Callable[[Any], bool], Callable[[Path, Any, datetime], Reading]], ...] = (
    (chatgpt.is_one, chatgpt.read),
    (graphiti.is_one, graphiti.read),
    (mem0.is_one, mem0.read),
)


def read(path: Path, told_at: datetime | None = None) -> Reading:
    """All that a file holds, of whichever format. `told_at` stands in for times that it does not give."""
    suffix = path.suffix.lower()
    if suffix == ".zip":
        return chatgpt.read(path, chatgpt.zipped(path), _default(path, told_at))
    if suffix == ".json":
        whole = formats.parsed(path, formats.decoded(path), "the file")
        for is_one, read_it in _SYSTEMS:
            if is_one(whole):
                return read_it(path, whole, _default(path, told_at))
    return Reading(formats.read(path, told_at))


def _default(path: Path, told_at: datetime | None) -> datetime:
    return told_at or datetime.fromtimestamp(path.stat().st_mtime, UTC)


__all__ = ["Reading", "ToldFact", "read"]
