"""The contract of a task: examples of a question, the steps to its answer, and the answer, in three splits.

No torch here and in no task: an example is text. What becomes of its steps is the curriculum's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its chain of thought.

    `steps` are in the order in which they follow from one another, each of its own; `details` holds what a task knows
    beside the text, such as a graph, and is read by that task's own code only.
    """

    question: str
    steps: tuple[str, ...]
    answer: str
    details: Any = field(default=None, compare=False, repr=False)


class Task(Protocol):
    """A source of examples. The same settings and seed give the same examples; no example is in two splits."""

    @property
    def name(self) -> str:
        """A word for folders and tables."""
        ...

    def examples(self, split: Split) -> Sequence[Example]:
        """All examples of a split."""
        ...

    def __hash__(self) -> int:
        """Examples are kept by task: a frozen dataclass is hashed by its settings, another task by itself."""
        ...

    def correct(self, example: Example, generated: str) -> bool:
        """Whether a generated answer counts as right."""
        ...


def same_answer(expected: str, generated: str) -> bool:
    """Equal but for white space, case and a full stop at the end; of numbers, commas between digits are no matter."""
    return _plain(expected) == _plain(generated)


def _plain(text: str) -> str:
    words = " ".join(text.split()).rstrip(".").casefold()
    digits = words.replace(",", "")
    return digits if digits.lstrip("-").replace(".", "", 1).isdigit() else words
