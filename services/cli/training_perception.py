"""`sapience train codec` and `sapience train concepts`: the small models of perception, trained in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cognition.latent.run import PanelOf, Progress, TrainingRun, interruptible
from core.errors import InvalidArgument
from services.cli import show
from services.cli.app import AsJson, print_json
from services.cli.training import Seed, Threads, train_app
from services.cli.training_setup import Device, bars, use_threads

METHODS = ("mse", "two-tower", "cross-entropy")

Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, as it was asked.")]
Steps = Annotated[int, typer.Option(min=0, help="Optimiser steps in place of minutes; 0: by minutes.")]


@train_app.command()
def codec(
    out: Annotated[Path, typer.Option("--out", help="The folder of the run.")] = Path("runs/codec"),
    minutes: Annotated[float, typer.Option(min=0.01, help="CPU minutes.")] = 5.0,
    steps: Steps = 0,
    dimensions: Annotated[int, typer.Option(min=16, help="Of the vectors; even.")] = 512,
    sentences: Annotated[int, typer.Option(min=1000, help="Sentences that are made to train on.")] = 120_000,
    resume: Resume = False,
    seed: Seed = 0,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train a codec: sentences into vectors, and the same sentences back.

    `sapience train codec --out runs/codec` takes 5 CPU minutes. Needs the extra `perception`.
    """
    use_threads(threads, Device.cpu)
    from perception.codec.training import Recipe, train

    if dimensions % 2:
        raise InvalidArgument(f"dimensions are {dimensions}; give an even number", field="dimensions")
    recipe = Recipe(seed, minutes * 60, steps, dimensions, sentences=sentences)
    if resume:
        recipe = Recipe(**TrainingRun.existing(out).config)
    with interruptible() as stop, bars() as told:
        run = TrainingRun.open(out, recipe.to_json(), resume=resume)

        def on_progress(done: int, whole: int, values: Mapping[str, float]) -> None:
            told(Progress(done, whole, values=values))

        result = train(recipe, run, stop=stop, on_progress=on_progress)
    run.plot(
        "Concept codec",
        [
            PanelOf("loss, in nats a piece", ["loss"]),
            PanelOf("to the letter, of held-out sentences", ["exact", "exact_with_noise"], percent=True),
        ],
        x="seconds",
    )
    if as_json:
        print_json({**asdict(result), "model": str(result.model)})
    elif result.finished:
        show.out.print(f"{result.exact:.1%} of held-out sentences come back to the letter")
        show.out.print(f"the model is in {result.model}, the curve in {run.folder / 'curriculum.svg'}")
    else:
        show.out.print(f"stopped after {result.steps} steps; go on with: sapience train codec --out {out} --resume")
    if not result.finished:
        raise typer.Exit(130)
