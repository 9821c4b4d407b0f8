"""Commands about Facts in time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import sapience
import typer

from services.cli import show
from services.cli.app import AsJson, Namespace, app, client, moment, print_json


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

    first, second = moment(start, end_of_day=True), moment(end, end_of_day=True)
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
        print_json(sapience.to_dict(found))
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
        print_json([sapience.to_dict(one) for one in found])
    else:
        show.table(
            "", ["relation", "policy", "since"], [[p.relation, p.policy, show.when(p.recorded_at)] for p in found]
        )
