"""Commands about how long things are kept: forget, archive, hold; and namespaces."""

from __future__ import annotations

from typing import Annotated

import sapience
import typer

from services.cli import show
from services.cli.app import AsJson, Namespace, app, client, namespaces_app, print_json


@app.command()
def forget(
    episodes: Annotated[list[str] | None, typer.Argument(help="Ids of Episodes.")] = None,
    namespace: Namespace = "default",
    speaker: Annotated[str, typer.Option(help="All that they said.")] = "",
    conversation: Annotated[str, typer.Option(help="A whole conversation.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to go on.")] = False,
) -> None:
    """Delete memories for good, with all that was derived from them. Says how many first, and asks.

    `sapience forget --conversation chat`
    """
    if not (episodes or speaker or conversation):
        raise typer.BadParameter("say what to forget: ids, --speaker or --conversation")
    with client(namespace) as connected:
        chosen = {"episode_ids": tuple(episodes or ()), "speaker": speaker, "conversation": conversation}
        would = connected.forget(**chosen, dry_run=True)  # type: ignore[arg-type]
        show.out.print(f"{would.episodes} Episodes, {would.concepts} Concepts, {would.facts} Facts")
        if not would.episodes or not (yes or typer.confirm("Delete them for good?")):
            return
        gone = connected.forget(**chosen)  # type: ignore[arg-type]
    show.out.print(f"deleted; the audit record is {gone.audit_id}")


@app.command()
def archive(
    episodes: Annotated[list[str] | None, typer.Argument(help="Ids of Episodes.")] = None,
    namespace: Namespace = "default",
    share: Annotated[
        float | None, typer.Option(min=0, max=1, help="The least retained, until this share of all is archived.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="All that are retained less than this.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List them, and archive nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Archive memories: recall no longer finds them, and they stay whole. `thaw` brings them back.

    `sapience archive --share 0.3 --dry-run`  lists the weakest 30%, `sapience archive --share 0.3`  archives them.
    """
    if [bool(episodes), share is not None, threshold is not None].count(True) != 1:
        raise typer.BadParameter("say what to archive: ids, or --share, or --threshold")
    with client(namespace) as connected:
        gone = connected.archive(episode_ids=tuple(episodes or ()), share=share, threshold=threshold, dry_run=dry_run)
    if as_json:
        print_json(sapience.to_dict(gone))
        return
    if dry_run:
        show.retained(gone)
    show.out.print(f"{gone.episodes} Episodes {'would be' if dry_run else 'are now'} archived")


@app.command()
def thaw(
    episodes: Annotated[list[str] | None, typer.Argument(help="Ids of Episodes.")] = None,
    namespace: Namespace = "default",
    everything: Annotated[bool, typer.Option("--all", help="All that are archived.")] = False,
) -> None:
    """Bring archived memories back, as they were.

    `sapience thaw --all`
    """
    if bool(episodes) == everything:
        raise typer.BadParameter("say what to thaw: ids, or --all")
    with client(namespace) as connected:
        back = connected.thaw(episode_ids=tuple(episodes or ()), all=everything)
    show.out.print(f"{back.episodes} Episodes are found again")


@app.command()
def hold(
    name: Annotated[str, typer.Argument(help="The hold, for example the name of the case.")],
    episodes: Annotated[list[str], typer.Argument(help="Ids of Episodes.")],
    namespace: Namespace = "default",
    release: Annotated[bool, typer.Option("--release", help="Release them from it.")] = False,
) -> None:
    """Put memories under a legal hold: neither archived nor deleted, not even by `forget`, until released.

    `sapience hold "case 12" 01890000-0000-7000-8000-000000000000`
    """
    with client(namespace) as connected:
        changed = connected.set_hold(name, episode_ids=episodes, release=release)
    show.out.print(f"{changed} Episodes {'released from' if release else 'put under'} {show.escape(name)}")


@namespaces_app.command("list")
def namespaces_list(as_json: AsJson = False) -> None:
    """The namespaces, by name."""
    with client("default") as connected:
        known = connected.namespaces()
    if as_json:
        print_json([sapience.to_dict(one) for one in known])
    else:
        show.table("", ["namespace", "created"], [[one.name, show.when(one.created_at)] for one in known])


@namespaces_app.command("create")
def namespaces_create(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """Create a namespace."""
    with client(name) as connected:
        connected.create_namespace(name)
    show.out.print(f"created {name}")


@namespaces_app.command("delete")
def namespaces_delete(
    name: Annotated[str, typer.Argument(help="Its name.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to go on.")] = False,
) -> None:
    """Delete a namespace with all that is in it."""
    if not yes and not typer.confirm(f"Delete {name} with all that is in it?"):
        return
    with client(name) as connected:
        show.out.print(f"deleted {name} and its {connected.delete_namespace(name)} Episodes")
