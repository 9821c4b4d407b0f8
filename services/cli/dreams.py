"""Commands about Dreams: begin one, see it as a diff, approve it, undo it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import sapience
import typer

from services.cli import show
from services.cli.app import AsJson, Namespace, app, client, print_json

dreams_app = typer.Typer(help="List Dreams, show them as diffs, approve and undo them.", no_args_is_help=True)
app.add_typer(dreams_app, name="dreams")

DreamId = Annotated[str, typer.Argument(help="The Dream's id.")]
_SIGNS = {
    sapience.Sign.KEPT: (" ", "dim"),
    sapience.Sign.ADDED: ("+", "green"),
    sapience.Sign.ARCHIVED: ("-", "red"),
    sapience.Sign.STRENGTHENED: ("*", "cyan"),
    sapience.Sign.MERGED: ("=", "magenta"),
}


@app.command()
def dream(
    namespace: Namespace = "default",
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="aliases, duplicates, summaries, contradictions, procedures, strengthening, facts; one or several."
        ),
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Apply what it proposes, without asking.")] = False,
    episodes: Annotated[int, typer.Option(min=0, help="Read at most so many Episodes; 0 is the usual.")] = 0,
    changes: Annotated[int, typer.Option(min=0, help="Propose at most so many changes; 0 is the usual.")] = 0,
    seconds: Annotated[float | None, typer.Option(min=0, help="Read and think no longer than this.")] = None,
    readings: Annotated[
        int, typer.Option(min=0, help="Let a language model read at most so many Episodes; 0 is the usual.")
    ] = 0,
    as_json: AsJson = False,
) -> None:
    """Consolidate memories: find aliases, near-duplicates, summaries, contradictions. Shows what it would change.

    `sapience dream`, then `sapience dreams approve ID`; or `sapience dream --auto`. `sapience dreams undo ID` takes all
    of it back. The kind facts needs a language model: SAPIENCE_DREAM_EXTRACTOR names it.
    """
    wall = None if seconds is None else timedelta(seconds=seconds)
    budget = sapience.DreamBudget(episodes, changes, wall, readings)
    with client(namespace, "memory") as connected:
        dream_id = connected.dream(kinds=kind or (), automatic=auto, budget=budget)
        _watch(connected, dream_id)
        _show(connected, dream_id, as_json=as_json)


@dreams_app.command("list")
def list_dreams(
    namespace: Namespace = "default",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The last Dreams, newest first."""
    with client(namespace) as connected:
        found = connected.dreams(limit=limit)
    if as_json:
        print_json([sapience.to_dict(one) for one in found])
        return
    for one in found:  # no table, which would cut an id short where the terminal is narrow
        show.out.print(f"{one.id}  {show.when(one.started_at)}  {one.state:<9}  {one.done} of {one.total} changes")
        if one.message:
            show.out.print(f"    {show.escape(one.message)}", style="dim")


@dreams_app.command("show")
def show_dream(dream_id: DreamId, namespace: Namespace = "default", as_json: AsJson = False) -> None:
    """A Dream as a diff: + comes into memory, - is archived, * is kept longer, = two names are one."""
    with client(namespace) as connected:
        _show(connected, dream_id, as_json=as_json)


@dreams_app.command("approve")
def approve(
    dream_id: DreamId,
    changes: Annotated[list[int] | None, typer.Argument(help="Only these changes, by number.")] = None,
    namespace: Namespace = "default",
) -> None:
    """Apply what a Dream proposed: all of it, or the changes given.

    `sapience dreams approve 01890000-0000-7000-8000-000000000000 1 2 5`
    """
    with client(namespace) as connected:
        connected.approve_dream(dream_id, changes=changes or ())
        _say(_watch(connected, dream_id))


@dreams_app.command("undo")
def undo(dream_id: DreamId, namespace: Namespace = "default") -> None:
    """Take back all that a Dream changed."""
    with client(namespace) as connected:
        connected.undo_dream(dream_id)
        _say(_watch(connected, dream_id))


@dreams_app.command("cancel")
def cancel(dream_id: DreamId, namespace: Namespace = "default") -> None:
    """Give a Dream up. What it had applied stays, until it is undone."""
    with client(namespace) as connected:
        _say(connected.cancel_dream(dream_id))


def _watch(connected: sapience.Client, dream_id: str) -> sapience.Dream:
    """Waits until it goes on no further by itself."""
    seen: sapience.Dream | None = None
    with show.err.status("dreaming …") as status, connected.watch_dream(dream_id) as states:
        for seen in states:
            status.update(f"{seen.state}, {seen.done} of {seen.total} …")
    return seen or connected.get_dream(dream_id, limit=1).dream


def _say(one: sapience.Dream) -> None:
    show.out.print(f"Dream {one.id}: {one.state}, {one.done} of {one.total} changes")
    if one.message:
        show.out.print(show.escape(one.message), style="dim")


def _show(connected: sapience.Client, dream_id: str, *, as_json: bool) -> None:
    after, more = 0, True
    while more:
        diff = connected.get_dream(dream_id, after=after)
        if as_json:
            print_json(sapience.to_dict(diff))
        else:
            for change in diff:
                _change(change)
        more = diff.more and bool(diff.changes)
        after = diff.changes[-1].ordinal if diff.changes else after
    if as_json:
        return
    _say(diff.dream)
    if diff.dream.state == sapience.DreamState.PROPOSED:
        show.out.print(f"`sapience dreams approve {dream_id}` applies them", style="dim")


def _change(change: sapience.DreamChange) -> None:
    show.out.print(f"[bold]{change.ordinal}[/bold] {change.kind}, {change.state}: {show.escape(change.reason)}")
    for line in change.lines:
        sign, style = _SIGNS.get(line.sign, ("?", "dim"))
        if line.same_as:
            show.out.print(f"  [{style}]{sign} {show.escape(line.text)} is {show.escape(line.same_as)}[/{style}]")
            continue
        who = [line.speaker] if line.speaker else []
        when = [] if line.told_at is None else [show.when(line.told_at)]
        uses = f" (+{line.uses} uses)" if line.uses else ""
        first, *rest = line.text.splitlines() or [""]
        about = f"{', '.join([*who, *when])}{uses}"
        show.out.print(f"  [{style}]{sign} {show.escape(first)}[/{style}]  [dim]{show.escape(about)}[/dim]")
        for further in rest:
            show.out.print(f"  [{style}]{sign}   {show.escape(further)}[/{style}]")
