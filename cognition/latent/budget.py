"""What fits into minutes: how many examples an epoch may have, by measuring a few steps of each stage.

Steps of every stage are timed on a trainer that is thrown away, and one evaluation, so that the run itself begins as it
would have begun. Minutes are those of `cognition.latent.thinking.clock`.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from cognition.latent.run import TrainingRun
from cognition.latent.settings import Settings
from cognition.latent.tasks.base import Task
from cognition.latent.thinking import clock
from cognition.latent.trainer import Trainer

SHARE_OF_ANSWERS = 0.2
"""Of the minutes, for evaluation; fewer examples are answered where it takes more, down to the fewest."""
FEWEST_ANSWERS = 32
TIMED_STEPS = 2
"""Of each stage, after one that warms up."""


def fitted(settings: Settings, task: Task, minutes: float, *, cache_dir: Path, device: str) -> Settings:
    """Settings with `examples` and `evaluated` such that a run takes about so many minutes.

    An epoch has at least one step, so a run of many epochs may take longer than a fraction of a minute.
    """
    curriculum = settings.curriculum
    with tempfile.TemporaryDirectory() as folder:
        probe = replace(settings, examples=(TIMED_STEPS + 1) * settings.batch)
        trainer = Trainer(probe, task, TrainingRun(Path(folder)), cache_dir=cache_dir, device=device)
        count = len(trainer.data("train")[0])
        per_example = {}
        for epoch in range(curriculum.epochs):
            stage = curriculum.stage(epoch)
            if stage not in per_example:
                per_example[stage] = _timed(trainer, epoch, device)
        started = clock(device)
        trainer.answers("validation", 0)
        one_answer = (clock(device) - started) / len(trainer.data("validation")[0])
    training = sum(per_example[curriculum.stage(epoch)] for epoch in range(curriculum.epochs))
    share = SHARE_OF_ANSWERS * minutes * 60 / curriculum.epochs
    evaluated = min(settings.evaluated, max(FEWEST_ANSWERS, int(share / one_answer)))
    left = max(minutes * 60 - evaluated * one_answer * curriculum.epochs, 0.0)
    batches = max(1, round(left / training / settings.batch))
    return replace(settings, examples=min(batches * settings.batch, count), evaluated=evaluated)


def _timed(trainer: Trainer, epoch: int, device: str) -> float:
    """Seconds an example of an epoch."""
    trainer.epoch = epoch
    first, *others = trainer.batches(epoch)
    trainer.take_step(first)
    started = clock(device)
    for places in others:
        trainer.take_step(places)
    examples = sum(map(len, others))
    return (clock(device) - started) / examples if examples else 0.0
