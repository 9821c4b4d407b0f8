"""Archive, thaw, holds, ends and counts of use over the wire, on the real daemon."""

from __future__ import annotations

import time
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import episode, refusal, remembered, says, stats
from sapience.v1 import memory_pb2 as pb
from sapience.v1 import reasoning_pb2
from settling import settled

TOLD = (
    "Hi!",
    "I moved to Lisbon in May, to a flat near the river.",
    "Wow, great!",
    "I sold the piano to my neighbour Clara for 300 euros.",
)


@pytest.fixture
def told(memory: Any, namespace: str) -> list[str]:
    ids = remembered(
        memory,
        namespace,
        *(episode(text, speaker="Ada", conversation="c", position=place) for place, text in enumerate(TOLD)),
    )
    settled(memory)  # so that no commit comes in between by itself
    return ids


def found(memory: Any, namespace: str, **fields: Any) -> list[str]:
    request = pb.RecallRequest(namespace=namespace, text="Where did Ada move?", **fields)
    return [hit.episode.id for hit in memory.Recall(request).hits]


def test_the_weakest_half_is_listed_then_archived_and_comes_back(memory: Any, namespace: str, told: list[str]) -> None:
    before = memory.Recall(pb.RecallRequest(namespace=namespace, text="Where did Ada move?"))
    request = pb.ArchiveRequest(namespace=namespace, share=0.5, dry_run=True)
    would = memory.Archive(request)
    assert [one.episode.id for one in would.retained] == [told[0], told[2]]
    retentions = [one.retention for one in would.retained]
    assert retentions == sorted(retentions)
    assert (would.episodes, would.seq, stats(memory, namespace).archived) == (2, 0, 0)
    request.dry_run = False
    done = memory.Archive(request)
    assert (done.episodes, done.concepts) == (2, 2)
    assert {one.episode.archived_seq for one in done.retained} <= {0, done.seq}
    assert sorted(found(memory, namespace)) == sorted([told[1], told[3]])
    assert sorted(found(memory, namespace, as_of={"seq": before.as_of.seq})) == sorted(told)
    assert memory.Archive(request).episodes == 0, "the share is reached"
    counted = memory.Stats(pb.StatsRequest(namespace=namespace))
    assert (counted.episodes, counted.archived, counted.indexed) == (4, 2, counted.concepts - 2)
    thawed = memory.Thaw(pb.ThawRequest(namespace=namespace, all=True))
    assert (thawed.episodes, thawed.concepts) == (2, 2)
    after = memory.Recall(pb.RecallRequest(namespace=namespace, text="Where did Ada move?"))
    assert after.hits == before.hits


def test_an_export_has_what_is_archived(memory: Any, namespace: str, told: list[str]) -> None:
    memory.Archive(pb.ArchiveRequest(namespace=namespace, episode_ids=told[:1]))
    exported = {one.record.episode.episode.id for one in memory.Export(pb.ExportRequest(namespace=namespace))}
    assert exported == set(told)


def test_a_hold_stands_in_the_way_until_it_is_released(memory: Any, namespace: str, told: list[str]) -> None:
    held = pb.SetHoldRequest(namespace=namespace, episode_ids=told[:1], hold="case 12")
    assert memory.SetHold(held).changed == 1
    before = stats(memory)
    for call in (
        lambda: memory.Archive(pb.ArchiveRequest(namespace=namespace, episode_ids=told)),
        lambda: memory.Forget(pb.ForgetRequest(namespace=namespace, speaker="Ada")),
        lambda: memory.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=namespace)),
    ):
        says(refusal(call), StatusCode.FAILED_PRECONDITION, "EPISODE_HELD", "episode_ids", "'case 12'", told[0])
    assert stats(memory) == before
    share = memory.Archive(pb.ArchiveRequest(namespace=namespace, share=1, dry_run=True))
    assert told[0] not in {one.episode.id for one in share.retained}
    held.release = True
    assert memory.SetHold(held).changed == 1
    assert memory.Forget(pb.ForgetRequest(namespace=namespace, episode_ids=told[:1])).episodes == 1


def test_ends_and_times_to_live_read_back(memory: Any, namespace: str, told: list[str]) -> None:
    at = Timestamp(seconds=4_000_000_000)
    ends = pb.SetExpiryRequest(
        namespace=namespace, episode_ids=told[:2], expires_at=at, expiry=pb.EXPIRY_DELETE, request_id="r"
    )
    assert memory.SetExpiry(ends).episodes == 2
    assert memory.SetExpiry(ends).episodes == 2
    lived = pb.SetTimeToLiveRequest(namespace=namespace, time_to_live=Duration(seconds=86_400))
    memory.SetTimeToLive(lived)
    kept = memory.GetKeeping(pb.GetKeepingRequest(namespace=namespace, episode_ids=told[1:3]))
    assert [(one.expires_at, one.expiry) for one in kept.keepings] == [
        (at, pb.EXPIRY_DELETE), (Timestamp(), pb.EXPIRY_ARCHIVE),
    ]  # fmt: skip
    assert (kept.time_to_live, kept.expiry) == (Duration(seconds=86_400), pb.EXPIRY_ARCHIVE)
    memory.SetTimeToLive(pb.SetTimeToLiveRequest(namespace=namespace))
    assert not memory.GetKeeping(pb.GetKeepingRequest(namespace=namespace)).HasField("time_to_live")


def test_what_an_answer_cites_is_counted(memory: Any, reasoning: Any, namespace: str, told: list[str]) -> None:
    request = reasoning_pb2.ReasonRequest(namespace=namespace, text="Where did Ada move in May?")
    (answer,) = [one.event.answer for one in reasoning.Reason(request) if one.event.HasField("answer")]
    cited = {one.episode_id for one in answer.citations}
    assert cited
    until = time.monotonic() + 20
    while time.monotonic() < until:
        kept = memory.GetKeeping(pb.GetKeepingRequest(namespace=namespace, episode_ids=told)).keepings
        if any(one.uses for one in kept):
            break
        time.sleep(0.2)
    assert {one.episode_id for one in kept if one.uses == 1} == cited
    assert all(one.HasField("used_at") == bool(one.uses) for one in kept)


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("Archive", {}, "NO_SELECTOR", "episode_ids"),
    ("Archive", {"share": 0.1, "threshold": 0.1}, "NO_SELECTOR", "episode_ids"),
    ("Archive", {"share": 1.5}, "INVALID_FIELD", "share"),
    ("Archive", {"threshold": float("nan")}, "INVALID_FIELD", "threshold"),
    ("Thaw", {}, "NO_SELECTOR", "episode_ids"),
    ("Thaw", {"episode_ids": ["x"], "all": True}, "NO_SELECTOR", "episode_ids"),
    ("SetHold", {"hold": "case"}, "BAD_BATCH", "episode_ids"),
    ("SetHold", {"episode_ids": ["x"]}, "EMPTY_TEXT", "hold"),
    ("SetExpiry", {"episode_ids": ["x"], "expiry": 9}, "INVALID_FIELD", "expiry"),
    ("SetTimeToLive", {"time_to_live": Duration(seconds=-1)}, "INVALID_FIELD", "time_to_live"),
    ("RecordUse", {}, "BAD_BATCH", "uses"),
    ("RecordUse", {"uses": [pb.Use(episode_id="x")]}, "INVALID_FIELD", "uses"),
]


@pytest.mark.parametrize(("rpc", "fields", "reason", "field"), BAD)
def test_what_makes_no_sense_is_refused(
    memory: Any, namespace: str, rpc: str, fields: dict[str, Any], reason: str, field: str
) -> None:
    before = stats(memory)
    request = getattr(pb, f"{rpc}Request")(namespace=namespace, **fields)
    says(refusal(lambda: getattr(memory, rpc)(request)), StatusCode.INVALID_ARGUMENT, reason, field)
    assert stats(memory) == before


def test_one_unknown_episode_changes_nothing(memory: Any, namespace: str, told: list[str]) -> None:
    before = stats(memory)
    for rpc, fields in (("Archive", {}), ("Thaw", {}), ("SetHold", {"hold": "case"}), ("SetExpiry", {})):
        request = getattr(pb, f"{rpc}Request")(namespace=namespace, episode_ids=[told[0], "nobody"], **fields)
        refused = refusal(lambda: getattr(memory, rpc)(request))  # noqa: B023
        says(refused, StatusCode.NOT_FOUND, "EPISODE_NOT_FOUND", "episode_id", "'nobody'")
    assert stats(memory) == before
