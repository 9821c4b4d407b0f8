"""Dreams over the wire, on the real daemon: begun, watched, shown as a diff, approved, undone; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from grpc import StatusCode
from refusals import episode, refusal, remembered, says, stats
from sapience.v1 import concept_pb2, controller_pb2, dream_pb2, entities_pb2, memory_pb2, reasoning_pb2
from settling import settled

from memory.dreams.procedures import LEAST_ASKED

LONG = "The potter sold seventeen blue bowls at the crowded Saturday market in Antwerp before noon."


@pytest.fixture
def told(memory: Any, namespace: str) -> list[str]:
    subjects = ("glazed the kiln bowls", "watered the greenhouse tomatoes", "sang the chapel requiem")
    texts = [f"We {subjects[n % 3]} with guest number {n} and laughed all evening." for n in range(12)]
    return remembered(
        memory,
        namespace,
        *(
            episode(text, speaker=("Ada", "Bob")[n % 2], conversation="diary", position=n)
            for n, text in enumerate(texts)
        ),
        episode(LONG, speaker="Ada", conversation="market", position=0),
        episode(LONG, speaker="Ada", conversation="market", position=1),
    )


def everything(memory: Any, namespace: str) -> list[bytes]:
    """What an export has, but for the policies of relations, which hold no word of an Episode."""
    settled(memory, namespace)
    return [
        one.record.SerializeToString(deterministic=True)
        for one in memory.Export(memory_pb2.ExportRequest(namespace=namespace))
        if not one.record.HasField("policy")
    ]


def to_its_end(memory: Any, namespace: str, dream_id: str) -> dream_pb2.Dream:
    request = dream_pb2.WatchDreamRequest(namespace=namespace, dream_id=dream_id)
    states = [one.dream for one in memory.WatchDream(request, timeout=60)]
    versions = [one.version for one in states]
    assert versions == sorted(set(versions))
    return states[-1]


def dreamt(memory: Any, namespace: str, **fields: Any) -> dream_pb2.Dream:
    run = memory.Dream(dream_pb2.DreamRequest(namespace=namespace, **fields)).run
    assert (run.kind, run.state) == ("dream", concept_pb2.RUN_STATE_RUNNING)
    return to_its_end(memory, namespace, run.id)


def shown(memory: Any, namespace: str, dream: dream_pb2.Dream, **fields: Any) -> dream_pb2.GetDreamResponse:
    found: dream_pb2.GetDreamResponse = memory.GetDream(
        dream_pb2.GetDreamRequest(namespace=namespace, dream_id=dream.id, **fields)
    )
    return found


def test_a_dream_is_proposed_approved_in_part_and_undone(memory: Any, namespace: str, told: list[str]) -> None:
    before = everything(memory, namespace)
    dream = dreamt(memory, namespace)
    assert (dream.state, dream.done, dream.episodes) == (dream_pb2.DREAM_STATE_PROPOSED, 0, len(told))
    diff = shown(memory, namespace, dream)
    assert len(diff.changes) == dream.total
    copy = diff.changes[0]
    assert copy.kind == dream_pb2.DREAM_KIND_DUPLICATES
    assert [(line.sign, line.episode_id) for line in copy.lines] == [
        (dream_pb2.DiffLine.SIGN_KEPT, told[12]),
        (dream_pb2.DiffLine.SIGN_ARCHIVED, told[13]),
    ]
    summary = next(one for one in diff.changes if one.kind == dream_pb2.DREAM_KIND_SUMMARIES)
    assert summary.lines[0].sign == dream_pb2.DiffLine.SIGN_ADDED
    assert everything(memory, namespace) == before, "nothing was approved"
    wanted = [copy.ordinal, summary.ordinal]
    memory.ApproveDream(dream_pb2.ApproveDreamRequest(namespace=namespace, dream_id=dream.id, changes=wanted))
    applied = to_its_end(memory, namespace, dream.id)
    assert (applied.state, applied.done) == (dream_pb2.DREAM_STATE_APPLIED, applied.total)
    after = everything(memory, namespace)
    (written,) = [one.record.episode for one in memory.Export(memory_pb2.ExportRequest(namespace=namespace))
                  if one.record.episode.episode.source.kind == concept_pb2.SOURCE_KIND_DREAM]  # fmt: skip
    assert written.episode.text == summary.lines[0].text
    assert set(written.derived_from) <= set(told)
    hits = memory.Recall(memory_pb2.RecallRequest(namespace=namespace, text="Who sold blue bowls?", limit=50)).hits
    assert told[13] not in {hit.episode.id for hit in hits}
    assert written.episode.id not in {hit.episode.id for hit in hits}, "a summary is no evidence"
    voted = memory.Recall(memory_pb2.RecallRequest(namespace=namespace, text="What was glazed?", recipe="dreams"))
    assert any(channel.channel == "summary" for hit in voted.hits for channel in hit.channels)
    assert after != before
    memory.UndoDream(dream_pb2.UndoDreamRequest(namespace=namespace, dream_id=dream.id))
    assert to_its_end(memory, namespace, dream.id).state == dream_pb2.DREAM_STATE_UNDONE
    assert everything(memory, namespace) == before


def test_an_automatic_dream_again_changes_nothing(
    memory: Any, controller: Any, namespace: str, told: list[str]
) -> None:
    first = dreamt(memory, namespace, automatic=True, request_id="once")
    assert (first.state, first.done) == (dream_pb2.DREAM_STATE_APPLIED, first.total)
    assert first.total > 1
    again = memory.Dream(dream_pb2.DreamRequest(namespace=namespace, automatic=True, request_id="once"))
    assert again.run.id == first.id
    after = everything(memory, namespace)
    second = dreamt(memory, namespace, automatic=True)
    assert (second.state, second.total) == (dream_pb2.DREAM_STATE_APPLIED, 0)
    assert everything(memory, namespace) == after
    listed = memory.ListDreams(dream_pb2.ListDreamsRequest(namespace=namespace, limit=1))
    assert [one.id for one in listed.dreams] == [second.id]
    rest = memory.ListDreams(dream_pb2.ListDreamsRequest(namespace=namespace, page_token=listed.next_page_token))
    assert ([one.id for one in rest.dreams], rest.next_page_token) == ([first.id], "")
    runs = {run.id: run for run in controller.Runs(controller_pb2.RunsRequest()).runs}
    assert runs[first.id].state == concept_pb2.RUN_STATE_SUCCEEDED
    assert runs[first.id].total == first.total


def test_names_that_mean_the_same_are_shown_merged_and_taken_apart(memory: Any, namespace: str) -> None:
    said = [("Melanie", "I moved to Oslo."), ("Caroline", "How is Oslo, Mel?")]
    remembered(memory, namespace, *(episode(text, speaker=who, conversation="c", position=n)
                                    for n, (who, text) in enumerate(said)))  # fmt: skip
    settled(memory, namespace)
    dream = dreamt(memory, namespace, kinds=[dream_pb2.DREAM_KIND_ALIASES])
    (change,) = shown(memory, namespace, dream).changes
    kept, merged = change.lines
    assert (kept.sign, kept.text) == (dream_pb2.DiffLine.SIGN_KEPT, "How is Oslo, Mel?")
    assert (merged.sign, merged.text, merged.same_as) == (dream_pb2.DiffLine.SIGN_MERGED, "Mel", "Melanie")
    memory.ApproveDream(dream_pb2.ApproveDreamRequest(namespace=namespace, dream_id=dream.id))
    assert to_its_end(memory, namespace, dream.id).state == dream_pb2.DREAM_STATE_APPLIED
    known = memory.GetEntity(entities_pb2.GetEntityRequest(namespace=namespace, name="Mel")).entity
    assert (known.entity.name, list(known.aliases)) == ("Melanie", ["Mel"])
    memory.UndoDream(dream_pb2.UndoDreamRequest(namespace=namespace, dream_id=dream.id))
    assert to_its_end(memory, namespace, dream.id).state == dream_pb2.DREAM_STATE_UNDONE
    assert memory.GetEntity(entities_pb2.GetEntityRequest(namespace=namespace, name="Mel")).entity.entity.name == "Mel"
    assert dreamt(memory, namespace, kinds=[dream_pb2.DREAM_KIND_ALIASES]).total == 0


def test_what_is_forgotten_leaves_no_word_in_any_summary(memory: Any, namespace: str, told: list[str]) -> None:
    dream = dreamt(memory, namespace, automatic=True)
    gone = memory.Forget(memory_pb2.ForgetRequest(namespace=namespace, speaker="Bob"))
    assert gone.episodes > 6, "summaries that quote him go as well"
    assert not any(b"Bob" in one or b"guest number 1 " in one for one in everything(memory, namespace))
    diff = shown(memory, namespace, dream)
    assert "Bob" not in str(diff)


def test_an_import_keeps_what_was_derived_from_what(
    memory: Any, namespace: str, new_namespace: Any, told: list[str]
) -> None:
    dreamt(memory, namespace, automatic=True)
    records = [one.record for one in memory.Export(memory_pb2.ExportRequest(namespace=namespace))]
    other = new_namespace()
    memory.Import(iter([memory_pb2.ImportRequest(namespace=other, record=one) for one in records]))
    taken = [one.record.episode for one in memory.Export(memory_pb2.ExportRequest(namespace=other))]
    by_id = {one.episode.id: one.episode.text for one in taken}
    texts = {one.episode.episode.id: one.episode.episode.text for one in records}
    before = sorted((one.episode.episode.text, sorted(texts[s] for s in one.episode.derived_from)) for one in records)
    assert sorted((one.episode.text, sorted(by_id[s] for s in one.derived_from)) for one in taken) == before


def test_an_answer_that_was_learnt_goes_with_what_it_cites(memory: Any, reasoning: Any, namespace: str) -> None:
    (home,) = remembered(
        memory, namespace, episode("I moved to Lisbon in May, to a flat near the river.", speaker="Ada")
    )
    for _ in range(LEAST_ASKED):
        request = reasoning_pb2.ReasonRequest(namespace=namespace, text="Where did Ada move in May?", learn=True)
        (answer,) = [one.event.answer for one in reasoning.Reason(request) if one.event.HasField("answer")]
        assert [one.episode_id for one in answer.citations] == [home]
    dream = dreamt(memory, namespace, kinds=[dream_pb2.DREAM_KIND_PROCEDURES], automatic=True)
    (change,) = shown(memory, namespace, dream).changes
    assert change.lines[0].text.startswith("Questions that ask for a place: 5 of 5 were answered from evidence")
    gone = memory.Forget(memory_pb2.ForgetRequest(namespace=namespace, episode_ids=[home]))
    assert gone.episodes == 1 + LEAST_ASKED + 1
    assert everything(memory, namespace) == []


BAD: list[tuple[str, dict[str, Any], StatusCode, str, str]] = [
    ("Dream", {"kinds": [9]}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "kinds"),
    ("Dream", {"kinds": [0]}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "kinds"),
    ("Dream", {"budget": {"episodes": -1}}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "budget.episodes"),
    ("Dream", {"budget": {"changes": 10_001}}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "budget.changes"),
    ("Dream", {"budget": {"wall": Duration()}}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "budget.wall"),
    ("Dream", {"request_id": "x" * 200}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "request_id"),
    ("GetDream", {"dream_id": "gone"}, StatusCode.NOT_FOUND, "DREAM_NOT_FOUND", "dream_id"),
    ("GetDream", {"dream_id": "gone", "after": -1}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "after"),
    ("ListDreams", {"page_token": "x"}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "page_token"),
    ("ApproveDream", {"dream_id": "gone"}, StatusCode.NOT_FOUND, "DREAM_NOT_FOUND", "dream_id"),
    ("UndoDream", {"dream_id": "gone"}, StatusCode.NOT_FOUND, "DREAM_NOT_FOUND", "dream_id"),
    ("CancelDream", {"dream_id": "gone"}, StatusCode.NOT_FOUND, "DREAM_NOT_FOUND", "dream_id"),
]  # fmt: skip


@pytest.mark.parametrize(("rpc", "fields", "code", "reason", "field"), BAD)
def test_what_makes_no_sense_is_refused(
    memory: Any, namespace: str, rpc: str, fields: dict[str, Any], code: StatusCode, reason: str, field: str
) -> None:
    before = stats(memory)
    request = getattr(dream_pb2, f"{rpc}Request")(namespace=namespace, **fields)
    says(refusal(lambda: getattr(memory, rpc)(request)), code, reason, field)
    assert stats(memory) == before


def test_a_dream_that_waits_can_be_cancelled_and_not_approved_then(
    memory: Any, namespace: str, told: list[str]
) -> None:
    dream = dreamt(memory, namespace)
    unknown = dream_pb2.ApproveDreamRequest(namespace=namespace, dream_id=dream.id, changes=[999])
    says(refusal(lambda: memory.ApproveDream(unknown)), StatusCode.NOT_FOUND, "CHANGE_NOT_FOUND", "changes", "999")
    gone = memory.CancelDream(dream_pb2.CancelDreamRequest(namespace=namespace, dream_id=dream.id)).dream
    assert gone.state == dream_pb2.DREAM_STATE_CANCELLED
    late = dream_pb2.ApproveDreamRequest(namespace=namespace, dream_id=dream.id)
    says(refusal(lambda: memory.ApproveDream(late)), StatusCode.FAILED_PRECONDITION, "DREAM_STATE", "dream_id")
