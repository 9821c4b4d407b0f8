"""What holds as of a time, between the wire and the record: neighbours, paths, changes, and the policies behind them.

`read_...` checks a request before anything is done. What takes a Record reads it, and belongs on a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial

from sapience.v1 import concept_pb2
from sapience.v1 import memory_pb2 as pb

from core.errors import InvalidArgument
from core.nouns import AsOf, Contradiction, Fact, RelationPolicy
from core.ports import Record
from memory import temporal
from memory.paths import paths as find_paths
from services import wire
from services.memory.facts import MAX_NAME, checked_relation, same_name

MAX_HOPS = 4


class Belief:
    """The Facts of a namespace as they were known at one point in time, under the policies of its commit."""

    def __init__(self, record: Record, namespace: str, as_of: AsOf) -> None:
        self.policies = {one.relation: one.policy for one in record.policies(namespace, as_of)}
        self.contended = {relation for relation, one in self.policies.items() if one is not Contradiction.MANY}
        self._record = record
        self._namespace = namespace
        self._as_of = as_of

    def shown(self, entity: str) -> str:
        """The name that an Entity is shown by, and that Facts call it, by any of its names."""
        return self._record.names_of(self._namespace, entity, self._as_of)[0]

    def facts_of(self, entity: str) -> list[Fact]:
        """All versions of the Facts that touch an Entity, and of their rivals."""
        return self._record.facts(self._namespace, entity, as_of=self._as_of, contended=self.contended)

    def holding_of(self, entity: str, limit: int) -> list[Fact]:
        """What touches an Entity and holds, the first `limit` by id; for relations with a policy, all versions."""
        found = self._record.around(self._namespace, entity, self._as_of, self.contended, limit)
        for relation in sorted(self.contended):
            found += self._record.facts(self._namespace, entity, relation, self._as_of, self.contended)
        return found


# Around one Entity, and between two


@dataclass(frozen=True, slots=True)
class NeighboursQuery:
    """A Neighbours request, checked."""

    namespace: str
    entity: str
    hops: int
    limit: int


def read_neighbours(request: pb.NeighboursRequest) -> NeighboursQuery:
    """Checks a Neighbours request."""
    return NeighboursQuery(
        wire.checked_namespace(request.namespace),
        wire.checked_text(request.entity, "entity", MAX_NAME),
        wire.checked_limit(request.hops, "hops", 1, MAX_HOPS),
        wire.checked_limit(request.limit, "limit", 100, 1000),
    )


def neighbours(record: Record, query: NeighboursQuery, as_of: AsOf) -> pb.NeighboursResponse:
    """The Facts around an Entity."""
    belief = Belief(record, query.namespace, as_of)
    # Further than one hop, as many again as may have been found already: less than the limit, or no step is taken.
    near = partial(belief.holding_of, limit=query.limit if query.hops == 1 else 2 * query.limit)
    found = temporal.neighbours(belief.shown(query.entity), query.hops, near, as_of, query.limit, belief.policies)
    return pb.NeighboursResponse(facts=[wire.fact_to(one) for one in found], as_of=wire.as_of_to(as_of))


@dataclass(frozen=True, slots=True)
class PathsQuery:
    """A Paths request, checked."""

    namespace: str
    start: str
    end: str
    hops: int
    limit: int


def read_paths(request: pb.PathsRequest) -> PathsQuery:
    """Checks a Paths request."""
    query = PathsQuery(
        wire.checked_namespace(request.namespace),
        wire.checked_text(request.start, "start", MAX_NAME),
        wire.checked_text(request.end, "end", MAX_NAME),
        wire.checked_limit(request.hops, "hops", MAX_HOPS, MAX_HOPS),
        wire.checked_limit(request.limit, "limit", 10, 100),
    )
    if same_name(query.start, query.end):
        raise InvalidArgument(
            f"start and end are both {query.start!r}; a path leads to another Entity, Neighbours shows what is around",
            field="end",
        )
    return query


def paths(record: Record, query: PathsQuery, as_of: AsOf) -> pb.PathsResponse:
    """The ways between two Entities."""
    belief = Belief(record, query.namespace, as_of)
    start, end = belief.shown(query.start), belief.shown(query.end)
    if same_name(start, end):
        raise InvalidArgument(f"start and end are names of one Entity, {start!r}; a path leads to another", field="end")
    found = find_paths(start, end, query.hops, belief.facts_of, as_of, query.limit, belief.policies)
    response = pb.PathsResponse(as_of=wire.as_of_to(as_of), truncated=found.truncated)
    for path in found.found:
        response.paths.add(facts=[wire.fact_to(fact) for fact in path])
    return response


# Between two times


@dataclass(frozen=True, slots=True)
class ChangesQuery:
    """A Changes request, checked. Empty names mean all."""

    namespace: str
    entity: str
    relation: str
    limit: int


def read_changes(request: pb.ChangesRequest) -> ChangesQuery:
    """Checks a Changes request."""
    if not request.HasField("before"):
        raise InvalidArgument(
            "before is not given; say from which point in time on changes are asked for", field="before"
        )
    return ChangesQuery(
        wire.checked_namespace(request.namespace),
        wire.checked_text(request.entity, "entity", MAX_NAME) if request.entity else "",
        checked_relation(request.relation, "relation") if request.relation else "",
        wire.checked_limit(request.limit, "limit", 100, 1000),
    )


def changes(record: Record, query: ChangesQuery, before: AsOf, after: AsOf) -> pb.ChangesResponse:
    """What changed between two points in time."""
    then, now = (Belief(record, query.namespace, as_of) for as_of in (before, after))
    either = AsOf(told_by=max(before.told_by, after.told_by), seq=max(before.seq, after.seq))
    facts = record.facts(query.namespace, query.entity or None, query.relation, either, then.contended | now.contended)
    found = temporal.changes(facts, before, after, then.policies, now.policies)
    # Both sides are told with Entities as the later commit has them merged, by which the earlier may know another name.
    about = {one.shown(query.entity) for one in (then, now)} if query.entity else set()
    return pb.ChangesResponse(
        belief=_difference_to(found.belief, about, query.limit),
        world=_difference_to(found.world, about, query.limit),
        before=wire.as_of_to(before),
        after=wire.as_of_to(after),
    )


def _difference_to(difference: temporal.Difference, about: Collection[str], limit: int) -> pb.Difference:
    gained, lost = (
        [
            fact for fact in facts if not about or any(temporal.touches(fact, name) for name in about)
        ]  # rivals were read to judge by only
        for facts in (difference.gained, difference.lost)
    )

    def shown(facts: Sequence[Fact]) -> list[concept_pb2.Fact]:
        return [wire.fact_to(fact) for fact in facts[:limit]]

    return pb.Difference(gained=shown(gained), lost=shown(lost), gained_total=len(gained), lost_total=len(lost))


# Policies


def read_policy(relation: str, policy: int, path: str = "") -> tuple[str, Contradiction]:
    """A relation and its policy, checked."""
    checked_relation(relation, f"{path}relation")
    if policy not in tuple(Contradiction):
        raise InvalidArgument(
            f"{path}policy is {policy or 'not given'}; give MANY, SINGLE or SET", field=f"{path}policy"
        )
    return relation, Contradiction(policy)


def read_policies(request: pb.ListRelationPoliciesRequest) -> str:
    """Checks a ListRelationPolicies request; its namespace."""
    for axis in ("valid_at", "told_by"):
        if request.as_of.HasField(axis):
            raise InvalidArgument(
                f"policies are set by commits, no source tells them: leave {axis} out", field=f"as_of.{axis}"
            )
    return wire.checked_namespace(request.namespace)


def policies(record: Record, namespace: str, as_of: AsOf) -> pb.ListRelationPoliciesResponse:
    """The policies that counted then."""
    found = [policy_to(one) for one in record.policies(namespace, as_of)]
    return pb.ListRelationPoliciesResponse(policies=found, as_of=wire.as_of_to(as_of))


def policy_to(policy: RelationPolicy) -> concept_pb2.RelationPolicy:
    """A policy as a message."""
    return concept_pb2.RelationPolicy(
        relation=policy.relation,
        policy=concept_pb2.ContradictionPolicy.ValueType(policy.policy),
        recorded_at=wire.timestamp(policy.recorded_at),
        seq=policy.seq,
    )
