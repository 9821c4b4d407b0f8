"""Tasks by name, as the command line asks for them: a name, with numbers for its settings or without, or a file."""

from __future__ import annotations

import importlib
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from cognition.latent.tasks.arithmetic import Arithmetic
from cognition.latent.tasks.base import Task
from cognition.latent.tasks.jsonl import JsonLines
from cognition.latent.tasks.prontoqa import ProntoQA
from core.errors import InvalidArgument, NotYet

NAMES = ("prosqa", "prontoqa", "arithmetic")


def named(text: str, *, seed: int = 0, validation: Path | None = None, test: Path | None = None) -> Task:
    """A task of `NAMES`, or the file at a path that ends in .json or .jsonl, with files for its other splits or not.

    A name may be followed by settings of its class that are whole numbers: `prontoqa:hops=3`,
    `arithmetic:steps=3,limit=20`. Raises InvalidArgument for what is neither, and what reading a file raises.
    """
    if text.endswith((".json", ".jsonl")):
        return JsonLines(Path(text), validation, test, seed=seed)
    name, _, told = text.partition(":")
    if name not in NAMES:
        raise InvalidArgument(
            f"{text!r} is no task; give {', '.join(NAMES)}, or a file that ends in .json or .jsonl", field="task"
        )
    kind: Any = {"prontoqa": ProntoQA, "arithmetic": Arithmetic}.get(name) or _prosqa()
    task: Task = kind(**{"seed": seed, **_numbers(name, told, kind)})
    return task


def _numbers(name: str, told: str, kind: Any) -> dict[str, int]:
    known = [one.name for one in fields(kind)] if is_dataclass(kind) else []
    numbers = {}
    for part in told.split(",") if told else ():
        key, _, value = part.partition("=")
        if key.strip() not in known or not value.strip().isdecimal():
            raise InvalidArgument(
                f"{part!r} sets nothing of {name}; write one of {', '.join(known)}, =, and a whole number", field="task"
            )
        numbers[key.strip()] = int(value)
    return numbers


def _prosqa() -> Any:
    try:
        return importlib.import_module("cognition.latent.tasks.prosqa").ProsQA
    except ModuleNotFoundError:
        raise NotYet("this version cannot make ProsQA; give a file of it as the task") from None
