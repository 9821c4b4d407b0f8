"""Commands that say, take back, correct and undo Facts; and those about when Episodes end."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated

import sapience
import typer

from services.cli import show
from services.cli.app import AsJson, Namespace, app, client, moment, print_json

Literal = Annotated[bool, typer.Option("--literal", help="The object is a plain value, and not a name.")]
Told = Annotated[str | None, typer.Option(help="When its source said so; now, if not given.")]
_SPAN = re.compile(r"(\d+)([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.command()
def facts(
    subject: Annotated[str, typer.Argument(help="What is spoken of, by name.")],
    namespace: Namespace = "default",
    relation: Annotated[str, typer.Option(help="Only this relation.")] = "",
    as_of: Annotated[str | None, typer.Option(help="As of this date: told by its end, and so then.")] = None,
    history: Annotated[bool, typer.Option("--history", help="Every version, also what was taken back.")] = False,
    as_json: AsJson = False,
) -> None:
    """What holds about someone or something; or, with --history, all that was ever said, with ids and commits.

    `sapience facts Nora`, `sapience facts Nora --history --relation lives_in`
    """
    at = moment(as_of, end_of_day=True)
    with client(namespace, "memory") as connected:
        if history:
            found = connected.fact_history(subject, relation=relation, as_of=at)
        else:
            around = connected.neighbours(subject, as_of=at, limit=1000)
            found = [one for one in around if not relation or one.relation == relation]
    if as_json:
        print_json([sapience.to_dict(one) for one in found])
    else:
        show.facts(found)


@app.command("assert")
def assert_(
    subject: Annotated[str, typer.Argument(help="What is spoken of, by name.")],
    relation: Annotated[str, typer.Argument(help="The relation, for example lives_in.")],
    target: Annotated[str, typer.Argument(metavar="OBJECT", help="What it is related to: a name, or a value.")],
    namespace: Namespace = "default",
    literal: Literal = False,
    since: Annotated[
        str | None, typer.Option(help="From when on it holds; from when it was told, if not given.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="When it holds no more.")] = None,
    told: Told = None,
    trust: Annotated[float | None, typer.Option(min=0, max=1, help="How far the source is trusted.")] = None,
    episode: Annotated[str, typer.Option(help="The Episode that is the evidence.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say a Fact.

    `sapience assert Nora lives_in Bremen --since 2024-03-01`, `sapience assert Nora likes tea --literal`
    """
    at = moment(told)
    valid = None
    if since or until:
        valid = sapience.Interval(moment(since) or at, moment(until))
    entity, value = _object(target, literal)
    with client(namespace, "memory") as connected:
        made = connected.assert_fact(
            subject,
            relation,
            entity=entity,
            literal=value,
            valid=valid,
            told_at=at,
            trust=trust,
            episode_id=episode,
        )
    _added([made], as_json)


@app.command()
def retract(
    fact: Annotated[str, typer.Argument(help="The id of any version of the statement.")],
    namespace: Namespace = "default",
    start: Annotated[str | None, typer.Option("--from", help="When it held no more; never, if not given.")] = None,
    told: Told = None,
    as_json: AsJson = False,
) -> None:
    """Take a statement back, by saying so: nothing is overwritten.

    `sapience retract FACT_ID --from 2024-09-01`
    """
    with client(namespace, "memory") as connected:
        made = connected.retract_fact(fact, from_=moment(start), told_at=moment(told))
    _added([made], as_json)


@app.command()
def correct(
    fact: Annotated[str, typer.Argument(help="The id of the Fact that is wrong.")],
    target: Annotated[str, typer.Argument(metavar="OBJECT", help="What is right: a name, or a value.")],
    namespace: Namespace = "default",
    literal: Literal = False,
    start: Annotated[
        str | None, typer.Option("--from", help="From when on; for as long as the wrong one, if not given.")
    ] = None,
    told: Told = None,
    as_json: AsJson = False,
) -> None:
    """Put another object in the place of a wrong one: a retraction and an assertion, in one transaction.

    `sapience correct FACT_ID Bremen`
    """
    entity, value = _object(target, literal)
    with client(namespace, "memory") as connected:
        made = connected.correct_fact(fact, entity=entity, literal=value, from_=moment(start), told_at=moment(told))
    if as_json:
        print_json(sapience.to_dict(made))
    else:
        show.facts([made.retraction, made.assertion, *made.kept])


@app.command()
def undo(
    write: Annotated[str, typer.Argument(metavar="COMMIT|FACT_ID", help="The number of a commit, or a Fact's id.")],
    namespace: Namespace = "default",
    as_json: AsJson = False,
) -> None:
    """Undo that a Fact was said or taken back: what was believed before is believed again. Nothing is overwritten.

    `sapience facts Nora --history` shows ids and commits; an undo can be undone.
    """
    with client(namespace, "memory") as connected:
        made = connected.undo_fact(seq=int(write)) if write.isdecimal() else connected.undo_fact(write)
    _added(made, as_json)


@app.command()
def expire(
    episodes: Annotated[list[str], typer.Argument(help="Ids of Episodes.")],
    namespace: Namespace = "default",
    at: Annotated[str | None, typer.Option(help="When they end: a date or a time.")] = None,
    never: Annotated[bool, typer.Option("--never", help="No end of their own: leave it to the namespace.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete them then; else they are archived.")] = False,
) -> None:
    """Set when memories end.

    `sapience expire ID --at 2027-01-01 --delete`
    """
    if bool(at) == never:
        raise typer.BadParameter("say when they end: --at DATE, or --never")
    end: datetime | None = moment(at)
    with client(namespace, "memory") as connected:
        count = connected.set_expiry(end, episode_ids=episodes, expiry="delete" if delete else "archive")
    done = (
        "have no end of their own" if end is None else f"are {'deleted' if delete else 'archived'} at {show.when(end)}"
    )
    show.out.print(f"{count} Episodes {done}")


@app.command()
def ttl(
    span: Annotated[str, typer.Argument(help="How long, for example 30d, 12h or 52w; never keeps for good.")],
    namespace: Namespace = "default",
    delete: Annotated[bool, typer.Option("--delete", help="Delete then; else what is over is archived.")] = False,
) -> None:
    """Set how long a namespace keeps what has no end of its own, from when it was recorded.

    `sapience ttl 365d --namespace work`, `sapience ttl never`
    """
    lived = _span(span)
    with client(namespace, "memory") as connected:
        connected.set_time_to_live(lived, expiry="delete" if delete else "archive")
    done = "keeps for good" if lived is None else f"{'deletes' if delete else 'archives'} after {span}"
    show.out.print(f"{namespace} {done}")


def _span(text: str) -> timedelta | None:
    if text == "never":
        return None
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no span of time; write for example 30d, 12h or 52w, or never")
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise typer.BadParameter(f"{text} is longer than any store lasts; write never") from None


def _object(target: str, literal: bool) -> tuple[str | None, str | None]:
    """An Entity's name or a value."""
    return (None, target) if literal else (target, None)


def _added(made: list[sapience.Fact], as_json: bool) -> None:
    if as_json:
        print_json([sapience.to_dict(one) for one in made])
    else:
        show.facts(made)
