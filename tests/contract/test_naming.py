"""Entities over the wire: what Episodes mention and state is read by itself; merges put names together, and apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import episode, refusal, remembered, says
from sapience.v1 import concept_pb2 as c
from sapience.v1 import entities_pb2 as e
from sapience.v1 import memory_pb2 as pb
from settling import settled

JUNE = Timestamp(seconds=1_686_830_400)  # Thursday 15 June 2023
JULY = Timestamp(seconds=1_689_422_400)


@pytest.fixture
def told(memory: Any, namespace: str) -> str:
    """A namespace that two people talk in."""
    remembered(
        memory,
        namespace,
        episode("I moved to Lisbon last month with my sister Anna.", speaker="Melanie", told_at=JUNE, conversation="c"),
        episode("Mel loves hiking. Mel met Anna yesterday.", speaker="Tom", told_at=JULY, conversation="c", position=1),
    )
    settled(memory, namespace)
    return namespace


def around(memory: Any, namespace: str, entity: str, **as_of: Any) -> list[tuple[str, str, str]]:
    request = pb.NeighboursRequest(namespace=namespace, entity=entity, as_of=c.AsOf(**as_of))
    facts = memory.Neighbours(request).facts
    return sorted((one.subject.name, one.relation, one.entity.name or one.literal) for one in facts)


def listed(memory: Any, namespace: str, **fields: Any) -> list[e.KnownEntity]:
    found: list[e.KnownEntity] = []
    request = e.ListEntitiesRequest(namespace=namespace, **fields)
    while True:
        page = memory.ListEntities(request)
        found += page.entities
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_what_is_told_is_read_for_whom_it_mentions_and_what_it_states(memory: Any, told: str) -> None:
    known = {one.entity.name: (one.kind, one.episodes) for one in listed(memory, told, limit=2)}
    assert known.keys() == {"Anna", "Lisbon", "Mel", "Melanie", "Tom"}
    assert known["Anna"] == ("person", 2)
    found = memory.FactHistory(pb.FactHistoryRequest(namespace=told, subject="Melanie")).facts
    assert {(one.relation, one.entity.name, one.rule) for one in found} == {
        ("lives_in", "Lisbon", "moved to"),
        ("sibling_of", "Anna", "my sister"),
    }
    moved = next(one for one in found if one.relation == "lives_in")
    assert (moved.valid.start.ToJsonString(), moved.valid.precision) == ("2023-05-01T00:00:00Z", c.PRECISION_MONTH)
    assert (moved.valid.original_text, moved.told_at) == ("last month", JUNE)
    assert 0 < moved.trust < 1
    (first, second) = memory.Mentions(e.MentionsRequest(namespace=told, name="anna")).mentions
    assert (first.episode.speaker, second.episode.speaker) == ("Melanie", "Tom")
    (span,) = first.spans
    assert first.episode.text.encode()[span.start_byte : span.end_byte] == b"Anna"


def test_mentions_come_in_pages_and_as_of_a_time(memory: Any, told: str) -> None:
    request = e.MentionsRequest(namespace=told, name="Anna", limit=1)
    page = memory.Mentions(request)
    assert [one.episode.speaker for one in page.mentions] == ["Melanie"]
    request.page_token = page.next_page_token
    page = memory.Mentions(request)
    assert ([one.episode.speaker for one in page.mentions], page.next_page_token) == (["Tom"], "")
    before = c.AsOf(told_by=JUNE)
    assert len(memory.Mentions(e.MentionsRequest(namespace=told, name="Anna", as_of=before)).mentions) == 1
    assert [one.entity.name for one in listed(memory, told, as_of=before)] == ["Anna", "Lisbon", "Melanie"]
    assert list(memory.Mentions(e.MentionsRequest(namespace=told, name="Nobody")).mentions) == []


def test_an_alias_finds_the_merged_entity_everywhere_and_as_of_before_it_does_not(memory: Any, told: str) -> None:
    memory.AssertFact(pb.AssertFactRequest(namespace=told, subject="Mel", relation="owns", literal="a tent"))
    seq = memory.Stats(pb.StatsRequest(namespace=told)).seq
    details = memory.GetEntity(e.GetEntityRequest(namespace=told, name="Mel"))
    (candidate,) = details.candidates
    assert (candidate.name, candidate.reason) == ("Melanie", "a short form")

    request = e.MergeEntitiesRequest(namespace=told, request_id="m1", kept="Melanie", merged="Mel", reason="the same")
    merge = memory.MergeEntities(request).merge
    assert memory.MergeEntities(request).merge == merge, "a retry is answered"
    assert (merge.kept.name, merge.merged.name, merge.reason, merge.undone_seq) == ("Melanie", "Mel", "the same", 0)
    everything = [
        ("Melanie", "likes", "hiking"),
        ("Melanie", "lives_in", "Lisbon"),
        ("Melanie", "owns", "a tent"),
        ("Melanie", "sibling_of", "Anna"),
    ]
    assert around(memory, told, "Mel") == around(memory, told, "melanie") == everything
    assert around(memory, told, "Mel", seq=seq) == [("Mel", "likes", "hiking"), ("Mel", "owns", "a tent")]
    assert len(memory.FactHistory(pb.FactHistoryRequest(namespace=told, subject="mel")).facts) == 5
    paths = memory.Paths(pb.PathsRequest(namespace=told, start="Mel", end="Lisbon")).paths
    assert [[one.relation for one in path.facts] for path in paths] == [["lives_in"]]
    entries = memory.Timeline(pb.TimelineRequest(namespace=told, entity="Mel")).entries
    assert "I moved to Lisbon last month with my sister Anna." in [one.episode.text for one in entries]
    assert {one.fact.subject.name for one in entries if one.HasField("fact")} == {"Melanie"}
    changes = memory.Changes(
        pb.ChangesRequest(namespace=told, before=c.AsOf(told_by=JUNE, valid_at=JUNE), entity="Mel")
    )
    assert {one.relation for one in changes.belief.gained} | {one.relation for one in changes.world.gained} >= {"owns"}
    known = memory.GetEntity(e.GetEntityRequest(namespace=told, name="Mel"))
    assert (known.entity.entity.name, list(known.entity.aliases), list(known.candidates)) == ("Melanie", ["Mel"], [])
    assert "Mel" not in [one.entity.name for one in listed(memory, told)]
    refused = refusal(lambda: memory.Paths(pb.PathsRequest(namespace=told, start="Mel", end="Melanie")))
    says(refused, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "end", "one Entity")

    undone = memory.UndoMerge(e.UndoMergeRequest(namespace=told, merge_id=merge.id)).merge
    assert undone.undone_seq > merge.seq
    assert around(memory, told, "Mel") == [("Mel", "likes", "hiking"), ("Mel", "owns", "a tent")]
    assert around(memory, told, "Mel", seq=merge.seq) == everything
    assert list(memory.ListMerges(e.ListMergesRequest(namespace=told)).merges) == []
    (kept,) = memory.ListMerges(e.ListMergesRequest(namespace=told, undone=True)).merges
    assert kept == undone
    (then,) = memory.ListMerges(e.ListMergesRequest(namespace=told, as_of=c.AsOf(seq=merge.seq))).merges
    assert then.id == merge.id


def test_what_cannot_be_merged_or_undone(memory: Any, told: str) -> None:
    missing = refusal(lambda: memory.MergeEntities(e.MergeEntitiesRequest(namespace=told, kept="Tom", merged="Nobody")))
    says(missing, StatusCode.NOT_FOUND, "ENTITY_NOT_FOUND", "merged", "Nobody")
    same = refusal(lambda: memory.MergeEntities(e.MergeEntitiesRequest(namespace=told, kept="Tom", merged="TOM")))
    says(same, StatusCode.FAILED_PRECONDITION, "ALREADY_MERGED", "merged", "Tom")
    long = e.MergeEntitiesRequest(namespace=told, kept="Tom", merged="Anna", reason="r" * 1025)
    says(refusal(lambda: memory.MergeEntities(long)), StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "reason", "1025")
    unknown = refusal(lambda: memory.UndoMerge(e.UndoMergeRequest(namespace=told, merge_id="x")))
    says(unknown, StatusCode.NOT_FOUND, "MERGE_NOT_FOUND", "merge_id", "x")
    gone = refusal(lambda: memory.GetEntity(e.GetEntityRequest(namespace=told, name="Nobody")))
    says(gone, StatusCode.NOT_FOUND, "ENTITY_NOT_FOUND", "name", "Nobody")


def test_forgetting_takes_what_was_read(memory: Any, told: str) -> None:
    before = memory.Stats(pb.StatsRequest(namespace=told)).facts
    memory.Forget(pb.ForgetRequest(namespace=told, speaker="Tom"))
    assert memory.Stats(pb.StatsRequest(namespace=told)).facts < before
    assert [one.entity.name for one in listed(memory, told)] == ["Anna", "Lisbon", "Melanie"]


def test_an_export_carries_merges_and_what_was_read(memory: Any, told: str, new_namespace: Callable[[], str]) -> None:
    memory.MergeEntities(e.MergeEntitiesRequest(namespace=told, kept="Melanie", merged="Mel"))
    records = [one.record for one in memory.Export(pb.ExportRequest(namespace=told))]
    assert [one.merge.merged.name for one in records if one.HasField("merge")] == ["Mel"]
    assert {one.fact.subject.name for one in records if one.HasField("fact")} >= {"Mel", "Melanie"}, "as they were told"
    other = new_namespace()
    requests = [pb.ImportRequest(namespace=other, record=record) for record in records]
    taken = memory.Import(iter(requests))
    facts = sum(one.HasField("fact") for one in records)
    assert (taken.facts, taken.merges, taken.duplicates) == (facts, 1, 0)
    assert settled(memory, other).facts == facts, "reading the Episodes again adds none"
    again = memory.Import(iter(requests))
    assert (again.facts, again.merges, again.duplicates) == (0, 0, len(records))
    assert around(memory, other, "Mel") == around(memory, told, "Mel")
    assert [one.entity.name for one in listed(memory, other)] == [one.entity.name for one in listed(memory, told)]
