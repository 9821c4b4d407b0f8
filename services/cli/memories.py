"""Commands about what was told: remember, import, recall, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import sapience
import typer

from services.cli import show
from services.cli.app import TELLS, AsJson, AsOf, Namespace, app, client, moment, print_json


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Files or folders: .txt, .md, .jsonl (speaker, text, time), .json; exports; audio, images."
        ),
    ],
    namespace: Namespace = "default",
    time: Annotated[str | None, typer.Option(help="When it was told, where the file does not say.")] = None,
    bring_back: Annotated[bool, typer.Option("--bring-back", help="Also Facts that were deleted here since.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remember files: text, Markdown, chats, recordings, images. Run it again: what is there already is recognised.

    Also what ChatGPT (conversations.json, or its .zip), mem0 and Graphiti (JSON) export.

    Of recordings what is said (WAV, FLAC, OGG, MP3), of images what is written on them (PNG, JPEG, WebP, GIF, BMP,
    TIFF); `--time` says when, else the files' own times do.

    `sapience import chat.jsonl notes.md`, `sapience import recordings/ --time 2026-03-01`
    """
    from services.cli.importing import import_files

    with client(namespace, *TELLS) as connected:
        results = import_files(connected, files, moment(time), bring_back)
    if as_json:
        print_json(results)
    if any(row["failed"] for row in results):
        raise typer.Exit(1)


@app.command()
def remember(
    text: Annotated[str, typer.Argument(help="What was said.")],
    namespace: Namespace = "default",
    speaker: Annotated[str, typer.Option(help="Who said it.")] = "me",
    time: Annotated[str | None, typer.Option(help="When it was said; now, if not given.")] = None,
    conversation: Annotated[str, typer.Option(help="The conversation it is part of.")] = "",
    as_json: AsJson = False,
) -> None:
    """Remember one thing.

    `sapience remember "The spare key is with Priya" --speaker Nora`
    """
    with client(namespace, *TELLS) as connected:
        kept = connected.remember(
            text, speaker=speaker, told_at=moment(time), conversation=conversation, source="command line"
        )
    if as_json:
        print_json(sapience.to_dict(kept))
    else:
        again = ", which had been deleted before" if kept.deleted else ""
        show.out.print(f"{'known already as' if kept.duplicate else 'remembered as'} {kept.episode_id}{again}")


@app.command()
def recall(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    namespace: Namespace = "default",
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 10,
    speaker: Annotated[list[str] | None, typer.Option(help="Only what they said; may be given several times.")] = None,
    recipe: Annotated[
        str, typer.Option(help="How to search: default, reranked, graph, diverse, dreams, dense, sparse, rrf.")
    ] = "",
    why_not: Annotated[str, typer.Option(metavar="EPISODE", help="Say why this Episode is not found.")] = "",
    as_json: AsJson = False,
) -> None:
    """Find what bears on a text, and see why each was found.

    `sapience recall "the trip to the lake" --speaker Felix --limit 5`

    `sapience recall "the trip to the lake" --why-not EPISODE`
    """
    asked: dict[str, Any] = {
        "limit": limit,
        "as_of": moment(as_of, end_of_day=True),
        "speakers": tuple(speaker or ()),
        "recipe": recipe,
    }
    with client(namespace, *TELLS) as connected:
        if why_not:
            explained = connected.why_not(text, why_not, **asked)
            if as_json:
                print_json(sapience.to_dict(explained))
            else:
                show.why_not(explained)
            return
        found = connected.recall(text, **asked)
    if as_json:
        print_json([sapience.to_dict(hit) for hit in found])
    else:
        show.hits(found)


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="Where to; standard output if not given.")] = None,
    namespace: Namespace = "default",
) -> None:
    """Write all that a namespace holds as JSON Lines: Episodes with their vectors, then Facts."""
    from services.cli.importing import export_lines

    with client(namespace) as connected:
        count = export_lines(connected, file)
    show.err.print(f"{count} records", style="dim")
