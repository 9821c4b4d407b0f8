"""The event loop of every service: uvloop, which streams several times faster than asyncio's own."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end on a new loop."""
    import uvloop

    return uvloop.run(main)
