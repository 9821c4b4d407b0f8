"""One suite for every record: archive and thaw, legal holds, ends, counts of use; and the index that follows.

Random histories of archive, thaw and hold are in `test_record_histories`, against its oracle.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from old_files import FIRST, oldest
from record_backends import SPACE, T0, Bench, Place, concept, stated, told

from core.clock import LATEST, ManualClock
from core.errors import AlreadyExists, FailedPrecondition, NotFound, SapienceError
from core.ids import RandomIds
from core.nouns import AsOf, EpisodeFilter, Expired, Expiry, Keeping, Moved, TimeToLive
from core.ports import Index, Record
from memory.index.edge import EdgeIndex
from memory.indexing import Indexer
from memory.recall import Recall, RecallQuery, RecallResult
from memory.record.sqlite import SqliteRecord

EVERYTHING = EpisodeFilter(kinds=())


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    made = Bench(place)
    made.record.create_namespace("a")
    yield made
    made.record.close()


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    made = EdgeIndex(tmp_path / "index")
    yield made
    made.close()


def remember(record: Record, *texts: str) -> list[str]:
    """Turns of one conversation, each with a vector and a term of its own."""
    batch = [
        told(text, position=n, concepts=(concept(text, vector=np.eye(4)[n], terms=[n + 1]),))
        for n, text in enumerate(texts)
    ]
    return [one.episode_id for one in record.remember("a", SPACE, batch)]


def refused(reason: str, call: Any) -> SapienceError:
    with pytest.raises(SapienceError) as caught:
        call()
    assert caught.value.reason == reason
    return caught.value


def drained(record: Record, index: Index) -> None:
    indexer = Indexer(record, index)
    while indexer.drain() is not None:
        pass


def found(record: Record, index: Index, number: int = 0, as_of: AsOf = AsOf()) -> RecallResult:
    query = RecallQuery("a", "what", SPACE, np.eye(4, dtype=np.float32)[number], as_of=as_of)
    return Recall(record, index).search(query)


def texts(result: RecallResult) -> list[str]:
    return [hit.episode.text for hit in result.hits]


# Archive and thaw.


def test_an_archived_episode_answers_by_id_timeline_export_and_history_but_not_to_recall(
    record: Record, index: Index
) -> None:
    first, second = remember(record, "one", "two")
    fact = record.assert_fact("a", stated(episode_id=first))
    before = record.episodes("a", [first])[first]
    concepts = record.concepts_of("a", [first])[first]
    statistics = record.term_statistics("a", [1, 2])
    moved = record.archive("a", [first])
    drained(record, index)
    assert moved == Moved((first,), 1, record.seq())
    assert texts(found(record, index)) == ["two"]
    kept = record.episodes("a", [first])[first]
    assert kept.archived_seq == moved.seq
    assert (kept.text, kept.seq, kept.recorded_at) == (before.text, before.seq, before.recorded_at)
    assert [one.vector.tobytes() for one in record.concepts_of("a", [first])[first]] == [concepts[0].vector.tobytes()]
    assert [one.id for one, _ in record.export_episodes("a")] == sorted([first, second])
    assert len(record.timeline("a", EVERYTHING, AsOf(), 10)) == 2
    assert record.facts("a") == [fact]
    assert record.term_statistics("a", [1, 2]) == statistics
    assert record.speakers("a") == {"Ann": 2}
    counts = record.counts("a")
    assert (counts.episodes, counts.concepts, counts.archived_episodes, counts.archived_concepts) == (2, 2, 1, 1)


def test_a_thaw_brings_it_back_as_it_was_with_no_encoder(record: Record, index: Index) -> None:
    first, _ = remember(record, "one", "two")
    drained(record, index)
    before, episode = found(record, index), record.episodes("a", [first])
    record.archive("a", [first])
    drained(record, index)
    moved = record.thaw("a", [first])
    drained(record, index)
    assert moved == Moved((first,), 1, record.seq())
    assert record.episodes("a", [first]) == episode
    assert found(record, index) == before


def test_an_archival_changes_no_score_of_the_others(record: Record, index: Index) -> None:
    """The dense channel alone: it has no neighbours, and each score is of one Episode."""
    remember(record, "one", "two", "three")
    (first, *_) = [episode.id for episode, _ in record.export_episodes("a") if episode.text == "one"]
    drained(record, index)
    query = RecallQuery("a", "what", SPACE, np.ones(4, np.float32), recipe="dense")
    raw = {hit.episode.text: hit.channels[0].raw for hit in Recall(record, index).search(query).hits}
    record.archive("a", [first])
    drained(record, index)
    after = {hit.episode.text: hit.channels[0].raw for hit in Recall(record, index).search(query).hits}
    assert after == {text: score for text, score in raw.items() if text != "one"}


def test_an_archived_neighbour_still_speaks(record: Record, index: Index) -> None:
    first, second = remember(record, "one", "two")
    record.archive("a", [second])
    drained(record, index)
    (hit,) = found(record, index, 1).hits
    assert hit.episode.id == first
    beside = {one.channel: one.raw for one in hit.channels}["neighbours"]
    record.forget("a", episode_ids=[second])
    drained(record, index)
    assert {one.channel: one.raw for one in found(record, index, 1).hits[0].channels}["neighbours"] < beside


def test_a_read_as_of_a_commit_before_the_archival_answers_what_was_answered_then(record: Record, index: Index) -> None:
    first, _ = remember(record, "one", "two")
    drained(record, index)
    then = AsOf(seq=record.seq())
    before = found(record, index, as_of=then)
    record.archive("a", [first])
    drained(record, index)
    assert texts(found(record, index)) == ["two"]
    again = found(record, index, as_of=then)
    assert texts(again) == texts(before)
    assert [hit.score for hit in again.hits] == pytest.approx([hit.score for hit in before.hits], abs=1e-5)


def test_archiving_twice_changes_nothing_the_second_time(record: Record) -> None:
    (first,) = remember(record, "one")
    record.archive("a", [first])
    seq, pending = record.seq(), len(record.outbox(10))
    assert record.archive("a", [first]) == Moved((), 0, 0)
    assert record.thaw("a", []) == Moved((), 0, 0)
    assert (record.seq(), len(record.outbox(10))) == (seq, pending)


def test_a_retry_is_answered_and_not_done_twice(record: Record) -> None:
    first, second = remember(record, "one", "two")
    moved = record.archive("a", [first], request_id="r")
    record.thaw("a", [first])
    assert record.archive("a", [first], request_id="r") == moved
    assert record.episodes("a", [first])[first].archived_seq == 0
    refused("REQUEST_ID_REUSED", lambda: record.archive("a", [second], request_id="r"))
    with pytest.raises(AlreadyExists):
        record.thaw("a", [first], request_id="r")


def test_one_unknown_id_archives_none(record: Record) -> None:
    (first,) = remember(record, "one")
    error = refused("EPISODE_NOT_FOUND", lambda: record.archive("a", [first, "nobody"]))
    assert isinstance(error, NotFound)
    assert record.episodes("a", [first])[first].archived_seq == 0


def test_what_is_archived_is_not_told_again_and_can_be_forgotten(record: Record, index: Index) -> None:
    (first,) = remember(record, "one")
    record.archive("a", [first])
    assert remember(record, "one") == [first]
    assert record.forget("a", episode_ids=[first]).concepts == 1
    drained(record, index)
    counts = record.counts("a")
    assert (counts.episodes, counts.archived_episodes, counts.archived_concepts) == (0, 0, 0)
    assert record.term_statistics("a", [1]).document_frequency == {}


def test_mending_the_index_leaves_out_what_is_archived(record: Record, index: Index) -> None:
    first, second = remember(record, "one", "two")
    drained(record, index)
    record.archive("a", [first])
    record.outbox_done(record.seq())  # as if the index had been restored from before
    indexer = Indexer(record, index)
    assert indexer.reconcile("a").foreign == 1
    assert [one.rpartition("/")[0] or one for one in index.ids(SPACE, "a")] == [
        one.rpartition("/")[0] or one for one in record.concept_ids("a")
    ]
    assert indexer.reconcile("a", thorough=True).missing == 0
    record.thaw("a", [first])
    record.outbox_done(record.seq())
    assert indexer.reconcile("a").missing == 1
    assert second in texts_of(record)


def texts_of(record: Record) -> list[str]:
    return [one.id for one, _ in record.export_episodes("a")]


def test_it_outlives_a_restart(bench: Bench) -> None:
    (first,) = remember(bench.record, "one")
    bench.record.archive("a", [first])
    bench.record.set_hold("a", [first], "case")
    again = bench.reopen()
    assert again.episodes("a", [first])[first].archived_seq == again.seq()
    assert again.keepings("a", [first])[first].holds == ("case",)


# Legal holds.


def test_what_is_held_is_neither_archived_nor_deleted_until_all_holds_are_released(record: Record) -> None:
    first, second = remember(record, "one", "two")
    assert record.set_hold("a", [first], "case 2") == 1
    assert record.set_hold("a", [first, second], "case 1") == 2
    assert record.set_hold("a", [first, second], "case 1") == 0
    assert record.keepings("a", [first])[first].holds == ("case 1", "case 2")
    for call in (
        lambda: record.archive("a", [first, second]),
        lambda: record.forget("a", episode_ids=[first]),
        lambda: record.forget("a", speaker="Ann"),
        lambda: record.forget("a", speaker="Ann", dry_run=True),
        lambda: record.delete_namespace("a"),
    ):
        error = refused("EPISODE_HELD", call)
        assert isinstance(error, FailedPrecondition)
        assert "'case 1'" in error.message
    assert record.set_hold("a", [first, second], "case 1", release=True) == 2
    assert record.set_hold("a", [first, second], "case 1", release=True) == 0
    assert "'case 2'" in refused("EPISODE_HELD", lambda: record.archive("a", [first])).message
    assert record.archive("a", [second]).episode_ids == (second,)
    record.set_hold("a", [first], "case 2", release=True)
    assert record.forget("a", episode_ids=[first, second]).episodes == 2
    assert record.delete_namespace("a") == 0


def test_a_hold_may_be_put_on_what_is_archived_and_it_may_be_thawed(record: Record) -> None:
    (first,) = remember(record, "one")
    record.archive("a", [first])
    record.set_hold("a", [first], "case", request_id="r")
    assert record.set_hold("a", [first], "case", request_id="r") == 1
    assert record.thaw("a", [first]).episode_ids == (first,)
    refused("EPISODE_NOT_FOUND", lambda: record.set_hold("a", [first, "nobody"], "other"))
    assert record.keepings("a", [first])[first].holds == ("case",)


# Ends.


def test_an_episode_ends_at_its_time_and_not_before(record: Record) -> None:
    first, second, third = remember(record, "one", "two", "three")
    record.set_expiry("a", [first], T0 + 50)
    record.set_expiry("a", [second], T0 + 60, Expiry.DELETE)
    assert record.expire("a", T0 + 49, 10) == Expired()
    assert record.expire("a", T0 + 50, 10) == Expired(archived=1)
    assert record.episodes("a", [first])[first].archived_seq == record.seq()
    assert record.expire("a", T0 + 99, 10) == Expired(deleted=1)
    assert sorted(record.episodes("a", [first, second, third])) == sorted([first, third])
    assert record.expire("a", T0 + 99, 10) == Expired()
    assert [len(entry.concept_ids) for entry in record.outbox(10) if entry.deleted] == [1, 1]


def test_what_ends_together_is_one_commit(record: Record) -> None:
    first, second = remember(record, "one", "two")
    record.set_expiry("a", [first], 1)
    record.set_expiry("a", [second], 1, Expiry.DELETE)
    seq = record.seq()
    assert record.expire("a", T0, 1) == Expired(1, 0) or record.seq() == seq + 1
    record.expire("a", T0, 9)
    assert record.counts("a").archived_episodes == 1
    assert record.counts("a").episodes == 1


def test_a_hold_outlasts_an_end(record: Record) -> None:
    (first,) = remember(record, "one")
    record.set_expiry("a", [first], 1, Expiry.DELETE)
    record.set_hold("a", [first], "case")
    assert record.expire("a", T0, 10) == Expired()
    record.set_hold("a", [first], "case", release=True)
    assert record.expire("a", T0, 10) == Expired(deleted=1)


def test_a_namespace_keeps_for_so_long_what_has_no_end_of_its_own(bench: Bench) -> None:
    record = bench.record
    (own,) = remember(record, "one")
    record.set_expiry("a", [own], LATEST)
    (old,) = [one.episode_id for one in record.remember("a", SPACE, [told("old")])]
    recorded = record.episodes("a", [old])[old].recorded_at
    bench.clock.at += 1000
    (young,) = [one.episode_id for one in record.remember("a", SPACE, [told("young", at=-5)])]
    assert record.time_to_live("a") is None
    record.set_time_to_live("a", TimeToLive(500))
    assert record.time_to_live("a") == TimeToLive(500)
    assert record.expire("a", recorded + 499, 10) == Expired()
    assert record.expire("a", recorded + 500, 10) == Expired(archived=1)
    record.set_time_to_live("a", TimeToLive(500, Expiry.DELETE))
    assert record.expire("a", recorded + 500, 10) == Expired(deleted=1)
    assert sorted(one.id for one, _ in record.export_episodes("a")) == sorted([own, young])
    record.set_time_to_live("a", None)
    assert record.expire("a", LATEST - 1, 10) == Expired()


def test_no_more_end_in_one_sweep_than_it_may(record: Record) -> None:
    remember(record, "one", "two", "three")
    record.set_time_to_live("a", TimeToLive(0))
    assert [record.expire("a", LATEST, 2).archived for _ in range(3)] == [2, 1, 0]


# Use.


def test_uses_add_up_and_the_last_is_kept(record: Record) -> None:
    first, second = remember(record, "one", "two")
    seq = record.seq()
    record.add_uses("a", {first: (2, 100), "nobody": (1, 1)})
    record.add_uses("a", {first: (1, 90), second: (1, 5)})
    assert record.keepings("a", [first, second, "nobody"]) == {
        first: Keeping(first, uses=3, used_at=100),
        second: Keeping(second, uses=1, used_at=5),
    }
    assert record.seq() == seq
    assert record.outbox(10)[-1].seq == seq


# What only a file can do.


def test_a_file_from_before_keeps_what_it_has_and_can_archive_it(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    path = tmp_path / "record.db"
    oldest(path)
    record = SqliteRecord(path, clock, RandomIds(clock, seed=1))
    assert record.episodes("a", [FIRST])[FIRST].archived_seq == 0
    assert record.keepings("a", [FIRST]) == {FIRST: Keeping(FIRST)}
    assert record.archive("a", [FIRST]).episode_ids == (FIRST,)
    record.close()
