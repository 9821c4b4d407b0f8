"""What happens around every call, hook by hook; and how errors become statuses. Real calls are in tests/contract."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from sapience.v1 import controller_pb2, memory_pb2, perception_pb2, reasoning_pb2

from core import errors
from core.errors import ResourceExhausted, SapienceError, Unauthenticated, Unavailable
from services.runtime import deadline, telemetry
from services.runtime.client import IDEMPOTENT, Link
from services.runtime.deadline import DeadlineExceeded
from services.runtime.errors import CODES, code_of, passed_on, to_status, trailing
from services.runtime.interceptors import (
    INTERNAL,
    Activity,
    Admission,
    Authentication,
    Call,
    Drain,
    Hook,
    Interceptor,
    Metrics,
)

METHOD = "/sapience.v1.MemoryService/Stats"


class Aborted(Exception):
    """How `abort` ends a handler."""


class Context:
    """As much of a gRPC context as hooks and the interceptor look at."""

    def __init__(self, metadata: tuple[tuple[str, str | bytes], ...] = (), left: float | None = None) -> None:
        self._metadata = metadata
        self._left = left
        self.aborted: tuple[StatusCode, str, Any] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata

    def time_remaining(self) -> float | None:
        return self._left

    def peer(self) -> str:
        return "test"

    async def abort(self, code: StatusCode, message: str, details: Any) -> None:
        self.aborted = (code, message, details)
        raise Aborted


def call(service: str = "MemoryService", *metadata: tuple[str, str | bytes]) -> Call:
    return Call(f"/sapience.v1.{service}/Stats", service, Context(metadata))  # type: ignore[arg-type]


# Hooks


@pytest.mark.parametrize(("metadata", "reason"), [
    ((), "NO_TOKEN"),
    ((("token", "right"),), "NO_TOKEN"),
    ((("authorization", "Bearer wrong"),), "WRONG_TOKEN"),
    ((("authorization", "Bearer right "),), "WRONG_TOKEN"),
    ((("authorization", "bearer right"),), "WRONG_TOKEN"),
    ((("authorization", "right"),), "WRONG_TOKEN"),
    ((("authorization", "Bearer wrong"), ("authorization", "Bearer right")), "WRONG_TOKEN"),
    ((("authorization", "Bearer right"),), ""),
    ((("authorization", b"Bearer right"),), ""),
    ((("x", "y"), ("authorization", "Bearer right")), ""),
])  # fmt: skip
def test_the_token_opens(metadata: tuple[tuple[str, str | bytes], ...], reason: str) -> None:
    hook = Authentication("right")
    if not reason:
        hook.begin(call("MemoryService", *metadata))
        return
    with pytest.raises(Unauthenticated) as caught:
        hook.begin(call("MemoryService", *metadata))
    assert caught.value.reason == reason
    assert "right" not in caught.value.message


def test_each_service_has_places_of_its_own() -> None:
    admission = Admission(2)
    memory = [call() for _ in range(2)]
    for one in memory:
        admission.begin(one)
    with pytest.raises(ResourceExhausted, match="MemoryService works on 2 calls") as caught:
        admission.begin(call())
    assert caught.value.retry_after_s == 0.5
    admission.begin(call("ReasoningService"))
    admission.end(memory[0])
    admission.begin(call())


def test_a_drain_lets_in_only_what_calls_at_work_need() -> None:
    drain = Drain()
    drain.begin(call())
    drain.begun = True
    with pytest.raises(Unavailable, match="MemoryService is stopping") as caught:
        drain.begin(call())
    assert (caught.value.reason, caught.value.retry_after_s) == ("STOPPING", 1.0)
    drain.begin(call("MemoryService", (INTERNAL, "1")))


def test_calls_between_services_keep_nobody_awake() -> None:
    activity = Activity()
    internal, external = call("MemoryService", (INTERNAL, "1")), call()
    activity.begin(internal)
    assert activity.at_work == 0
    activity.begin(external)
    assert (activity.at_work, activity.idle_s) == (1, 0.0)
    activity.end(external)
    idle = activity.idle_s
    activity.end(internal)
    assert activity.at_work == 0
    assert activity.idle_s >= idle > 0


def test_calls_are_counted_by_method_and_status() -> None:
    def count(code: str) -> float:
        return telemetry.REGISTRY.get_sample_value("sapience_calls_total", {"method": METHOD, "code": code}) or 0.0

    before = count("OK"), count("NOT_FOUND")
    metrics = Metrics()
    for code in ("OK", "OK", "NOT_FOUND"):
        one = call()
        one.code = code
        metrics.end(one)
    assert (count("OK"), count("NOT_FOUND")) == (before[0] + 2, before[1] + 1)


# The interceptor


class Noting(Hook):
    """Notes when it begins and ends; refuses where it is told to."""

    def __init__(self, name: str, notes: list[str], refuse: bool = False) -> None:
        self._name, self._notes, self._refuse = name, notes, refuse

    def begin(self, call: Call) -> None:
        if self._refuse:
            raise ResourceExhausted("full; come later", reason="FULL", retry_after_s=2.5)
        self._notes.append(f"{self._name} begins")

    def end(self, call: Call) -> None:
        self._notes.append(f"{self._name} ends {call.code}")


async def handled(interceptor: Interceptor, handler: Any, context: Context, request: bytes = b"") -> Any:
    """One call of a method whose handler is this."""
    if not isinstance(handler, grpc.RpcMethodHandler):
        handler = grpc.unary_unary_rpc_method_handler(handler, memory_pb2.StatsRequest.FromString)

    class Details:
        method = METHOD

    async def continuation(_: Any) -> Any:
        return handler

    wrapped = await interceptor.intercept_service(continuation, Details)  # type: ignore[arg-type]
    return await wrapped.unary_unary(wrapped.request_deserializer(request), context)


async def test_hooks_end_in_reverse_and_only_those_that_began() -> None:
    notes: list[str] = []

    async def answer(request: Any, context: Any) -> str:
        notes.append("handler")
        return "answer"

    interceptor = Interceptor([Noting("a", notes), Noting("b", notes)], 10)
    assert await handled(interceptor, answer, Context()) == "answer"
    assert notes == ["a begins", "b begins", "handler", "b ends OK", "a ends OK"]

    notes.clear()
    context = Context()
    interceptor = Interceptor([Noting("a", notes), Noting("b", notes, refuse=True), Noting("c", notes)], 10)
    with pytest.raises(Aborted):
        await handled(interceptor, answer, context)
    assert notes == ["a begins", "a ends RESOURCE_EXHAUSTED"]
    assert context.aborted is not None
    assert context.aborted[:2] == (StatusCode.RESOURCE_EXHAUSTED, "full; come later")


@pytest.mark.parametrize(("raised", "code", "message"), [
    (errors.NotFound("no such thing", reason="GONE"), StatusCode.NOT_FOUND, "no such thing"),
    (DeadlineExceeded(), StatusCode.DEADLINE_EXCEEDED, "the deadline of the call is over"),
    (KeyError("a secret"), StatusCode.INTERNAL, "KeyError inside MemoryService; its log tells more"),
])  # fmt: skip
async def test_errors_end_a_call_with_their_status(raised: Exception, code: StatusCode, message: str) -> None:
    notes: list[str] = []

    async def fail(request: Any, context: Any) -> None:
        raise raised

    context = Context()
    with pytest.raises(Aborted):
        await handled(Interceptor([Noting("a", notes)], 10), fail, context)
    assert context.aborted is not None
    assert context.aborted[:2] == (code, message)
    assert notes == ["a begins", f"a ends {code.name}"]


async def test_a_cancel_is_no_fault() -> None:
    notes: list[str] = []

    async def cancelled(request: Any, context: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await handled(Interceptor([Noting("a", notes)], 10), cancelled, Context())
    assert notes == ["a begins", "a ends CANCELLED"]


async def test_bytes_that_are_no_request_never_reach_the_handler() -> None:
    async def never(request: Any, context: Any) -> None:
        pytest.fail("the handler ran")

    context = Context()
    with pytest.raises(Aborted):
        await handled(Interceptor([], 10), never, context, b"\x0a\x02\xff\xfe")
    assert context.aborted is not None
    assert context.aborted[0] is StatusCode.INVALID_ARGUMENT
    assert METHOD in context.aborted[1]


@pytest.mark.parametrize(("left", "most"), [(3.0, 3.0), (None, 10.0)])
async def test_the_handler_knows_what_time_is_left(left: float | None, most: float) -> None:
    async def answer(request: Any, context: Any) -> float | None:
        return deadline.remaining()

    found = await asyncio.create_task(handled(Interceptor([], 10), answer, Context(left=left)))
    assert most - 1 < found <= most
    assert deadline.remaining() is None, "the deadline is that call's alone"


async def test_a_stream_has_to_be_a_generator() -> None:
    """Anything else could not be closed when its caller goes."""

    async def no_stream(request: Any, context: Any) -> None:
        """Not a generator."""

    handler = grpc.unary_stream_rpc_method_handler(no_stream)
    with pytest.raises(TypeError, match="async generator"):
        await handled(Interceptor([], 10), handler, Context())


# Deadlines


async def test_what_is_left_is_what_the_least_allows() -> None:
    assert deadline.remaining() is None
    assert deadline.remaining(4.0) == 4.0
    deadline.begin(2.0)
    assert 1 < deadline.remaining(4.0) <= 2.0  # type: ignore[operator]
    assert deadline.remaining(0.5) == 0.5
    deadline.begin(-1.0)
    with pytest.raises(DeadlineExceeded):
        deadline.remaining(4.0)
    link = Link("127.0.0.1:1", "token", 1 << 16)
    with pytest.raises(DeadlineExceeded):
        link.options()
    await link.close()


async def test_a_call_to_another_service_carries_the_token_and_says_whose_it_is() -> None:
    link = Link("127.0.0.1:1", "token", 1 << 16)
    options = link.options(3.0)
    assert options["timeout"] == 3.0
    assert dict(options["metadata"]) == {INTERNAL: "1", "authorization": "Bearer token"}
    await link.close()


# Statuses


def test_every_error_has_a_status_of_its_own() -> None:
    """But for the base, which stands for a fault of ours."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SapienceError)]
    own = [kind for kind in kinds if kind is not SapienceError]
    assert {kind: code for kind, code in CODES.items() if kind is not DeadlineExceeded}.keys() == set(own)
    assert len(set(CODES.values())) == len(CODES)
    assert code_of(SapienceError("", reason="X")) is StatusCode.INTERNAL

    class Special(errors.NotFound):
        """A kind of a kind."""

    assert code_of(Special("", reason="X")) is StatusCode.NOT_FOUND


def test_a_status_carries_the_reason_the_field_and_the_time() -> None:
    bare = to_status(errors.NotFound("gone", reason="GONE"))
    assert (bare.code, bare.message, len(bare.details)) == (StatusCode.NOT_FOUND.value[0], "gone", 1)
    about = error_details_pb2.ErrorInfo()
    assert bare.details[0].Unpack(about)
    assert (about.reason, about.domain) == ("GONE", "sapience")

    whole = to_status(Unavailable("later", reason="BUSY", field="a.b[1]", retry_after_s=0.25))
    wrong, again = error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert whole.details[1].Unpack(wrong)
    assert whole.details[2].Unpack(again)
    (violation,) = wrong.field_violations
    assert (violation.field, violation.description, violation.reason) == ("a.b[1]", "later", "BUSY")
    assert again.retry_delay.ToMilliseconds() == 250


@pytest.mark.parametrize("rich", [True, False])
def test_what_a_service_behind_said_is_passed_on(rich: bool) -> None:
    said = trailing(to_status(errors.NotFound("gone", reason="GONE"))) if rich else ()
    error = grpc.aio.AioRpcError(
        StatusCode.NOT_FOUND if rich else StatusCode.UNAVAILABLE,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(*(("other", "x"), *said)),
        details="gone",
    )
    ((_, data),) = passed_on(error)
    status = status_pb2.Status.FromString(data)
    about = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(about)
    assert about.reason == ("GONE" if rich else "UNAVAILABLE")
    assert (status.code, status.message) == (error.code().value[0], "gone")


def test_only_calls_that_may_be_made_twice_are_retried() -> None:
    """Streams are not, nor what makes or unmakes something without a request_id."""
    writes = {"CreateNamespace", "DeleteNamespace", "Dream", "LoadModel", "UnloadModel", "Pause", "Resume"}
    for module in (controller_pb2, memory_pb2, perception_pb2, reasoning_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            methods = {method.name: method for method in service.methods}
            assert set(IDEMPOTENT[service.full_name]) <= set(methods)
            for name in IDEMPOTENT[service.full_name]:
                assert not methods[name].client_streaming
                assert not methods[name].server_streaming
                assert name not in writes
