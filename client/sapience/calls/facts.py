"""Calls of the memory service about Facts, and about time."""

from __future__ import annotations

from datetime import datetime

from sapience import types, wire
from sapience.calls import Call
from sapience.calls.memory import SECONDS, new_request_id
from sapience.errors import InvalidArgument
from sapience.v1 import memory_pb2


def assert_fact(
    subject: str,
    relation: str,
    *,
    entity: str | None = None,
    literal: str | None = None,
    valid: types.Interval | None = None,
    told_at: datetime | None = None,
    episode_id: str = "",
    trust: float | None = None,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.Fact]:
    """Adds a version of a statement: `subject` (a name), `relation` (snake_case), and its object.

    The object is another Entity, by its name (`entity`), or a plain value (`literal`): exactly one of the two. `valid`
    is when it held in the world (None: from `told_at` on), `told_at` when its source said it (None: now), `episode_id`
    the evidence, `trust` how far the source is trusted, from 0 to 1 (None: 1).
    """
    if (entity is None) == (literal is None):
        raise InvalidArgument(
            f"object: entity={entity!r} and literal={literal!r} were given; give exactly one of them",
            reason="INVALID_FIELD",
            field="object",
        )
    request = wire.message(
        memory_pb2.AssertFactRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        subject=subject,
        relation=relation,
        entity=entity,
        literal=literal,
        valid=wire.interval(valid, "valid"),
        told_at=wire.timestamp(told_at, "told_at"),
        episode_id=episode_id,
        trust=trust,
    )
    return Call("memory", "AssertFact", request, timeout, namespace is None, _read_fact)


def retract_fact(
    fact_id: str,
    *,
    from_: datetime | None = None,
    told_at: datetime | None = None,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.Fact]:
    """Takes a statement back by adding a version; nothing is overwritten. `fact_id` is any version of it.

    `from_` is when it no longer held (None: it never did), `told_at` when its source said so (None: now).
    """
    request = wire.message(
        memory_pb2.RetractFactRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        fact_id=fact_id,
        told_at=wire.timestamp(told_at, "told_at"),
        **{"from": wire.timestamp(from_, "from")},
    )
    return Call("memory", "RetractFact", request, timeout, namespace is None, _read_fact)


def _read_fact(response: memory_pb2.AssertFactResponse | memory_pb2.RetractFactResponse) -> types.Fact:
    return wire.read_fact(response.fact)


def _read_facts(response: memory_pb2.FactHistoryResponse | memory_pb2.NeighboursResponse) -> list[types.Fact]:
    return [wire.read_fact(fact) for fact in response.facts]


def fact_history(
    subject: str,
    *,
    relation: str = "",
    as_of: datetime | types.AsOf | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[list[types.Fact]]:
    """Every version of the Facts of a subject, oldest commit first; only of `relation`, if given.

    `as_of` a datetime means told by then; `valid_at` has no place here and is refused.
    """
    request = wire.message(
        memory_pb2.FactHistoryRequest,
        namespace=namespace,
        subject=subject,
        relation=relation,
        as_of=wire.belief(as_of),
    )
    return Call("memory", "FactHistory", request, timeout, namespace is None, _read_facts)


def neighbours(
    entity: str,
    *,
    hops: int = 1,
    as_of: datetime | types.AsOf | None = None,
    limit: int = 100,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[list[types.Fact]]:
    """The Facts around an Entity, by name, that hold as of a time: nearest first, up to `hops` (at most 4) away."""
    request = wire.message(
        memory_pb2.NeighboursRequest,
        namespace=namespace,
        entity=entity,
        hops=hops,
        as_of=wire.as_of(as_of),
        limit=limit,
    )
    return Call("memory", "Neighbours", request, timeout, namespace is None, _read_facts)


def paths(
    start: str,
    end: str,
    *,
    hops: int = 4,
    as_of: datetime | types.AsOf | None = None,
    limit: int = 10,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.Paths]:
    """The ways from one Entity to another, by name, over Facts that hold as of a time: shortest first, at most `hops`.

    `hops` is at most 4, `limit` at most 100.
    """
    request = wire.message(
        memory_pb2.PathsRequest,
        namespace=namespace,
        start=start,
        end=end,
        hops=hops,
        as_of=wire.as_of(as_of),
        limit=limit,
    )
    return Call("memory", "Paths", request, timeout, namespace is None, wire.read_paths)


def changes(
    before: datetime | types.AsOf,
    after: datetime | types.AsOf | None = None,
    *,
    entity: str = "",
    relation: str = "",
    limit: int = 100,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.Changes]:
    """What changed between two points in time, in the world and in what is believed of it. `after` None means now.

    Only Facts about `entity` and of `relation`, if given; each list holds at most `limit` (at most 1,000).
    """
    request = wire.message(
        memory_pb2.ChangesRequest,
        namespace=namespace,
        before=wire.as_of(before, "before"),
        after=wire.as_of(after, "after"),
        entity=entity,
        relation=relation,
        limit=limit,
    )
    return Call("memory", "Changes", request, timeout, namespace is None, wire.read_changes)


def set_relation_policy(
    relation: str,
    policy: types.ContradictionPolicy | str,
    *,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.RelationPolicy]:
    """Says how Facts of a relation contradict each other, from now on: "many", "single" or "set"."""
    request = wire.message(
        memory_pb2.SetRelationPolicyRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        relation=relation,
        policy=wire.enum_value(types.ContradictionPolicy, policy, "policy"),
    )
    return Call("memory", "SetRelationPolicy", request, timeout, namespace is None, _read_policy)


def relation_policies(
    *, as_of: types.AsOf | None = None, namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[list[types.RelationPolicy]]:
    """The policies of the relations that were given one, by relation; the others have "many".

    Of `as_of` only `recorded_by` and `seq` have a place here.
    """
    request = wire.message(memory_pb2.ListRelationPoliciesRequest, namespace=namespace, as_of=wire.as_of(as_of))
    return Call("memory", "ListRelationPolicies", request, timeout, namespace is None, _read_policies)


def _read_policy(response: memory_pb2.SetRelationPolicyResponse) -> types.RelationPolicy:
    return wire.read_policy(response.policy)


def _read_policies(response: memory_pb2.ListRelationPoliciesResponse) -> list[types.RelationPolicy]:
    return [wire.read_policy(one) for one in response.policies]


def timeline(
    *,
    entity: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
    as_of: datetime | types.AsOf | None = None,
    limit: int = 50,
    page_token: str = "",
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.TimelinePage]:
    """Episodes and Facts in the order of time, from `start` up to but not including `end`.

    With `entity`, only Facts about it and what a speaker of that name said. `as_of` a datetime means told by then.
    `limit` is at most 500; `page_token` continues an earlier page.
    """
    request = wire.message(
        memory_pb2.TimelineRequest,
        namespace=namespace,
        entity=entity,
        within=wire.stretch(start, end, "within"),
        as_of=wire.belief(as_of),
        limit=limit,
        page_token=page_token,
    )
    return Call("memory", "Timeline", request, timeout, namespace is None, wire.read_timeline)
