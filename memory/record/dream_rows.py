"""How Dreams and their changes are kept as rows, the same in both backends: a few columns to find them by, and JSON.

No row holds a word of an Episode; see `core.dreams`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from core.dreams import (
    Action,
    AddUses,
    Archive,
    Archived,
    Assert,
    Asserted,
    Change,
    ChangeState,
    Dream,
    DreamBudget,
    DreamKind,
    DreamState,
    Inverse,
    Join,
    Joined,
    Place,
    Proposal,
    SummaryOf,
    UsesAdded,
    Write,
    Written,
)
from core.errors import FailedPrecondition, NotFound, SapienceError

_ACTIONS: dict[str, type[Any]] = {"archive": Archive, "add_uses": AddUses, "join": Join}
_INVERSES: dict[str, type[Any]] = {
    "written": Written,
    "archived": Archived,
    "uses_added": UsesAdded,
    "joined": Joined,
    "asserted": Asserted,
}
_NAMES = {kind: name for name, kind in (_ACTIONS | _INVERSES).items()}


@dataclass(frozen=True, slots=True)
class DreamRow:
    """A Dream as it is kept."""

    id: str
    number: int
    state: int
    body: str


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A change as it is kept. `inverse` is empty where there is none."""

    ordinal: int
    kind: int
    state: int
    body: str
    inverse: str = ""


def dream_row(dream: Dream) -> DreamRow:
    """A Dream as a row; its namespace is known by where the row is."""
    fields = asdict(dream)
    for name in ("id", "namespace", "number", "state"):
        del fields[name]
    return DreamRow(dream.id, dream.number, int(dream.state), _json(fields))


def dream_from(namespace: str, row: DreamRow) -> Dream:
    """What `dream_row` wrote."""
    fields = json.loads(row.body)
    fields["kinds"] = tuple(DreamKind(kind) for kind in fields["kinds"])
    fields["budget"] = DreamBudget(**fields["budget"])
    for name in ("begin", "end", "read_to"):
        if name in fields:  # none has read in a Dream that was kept before any could
            fields[name] = tuple(fields[name])
    return Dream(id=row.id, namespace=namespace, number=row.number, state=DreamState(row.state), **fields)


def change_row(change: Change) -> ChangeRow:
    """A change as a row."""
    proposal = change.proposal
    body = {
        "reads": proposal.reads,
        "reason": proposal.reason,
        "score": proposal.score,
        "facts": proposal.facts,
        "entities": proposal.entities,
        "actions": [_action(one) for one in proposal.actions],
    }
    inverse = _json([_named(one) for one in change.inverse]) if change.inverse else ""
    return ChangeRow(change.ordinal, int(proposal.kind), int(change.state), _json(body), inverse)


def change_from(row: ChangeRow) -> Change:
    """What `change_row` wrote."""
    body = json.loads(row.body)
    proposal = Proposal(
        DreamKind(row.kind),
        tuple(body["reads"]),
        body["reason"],
        body["score"],
        tuple(_action_from(*one) for one in body["actions"]),
        tuple(body["facts"]),
        tuple(body.get("entities", ())),  # of those that were kept before there were any, none
    )
    inverse = json.loads(row.inverse) if row.inverse else []
    return Change(
        row.ordinal, proposal, ChangeState(row.state), tuple(_inverse_from(name, fields) for name, fields in inverse)
    )


def dream_not_found(namespace: str, dream_id: str) -> SapienceError:
    """For a Dream that is not there."""
    return NotFound(
        f"there is no Dream {dream_id!r} in namespace {namespace!r}; ListDreams has those that are",
        reason="DREAM_NOT_FOUND",
        field="dream_id",
    )


def change_not_found(dream_id: str, ordinal: int) -> SapienceError:
    """For a change that a Dream has not."""
    return NotFound(
        f"Dream {dream_id} has no change {ordinal} to approve; GetDream lists them",
        reason="CHANGE_NOT_FOUND",
        field="changes",
    )


def dream_at_work(dream: Dream) -> SapienceError:
    """For a second Dream of a namespace while one is at work."""
    return FailedPrecondition(
        f"Dream {dream.id} of namespace {dream.namespace!r} is {dream.state.name.lower()}; "
        "wait for its end, or cancel it",
        reason="DREAM_AT_WORK",
        field="namespace",
    )


def wrong_state(dream: Dream, to: DreamState) -> SapienceError:
    """For a Dream that cannot be what is asked for."""
    return FailedPrecondition(
        f"Dream {dream.id} is {dream.state.name.lower()}, and cannot become {to.name.lower()}",
        reason="DREAM_STATE",
        field="dream_id",
    )


def _action(action: Action) -> tuple[str, dict[str, Any]]:
    match action:
        case Write():
            return "write", asdict(action)
        case Assert():
            return "assert", asdict(action)
        case _:
            return _named(action)


def _action_from(name: str, fields: dict[str, Any]) -> Action:
    if name == "write":
        place = fields["name"]
        return Write(
            SummaryOf(fields["of"]),
            tuple(fields["quotes"]),
            tuple(fields["sources"]),
            None if place is None else Place(**place),
            tuple((what, count) for what, count in fields["figures"]),
        )
    if name == "assert":
        places = {end: Place(**fields[end]) for end in ("subject", "object")}
        return Assert(**(fields | places))
    made: Action = _ACTIONS[name](**fields)
    return made


def _inverse_from(name: str, fields: dict[str, Any]) -> Inverse:
    made: Inverse = _INVERSES[name](**fields)
    return made


def _named(one: Action | Inverse) -> tuple[str, dict[str, Any]]:
    return _NAMES[type(one)], asdict(one)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
