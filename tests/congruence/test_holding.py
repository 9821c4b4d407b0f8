"""What holds, changed, and leads where: on every record the same, row for row, as over plain lists."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_backends import PLACES, Bench, Place, stated
from record_oracle import Oracle
from sapience.v1 import concept_pb2
from sapience.v1 import memory_pb2 as pb

from core.nouns import AsOf, Contradiction, Interval
from services.memory import holding

NAMES = ("ann", "bob", "Cy", "dee")
RELATIONS = ("knows", "likes", "lives_in")
bound = st.none() | st.integers(0, 5)
told = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(RELATIONS), st.sampled_from([*NAMES, "=tea"]), bound, bound,
    st.integers(0, 3), st.integers(0, 4), st.sampled_from([0.2, 1.0]),
)  # fmt: skip
policy = st.tuples(st.sampled_from(RELATIONS), st.sampled_from(Contradiction))
moments = st.builds(AsOf, valid_at=st.integers(-1, 6), told_by=st.integers(-1, 4), seq=st.integers(1, 16))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    return made


def write(record: Any, oracle: Any, steps: list[tuple[Any, ...]]) -> None:
    """The same steps on both, with ids given by their numbers."""
    for store in (record, oracle):
        store.create_namespace("a")
    for number, step in enumerate(steps):
        if len(step) == 2:
            for store in (record, oracle):
                store.set_policy("a", *step)
            continue
        subject, relation, target, start, end, at, retracted, trust = step
        if start is not None and end is not None and start >= end:
            start, end = end, start + 1
        fact = stated(
            subject, relation, target, literal=target[1:] if target[0] == "=" else None, valid=Interval(start, end),
            at=at, retracted=retracted == 0, given_id=f"f{number:02}",
        )  # fmt: skip
        for store in (record, oracle):
            store.assert_fact("a", dataclasses.replace(fact, trust=trust))


def rows(message: Any) -> Any:
    """A response without the times of commits, which the lists do not know."""
    bare = type(message)()
    bare.CopyFrom(message)
    differences = [bare.belief, bare.world] if isinstance(bare, pb.ChangesResponse) else []
    paths = [path.facts for path in bare.paths] if isinstance(bare, pb.PathsResponse) else []
    listed = [getattr(bare, "facts", []), getattr(bare, "policies", []), *paths]
    for facts in (*listed, *(part for one in differences for part in (one.gained, one.lost))):
        for fact in facts:
            fact.ClearField("recorded_at")
    return bare


class Lists(Oracle):
    """The oracle, called as the service calls a record."""

    def facts(self, namespace: str, entity: Any = None, relation: str = "", as_of: AsOf = AsOf(), contended: Any = ()):  # type: ignore[no-untyped-def, override]
        return super().facts(namespace, entity, relation, as_of, contended)

    def names_of(self, namespace: str, name: str, as_of: AsOf = AsOf()) -> tuple[str, ...]:
        """The name as it is: nothing is merged here."""
        return (name,)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    st.lists(told | told | policy, max_size=14), moments, moments, st.permutations(NAMES), st.sampled_from(RELATIONS)
)
def test_every_read_of_what_holds_is_the_same(
    place: Place, steps: list[tuple[Any, ...]], before: AsOf, after: AsOf, names: list[str], relation: str
) -> None:
    place.clear()
    bench, oracle = Bench(place), Lists()
    one, other, *_ = names
    near = holding.read_neighbours(pb.NeighboursRequest(namespace="a", entity=one, hops=3))
    way = holding.read_paths(pb.PathsRequest(namespace="a", start=one, end=other, limit=100))
    changes = [
        holding.read_changes(pb.ChangesRequest(namespace="a", before=concept_pb2.AsOf(), **fields))
        for fields in ({}, {"entity": one}, {"relation": relation}, {"entity": one, "relation": relation, "limit": 1})
    ]
    try:
        write(bench.record, oracle, steps)

        def answers(store: Any) -> list[Any]:
            return [
                rows(holding.neighbours(store, near, before)),
                rows(holding.paths(store, way, before)),
                rows(holding.policies(store, "a", before)),
                *(rows(holding.changes(store, query, before, after)) for query in changes),
            ]

        assert answers(bench.record) == answers(oracle)
    finally:
        bench.record.close()
