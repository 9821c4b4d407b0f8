"""Chains of small sums: assignments that build on one another, and what the last one comes to.

    x = 3 + 4; b = 9 - 2; y = x * 2; z = y - 5; z = ?
    steps  x = 3 + 4 = 7 | y = 7 * 2 = 14 | z = 14 - 5 = 9          answer  9

Every value is a whole number from 0 to `limit`. Assignments that the answer does not need stand among the others, and
the steps leave them out. The first operand of each step is the value before; the other one is a literal, so the chain
is as long as it looks and no step can be skipped.
"""

from __future__ import annotations

import functools
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass

from cognition.latent.tasks.base import SPLITS, Example, Split, same_answer
from core.errors import InvalidArgument

MOST_STEPS = 12


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Chains of 2 to `steps` steps, drawn by a seed; a question is in one split only.

    Raises InvalidArgument for steps outside 2 to 12, a limit below 9, fewer than no distractors, or an empty split.
    """

    seed: int = 0
    steps: int = 5
    distractors: int = 2
    limit: int = 99
    train: int = 20_000
    validation: int = 200
    test: int = 500

    def __post_init__(self) -> None:
        if not 2 <= self.steps <= MOST_STEPS:
            raise InvalidArgument(f"steps is {self.steps}; it goes from 2 to {MOST_STEPS}", field="steps")
        if not 0 <= self.distractors <= 10:
            raise InvalidArgument(f"distractors is {self.distractors}; it goes from 0 to 10", field="distractors")
        if self.limit < 9:
            raise InvalidArgument(f"limit is {self.limit}; the least is 9", field="limit")
        for split in SPLITS:
            if getattr(self, split) < 1:
                raise InvalidArgument(f"{split} is {getattr(self, split)}; each split has an example", field=split)

    @property
    def name(self) -> str:
        """See Task."""
        return "arithmetic"

    def examples(self, split: Split) -> Sequence[Example]:
        """See Task. A question that an earlier split drew too is drawn again."""
        return _examples(self, split)

    def correct(self, example: Example, generated: str) -> bool:
        """See Task."""
        return same_answer(example.answer, generated)


@functools.lru_cache(maxsize=6)
def _examples(task: Arithmetic, split: Split) -> Sequence[Example]:
    taken: set[str] = set()
    made: list[Example] = []
    for one in SPLITS[: SPLITS.index(split) + 1]:
        # A text as seed: Python hashes it the same in every process.
        draw = random.Random(f"arithmetic {task.seed} {one}")
        made = []
        while len(made) < getattr(task, one):
            example = _chain(draw, 2 + len(made) % (task.steps - 1), task)
            if example.question not in taken:
                taken.add(example.question)
                made.append(example)
    return tuple(made)


def _chain(draw: random.Random, length: int, task: Arithmetic) -> Example:
    names = draw.sample(string.ascii_lowercase, length + task.distractors)
    said: list[str] = []
    steps: list[str] = []
    value, before = draw.randint(0, min(9, task.limit)), ""
    for name in names[:length]:
        sign, other, result = _operation(draw, value, task.limit)
        said.append(f"{name} = {before or value} {sign} {other}")
        steps.append(f"{name} = {value} {sign} {other} = {result}")
        value, before = result, name
    for name in names[length:]:
        # Anywhere but at the end, on a literal or a name that stands before it.
        place = draw.randrange(len(said))
        first = draw.choice([str(draw.randint(0, 9)), *(line[0] for line in said[:place])])
        said.insert(place, f"{name} = {first} {draw.choice('+-*')} {draw.randint(0, 9)}")
    return Example("; ".join([*said, f"{names[length - 1]} = ?"]), tuple(steps), str(value))


def _operation(draw: random.Random, value: int, limit: int) -> tuple[str, int, int]:
    possible = [("+", other, value + other) for other in range(1, 10)]
    possible += [("-", other, value - other) for other in range(1, 10)]
    possible += [("*", other, value * other) for other in range(2, 10)] if value else []
    fitting = [one for one in possible if 0 <= one[2] <= limit]
    sign = draw.choice(sorted({one[0] for one in fitting}))
    return draw.choice([one for one in fitting if one[0] == sign])
