"""`sapience train patches`: a byte model that cuts bytes into patches, from any texts. Computes in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.errors import InvalidArgument
from core.models import ModelAddress
from services.cli import show
from services.cli.app import AsJson, print_json
from services.cli.training import train_app


@train_app.command()
def patches(
    texts: Annotated[list[Path], typer.Argument(help="Files of any bytes, 10 KB to 32 MiB in all.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to make.")] = Path("byte-model"),
    calibrate: Annotated[
        list[Path] | None,
        typer.Option(help="Calibrate on this file and not on a part of the texts; may be given several times."),
    ] = None,
    order: Annotated[int, typer.Option(min=1, max=7, help="Bytes of the longest context.")] = 6,
    contexts: Annotated[int, typer.Option(min=0, help="Contexts to keep, those that say most; 0: all.")] = 250_000,
    from_: Annotated[
        str, typer.Option("--from", metavar="MODEL", help="Learn nothing: calibrate this model for the texts.")
    ] = "",
    licence: Annotated[str, typer.Option(help="The licence of the texts, as SPDX names it, for ListModels.")] = "",
    seed: Annotated[int, typer.Option(help="Of what is learnt from, calibrated on and measured on.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Make a byte model from files, calibrate its thresholds, and measure on text that it has not seen.

    `sapience train patches notes/*.md --out byte-model`

    `sapience train patches notes.de.md --from models:byte-ngram --out german` calibrates only

    It takes seconds. Serve it with SAPIENCE_BYTE_MODEL=file:/FOLDER.
    """
    from perception.segment import patcher, training
    from perception.segment.ngram import NgramModel

    read = [file.read_bytes() for file in texts]
    apart = [file.read_bytes() for file in calibrate or ()]
    if from_:
        model = patcher.load(ModelAddress.parse(from_, field="from")).model
        if not isinstance(model, NgramModel):
            raise InvalidArgument(
                f"{from_} is a BLT checkpoint, which keeps no calibration; give thresholds with the request, or let "
                "them be fitted to its bytes (sapience patch --fit)",
                field="from",
            )
        done = training.recalibrate(model, [*read, *apart], seed=seed)
    else:
        config = {"licence": licence} if licence else {}
        done = training.train(read, calibrate_on=apart, order=order, most_contexts=contexts, seed=seed, config=config)
    done.model.save(out)
    figures = {"contexts": done.model.parameters, **done.figures}
    if as_json:
        print_json({"model": str(out), "bytes": sum(map(len, read)), **figures})
        return
    show.table(
        f"{sum(map(len, read)):,} bytes",
        ["on text not seen", "value"],
        [[name, f"{value:,.0f}" if name == "contexts" else f"{value:.3f}"] for name, value in figures.items()],
    )
    show.out.print(f"serve it with SAPIENCE_BYTE_MODEL=file:{out.absolute()}", style="dim")
