"""Commands about who and what is mentioned, and which names mean the same."""

from __future__ import annotations

from typing import Annotated

import sapience
import typer

from services.cli import show
from services.cli.app import AsJson, AsOf, Namespace, app, client, moment, print_json


@app.command()
def entities(
    name: Annotated[str, typer.Argument(help="One of them: what it is called, and who mentions it.")] = "",
    namespace: Namespace = "default",
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 100,
    merges: Annotated[bool, typer.Option("--merges", help="List the merges instead, undone ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Who and what is mentioned: all of it by name, or one with the Episodes that mention it.

    `sapience entities`  `sapience entities Mel`  `sapience entities --merges`
    """
    until = moment(as_of, end_of_day=True)
    with client(namespace, "memory") as connected:
        if merges:
            made = connected.merges(undone=True)
            if as_json:
                print_json([sapience.to_dict(one) for one in made])
            else:
                _show_merges(made)
            return
        if not name:
            page = connected.entities(as_of=until, limit=limit)
            if as_json:
                print_json([sapience.to_dict(one) for one in page])
            else:
                _show_known(page.entities)
                if page.next_page_token:
                    show.out.print(f"and more: --limit {2 * limit}", style="dim")
            return
        details = connected.entity(name, as_of=until)
        mentions = connected.mentions(name, as_of=until, limit=limit)
    if as_json:
        print_json({**sapience.to_dict(details), "mentions": [sapience.to_dict(one) for one in mentions]})
        return
    _show_known([details.known])
    for candidate in details.candidates:
        show.out.print(
            f"  may be {show.escape(candidate.name)}: {candidate.reason} ({candidate.score:.2f})", style="dim"
        )
    for mention in mentions:
        episode = mention.episode
        show.out.print(
            f"  [cyan]{show.escape(episode.speaker or '—')}[/cyan] {show.when(episode.told_at)}  "
            f"{show.escape(episode.text)}"
        )


@app.command()
def merge(
    kept: Annotated[str, typer.Argument(help="The name that is shown from now on.")],
    merged: Annotated[str, typer.Argument(help="The name that means the same.")],
    namespace: Namespace = "default",
    reason: Annotated[str, typer.Option(help="Why, for later readers.")] = "",
) -> None:
    """Say that two names mean the same. Nothing is rewritten, and `unmerge` takes it back exactly.

    `sapience merge Melanie Mel`
    """
    with client(namespace, "memory") as connected:
        made = connected.merge_entities(kept, merged, reason=reason)
    show.out.print(f"{show.escape(made.merged.name)} is {show.escape(made.kept.name)}; the merge is {made.id}")


@app.command()
def unmerge(
    merge_id: Annotated[str, typer.Argument(help="The merge: `sapience entities --merges` lists them.")],
    namespace: Namespace = "default",
) -> None:
    """Take a merge back.

    `sapience unmerge 01890000-0000-7000-8000-000000000000`
    """
    with client(namespace, "memory") as connected:
        undone = connected.undo_merge(merge_id)
    show.out.print(f"{show.escape(undone.merged.name)} and {show.escape(undone.kept.name)} are two again")


def _show_known(known: list[sapience.KnownEntity] | tuple[sapience.KnownEntity, ...]) -> None:
    rows = [
        [one.entity.name, ", ".join(one.aliases), one.kind or "—", str(one.episodes), str(one.facts)] for one in known
    ]
    show.table("", ["name", "also", "kind", "episodes", "facts"], rows)


def _show_merges(made: list[sapience.EntityMerge]) -> None:
    rows = [
        [one.id, one.kept.name, one.merged.name, one.reason, f"undone by {one.undone_seq}" if one.undone_seq else ""]
        for one in made
    ]
    show.table("", ["merge", "shown", "is the same", "why", ""], rows)
