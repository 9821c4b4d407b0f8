"""What happens around every call: who is it, is there room, how long did it take, what went wrong.

One gRPC interceptor runs a list of hooks around each call and maps errors to rich statuses. Hooks are synchronous and
cheap; wrapped handlers are made once per method, so a call pays for nothing but the hooks themselves.
"""

from __future__ import annotations

import asyncio
import hmac
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import grpc
import structlog
from google.protobuf.message import DecodeError

from core.errors import InvalidArgument, ResourceExhausted, SapienceError, Unauthenticated, Unavailable
from services.runtime import deadline, errors, telemetry

log = structlog.get_logger()

OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")
"""Probes and tools may ask these with no token and in any load."""

INTERNAL = "sapience-internal"
"""Metadata of calls between services."""

Handler = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Any]


class Call:
    """One call at work. Of its metadata it knows what hooks ask for, read once: gRPC makes it anew at each look."""

    __slots__ = ("code", "context", "internal", "method", "service", "shown", "started")

    def __init__(self, method: str, service: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.method = method
        self.service = service
        self.context = context
        self.started = time.perf_counter()
        self.code = "OK"
        self.shown: bytes | None = None
        """What it shows as `authorization`."""
        self.internal = False
        """Whether another service made it."""
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and self.shown is None:
                self.shown = value if isinstance(value, bytes) else value.encode()
            elif key == INTERNAL:
                self.internal = True


class Hook(Protocol):
    """One concern that cuts across all calls."""

    def begin(self, call: Call) -> None:
        """Before the handler runs; raising a core error refuses the call."""
        ...

    def end(self, call: Call) -> None:
        """After it ended, however it did; `call.code` says how. Only hooks that began are ended."""
        ...


class Authentication:
    """Refuses a call that does not carry the token as `authorization: Bearer TOKEN`."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    def begin(self, call: Call) -> None:
        """Compares in constant time."""
        if call.shown is None:
            raise Unauthenticated("no token: send metadata 'authorization: Bearer TOKEN'", reason="NO_TOKEN")
        if not hmac.compare_digest(call.shown, self._expected):
            raise Unauthenticated("the token shown is not this service's", reason="WRONG_TOKEN")

    def end(self, call: Call) -> None:
        """Nothing to do."""


class Admission:
    """Refuses what exceeds `limit` calls at work in one service, at once and with a time to try again.

    The limit is by service: the reasoning service calls the others, and in one process a shared limit would let its
    own calls be refused by the calls they work for.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at_work: Counter[str] = Counter()

    def begin(self, call: Call) -> None:
        """Takes a place, or raises ResourceExhausted."""
        service = call.service
        if service not in self._at_work:
            # Read when metrics are, so that a call pays nothing for it.
            telemetry.IN_FLIGHT.labels(service).set_function(lambda: self._at_work[service])
        if self._at_work[service] >= self._limit:
            raise ResourceExhausted(
                f"{service} works on {self._limit} calls already; try again in a moment",
                reason="TOO_MANY_CALLS",
                retry_after_s=0.5,
            )
        self._at_work[service] += 1

    def end(self, call: Call) -> None:
        """Gives the place back."""
        self._at_work[call.service] -= 1


class Drain:
    """Refuses new calls once the server is stopping, but for those that services make for the calls still at work."""

    def __init__(self) -> None:
        self.begun = False

    def begin(self, call: Call) -> None:
        """Lets all in until the drain has begun."""
        if self.begun and not call.internal:
            raise Unavailable(f"{call.service} is stopping; try again", reason="STOPPING", retry_after_s=1.0)

    def end(self, call: Call) -> None:
        """Nothing to do."""


class Metrics:
    """Counts and times calls."""

    def __init__(self) -> None:
        self._seconds: dict[str, Any] = {}
        self._calls: dict[tuple[str, str], Any] = {}

    def begin(self, call: Call) -> None:
        """Nothing to do: the call knows when it began."""

    def end(self, call: Call) -> None:
        """Observes the call."""
        if (seconds := self._seconds.get(call.method)) is None:
            seconds = self._seconds[call.method] = telemetry.SECONDS.labels(call.method)
        if (calls := self._calls.get((call.method, call.code))) is None:
            calls = self._calls[call.method, call.code] = telemetry.CALLS.labels(call.method, call.code)
        seconds.observe(time.perf_counter() - call.started)
        calls.inc()


class AccessLog:
    """One line for each call: at info where a service failed its caller, at debug where the caller was answered."""

    _FAILED = frozenset({"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "DATA_LOSS"})

    def __init__(self, *, debug: bool) -> None:
        self._debug = debug

    def begin(self, call: Call) -> None:
        """Nothing to do."""

    def end(self, call: Call) -> None:
        """Writes the line."""
        failed = call.code in self._FAILED
        if not (failed or self._debug):
            return
        milliseconds = round((time.perf_counter() - call.started) * 1e3, 2)
        write = log.info if failed else log.debug
        write("call", method=call.method, code=call.code, ms=milliseconds, peer=call.context.peer())


class Activity:
    """Knows when the last call ended and whether any is at work: the local daemon stops when idle.

    Calls that services make on their own account (the controller's watch) carry INTERNAL and do not count.
    """

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._at_work = 0

    @property
    def at_work(self) -> int:
        """Calls at work."""
        return self._at_work

    @property
    def idle_s(self) -> float:
        """Seconds without any call."""
        return 0.0 if self._at_work else time.monotonic() - self._last

    def begin(self, call: Call) -> None:
        """A call came."""
        if not call.internal:
            self._at_work += 1

    def end(self, call: Call) -> None:
        """A call went."""
        if not call.internal:
            self._at_work -= 1
            self._last = time.monotonic()


class Interceptor(grpc.aio.ServerInterceptor):
    """Runs the hooks around every call, sets its deadline, and maps its errors."""

    def __init__(self, hooks: Sequence[Hook], default_deadline_s: float) -> None:
        self._hooks = tuple(hooks)
        self._default_deadline_s = default_deadline_s
        self._wrapped: dict[str, Any] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Gives the method's handler, wrapped."""
        method: str = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(OPEN_SERVICES):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        service = method.split("/")[1].rpartition(".")[2]
        make = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        inner: Handler = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        run = self._streaming(inner) if handler.response_streaming else inner
        if handler.response_streaming and not inspect.isasyncgenfunction(inner):
            raise TypeError(f"{method} streams, so its handler has to be an async generator function")

        async def guarded(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            call = Call(method, service, context)
            begun = 0
            try:
                left = context.time_remaining()
                deadline.begin(self._default_deadline_s if left is None else left)
                for hook in self._hooks:
                    hook.begin(call)
                    begun += 1
                if isinstance(request, SapienceError):
                    raise request  # what `_parser` made of bytes that are no message
                return await run(request, context)
            except SapienceError as error:
                call.code = errors.code_of(error).name
                await context.abort(errors.code_of(error), error.message, errors.trailing(errors.to_status(error)))
            except grpc.aio.AioRpcError as error:
                # A service that this one asked has refused: its status and details are the answer.
                call.code = error.code().name
                await context.abort(error.code(), error.details() or "", errors.passed_on(error))
            except (asyncio.CancelledError, grpc.aio.AbortError):
                call.code = "CANCELLED"
                raise
            except Exception as error:
                call.code = "INTERNAL"
                log.exception("a call failed by a fault of ours", method=method)
                broken = SapienceError(
                    f"{type(error).__name__} inside {service}; its log tells more", reason="INTERNAL"
                )
                await context.abort(grpc.StatusCode.INTERNAL, broken.message, errors.trailing(errors.to_status(broken)))
            finally:
                for hook in reversed(self._hooks[:begun]):
                    hook.end(call)

        parse = _parser(method, handler.request_deserializer, streaming=handler.request_streaming)
        return make(guarded, parse, handler.response_serializer)

    @staticmethod
    def _streaming(inner: Handler) -> Handler:
        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            responses: AsyncIterator[Any]
            async with aclosing(inner(request, context)) as responses:
                async for response in responses:
                    await context.write(response)

        return stream


def _parser(method: str, parse: Callable[[bytes], Any], *, streaming: bool) -> Callable[[bytes], Any]:
    """The method's deserializer, whose fault is the caller's: gRPC itself would answer UNKNOWN.

    In a stream of requests the error is raised where the handler reads the next one. The one request of other methods
    is parsed before any code of ours runs, so there the error takes the request's place.
    """

    def parsed(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError as error:
            broken = InvalidArgument(
                f"the request of {method} is no such message: {error}; text has to be UTF-8",
                field="",
                reason="BAD_MESSAGE",
            )
            if streaming:
                raise broken from error
            return broken

    return parsed
