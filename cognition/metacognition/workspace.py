"""The workspace: modules compete with items, the most salient win, and what won is broadcast to all.

After the global workspace theory (Baars, 1988): a small buffer that everybody can read and few can write to at once.
Pure: no clock, no task, no lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

from core.clock import Micros

WINNERS = 4
"""How many items one competition lets in: about what a listener can follow at once (Cowan, 2001)."""


@dataclass(frozen=True, slots=True)
class Item:
    """Something a module wants everybody to know. `seq` and `at` are given when it wins."""

    module: str
    salience: float
    text: str
    seq: int = 0
    at: Micros = 0


class Workspace:
    """The last `capacity` winners, in order."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[Item] = deque(maxlen=capacity)
        self._seq = 0

    @property
    def seq(self) -> int:
        """The number of the last winner."""
        return self._seq

    def compete(self, items: Iterable[Item], at: Micros) -> list[Item]:
        """Lets the most salient in, ties by module and text; returns the winners, numbered."""
        ranked = sorted(items, key=lambda item: (-item.salience, item.module, item.text))
        winners = []
        for item in ranked[:WINNERS]:
            self._seq += 1
            winners.append(replace(item, seq=self._seq, at=at))
        self._items.extend(winners)
        return winners

    def since(self, seq: int) -> list[Item]:
        """The winners after that number that are still here, in order."""
        return [item for item in self._items if item.seq > seq]
