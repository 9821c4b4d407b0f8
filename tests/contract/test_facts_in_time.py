"""What holds, over the wire: contradiction policies as of any commit, changes between two times, paths."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import refusal, says, stats
from sapience.v1 import concept_pb2 as c
from sapience.v1 import memory_pb2 as pb

MANY, SINGLE, SET = c.CONTRADICTION_POLICY_MANY, c.CONTRADICTION_POLICY_SINGLE, c.CONTRADICTION_POLICY_SET


def year(number: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromJsonString(f"{number}-01-01T00:00:00Z")
    return stamp


class Told:
    """A namespace, and short ways to tell and to ask."""

    def __init__(self, memory: Any, namespace: str) -> None:
        self.memory = memory
        self.name = namespace

    def tell(self, subject: str, relation: str, entity: str, since: int, told: int, trust: float = 1.0) -> c.Fact:
        request = pb.AssertFactRequest(
            namespace=self.name, subject=subject, relation=relation, entity=entity,
            valid=c.Interval(start=year(since)), told_at=year(told), trust=trust,
        )  # fmt: skip
        return self.memory.AssertFact(request).fact

    def policy(self, relation: str, policy: Any, request_id: str = "") -> c.RelationPolicy:
        request = pb.SetRelationPolicyRequest(
            namespace=self.name, relation=relation, policy=policy, request_id=request_id
        )
        return self.memory.SetRelationPolicy(request).policy

    def policies(self, **as_of: Any) -> list[c.RelationPolicy]:
        request = pb.ListRelationPoliciesRequest(namespace=self.name, as_of=c.AsOf(**as_of))
        return list(self.memory.ListRelationPolicies(request).policies)

    def around(self, entity: str, **as_of: Any) -> list[str]:
        request = pb.NeighboursRequest(namespace=self.name, entity=entity, as_of=c.AsOf(**as_of))
        return [fact.entity.name for fact in self.memory.Neighbours(request).facts]

    def changes(self, before: c.AsOf, **fields: Any) -> pb.ChangesResponse:
        return self.memory.Changes(pb.ChangesRequest(namespace=self.name, before=before, **fields))


@pytest.fixture
def told(memory: Any, namespace: str) -> Told:
    return Told(memory, namespace)


def names(facts: Any) -> list[str]:
    return [fact.entity.name for fact in facts]


def test_a_single_relation_answers_with_one_and_every_commit_with_the_policy_of_then(told: Told) -> None:
    told.tell("Ada", "lives_in", "Rome", since=2020, told=2020)
    told.tell("Ada", "lives_in", "Oslo", since=2022, told=2023)
    assert told.around("Ada") == ["Rome", "Oslo"]
    single = told.policy("lives_in", SINGLE)
    assert told.around("Ada") == ["Oslo"]
    assert told.around("Rome") == [], "its rival does not touch Rome, and still wins"
    assert told.around("Ada", valid_at=year(2021)) == ["Rome"]
    assert told.around("Ada", valid_at=year(2024), told_by=year(2022)) == ["Rome"]
    assert told.around("Ada", seq=single.seq - 1) == ["Rome", "Oslo"]
    assert told.around("Ada", recorded_by=single.recorded_at) == ["Oslo"]
    told.tell("Ada", "lives_in", "Bonn", since=2022, told=2024, trust=0.5)
    assert told.around("Ada") == ["Oslo"], "later, but less trusted"
    history = told.memory.FactHistory(pb.FactHistoryRequest(namespace=told.name, subject="Ada"))
    assert names(history.facts) == ["Rome", "Oslo", "Bonn"], "nothing is overwritten"
    assert len(told.memory.Timeline(pb.TimelineRequest(namespace=told.name)).entries) == 3


def test_policies_are_listed_as_of_a_commit_and_written_once(told: Told) -> None:
    assert told.policies() == []
    first = told.policy("lives_in", SINGLE, request_id="one")
    second = told.policy("has_child", SET)
    third = told.policy("lives_in", MANY)
    assert told.policies() == [second, third]
    assert told.policies(seq=second.seq) == [second, first]
    assert told.policies(recorded_by=first.recorded_at) == [first]
    before = stats(told.memory)
    assert told.policy("lives_in", SINGLE, request_id="one") == first, "a retry is answered"
    assert told.policy("has_child", SET) == second
    assert stats(told.memory) == before
    says(
        refusal(lambda: told.policy("lives_in", SET, request_id="one")),
        StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id", "'one'",
    )  # fmt: skip


def test_changes_tell_what_happened_from_what_was_learnt(told: Told) -> None:
    told.policy("lives_in", SINGLE)
    rome = told.tell("Ada", "lives_in", "Rome", since=2020, told=2020)
    told.tell("Ada", "lives_in", "Oslo", since=2024, told=2024)
    told.tell("Ada", "works_at", "Mill", since=2019, told=2024)
    told.tell("Bob", "lives_in", "Rome", since=2019, told=2023)

    found = told.changes(
        c.AsOf(valid_at=year(2021), told_by=year(2021)), after=c.AsOf(valid_at=year(2025), told_by=year(2025))
    )
    assert names(found.belief.gained) == ["Rome", "Mill"], "true in 2021 already, told later"
    assert [fact.subject.name for fact in found.belief.gained] == ["Bob", "Ada"]
    assert names(found.belief.lost) == []
    assert (names(found.world.gained), names(found.world.lost)) == (["Oslo"], ["Rome"])
    assert list(found.world.lost) == [rome]
    assert found.before.valid_at == year(2021)
    assert found.after.told_by == year(2025)
    assert found.before.HasField("seq")

    about = told.changes(c.AsOf(valid_at=year(2021), told_by=year(2021)), entity="rome")
    assert (names(about.belief.gained), names(about.world.gained)) == (["Rome"], [])
    assert names(about.world.lost) == ["Rome"], "Oslo took its place, though it does not touch Rome"
    one = told.changes(c.AsOf(valid_at=year(2021), told_by=year(2021)), relation="works_at")
    assert names(one.belief.gained) == ["Mill"]
    few = told.changes(c.AsOf(valid_at=year(2021), told_by=year(2021)), limit=1)
    assert (len(few.belief.gained), few.belief.gained_total) == (1, 2)

    nothing = told.changes(c.AsOf())
    assert (nothing.belief, nothing.world) == (pb.Difference(), pb.Difference())


def test_a_change_of_policy_is_a_change_of_belief(told: Told) -> None:
    told.tell("Ada", "lives_in", "Rome", since=2020, told=2020)
    last = told.tell("Ada", "lives_in", "Oslo", since=2020, told=2021)
    told.policy("lives_in", SINGLE)
    found = told.changes(c.AsOf(valid_at=year(2022), seq=last.seq), after=c.AsOf(valid_at=year(2022)))
    assert (names(found.belief.lost), found.world) == (["Rome"], pb.Difference())


def test_paths_are_the_ways_that_hold(told: Told) -> None:
    told.tell("Ada", "knows", "Bob", since=2020, told=2020)
    told.tell("Bob", "lives_in", "Rome", since=2020, told=2020)
    told.tell("Cy", "lives_in", "Rome", since=2022, told=2022)
    told.tell("Ada", "knows", "Cy", since=2024, told=2024)

    def ways(**fields: Any) -> list[list[tuple[str, str]]]:
        found = told.memory.Paths(pb.PathsRequest(namespace=told.name, start="Ada", end="rome", **fields))
        assert found.as_of.HasField("seq")
        return [[(fact.subject.name, fact.entity.name) for fact in path.facts] for path in found.paths]

    by_bob, by_cy = [("Ada", "Bob"), ("Bob", "Rome")], [("Ada", "Cy"), ("Cy", "Rome")]
    assert ways() == [by_bob, by_cy]
    assert ways(as_of=c.AsOf(valid_at=year(2023))) == [by_bob]
    assert ways(hops=1) == []
    cut = told.memory.Paths(pb.PathsRequest(namespace=told.name, start="Ada", end="Rome", limit=1))
    assert (len(cut.paths), cut.truncated) == (1, True)
    nowhere = told.memory.Paths(pb.PathsRequest(namespace=told.name, start="Ada", end="Nobody"))
    assert (len(nowhere.paths), nowhere.truncated) == (0, False)
