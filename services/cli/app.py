"""What every command is made with: the application, common options, a client, dates, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import sapience
import typer

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


@contextmanager
def client(namespace: str, *needs: str) -> Iterator[sapience.Client]:
    """A client of the local daemon, which is started where there is none, when the services it `needs` answer."""
    with local.connect(load(), namespace, say) as connected:
        if needs:
            local.wait_ready(connected, say, needs)
        yield connected


def say(what: str) -> None:
    show.err.print(f"{what} …", style="dim")


def moment(text: str | None, *, end_of_day: bool = False) -> datetime | None:
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


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=_plain), flush=True)  # events are read as they come


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} has no JSON")
