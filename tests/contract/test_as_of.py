"""Every read answers for a point in time on three axes: when it held, when it was told, when it was committed."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from refusals import episode, remembered
from sapience.v1 import concept_pb2 as c
from sapience.v1 import memory_pb2 as pb
from sapience.v1 import reasoning_pb2

LATEST = Timestamp(seconds=253_402_300_799, nanos=999_999_000)


def year(number: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromJsonString(f"{number}-01-01T00:00:00Z")
    return stamp


def before(stamp: Timestamp) -> Timestamp:
    earlier = Timestamp()
    earlier.FromMicroseconds(stamp.ToMicroseconds() - 1)
    return earlier


Told = list[c.Episode]


@pytest.fixture(scope="module")
def diary(memory: Any) -> tuple[str, Told]:
    """One Episode a year, told in this order: a past year is told last."""
    memory.CreateNamespace(pb.CreateNamespaceRequest(namespace="diary"))
    for number in (2021, 2023, 2022, 2020):
        text = f"Ada moved house again in {number}."
        remembered(memory, "diary", episode(text, speaker="Ada", conversation="diary", told_at=year(number)))
    told = [entry.episode for entry in memory.Timeline(pb.TimelineRequest(namespace="diary")).entries]
    assert [one.told_at for one in told] == [year(number) for number in (2020, 2021, 2022, 2023)]
    return "diary", told


def reads(memory: Any, reasoning: Any, namespace: str) -> dict[str, Callable[[c.AsOf], tuple[set[str], c.AsOf]]]:
    """Each read of Episodes, as a function from a point in time to what was found and the time it answered for."""

    def recall(as_of: c.AsOf) -> tuple[set[str], c.AsOf]:
        found = memory.Recall(pb.RecallRequest(namespace=namespace, text="Who moved house?", as_of=as_of, limit=50))
        return {hit.episode.id for hit in found.hits}, found.as_of

    def timeline(as_of: c.AsOf) -> tuple[set[str], c.AsOf]:
        found = memory.Timeline(pb.TimelineRequest(namespace=namespace, as_of=as_of))
        return {entry.episode.id for entry in found.entries}, found.as_of

    def reason(as_of: c.AsOf) -> tuple[set[str], c.AsOf]:
        asked = reasoning_pb2.ReasonRequest(
            namespace=namespace, text="Who moved house?", as_of=as_of, budget=c.Budget(wall_ms=1)
        )
        events = [response.event for response in reasoning.Reason(asked)]
        found = events[0].recall.found
        cited = {citation.episode_id for citation in events[-1].answer.citations}
        assert cited <= {hit.episode_id for hit in found.hits}
        return {hit.episode_id for hit in found.hits}, found.as_of

    return {"Recall": recall, "Timeline": timeline, "Reason": reason}


@pytest.mark.parametrize("read", ["Recall", "Timeline", "Reason"])
def test_episodes_as_of_every_time_told_and_committed(
    memory: Any, reasoning: Any, diary: tuple[str, Told], read: str
) -> None:
    """Against an oracle that looks at each Episode."""
    namespace, told = diary
    found = reads(memory, reasoning, namespace)[read]
    last = max(one.seq for one in told)
    for told_by in (None, LATEST, *(one.told_at for one in told), before(told[0].told_at)):
        for committed in (None, *told):
            for axis in ("seq", "recorded_by") if committed else ("none",):
                as_of = c.AsOf(told_by=told_by)
                if committed and axis == "seq":
                    as_of.seq = committed.seq
                elif committed:
                    as_of.recorded_by.CopyFrom(committed.recorded_at)
                most = committed.seq if committed else last
                by = (told_by or LATEST).ToMicroseconds()
                expected = {one.id for one in told if one.told_at.ToMicroseconds() <= by and one.seq <= most}
                ids, resolved = found(as_of)
                assert ids == expected, as_of
                assert resolved.told_by == (told_by or LATEST)
                assert resolved.seq == most if committed else resolved.seq >= last
                assert resolved.HasField("valid_at"), "every axis is filled in"


def test_nothing_was_known_before_the_first_commit(memory: Any, reasoning: Any, diary: tuple[str, Told]) -> None:
    namespace, told = diary
    first = min(told, key=lambda one: one.seq)
    for read in reads(memory, reasoning, namespace).values():
        ids, resolved = read(c.AsOf(recorded_by=before(first.recorded_at)))
        assert not ids
        assert resolved.seq < first.seq
        assert read(c.AsOf(seq=0))[0] == set()


def test_the_time_that_was_asked_for_is_echoed(memory: Any, reasoning: Any, diary: tuple[str, Told]) -> None:
    for read in reads(memory, reasoning, diary[0]).values():
        assert read(c.AsOf(valid_at=year(2022)))[1].valid_at == year(2022)


@pytest.fixture(scope="module")
def moves(memory: Any) -> tuple[str, dict[str, c.Fact]]:
    """Rome from 2020, told in 2020; taken back from 2022 on, told in 2023; Paris from 2022 to 2025, told in 2023.

    Bob was in Rome, as an old letter of 2019 says that was found last.
    """
    memory.CreateNamespace(pb.CreateNamespaceRequest(namespace="moves"))

    def lives_in(who: str, where: str, start: int, told: int, end: int | None = None) -> c.Fact:
        valid = c.Interval(start=year(start), end=year(end) if end else None)
        request = pb.AssertFactRequest(
            namespace="moves", subject=who, relation="lives_in", entity=where, valid=valid, told_at=year(told)
        )
        return memory.AssertFact(request).fact

    rome = lives_in("Ada", "Rome", 2020, told=2020)
    taken_back = pb.RetractFactRequest(
        namespace="moves", fact_id=rome.id, told_at=year(2023), **{"from": year(2022)}  # a keyword of Python
    )  # fmt: skip
    left = memory.RetractFact(taken_back).fact
    paris = lives_in("Ada", "Paris", 2022, told=2023, end=2025)
    letter = lives_in("Bob", "Rome", 2018, told=2019)
    return "moves", {"rome": rome, "left": left, "paris": paris, "letter": letter}


@pytest.mark.parametrize(("when", "expected"), [
    ({}, {"letter"}),  # today: Ada left Rome in 2022 and Paris in 2025
    ({"valid_at": year(2021)}, {"rome", "letter"}),
    ({"valid_at": year(2022)}, {"letter", "paris"}),  # half-open: the first moment of one, no moment of the other
    ({"valid_at": year(2025)}, {"letter"}),
    ({"valid_at": year(2024)}, {"letter", "paris"}),
    ({"valid_at": year(2024), "told_by": year(2021)}, {"rome", "letter"}),  # nobody had said that she left
    ({"valid_at": year(2024), "told_by": year(2019)}, {"letter"}),
    ({"valid_at": year(2017)}, set()),
    ({"valid_at": year(2024), "seq": "rome"}, {"rome"}),
    ({"valid_at": year(2024), "seq": "left"}, set()),
    ({"valid_at": year(2024), "recorded_by": "paris"}, {"paris"}),  # the letter was found later
    ({"valid_at": year(2021), "recorded_by": "rome"}, {"rome"}),
], ids=str)  # fmt: skip
def test_facts_hold_as_of_every_axis(
    memory: Any, moves: tuple[str, dict[str, c.Fact]], when: dict[str, Any], expected: set[str]
) -> None:
    namespace, facts = moves
    fields = dict(when)
    if "seq" in fields:
        fields["seq"] = facts[fields["seq"]].seq
    if "recorded_by" in fields:
        fields["recorded_by"] = facts[fields["recorded_by"]].recorded_at
    asked = pb.NeighboursRequest(namespace=namespace, entity="rome", hops=2, as_of=c.AsOf(**fields))
    ids = {fact.id for fact in memory.Neighbours(asked).facts}
    # From Rome, Paris is two steps off, by way of Ada, and only while she is tied to Rome.
    asked.entity = "Ada"
    ids |= {fact.id for fact in memory.Neighbours(asked).facts}
    assert ids == {facts[name].id for name in expected}


@pytest.mark.parametrize(("when", "expected"), [
    ({}, ["rome", "left", "paris"]),
    ({"told_by": year(2022)}, ["rome"]),
    ({"told_by": year(2023)}, ["rome", "left", "paris"]),
    ({"told_by": before(year(2020))}, []),
    ({"seq": "left"}, ["rome", "left"]),
    ({"recorded_by": "rome"}, ["rome"]),
    ({"seq": "paris", "told_by": year(2021)}, ["rome"]),
], ids=str)  # fmt: skip
def test_a_history_is_every_version_that_was_known(
    memory: Any, moves: tuple[str, dict[str, c.Fact]], when: dict[str, Any], expected: list[str]
) -> None:
    namespace, facts = moves
    fields = dict(when)
    if "seq" in fields:
        fields["seq"] = facts[fields["seq"]].seq
    if "recorded_by" in fields:
        fields["recorded_by"] = facts[fields["recorded_by"]].recorded_at
    found = memory.FactHistory(pb.FactHistoryRequest(namespace=namespace, subject="ADA", as_of=c.AsOf(**fields)))
    assert list(found.facts) == [facts[name] for name in expected]
    assert memory.FactHistory(pb.FactHistoryRequest(namespace=namespace, subject="Ada", relation="likes")).facts == []


def test_nothing_is_overwritten(memory: Any, moves: tuple[str, dict[str, c.Fact]]) -> None:
    namespace, facts = moves
    history = memory.FactHistory(pb.FactHistoryRequest(namespace=namespace, subject="Ada")).facts
    assert [fact.retracted for fact in history] == [False, True, False]
    assert history[0] == facts["rome"], "the version that was taken back is as it was"


def test_a_timeline_orders_what_was_told_and_what_began(memory: Any, namespace: str) -> None:
    remembered(memory, namespace, episode("Ada moved.", speaker="Ada", told_at=year(2021)))
    for start, told in ((2020, 2022), (2023, 2023)):
        memory.AssertFact(
            pb.AssertFactRequest(
                namespace=namespace, subject="Ada", relation="saw", literal=str(start),
                valid=c.Interval(start=year(start)), told_at=year(told),
            )
        )  # fmt: skip

    def timeline(**fields: Any) -> list[tuple[Timestamp, str]]:
        entries = memory.Timeline(pb.TimelineRequest(namespace=namespace, **fields)).entries
        return [(entry.time, entry.episode.text or entry.fact.literal) for entry in entries]

    whole = [(year(2020), "2020"), (year(2021), "Ada moved."), (year(2023), "2023")]
    assert timeline() == whole
    assert timeline(as_of=c.AsOf(told_by=year(2021))) == whole[1:2]
    assert timeline(within=c.Interval(start=year(2020), end=year(2021))) == whole[:1], "half-open"
    assert timeline(entity="Ada", within=c.Interval(start=year(2021))) == whole[1:]


@pytest.mark.parametrize("rpc", ["Timeline", "Recall"])
def test_pages_go_on_with_what_the_first_one_saw(memory: Any, namespace: str, rpc: str) -> None:
    told = [episode(f"Ada saw bird number {n}.", speaker="Ada", told_at=year(2000 + n)) for n in range(7)]
    ids = remembered(memory, namespace, *told)

    def page(token: str) -> tuple[list[str], str]:
        fields = {"namespace": namespace, "limit": 3, "page_token": token}
        if rpc == "Timeline":
            found = memory.Timeline(pb.TimelineRequest(**fields))
            return [entry.episode.id for entry in found.entries], found.next_page_token
        found = memory.Recall(pb.RecallRequest(text="Which bird?", **fields))
        return [hit.episode.id for hit in found.hits], found.next_page_token

    pages, token = [], ""
    while True:
        seen, token = page(token)
        pages.append(seen)
        if not token:
            break
        remembered(memory, namespace, episode("Ada saw a bird between two pages.", told_at=year(1990 + len(pages))))
    assert [len(seen) for seen in pages] == [3, 3, 1]
    assert sorted(chain.from_iterable(pages)) == sorted(ids), "each once, and none that was told in between"
