"""The asyncio client: the methods of `sapience.Client`, awaited. Belongs to the event loop of its first call.

The methods that are one call each are made from their descriptions in `sapience.calls`, which hold their signatures
and docstrings. What needs more than one call, or a stream in both directions, is written out here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Mapping,
)
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast

import grpc
import grpc.aio

from sapience import calls, discovery, types, wire
from sapience.calls import dreams as dreaming
from sapience.calls import facts, foreseeing, memory, moving, naming, patching, reasoning, sensing, system, thinking
from sapience.calls import migrations as migrating
from sapience.errors import SapienceError, from_rpc
from sapience.pipeline import Window, next_message
from sapience.senses import Perceived
from sapience.session import Session, channel_options, target
from sapience.v1 import memory_pb2, moving_pb2

__all__ = ["AsyncClient", "AsyncStream", "connect"]

P = ParamSpec("P")
T = TypeVar("T")


def connect(
    address: str | None = None,
    token: str | None = None,
    namespace: str = "default",
    addresses: Mapping[str, str] | None = None,
    *,
    create: bool | None = None,
) -> AsyncClient:
    """An asyncio client; the arguments are those of `sapience.connect`. Nothing is sent and nothing awaited yet."""
    return AsyncClient(discovery.resolve(address, token, addresses), namespace, create)


class _Ending:
    """How the service ended a call that is written to.

    grpc.aio confuses it: where the service ends a call while a write is on its way, the failed write sets a status of
    its own, "Internal error from Core", before or after the service's (github.com/grpc/grpc/issues/36066). So the
    service's is noted when it is set, and waited for where the other came first.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def _note(self, call: Any) -> None:
        code, details = _at_once(call.code()), _at_once(call.details())
        if self._error is None and (code, details) != (grpc.StatusCode.INTERNAL, "Internal error from Core"):
            metadata = _at_once(call.trailing_metadata())
            self._error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details)

    async def cause(self, error: grpc.RpcError) -> grpc.RpcError:
        """The error that the service ended the call with, where `error` may be that of a failed write."""
        for _ in range(100):  # a second at most; it takes a millisecond or two
            self._note(self._call)
            if self._error is not None:
                return error if self._error.code() is grpc.StatusCode.OK else self._error
            await asyncio.sleep(0.01)
        return error


def _at_once(value: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns that has nothing to wait for."""
    try:
        value.send(None)
    except StopIteration as returned:
        return cast(T, returned.value)
    raise RuntimeError("a call that is over had to wait for its own status")


class AsyncStream(AsyncIterator[T], Generic[T]):
    """The items of a call that streams, as they come. The call begins with the first item.

    Leaving it early (`close`, the end of an `async with` block, a cancelled task, or dropping it, as a `break` out of
    an `async for` over it does) cancels the call on the service.
    """

    def __init__(self, start: Callable[[], Awaitable[Any]], read: Callable[[Any], T | None], where: str) -> None:
        self._start = start
        self._read = read
        self._where = where
        self._call: Any = None
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while not self._ended:
            try:
                if self._call is None:
                    self._call = await self._start()
                response = await self._call.read()
                if response is grpc.aio.EOF:
                    break
                item = self._read(response)
            except grpc.RpcError as error:
                self._ended = True
                raise from_rpc(error, self._where) from error
            except BaseException:
                self.close()
                raise
            if item is not None:
                return item
        self._ended = True
        raise StopAsyncIteration

    def close(self) -> None:
        """Ends the stream here; where the service is still at work, it is told to stop."""
        if self._call is not None and not self._ended:
            self._call.cancel()
        self._ended = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


def _unary(build: Callable[P, calls.Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._run(build(*args, **kwargs))

    calls.present(method, build, "{}")
    return method


def _streaming(build: Callable[P, calls.Streaming[T]]) -> Callable[Concatenate[AsyncClient, P], AsyncStream[T]]:
    def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> AsyncStream[T]:
        return self._stream(build(*args, **kwargs))

    calls.present(method, build, "AsyncStream[{}]")
    return method


def _answering(
    build: Callable[P, calls.Streaming[types.Event]],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, types.Answer]]:
    async def method(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> types.Answer:
        answer = None
        async with self._stream(build(*args, **kwargs)) as events:
            async for event in events:  # to the very end: a call left early counts as cancelled on the service
                answer = event if isinstance(event, types.Answer) else answer
        return reasoning.required(answer)

    calls.present(method, build, "Answer")
    return method


class AsyncClient(Session):
    """Sapience on asyncio. `sapience.aio.connect` makes one; use it as an async context manager, or `await close()`.

    Every method takes `timeout` in seconds (None: no limit) and raises the errors of `sapience.errors`. Those that
    touch memories take `namespace`, which is the client's own unless given.
    """

    namespaces = _unary(memory.namespaces)
    create_namespace = _unary(memory.create_namespace)
    delete_namespace = _unary(memory.delete_namespace)
    remember = _unary(memory.remember)
    recall = _unary(memory.recall)
    why_not = _unary(memory.why_not)
    forget = _unary(memory.forget)
    archive = _unary(memory.archive)
    thaw = _unary(memory.thaw)
    set_hold = _unary(memory.set_hold)
    set_expiry = _unary(memory.set_expiry)
    set_time_to_live = _unary(memory.set_time_to_live)
    keeping = _unary(memory.keeping)
    export = _streaming(memory.export)
    backup = _streaming(moving.backup)
    rebuild_index = _streaming(moving.rebuild_index)
    stats = _unary(memory.stats)

    assert_fact = _unary(facts.assert_fact)
    retract_fact = _unary(facts.retract_fact)
    correct_fact = _unary(moving.correct_fact)
    undo_fact = _unary(moving.undo_fact)
    fact_history = _unary(facts.fact_history)
    neighbours = _unary(facts.neighbours)
    paths = _unary(facts.paths)
    changes = _unary(facts.changes)
    set_relation_policy = _unary(facts.set_relation_policy)
    relation_policies = _unary(facts.relation_policies)
    timeline = _unary(facts.timeline)
    entities = _unary(naming.entities)
    entity = _unary(naming.entity)
    mentions = _unary(naming.mentions)
    merge_entities = _unary(naming.merge_entities)
    undo_merge = _unary(naming.undo_merge)
    merges = _unary(naming.merges)

    ask = _answering(reasoning.ask)
    ask_stream = _streaming(reasoning.ask)
    predict = _unary(foreseeing.predict)
    continue_text = _streaming(foreseeing.continue_text)
    generate = _streaming(thinking.generate)
    think = _streaming(thinking.think)
    resume = _streaming(thinking.resume)
    get_thought = _unary(thinking.get_thought)
    thoughts = _unary(thinking.thoughts)
    delete_thought = _unary(thinking.delete_thought)
    trace = _unary(reasoning.trace)
    load_model = _unary(reasoning.load_model)
    unload_model = _unary(reasoning.unload_model)

    dream = _unary(dreaming.dream)
    get_dream = _unary(dreaming.get_dream)
    dreams = _unary(dreaming.dreams)
    watch_dream = _streaming(dreaming.watch_dream)
    approve_dream = _unary(dreaming.approve_dream)
    undo_dream = _unary(dreaming.undo_dream)
    cancel_dream = _unary(dreaming.cancel_dream)

    plan_migration = _unary(migrating.plan_migration)
    migrate = _unary(migrating.migrate)
    get_migration = _unary(migrating.get_migration)
    migrations = _unary(migrating.migrations)
    watch_migration = _streaming(migrating.watch_migration)
    cancel_migration = _unary(migrating.cancel_migration)
    spaces = _unary(migrating.spaces)

    encode = _unary(system.encode)
    decode = _unary(system.decode)
    patch = _unary(patching.patch)
    status = _unary(system.status)

    async def models(self, *, timeout: float | None = memory.SECONDS) -> list[types.Model]:
        """Every model: the encoders and decoders of perception, then the language models of reasoning."""
        return [
            *await self._run(system.perception_models(timeout=timeout)),
            *await self._run(system.language_models(timeout=timeout)),
        ]

    async def perceive(
        self,
        file: sensing.File,
        *,
        media_type: str = "",
        language: str = "",
        timeout: float | None = sensing.SECONDS,
    ) -> Perceived:
        """As `Client.perceive`."""
        opening = sensing.header(media_type, language)
        pieces = _each(sensing.pieces(file))
        response = await self._upload("Perceive", opening, pieces, lambda piece: piece, timeout, "perception")
        return sensing.read_perceived(response)

    async def remember_many(
        self,
        episodes: Iterable[types.NewEpisode] | AsyncIterable[types.NewEpisode],
        *,
        window: int = 256,
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[types.Remembered | SapienceError, None]:
        """As `Client.remember_many`; `episodes` may be an async iterable too."""
        pending = Window(self.namespace if namespace is None else namespace, window)
        await self._ensure_namespace(namespace, timeout)
        call = self._method("memory", "RememberStream")(**self._options("memory", timeout))
        ending = _Ending(call)

        async def outcome() -> types.Remembered | SapienceError:
            return pending.at_hand() or pending.acknowledged(await _read(call))

        sender = _Sender(call)
        try:
            async for episode in _each(episodes):
                request = pending.offer(episode)
                if request is not None:
                    await sender.send(request)
                if pending.full:
                    yield await outcome()
            sender.end()
            while pending:
                yield await outcome()
            await _read(call)  # to the very end: a call that is left early counts as cancelled on the service
        except grpc.RpcError as error:
            raise from_rpc(await ending.cause(error), self._where("memory")) from error
        finally:
            call.cancel()
            await sender.close()

    async def import_(
        self,
        records: Iterable[memory_pb2.MemoryRecord] | AsyncIterable[memory_pb2.MemoryRecord],
        *,
        bring_back: bool = False,
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> types.ImportResult:
        """As `Client.import_`; `records` may be an async iterable too."""
        await self._ensure_namespace(namespace, timeout)
        opening = memory.import_opening(self.namespace if namespace is None else namespace, bring_back)
        response = await self._upload("Import", opening, _each(records), memory.import_record, timeout)
        return wire.read_plain(types.ImportResult, response)

    async def restore(
        self,
        header: moving_pb2.BackupHeader,
        parts: Iterable[moving_pb2.BackupPart] | AsyncIterable[moving_pb2.BackupPart],
        *,
        up_to_seq: int = 0,
        bring_back: bool = False,
        timeout: float | None = None,
    ) -> types.RestoreResult:
        """As `Client.restore`; `parts` may be an async iterable too."""
        opening = moving.restore_opening(header, up_to_seq, bring_back)
        response = await self._upload("Restore", opening, _each(parts), moving.restore_part, timeout)
        return wire.read_plain(types.RestoreResult, response)

    async def _upload(
        self,
        method: str,
        opening: Any,
        items: AsyncIterator[T],
        wrap: Callable[[T], Any],
        timeout: float | None,
        service: discovery.Service = "memory",
    ) -> Any:
        """A call that streams requests and gives one response."""
        call = self._method(service, method)(**self._options(service, timeout))
        ending = _Ending(call)
        try:
            await _write(call, opening)
            async for item in items:
                if call.done():
                    break
                await _write(call, wrap(item))
            await call.done_writing()
            return await call
        except grpc.RpcError as error:
            raise from_rpc(await ending.cause(error), self._where(service)) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Closes the channels; calls at work are cancelled, and the client cannot be used any more."""
        self._closed = True
        for channel in self._channels.values():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def _open_channel(self, address: str) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(target(address), options=channel_options())

    async def _ensure_namespace(self, namespace: str | None, timeout: float | None) -> None:
        if self._wants_namespace(namespace):
            await self._send(memory.create_namespace(self.namespace, exist_ok=True, timeout=timeout))
            self._must_create = False

    async def _run(self, call: calls.Call[T]) -> T:
        if call.default_namespace:
            await self._ensure_namespace(None, call.timeout)
        return await self._send(call)

    async def _send(self, call: calls.Call[T]) -> T:
        invoke = self._method(call.service, call.method)
        try:
            response = await invoke(self._addressed(call), **self._options(call.service, call.timeout))
        except grpc.RpcError as error:
            return call.recover(from_rpc(error, self._where(call.service)))
        return call.read(response)

    def _stream(self, call: calls.Streaming[T]) -> AsyncStream[T]:
        async def start() -> Any:
            if call.default_namespace:
                await self._ensure_namespace(None, call.timeout)
            invoke = self._method(call.service, call.method)
            return invoke(self._addressed(call), **self._options(call.service, call.timeout))

        return AsyncStream(start, call.read, self._where(call.service))


async def _each(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


async def _write(call: Any, request: Any) -> None:
    try:
        await call.write(request)
    except asyncio.InvalidStateError:
        pass  # the call is over: its status, which is read next, says why


class _Sender:
    """Sends Episodes while their sender does something else: all that wait, up to a limit, go in one message.

    The window bounds what waits.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._waiting: deque[Any] = deque()
        self._changed = asyncio.Event()
        self._ended = False
        self._task = asyncio.create_task(self._run())

    async def send(self, request: Any) -> None:
        self._waiting.append(request)
        self._changed.set()
        await asyncio.sleep(0)  # it is on its way, unless another one is, before whoever tells may block

    def end(self) -> None:
        self._ended = True
        self._changed.set()

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        with suppress(grpc.RpcError):  # the call is over: its status, which is read next, says why
            while self._waiting or not self._ended:
                self._changed.clear()
                while self._waiting:
                    await _write(self._call, next_message(self._waiting))
                if not self._ended:
                    await self._changed.wait()
            await self._call.done_writing()


async def _read(call: Any) -> Any:
    response = await call.read()
    return None if response is grpc.aio.EOF else response
