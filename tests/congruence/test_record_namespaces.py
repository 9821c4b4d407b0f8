"""Namespaces of a record: made, listed, deleted, told apart; on both backends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
from record_backends import (
    ALL,
    MUST_HAVE_NEO4J,
    NEO4J_URL,
    NOW,
    SPACE,
    T0,
    WITHOUT_NEO4J,
    concept,
    ids_of,
    refused,
    stated,
    told,
)

from core.clock import DAY
from core.errors import AlreadyExists, NotFound
from core.ids import entity_id
from core.nouns import (
    Contradiction,
    Interval,
    NewFact,
    Space,
)
from core.ports import Record


def test_the_server_is_tested_as_well() -> None:
    """One skip that says how, in place of one for each test."""
    if not NEO4J_URL and MUST_HAVE_NEO4J:
        pytest.fail(WITHOUT_NEO4J)
    if not NEO4J_URL:
        pytest.skip(WITHOUT_NEO4J)


def test_namespaces_are_listed_by_name_with_the_time_they_were_made(record: Record) -> None:
    made = record.create_namespace("Ä b")
    assert [one.name for one in record.namespaces()] == ["a", "b", "Ä b"]
    assert record.namespaces()[-1] == made
    assert T0 < made.created_at < T0 + DAY


def test_a_name_is_taken_once(record: Record) -> None:
    refused(AlreadyExists, "NAMESPACE_EXISTS", lambda: record.create_namespace("a"))


CALLS: dict[str, Callable[[Record], object]] = {
    "delete_namespace": lambda r: r.delete_namespace("no"),
    "remember": lambda r: r.remember("no", SPACE, [told("x", concepts=(concept("x", vector=[1]),))]),
    "space_of": lambda r: r.space_of("no"),
    "episodes": lambda r: r.episodes("no", ["x"]),
    "window": lambda r: r.window("no", ["x"], 1),
    "concepts": lambda r: r.concepts("no", ["x"]),
    "concepts_of": lambda r: r.concepts_of("no", ["x"]),
    "columns_of": lambda r: r.columns_of("no", ["x"]),
    "speakers": lambda r: r.speakers("no"),
    "term_statistics": lambda r: r.term_statistics("no", [1]),
    "assert_fact": lambda r: r.assert_fact("no", NewFact("", "", Interval(), 0)),
    "retract_fact": lambda r: r.retract_fact("no", "x", None, None),
    "assert_facts": lambda r: r.assert_facts("no", [NewFact("", "", Interval(), 0)]),
    "correct_fact": lambda r: r.correct_fact("no", "x"),
    "undo_fact": lambda r: r.undo_fact("no", fact_id="x"),
    "facts": lambda r: r.facts("no"),
    "set_policy": lambda r: r.set_policy("no", "\ud800", Contradiction.SET),
    "policies": lambda r: r.policies("no"),
    "timeline": lambda r: r.timeline("no", ALL, NOW, 10),
    "forget": lambda r: r.forget("no"),
    "archive": lambda r: r.archive("no", ["x"]),
    "thaw": lambda r: r.thaw("no", ["x"]),
    "archived_concepts": lambda r: r.archived_concepts("no", NOW),
    "keepings": lambda r: r.keepings("no", ["x"]),
    "set_hold": lambda r: r.set_hold("no", ["x"], "h"),
    "set_expiry": lambda r: r.set_expiry("no", ["x"], 1),
    "time_to_live": lambda r: r.time_to_live("no"),
    "set_time_to_live": lambda r: r.set_time_to_live("no", None),
    "expire": lambda r: r.expire("no", 1, 1),
    "add_uses": lambda r: r.add_uses("no", {}),
    "export_episodes": lambda r: r.export_episodes("no"),
    "concept_ids": lambda r: r.concept_ids("no"),
    "counts": lambda r: r.counts("no"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_unknown_namespace_is_told_before_anything_else(record: Record, call: Callable[[Record], object]) -> None:
    error = refused(NotFound, "NAMESPACE_NOT_FOUND", lambda: call(record))
    assert "'no'" in error.message


def test_a_deleted_namespace_leaves_one_outbox_entry_and_its_name_free(record: Record) -> None:
    ids_of(record, told("x"), told("y", position=1))
    episode = ids_of(record, told("x"), namespace="b")[0]
    record.assert_fact("a", stated())
    record.remember("a", SPACE, [told("z")], request_id="r")
    assert record.delete_namespace("a") == 3
    entries = record.outbox(10)
    assert [(one.namespace, one.deleted, len(one.concept_ids)) for one in entries] == [
        ("a", False, 2), ("b", False, 1), ("a", False, 1), ("a", True, 0),
    ]  # fmt: skip
    assert entries[-1].space == SPACE
    refused(NotFound, "NAMESPACE_NOT_FOUND", lambda: record.counts("a"))
    record.create_namespace("a")
    assert record.counts("a") == dataclasses.replace(record.counts(), episodes=0, concepts=0, outbox_pending=3)
    assert record.space_of("a") is None
    assert record.facts("a") == []
    other = Space("another", "2", 2)
    assert not record.remember("a", other, [told("z", concepts=())], request_id="r")[0].duplicate
    assert list(record.episodes("b", [episode])) == [episode]


def test_a_namespace_without_vectors_leaves_no_outbox_entry(record: Record) -> None:
    assert record.delete_namespace("b") == 0
    assert record.outbox(10) == []


def test_two_namespaces_never_mix(record: Record) -> None:
    mine, theirs = ids_of(record, told("x")), ids_of(record, told("x", speaker="Eve", terms=[9]), namespace="b")
    fact = record.assert_fact("b", stated("Eve"))
    concepts = [one.concept.id for one in record.concepts_of("b", theirs)[theirs[0]]]
    assert record.episodes("a", theirs) == {}
    assert record.window("a", theirs, 3) == {}
    assert record.concepts("a", concepts) == {}
    assert record.concepts_of("a", theirs) == {}
    assert record.columns_of("a", theirs).ids == ()
    assert record.speakers("a") == {"Ann": 1}
    assert record.term_statistics("a", [9]).document_frequency == {}
    assert record.facts("a", entity="Eve") == []
    assert fact.subject.id != entity_id("a", "Eve")
    assert [one.id for one in record.timeline("a", ALL, NOW, 10)] == mine
    assert record.forget("a", episode_ids=theirs).episodes == 0
    assert record.forget("a", speaker="Eve").episodes == 0
    assert record.episodes("b", theirs).keys() == set(theirs)
