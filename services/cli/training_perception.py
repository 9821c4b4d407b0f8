"""`sapience train codec` and `sapience train concepts`: the small models of perception, trained in this process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cognition.latent.run import PanelOf, Progress, TrainingRun, interruptible
from core.errors import InvalidArgument
from perception.lcm.names import CONTEXTS, METHODS
from services.cli import show
from services.cli.app import AsJson, print_json
from services.cli.training import Seed, Threads, Where, train_app
from services.cli.training_setup import Device, bars, use_threads
from services.runtime.settings import load

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
    recipe = Recipe(seed, minutes * 60, steps, dimensions, sentences=sentences, validation=min(400, sentences // 20))
    if resume:
        kept = TrainingRun.existing(out).config
        if "sentences" not in kept:
            raise _another(out, "train codec")
        recipe = Recipe(**kept)
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


@train_app.command()
def concepts(
    method: Annotated[str, typer.Option(help=f"{', '.join(METHODS)}.")] = "cross-entropy",
    data: Annotated[
        str, typer.Option(help="stories, which are made here; or a folder or file of .jsonl or .txt documents.")
    ] = "stories",
    codec: Annotated[str, typer.Option(help="The address of the codec.")] = "models:concept-codec",
    out: Annotated[Path | None, typer.Option("--out", help="The folder of the run.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="CPU minutes, once the documents are encoded.")] = 5.0,
    steps: Steps = 0,
    documents: Annotated[int, typer.Option(min=10, help="Stories that are made to train on.")] = 6000,
    context: Annotated[str, typer.Option(help="whole; for controls shuffled or none.")] = "whole",
    width: Annotated[int, typer.Option(min=16, help="Width of the network.")] = 256,
    layers: Annotated[int, typer.Option(min=2, help="Layers of the network.")] = 3,
    resume: Resume = False,
    seed: Seed = 0,
    device: Where = Device.auto,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Train a concept model: it reads the vectors of sentences and foresees that of the next one.

    `sapience train concepts --method cross-entropy --out runs/concepts`

    `sapience train concepts --method two-tower --data FOLDER --minutes 30`

    `sapience bench lcm` compares the methods. Needs the extra `perception`.
    """
    place = use_threads(threads, device)
    from core.models import ModelAddress
    from perception.codec.codec import ConceptCodec
    from perception.lcm import documents as reading
    from perception.lcm.encoded import Encoded
    from perception.lcm.training import Recipe, train

    out = out or Path("runs") / f"concepts-{method}"
    if resume:
        kept = TrainingRun.existing(out).config
        if "recipe" not in kept or "codec" not in kept:
            raise _another(out, "train concepts")
        recipe, data, codec = Recipe(**kept["recipe"]), kept["data"], kept["codec"]
        documents = kept["documents"]
    else:
        if method not in METHODS or context not in CONTEXTS:
            raise InvalidArgument(
                f"{method!r} with context {context!r} is no method; give one of {', '.join(METHODS)}, and a context "
                f"of {', '.join(CONTEXTS)}",
                field="method",
            )
        recipe = Recipe(method, seed, minutes * 60, steps, width, layers, context=context)
        if data != reading.STORIES:
            data = str(Path(data).absolute())
    if data == reading.STORIES:
        told, checked = reading.made("train", documents), reading.made("validation", 256)
    else:
        told, checked = reading.read(Path(data), "train"), reading.read(Path(data), "validation")
    with interruptible() as stop, bars() as on_bars:
        kept_as = {"recipe": recipe.to_json(), "data": data, "codec": codec, "documents": documents}
        reader = ConceptCodec(ModelAddress.parse(codec, field="codec"), device="cpu", threads=threads)
        run = TrainingRun.open(out, kept_as, resume=resume)

        def on_progress(done: int, whole: int, values: Mapping[str, float]) -> None:
            on_bars(Progress(done, whole, values=values))

        result = train(
            recipe, Encoded(told, reader), Encoded(checked, reader), reader, run,
            device=place, stop=stop, on_progress=on_progress,
        )  # fmt: skip
    run.plot(f"Concept model, {recipe.method}", [PanelOf("loss", ["loss", "validation_loss"])], x="seconds")
    if as_json:
        print_json({**asdict(result), "model": str(result.model)})
    elif result.finished:
        show.out.print(f"loss {result.loss:.4f} on validation; the model is in {result.model}")
        its_codec = f"SAPIENCE_CODEC={codec} " if codec != load().codec else ""
        show.out.print(f"serve it with {its_codec}SAPIENCE_CONCEPT_MODELS=file:{result.model.absolute()}", style="dim")
    else:
        show.out.print(f"stopped after {result.steps} steps; go on with: sapience train concepts --out {out} --resume")
    if not result.finished:
        raise typer.Exit(130)


def _another(out: Path, command: str) -> InvalidArgument:
    return InvalidArgument(
        f"{out} holds a run of another command, and `sapience {command}` cannot go on with it; name its own run, or "
        "leave out --resume to begin one",
        field="out",
    )
