"""Commands that move a whole store, and mend what is derived from it: backup, restore, index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import sapience
import typer

from core.errors import InvalidArgument
from services.cli import show
from services.cli.app import AsJson, Namespace, app, client, moment, print_json

if TYPE_CHECKING:
    from services.cli.backups import Chain

index_app = typer.Typer(help="Compare the search index with the record, mend or rebuild it.", no_args_is_help=True)
app.add_typer(index_app, name="index")


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(help="A folder to make, or a file that ends in .zip.")],
    namespaces: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Only this tenant; may be given several times.")
    ] = None,
    up_to_seq: Annotated[int, typer.Option(min=0, help="End with this commit; with the last one, if not given.")] = 0,
    as_of: Annotated[str | None, typer.Option(help="End with the last commit of this date, or by this time.")] = None,
    since: Annotated[Path | None, typer.Option(help="An earlier backup: only what came after it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Back up the whole store while it works: all that was told, with its times, numbers, vectors and deletions.

    `sapience backup monday`, then `sapience backup tuesday --since monday`

    What is deleted later stays in a backup that was made before: delete old backups too.
    """
    from services.cli import backups

    if up_to_seq and as_of:
        raise typer.BadParameter("give --up-to-seq or --as-of, and not both")
    with client("default", "memory") as connected:
        made = backups.make(
            connected,
            target,
            since,
            namespaces=namespaces or [],
            up_to_seq=up_to_seq,
            recorded_by=moment(as_of, end_of_day=True),
        )
    if as_json:
        print_json({"backup": str(target), "up_to_seq": made.header.up_to_seq, "counts": made.counts})
        return
    held, size = made.counts, sum(one.bytes for one in made.files)
    show.out.print(
        f"{held.get('episode', 0)} Episodes, {held.get('fact', 0)} Facts of {len(made.header.namespaces)} namespaces "
        f"up to commit {made.header.up_to_seq}; {held.get('tombstones', 0)} deletions; {size / 2**20:.1f} MiB"
    )


@app.command()
def restore(
    files: Annotated[
        list[Path], typer.Argument(help="Backups, each made since the one before; or what `sapience export` wrote.")
    ],
    namespace: Namespace = "default",
    up_to: Annotated[
        str | None, typer.Option(help="Only what was committed up to this number, or by this date or time.")
    ] = None,
    bring_back: Annotated[bool, typer.Option("--bring-back", help="Also what was deleted since.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Only compare the backups with their digests.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take back backups, or what `sapience export` wrote; what is there already is recognised.

    Into an empty store everything comes back with the number and the time it had. What was deleted after a backup was
    made stays deleted: give the later backups too, they know of it.

    `sapience restore monday tuesday --up-to 2026-03-01T12:00:00Z`
    """
    from services.cli import backups

    if backups.Backup.is_one(files[0]):
        chain = backups.Chain(files)
        if verify:
            chain.verify()
            show.out.print(f"up to commit {chain.header.up_to_seq}: every file is as it was written")
            return
        seq = _seq(chain, up_to)
        with client("default", "memory") as connected:
            done = backups.restore(connected, chain, seq, bring_back)
        if as_json:
            print_json(sapience.to_dict(done))
        else:
            show.restored(done)
        return
    if len(files) > 1 or up_to or verify:
        raise InvalidArgument(
            f"{files[0]} is an export: one file, taken whole; --up-to and --verify are for backups",
            field=str(files[0]),
            reason="BAD_FILE",
        )
    _restore_lines(files[0], namespace, bring_back)


def _restore_lines(file: Path, namespace: str, bring_back: bool) -> None:
    from services.cli.importing import restore_lines

    with client(namespace) as connected:
        result = restore_lines(connected, file, bring_back)
    policies = f"{result.policies} policies, " if result.policies else ""
    policies += f"{result.merges} merges, " if result.merges else ""
    show.out.print(f"{result.episodes} Episodes, {result.facts} Facts, {policies}{result.duplicates} there already")
    if result.deleted:
        show.out.print(f"{result.deleted} were deleted here before and stay so; --bring-back takes them as well")


def _seq(chain: Chain, up_to: str | None) -> int:
    """The commit that a number or a time means; 0 means all."""
    if up_to is None:
        return 0
    if up_to.isdecimal():
        return int(up_to)
    at = moment(up_to, end_of_day=True)
    assert at is not None  # a date that was given is a moment
    return chain.seq_at(at)


@index_app.command("check")
def index_check(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only this tenant; all, if not given.")] = "",
    as_json: AsJson = False,
) -> None:
    """Compare the index with the record, and change nothing. Ends with status 1 where they differ."""
    ill = _index("check", namespace, as_json)
    if ill:
        if not as_json:
            show.out.print("the index differs from the record; mend it: sapience index rebuild")
        raise typer.Exit(1)


@index_app.command("rebuild")
def index_rebuild(
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Only this tenant; all, if not given.")] = "",
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Write every point again, not only those that are missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make the index what the record says, with no encoder. Recall goes on meanwhile."""
    _index("rewrite" if thorough else "mend", namespace, as_json)


def _index(repair: str, namespace: str, as_json: bool) -> bool:
    """Whether anything differed."""
    from services.cli.importing import progress

    last: dict[str, sapience.IndexState] = {}
    with client("default", "memory") as connected, progress() as shown:
        bars = {}
        for state in connected.rebuild_index(repair, namespace=namespace):
            last[state.namespace] = state
            if state.namespace not in bars:
                bars[state.namespace] = shown.add_task(state.namespace, total=None)
            shown.update(bars[state.namespace], completed=state.written, total=state.concepts)
    if as_json:
        print_json([sapience.to_dict(one) for one in last.values()])
    else:
        show.table(
            "",
            ["namespace", "Concepts", "missing", "foreign", "written"],
            [
                [one.namespace, str(one.concepts), str(one.missing), str(one.foreign), str(one.written)]
                for one in last.values()
            ],
        )
    return any(one.missing or one.foreign for one in last.values())
