"""Commands about the services: up, down, status, serve; what examines them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import sapience
import typer

from services.cli import local, show
from services.cli.app import AsJson, app, client, print_json, say
from services.runtime.settings import load


@app.command()
def up() -> None:
    """Start the local daemon, and wait until every service answers."""
    settings = load()
    with local.connect(settings, "default", say) as connected:
        local.wait_ready(connected, say)
    about = local.running(settings.data_dir)
    show.out.print(f"serving at {about['address']}" if about else "the services that the environment names answer")


@app.command()
def down() -> None:
    """Stop the local daemon; calls at work end first."""
    show.out.print("stopped" if local.stop(load()) else "no daemon was running")


@app.command()
def status(as_json: AsJson = False) -> None:
    """Whether each service answers, and what memory holds. Starts nothing."""
    settings = load()
    if not local.remote() and local.running(settings.data_dir) is None:
        if as_json:
            print_json({"running": False})
        else:
            show.out.print("no daemon is running; `sapience up` starts it")
        raise typer.Exit(3)
    with client("default") as connected:
        state, held = connected.status(), connected.stats(namespace="")
    if as_json:
        print_json({"running": True, "status": sapience.to_dict(state), "stats": sapience.to_dict(held)})
        return
    rows = [
        [one.name, "yes" if one.serving else "no", f"{one.latency_ms:.1f}", one.detail or "—"] for one in state.services
    ]
    show.table("", ["service", "serving", "ms", "detail"], rows)
    show.out.print(
        f"{held.episodes} Episodes, {held.concepts} Concepts, {held.facts} Facts in {held.record_backend}; "
        f"{held.indexed} points in {held.index_backend}, {held.outbox_pending} changes wait"
    )
    dreams = state.consolidation
    if dreams.mode not in ("", "off"):
        last = f", the last one of {dreams.namespace}: {dreams.dream_id}, {dreams.state}" if dreams.dream_id else ""
        show.out.print(f"Dreams begin by themselves ({dreams.mode}): {dreams.begun} so far{show.escape(last)}")
        if dreams.error:
            show.out.print(show.escape(dreams.error), style="dim")


@app.command()
def serve(
    name: Annotated[str, typer.Argument(help="perception, memory, reasoning, controller or gateway.")],
    health: Annotated[bool, typer.Option("--health", help="Only ask whether it answers: 0 if so, else 1.")] = False,
) -> None:
    """Run one service in the foreground: what a container runs. Settings are SAPIENCE_… variables."""
    from services import serve as serving

    settings = load()
    if health:
        raise typer.Exit(0 if serving.healthy(name, settings) else 1)
    serving.run(name, settings)


@app.command()
def doctor() -> None:
    """Say what is wrong with this set-up, and how to mend it."""
    from services.cli.doctor import examine

    raise typer.Exit(1 if examine() else 0)


@app.command()
def demo(
    data: Annotated[Path, typer.Option(help="The folder of the sample conversation and its questions.")],
    as_json: AsJson = False,
) -> None:
    """Read the sample conversation, answer its 40 questions, and measure the answers."""
    from services.bench.sample import demonstrate

    raise typer.Exit(demonstrate(data, as_json=as_json))
