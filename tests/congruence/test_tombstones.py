"""One suite for every record: what was deleted stays known by digests, and does not come back unseen.

Random histories that delete and tell again are in `test_record`, against its oracle.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from record_backends import PLACES, SPACE, T0, Bench, Place, SqlitePlace, stated, told

from core.clock import ManualClock
from core.errors import FailedPrecondition
from core.ids import RandomIds
from core.nouns import Expiry, Remembered, TimeToLive
from core.ports import Record
from memory.record.tombstones import Buried, episode_mark, fact_mark, identity_mark

LEFT_OUT = Remembered("", 0, deleted=True)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    made.clear()
    return made


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    made = Bench(place)
    made.record.create_namespace("a")
    made.record.create_namespace("b")
    yield made
    made.record.close()


@pytest.fixture
def record(bench: Bench) -> Record:
    return bench.record


def test_what_was_forgotten_is_not_written_where_it_is_not_to_be_brought_back(record: Record) -> None:
    (kept,) = record.remember("a", SPACE, [told("x", given_id="x1")])
    record.forget("a", episode_ids=["x1"])
    seq, pending = record.seq(), record.outbox(10)
    same_id, same_words = told("other", given_id="x1"), told("x", given_id="x2")
    assert record.remember("a", SPACE, [same_id, same_words, told("x")], bring_back=False) == [LEFT_OUT] * 3
    assert (record.seq(), record.outbox(10), record.counts("a").episodes) == (seq, pending, 0)
    assert not kept.deleted


def test_told_again_it_is_there_again_and_its_answer_says_so(record: Record) -> None:
    record.remember("a", SPACE, [told("x", given_id="x1")])
    record.forget("a", episode_ids=["x1"])
    (again,) = record.remember("a", SPACE, [told("x", given_id="x1")])
    assert (again.episode_id, again.duplicate, again.deleted) == ("x1", False, True)
    (known,) = record.remember("a", SPACE, [told("x", given_id="x1")], bring_back=False)
    assert (known.duplicate, known.deleted) == (True, False)
    record.forget("a", episode_ids=["x1"])
    assert record.remember("a", SPACE, [told("x")], bring_back=False) == [LEFT_OUT]


def test_words_that_were_told_again_are_no_longer_deleted_and_their_old_id_is(record: Record) -> None:
    record.remember("a", SPACE, [told("x", given_id="x1")])
    record.forget("a", episode_ids=["x1"])
    record.remember("a", SPACE, [told("x", given_id="x2")])
    assert record.remember("a", SPACE, [told("y", given_id="x1")], bring_back=False) == [LEFT_OUT]
    assert record.remember("a", SPACE, [told("x", given_id="x1")], bring_back=False)[0].duplicate


def test_a_batch_is_taken_but_for_what_was_deleted(record: Record) -> None:
    record.remember("a", SPACE, [told("x", given_id="x1")])
    record.forget("a", episode_ids=["x1"])
    answer = record.remember("a", SPACE, [told("x"), told("y"), told("y")], bring_back=False)
    assert answer[0] == LEFT_OUT
    assert [one.duplicate for one in answer] == [False, False, True]
    assert record.counts("a").episodes == 1


def test_a_retry_is_told_again_that_it_was_deleted(record: Record) -> None:
    record.remember("a", SPACE, [told("x")])
    record.forget("a", speaker="Ann")
    first = record.remember("a", SPACE, [told("x")], request_id="r")
    assert first[0].deleted
    assert record.remember("a", SPACE, [told("x")], request_id="r") == first


def test_facts_that_went_with_an_episode_do_not_come_back_either(record: Record) -> None:
    record.remember("a", SPACE, [told("x", given_id="x1")])
    gone = stated(episode_id="x1", given_id="f1")
    bare = stated(retracted=True, given_id="f2")
    record.assert_facts("a", [gone, bare])
    record.forget("a", episode_ids=["x1"])
    for fact in (bare, stated(given_id="f1")):
        with pytest.raises(FailedPrecondition) as caught:
            record.assert_facts("a", [fact], unless_deleted=["f1", "f2"])
        assert caught.value.reason == "FACT_DELETED"
    assert record.facts("a") == []
    record.assert_facts("a", [bare])
    assert [one.id for one in record.facts("a")] == ["f2"]
    assert record.assert_facts("a", [bare], unless_deleted=["f2"]), "it was brought back, and is no longer deleted"


def test_a_deletion_in_one_namespace_says_nothing_in_another(record: Record) -> None:
    record.remember("a", SPACE, [told("x", given_id="x1")])
    record.forget("a", episode_ids=["x1"])
    assert record.remember("b", SPACE, [told("x", given_id="x1")], bring_back=False) == [Remembered("x1", record.seq())]


def test_all_of_a_deleted_namespace_is_known_in_the_next_of_that_name(record: Record) -> None:
    record.remember("a", SPACE, [told("x", given_id="x1")])
    record.assert_facts("a", [stated(given_id="f1")])
    record.delete_namespace("a")
    record.create_namespace("a")
    assert record.remember("a", SPACE, [told("x", given_id="x1")], bring_back=False) == [LEFT_OUT]
    with pytest.raises(FailedPrecondition):
        record.assert_facts("a", [stated(given_id="f1")], unless_deleted=["f1"])


def test_what_ended_by_deletion_is_known_too(bench: Bench) -> None:
    bench.record.remember("a", SPACE, [told("x", given_id="x1")])
    bench.record.set_time_to_live("a", TimeToLive(1, Expiry.DELETE))
    bench.clock.at += 1000
    assert bench.record.expire("a", bench.clock.now(), 10).deleted == 1
    assert bench.reopen().remember("a", SPACE, [told("x")], bring_back=False) == [LEFT_OUT]


def test_a_tombstone_holds_no_word_and_no_id(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    clock = ManualClock(T0)
    record = place.open(clock, RandomIds(clock, seed=1))
    record.create_namespace("a")
    record.remember("a", SPACE, [told("nobody may read this", given_id="Ann-4711", external_id="ticket-0815")])
    record.assert_facts("a", [stated("Swordfish", given_id="fact-0042", episode_id="Ann-4711")])
    record.forget("a", episode_ids=["Ann-4711"])
    record.close()
    held = b"".join(path.read_bytes() for path in place.path.parent.iterdir())
    for word in (b"nobody may", b"Ann-4711", b"ticket-0815", b"Swordfish", b"fact-0042"):
        assert word not in held
    assert episode_mark("Ann-4711")[1].encode() in held


def test_digests_of_words_are_of_one_store_and_those_of_ids_of_all() -> None:
    assert identity_mark("same", b"1" * 32) != identity_mark("same", b"2" * 32)
    assert episode_mark("x")[1] != fact_mark("x")[1]
    assert {episode_mark("x")[0], fact_mark("x")[0], identity_mark("x", b"k")[0]} == set(Buried)
