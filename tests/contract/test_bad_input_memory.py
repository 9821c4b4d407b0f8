"""What memory refuses: each with its status, its reason, the field at fault and the mend, and nothing is written."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import episode, read, refusal, remembered, says, stats, tensor
from sapience.v1 import concept_pb2 as c
from sapience.v1 import entities_pb2, perception_pb2
from sapience.v1 import memory_pb2 as pb

INVALID = StatusCode.INVALID_ARGUMENT
STREAMS = ("RememberStream", "Import")

YEAR_0 = Timestamp(seconds=-62_135_596_801)
YEAR_10000 = Timestamp(seconds=253_402_300_800)
BACKWARDS = Timestamp(seconds=5, nanos=-1)
TOO_FINE = Timestamp(seconds=5, nanos=1_000_000_000)
NO_TIME = ((YEAR_0, "-62135596801"), (YEAR_10000, "253402300800"), (BACKWARDS, "-1 ns"), (TOO_FINE, "1000000000 ns"))


def soon(days: float) -> Timestamp:
    return Timestamp(seconds=int(time.time() + days * 86_400))


def at(seconds: int) -> Timestamp:
    return Timestamp(seconds=seconds)


@dataclass(frozen=True)
class Home:
    """A namespace with something in it."""

    name: str
    space: str
    version: str
    dimensions: int

    def vectors(self, rows: int = 1, dimensions: int = 0) -> np.ndarray:
        return np.eye(rows, dimensions or self.dimensions, dtype=np.float32)

    def tensor(self, vectors: np.ndarray | None = None, **changed: Any) -> c.Tensor:
        whole = tensor(self.space, self.version, self.vectors() if vectors is None else vectors)
        for field, value in changed.items():
            if field == "shape":
                whole.shape[:] = value
            else:
                setattr(whole, field, value)
        return whole


@pytest.fixture(scope="module")
def home(memory: Any, perception: Any) -> Home:
    """Refused writes leave it as it is, so all tests of this module may share it."""
    memory.CreateNamespace(pb.CreateNamespaceRequest(namespace="home"))
    remembered(memory, "home", episode("Ada moved to Lisbon in May.", speaker="Ada"), episode("It rained all week."))
    memory.AssertFact(pb.AssertFactRequest(namespace="home", subject="Ada", relation="lives_in", entity="Lisbon"))
    model = perception.ListModels(perception_pb2.PerceptionServiceListModelsRequest()).models[0]
    return Home("home", model.space, model.space_version, model.dimensions)


def send(memory: Any, rpc: str, request: Message) -> Any:
    return getattr(memory, rpc)(iter([request]) if rpc in STREAMS else request)


Make = Callable[[Home], Message]
Case = tuple[str, str, Make, str, str, tuple[str, ...]]


def request_of(rpc: str) -> Any:
    """The message that a call of the memory service takes."""
    return getattr(pb if hasattr(pb, f"{rpc}Request") else entities_pb2, f"{rpc}Request")


def new(field: str, reason: str, *words: str, **fields: Any) -> Case:
    """An Episode that is refused, after one that is not: all or none."""
    fields = {"text": "fine"} | fields

    def make(home: Home) -> Message:
        given = {key: value(home) if callable(value) else value for key, value in fields.items()}
        return pb.RememberRequest(namespace=home.name, episodes=[episode("fine"), pb.NewEpisode(**given)])

    path = f"episodes[1].{field}"
    return f"{field} {words[0]}", "Remember", make, reason, path, words


def batch(count: int) -> Case:
    def make(home: Home) -> Message:
        return pb.RememberRequest(namespace=home.name, episodes=[episode("fine")] * count)

    return f"{count} episodes", "Remember", make, "BAD_BATCH", "episodes", (str(count), "1 to 1024")


def case(rpc: str, field: str, reason: str, *words: str, **fields: Any) -> Case:
    """A request with these fields; callables get the home namespace."""

    def make(home: Home) -> Message:
        given = {key: value(home) if callable(value) else value for key, value in fields.items()}
        kind = request_of(rpc)
        return kind(**{"namespace": home.name} | given)

    return f"{field} {words[0]}", rpc, make, reason, field, words


def recall(field: str, reason: str, *words: str, **fields: Any) -> Case:
    return case("Recall", field, reason, *words, **{"text": "Where is it?"} | fields)


def fact(field: str, reason: str, *words: str, **fields: Any) -> Case:
    whole: dict[str, Any] = {"subject": "Ada", "relation": "likes", "entity": "Rome"}
    return case("AssertFact", field, reason, *words, **whole | fields)


def concepts(*spans: tuple[str, int, int]) -> list[c.Concept]:
    return [c.Concept(text=text, start_byte=start, end_byte=end) for text, start, end in spans]


def spoiled(value: float) -> Callable[[Home], c.Tensor]:
    def make(home: Home) -> c.Tensor:
        vectors = home.vectors()
        vectors[0, 0] = value
        return home.tensor(vectors)

    return make


def forged(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()


WHOLE = concepts(("fine", 0, 4))

REMEMBER: list[Case] = [
    batch(0),
    batch(1025),
    new("text", "EMPTY_TEXT", "empty", "at least one word", text=""),
    new("text", "EMPTY_TEXT", "empty; give", text=" \n\t "),
    new("text", "TEXT_TOO_LONG", "65537 bytes", "65536", text="a" * 65_537),
    new("text", "TEXT_TOO_LONG", "65538 bytes", text="é" * 32_769),
    new("position", "INVALID_FIELD", "-1", "from 0", position=-1),
    *(new(name, "INVALID_FIELD", "257 bytes", "256", **{name: "a" * 257}) for name in ("speaker", "conversation")),
    new("external_id", "INVALID_FIELD", "258 bytes", external_id="é" * 129),
    new("source.name", "INVALID_FIELD", "257 bytes", source=c.Source(name="a" * 257)),
    new("source.kind", "INVALID_FIELD", "99", source=c.Source(kind=99)),  # type: ignore[arg-type]
    *(new("told_at", "TIME_OUT_OF_RANGE", word, "1 to 9999", told_at=when) for when, word in NO_TIME),
    new("told_at", "TIME_OUT_OF_RANGE", "more than a day after now", told_at=lambda _: soon(1.1)),
    case("Remember", "request_id", "INVALID_FIELD", "128 bytes", request_id="a" * 129, episodes=[episode("fine")]),
    # Concepts have to be the bytes that they say they are, and to come with one vector each.
    new("vectors", "INVALID_FIELD", "without vectors", concepts=WHOLE),
    new("concepts", "INVALID_FIELD", "without concepts", vectors=Home.tensor),
    *(
        new(f"concepts[{place}]", "BAD_SPAN", words, text="fine ünd", concepts=concepts(*spans), vectors=vectors)
        for place, words, spans in (
            (0, "bytes 0 to 4", [("fins", 0, 4)]),
            (0, "bytes 0 to 5", [("fine", 0, 5)]),
            (0, "bytes 4 to 4", [("", 4, 4)]),
            (0, "bytes -1 to 4", [("fine", -1, 4)]),
            (0, "bytes 5 to 90", [("ünd", 5, 90)]),
            (0, "bytes 6 to 9", [("nd", 6, 9)]),  # begins within the two bytes of "ü"
            (1, "bytes 2 to 4", [("fine", 0, 4), ("ne", 2, 4)]),
        )
        for vectors in [lambda home, rows=len(spans): home.tensor(home.vectors(rows))]
    ),
    # Vectors.
    *(
        new(f"vectors{part}", "BAD_TENSOR", *words, concepts=WHOLE, vectors=make)
        for part, words, make in (
            (".dtype", ("DTYPE_FLOAT32",), lambda home: home.tensor(dtype=c.DTYPE_UNSPECIFIED)),
            (".dtype", ("is not given",), lambda home: home.tensor(dtype=99)),
            (".space", ("is empty",), lambda home: home.tensor(space="")),
            (".shape", ("[2, 384]", "[1, dimensions]"), lambda home: home.tensor(home.vectors(2))),
            (".shape", ("[384]",), lambda home: home.tensor(shape=[384])),
            (".shape", ("[1, 0]",), lambda home: home.tensor(shape=[1, 0], data=b"")),
            (".shape", ("[1, -384]",), lambda home: home.tensor(shape=[1, -384])),
            (".shape", ("[1, 70000]",), lambda home: home.tensor(home.vectors(1, 70_000))),
            (".data", ("4 bytes", "takes 1536"), lambda home: home.tensor(data=b"1234")),
            (".data", ("1536 bytes", "takes 768"), lambda home: home.tensor(dtype=c.DTYPE_FLOAT16)),
            (".data", ("not finite",), spoiled(float("nan"))),
            (".data", ("zero or not",), spoiled(float("-inf"))),
            (".data", ("zero",), spoiled(0.0)),
        )
    ),
]

RECALL: list[Case] = [
    recall("text", "EMPTY_TEXT", "empty", text=""),
    recall("text", "EMPTY_TEXT", "at least one word", text="\n"),
    recall("text", "TEXT_TOO_LONG", "8193 bytes", "8192", text="a" * 8193),
    recall("recipe", "INVALID_FIELD", "'best'", "default, reranked", recipe="best"),
    recall("limit", "INVALID_FIELD", "-1", "1 to 200", limit=-1),
    recall("limit", "INVALID_FIELD", "201", limit=201),
    recall("token_budget", "INVALID_FIELD", "-1", token_budget=-1),
    recall("page_token", "INVALID_FIELD", "damaged", "begin again", page_token="?"),
    recall("page_token", "INVALID_FIELD", "is damaged", page_token=forged("a", 1 << 63, 0)),
    recall("page_token", "INVALID_FIELD", "damaged; begin", page_token="W1tb" * 10_000),
    recall("page_token", "INVALID_FIELD", "another query", page_token=forged("0" * 18, 3, 10)),
    recall("filter.source_kinds", "INVALID_FIELD", "99", filter=pb.RecallFilter(source_kinds=[99])),  # type: ignore[list-item]
    recall("filter.source_kinds", "INVALID_FIELD", "0", filter=pb.RecallFilter(source_kinds=[0])),  # type: ignore[list-item]
    recall(
        "filter.told.end", "EMPTY_INTERVAL", "filter.told ends at 1970-01-01T00:00:05Z",
        filter=pb.RecallFilter(told=c.Interval(start=at(5), end=at(5))),
    ),
    recall("filter.told.precision", "INVALID_FIELD", "99", filter=pb.RecallFilter(told=c.Interval(precision=99))),  # type: ignore[arg-type]
    recall("filter.told.start", "TIME_OUT_OF_RANGE", "-1 ns", filter=pb.RecallFilter(told=c.Interval(start=BACKWARDS))),
    recall("as_of.seq", "INVALID_FIELD", "-3", as_of=c.AsOf(seq=-3)),
    *(
        recall(f"as_of.{axis}", "TIME_OUT_OF_RANGE", word, as_of=c.AsOf(**{axis: when}))
        for axis in ("valid_at", "told_by", "recorded_by")
        for when, word in NO_TIME
    ),
    recall("vector.shape", "BAD_TENSOR", "[2, 384]", vector=lambda home: home.tensor(home.vectors(2))),
    recall("vector.data", "BAD_TENSOR", "not finite", vector=spoiled(float("nan"))),
]  # fmt: skip

FACTS: list[Case] = [
    fact("subject", "EMPTY_TEXT", "empty", subject=" "),
    fact("subject", "TEXT_TOO_LONG", "257 bytes", subject="a" * 257),
    *(fact("relation", "INVALID_FIELD", repr(bad), "snake_case", relation=bad) for bad in ("", "Lives in", "_x", "é")),
    fact("entity", "EMPTY_TEXT", "empty", entity=""),
    fact("literal", "TEXT_TOO_LONG", "8193 bytes", entity=None, literal="a" * 8193),
    fact("object", "INVALID_FIELD", "entity or literal", entity=None),
    *(fact("trust", "INVALID_FIELD", str(bad), "0 to 1", trust=bad) for bad in (-0.5, 1.5, float("nan"))),
    fact("valid.end", "EMPTY_INTERVAL", "not after its start", valid=c.Interval(start=at(9), end=at(8))),
    fact("valid.precision", "INVALID_FIELD", "99", valid=c.Interval(precision=99)),  # type: ignore[arg-type]
    fact("valid.end", "TIME_OUT_OF_RANGE", "253402300800", valid=c.Interval(end=YEAR_10000)),
    fact("told_at", "TIME_OUT_OF_RANGE", "more than a day after now", told_at=lambda _: soon(2)),
    case("RetractFact", "from", "TIME_OUT_OF_RANGE", "-1 ns", **{"fact_id": "x", "from": BACKWARDS}),
    case("RetractFact", "told_at", "TIME_OUT_OF_RANGE", "more than a day", fact_id="x", told_at=lambda _: soon(2)),
    case("FactHistory", "subject", "EMPTY_TEXT", "empty"),
    case("FactHistory", "as_of.valid_at", "INVALID_FIELD", "leave valid_at", subject="A", as_of=c.AsOf(valid_at=at(5))),
    case("Neighbours", "entity", "EMPTY_TEXT", "empty", entity=" "),
    case("Neighbours", "hops", "INVALID_FIELD", "-1", "1 to 4", entity="Ada", hops=-1),
    case("Neighbours", "hops", "INVALID_FIELD", "5", entity="Ada", hops=5),
    case("Neighbours", "limit", "INVALID_FIELD", "1001", "1 to 1000", entity="Ada", limit=1001),
    case("Paths", "start", "EMPTY_TEXT", "empty", end="Ada"),
    case("Paths", "end", "EMPTY_TEXT", "empty", start="Ada", end=" "),
    case("Paths", "end", "INVALID_FIELD", "another Entity", "Neighbours", start="Ada", end=" ADA"),
    case("Paths", "hops", "INVALID_FIELD", "5", "1 to 4", start="Ada", end="Lisbon", hops=5),
    case("Paths", "limit", "INVALID_FIELD", "101", "1 to 100", start="Ada", end="Lisbon", limit=101),
    case("Paths", "as_of.seq", "INVALID_FIELD", "-1", start="Ada", end="Lisbon", as_of=c.AsOf(seq=-1)),
    case("Changes", "before", "INVALID_FIELD", "not given"),
    case("Changes", "before.valid_at", "TIME_OUT_OF_RANGE", "253402300800", before=c.AsOf(valid_at=YEAR_10000)),
    case("Changes", "before.seq", "INVALID_FIELD", "-2", before=c.AsOf(seq=-2)),
    case("Changes", "after.told_by", "TIME_OUT_OF_RANGE", "-1 ns", before=c.AsOf(), after=c.AsOf(told_by=BACKWARDS)),
    case("Changes", "entity", "EMPTY_TEXT", "empty", before=c.AsOf(), entity=" "),
    case("Changes", "relation", "INVALID_FIELD", "'Lives In'", "snake_case", before=c.AsOf(), relation="Lives In"),
    case("Changes", "limit", "INVALID_FIELD", "1001", "1 to 1000", before=c.AsOf(), limit=1001),
    case("SetRelationPolicy", "relation", "INVALID_FIELD", "''", "snake_case", policy=c.CONTRADICTION_POLICY_SET),
    case("SetRelationPolicy", "policy", "INVALID_FIELD", "not given", "MANY, SINGLE or SET", relation="likes"),
    case("SetRelationPolicy", "policy", "INVALID_FIELD", "99", relation="likes", policy=99),
    case(
        "SetRelationPolicy", "request_id", "INVALID_FIELD", "128 bytes",
        relation="likes", policy=c.CONTRADICTION_POLICY_MANY, request_id="r" * 129,
    ),
    *(
        case("ListRelationPolicies", f"as_of.{axis}", "INVALID_FIELD", f"leave {axis}", as_of=c.AsOf(**{axis: at(5)}))
        for axis in ("valid_at", "told_by")
    ),
    case("Timeline", "limit", "INVALID_FIELD", "501", "1 to 500", limit=501),
    case("Timeline", "within.end", "EMPTY_INTERVAL", "not after", within=c.Interval(start=at(9), end=at(9))),
    case("Timeline", "page_token", "INVALID_FIELD", "damaged", page_token="no token"),
    case("Timeline", "page_token", "INVALID_FIELD", "another query", page_token=forged("0" * 18, 3, [5, "a"])),
    case("ListEntities", "limit", "INVALID_FIELD", "1001", "1 to 1000", limit=1001),
    case("ListEntities", "page_token", "INVALID_FIELD", "another query", page_token=forged("0" * 18, 3, "a")),
    case("ListEntities", "as_of.seq", "INVALID_FIELD", "-1", as_of=c.AsOf(seq=-1)),
    case("GetEntity", "name", "EMPTY_TEXT", "empty", name=" "),
    case("Mentions", "name", "EMPTY_TEXT", "empty"),
    case("Mentions", "limit", "INVALID_FIELD", "501", "1 to 500", name="Ada", limit=501),
    case("Mentions", "page_token", "INVALID_FIELD", "damaged", name="Ada", page_token="no token"),
    case("MergeEntities", "kept", "EMPTY_TEXT", "empty", merged="Ada"),
    case("MergeEntities", "merged", "TEXT_TOO_LONG", "257", kept="Ada", merged="a" * 257),
    case("MergeEntities", "request_id", "INVALID_FIELD", "128 bytes", kept="A", merged="B", request_id="r" * 129),
    case("UndoMerge", "merge_id", "EMPTY_TEXT", "empty"),
    *(
        case("ListMerges", f"as_of.{axis}", "INVALID_FIELD", f"leave {axis}", as_of=c.AsOf(**{axis: at(5)}))
        for axis in ("valid_at", "told_by")
    ),
    case("Export", "up_to_seq", "INVALID_FIELD", "-1", "0 means all", up_to_seq=-1),
]  # fmt: skip


@pytest.mark.parametrize(("rpc", "make", "reason", "field", "words"), [
    pytest.param(*rest, id=f"{rest[0]}: {name[:60]}") for name, *rest in (*REMEMBER, *RECALL, *FACTS)
])  # fmt: skip
def test_a_wrong_field_is_named_and_nothing_is_written(
    memory: Any, home: Home, rpc: str, make: Make, reason: str, field: str, words: tuple[str, ...]
) -> None:
    before = stats(memory)
    refused = refusal(lambda: send(memory, rpc, make(home)))
    says(refused, INVALID, reason, field, *words)
    assert any(part in refused.message for part in field.split(".")), "the message names no field"
    assert stats(memory) == before


TENANTS: list[tuple[str, dict[str, Any]]] = [
    ("Remember", {"episodes": [episode("fine")]}),
    ("RememberStream", {"episode": episode("fine")}),
    ("RememberStream", {"episode": episode("")}),
    ("Recall", {"text": "Where?"}),
    ("AssertFact", {"subject": "Ada", "relation": "likes", "literal": "tea"}),
    ("RetractFact", {"fact_id": "x"}),
    ("FactHistory", {"subject": "Ada"}),
    ("Neighbours", {"entity": "Ada"}),
    ("Paths", {"start": "Ada", "end": "Lisbon"}),
    ("Changes", {"before": c.AsOf()}),
    ("SetRelationPolicy", {"relation": "likes", "policy": c.CONTRADICTION_POLICY_SET}),
    ("ListRelationPolicies", {}),
    ("ListEntities", {}),
    ("GetEntity", {"name": "Ada"}),
    ("Mentions", {"name": "Ada"}),
    ("MergeEntities", {"kept": "Ada", "merged": "Bea"}),
    ("UndoMerge", {"merge_id": "x"}),
    ("ListMerges", {}),
    ("Timeline", {}),
    ("Forget", {"speaker": "Ada"}),
    ("Forget", {"speaker": "Ada", "dry_run": True}),
    ("Archive", {"episode_ids": ["x"]}),
    ("Archive", {"share": 0.5}),
    ("Archive", {"share": 0.5, "dry_run": True}),
    ("Thaw", {"all": True}),
    ("SetHold", {"episode_ids": ["x"], "hold": "case"}),
    ("SetExpiry", {"episode_ids": ["x"]}),
    ("SetTimeToLive", {}),
    ("GetKeeping", {}),
    ("RecordUse", {"uses": [pb.Use(episode_id="x", count=1)]}),
    ("Export", {}),
    ("Import", {}),
    ("Stats", {}),
    ("DeleteNamespace", {}),
]
BAD_NAMES = ("Home", "a" * 65, "-a", ".a", "a b", "a/b", "é", "a\0")


@pytest.mark.parametrize(("rpc", "fields"), TENANTS, ids=[rpc for rpc, _ in TENANTS])
def test_an_unknown_namespace_is_not_found(memory: Any, rpc: str, fields: dict[str, Any]) -> None:
    before = stats(memory)
    request = request_of(rpc)(namespace="nobody", **fields)
    says(
        refusal(lambda: send(memory, rpc, request)),
        StatusCode.NOT_FOUND, "NAMESPACE_NOT_FOUND", "namespace", "'nobody'", "create it first",
    )  # fmt: skip
    assert stats(memory) == before


@pytest.mark.parametrize(("rpc", "fields"), [*TENANTS, ("CreateNamespace", {})])
def test_a_bad_name_is_no_namespace(memory: Any, rpc: str, fields: dict[str, Any]) -> None:
    before = stats(memory)
    # Stats takes the empty name for the whole store.
    for name in BAD_NAMES if rpc == "Stats" else ("", *BAD_NAMES):
        request = request_of(rpc)(namespace=name, **fields)
        refused = refusal(lambda: send(memory, rpc, request))  # noqa: B023
        says(refused, INVALID, "BAD_NAMESPACE", "namespace", repr(name), "1 to 64 of a-z")
    assert stats(memory) == before


def test_a_namespace_is_created_once(memory: Any, home: Home) -> None:
    refused = refusal(lambda: memory.CreateNamespace(pb.CreateNamespaceRequest(namespace="home")))
    says(refused, StatusCode.ALREADY_EXISTS, "NAMESPACE_EXISTS", "namespace", "'home'")


@pytest.mark.parametrize("other", [{"space": "other"}, {"space_version": "0"}, {"dimensions": 8}], ids=str)
def test_vectors_of_another_space_are_refused(memory: Any, home: Home, other: dict[str, Any]) -> None:
    before = stats(memory)
    dimensions = other.pop("dimensions", 0)
    vectors = home.tensor(home.vectors(1, dimensions), **other)
    request = pb.RememberRequest(
        namespace="home", episodes=[episode("fine"), episode("fine", concepts=WHOLE, vectors=vectors)]
    )
    mismatch = StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH"
    words = (str(vectors.shape[1]), home.space, "encode with that model")
    says(refusal(lambda: memory.Remember(request)), *mismatch, "episodes[1].vectors.space", *words)
    # Also where the text, which names a speaker, would be encoded anew without the name.
    for text in ("Where is it?", "Where does Ada live?"):
        asked = pb.RecallRequest(namespace="home", text=text, vector=vectors)
        says(refusal(lambda: memory.Recall(asked)), *mismatch, "vector.space", *words)  # noqa: B023
    assert stats(memory) == before


@pytest.mark.parametrize(("rpc", "fields", "what"), [
    ("AssertFact", {"subject": "Ada", "relation": "likes", "literal": "tea", "episode_id": "gone"}, "episode"),
    ("RetractFact", {"fact_id": "gone"}, "fact"),
])  # fmt: skip
def test_what_is_not_there_is_not_found(memory: Any, home: Home, rpc: str, fields: dict[str, Any], what: str) -> None:
    before = stats(memory)
    request = request_of(rpc)(namespace="home", **fields)
    refused = refusal(lambda: send(memory, rpc, request))
    says(refused, StatusCode.NOT_FOUND, f"{what.upper()}_NOT_FOUND", f"{what}_id", "'gone'")
    assert stats(memory) == before


def test_forgetting_needs_a_selector(memory: Any, home: Home) -> None:
    before = stats(memory)
    refused = refusal(lambda: memory.Forget(pb.ForgetRequest(namespace="home")))
    says(refused, INVALID, "NO_SELECTOR", "episode_ids", "episode_ids, speaker or conversation")
    assert stats(memory) == before


WRITES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("Remember", {"episodes": [episode("Once.")]}, {"episodes": [episode("Twice.")]}),
    (
        "AssertFact",
        {"subject": "Ada", "relation": "likes", "literal": "tea"},
        {"subject": "Ada", "relation": "likes", "literal": "coffee"},
    ),
    ("Forget", {"speaker": "Ada"}, {"speaker": "Bob"}),
    ("Archive", {"share": 0.1}, {"share": 0.2}),
    ("Thaw", {"all": True}, {"episode_ids": ["x"]}),
]


@pytest.mark.parametrize(("rpc", "first", "other"), WRITES, ids=[rpc for rpc, _, _ in WRITES])
def test_a_request_id_stands_for_one_write(
    memory: Any, namespace: str, rpc: str, first: dict[str, Any], other: dict[str, Any]
) -> None:
    kind, call = request_of(rpc), getattr(memory, rpc)
    done = call(kind(namespace=namespace, request_id="r", **first))
    before = stats(memory)
    assert call(kind(namespace=namespace, request_id="r", **first)) == done, "a retry is answered"
    refused = refusal(lambda: call(kind(namespace=namespace, request_id="r", **other)))
    says(refused, StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id", "'r'", "id of its own")
    stranger = pb.RetractFactRequest(namespace=namespace, request_id="r", fact_id="x")
    says(
        refusal(lambda: memory.RetractFact(stranger)),
        StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", "request_id", rpc.split("Fact")[0].lower(),
    )  # fmt: skip
    assert stats(memory) == before, "neither a retry nor a refusal writes"


def test_bytes_that_are_no_message_are_a_fault_of_the_caller(channel: Any, memory: Any, home: Home) -> None:
    before = stats(memory)
    broken = b"\x0a\x04home" + b"\x12\x02\xff\xfe"  # a text, in field 2, that is no UTF-8
    for method in ("memory.Recall", "memory.Remember", "reasoning.Reason", "perception.Segment"):
        service, rpc = method.split(".")
        path = f"/sapience.v1.{service.capitalize()}Service/{rpc}"
        call = channel.unary_stream(path) if rpc == "Reason" else channel.unary_unary(path)
        refused = refusal(lambda: call(b"\x0a\x02\xff\xfe" if rpc == "Segment" else broken))  # noqa: B023
        says(refused, INVALID, "BAD_MESSAGE", "", path, "UTF-8")
    stream = channel.stream_stream("/sapience.v1.MemoryService/RememberStream")
    says(refusal(lambda: stream(iter([b"\x0a\x02\xff\xfe"]))), INVALID, "BAD_MESSAGE", "", "RememberStream", "UTF-8")
    assert stats(memory) == before


def test_half_a_surrogate_pair_never_leaves_the_caller() -> None:
    with pytest.raises(UnicodeEncodeError):
        pb.RecallRequest(text="half a pair: \ud83d")


def test_a_message_beyond_the_limit_is_refused_by_grpc(memory: Any, home: Home) -> None:
    """16 MiB. gRPC drops it before any code of ours sees it, so there are no details, only its own words."""
    before = stats(memory)
    big = pb.RememberRequest(namespace="home", episodes=[episode("a" * 65_000)] * 300)
    refused = refusal(lambda: memory.Remember(big))
    assert refused.code is StatusCode.RESOURCE_EXHAUSTED
    assert "16777216" in refused.message
    assert stats(memory) == before


def test_a_refused_item_of_a_stream_says_what_a_refused_call_says(memory: Any, home: Home) -> None:
    items = [pb.RememberStreamRequest(namespace="home", client_seq=7, episode=episode(" "))]
    (answer,) = memory.RememberStream(iter(items))
    assert answer.client_seq == 7
    says(read(answer.error), INVALID, "EMPTY_TEXT", "episode.text", "at least one word")
