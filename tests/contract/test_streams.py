"""Streams: order, one bad item refused alone, duplicates, cursors; and an export that is imported again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import async_refusal, episode, read, refusal, remembered, says, stats, tensor
from sapience.v1 import concept_pb2 as c
from sapience.v1 import controller_pb2, memory_pb2_grpc, perception_pb2
from sapience.v1 import memory_pb2 as pb
from servers import CLOSED_PORT, serving
from settling import settled

from core.clock import SystemClock
from core.ids import RandomIds, concept_id
from memory.index.edge import EdgeIndex
from memory.record.sqlite import SqliteRecord
from services import controller as controller_service
from services import memory as memory_service
from services.memory.encoders import RemoteEncoder
from services.runtime.client import Link
from services.runtime.settings import Settings

NOON = Timestamp(seconds=1_700_000_000)


def item(seq: int, text: str, namespace: str = "", **fields: Any) -> pb.RememberStreamRequest:
    fields = {"told_at": NOON} | fields
    return pb.RememberStreamRequest(namespace=namespace, client_seq=seq, episode=episode(text, **fields))


# RememberStream


def test_each_episode_is_acknowledged_in_order_and_a_bad_one_alone_is_refused(memory: Any, namespace: str) -> None:
    items = [
        item(10, "It rained on Monday.", namespace),
        item(30, " "),
        item(20, "It snowed on Tuesday."),
        item(20, "It hailed on Wednesday.", told_at=Timestamp(seconds=1, nanos=-1)),
        item(-5, "It was dry on Thursday.", namespace),
    ]
    answers = list(memory.RememberStream(iter(items)))
    assert [answer.client_seq for answer in answers] == [10, 30, 20, 20, -5]
    assert [answer.WhichOneof("outcome") for answer in answers] == [
        "remembered", "error", "remembered", "error", "remembered",
    ]  # fmt: skip
    says(read(answers[1].error), StatusCode.INVALID_ARGUMENT, "EMPTY_TEXT", "episode.text", "at least one word")
    says(read(answers[3].error), StatusCode.INVALID_ARGUMENT, "TIME_OUT_OF_RANGE", "episode.told_at", "-1 ns")
    kept = [answer.remembered.episode_id for answer in answers if answer.HasField("remembered")]
    found = memory.Timeline(pb.TimelineRequest(namespace=namespace)).entries
    assert sorted(kept) == sorted(entry.episode.id for entry in found)
    assert stats(memory, namespace).episodes == 3


def test_duplicates_are_recognised_within_a_stream_and_across_streams(memory: Any, namespace: str) -> None:
    def send() -> list[pb.Remembered]:
        items = [
            item(1, "Thanks!", namespace, conversation="c", position=1, speaker="Ada"),
            item(2, "Thanks!", conversation="c", position=2, speaker="Ada"),
            item(3, "Thanks!", conversation="c", position=1, speaker="Ada"),
            item(4, "Other words.", external_id="x", source=c.Source(name="chat")),
            item(5, "The same id.", external_id="x", source=c.Source(name="chat")),
            item(6, "Another source.", external_id="x", source=c.Source(name="mail")),
        ]
        return [answer.remembered for answer in memory.RememberStream(iter(items))]

    first = send()
    assert [one.duplicate for one in first] == [False, False, True, False, True, False]
    assert first[2].episode_id == first[0].episode_id, "a duplicate has the id of what it repeats"
    assert first[4].episode_id == first[3].episode_id
    before = stats(memory, namespace)
    again = send()
    assert all(one.duplicate for one in again)
    assert [one.episode_id for one in again] == [one.episode_id for one in first]
    assert stats(memory, namespace) == before


def test_a_stream_stays_in_its_namespace(memory: Any, new_namespace: Callable[[], str]) -> None:
    one, other = new_namespace(), new_namespace()
    items = [item(1, "It rained.", one), item(2, "It snowed.", other)]
    refused = refusal(lambda: memory.RememberStream(iter(items)))
    says(refused, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "namespace", repr(one), repr(other), "one for each")
    assert stats(memory, other).episodes == 0


def test_a_stream_begins_with_its_namespace(memory: Any, namespace: str) -> None:
    before = stats(memory)
    refused = refusal(lambda: memory.RememberStream(iter([item(1, "It rained."), item(2, "It snowed.", namespace)])))
    says(refused, StatusCode.INVALID_ARGUMENT, "BAD_NAMESPACE", "namespace", "''")
    assert stats(memory) == before
    assert list(memory.RememberStream(iter([]))) == [], "nothing sent is nothing done"


@pytest.mark.parametrize("held", [False, True], ids=["fresh namespace", "namespace with vectors"])
def test_vectors_of_another_space_are_refused_alone(memory: Any, namespace: str, held: bool) -> None:
    if held:
        remembered(memory, namespace, episode("It rained."))
    strange = {
        "concepts": [c.Concept(text="It snowed.", end_byte=10)],
        "vectors": tensor("other", "1", np.eye(1, 8)),
    }
    items = [item(1, "It was dry.", namespace), item(2, "It snowed.", **strange), item(3, "It hailed.")]
    answers = list(memory.RememberStream(iter(items)))
    assert [answer.client_seq for answer in answers] == [1, 2, 3]
    assert [answer.HasField("remembered") for answer in answers] == [True, False, True]
    refused = read(answers[1].error)
    mismatch = StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH", "episode.vectors.space"
    says(refused, *mismatch, "other@1[8]", "encode with that model")


def test_what_was_acknowledged_stays_when_the_caller_goes(memory: Any, namespace: str) -> None:
    go_on = threading.Event()

    def items() -> Iterator[pb.RememberStreamRequest]:
        yield item(1, "It rained.", namespace)
        go_on.wait(60)

    call = memory.RememberStream(items())
    kept = next(call).remembered
    call.cancel()
    go_on.set()
    (found,) = memory.Timeline(pb.TimelineRequest(namespace=namespace)).entries
    assert found.episode.id == kept.episode_id


# EncodeStream


def test_batches_are_encoded_in_order_and_like_single_calls(perception: Any) -> None:
    texts = [["It rained."], ["It snowed.", "Ada moved to Lisbon."], ["It was dry."]]
    requests = [
        perception_pb2.EncodeStreamRequest(client_seq=9 - seq, batch=perception_pb2.EncodeRequest(texts=batch))
        for seq, batch in enumerate(texts)
    ]
    answers = list(perception.EncodeStream(iter(requests)))
    assert [answer.client_seq for answer in answers] == [9, 8, 7]
    assert [list(answer.batch.vectors.shape) for answer in answers] == [[1, 384], [2, 384], [1, 384]]
    for batch, answer in zip(texts, answers, strict=True):
        alone = perception.Encode(perception_pb2.EncodeRequest(texts=batch)).vectors
        streamed = answer.batch.vectors
        assert (streamed.space, streamed.space_version) == (alone.space, alone.space_version)
        np.testing.assert_allclose(_array(streamed), _array(alone), atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(_array(streamed), axis=1), 1, atol=1e-5)


def _array(vectors: c.Tensor) -> np.ndarray:
    return np.frombuffer(vectors.data, "<f4").reshape(tuple(vectors.shape))


# Export and Import


def fill(memory: Any, namespace: str) -> None:
    """Episodes of every kind, with and without ids of the caller's; Facts with and without evidence."""
    first, *_ = remembered(
        memory,
        namespace,
        episode("Ada moved to Lisbon in May. She likes it there.", speaker="Ada", told_at=NOON, conversation="c"),
        episode("Ünïcode 🙂 stays. As it is.", source=c.Source(kind=c.SOURCE_KIND_DOCUMENT, name="a.md"), position=3),
        episode("I said so.", source=c.Source(kind=c.SOURCE_KIND_SELF, name="sapience"), external_id="x"),
    )
    settled(memory, namespace)  # reads one more Fact, that Ada moved to Lisbon, and gives its relation a policy
    about_ada = {"namespace": namespace, "subject": "Ada", "relation": "lives_in"}
    valid = c.Interval(start=NOON, precision=c.PRECISION_MONTH, original_text="in May", timezone="Europe/Lisbon")
    kept = memory.AssertFact(
        pb.AssertFactRequest(**about_ada, entity="Lisbon", valid=valid, told_at=NOON, episode_id=first, trust=0.5)
    )
    memory.AssertFact(pb.AssertFactRequest(**about_ada, literal="Alfama", told_at=NOON))
    memory.RetractFact(pb.RetractFactRequest(namespace=namespace, fact_id=kept.fact.id))
    for policy in (c.CONTRADICTION_POLICY_SET, c.CONTRADICTION_POLICY_SINGLE):
        memory.SetRelationPolicy(pb.SetRelationPolicyRequest(namespace=namespace, relation="lives_in", policy=policy))


def exported(memory: Any, namespace: str) -> list[pb.MemoryRecord]:
    return [answer.record for answer in memory.Export(pb.ExportRequest(namespace=namespace))]


def as_told(record: pb.MemoryRecord, *, ids: bool) -> pb.MemoryRecord:
    """Without what the store gives by itself: the namespace, commits, and the Entities' ids, made of the namespace."""
    bare = pb.MemoryRecord()
    bare.CopyFrom(record)
    one = {"episode": bare.episode.episode, "fact": bare.fact, "policy": bare.policy}[bare.WhichOneof("record")]
    for field in ("recorded_at", "seq"):
        one.ClearField(field)
    if bare.HasField("episode"):
        one.namespace = ""
    elif bare.HasField("fact"):
        one.subject.id = ""
        if one.HasField("entity"):
            one.entity.id = ""
    if not ids and not bare.HasField("policy"):
        one.id = ""
        if bare.HasField("fact"):
            bare.fact.episode_id = ""
        for concept in bare.episode.concepts:
            concept.id = concept.episode_id = ""
    return bare


def all_told(records: list[pb.MemoryRecord], *, ids: bool) -> list[pb.MemoryRecord]:
    """Episodes of one commit come in the order of their ids, so they are put into that of their words."""
    told = [as_told(record, ids=ids) for record in records]
    return sorted(told, key=lambda one: one.episode.episode.text)


async def test_an_export_imported_into_another_store_is_the_same(memory: Any, namespace: str, tmp_path: Path) -> None:
    """Episodes, Concepts, vectors to the byte, and Facts. No encoder is asked: there is none."""
    fill(memory, namespace)
    records = exported(memory, namespace)
    assert [record.WhichOneof("record") for record in records] == [*["episode"] * 3, *["policy"] * 3, *["fact"] * 4]
    encoder = Link(f"127.0.0.1:{CLOSED_PORT}", "", 1 << 20)

    def make(settings: Settings, _: str) -> list[Any]:
        clock = SystemClock()
        record = SqliteRecord(settings.data_dir / "record.sqlite", clock, RandomIds(clock))
        index = EdgeIndex(settings.data_dir / "index")
        return [memory_service.service(memory_service.Memory(record, index, RemoteEncoder(encoder), clock))]

    async with serving(tmp_path, make) as served:
        other = memory_pb2_grpc.MemoryServiceStub(served.channel)
        await other.CreateNamespace(pb.CreateNamespaceRequest(namespace="b"), timeout=30)

        async def take() -> pb.ImportResponse:
            requests = [
                pb.ImportRequest(namespace="" if place else "b", record=record) for place, record in enumerate(records)
            ]
            return await other.Import(iter(requests), timeout=30)

        assert await take() == pb.ImportResponse(episodes=3, facts=4, policies=3), "with all its versions"
        assert await take() == pb.ImportResponse(duplicates=10), "a rerun writes nothing"
        back = [answer.record async for answer in other.Export(pb.ExportRequest(namespace="b"), timeout=30)]
        assert all_told(back, ids=True) == all_told(records, ids=True)
        for record in back:
            for concept in record.episode.concepts:
                assert concept.id == concept_id(record.episode.episode.id, concept.ordinal)
        # Episodes of one commit come in the order of their ids, whose ends are random: which is first differs.
        of_two = next(record.episode for record in records if len(record.episode.concepts) == 2)
        text = {"namespace": "b", "text": "Where?", "vector": of_two.vectors}
        refused = await async_refusal(other.Recall(pb.RecallRequest(**text), timeout=30))
        says(refused, StatusCode.INVALID_ARGUMENT, "BAD_TENSOR", "vector.shape", "[2, 384]")
        counts = await other.Stats(pb.StatsRequest(namespace="b"), timeout=30)
        assert (counts.episodes, counts.facts) == (3, 4)
    await encoder.close()


def test_an_export_imported_beside_itself_gets_ids_of_its_own(memory: Any, new_namespace: Callable[[], str]) -> None:
    """An id is one thing's in a whole store: the copy differs in ids and in nothing else."""
    one, other = new_namespace(), new_namespace()
    fill(memory, one)
    records = exported(memory, one)
    requests = [pb.ImportRequest(namespace=other, record=record) for record in records]
    assert memory.Import(iter(requests)) == pb.ImportResponse(episodes=3, facts=4, policies=3)
    assert memory.Import(iter(requests)) == pb.ImportResponse(duplicates=10), "a rerun writes nothing"
    back = exported(memory, other)
    assert all_told(back, ids=False) == all_told(records, ids=False)
    assert not _ids(back) & _ids(records)
    assert _evidence(back) == _evidence(records), "the copies' evidence is the copied Episode"
    # Two copies, two namespaces: what is deleted in one is found in the other.
    memory.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=one))
    hits = memory.Recall(pb.RecallRequest(namespace=other, text="Where did Ada move?")).hits
    assert hits[0].episode.id in _ids(back)


def _ids(records: list[pb.MemoryRecord]) -> set[str]:
    return {record.episode.episode.id or record.fact.id for record in records if not record.HasField("policy")}


def _evidence(records: list[pb.MemoryRecord]) -> list[str]:
    """For each Fact, the words of the Episode that is its evidence."""
    words = {record.episode.episode.id: record.episode.episode.text for record in records}
    return [words[record.fact.episode_id] for record in records if record.fact.episode_id]


def test_an_import_refuses_what_no_export_gives(memory: Any, namespace: str) -> None:
    before = stats(memory)
    fine = pb.MemoryRecord(episode=pb.EpisodeRecord(episode=c.Episode(text="It rained.", told_at=NOON)))
    empty = pb.MemoryRecord(episode=pb.EpisodeRecord(episode=c.Episode(text=" ", told_at=NOON)))
    requests = [pb.ImportRequest(namespace=namespace, record=empty), pb.ImportRequest(record=fine)]
    refused = refusal(lambda: memory.Import(iter(requests)))
    says(refused, StatusCode.INVALID_ARGUMENT, "EMPTY_TEXT", "record.episode.text", "at least one word")
    vague = pb.MemoryRecord(fact=c.Fact(subject=c.Entity(name="Ada"), relation="likes"))
    refused = refusal(lambda: memory.Import(iter([pb.ImportRequest(namespace=namespace, record=vague)])))
    says(refused, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "record.fact.object", "no object")
    no_policy = pb.MemoryRecord(policy=c.RelationPolicy(relation="likes"))
    refused = refusal(lambda: memory.Import(iter([pb.ImportRequest(namespace=namespace, record=no_policy)])))
    says(refused, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "record.policy.policy", "MANY, SINGLE or SET")
    refused = refusal(lambda: memory.Import(iter([])))
    says(refused, StatusCode.INVALID_ARGUMENT, "BAD_NAMESPACE", "namespace", "first message")
    assert stats(memory) == before


def test_an_export_up_to_a_commit_leaves_out_what_came_after(memory: Any, namespace: str) -> None:
    remembered(memory, namespace, episode("It rained."))
    seq = stats(memory).seq
    remembered(memory, namespace, episode("It snowed."))
    answers = memory.Export(pb.ExportRequest(namespace=namespace, up_to_seq=seq))
    assert [answer.record.episode.episode.text for answer in answers] == ["It rained."]


# The controller


def test_a_watcher_resumes_where_it_stopped(controller: Any) -> None:
    """What happened while the daemon started is there to be watched again."""

    def watched(after: int, count: int) -> list[controller_pb2.WorkspaceItem]:
        call = controller.WatchWorkspace(controller_pb2.WatchWorkspaceRequest(after_seq=after))
        items = [next(call).item for _ in range(count)]
        call.cancel()
        return items

    items = watched(1, 4)
    assert [one.seq for one in items] == [2, 3, 4, 5]
    assert watched(items[1].seq, 2) == items[2:], "none twice, none left out"
    assert all(0 <= one.salience <= 1 and one.module and one.text for one in items)
    assert all(a.time.ToNanoseconds() <= b.time.ToNanoseconds() for a, b in pairwise(items))


async def test_pause_stops_it_from_asking_itself_and_resume_starts_it_again(tmp_path: Path) -> None:
    """A controller of its own, whose services are all down: it is told to watch nothing but a closed port."""
    from sapience.v1 import controller_pb2_grpc

    links = {name: Link(f"127.0.0.1:{CLOSED_PORT}", "", 1 << 20) for name in ("perception", "memory", "reasoning")}

    def make(*_: Any) -> list[Any]:
        return [controller_service.service(controller_service.Controller(links))]

    async with serving(tmp_path, make) as served:
        stub = controller_pb2_grpc.ControllerServiceStub(served.channel)
        await stub.Pause(controller_pb2.PauseRequest(), timeout=30)
        status = await stub.Status(controller_pb2.StatusRequest(), timeout=30)
        assert status.paused
        assert {(one.name, one.serving) for one in status.services} == {(name, False) for name in links}
        assert all("UNAVAILABLE" in one.detail and str(CLOSED_PORT) in one.detail for one in status.services)
        goals = (await stub.Goals(controller_pb2.GoalsRequest(), timeout=30)).goals
        assert [goal.satisfied for goal in goals] == [False] * 3
        assert [goal.priority for goal in goals] == [3, 2, 1]
        assert not (await stub.SelfPrompts(controller_pb2.SelfPromptsRequest(), timeout=30)).prompts
        await stub.Resume(controller_pb2.ResumeRequest(), timeout=30)
        assert not (await stub.Status(controller_pb2.StatusRequest(), timeout=30)).paused
    for link in links.values():
        await link.close()


def test_the_controller_sees_every_service(controller: Any) -> None:
    status = controller.Status(controller_pb2.StatusRequest())
    assert [(one.name, one.serving, one.detail) for one in status.services] == [
        ("memory", True, ""), ("perception", True, ""), ("reasoning", True, ""),
    ]  # fmt: skip
    runs = controller.Runs(controller_pb2.RunsRequest()).runs
    assert {run.kind for run in runs} <= {"dream"}, "those of other tests"
    controller.Pause(controller_pb2.PauseRequest())
    assert controller.Status(controller_pb2.StatusRequest()).paused
    controller.Resume(controller_pb2.ResumeRequest())
    assert not controller.Status(controller_pb2.StatusRequest()).paused
