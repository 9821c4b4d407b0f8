"""Which rows are computed in the next step: a pure function over plain data, with no model and no clock.

Prompt rows, latent steps and tokens are the same thing here: a Thought has so many rows that wait, and a step takes
some of them. The rules, in this order:

1. Who computes goes on. Of Thoughts that hold a slot, those with one row waiting (they think or speak) come first, then
   those that are still read, by rank. A step takes at most `rows` rows, so a long prompt is read in chunks beside
   others that speak, and no more than `chunk` rows of one Thought.
2. A free slot goes to the best of those that wait: by priority, then to the share (a namespace) that was served least,
   then to the older one.
3. Where no slot is free and one that waits has a higher priority than one that computes, the lowest of those gives its
   slot up: the youngest of the lowest priority. What it has computed may be lost; its rows are not.

Fairness between shares holds at every level: among equals in priority, fewer rows served so far comes first. A share
that was away does not come back with a credit: see `Ledger`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Entry:
    """A Thought as the scheduler sees it."""

    id: int
    waiting: int
    """Rows that could be computed now; 0 where something else has to happen first."""
    priority: int = 0
    share: str = ""
    arrival: int = 0
    """The order in which they came; smaller is older."""
    indivisible: bool = False
    """Whether its rows have to be computed in one step (a round of the mode `jacobi`)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one step may take."""

    slots: int
    rows: int
    """Rows of all Thoughts together. At least `slots`, so that all that speak do so in every step."""
    chunk: int
    """Rows of one Thought."""

    def __post_init__(self) -> None:
        if self.slots < 1 or self.chunk < 1 or self.rows < self.slots:
            raise ValueError(f"{self} holds no step: give 1 slot or more, a chunk of 1 or more, and rows >= slots")


@dataclass(frozen=True, slots=True)
class Plan:
    """One step."""

    preempted: tuple[int, ...] = ()
    """Give up their slots, and wait."""
    admitted: tuple[int, ...] = ()
    """Get a slot. How many of their rows the slot holds already turns out then, so their rows come in a later step."""
    work: tuple[tuple[int, int], ...] = ()
    """Ids and how many rows of each."""


def schedule(
    running: Sequence[Entry], waiting: Sequence[Entry], limits: Limits, served: Mapping[str, float] | None = None
) -> Plan:
    """Plans one step. `served` says how many rows each share has had; a share that is not in it has had none."""
    served = served or {}
    free = limits.slots - len(running)
    queue = sorted(waiting, key=lambda entry: _rank(entry, served))
    admitted, preempted = [], []
    kept = sorted(running, key=lambda entry: (entry.priority, -entry.arrival))
    given: dict[str, int] = {}
    while queue:
        if free > 0:
            free -= 1
        elif kept and kept[0].priority < max(entry.priority for entry in queue):
            preempted.append(kept.pop(0).id)
        else:
            break
        # One that is admitted now counts as served next, so that one share's queue does not take all slots at once.
        best = min(queue, key=lambda entry: (-entry.priority, given.get(entry.share, 0), *_rank(entry, served)[1:]))
        queue.remove(best)
        given[best.share] = given.get(best.share, 0) + 1
        admitted.append(best.id)
    return Plan(tuple(preempted), tuple(admitted), tuple(_work(kept, limits, served)))


def _work(running: Sequence[Entry], limits: Limits, served: Mapping[str, float]) -> list[tuple[int, int]]:
    left = limits.rows
    work = []
    ready = sorted((entry for entry in running if entry.waiting), key=lambda entry: _rank(entry, served))
    for entry in ready:
        if entry.waiting == 1 and left > 0:
            work.append((entry.id, 1))
            left -= 1
    for entry in ready:
        if entry.waiting == 1 or left <= 0:
            continue
        if entry.indivisible:
            # Never larger than a step: who makes the entry sees to that. An empty step takes it in any case.
            if entry.waiting <= left or not work:
                work.append((entry.id, entry.waiting))
                left -= entry.waiting
            continue
        count = min(entry.waiting, limits.chunk, left)
        work.append((entry.id, count))
        left -= count
    return work


def _rank(entry: Entry, served: Mapping[str, float]) -> tuple[int, float, int]:
    return -entry.priority, served.get(entry.share, 0.0), entry.arrival


@dataclass(slots=True)
class Ledger:
    """How many rows each share has had, as start-time fair queueing counts it (Goyal et al. 1996, section 2).

    A share that comes, or comes back, begins where the least served of those at work stands: it is neither owed what
    it did not ask for, nor behind.
    """

    served: dict[str, float] = field(default_factory=dict)

    def note(self, share: str, rows: int) -> None:
        """Rows of a share were computed."""
        self.served[share] = self.served.get(share, 0.0) + rows

    def keep(self, at_work: Sequence[str]) -> None:
        """Forgets shares that have nothing here, and lets new ones begin with the others."""
        present = set(at_work)
        floor = min((value for share, value in self.served.items() if share in present), default=0.0)
        self.served = {share: self.served.get(share, floor) for share in present}
