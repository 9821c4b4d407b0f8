"""Tasks by name, as the command line asks for them."""

from __future__ import annotations

import importlib
from pathlib import Path

from cognition.latent.tasks.arithmetic import Arithmetic
from cognition.latent.tasks.base import Task
from cognition.latent.tasks.jsonl import JsonLines
from cognition.latent.tasks.prontoqa import ProntoQA
from core.errors import InvalidArgument, NotYet

NAMES = ("prosqa", "prontoqa", "arithmetic")


def named(name: str, *, seed: int = 0, validation: Path | None = None, test: Path | None = None) -> Task:
    """A task of `NAMES`, or the file at a path that ends in .json or .jsonl, with files for its other splits or not.

    Raises InvalidArgument for a name that is neither, and what reading a file raises.
    """
    if name == "prontoqa":
        return ProntoQA(seed=seed)
    if name == "arithmetic":
        return Arithmetic(seed=seed)
    if name == "prosqa":
        return _prosqa(seed)
    if name.endswith((".json", ".jsonl")):
        return JsonLines(Path(name), validation, test, seed=seed)
    raise InvalidArgument(
        f"{name!r} is no task; give {', '.join(NAMES)}, or a file that ends in .json or .jsonl", field="task"
    )


def _prosqa(seed: int) -> Task:
    try:
        module = importlib.import_module("cognition.latent.tasks.prosqa")
    except ModuleNotFoundError:
        raise NotYet("this version cannot make ProsQA; give a file of it as the task") from None
    task: Task = module.ProsQA(seed=seed)
    return task
