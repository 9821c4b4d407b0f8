"""The blocking client. Safe to share between threads; each method waits for its answer.

The methods that are one call each are made from their descriptions in `sapience.calls`, which hold their signatures
and docstrings. What needs more than one call, or a stream in both directions, is written out here.
"""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

import grpc

from sapience import calls, discovery, types, wire
from sapience.calls import dreams as dreaming
from sapience.calls import facts, foreseeing, memory, moving, naming, patching, reasoning, sensing, system, thinking
from sapience.calls import migrations as migrating
from sapience.errors import SapienceError, from_rpc
from sapience.pipeline import Window, next_message
from sapience.senses import Perceived
from sapience.session import Session, channel_options, target
from sapience.v1 import memory_pb2, moving_pb2

__all__ = ["Client", "Stream", "connect"]

P = ParamSpec("P")
T = TypeVar("T")


def connect(
    address: str | None = None,
    token: str | None = None,
    namespace: str = "default",
    addresses: Mapping[str, str] | None = None,
    *,
    create: bool | None = None,
) -> Client:
    """A client of the services at `address`, or of each at its own (`addresses`: {"memory": "HOST:PORT", ...}).

    With no address: SAPIENCE_ADDRESS and SAPIENCE_MEMORY_ADDRESS and the like, else the local daemon, which
    `sapience up` starts. With no token: SAPIENCE_TOKEN, else the local daemon's own. `sapience.discovery` says more.

    `namespace` is where every call goes that names no other. `create` True creates it at first use where it is missing,
    False never does; None creates only the namespace "default", so that a misspelt name is an error.

    Nothing is sent yet: a service that does not answer is an Unavailable of the first call. Raises Unavailable where
    nothing says where the services are.
    """
    return Client(discovery.resolve(address, token, addresses), namespace, create)


class Stream(Iterator[T], Generic[T]):
    """The items of a call that streams, as they come. The call begins with the first item.

    Leaving it early (`close`, the end of a `with` block, Ctrl-C, or dropping it, as a `break` out of a `for` over it
    does) cancels the call on the service.
    """

    def __init__(self, start: Callable[[], Any], read: Callable[[Any], T | None], where: str) -> None:
        self._start = start
        self._read = read
        self._where = where
        self._call: Any = None
        self._ended = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while not self._ended:
            try:
                if self._call is None:
                    self._call = self._start()
                item = self._read(next(self._call))
            except StopIteration:
                break
            except grpc.RpcError as error:
                self._ended = True
                raise from_rpc(error, self._where) from error
            except BaseException:
                self.close()
                raise
            if item is not None:
                return item
        self._ended = True
        raise StopIteration

    def close(self) -> None:
        """Ends the stream here; where the service is still at work, it is told to stop."""
        if self._call is not None and not self._ended:
            self._call.cancel()
        self._ended = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()


class _Feed:
    """The requests of a call, put in by the caller's thread and taken out by gRPC's.

    So the caller's own iterable runs, and raises, in the caller's thread. At most `size` wait (0: whoever sends keeps
    the bound); once the call is over nobody waits any more, on either side.
    """

    def __init__(self, size: int) -> None:
        self._requests: queue.Queue[Any] = queue.Queue(maxsize=size)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._requests.get, None)

    def attach(self, call: Any) -> None:
        """Lets the end of the call end the feed."""
        call.add_done_callback(lambda _: self._release())

    def send(self, request: Any) -> None:
        self._requests.put(request)

    def end(self) -> None:
        self._requests.put(None)

    def _release(self) -> None:
        try:
            while True:
                self._requests.get_nowait()  # room for a sender that waits
        except queue.Empty:
            self._requests.put(None)  # and something for a taker that waits


class _Episodes(_Feed):
    """The feed of a stream of Episodes: all that wait, up to a limit, go in one message."""

    def __iter__(self) -> Iterator[Any]:
        waiting: deque[Any] = deque()
        ended = False
        while waiting or not ended:
            with suppress(queue.Empty):
                while not ended:
                    request = self._requests.get(block=not waiting)
                    if request is None:
                        ended = True
                    else:
                        waiting.append(request)
            if waiting:
                yield next_message(waiting)


def _unary(build: Callable[P, calls.Call[T]]) -> Callable[Concatenate[Client, P], T]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(build(*args, **kwargs))

    calls.present(method, build, "{}")
    return method


def _streaming(build: Callable[P, calls.Streaming[T]]) -> Callable[Concatenate[Client, P], Stream[T]]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        return self._stream(build(*args, **kwargs))

    calls.present(method, build, "Stream[{}]")
    return method


def _answering(build: Callable[P, calls.Streaming[types.Event]]) -> Callable[Concatenate[Client, P], types.Answer]:
    def method(self: Client, /, *args: P.args, **kwargs: P.kwargs) -> types.Answer:
        answer = None
        with self._stream(build(*args, **kwargs)) as events:
            for event in events:  # to the very end: a call that is left early counts as cancelled on the service
                answer = event if isinstance(event, types.Answer) else answer
        return reasoning.required(answer)

    calls.present(method, build, "Answer")
    return method


class Client(Session):
    """Sapience, blocking. `sapience.connect` makes one; use it as a context manager, or `close` it.

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

    def models(self, *, timeout: float | None = memory.SECONDS) -> list[types.Model]:
        """Every model: the encoders and decoders of perception, then the language models of reasoning."""
        return self._run(system.perception_models(timeout=timeout)) + self._run(system.language_models(timeout=timeout))

    def perceive(
        self,
        file: sensing.File,
        *,
        media_type: str = "",
        language: str = "",
        timeout: float | None = sensing.SECONDS,
    ) -> Perceived:
        """Hears an audio file, or reads an image: what was said, or what is written on it, with where.

        `file` is its path or its bytes: WAV, FLAC, OGG, MP3; PNG, JPEG, WebP, GIF, BMP or TIFF; at most 64 MiB.
        `media_type` is told by its first bytes where it is not given, `language` (BCP 47) detected where the model can.
        """
        opening = sensing.header(media_type, language)
        pieces = sensing.pieces(file)
        return sensing.read_perceived(self._upload("Perceive", opening, pieces, timeout, "perception"))

    def remember_many(
        self,
        episodes: Iterable[types.NewEpisode],
        *,
        window: int = 256,
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> Generator[types.Remembered | SapienceError, None, None]:
        """Remembers Episode after Episode over one stream; gives one outcome for each, in order.

        An Episode that is refused gives its error, as a value, and the others go on. `window` is how many may be
        unacknowledged: so many are read from `episodes` ahead of the outcome that is given. What was given as
        Remembered is durable, whatever comes after; telling it again gives a duplicate. Leaving the iterator early
        cancels the stream. Raises where the stream itself breaks.
        """
        pending = Window(self.namespace if namespace is None else namespace, window)
        feed = _Episodes(0)  # the window bounds it
        self._ensure_namespace(namespace, timeout)
        call = self._method("memory", "RememberStream")(iter(feed), **self._options("memory", timeout))
        feed.attach(call)

        def outcome() -> types.Remembered | SapienceError:
            return pending.at_hand() or pending.acknowledged(next(call, None))

        try:
            for episode in episodes:
                request = pending.offer(episode)
                if request is not None:
                    feed.send(request)
                if pending.full:
                    yield outcome()
            feed.end()
            while pending:
                yield outcome()
            next(call, None)  # to the very end: a call that is left early counts as cancelled on the service
        except grpc.RpcError as error:
            raise from_rpc(error, self._where("memory")) from error
        finally:
            call.cancel()

    def import_(
        self,
        records: Iterable[memory_pb2.MemoryRecord],
        *,
        bring_back: bool = False,
        namespace: str | None = None,
        timeout: float | None = None,
    ) -> types.ImportResult:
        """Takes what `export` gave, duplicates recognised: ids and `told_at` are kept, commits are this store's own.

        What was deleted here since it was exported is left out and counted, unless `bring_back`.
        """
        self._ensure_namespace(namespace, timeout)
        opening = memory.import_opening(self.namespace if namespace is None else namespace, bring_back)
        response = self._upload("Import", opening, map(memory.import_record, records), timeout)
        return wire.read_plain(types.ImportResult, response)

    def restore(
        self,
        header: moving_pb2.BackupHeader,
        parts: Iterable[moving_pb2.BackupPart],
        *,
        up_to_seq: int = 0,
        bring_back: bool = False,
        timeout: float | None = None,
    ) -> types.RestoreResult:
        """Takes the parts that `backup` gave: commits first, then audits and tombstones, then the rest.

        `header` is that of the last backup where several follow one another, with `since_seq` of the first. Of what
        was committed after `up_to_seq` nothing is taken; 0 takes all. What was deleted stays deleted, unless
        `bring_back`. Broken off, it is done again from its beginning.
        """
        opening = moving.restore_opening(header, up_to_seq, bring_back)
        response = self._upload("Restore", opening, map(moving.restore_part, parts), timeout)
        return wire.read_plain(types.RestoreResult, response)

    def _upload(
        self,
        method: str,
        opening: Any,
        requests: Iterable[Any],
        timeout: float | None,
        service: discovery.Service = "memory",
    ) -> Any:
        """A call that streams requests and gives one response."""
        feed = _Feed(16)
        call = self._method(service, method).future(iter(feed), **self._options(service, timeout))
        feed.attach(call)
        try:
            feed.send(opening)
            for request in requests:
                if call.done():
                    break
                feed.send(request)
            feed.end()
            return call.result()
        except grpc.RpcError as error:
            raise from_rpc(error, self._where(service)) from error
        finally:
            call.cancel()

    def close(self) -> None:
        """Closes the channels; calls at work are cancelled, and the client cannot be used any more."""
        self._closed = True
        for channel in self._channels.values():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _open_channel(self, address: str) -> grpc.Channel:
        return grpc.insecure_channel(target(address), options=channel_options())

    def _ensure_namespace(self, namespace: str | None, timeout: float | None) -> None:
        if self._wants_namespace(namespace):
            self._send(memory.create_namespace(self.namespace, exist_ok=True, timeout=timeout))
            self._must_create = False

    def _run(self, call: calls.Call[T]) -> T:
        if call.default_namespace:
            self._ensure_namespace(None, call.timeout)
        return self._send(call)

    def _send(self, call: calls.Call[T]) -> T:
        invoke = self._method(call.service, call.method)
        try:
            response = invoke(self._addressed(call), **self._options(call.service, call.timeout))
        except grpc.RpcError as error:
            return call.recover(from_rpc(error, self._where(call.service)))
        return call.read(response)

    def _stream(self, call: calls.Streaming[T]) -> Stream[T]:
        def start() -> Any:
            if call.default_namespace:
                self._ensure_namespace(None, call.timeout)
            invoke = self._method(call.service, call.method)
            return invoke(self._addressed(call), **self._options(call.service, call.timeout))

        return Stream(start, call.read, self._where(call.service))
