"""How `sapience train` becomes settings: configs, budgets, flags; and the bars that show a run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cognition.latent.curriculum import MODES, Mode
from cognition.latent.settings import Budget, Settings, with_budget
from core.errors import InvalidArgument
from services.cli import show
from services.cli.app import say
from services.runtime.settings import load

if TYPE_CHECKING:
    from cognition.latent.run import OnProgress, Progress
    from cognition.latent.tasks.base import Task


class Device(StrEnum):
    """Where a run computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


def asked(
    begun: Settings | None,
    task: str,
    model: str,
    mode: str,
    budget: str,
    *,
    seed: int,
    curriculum: dict[str, Any],
    others: dict[str, Any],
) -> Settings:
    """Settings from a config or the defaults, then a budget's, then what was given one by one."""
    settings = begun or Settings(task="prosqa", model="new:4x256")
    given: dict[str, Any] = {name: value for name, value in {"task": task, "model": model}.items() if value}
    if task.endswith((".json", ".jsonl")):
        given["task"] = str(Path(task).absolute())  # a run is resumed from anywhere
    staged = {name: value for name, value in curriculum.items() if value is not None}
    if mode:
        staged["mode"] = mode_of(mode)
    # What a budget derives from, such as the number of stages, comes before it; what it sets may be set anew.
    settings = replace(settings, seed=seed, curriculum=replace(settings.curriculum, **staged), **given)
    if budget:
        settings = with_budget(settings, cast(Budget, budget))
    return replace(
        settings,
        curriculum=replace(settings.curriculum, **staged),
        **{name: value for name, value in others.items() if value is not None},
    )


def mode_of(name: str) -> Mode:
    for mode in MODES:
        if mode == name:
            return mode
    raise InvalidArgument(f"{name!r} is no method; give some of {', '.join(MODES)}", field="mode")


def use_threads(threads: int, device: Device) -> str:
    import torch

    from cognition.latent.trainer import device_of

    torch.set_num_threads(threads or load().threads or torch.get_num_threads())
    return device_of(device.value)


def fit(settings: Settings, task: Task, minutes: float, cache: Path, device: str) -> Settings:
    from cognition.latent.budget import fitted

    settings = fitted(settings, task, minutes, cache_dir=cache, device=device)
    say(f"{settings.examples} examples in each of {settings.curriculum.epochs} epochs")
    return settings


def named_config(config: str) -> Path:
    path = Path(config)
    if path.suffix == ".json" or path.is_file():
        return path
    for one in built_in():
        if one.name == f"{config}.json":
            return one
    raise InvalidArgument(
        f"there is no config {config!r}; `sapience train configs` lists those that are built in", field="config"
    )


def built_in() -> Iterator[Path]:
    folder = resources.files("cognition.latent") / "configs"
    return (Path(str(one)) for one in folder.iterdir() if one.name.endswith(".json"))


def read_config(path: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidArgument(f"{path} is not there", field="config") from None
    except ValueError as error:
        raise InvalidArgument(f"{path} is no JSON: {error}", field="config") from None
    return told


@contextmanager
def bars() -> Iterator[OnProgress]:
    """Two bars: the run, and the epoch. Nothing where standard error is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"), console=show.err, transient=True, disable=not show.err.is_terminal,
    )  # fmt: skip
    whole, phase = (bars.add_task(name, total=None, figures="") for name in ("run", ""))

    def tell(progress: Progress) -> None:
        figures = "  ".join(f"{name} {value:.3f}" for name, value in progress.values.items())
        bars.update(whole, completed=progress.step, total=progress.steps or None, figures=figures)
        bars.update(phase, completed=progress.phase_done, total=progress.phase_steps, description=progress.phase)

    with bars:
        yield tell


def titled(mode: str, tell: OnProgress) -> OnProgress:
    return lambda progress: tell(replace(progress, phase=f"{mode}: {progress.phase}"))
