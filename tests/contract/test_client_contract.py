"""The client against a real gRPC server: streams, cancels, deadlines, rich errors, retries and the token, on the wire.

The servicers are small but true: they keep what they are told and answer from it. Each test runs with the blocking
client and with the asyncio one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import re
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent import futures
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
import sapience
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from sapience.v1 import (
    concept_pb2,
    controller_pb2,
    controller_pb2_grpc,
    memory_pb2,
    memory_pb2_grpc,
    perception_pb2,
    perception_pb2_grpc,
    reasoning_pb2,
    reasoning_pb2_grpc,
)

TOKEN = "a token"


def fail(context: Any, code: grpc.StatusCode, message: str, *details: Any) -> Any:
    """Ends a call with a rich status, as the services do."""
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(code, message)


def note_cancel(context: Any, cancelled: threading.Event) -> None:
    """Sets the event once the caller is gone, even where it is gone already."""
    if not context.add_callback(cancelled.set):
        cancelled.set()


class Authentication(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses a call without the token."""

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        if ("authorization", f"Bearer {TOKEN}") in details.invocation_metadata:
            return continuation(details)

        def refuse(request: Any, context: Any) -> Any:
            fail(context, grpc.StatusCode.UNAUTHENTICATED, "no token", error_details_pb2.ErrorInfo(reason="NO_TOKEN"))

        return grpc.unary_unary_rpc_method_handler(refuse)


class Memory(memory_pb2_grpc.MemoryServiceServicer):
    def __init__(self) -> None:
        self.namespaces: set[str] = set()
        self.answered: dict[str, memory_pb2.RememberResponse] = {}
        self.episodes: list[concept_pb2.Episode] = []
        self.unavailable = 0
        self.tries = 0
        self.cancelled = threading.Event()

    def _check(self, namespace: str, context: Any) -> None:
        if namespace not in self.namespaces:
            info = error_details_pb2.ErrorInfo(reason="NAMESPACE_NOT_FOUND")
            fail(context, grpc.StatusCode.NOT_FOUND, f"there is no namespace {namespace!r}", info)

    def _keep(self, namespace: str, new: memory_pb2.NewEpisode) -> memory_pb2.Remembered:
        seq = len(self.episodes) + 1
        stamp = {"told_at": new.told_at, "recorded_at": datetime.now(UTC)}
        kept = concept_pb2.Episode(
            id=f"e{seq}", namespace=namespace, text=new.text, speaker=new.speaker, seq=seq, **stamp
        )
        self.episodes.append(kept)
        return memory_pb2.Remembered(episode_id=kept.id, seq=seq)

    def CreateNamespace(self, request: Any, context: Any) -> Any:
        if request.namespace in self.namespaces:
            fail(context, grpc.StatusCode.ALREADY_EXISTS, f"there is a namespace {request.namespace!r}")
        self.namespaces.add(request.namespace)
        return memory_pb2.CreateNamespaceResponse()

    def ListNamespaces(self, request: Any, context: Any) -> Any:
        now = datetime.now(UTC)
        known = [concept_pb2.Namespace(name=name, created_at=now) for name in sorted(self.namespaces)]
        return memory_pb2.ListNamespacesResponse(namespaces=known)

    def Remember(self, request: Any, context: Any) -> Any:
        self._check(request.namespace, context)
        self.tries += 1
        if request.request_id not in self.answered:
            kept = [self._keep(request.namespace, new) for new in request.episodes]
            self.answered[request.request_id] = memory_pb2.RememberResponse(remembered=kept)
        if self.unavailable:
            # The write is done and the answer is lost: the case that request_id is for.
            self.unavailable -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "going down")
        return self.answered[request.request_id]

    def RememberStream(self, requests: Any, context: Any) -> Any:
        for request in requests:
            self._check(request.namespace, context)
            acknowledgement = memory_pb2.RememberStreamResponse(client_seq=request.client_seq)
            for episode in request.episodes or [request.episode]:
                if episode.text == "die":
                    fail(context, grpc.StatusCode.UNAVAILABLE, "the store is down")
                if episode.text == "silence":
                    note_cancel(context, self.cancelled)
                    self.cancelled.wait(20)
                outcome = acknowledgement.outcomes.add() if request.episodes else acknowledgement
                if episode.text:
                    outcome.remembered.CopyFrom(self._keep(request.namespace, episode))
                else:
                    outcome.error.CopyFrom(status_pb2.Status(code=3, message="text is empty"))
            yield acknowledgement

    def Recall(self, request: Any, context: Any) -> Any:
        self._check(request.namespace, context)
        if request.text == "slow":
            note_cancel(context, self.cancelled)
            self.cancelled.wait(20)
        if not request.text:
            fail(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                "text is empty",
                error_details_pb2.ErrorInfo(reason="EMPTY_TEXT", domain="sapience"),
                error_details_pb2.BadRequest(field_violations=[{"field": "text"}]),
                error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=2)),
            )
        found = [memory_pb2.Hit(episode=kept) for kept in self.episodes if request.text in kept.text]
        return memory_pb2.RecallResponse(hits=found[: request.limit], recipe="default")

    def Stats(self, request: Any, context: Any) -> Any:
        return memory_pb2.StatsResponse(episodes=len(self.episodes))

    def Export(self, request: Any, context: Any) -> Any:
        self._check(request.namespace, context)
        for kept in self.episodes:
            record = memory_pb2.MemoryRecord(episode=memory_pb2.EpisodeRecord(episode=kept))
            yield memory_pb2.ExportResponse(record=record)

    def Import(self, requests: Any, context: Any) -> Any:
        self._check(next(requests).namespace, context)
        episodes = 0
        for request in requests:
            if request.record.episode.episode.text == "die":
                fail(context, grpc.StatusCode.UNAVAILABLE, "the store is down")
            episodes += 1
        return memory_pb2.ImportResponse(episodes=episodes)


class Reasoning(reasoning_pb2_grpc.ReasoningServiceServicer):
    def __init__(self, memory: Memory) -> None:
        self.memory = memory
        self.thoughts: dict[tuple[str, str], Any] = {}
        self.cancelled = threading.Event()
        self.completed = threading.Event()

    def Reason(self, request: Any, context: Any) -> Any:
        def event(seq: int, **what: Any) -> Any:
            head = {"seq": seq, "trace_id": "trace", "time": datetime.now(UTC)}
            return reasoning_pb2.ReasonResponse(event=reasoning_pb2.ReasonEvent(**head, **what))

        if request.text == "endless":
            note_cancel(
                context, self.cancelled
            )  # before the first event: a caller that leaves then is not read from again
        yield event(0, recall=reasoning_pb2.RecallEvent(text=request.text))
        yield event(1, token=reasoning_pb2.TokenEvent(draft_id="d", text="In "))
        if request.text == "endless":
            self.cancelled.wait(20)
        if request.text == "breaks":
            fail(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "busy", error_details_pb2.ErrorInfo(reason="BUSY"))
        if request.text != "no answer":
            found = [kept for kept in self.memory.episodes if kept.namespace == request.namespace]
            text = found[-1].text if found else "I don't know."
            yield event(2, answer=reasoning_pb2.Answer(text=text, verdict=reasoning_pb2.VERDICT_ANSWERED))
        time.sleep(0.05)  # what a service does after its answer: a client that hurries away would cancel it
        if context.is_active():
            self.completed.set()

    def Generate(self, request: Any, context: Any) -> Any:
        before = self.thoughts.get((request.namespace, request.thought_id))
        if request.thought_id and before is None:
            fail(context, grpc.StatusCode.NOT_FOUND, "none", error_details_pb2.ErrorInfo(reason="THOUGHT_NOT_FOUND"))
        for step in range(request.budget.latent_steps):
            yield reasoning_pb2.GenerateResponse(thought=reasoning_pb2.ThoughtEvent(step=step, norm=1))
        for word in (before.prompt if before else request.prompt).split():
            yield reasoning_pb2.GenerateResponse(text=word)
        end = reasoning_pb2.GenerateResponse(stop_reason=reasoning_pb2.STOP_REASON_DONE)
        if request.keep:
            end.thought_id = f"t{len(self.thoughts)}"
            self.thoughts[request.namespace, end.thought_id] = reasoning_pb2.Thought(
                id=end.thought_id, prompt=request.prompt, created_at=datetime.now(UTC)
            )
        yield end

    def GetThought(self, request: Any, context: Any) -> Any:
        return reasoning_pb2.GetThoughtResponse(thought=self.thoughts[request.namespace, request.thought_id])

    def ListThoughts(self, request: Any, context: Any) -> Any:
        kept = [thought for (namespace, _), thought in self.thoughts.items() if namespace == request.namespace]
        return reasoning_pb2.ListThoughtsResponse(thoughts=kept[: request.limit])

    def DeleteThought(self, request: Any, context: Any) -> Any:
        del self.thoughts[request.namespace, request.thought_id]
        return reasoning_pb2.DeleteThoughtResponse()

    def ListModels(self, request: Any, context: Any) -> Any:
        return reasoning_pb2.ReasoningServiceListModelsResponse(models=[concept_pb2.Model(address="wheel:lm")])


class Perception(perception_pb2_grpc.PerceptionServiceServicer):
    def ListModels(self, request: Any, context: Any) -> Any:
        return perception_pb2.PerceptionServiceListModelsResponse(models=[concept_pb2.Model(address="wheel:encoder")])


class Controller(controller_pb2_grpc.ControllerServiceServicer):
    def Status(self, request: Any, context: Any) -> Any:
        return controller_pb2.StatusResponse(services=[controller_pb2.ServiceStatus(name="memory", serving=True)])


class Server:
    """All four services at one address of the loopback."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.reasoning = Reasoning(self.memory)
        self.grpc = grpc.server(futures.ThreadPoolExecutor(8), interceptors=[Authentication()])
        memory_pb2_grpc.add_MemoryServiceServicer_to_server(self.memory, self.grpc)
        reasoning_pb2_grpc.add_ReasoningServiceServicer_to_server(self.reasoning, self.grpc)
        perception_pb2_grpc.add_PerceptionServiceServicer_to_server(Perception(), self.grpc)
        controller_pb2_grpc.add_ControllerServiceServicer_to_server(Controller(), self.grpc)
        self.address = f"127.0.0.1:{self.grpc.add_insecure_port('127.0.0.1:0')}"
        self.grpc.start()


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.grpc.stop(0).wait()


class Either:
    """One of the two clients, driven the same way: calls are awaited and streams iterated, whichever it is."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        result = getattr(self.client, method)(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def each(self, method: str, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        stream = getattr(self.client, method)(*args, **kwargs)
        if hasattr(stream, "__anext__"):
            async for item in stream:
                yield item
        else:
            for item in stream:
                yield item

    async def all(self, method: str, *args: Any, **kwargs: Any) -> list[Any]:
        return [item async for item in self.each(method, *args, **kwargs)]


@pytest.fixture(params=[sapience.connect, sapience.aio.connect], ids=["sync", "aio"])
def connect(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
async def mind(connect: Any, server: Server) -> AsyncIterator[Either]:
    either = Either(connect(server.address, token=TOKEN))
    yield either
    await either("close")


# ---- calls ----


async def test_what_is_remembered_is_recalled_and_asked_for(mind: Either, server: Server) -> None:
    told_at = datetime(2024, 5, 1, tzinfo=UTC)
    kept = await mind("remember", "I live in Bremen.", speaker="Nora", told_at=told_at)
    assert kept == sapience.Remembered("e1", 1, False)
    page = await mind("recall", "Bremen")
    assert [(hit.episode.text, hit.episode.told_at) for hit in page] == [("I live in Bremen.", told_at)]
    answer = await mind("ask", "Where does Nora live?")
    assert (answer.text, answer.verdict, answer.trace_id) == ("I live in Bremen.", "answered", "trace")
    assert await asyncio.to_thread(server.reasoning.completed.wait, 5), "ask must not cancel what has answered"


async def test_the_namespace_default_is_created_and_a_misspelt_one_is_an_error(connect: Any, server: Server) -> None:
    for namespace, create, is_created in (
        ("default", None, True), ("work", None, False), ("home", True, True), ("default2", False, False),
    ):  # fmt: skip
        either = Either(connect(server.address, TOKEN, namespace, create=create))
        if is_created:
            await either("recall", "x")
            await either("recall", "x")
            assert namespace in server.memory.namespaces
        else:
            with pytest.raises(sapience.NotFound, match=f"no namespace '{namespace}'"):
                await either("recall", "x")
        await either("close")


async def test_another_namespace_is_never_created_for_a_call(mind: Either, server: Server) -> None:
    with pytest.raises(sapience.NotFound) as caught:
        await mind("remember", "x", namespace="other")
    assert caught.value.reason == "NAMESPACE_NOT_FOUND"
    assert server.memory.namespaces == set()


async def test_a_namespace_that_exists_may_be_asked_for_again(mind: Either) -> None:
    assert await mind("create_namespace", "a") is True
    assert await mind("create_namespace", "a", exist_ok=True) is False
    with pytest.raises(sapience.AlreadyExists):
        await mind("create_namespace", "a")
    assert [one.name for one in await mind("namespaces")] == ["a"]


async def test_models_come_from_perception_and_reasoning_and_status_from_the_controller(mind: Either) -> None:
    assert [model.address for model in await mind("models")] == ["wheel:encoder", "wheel:lm"]
    assert (await mind("status")).services[0].serving


async def test_a_lost_answer_of_a_write_is_asked_for_again_and_nothing_is_done_twice(
    mind: Either, server: Server
) -> None:
    server.memory.unavailable = 2
    await mind("remember", "once")
    assert server.memory.tries == 3
    assert [kept.text for kept in server.memory.episodes] == ["once"]


async def test_what_may_not_be_repeated_fails_at_once(mind: Either, server: Server) -> None:
    with pytest.raises(sapience.Unavailable, match="the store is down"):
        await mind.all("remember_many", [sapience.NewEpisode("die")])


async def test_rich_errors_come_through(mind: Either) -> None:
    with pytest.raises(sapience.InvalidArgument) as caught:
        await mind("recall", "")
    error = caught.value
    assert (error.message, error.reason, error.field, error.retry_after) == ("text is empty", "EMPTY_TEXT", "text", 2.0)


async def test_a_deadline_ends_the_call_on_both_sides(mind: Either, server: Server) -> None:
    begun = time.monotonic()
    with pytest.raises(sapience.DeadlineExceeded, match=f"memory at {server.address}"):
        await mind("recall", "slow", timeout=0.3)
    assert time.monotonic() - begun < 5
    assert await asyncio.to_thread(server.memory.cancelled.wait, 5)


async def test_the_token_is_sent_and_a_wrong_one_refused(connect: Any, server: Server) -> None:
    either = Either(connect(server.address, token="another"))
    with pytest.raises(sapience.Unauthenticated) as caught:
        await either("stats")
    assert caught.value.reason == "NO_TOKEN"
    await either("close")


async def test_a_service_that_is_not_there_is_unavailable_by_its_address(connect: Any) -> None:
    either = Either(connect("127.0.0.1:1", create=False))
    with pytest.raises(sapience.Unavailable, match=r"memory at 127\.0\.0\.1:1"):
        await either("recall", "x", timeout=5)
    await either("close")


async def test_a_service_with_no_address_and_a_closed_client_say_so(
    connect: Any, server: Server, tmp_path: Path
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAPIENCE_DATA_DIR", str(tmp_path))
        either = Either(connect(addresses={"memory": server.address}, token=TOKEN))
    with pytest.raises(sapience.Unavailable, match="set SAPIENCE_CONTROLLER_ADDRESS"):
        await either("status")
    await either("close")
    with pytest.raises(sapience.FailedPrecondition, match="closed"):
        await either("stats")


# ---- streams ----


async def test_events_stream_in_order_to_the_answer(mind: Either) -> None:
    events = await mind.all("ask_stream", "Where?")
    assert [type(event) for event in events] == [sapience.Recalled, sapience.Token, sapience.Answer]
    assert [event.seq for event in events] == [0, 1, 2]


async def test_generation_gives_text_only(mind: Either) -> None:
    assert await mind.all("generate", "one two") == ["one", "two"]


async def test_thinking_gives_steps_pieces_and_the_end(mind: Either) -> None:
    happened = await mind.all("think", "one two", budget=sapience.Budget(latent_steps=2))
    assert [type(one) for one in happened] == [sapience.Step] * 2 + [sapience.Piece] * 2 + [sapience.Finished]
    assert [one.text for one in happened[2:4]] == ["one", "two"]
    assert (happened[-1].stop_reason, happened[-1].thought_id) == ("done", "")


async def test_a_thought_is_kept_where_the_client_is_at_home_and_resumed_there(mind: Either, server: Server) -> None:
    *_, end = await mind.all("think", "one two", keep=True)
    assert server.memory.namespaces == {"default"}, "it is made for what is kept, as for what is remembered"
    again = await mind.all("resume", end.thought_id)
    assert [one.text for one in again if isinstance(one, sapience.Piece)] == ["one", "two"]
    assert (await mind("get_thought", end.thought_id)).prompt == "one two"
    assert [one.id for one in await mind("thoughts", limit=5)] == [end.thought_id]
    assert await mind("thoughts", namespace="other") == []
    await mind("delete_thought", end.thought_id)
    with pytest.raises(sapience.NotFound) as caught:
        await mind.all("resume", end.thought_id)
    assert caught.value.reason == "THOUGHT_NOT_FOUND"


async def test_an_error_in_the_middle_of_a_stream_is_raised_after_what_came(mind: Either) -> None:
    seen = []
    with pytest.raises(sapience.ResourceExhausted) as caught:
        [seen.append(event) async for event in mind.each("ask_stream", "breaks")]
    assert (len(seen), caught.value.reason) == (2, "BUSY")


async def test_an_answer_that_never_comes_is_an_error(mind: Either) -> None:
    with pytest.raises(sapience.Internal, match="no answer"):
        await mind("ask", "no answer")


@pytest.mark.parametrize("how", ["break", "close", "with", "exception"])
async def test_leaving_a_stream_early_cancels_it_on_the_server(mind: Either, server: Server, how: str) -> None:
    if isinstance(mind.client, sapience.Client):
        leave_sync(mind.client, how)
    else:
        await leave_aio(mind.client, how)
    assert await asyncio.to_thread(server.reasoning.cancelled.wait, 5)


def leave_sync(client: sapience.Client, how: str) -> None:
    match how:
        case "break":
            for _ in client.ask_stream("endless"):
                break
        case "close":
            stream = client.ask_stream("endless")
            next(stream)
            stream.close()
            assert list(stream) == []
        case "with":
            with client.ask_stream("endless") as stream:
                next(stream)
        case "exception":
            with contextlib.suppress(ZeroDivisionError), client.ask_stream("endless") as stream:
                raise ZeroDivisionError(next(stream))


async def leave_aio(client: sapience.AsyncClient, how: str) -> None:
    match how:
        case "break":
            async for _ in client.ask_stream("endless"):
                break
        case "close":
            stream = client.ask_stream("endless")
            await anext(stream)
            stream.close()
            assert [event async for event in stream] == []
        case "with":
            async with client.ask_stream("endless") as stream:
                await anext(stream)
        case "exception":
            with contextlib.suppress(ZeroDivisionError):
                async with client.ask_stream("endless") as stream:
                    raise ZeroDivisionError(await anext(stream))


async def test_a_cancelled_task_cancels_its_call(server: Server) -> None:
    async with sapience.aio.connect(server.address, token=TOKEN) as client:
        task = asyncio.create_task(client.ask("endless"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(server.reasoning.cancelled.wait, 5)


def test_an_interrupt_from_the_keyboard_cancels_the_call(server: Server) -> None:
    with sapience.connect(server.address, token=TOKEN) as client:
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            client.ask("endless")
        assert server.reasoning.cancelled.wait(5)


def test_a_stream_that_outlives_its_loop_is_dropped_in_peace(server: Server) -> None:
    async def begin() -> sapience.AsyncStream[sapience.Event]:
        stream = sapience.aio.connect(server.address, token=TOKEN).ask_stream("endless")
        await anext(stream)
        return stream

    stream = asyncio.run(begin())
    del stream
    gc.collect()


# ---- many Episodes ----


async def test_each_of_many_has_its_outcome_in_order(mind: Either) -> None:
    told = [sapience.NewEpisode(text) for text in ("a", "", "b", "\ud800", "c")]
    outcomes = await mind.all("remember_many", told, window=2)
    assert [type(outcome).__name__ for outcome in outcomes] == [
        "Remembered", "InvalidArgument", "Remembered", "InvalidArgument", "Remembered",
    ]  # fmt: skip
    assert [outcomes[index].seq for index in (0, 2, 4)] == [1, 2, 3]
    assert outcomes[1].message == "text is empty"
    assert outcomes[3].field == "text"
    assert await mind.all("remember_many", []) == []


async def test_many_go_together_and_each_keeps_its_outcome(mind: Either, server: Server) -> None:
    texts = [("", "\ud800", f"turn {number}")[min(2, number % 37)] for number in range(1500)]
    outcomes = await mind.all("remember_many", map(sapience.NewEpisode, texts))
    wanted = ["Remembered" if text.startswith("turn") else "InvalidArgument" for text in texts]
    assert [type(outcome).__name__ for outcome in outcomes] == wanted
    kept = [episode.text for episode in server.memory.episodes]
    assert kept == [text for text in texts if text.startswith("turn")]


async def test_an_episode_waits_for_no_other_one(mind: Either, server: Server) -> None:
    def slow() -> Iterator[sapience.NewEpisode]:
        yield sapience.NewEpisode("first")
        deadline = time.monotonic() + 10
        while not server.memory.episodes and time.monotonic() < deadline:
            time.sleep(0.01)
        yield sapience.NewEpisode(f"after {len(server.memory.episodes)}")

    async def slowly() -> AsyncIterator[sapience.NewEpisode]:
        for episode in iter(slow()):
            yield episode
            await asyncio.sleep(0.2)

    told = slow() if isinstance(mind.client, sapience.Client) else slowly()
    await mind.all("remember_many", told)
    assert [episode.text for episode in server.memory.episodes] == ["first", "after 1"]


async def test_no_more_than_the_window_is_read_ahead(mind: Either) -> None:
    taken = 0

    def endless() -> Iterator[sapience.NewEpisode]:
        nonlocal taken
        while True:
            taken += 1
            yield sapience.NewEpisode("again")

    got = 0
    async for _ in mind.each("remember_many", endless(), window=5):
        got += 1
        assert taken <= got + 5
        if got == 50:
            break


async def test_what_the_iterable_raises_reaches_the_caller_and_what_was_acknowledged_stays(
    mind: Either, server: Server
) -> None:
    def broken() -> Iterator[sapience.NewEpisode]:
        yield sapience.NewEpisode("a")
        yield sapience.NewEpisode("b")
        raise ZeroDivisionError

    kept = []
    with contextlib.suppress(ZeroDivisionError):
        async for outcome in mind.each("remember_many", broken(), window=1):
            kept.append(outcome)
        pytest.fail("the error was lost")
    assert [outcome.episode_id for outcome in kept] == [episode.id for episode in server.memory.episodes][: len(kept)]
    assert len(kept) == 2


async def test_leaving_many_early_cancels_the_stream(mind: Either, server: Server) -> None:
    told = [sapience.NewEpisode("a"), sapience.NewEpisode("silence"), sapience.NewEpisode("b")]
    stream = mind.client.remember_many(told, window=1)
    if isinstance(mind.client, sapience.Client):
        next(stream)
        stream.close()
    else:
        await anext(stream)
        await stream.aclose()
    with pytest.raises(sapience.DeadlineExceeded):
        await mind.all("remember_many", told, window=3, timeout=0.3)
    assert await asyncio.to_thread(server.memory.cancelled.wait, 5)


async def test_a_stream_that_breaks_leaves_no_thread_behind(mind: Either) -> None:
    await mind("stats")
    before = threading.active_count()
    for _ in range(5):
        with pytest.raises(sapience.Unavailable):
            await mind.all("remember_many", [sapience.NewEpisode("die")] * 50, window=10)
        with pytest.raises(sapience.Unavailable):
            await mind("import_", [record("die")] * 50)
    deadline = time.monotonic() + 5
    while threading.active_count() > before + 4 and time.monotonic() < deadline:  # the server's own pool grows to 8
        await asyncio.sleep(0.05)
    names = [thread.name for thread in threading.enumerate()]
    assert not any("consume_request" in name for name in names), names


def record(text: str) -> memory_pb2.MemoryRecord:
    return memory_pb2.MemoryRecord(episode=memory_pb2.EpisodeRecord(episode=concept_pb2.Episode(text=text)))


async def test_what_is_exported_is_imported(mind: Either) -> None:
    await mind("remember", "a")
    await mind("remember", "b")
    records = await mind.all("export")
    assert [one.episode.episode.text for one in records] == ["a", "b"]
    assert await mind("import_", records * 100) == sapience.ImportResult(episodes=200, facts=0, duplicates=0)
    assert await mind("import_", []) == sapience.ImportResult(0, 0, 0)


async def test_an_import_that_fails_raises_the_cause_of_it(mind: Either) -> None:
    def endless() -> Iterator[memory_pb2.MemoryRecord]:
        yield record("die")
        while True:
            yield record("x")

    def broken() -> Iterator[memory_pb2.MemoryRecord]:
        yield record("x")
        raise ZeroDivisionError

    with pytest.raises(sapience.Unavailable, match="the store is down"):
        await mind("import_", endless())
    with pytest.raises(ZeroDivisionError):
        await mind("import_", broken())


async def test_the_asyncio_client_takes_async_iterables(server: Server) -> None:
    async def told() -> AsyncIterator[sapience.NewEpisode]:
        yield sapience.NewEpisode("a")

    async with sapience.aio.connect(server.address, token=TOKEN) as client:
        assert [outcome async for outcome in client.remember_many(told())] == [sapience.Remembered("e1", 1, False)]
        assert await client.import_(client.export()) == sapience.ImportResult(1, 0, 0)


# ---- the README ----

README = Path(__file__).parents[2] / "client" / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda code: code.strip().splitlines()[-1][:40])
def test_the_readmes_examples_run(example: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENCE_ADDRESS", server.address)
    monkeypatch.setenv("SAPIENCE_TOKEN", TOKEN)
    exec(compile(example, str(README), "exec"), {})
