"""A command that makes checkpoints of others into model folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception import licences
from perception.sonar import catalogue
from services.cli import show
from services.cli.app import say
from services.cli.generating import models_app
from services.runtime.settings import load

FileOrAddress = "A file, or an address to download it from once; empty: not this part."


@models_app.command("convert-sonar")
def convert_sonar(
    out: Annotated[Path, typer.Argument(help="A new folder; it gets the folders encoder and decoder.")],
    encoder: Annotated[str, typer.Option(help=FileOrAddress)] = catalogue.official("text_sonar_basic_encoder").url,
    decoder: Annotated[str, typer.Option(help=FileOrAddress)] = catalogue.official("text_sonar_basic_decoder").url,
    pieces: Annotated[str, typer.Option(help="The SentencePiece model.")] = catalogue.PIECES_URL,
    licence: Annotated[str, typer.Option(help="The weights' licence, by SPDX.")] = catalogue.NON_COMMERCIAL,
    languages: Annotated[str, typer.Option(help="Codes in the order of their tokens; empty: SONAR's 202.")] = "",
    space: Annotated[str, typer.Option(help="NAME@VERSION of the vector space.")] = "sonar@1",
    heads: Annotated[int, typer.Option(min=1, help="Attention heads.")] = 16,
    max_tokens: Annotated[int, typer.Option(min=8, help="The longest text in tokens.")] = 512,
) -> None:
    """Make SONAR's official checkpoints into folders that `file:` addresses name.

    `SAPIENCE_ACCEPT_LICENCES=CC-BY-NC-4.0 sapience models convert-sonar models/sonar`
    """
    settings = load()
    licences.check(licence, settings.accepted_licences, f"SONAR in {out}")
    from perception.sonar.converting import convert
    from perception.sonar.fetching import fetched
    from perception.sonar.vocabulary import ALL_LANGUAGES

    def file(source: str) -> Path | None:
        if source.startswith("http"):
            say(f"downloading {source}")
        return fetched(source, settings.cache_dir / "sonar") if source else None

    found = file(pieces)
    written = convert(
        out,
        pieces=found or Path(),
        encoder=file(encoder),
        decoder=file(decoder),
        licence=licence,
        space=_space(space),
        heads=heads,
        max_tokens=max_tokens,
        languages=tuple(languages.split(",")) if languages else ALL_LANGUAGES,
    )
    for part, folder in written.items():
        setting = "SAPIENCE_ENCODER" if part == "encoder" else "SAPIENCE_DECODERS"
        show.out.print(f"serve it with {setting}=file:{show.escape(str(folder.absolute()))}")


def _space(text: str) -> tuple[str, str]:
    name, at, version = text.partition("@")
    if not (at and name and version):
        raise typer.BadParameter(f"{text!r} is not NAME@VERSION; write for example sonar@1", param_hint="--space")
    return name, version
