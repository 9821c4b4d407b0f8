"""Commits, the outbox, counts, many threads, and opening again; on both backends."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

from record_backends import (
    SPACE,
    T0,
    Bench,
    ids_of,
    refused,
    snapshot,
    stated,
    told,
)

from core.clock import DAY, LATEST
from core.errors import Unavailable
from core.ports import Record


def test_the_outbox_is_in_the_order_of_commits_and_resumes(bench: Bench) -> None:
    for n in range(5):
        ids_of(bench.record, told(f"t{n}"), namespace="ab"[n % 2])
    entries = bench.record.outbox(10)
    assert [one.seq for one in entries] == [3, 4, 5, 6, 7]
    assert [one.position for one in entries] == sorted({one.position for one in entries})
    assert bench.record.outbox(2) == entries[:2]
    assert bench.record.outbox(0) == []
    bench.record.outbox_done(entries[1].position)
    assert bench.reopen().outbox(10) == entries[2:]
    bench.record.outbox_done(entries[0].position)
    assert bench.record.outbox(10) == entries[2:]
    bench.record.outbox_done(entries[-1].position)
    ids_of(bench.record, told("after"))
    assert bench.record.outbox(10)[0].position > entries[-1].position


def test_an_outbox_entry_holds_the_concepts_of_its_commit(record: Record) -> None:
    answer = record.remember("a", SPACE, [told("x"), told("y"), told("x")])
    entry = record.outbox(10)[0]
    assert entry.concept_ids == tuple(
        record.concepts_of("a", [one.episode_id])[one.episode_id][0].concept.id for one in answer[:2]
    )
    record.remember("a", SPACE, [told("x")])
    assert record.outbox(10) == [entry]


def test_time_finds_the_commit_even_when_the_clock_goes_back(bench: Bench) -> None:
    bench.clock.at = T0 + DAY
    ids_of(bench.record, told("1"))
    bench.clock.at = T0
    record = bench.reopen()
    ids_of(record, told("2"))
    first, second = (episode for episode, _ in record.export_episodes("a"))
    assert second.recorded_at > first.recorded_at
    assert record.seq_at(first.recorded_at) == first.seq
    assert record.seq_at(second.recorded_at) == second.seq
    assert record.seq_at(second.recorded_at - 1) == first.seq
    assert record.seq_at(LATEST) == record.seq() == 4
    assert record.seq_at(0) == 0
    record.delete_namespace("a")
    assert record.seq_at(second.recorded_at) == second.seq


def test_counts_of_one_and_of_all(record: Record) -> None:
    ids_of(record, told("x"), told("y", concepts=()))
    ids_of(record, told("x"), namespace="b")
    record.assert_fact("b", stated())
    assert dataclasses.astuple(record.counts("a")) == (2, 1, 0, 0, 5, 1, 0, 0)
    assert dataclasses.astuple(record.counts("b")) == (1, 1, 2, 1, 5, 1, 0, 0)
    assert dataclasses.astuple(record.counts()) == (3, 2, 2, 1, 5, 2, 0, 0)


def test_what_was_written_is_there_after_closing_and_opening(bench: Bench) -> None:
    ids_of(bench.record, told("x"), told("y", position=1))
    bench.record.assert_fact("a", stated())
    before = snapshot(bench.record, "a")
    assert snapshot(bench.reopen(), "a") == before


def test_a_closed_record_says_so(bench: Bench) -> None:
    bench.record.close()
    bench.record.close()
    calls: list[Callable[[], object]] = [
        bench.record.namespaces,
        bench.record.seq,
        lambda: bench.record.create_namespace("c"),
        lambda: bench.record.remember("a", SPACE, [told("x")]),
        lambda: bench.record.episodes("a", ["x"]),
        lambda: bench.record.outbox(1),
    ]
    for call in calls:
        refused(Unavailable, "STORE_CLOSED", call)


def test_writers_and_readers_on_many_threads_see_whole_commits(record: Record) -> None:
    wrong: list[object] = []
    done = threading.Event()

    def write(worker: int) -> None:
        try:
            for n in range(10):
                ids_of(record, *[told(f"{worker}/{n}/{part}", speaker=f"s{worker}") for part in range(3)])
                ids_of(record, told("the same for all"))
        except Exception as error:
            wrong.append(error)

    def read() -> None:
        seen = 0
        try:
            while not done.wait(0.001):
                episodes = record.counts("a").episodes
                if episodes < seen or (episodes - record.speakers("a").get("Ann", 0)) < seen - 1:
                    wrong.append((seen, episodes))
                seen = episodes
        except Exception as error:
            wrong.append(error)

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert wrong == []
    assert record.speakers("a") == {"Ann": 1} | {f"s{worker}": 30 for worker in range(4)}
    # Two namespaces, four times ten batches, and once what all of them told: as many commits, with no gap.
    assert record.seq() == 2 + 40 + 1
    assert sorted({episode.seq for episode, _ in record.export_episodes("a")}) == list(range(3, 44))
