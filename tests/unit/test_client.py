"""The client's pure parts: what it sends, what it reads, which errors it raises, where it finds the services."""

from __future__ import annotations

import ast
import inspect
import json
import os
import struct
import subprocess
import sys
from collections import deque
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest
import sapience
from google.protobuf import any_pb2, duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2, status_pb2
from sapience import aio, discovery, errors, events, plain, session, types, wire
from sapience.calls import Description, facts, memory, moving, patching, reasoning, system, thinking
from sapience.pipeline import MOST_BYTES, Window, next_message
from sapience.v1 import concept_pb2, controller_pb2, memory_pb2, perception_pb2, reasoning_pb2

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
STAMP = timestamp_pb2.Timestamp(seconds=int(NOON.timestamp()))


# ---- what it sends ----

EVERY_CALL: list[Description] = [
    memory.namespaces(),
    memory.create_namespace("a"),
    memory.delete_namespace("a"),
    memory.remember("text"),
    memory.recall("text"),
    memory.forget(speaker="Nora"),
    memory.archive(share=0.3, dry_run=True),
    memory.thaw(all=True),
    memory.set_hold("case", episode_ids=["id"]),
    memory.set_expiry(None, episode_ids=["id"]),
    memory.set_time_to_live(timedelta(days=1)),
    memory.keeping(["id"]),
    memory.export(),
    memory.stats(),
    moving.backup(),
    moving.rebuild_index(),
    moving.correct_fact("id", literal="tea"),
    moving.undo_fact("id"),
    facts.assert_fact("Nora", "lives_in", entity="Bremen"),
    facts.retract_fact("id"),
    facts.fact_history("Nora"),
    facts.neighbours("Nora"),
    facts.paths("Nora", "Felix"),
    facts.changes(NOON),
    facts.set_relation_policy("lives_in", "single"),
    facts.relation_policies(),
    facts.timeline(),
    reasoning.ask("text"),
    thinking.generate("text"),
    thinking.think("text"),
    thinking.resume("id"),
    thinking.get_thought("id"),
    thinking.thoughts(),
    thinking.delete_thought("id"),
    reasoning.trace("id"),
    reasoning.load_model("wheel:m"),
    reasoning.unload_model("wheel:m"),
    system.encode(["text"]),
    patching.patch(b"text"),
    system.perception_models(),
    system.language_models(),
    system.status(),
]


def rpc_of(service: str, method: str) -> Any:
    file = {
        "memory": memory_pb2,
        "reasoning": reasoning_pb2,
        "perception": perception_pb2,
        "controller": controller_pb2,
    }[service]
    return file.DESCRIPTOR.services_by_name[f"{service.capitalize()}Service"].methods_by_name[method]


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda call: f"{call.service}.{call.method}")
def test_each_call_names_an_rpc_of_the_contract_and_sends_its_request(call: Description) -> None:
    assert call.request.DESCRIPTOR is rpc_of(call.service, call.method).input_type
    if call.default_namespace:
        assert "namespace" in call.request.DESCRIPTOR.fields_by_name


def test_only_calls_that_are_safe_to_repeat_are_retried() -> None:
    config = json.loads(dict(session.channel_options())["grpc.service_config"])
    (retried,) = config["methodConfig"]
    for name in retried["name"]:
        service = name["service"].rpartition(".")[2].removesuffix("Service").lower()
        rpc = rpc_of(service, name["method"])
        writes = name["method"] in (
            "Remember", "AssertFact", "RetractFact", "SetRelationPolicy", "Forget", "Archive", "Thaw", "SetHold",
            "SetExpiry", "CorrectFact", "UndoFact", "MergeEntities", "UndoMerge",
        )  # fmt: skip
        assert writes == ("request_id" in rpc.input_type.fields_by_name), "a repeated write must carry a request_id"
        assert not rpc.client_streaming
        assert not rpc.server_streaming
    assert retried["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]


def test_remember_sends_all_that_was_given() -> None:
    told_at = NOON.astimezone(timezone(timedelta(hours=2)))
    call = memory.remember(
        "I moved.", speaker="Nora", told_at=told_at, conversation="c", position=3, source="chat", kind="document",
        external_id="x", request_id="r", namespace="n",
    )  # fmt: skip
    assert call.request == memory_pb2.RememberRequest(
        namespace="n",
        request_id="r",
        episodes=[
            memory_pb2.NewEpisode(
                source=concept_pb2.Source(kind=concept_pb2.SOURCE_KIND_DOCUMENT, name="chat"),
                conversation="c",
                position=3,
                speaker="Nora",
                text="I moved.",
                told_at=STAMP,
                external_id="x",
            )
        ],
    )
    assert not call.default_namespace


def test_each_write_has_an_id_of_its_own_and_no_time_means_now() -> None:
    first, second = memory.remember("a").request, memory.remember("a").request
    assert isinstance(first, memory_pb2.RememberRequest)
    assert isinstance(second, memory_pb2.RememberRequest)
    assert first.request_id
    assert first.request_id != second.request_id
    assert not first.episodes[0].HasField("told_at")


def test_recall_sends_its_filter_and_as_of_a_datetime_is_told_by_then_and_valid_then() -> None:
    call = memory.recall("q", as_of=NOON, speakers=["Nora"], kinds=["self"], told_from=NOON, limit=5, token_budget=7)
    assert call.request == memory_pb2.RecallRequest(
        text="q",
        as_of=concept_pb2.AsOf(valid_at=STAMP, told_by=STAMP),
        filter=memory_pb2.RecallFilter(
            speakers=["Nora"],
            source_kinds=[concept_pb2.SOURCE_KIND_SELF],
            told=concept_pb2.Interval(start=STAMP),
        ),
        limit=5,
        token_budget=7,
    )
    assert call.default_namespace


def test_as_of_keeps_every_axis_and_history_has_no_valid_at() -> None:
    assert wire.as_of(types.AsOf(told_by=NOON, seq=0)) == concept_pb2.AsOf(told_by=STAMP, seq=0)
    assert wire.belief(NOON) == concept_pb2.AsOf(told_by=STAMP)
    assert wire.as_of(None) is None


def test_a_fact_is_about_an_entity_or_a_value_and_no_trust_given_is_none_sent() -> None:
    request = facts.assert_fact("Nora", "age", literal="", valid=types.Interval(NOON, precision="day")).request
    assert isinstance(request, memory_pb2.AssertFactRequest)
    assert request.WhichOneof("object") == "literal"
    assert not request.HasField("trust")
    assert request.valid == concept_pb2.Interval(start=STAMP, precision=concept_pb2.PRECISION_DAY)
    retracted = facts.retract_fact("id", from_=NOON).request
    assert isinstance(retracted, memory_pb2.RetractFactRequest)
    assert getattr(retracted, "from") == STAMP


def test_ask_and_generate_send_budget_and_sampling() -> None:
    asked = reasoning.ask("q", budget=types.Budget(new_tokens=9), temperature=0.5, seed=2, learn=True).request
    assert isinstance(asked, reasoning_pb2.ReasonRequest)
    assert asked.budget == concept_pb2.Budget(new_tokens=9)
    assert asked.sampling == reasoning_pb2.Sampling(temperature=0.5, seed=2)
    assert asked.learn
    assert asked.request_id
    chat = thinking.generate([types.ChatMessage("user", "hi"), {"role": "assistant", "content": "ho"}]).request
    assert isinstance(chat, reasoning_pb2.GenerateRequest)
    assert [(said.role, said.content) for said in chat.chat.messages] == [("user", "hi"), ("assistant", "ho")]
    assert chat.WhichOneof("input") == "chat"


def test_thinking_and_forks_are_sent_as_they_were_given() -> None:
    way = types.Thinking("soft", "entropy", threshold=0.0, patience=2, probe=3)
    call = thinking.think(
        "a", thinking=way, budget=types.Budget(latent_steps=4), min_p=0.5, top_k=3, stop=["\n"], logprobs=0,
        json_schema={"type": "integer"}, keep=True,
    )  # fmt: skip
    assert call.default_namespace
    assert call.request == reasoning_pb2.GenerateRequest(
        prompt="a",
        thinking=concept_pb2.Thinking(
            mode=concept_pb2.THINKING_MODE_SOFT, rule=concept_pb2.STOP_RULE_ENTROPY, threshold=0, patience=2, probe=3
        ),
        budget=concept_pb2.Budget(latent_steps=4),
        sampling=reasoning_pb2.Sampling(min_p=0.5, top_k=3),
        stop=["\n"],
        logprobs=0,
        json_schema='{"type": "integer"}',
        keep=True,
    )
    assert not thinking.think("a").default_namespace, "nothing is kept, so no tenant is touched"
    own = types.Tensor("latent/m", "", "float32", (1, 2), b"\0" * 8)
    fork = thinking.resume("id", keep_latent_steps=2, edits={1: own.vector([0.0, 1.0])}, namespace="n").request
    assert fork == reasoning_pb2.GenerateRequest(
        thought_id="id",
        namespace="n",
        keep_latent_steps=2,
        sampling=reasoning_pb2.Sampling(),
        edits=[
            reasoning_pb2.ThoughtEdit(
                step=1,
                vector=concept_pb2.Tensor(
                    space="latent/m", dtype=concept_pb2.DTYPE_FLOAT32, shape=[2], data=b"\0\0\0\0\0\0\x80?"
                ),
            )
        ],
    )


def test_a_response_of_a_generation_is_a_step_a_piece_or_the_end() -> None:
    step = reasoning_pb2.ThoughtEvent(step=0, norm=2, nearest=[reasoning_pb2.Candidate(token=7, text="a", logprob=-1)])
    near = types.Candidate(7, "a", -1.0)
    assert events.read_generated(reasoning_pb2.GenerateResponse(thought=step)) == types.Step(0, 2.0, None, (near,))
    drawn = reasoning_pb2.DrawnToken(token=step.nearest[0], alternatives=step.nearest)
    piece = events.read_generated(reasoning_pb2.GenerateResponse(text="a", tokens=[drawn]))
    assert piece == types.Piece("a", (types.DrawnToken(near, (near,)),))
    end = reasoning_pb2.GenerateResponse(
        stop_reason=reasoning_pb2.STOP_REASON_DONE, usage=concept_pb2.Usage(latent_steps=2, context_tokens=5)
    )
    assert events.read_generated(end) == types.Finished(types.StopReason.DONE, 2, 0, 5, 0, "", None)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("told_at", lambda: memory.remember("a", told_at=datetime(2024, 5, 1))),
        ("told_at", lambda: memory.remember("a", told_at=date(2024, 5, 1))),  # type: ignore[arg-type]
        ("told_at", lambda: memory.remember("a", told_at=datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))))),
        ("as_of.valid_at", lambda: memory.recall("a", as_of=datetime(2024, 5, 1))),
        ("as_of", lambda: memory.recall("a", as_of=types.AsOf(recorded_by=NOON, seq=1))),
        ("kind", lambda: memory.remember("a", kind="gossip")),
        ("text", lambda: memory.remember("\ud800")),
        ("text", lambda: memory.recall(7)),  # type: ignore[arg-type]
        ("limit", lambda: memory.recall("a", limit=1 << 40)),
        ("speakers", lambda: memory.recall("a", speakers="Nora")),
        ("texts", lambda: system.encode("Nora")),
        ("object", lambda: facts.assert_fact("Nora", "age")),
        ("object", lambda: facts.assert_fact("Nora", "age", entity="a", literal="b")),
        ("chat.messages[0]", lambda: thinking.generate([("user", "hi")])),  # type: ignore[list-item]
        ("window", lambda: Window("default", 0)),
        ("constraint", lambda: thinking.generate("a", regex="a", grammar="b")),
        ("thinking.mode", lambda: thinking.think("a", thinking=types.Thinking("loud"))),
        ("stop", lambda: thinking.think("a", stop="end")),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_field(field: str, make: Any) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


def test_a_naive_datetime_is_refused_with_the_mend() -> None:
    with pytest.raises(errors.InvalidArgument, match=r"no timezone; write \.replace\(tzinfo=datetime\.UTC\)") as caught:
        memory.remember("a", told_at=datetime(2024, 5, 1))
    assert caught.value.reason == "NAIVE_DATETIME"


# ---- what it reads ----


def filled(message: Any, depth: int = 0) -> Any:
    """A message with every field set to something that is not its default."""
    for index, field in enumerate(message.DESCRIPTOR.fields, 1):
        if field.containing_oneof and message.WhichOneof(field.containing_oneof.name):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)["key"] = 0.5
        elif field.message_type:
            inner = getattr(message, field.name)
            if field.is_repeated:
                filled(inner.add(), depth + 1)
            elif field.message_type.full_name == "google.protobuf.Timestamp":
                inner.CopyFrom(STAMP)
            else:
                filled(inner, depth + 1)
        else:
            value = {
                field.CPPTYPE_STRING: b"\0\0\x80?" if field.type == field.TYPE_BYTES else f"{field.name}-{index}",
                field.CPPTYPE_BOOL: True,
                field.CPPTYPE_DOUBLE: 0.5,
                field.CPPTYPE_ENUM: 1,
            }.get(field.cpp_type, index)
            getattr(message, field.name).append(value) if field.is_repeated else setattr(message, field.name, value)
    return message


@pytest.mark.parametrize("call", EVERY_CALL, ids=lambda call: f"{call.service}.{call.method}")
def test_each_response_is_read_with_nothing_left_out(call: Any) -> None:
    response = filled(rpc_of(call.service, call.method).output_type._concrete_class())
    read = call.read(response)
    if hasattr(read, "DESCRIPTOR") or isinstance(read, (bool, str, int, type(None))):
        return
    for one in read if isinstance(read, list) else [read]:
        for name, value in plain.to_dict(one).items():
            unset = ("seq",) if isinstance(one, (types.Event, types.RecallPage)) else ()
            assert value not in ("", "unspecified", None, 0, []) or name in unset, f"{name} was left out"


def event(**what: Any) -> types.Event | None:
    return events.read_event(reasoning_pb2.ReasonEvent(seq=4, trace_id="t", time=STAMP, **what))


def test_each_kind_of_event_becomes_its_own_dataclass() -> None:
    head = {"seq": 4, "trace_id": "t", "time": NOON}
    assert event(thought=reasoning_pb2.ThoughtEvent(step=2, norm=0.5)) == types.LatentStep(**head, step=2, norm=0.5)
    assert event(token=reasoning_pb2.TokenEvent(draft_id="d", text="x")) == types.Token(**head, draft_id="d", text="x")
    retracted = reasoning_pb2.DraftRetractedEvent(draft_id="d", reason="why")
    assert event(draft_retracted=retracted) == types.DraftRetracted(**head, draft_id="d", reason="why")
    check = reasoning_pb2.CheckEvent(name="support", passed=True, score=0.5, detail="x")
    assert event(check=check) == types.Check(**head, name="support", passed=True, score=0.5, detail="x")
    assert event(usage=concept_pb2.Usage(new_tokens=7, wall_ms=9)) == types.Usage(**head, latent_steps=0, new_tokens=7,
        recalls=0, self_prompts=0, context_tokens=0, wall_ms=9)  # fmt: skip
    found = reasoning_pb2.RecallResponseSummary(
        recipe="default", hits=[reasoning_pb2.TracedHit(episode_id="e", score=0.5, channels={"dense": 0.25})]
    )
    recalled = event(recall=reasoning_pb2.RecallEvent(text="q", found=found))
    assert isinstance(recalled, types.Recalled)
    assert recalled.hits == (types.TracedHit("e", "", 0.5, {"dense": 0.25}),)
    answer = event(answer=filled(reasoning_pb2.Answer()))
    assert isinstance(answer, types.Answer)
    assert (answer.verdict, answer.citations[0].told_at) == ("answered", NOON)
    assert event() is None, "a kind that only a newer service knows is passed over"


def test_a_number_of_a_newer_contract_is_unspecified() -> None:
    assert wire.read_enum(types.Verdict, 99) is types.Verdict.UNSPECIFIED


def test_every_word_of_an_enum_is_in_the_contract_and_the_other_way_round() -> None:
    for kind, (wrapper, prefix) in wire._ENUMS.items():
        assert [prefix + member.name for member in kind] == wrapper.keys()


def test_a_time_that_must_be_there_is_no_1970() -> None:
    with pytest.raises(errors.Internal, match="Episode without its told_at"):
        wire.read_episode(concept_pb2.Episode(id="e"))


def test_a_result_is_plain_json_and_an_event_says_what_it_is() -> None:
    answer = event(answer=filled(reasoning_pb2.Answer()))
    known = json.loads(json.dumps(sapience.to_dict(answer)))
    assert (known["event"], known["time"], known["verdict"]) == ("answer", "2024-05-01T12:00:00+00:00", "answered")
    assert known["citations"][0]["kind"] == "testimony"
    retracted = event(draft_retracted=reasoning_pb2.DraftRetractedEvent())
    assert sapience.to_dict(retracted)["event"] == "draft_retracted"
    with pytest.raises(TypeError, match="7 is not a dataclass"):
        sapience.to_dict(7)


def test_a_tensor_gives_its_rows() -> None:
    assert types.Tensor("s", "1", "float32", (2, 1), b"\0\0\x80?\0\0\0\0").rows() == [(1.0,), (0.0,)]


def test_a_thought_gives_the_vector_of_a_step() -> None:
    numbers = [float(number) for number in range(8)]
    tensor = types.Tensor("latent/m", "", "float32", (4, 2), struct.pack("<8f", *numbers))
    message = reasoning_pb2.Thought(id="t", created_at=STAMP, latent=wire.tensor(tensor, "latent"))
    for rows, kept in ((message.prompt_rows, ([1], [], [2])), (message.latent_rows, ([], [9], [], []))):
        rows.extend(reasoning_pb2.ThoughtRow(token_ids=ids) for ids in kept)
    thought = events.read_thought(message)
    assert thought.vector(0).rows() == [(2.0, 3.0)]
    assert thought.vector(3).rows() == [(6.0, 7.0)]
    assert (thought.vector(2).space, thought.vector(2).shape) == ("latent/m", (2,))
    for step in (-1, 1, 4):
        with pytest.raises(IndexError, match=f"no vector for step {step}"):
            thought.vector(step)


# ---- a stream of Episodes ----


def acknowledged(seq: int, **outcome: Any) -> memory_pb2.RememberStreamResponse:
    return memory_pb2.RememberStreamResponse(client_seq=seq, **outcome)


def test_a_window_keeps_the_order_of_what_is_refused_here_and_there() -> None:
    window = Window("n", 3)
    sent = [
        window.offer(types.NewEpisode(text, kind=kind)) for text, kind in (("a", "self"), ("b", "?"), ("c", "self"))
    ]
    assert [request and (request.namespace, request.client_seq) for request in sent] == [("n", 0), None, ("n", 2)]
    assert window.full
    assert window.at_hand() is None
    kept = window.acknowledged(acknowledged(0, remembered=memory_pb2.Remembered(episode_id="e")))
    assert kept == types.Remembered("e", 0, False)
    assert not window.full
    refused = window.at_hand()
    assert isinstance(refused, errors.InvalidArgument)
    there = window.acknowledged(acknowledged(2, error=status_pb2.Status(code=9, message="no")))
    assert isinstance(there, errors.FailedPrecondition)
    assert not window


def test_what_waits_and_follows_one_another_goes_in_one_message() -> None:
    window = Window("n", 1000)
    kinds = ["self"] * 130 + ["?"] + ["self"] * 2
    offered = [window.offer(types.NewEpisode(f"turn {n}", kind=kind)) for n, kind in enumerate(kinds)]
    waiting = deque(request for request in offered if request is not None)
    sent = []
    while waiting:
        sent.append(next_message(waiting))
    assert [(one.client_seq, len(one.episodes), one.HasField("episode")) for one in sent] == [
        (0, 128, False),
        (128, 2, False),
        (131, 2, False),
    ]
    assert {one.namespace for one in sent} == {"n"}
    for request in sent:
        outcomes = [memory_pb2.RememberOutcome(remembered={"episode_id": one.text}) for one in request.episodes]
        response = memory_pb2.RememberStreamResponse(client_seq=request.client_seq, outcomes=outcomes)
        for place, one in enumerate(request.episodes):
            found = window.acknowledged(response) if place == 0 else window.at_hand()
            assert found == types.Remembered(one.text, 0, False)
        if request.client_seq == 128:
            assert isinstance(window.at_hand(), errors.InvalidArgument)
    assert not window


def test_a_message_holds_no_more_than_a_service_takes() -> None:
    window = Window("n", 100)
    waiting = deque(request for n in range(40) if (request := window.offer(types.NewEpisode("x" * 60_000))) is not None)
    sizes = []
    while waiting:
        sizes.append(next_message(waiting).ByteSize())
    assert len(sizes) == 3
    assert max(sizes) <= MOST_BYTES


def test_a_service_that_ends_early_or_out_of_order_is_at_fault() -> None:
    window = Window("n", 3)
    window.offer(types.NewEpisode("a"))
    with pytest.raises(errors.Internal, match="left 1 Episodes unacknowledged"):
        window.acknowledged(None)
    with pytest.raises(errors.Internal, match="acknowledged Episode 5 where 0 was the next"):
        window.acknowledged(acknowledged(5))


# ---- errors ----


class Failed(grpc.RpcError):  # type: ignore[misc]
    """What grpc raises, as far as the client reads it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        super().__init__()
        self.code = lambda: code
        self.details = lambda: details
        self.trailing_metadata = lambda: trailing


def test_rich_details_become_reason_field_and_retry_after() -> None:
    status = status_pb2.Status(code=8, message="too much")
    for detail in (
        error_details_pb2.ErrorInfo(reason="BUSY", domain="sapience"),
        error_details_pb2.BadRequest(field_violations=[{"field": "episodes[0].text"}]),
        error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000)),
        error_details_pb2.Help(),
    ):
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = (("other", "x"), (errors.DETAILS_KEY, status.SerializeToString()))
    error = errors.from_rpc(Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much", trailing), "memory at a:1")
    assert isinstance(error, errors.ResourceExhausted)
    assert (error.message, error.reason, error.field, error.retry_after) == (
        "too much",
        "BUSY",
        "episodes[0].text",
        1.5,
    )
    assert str(error) == "too much"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_every_status_becomes_an_error_with_its_code(code: grpc.StatusCode) -> None:
    error = errors.from_rpc(Failed(code, "why", ((errors.DETAILS_KEY, b"\xff broken"),)), "memory at a:1")
    assert error.code is code
    assert error.message == "memory at a:1: why"
    named = code.name.title().replace("_", "")
    assert type(error).__name__ == (named if hasattr(errors, named) else "SapienceError")


# ---- where the services are ----


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith("SAPIENCE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SAPIENCE_DATA_DIR", str(tmp_path))
    return tmp_path


def daemon(folder: Path, pid: int) -> None:
    (folder / "daemon.json").write_text(json.dumps({"address": "127.0.0.1:4", "pid": pid, "version": "0.1.0"}))
    (folder / "token").write_text("secret\n")


def test_the_local_daemon_is_found_with_its_token(folder: Path) -> None:
    daemon(folder, os.getpid())
    assert discovery.resolve() == dict.fromkeys(discovery.SERVICES, discovery.Endpoint("127.0.0.1:4", "secret"))
    assert discovery.resolve(token="mine")["memory"].token == "mine"


def test_the_environment_comes_before_the_daemon_and_its_token_stays_at_home(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon(folder, os.getpid())
    monkeypatch.setenv("SAPIENCE_MEMORY_ADDRESS", "far:1")
    assert discovery.resolve()["memory"] == discovery.Endpoint("far:1", "")
    assert discovery.resolve()["reasoning"] == discovery.Endpoint("127.0.0.1:4", "secret")
    monkeypatch.setenv("SAPIENCE_ADDRESS", "far:2")
    monkeypatch.setenv("SAPIENCE_TOKEN", "theirs")
    assert discovery.resolve()["memory"] == discovery.Endpoint("far:1", "theirs")
    assert discovery.resolve()["controller"] == discovery.Endpoint("far:2", "theirs")


def test_arguments_come_before_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENCE_MEMORY_ADDRESS", "far:1")
    found = discovery.resolve("near:1", addresses={"reasoning": "near:2"})
    assert {service: endpoint.address for service, endpoint in found.items()} == {
        "perception": "near:1", "memory": "near:1", "reasoning": "near:2", "controller": "near:1",
    }  # fmt: skip
    with pytest.raises(errors.InvalidArgument, match="no service 'mem'"):
        discovery.resolve(addresses={"mem": "x"})


def test_the_daemons_address_given_as_an_argument_gets_its_token(folder: Path) -> None:
    daemon(folder, os.getpid())
    assert discovery.resolve("127.0.0.1:4")["memory"].token == "secret"
    assert discovery.resolve("127.0.0.1:5")["memory"].token == ""


def test_no_daemon_and_a_dead_one_say_how_to_start_one(folder: Path) -> None:
    with pytest.raises(errors.Unavailable, match="start one with `sapience up`") as caught:
        sapience.connect()
    assert caught.value.reason == "NO_DAEMON"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    daemon(folder, ended.pid)
    with pytest.raises(errors.Unavailable, match=rf"process {ended.pid} does not exist.*`sapience up`") as caught:
        sapience.connect()
    assert caught.value.reason == "DAEMON_GONE"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"address": "", "pid": 1}', '{"address": "a:1", "pid": "x"}'])
def test_a_broken_discovery_file_is_named_unless_nobody_needs_it(folder: Path, content: str) -> None:
    (folder / "daemon.json").write_text(content)
    with pytest.raises(errors.Unavailable, match=r"daemon\.json") as caught:
        discovery.resolve()
    assert caught.value.reason == "BAD_DISCOVERY_FILE"
    assert discovery.resolve(addresses={"memory": "a:1"}) == {"memory": discovery.Endpoint("a:1")}


def test_a_token_file_that_cannot_be_read_is_named(folder: Path) -> None:
    daemon(folder, os.getpid())
    (folder / "token").write_bytes(b"\xff")
    with pytest.raises(errors.Unauthenticated, match="SAPIENCE_TOKEN"):
        discovery.resolve()
    assert discovery.resolve(token="mine")["memory"].token == "mine"


def test_a_token_is_not_in_a_repr(folder: Path) -> None:
    daemon(folder, os.getpid())
    assert "secret" not in repr(discovery.resolve())


# ---- the library as a whole ----

PUBLIC = """
AliasCandidate BytePatch PatchRule Patched EntityDetails EntityMerge EntityPage KnownEntity Mention MentionPage
ContinuationEnd ContinueReason Decoded Foreseen
AlreadyExists Answer Archived AsOf AsyncClient AsyncStream Budget Cancelled Changes ChannelScore ChatMessage Check
Citation Client Concept Consolidation ContradictionPolicy Corrected DeadlineExceeded DiffLine Difference
DraftRetracted Dream DreamBudget DreamChange DreamChangeState DreamDiff DreamKind DreamState Entity Episode Event Expiry
Fact FailedPrecondition Forgotten Hit ImportResult IndexRepair IndexState Internal Interval InvalidArgument Keeping
Model
ModelKind Namespace NewEpisode NotFound Paths PermissionDenied Precision RecallPage Recalled RelationPolicy Remembered
ResourceExhausted RestoreResult Retained SapienceError ServiceStatus Sign SourceKind Stats StopReason Stream
SystemStatus Tensor Thawed Thought TimelineEntry TimelinePage Token Trace TracedHit Unauthenticated Unavailable
Unimplemented Usage Verdict WhyNot WhyNotReason Wording aio connect errors to_dict
Modality Perceived PerceivedConcept
Candidate DrawnToken Finished LatentStep Piece Step StopRule Thinking ThinkingMode
Migration MigrationCost MigrationPlan MigrationState ServedSpace VectorSpace
""".split()


def test_the_public_names_are_these() -> None:
    assert sorted(sapience.__all__) == sorted(PUBLIC)
    assert all(hasattr(sapience, name) for name in PUBLIC)
    assert (Path(sapience.__file__).parent / "py.typed").exists()
    defined = {name for name, value in vars(types).items() if getattr(value, "__module__", "") == "sapience.types"}
    assert defined <= set(PUBLIC), "every type that a caller may meet is public"


def test_importing_it_brings_no_server_package_and_no_torch_or_numpy() -> None:
    code = "import sys, sapience; print([m for m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in ast.literal_eval(shown)}
    assert not loaded & {"core", "memory", "perception", "cognition", "services", "torch", "numpy", "pydantic"}


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def methods(client: type) -> dict[str, list[str]]:
        return {
            name: [
                str(one.replace(annotation=inspect.Parameter.empty)) for one in inspect.signature(f).parameters.values()
            ]
            for name, f in vars(client).items()
            if callable(f) and not name.startswith("_")
        }

    assert methods(sapience.Client) == methods(aio.AsyncClient)
    assert inspect.signature(sapience.connect).parameters == inspect.signature(aio.connect).parameters


def test_a_method_shows_its_parameters_and_what_it_returns() -> None:
    shown = inspect.signature(sapience.Client.remember)
    assert list(shown.parameters)[:3] == ["self", "text", "speaker"]
    assert "Remembered" in str(shown.return_annotation)
    assert "Stream[types.Event]" in str(inspect.signature(sapience.Client.ask_stream).return_annotation)
    assert (sapience.Client.recall.__doc__ or "").startswith("Finds the Episodes")
