"""`sapience`: remember, recall and ask from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import sapience
import typer

from core.errors import SapienceError
from services.cli import local, show
from services.runtime.settings import load

TELLS = ("perception", "memory")
ASKS = ("perception", "memory", "reasoning")
"""The services that a command needs to answer before it begins."""

app = typer.Typer(
    name="sapience",
    help="Remember, recall and ask: a mind made of services. The first command starts a local daemon.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
namespaces_app = typer.Typer(help="Create, list and delete namespaces.", no_args_is_help=True)
app.add_typer(namespaces_app, name="namespaces")

Namespace = Annotated[str, typer.Option("--namespace", "-n", envvar="SAPIENCE_NAMESPACE", help="The tenant.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
AsOf = Annotated[
    str | None,
    typer.Option(help="Answer as of this date: what had been told by its end. For example 2025-03-01 or a full time."),
]


def main() -> None:
    """Runs the command line: errors are one line on standard error, and a status."""
    try:
        app()
    except (SapienceError, sapience.SapienceError) as error:
        show.err.print(f"[red]sapience:[/red] {show.escape(str(error))}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has seen enough
        sys.exit(141)
    except OSError as error:
        about = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        show.err.print(f"[red]sapience:[/red] {show.escape(about)}")
        sys.exit(1)


@contextmanager
def client(namespace: str, *needs: str) -> Iterator[sapience.Client]:
    """A client of the local daemon, which is started where there is none, when the services it `needs` answer."""
    with local.connect(load(), namespace, _say) as connected:
        if needs:
            local.wait_ready(connected, _say, needs)
        yield connected


def _say(what: str) -> None:
    show.err.print(f"{what} …", style="dim")


def _moment(text: str | None, *, end_of_day: bool = False) -> datetime | None:
    """A date or time from the command line; UTC where no offset is given. A date alone may mean its last moment."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no date; write 2025-03-01 or 2025-03-01T18:00:00+01:00") from None
    if len(text) == len("2025-03-01") and end_of_day:
        moment = moment.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=_plain), flush=True)  # events are read as they come


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")


@app.command("import")
def import_(
    files: Annotated[
        list[Path], typer.Argument(help="Files: .txt, .md, .jsonl (speaker, text, time), .json (messages).")
    ],
    namespace: Namespace = "default",
    time: Annotated[str | None, typer.Option(help="When it was told, where the file does not say.")] = None,
    as_json: AsJson = False,
) -> None:
    """Remember files: text, Markdown, chats. Run it again at any time: what is there already is recognised.

    `sapience import chat.jsonl notes.md`
    """
    from services.cli.importing import import_files

    with client(namespace, *TELLS) as connected:
        results = import_files(connected, files, _moment(time))
    if as_json:
        _print_json(results)


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    namespace: Namespace = "default",
    as_of: AsOf = None,
    as_json: AsJson = False,
    no_learn: Annotated[bool, typer.Option("--no-learn", help="Do not remember this exchange.")] = False,
    model: Annotated[str, typer.Option(help="The language model's address; it is loaded where it is not yet.")] = "",
    citations: Annotated[int, typer.Option(min=1, max=20, help="At most so many citations.")] = 3,
) -> None:
    """Ask, and see where the answer comes from. Ctrl-C stops the model on the server too.

    `sapience ask "Where does Nora work?" --as-of 2024-06-01`
    """
    with client(namespace, *ASKS) as connected:
        if model:
            connected.load_model(model)
        _ask(
            connected,
            question,
            as_of=_moment(as_of, end_of_day=True),
            as_json=as_json,
            learn=not no_learn,
            model=model,
            max_citations=citations,
        )


def _ask(connected: sapience.Client, question: str, *, as_json: bool = False, **options: Any) -> None:
    shown = ""
    events = connected.ask_stream(question, **options)
    try:
        for event in events:
            if as_json:
                _print_json(sapience.to_dict(event))
            elif isinstance(event, sapience.Token):
                show.out.print(show.escape(event.text), end="", style="dim")
                shown += event.text
            elif isinstance(event, sapience.Answer):
                if shown:
                    show.out.print()
                if not shown or event.text.strip() != shown.strip():
                    show.out.print(show.escape(event.text), style="bold")
                show.citations(event)
    finally:
        events.close()


@app.command()
def chat(namespace: Namespace = "default", as_of: AsOf = None) -> None:
    """Ask one question after another; what you tell it with `!` is remembered. An empty line or Ctrl-D ends.

    `> !Nora moved to Bremen`  remembers, `> Where does Nora live?`  asks.
    """
    with client(namespace, *ASKS) as connected:
        show.out.print("Ask; begin a line with ! to tell something; an empty line ends.", style="dim")
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                return
            if not line:
                return
            if line.startswith("!"):
                remembered = connected.remember(line[1:].strip(), speaker="me", source="chat")
                show.out.print(f"  remembered {remembered.episode_id}", style="dim")
                continue
            try:
                _ask(connected, line, as_of=_moment(as_of, end_of_day=True), learn=True)
            except KeyboardInterrupt:
                show.out.print("\n  stopped", style="dim")


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
            text, speaker=speaker, told_at=_moment(time), conversation=conversation, source="command line"
        )
    if as_json:
        _print_json(sapience.to_dict(kept))
    else:
        show.out.print(f"{'known already as' if kept.duplicate else 'remembered as'} {kept.episode_id}")


@app.command()
def recall(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    namespace: Namespace = "default",
    as_of: AsOf = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many.")] = 10,
    speaker: Annotated[list[str] | None, typer.Option(help="Only what they said; may be given several times.")] = None,
    recipe: Annotated[str, typer.Option(help="How to search: default, dense, sparse, rrf.")] = "",
    as_json: AsJson = False,
) -> None:
    """Find what bears on a text, and see why each was found.

    `sapience recall "the trip to the lake" --speaker Felix --limit 5`
    """
    with client(namespace, *TELLS) as connected:
        found = connected.recall(
            text,
            limit=limit,
            as_of=_moment(as_of, end_of_day=True),
            speakers=tuple(speaker or ()),
            recipe=recipe,
        )
    if as_json:
        _print_json([sapience.to_dict(hit) for hit in found])
    else:
        show.hits(found)


@app.command()
def changes(
    start: Annotated[str, typer.Option("--from", help="The first date: what had been told by its end.")],
    end: Annotated[str | None, typer.Option("--to", help="The second date; now, if not given.")] = None,
    namespace: Namespace = "default",
    entity: Annotated[str, typer.Option(help="Only Facts about it.")] = "",
    relation: Annotated[str, typer.Option(help="Only this relation, for example lives_in.")] = "",
    recorded: Annotated[
        bool, typer.Option("--recorded", help="Go by what this store had committed, not by what had been told.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many Facts in each part.")] = 100,
    as_json: AsJson = False,
) -> None:
    """What changed between two dates: what became known of the first one, then what happened until the second.

    `sapience changes --from 2024-01-01 --to 2024-12-31 --entity Nora`

    `sapience changes --from 2024-01-01 --relation lives_in --recorded`
    """

    def as_of(moment: datetime) -> sapience.AsOf:
        if recorded:
            return sapience.AsOf(valid_at=moment, recorded_by=moment)
        return sapience.AsOf(valid_at=moment, told_by=moment)

    first, second = _moment(start, end_of_day=True), _moment(end, end_of_day=True)
    assert first is not None  # a date that was given is a moment
    with client(namespace, "memory") as connected:
        found = connected.changes(
            as_of(first),
            None if second is None else as_of(second),
            entity=entity,
            relation=relation,
            limit=limit,
        )
    if as_json:
        _print_json(sapience.to_dict(found))
    else:
        show.changes(found)


@app.command()
def policies(
    relation: Annotated[str, typer.Argument(help="A relation, to set its policy.")] = "",
    policy: Annotated[str, typer.Argument(help="many, single or set.")] = "",
    namespace: Namespace = "default",
    as_json: AsJson = False,
) -> None:
    """How Facts of a relation contradict each other: list the policies, or set one from now on.

    `sapience policies`  lists, `sapience policies lives_in single`  sets.
    """
    if relation and not policy:
        raise typer.BadParameter(f"say which policy {relation} gets: many, single or set")
    with client(namespace, "memory") as connected:
        if relation:
            connected.set_relation_policy(relation, policy)
        found = connected.relation_policies()
    if as_json:
        _print_json([sapience.to_dict(one) for one in found])
    else:
        show.table(
            "", ["relation", "policy", "since"], [[p.relation, p.policy, show.when(p.recorded_at)] for p in found]
        )


@app.command()
def trace(
    trace_id: Annotated[str, typer.Argument(help="The id that `ask` shows.")],
    namespace: Namespace = "default",
    as_json: AsJson = False,
) -> None:
    """Everything that led to an answer."""
    with client(namespace) as connected:
        found = connected.trace(trace_id)
    if as_json:
        _print_json(sapience.to_dict(found))
        return
    show.out.print(f"[bold]{show.escape(found.text)}[/bold]  {show.when(found.asked_at)}  {found.model}")
    for event in found.events:
        show.out.print(f"  {type(event).__name__:<15} {show.escape(_summary(event))}")
    timings = "  ".join(f"{name} {value:.0f} ms" for name, value in found.timings_ms.items())
    show.out.print(f"  {timings}", style="dim")


def _summary(event: sapience.Event) -> str:
    match event:
        case sapience.Recalled():
            return f"{len(event.hits)} hits with recipe {event.recipe}"
        case sapience.Token():
            return event.text
        case sapience.DraftRetracted():
            return event.reason
        case sapience.Check():
            return f"{event.name}: {'passed' if event.passed else 'failed'} at {event.score:.2f}: {event.detail}"
        case sapience.Usage():
            return f"{event.new_tokens} tokens, {event.recalls} recall, {event.wall_ms} ms"
        case sapience.Answer():
            return f"{event.verdict}: {event.text}"
    return str(event)


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
        _print_json(sapience.to_dict(gone))
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


@app.command("restore")
def restore(
    file: Annotated[Path, typer.Argument(help="What `sapience export` wrote.")],
    namespace: Namespace = "default",
) -> None:
    """Take back what `sapience export` wrote; what is there already is recognised."""
    from services.cli.importing import restore_lines

    with client(namespace) as connected:
        result = restore_lines(connected, file)
    policies = f"{result.policies} policies, " if result.policies else ""
    show.out.print(f"{result.episodes} Episodes, {result.facts} Facts, {policies}{result.duplicates} there already")


@namespaces_app.command("list")
def namespaces_list(as_json: AsJson = False) -> None:
    """The namespaces, by name."""
    with client("default") as connected:
        known = connected.namespaces()
    if as_json:
        _print_json([sapience.to_dict(one) for one in known])
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


@app.command()
def up() -> None:
    """Start the local daemon, and wait until every service answers."""
    settings = load()
    with local.connect(settings, "default", _say) as connected:
        local.wait_ready(connected, _say)
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
            _print_json({"running": False})
        else:
            show.out.print("no daemon is running; `sapience up` starts it")
        raise typer.Exit(3)
    with client("default") as connected:
        state, held = connected.status(), connected.stats(namespace="")
    if as_json:
        _print_json({"running": True, "status": sapience.to_dict(state), "stats": sapience.to_dict(held)})
        return
    rows = [
        [one.name, "yes" if one.serving else "no", f"{one.latency_ms:.1f}", one.detail or "—"] for one in state.services
    ]
    show.table("", ["service", "serving", "ms", "detail"], rows)
    show.out.print(
        f"{held.episodes} Episodes, {held.concepts} Concepts, {held.facts} Facts in {held.record_backend}; "
        f"{held.indexed} points in {held.index_backend}, {held.outbox_pending} changes wait"
    )


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


@app.command()
def bench(
    name: Annotated[str, typer.Argument(help="bitemporal, forget, locomo, rpc, sample.")],
    as_json: AsJson = False,
    seed: Annotated[int, typer.Option(help="The seed.")] = 0,
    data: Annotated[Path | None, typer.Option(help="The data, where the bench reads some.")] = None,
    seconds: Annotated[float, typer.Option(help="How long each part measures.")] = 3.0,
    histories: Annotated[int, typer.Option(min=1, help="How many histories bitemporal writes.")] = 10_000,
    neo4j: Annotated[
        str,
        typer.Option(
            envvar="SAPIENCE_TEST_NEO4J_URL",
            help="A Neo4j for bitemporal; if not given, the one of the settings.",
        ),
    ] = "",
) -> None:
    """Measure, beside a peer in the same run. Prints a table, or one JSON object.

    `sapience bench rpc --json`, `sapience bench locomo --data FOLDER`

    `scripts/neo4j-local run -- sapience bench bitemporal --histories 1000`
    """
    from services.bench import run_named

    raise typer.Exit(
        run_named(name, as_json=as_json, seed=seed, data=data, seconds=seconds, histories=histories, neo4j=neo4j)
    )
