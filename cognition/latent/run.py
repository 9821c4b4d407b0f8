"""The folder of a training run: what it was asked, what it measured, and where it can go on.

    config.json       what the run was asked to do, written once; a resumed run has to ask the same
    metrics.jsonl     one JSON object a line, with at least `step`; appended as the run goes
    checkpoint.pt     the state to go on from; written beside and renamed, so that it is whole or the one before
    curriculum.svg    the lines of metrics.jsonl, drawn

A run that is killed goes on from its last checkpoint as if it had never stopped: the trainer keeps model, optimiser,
its place in the data and the states of all generators in the checkpoint, and `TrainingRun` cuts off the metrics
written after it. A folder belongs to one process at a time; nothing here locks it.
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from cognition.latent.chart import Line, Mark, Panel, draw
from core.errors import AlreadyExists, FailedPrecondition, NotFound

CONFIG, METRICS, CHECKPOINT, CHART = "config.json", "metrics.jsonl", "checkpoint.pt", "curriculum.svg"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is, for whoever shows it. Counts are of what is done."""

    step: int
    steps: int
    """Optimiser steps in all; 0 where that is not known."""
    phase: str = ""
    """What the smaller of two bars is about, such as "stage 2, epoch 3"."""
    phase_done: int = 0
    phase_steps: int = 0
    values: Mapping[str, float] = field(default_factory=dict)
    """The latest figures, such as the loss."""


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class PanelOf:
    """A panel of the chart: a title and the fields of metrics.jsonl whose lines it shows."""

    title: str
    fields: Sequence[str]
    percent: bool = False


class StopRequest:
    """Whether the run was asked to end. Read `requested` between steps; setting it asks."""

    def __init__(self) -> None:
        self.requested = False


class TrainingRun:
    """One run's folder. Made by `TrainingRun.open`."""

    def __init__(self, folder: Path, on_progress: OnProgress | None = None) -> None:
        self.folder = folder
        self._on_progress = on_progress

    @classmethod
    def open(
        cls,
        folder: Path,
        config: Mapping[str, Any],
        *,
        resume: bool = False,
        may_change: Sequence[str] = (),
        on_progress: OnProgress | None = None,
    ) -> TrainingRun:
        """Begins a run in a folder, which is made, or goes on with the one that is there.

        `config` is anything JSON can hold. Its top fields in `may_change` may differ on resume; the new ones are kept.

        Raises AlreadyExists (RUN_EXISTS) where a run is in the folder and `resume` is not set, NotFound
        (RUN_NOT_FOUND) where there is none to resume, FailedPrecondition (RUN_DIFFERS) where it was asked otherwise.
        """
        path = folder / CONFIG
        asked = json.loads(json.dumps(config))
        if resume:
            kept = cls.existing(folder).config
            for name in sorted({*kept, *asked} - set(may_change)):
                if kept.get(name) != asked.get(name):
                    raise FailedPrecondition(
                        f"the run in {folder} has {name} = {kept.get(name)!r}, and {asked.get(name)!r} was asked; "
                        "resume it with the same, or begin a run in another folder",
                        reason="RUN_DIFFERS",
                        field=name,
                    )
        elif path.exists():
            raise AlreadyExists(
                f"{folder} holds a run already; resume it with --resume, or name another folder",
                reason="RUN_EXISTS",
                field="out",
            )
        folder.mkdir(parents=True, exist_ok=True)
        _replace(path, json.dumps(asked, indent=2, ensure_ascii=False) + "\n")
        return cls(folder, on_progress)

    @classmethod
    def existing(cls, folder: Path) -> TrainingRun:
        """The run in a folder, whatever it was asked. Raises NotFound (RUN_NOT_FOUND)."""
        if not (folder / CONFIG).is_file():
            raise NotFound(
                f"{folder} holds no run to resume: there is no {CONFIG} in it; leave out --resume to begin one",
                reason="RUN_NOT_FOUND",
                field="out",
            )
        return cls(folder)

    @property
    def config(self) -> dict[str, Any]:
        """What the run was asked."""
        asked: dict[str, Any] = json.loads((self.folder / CONFIG).read_text())
        return asked

    def log(self, step: int, **values: float | int | str | None) -> None:
        """Appends one row of figures. Values of a row are flat; None is left out."""
        row = {"step": step} | {name: value for name, value in values.items() if value is not None}
        with (self.folder / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All rows so far; a last line that a kill cut short is left out."""
        path = self.folder / METRICS
        if not path.is_file():
            return []
        rows: list[dict[str, Any]] = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def progress(self, progress: Progress) -> None:
        """Tells whoever shows the run where it is."""
        if self._on_progress is not None:
            self._on_progress(progress)

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Keeps a state to go on from: tensors, numbers, text, lists and dictionaries of them.

        The generators of Python and torch, on the CPU and on GPUs, are kept with it.
        """
        import torch

        target = self.folder / CHECKPOINT
        beside = target.with_suffix(".part")
        with beside.open("wb") as file:
            torch.save({"step": step, "state": dict(state), "generators": _generators()}, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)

    def restore(self, *, device: str = "cpu") -> tuple[int, dict[str, Any]] | None:
        """The step and state of the last checkpoint; None where there is none yet.

        Sets the generators back and drops the metrics that were logged after it, so that what follows is what would
        have followed. Raises FailedPrecondition (CHECKPOINT_BROKEN) for a file that cannot be read.
        """
        import torch

        path = self.folder / CHECKPOINT
        if not path.is_file():
            self._keep_metrics_to(-1)
            return None
        try:
            # weights_only: a checkpoint is data and never runs code, whoever sent the folder.
            kept = torch.load(path, map_location=device, weights_only=True)
            step, state = int(kept["step"]), kept["state"]
            _set_generators(kept["generators"])
        except Exception as error:  # a broken file raises whatever the unpickler meets first
            raise FailedPrecondition(
                f"{path} cannot be read ({type(error).__name__}: {error}); delete it to begin the run anew",
                reason="CHECKPOINT_BROKEN",
                field="out",
            ) from error
        self._keep_metrics_to(step)
        return step, state

    def plot(self, title: str, panels: Sequence[PanelOf], *, stage: str = "stage", x: str = "step") -> Path:
        """Draws fields of the metrics over a field of them, with a mark wherever the field `stage` changes."""
        rows = [row for row in self.metrics() if x in row]
        marks: list[Mark] = []
        for before, row in zip([{}, *rows], rows, strict=False):
            if stage in row and row[stage] != before.get(stage, row[stage] if before else None):
                marks.append(Mark(float(row[x]), f"{stage} {row[stage]}"))
        drawn = []
        for panel in panels:
            lines = []
            for name in panel.fields:
                points = [(float(row[x]), float(row[name])) for row in rows if isinstance(row.get(name), int | float)]
                if points:
                    lines.append(Line(name.replace("_", " "), points, dots=len(points) <= 60))
            drawn.append(Panel(panel.title, lines, (0.0, 1.0) if panel.percent else None, panel.percent))
        path = self.folder / CHART
        _replace(path, draw(title, drawn, x_label=x.replace("_", " "), marks=marks))
        return path

    def _keep_metrics_to(self, step: int) -> None:
        path = self.folder / METRICS
        if path.is_file():
            rows = [row for row in self.metrics() if row["step"] <= step]
            _replace(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextmanager
def interruptible() -> Iterator[StopRequest]:
    """While it lasts, a first Ctrl-C or SIGTERM only asks the run to stop; a second ends it at once.

    Off the main thread, where Python sets no signal handlers, the request can only be made by its owner.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if request.requested:
            raise KeyboardInterrupt
        request.requested = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(path.name + ".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def _generators() -> dict[str, Any]:
    import torch

    version, words, gauss = random.getstate()
    return {
        "python": [version, list(words), gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_generators(kept: Mapping[str, Any]) -> None:
    import torch

    version, words, gauss = kept["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(kept["torch"].cpu())
    if kept["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([state.cpu() for state in kept["cuda"]])
