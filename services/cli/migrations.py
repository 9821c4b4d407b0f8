"""Commands about migrations: move a namespace to the space of another encoder, see how far it is, give it up."""

from __future__ import annotations

from typing import Annotated

import sapience
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from services.cli import show
from services.cli.app import TELLS, AsJson, app, client, print_json

migrations_app = typer.Typer(help="List migrations, watch them, give them up.", no_args_is_help=True)
app.add_typer(migrations_app, name="migrations")

Tenant = Annotated[str, typer.Argument(help="The namespace.")]
MigrationId = Annotated[str, typer.Argument(help="The migration's id.")]


@app.command()
def migrate(
    namespace: Tenant = "default",
    to: Annotated[str, typer.Option("--to", help="The encoder's address; by default that of SAPIENCE_ENCODER.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Say what it costs, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Encode a namespace anew, because its encoder has changed. It answers in the old space until that is done.

    `SAPIENCE_ENCODER=hf:OWNER/NEW SAPIENCE_ENCODERS=wheel:OLD sapience up`, then `sapience migrate notes`. Broken off,
    it goes on by itself; `sapience migrations watch NAMESPACE ID` shows how far it is.
    """
    with client(namespace, *TELLS) as connected:
        planned = connected.plan_migration(model=to)
        if as_json and plan:
            print_json(sapience.to_dict(planned))
            return
        if not as_json:
            _show_plan(namespace, planned)
        if plan or not (yes or typer.confirm("Begin?")):
            return
        ended = _watch(connected, connected.migrate(model=planned.model))
    if as_json:
        print_json(sapience.to_dict(ended))
    else:
        _say(ended)
    if ended.state is not sapience.MigrationState.SUCCEEDED:
        raise typer.Exit(1)


@migrations_app.command("list")
def list_migrations(
    namespace: Tenant = "default",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The last migrations of a namespace, newest first."""
    with client(namespace) as connected:
        found = connected.migrations(limit=limit)
    if as_json:
        print_json([sapience.to_dict(one) for one in found])
        return
    for one in found:
        _say(one)


@migrations_app.command("watch")
def watch(namespace: Tenant, migration_id: MigrationId) -> None:
    """Wait for the end of a migration."""
    with client(namespace) as connected:
        _say(_watch(connected, migration_id))


@migrations_app.command("cancel")
def cancel(namespace: Tenant, migration_id: MigrationId) -> None:
    """Give a migration up that is still encoding. The namespace stays in its old space."""
    with client(namespace) as connected:
        connected.cancel_migration(migration_id)
        _say(_watch(connected, migration_id))


@migrations_app.command("spaces")
def spaces(as_json: AsJson = False) -> None:
    """The vector space of each namespace, and the encoder that serves it."""
    with client("default", *TELLS) as connected:
        found = connected.spaces()
    if as_json:
        print_json([sapience.to_dict(one) for one in found])
        return
    rows = [(one.namespace, _space(one.space), one.model or "none is loaded") for one in found]
    show.table("spaces", ("namespace", "space", "encoder"), rows)


def _watch(connected: sapience.Client, migration_id: str) -> sapience.Migration:
    """Waits until it has ended."""
    seen: sapience.Migration | None = None
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=show.err, transient=True) as bar, connected.watch_migration(migration_id) as states:
        task = bar.add_task("encoding", total=None)
        for seen in states:
            said = f"{seen.state}: {seen.message}" if seen.message else str(seen.state)
            bar.update(task, description=show.escape(said), completed=seen.done, total=max(seen.total, seen.done))
    return seen or connected.get_migration(migration_id)


def _show_plan(namespace: str, planned: sapience.MigrationPlan) -> None:
    cost = planned.cost
    say = show.out.print
    say(f"namespace {show.escape(namespace)}: {_space(planned.source)} to {_space(planned.target)}")
    say(f"encoder   {show.escape(planned.model)}")
    say(f"encodes   {cost.concepts:,} Concepts, about {_bytes(cost.text_bytes)} of text")
    say(f"takes     about {cost.duration.total_seconds():,.0f} s, by {cost.sampled} Concepts that were measured")
    say(f"vectors   {_bytes(cost.vector_bytes)}; while it runs, {_bytes(cost.disk_bytes)} of disk beyond what is used")


def _say(one: sapience.Migration) -> None:
    show.out.print(
        f"{one.id}  {show.when(one.started_at)}  {one.state:<9}  {one.done} of {one.total} Concepts, "
        f"{_space(one.source)} to {_space(one.target)}"
    )
    if one.message:
        show.out.print(f"    {show.escape(one.message)}", style="dim")


def _space(space: sapience.VectorSpace) -> str:
    return str(show.escape(f"{space.name} {space.version} ({space.dimensions})"))


def _bytes(count: int) -> str:
    return f"{count / 2**20:,.1f} MiB"
