"""One suite for every record: corrections and undoing, in one transaction each. What is added is in `test_undoing`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from record_backends import PLACES, SPACE, T0, Bench, Place, stated, told

from core.clock import DAY
from core.errors import SapienceError
from core.nouns import AsOf, Contradiction, Fact, Interval
from core.ports import Record
from memory.temporal import holding

NOW = T0 + 100 * DAY


@pytest.fixture(params=PLACES)
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    place: Place = request.param(tmp_path)
    place.clear()
    bench = Bench(place)
    bench.clock.at = NOW
    bench.record.create_namespace("a")
    yield bench.record
    bench.record.close()


def refused(reason: str, call: Callable[[], object]) -> SapienceError:
    with pytest.raises(SapienceError) as caught:
        call()
    assert caught.value.reason == reason
    return caught.value


def held(record: Record, at: int, **as_of: int) -> list[Any]:
    """What Ann's Facts say at a moment."""
    asked = AsOf(valid_at=at, **as_of)
    found = holding(record.facts("a", "Ann", as_of=asked), asked)
    return sorted(fact.object if isinstance(fact.object, str) else fact.object.name for fact in found)


def test_a_correction_takes_back_and_says_what_is_right(record: Record) -> None:
    wrong = record.assert_fact("a", stated(valid=Interval(T0, T0 + 10 * DAY)))
    before = record.seq()
    retraction, assertion = record.correct_fact("a", wrong.id, entity="Rome")
    assert (retraction.retracted, retraction.statement, retraction.valid) == (True, wrong.statement, Interval(T0))
    assert (assertion.retracted, assertion.valid) == (False, wrong.valid)
    assert (retraction.seq, assertion.seq, record.seq()) == (before + 1, before + 2, before + 2)
    assert held(record, T0 + DAY) == ["Rome"]
    assert held(record, T0 + DAY, seq=before) == ["Paris"]
    assert held(record, T0 + DAY, told_by=NOW - DAY) == ["Paris"]
    assert held(record, T0 + 11 * DAY) == []


def test_a_correction_may_begin_later_and_leaves_what_was_said_of_the_time_after(record: Record) -> None:
    wrong = record.assert_fact("a", stated(valid=Interval(T0, T0 + 10 * DAY)))
    record.assert_fact("a", stated(valid=Interval(T0 + 20 * DAY)))
    added = record.correct_fact("a", wrong.id, literal="a boat", start=T0 + 5 * DAY)
    assert [fact.retracted for fact in added] == [True, False, False]
    for day, wanted in ((1, ["Paris"]), (6, ["a boat"]), (15, []), (25, ["Paris"])):
        assert held(record, T0 + day * DAY) == wanted


def test_what_cannot_be_corrected_is_refused_and_nothing_is_written(record: Record) -> None:
    wrong = record.assert_fact("a", stated(valid=Interval(T0, T0 + 10 * DAY)))
    back = record.retract_fact("a", wrong.id, T0 + 8 * DAY, None)
    seq = record.seq()
    refused("FACT_NOT_FOUND", lambda: record.correct_fact("a", "nothing", entity="Rome"))
    refused("CANNOT_CORRECT", lambda: record.correct_fact("a", back.id, entity="Rome"))
    refused("INVALID_FIELD", lambda: record.correct_fact("a", wrong.id, entity=" PARIS "))
    refused("INVALID_FIELD", lambda: record.correct_fact("a", wrong.id))
    early, late = (
        refused("INVALID_FIELD", lambda start=start: record.correct_fact("a", wrong.id, entity="Rome", start=start))  # type: ignore[misc]
        for start in (T0 - DAY, T0 + 10 * DAY)
    )
    assert early.field == late.field == "from"
    assert record.seq() == seq


def test_an_undone_assertion_is_gone_from_every_time_of_telling_and_not_from_the_audit(record: Record) -> None:
    fact = record.assert_fact("a", stated(at=T0))
    seq = record.seq()
    (added,) = record.undo_fact("a", seq=fact.seq)
    assert (added.retracted, added.told_at, added.seq) == (True, T0, seq + 1)
    assert held(record, NOW) == held(record, NOW, told_by=T0) == []
    assert held(record, NOW, seq=seq) == ["Paris"]
    refused("NOTHING_TO_UNDO", lambda: record.undo_fact("a", fact_id=fact.id))
    (again,) = record.undo_fact("a", fact_id=added.id)
    assert (again.retracted, held(record, NOW)) == (False, ["Paris"])


def test_an_undone_retraction_says_again_what_it_took_with_its_evidence(record: Record) -> None:
    (episode,) = (one.episode_id for one in record.remember("a", SPACE, [told("x")]))
    fact = record.assert_fact("a", stated(episode_id=episode))
    back = record.retract_fact("a", fact.id, NOW, None)
    (added,) = record.undo_fact("a", fact_id=back.id)
    assert (added.episode_id, added.valid, added.told_at) == (episode, Interval(NOW), back.told_at)
    assert held(record, NOW + DAY) == ["Paris"]


def test_what_no_write_of_a_fact_was_cannot_be_undone(record: Record) -> None:
    (kept,) = record.remember("a", SPACE, [told("x")])
    assert "commit" in refused("FACT_NOT_FOUND", lambda: record.undo_fact("a", seq=kept.seq)).message
    refused("FACT_NOT_FOUND", lambda: record.undo_fact("a", seq=10**6))
    refused("FACT_NOT_FOUND", lambda: record.undo_fact("a", fact_id="nothing"))
    record.create_namespace("b")
    other = record.assert_fact("b", stated())
    refused("FACT_NOT_FOUND", lambda: record.undo_fact("a", seq=other.seq))
    refused("FACT_NOT_FOUND", lambda: record.undo_fact("a", fact_id=other.id))


def test_where_a_policy_weighs_by_telling_an_undo_that_would_change_more_is_refused(record: Record) -> None:
    record.set_policy("a", "lives_in", Contradiction.SINGLE)
    old = record.assert_fact("a", stated(at=T0))
    record.assert_fact("a", stated(entity="Rome", at=T0 + DAY))
    back = record.retract_fact("a", old.id, None, T0 + 2 * DAY)
    seq = record.seq()
    refused("CANNOT_UNDO", lambda: record.undo_fact("a", fact_id=back.id))
    assert record.seq() == seq


def test_retries_are_answered_and_not_done_twice(record: Record) -> None:
    fact = record.assert_fact("a", stated())

    def corrected() -> list[Fact]:
        return record.correct_fact("a", fact.id, entity="Rome", request_id="c")

    first = corrected()
    seq = record.seq()
    assert corrected() == first
    undone = record.undo_fact("a", fact_id=first[1].id, request_id="u")
    assert record.undo_fact("a", fact_id=first[1].id, request_id="u") == undone
    assert record.seq() == seq + len(undone)
    refused("REQUEST_ID_REUSED", lambda: record.undo_fact("a", fact_id=fact.id, request_id="u"))
