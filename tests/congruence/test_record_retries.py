"""A request with an id is answered once and done once; on both backends."""

from __future__ import annotations

import dataclasses

from record_backends import (
    SPACE,
    T0,
    Bench,
    ids_of,
    refused,
    stated,
    told,
)

from core.errors import AlreadyExists, FailedPrecondition
from core.nouns import (
    Interval,
    Space,
)
from core.ports import Record


def test_a_retry_is_answered_and_not_done_twice(bench: Bench) -> None:
    batch = [told("x"), told("x"), told("y")]
    first = bench.record.remember("a", SPACE, batch, request_id="r1")
    before = bench.record.counts("a")
    # A retry is perceived anew, a moment later: the time filled in and the vectors may differ.
    later = [dataclasses.replace(one, told_at=T0 + 9, concepts=()) for one in batch]
    for retry in (batch, later):
        assert bench.reopen().remember("a", SPACE, retry, request_id="r1") == first
    assert bench.record.counts("a") == before


def test_a_request_id_stands_for_one_request_of_one_namespace(record: Record) -> None:
    record.remember("a", SPACE, [told("x")], request_id="r1")
    for others in ([told("y")], [told("x"), told("y")], [], [told("x", speaker="Bob")]):
        error = refused(AlreadyExists, "REQUEST_ID_REUSED", record.remember, "a", SPACE, others, "r1")
        assert error.field == "request_id"
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.assert_fact("a", stated(), request_id="r1"))
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.forget("a", speaker="Ann", request_id="r1"))
    assert not record.remember("b", SPACE, [told("y")], request_id="r1")[0].duplicate


def test_a_request_that_failed_may_be_made_again(record: Record) -> None:
    record.remember("a", SPACE, [told("x")])
    refused(FailedPrecondition, "SPACE_MISMATCH", lambda: record.remember("a", Space("o", "1", 4), [told("y")], "r1"))
    assert not record.remember("a", SPACE, [told("y")], request_id="r1")[0].duplicate


def test_an_answer_is_dropped_when_it_is_old_and_its_id_is_free_then(bench: Bench) -> None:
    record = bench.record
    for number in range(4):
        record.remember("ab"[number % 2], SPACE, [told(f"{number}")], request_id=f"r{number}")
    before, seq = (
        record.episodes("a", ids_of(record, told("between")))[ids_of(record, told("between"))[0]],
        record.seq(),
    )
    late = record.remember("a", SPACE, [told("late")], request_id="late")
    assert record.drop_answers(before.recorded_at, 3) == 3
    assert record.drop_answers(before.recorded_at, 3) == 1
    assert record.drop_answers(before.recorded_at, 3) == 0
    assert record.seq() == seq + 1, "no commit but the last write's"
    assert record.remember("a", SPACE, [told("late")], request_id="late") == late
    assert record.remember("a", SPACE, [told("0")], request_id="r0")[0].duplicate, "a new request, of known content"


def test_facts_are_retried_too(record: Record) -> None:
    asserted = record.assert_fact("a", stated(valid=Interval(T0), at=T0), request_id="r1")
    assert record.assert_fact("a", stated(valid=Interval(T0), at=T0), request_id="r1") == asserted
    # "Valid from when it was told, which is now" is the same a moment later.
    assert record.assert_fact("a", stated(valid=Interval(T0 + 5), at=T0 + 5), request_id="r1") == asserted
    for other in (stated(valid=Interval(T0 + 1), at=T0), stated("Bob"), stated(literal="Paris")):
        refused(AlreadyExists, "REQUEST_ID_REUSED", record.assert_fact, "a", other, "r1")
    taken_back = record.retract_fact("a", asserted.id, T0 + 1, None, request_id="r2")
    assert record.retract_fact("a", asserted.id, T0 + 1, None, request_id="r2") == taken_back
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.retract_fact("a", asserted.id, T0, None, "r2"))
    assert len(record.facts("a")) == 2


def test_forgetting_is_retried_too(record: Record) -> None:
    ids_of(record, told("x"))
    gone = record.forget("a", speaker="Ann", request_id="r1")
    assert record.forget("a", speaker="Ann", request_id="r1") == gone
    assert gone.episodes == 1
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.forget("a", speaker="Bob", request_id="r1"))
