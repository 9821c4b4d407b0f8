"""Ways of thinking, trained with the same budget and asked the same questions: what latent thoughts are worth.

Each method gets the same model to begin from, the same data in the same order, as many epochs, and the same minutes:
where minutes are set, each sees as many examples as they allow it. The test split is answered once, by the best model
of the last stage on the validation split, with the controls of its thoughts beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cognition.latent.answering import Thoughts
from cognition.latent.budget import fitted
from cognition.latent.curriculum import FED_BACK, MARKED, Mode
from cognition.latent.run import OnProgress, StopRequest, TrainingRun
from cognition.latent.settings import Settings
from cognition.latent.tasks.base import Task
from cognition.latent.thinking import clock
from cognition.latent.trainer import Trainer

METHODS: tuple[Mode, ...] = ("coconut", "pause", "cot", "no-cot")


@dataclass(frozen=True, slots=True)
class Compared:
    """One method's row. Tokens and thoughts are means per answer; milliseconds of one answer in batches."""

    method: str
    accuracy: float
    tokens: float
    thoughts: float
    milliseconds: float
    train_seconds: float
    examples: int
    """Seen in training, all epochs together."""


def compare(
    settings: Settings,
    task: Task,
    folder: Path,
    *,
    cache_dir: Path,
    device: str,
    minutes: float = 0.0,
    methods: Sequence[Mode] = METHODS,
    tested: int = 0,
    stop: StopRequest | None = None,
    on_method: Callable[[Mode], OnProgress | None] = lambda _: None,
) -> list[Compared]:
    """Trains each method in a folder of its own and answers `tested` examples of the test split (0: all).

    A method whose folder holds a run is resumed, so a comparison that was stopped goes on. Ends early, with the rows so
    far, when it is asked to stop.
    """
    rows: list[Compared] = []
    for mode in methods:
        asked = replace(settings, curriculum=replace(settings.curriculum, mode=mode))
        place = folder / mode
        resume = (place / "config.json").is_file()
        if resume:
            asked = Settings.from_json(TrainingRun(place).config)
        elif minutes:
            asked = fitted(asked, task, minutes, cache_dir=cache_dir, device=device)
        run = TrainingRun.open(place, asked.to_json(), resume=resume, on_progress=on_method(mode))
        started = clock(device)
        trainer = Trainer(asked, task, run, cache_dir=cache_dir, device=device)
        if not trainer.train(stop or StopRequest()).finished:
            break
        seconds = clock(device) - started
        trainer.use_best()
        examples = (asked.examples or len(trainer.data("train")[0])) * asked.curriculum.epochs
        uses: list[Thoughts] = ["trained"]
        uses += ["zero"] if mode in MARKED else []
        uses += ["pause"] if mode in FED_BACK else []
        for use in uses:
            found = trainer.answers("test", asked.curriculum.last_stage, use, most=tested)
            name = mode if use == "trained" else f"{mode}, {'none' if use == 'zero' else 'pause'}"
            rows.append(
                Compared(
                    name,
                    found.accuracy,
                    found.tokens,
                    found.thoughts,
                    1000 * found.seconds / len(found.texts),
                    seconds,
                    examples,
                )
            )
    return rows
