"""Facts and the policies of their relations, version after version; on both backends."""

from __future__ import annotations

import dataclasses

import pytest
from record_backends import (
    T0,
    ids_of,
    refused,
    stated,
    told,
)

from core.clock import LATEST
from core.errors import AlreadyExists, InvalidArgument, NotFound
from core.ids import entity_id
from core.nouns import (
    AsOf,
    Contradiction,
    Entity,
    Interval,
    NewFact,
    Precision,
)
from core.ports import Record


def test_a_fact_comes_back_whole(record: Record) -> None:
    (episode,) = ids_of(record, told("Ann moved to Paris in May"))
    valid = Interval(T0 - 9, T0 + 9, Precision.MONTH, "in May", "Europe/Paris")
    given = dataclasses.replace(stated(" Ann ", entity="Paris", valid=valid, episode_id=episode), trust=0.25)
    fact = record.assert_fact("a", given)
    assert fact.subject == Entity(entity_id("a", "ann"), " Ann ")
    assert fact.object == Entity(entity_id("a", "Paris"), "Paris")
    assert (fact.relation, fact.valid, fact.told_at, fact.episode_id) == ("lives_in", valid, T0, episode)
    assert (fact.trust, fact.retracted, fact.seq) == (0.25, False, record.seq())
    assert record.facts("a") == [fact]
    open_ended = record.assert_fact("a", stated("Bob", literal=""))
    assert (open_ended.object, open_ended.valid, open_ended.episode_id) == ("", Interval(), "")


def test_an_entity_is_made_once_for_each_normalised_name(record: Record) -> None:
    first = record.assert_fact("a", stated("Ann Lee", entity="Bob"))
    second = record.assert_fact("a", stated("bob", entity="ANN  lee"))
    assert second.object == first.subject
    assert second.subject == first.object
    record.assert_fact("a", stated("Ann Lee", literal="Cy"))
    assert record.counts("a").entities == 2
    assert [fact.seq for fact in record.facts("a", entity="aNN LEE ")] == [3, 4, 5]
    assert [fact.seq for fact in record.facts("a", entity="bob")] == [3, 4]
    assert record.facts("a", entity="Cy") == []
    assert record.facts("b", entity="Bob") == []


def test_a_fact_about_itself_is_listed_once(record: Record) -> None:
    record.assert_fact("a", stated("Ann", "knows", "ann"))
    assert len(record.facts("a", entity="Ann")) == 1


def test_facts_are_those_told_and_committed_by_then(record: Record) -> None:
    early = record.assert_fact("a", stated("Ann", "likes", "tea", at=10))
    late = record.assert_fact("a", stated("Ann", "likes", "milk", at=20, valid=Interval(T0, T0 + 1)))
    other = record.assert_fact("a", stated("Bob", "knows", "Ann", at=15))
    assert record.facts("a") == [early, late, other]
    assert record.facts("a", as_of=AsOf(told_by=15)) == [early, other]
    assert record.facts("a", as_of=AsOf(seq=late.seq)) == [early, late]
    assert record.facts("a", as_of=AsOf(valid_at=0, told_by=LATEST)) == [early, late, other]
    assert record.facts("a", relation="likes") == [early, late]
    assert record.facts("a", entity="Ann", relation="knows") == [other]


def test_a_retraction_is_one_more_version_of_the_statement(record: Record) -> None:
    fact = record.assert_fact("a", stated(valid=Interval(T0, T0 + 9)))
    never = record.retract_fact("a", fact.id, None, T0 + 5)
    later = record.retract_fact("a", never.id, T0 + 3, None)
    assert never.statement == later.statement == fact.statement
    assert never.retracted
    assert later.retracted
    assert (never.valid, never.told_at) == (Interval(), T0 + 5)
    assert (later.valid, later.told_at) == (Interval(T0 + 3), later.recorded_at)
    assert record.facts("a") == [fact, never, later]
    refused(NotFound, "FACT_NOT_FOUND", lambda: record.retract_fact("a", "nothing", None, None))
    refused(NotFound, "FACT_NOT_FOUND", lambda: record.retract_fact("b", fact.id, None, None))


def test_a_fact_needs_an_episode_that_is_there_and_one_object(record: Record) -> None:
    (elsewhere,) = ids_of(record, told("x"), namespace="b")
    for episode in ("nobody", elsewhere):
        refused(NotFound, "EPISODE_NOT_FOUND", record.assert_fact, "a", stated(episode_id=episode))
    for bad in (
        NewFact("Ann", "r", Interval(), T0),
        NewFact("Ann", "r", Interval(), T0, entity="x", literal="x"),
        stated(valid=Interval(5, 5)),
        stated("\ud800"),
    ):
        with pytest.raises(InvalidArgument):
            record.assert_fact("a", bad)
    assert record.counts("a") == dataclasses.replace(record.counts("a"), entities=0, facts=0)


def test_an_imported_fact_is_there_once(record: Record) -> None:
    given = stated("Ann", entity="Bob", valid=Interval(1, 2), given_id="mine")
    fact = record.assert_fact("a", given)
    assert fact.id == "mine"
    assert record.assert_fact("a", given) == fact
    for namespace, other in (("a", stated("Ann", entity="Cy", given_id="mine")), ("b", given)):
        refused(AlreadyExists, "FACT_ID_TAKEN", record.assert_fact, namespace, other)
    assert len(record.facts("a")) == 1


def test_several_facts_are_one_transaction_and_a_commit_each(record: Record) -> None:
    (episode,) = ids_of(record, told("x"))
    before = record.seq()
    batch = [
        stated("Ann", entity="ROME", given_id="one"),
        stated("Rome", "is_in", entity="Italy", episode_id=episode),
        stated("ann", literal="sea", retracted=True),
    ]
    kept = record.assert_facts("a", batch)
    assert [fact.seq for fact in kept] == [before + 1, before + 2, before + 3]
    assert [fact.recorded_at for fact in kept] == sorted({fact.recorded_at for fact in kept})
    assert record.facts("a") == kept
    assert [record.seq_at(fact.recorded_at) for fact in kept] == [fact.seq for fact in kept]
    assert (kept[1].subject.name, kept[2].subject.name) == ("ROME", "Ann"), "the first spelling is the Entity's"
    assert record.assert_facts("a", batch[:1]) == kept[:1], "brought again it is there once"
    twice = stated("Bob", given_id="two")
    assert len({fact.id for fact in record.assert_facts("a", [twice, twice])}) == 1
    assert record.assert_facts("a", []) == []
    held = record.counts("a")
    fine = stated("Cy", literal="x")
    refused(NotFound, "EPISODE_NOT_FOUND", record.assert_facts, "a", [fine, stated("Cy", episode_id="nobody")])
    refused(AlreadyExists, "FACT_ID_TAKEN", record.assert_facts, "a", [fine, stated("Dee", given_id="one")])
    with pytest.raises(InvalidArgument):
        record.assert_facts("a", [fine, stated(valid=Interval(5, 5))])
    assert record.counts("a") == held, "all or none"


def test_rivals_come_along_where_their_relation_is_contended(record: Record) -> None:
    rome = record.assert_fact("a", stated("Ann", "lives_in", "Rome", at=10))
    oslo = record.assert_fact("a", stated("Ann", "lives_in", "Oslo", at=20))
    likes = record.assert_fact("a", stated("Ann", "likes", "Rome", at=30))
    record.assert_fact("a", stated("Ann", "likes", "Oslo", at=30))
    record.assert_fact("a", stated("Bob", "lives_in", "Oslo", at=30))
    assert record.facts("a", "rome") == [rome, likes]
    assert record.facts("a", "rome", contended={"lives_in"}) == [rome, oslo, likes]
    assert record.facts("a", "rome", "lives_in", contended={"lives_in"}) == [rome, oslo]
    assert record.facts("a", "rome", as_of=AsOf(told_by=10), contended={"lives_in"}) == [rome]
    assert record.facts("a", "oslo", as_of=AsOf(seq=rome.seq), contended={"lives_in"}) == []
    assert record.facts("a", "nobody", contended={"lives_in"}) == []


# Policies.


def test_a_policy_counts_from_its_commit_on(record: Record) -> None:
    assert record.policies("a") == []
    single = record.set_policy("a", "lives_in", Contradiction.SINGLE)
    assert (single.relation, single.policy, single.seq) == ("lives_in", Contradiction.SINGLE, record.seq())
    assert record.seq_at(single.recorded_at) == single.seq
    members = record.set_policy("a", "has_member", Contradiction.SET)
    many = record.set_policy("a", "lives_in", Contradiction.MANY)
    assert record.policies("a") == [members, many]
    assert record.policies("a", AsOf(seq=many.seq - 1)) == [members, single]
    assert record.policies("a", AsOf(seq=single.seq)) == [single]
    assert record.policies("a", AsOf(seq=single.seq - 1)) == []
    assert record.policies("b") == []


def test_the_same_policy_again_is_no_commit(record: Record) -> None:
    first = record.set_policy("a", "lives_in", Contradiction.SINGLE, "r")
    seq = record.seq()
    assert record.set_policy("a", "lives_in", Contradiction.SINGLE) == first
    assert record.seq() == seq
    later = record.set_policy("a", "lives_in", Contradiction.SET)
    assert record.set_policy("a", "lives_in", Contradiction.SINGLE, "r") == first, "a retry is answered"
    assert record.policies("a") == [later]
    refused(AlreadyExists, "REQUEST_ID_REUSED", record.set_policy, "a", "lives_in", Contradiction.MANY, "r")


def test_policies_go_with_their_namespace_and_outlive_what_is_forgotten(record: Record) -> None:
    kept = record.set_policy("a", "lives_in", Contradiction.SINGLE)
    record.set_policy("b", "lives_in", Contradiction.SET)
    ids_of(record, told("x"))
    record.forget("a", speaker="Ann")
    record.delete_namespace("b")
    record.create_namespace("b")
    assert (record.policies("a"), record.policies("b")) == ([kept], [])
