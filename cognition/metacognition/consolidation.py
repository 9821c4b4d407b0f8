"""When to dream: of which namespace, once it is at rest and enough is new in it.

A namespace is at rest when nothing was told in it for a while, as far as whoever looks has seen: after a start it has
to be at rest for that long again. What is new is counted from the last Dream. One that waits for approval, or is at
work, keeps the next one from beginning, and a failure keeps it off for a time that doubles with each.

Pure: no clock, no task, no lock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

FIRST_BACKOFF_S = 60.0
LONGEST_BACKOFF_S = 3600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A namespace at one look."""

    namespace: str
    changes: tuple[int, ...]
    """Counts that change when something is told, whatever they count."""
    new: int
    """Episodes since the last Dream."""
    busy: bool = False
    """Whether a Dream is at work or waits for approval."""


@dataclass(slots=True)
class _Watched:
    changes: tuple[int, ...]
    since: float
    failures: int = 0
    not_before: float = 0.0


class Schedule:
    """Looks at namespaces again and again, and says which is due. Times are seconds of one monotonic clock."""

    def __init__(self, idle_s: float, least_new: int) -> None:
        """A namespace is due after `idle_s` at rest, with at least `least_new` Episodes that no Dream has seen."""
        self._idle_s = idle_s
        self._least_new = least_new
        self._watched: dict[str, _Watched] = {}

    def due(self, seen: Collection[Seen], now: float) -> str:
        """The namespace with the most that is new of those that are due; empty where none is."""
        known = {one.namespace for one in seen}
        self._watched = {name: watched for name, watched in self._watched.items() if name in known}
        ready = [one for one in seen if self._ready(one, now)]
        return min(ready, key=lambda one: (-one.new, one.namespace)).namespace if ready else ""

    def failed(self, namespace: str, now: float) -> float:
        """Keeps off a namespace whose Dream failed; for how many seconds."""
        watched = self._watched.setdefault(namespace, _Watched((), now))
        wait = min(FIRST_BACKOFF_S * 2.0**watched.failures, LONGEST_BACKOFF_S)
        watched.failures += 1
        watched.not_before = now + wait
        return wait

    def succeeded(self, namespace: str) -> None:
        """Forgets its failures."""
        if namespace in self._watched:
            self._watched[namespace].failures = 0

    def _ready(self, seen: Seen, now: float) -> bool:
        watched = self._watched.get(seen.namespace)
        if watched is None:
            watched = self._watched[seen.namespace] = _Watched(seen.changes, now)
        elif watched.changes != seen.changes:
            watched.changes, watched.since = seen.changes, now
        rested = now - watched.since >= self._idle_s
        return rested and not seen.busy and seen.new >= self._least_new and now >= watched.not_before
