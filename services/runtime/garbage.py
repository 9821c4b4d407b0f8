"""How often a process of services looks for reference cycles.

Python counts references and frees almost everything by that; its collector is for cycles only, and runs after so many
new containers, whether or not anything was lost. A batch of Episodes is tens of thousands of containers that live until
it is written, so with Python's defaults a third of the time of a write went into looking at them again and again.
"""

from __future__ import annotations

import gc

YOUNG = 50_000
"""New containers, less those that were freed, between two looks at the young: a few MB at most are freed later."""
OLDER = 20
"""Looks at the younger between two at the older."""


def settle() -> None:
    """Once what lasts is loaded: leaves it out of every later look, and looks less often. For a process, not a library.

    What is unreachable by now is freed first. Undone by nothing: it is for processes that serve until they end.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, OLDER, OLDER)
