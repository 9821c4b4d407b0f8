"""Examples from a file: JSON Lines, or one JSON list, of objects with `question`, `steps` and `answer`.

    {"question": "…", "steps": ["…", "…"], "answer": "…"}

The ProsQA, ProntoQA and GSM8k-Aug files of the Coconut repository are such lists and are read as they are. `steps` may
be a list of texts or one text with a step on each line; `answer` may be a number; other fields become
`Example.details`. Files end in .json for a list and in anything else for lines, white lines are skipped, and the whole
file is read into memory.

Where validation and test have no file of their own, each is a share of the training file, held out by the seed.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cognition.latent.tasks.base import Example, Split, same_answer
from core.errors import InvalidArgument, NotFound

HELD_OUT = 0.05
"""The share of the training file that validation, and test, hold out where they have no file."""
MOST_HELD_OUT = 500


class JsonLines:
    """A task of one to three files."""

    def __init__(self, train: Path, validation: Path | None = None, test: Path | None = None, *, seed: int = 0) -> None:
        """Reads the files. Raises NotFound for one that is not there, and what `read` raises."""
        self._name = train.stem
        examples = read(train)
        order = random.Random(f"{seed} held out").sample(range(len(examples)), len(examples))
        share = min(MOST_HELD_OUT, int(len(examples) * HELD_OUT))
        self._splits: dict[Split, list[Example]] = {}
        for split, path in (("validation", validation), ("test", test)):
            if path is not None:
                self._splits[split] = read(path)  # type: ignore[index]
                continue
            if not share:
                raise InvalidArgument(
                    f"{train} has {len(examples)} examples, too few to hold {split} out of; name a file for {split}",
                    field=split,
                )
            self._splits[split] = [examples[index] for index in order[:share]]  # type: ignore[index]
            order = order[share:]
        self._splits["train"] = [examples[index] for index in sorted(order)]

    @property
    def name(self) -> str:
        """See Task."""
        return self._name

    def examples(self, split: Split) -> Sequence[Example]:
        """See Task."""
        return self._splits[split]

    def correct(self, example: Example, generated: str) -> bool:
        """See Task."""
        return same_answer(example.answer, generated)


def read(path: Path) -> list[Example]:
    """The examples of one file.

    Raises NotFound where it is not, and InvalidArgument naming the line (or the item of a list) and the field at fault.
    """
    if not path.is_file():
        raise NotFound(
            f"{path} is no file; name one of JSON Lines, or a JSON list", reason="FILE_NOT_FOUND", field="task"
        )
    text = path.read_bytes()
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise InvalidArgument(f"{path} line {line}: no UTF-8; save the file as UTF-8", field="task") from None
    rows = _items(path, decoded) if path.suffix == ".json" else _lines(path, decoded)
    examples = [_example(where, row) for where, row in rows]
    if not examples:
        raise InvalidArgument(f"{path} holds no example", field="task")
    return examples


def _items(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        rows = json.loads(text)
    except ValueError as error:
        raise InvalidArgument(f"{path}: no JSON ({error}); for JSON Lines name it .jsonl", field="task") from None
    if not isinstance(rows, list):
        raise InvalidArgument(f"{path} holds a JSON {_kind(rows)}; a .json file is a list of objects", field="task")
    return ((f"{path} item {number}", row) for number, row in enumerate(rows, 1))


def _lines(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    # Not splitlines(): a text may hold U+2028 and its like, which JSON lets stand unescaped.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            yield f"{path} line {number}", json.loads(line)
        except ValueError as error:
            raise InvalidArgument(f"{path} line {number}: no JSON ({error})", field="task") from None


def _example(where: str, row: Any) -> Example:
    if not isinstance(row, dict):
        raise InvalidArgument(f"{where}: a JSON {_kind(row)}; each example is an object", field="task")

    def text(name: str) -> str:
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and name == "answer":
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            raise _wrong(where, name, value, "a text")
        return value.strip()

    steps = row.get("steps")
    if isinstance(steps, str):
        steps = [line for line in steps.splitlines() if line.strip()]
    if not isinstance(steps, list) or not all(isinstance(step, str) and step.strip() for step in steps):
        raise _wrong(where, "steps", row.get("steps"), "a list of texts")
    details = {name: value for name, value in row.items() if name not in ("question", "steps", "answer")}
    return Example(text("question"), tuple(step.strip() for step in steps), text("answer"), details or None)


def _wrong(where: str, name: str, value: Any, wanted: str) -> InvalidArgument:
    shown = "missing" if value is None else f"{value!r}"[:80]
    return InvalidArgument(f"{where}: {name} is {shown}; it has to be {wanted}", field=name)


def _kind(value: Any) -> str:
    return {dict: "object", list: "list", str: "text", bool: "boolean", type(None): "null"}.get(type(value), "number")
