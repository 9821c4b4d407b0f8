"""What every service owes its callers, whatever it does: admission, deadlines, cancels, errors passed on, the drain.

The servers here are the real builder around servicers that wait until they are told to go on, so that nothing depends
on how fast a machine is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from refusals import async_refusal, says, told
from sapience.v1 import memory_pb2, memory_pb2_grpc, perception_pb2, perception_pb2_grpc
from servers import CLOSED_PORT, PERCEPTION, Asking, Served, Slow, serving

from core.errors import FailedPrecondition, InvalidArgument

SEGMENT = perception_pb2.SegmentRequest(text="a")
STATS = memory_pb2.StatsRequest()
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@asynccontextmanager
async def slow_and_asking(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[Served, Slow, Asking]]:
    """Both in one server, as in the daemon: memory's calls to perception come back to the same server."""
    slow = Slow()
    made: list[Asking] = []

    def make(_: Any, address: str) -> list[Any]:
        made.append(Asking(address))
        return [slow.service(), made[0].service()]

    async with serving(tmp_path, make, **settings) as served:
        yield served, slow, made[0]


async def test_calls_beyond_the_limit_are_refused_at_once_and_told_when_to_come_again(tmp_path: Path) -> None:
    async with slow_and_asking(tmp_path, max_in_flight=1) as (served, slow, _):
        perception = perception_pb2_grpc.PerceptionServiceStub(served.channel)
        first = asyncio.ensure_future(perception.Segment(SEGMENT, timeout=30))
        await slow.begun.wait()
        refused = await async_refusal(perception.Segment(SEGMENT, timeout=30))
        says(refused, StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_CALLS", "", "PerceptionService", "1 calls already")
        assert refused.retry_after_s == 0.5
        # Probes are let in: a service at its limit is well, and another service's places are its own.
        health = health_pb2_grpc.HealthStub(served.channel)
        reply = await health.Check(health_pb2.HealthCheckRequest(service=PERCEPTION), timeout=30)
        assert reply.status == SERVING
        slow.may_end.set()
        await first
        await perception.Segment(SEGMENT, timeout=30)
        await memory_pb2_grpc.MemoryServiceStub(served.channel).Stats(STATS, timeout=30)


async def test_a_refused_or_broken_call_gives_its_place_back(tmp_path: Path) -> None:
    slow = Slow(ValueError("told to nobody"))
    slow.may_end.set()
    async with serving(tmp_path, lambda *_: [slow.service()], max_in_flight=1) as served:
        perception = perception_pb2_grpc.PerceptionServiceStub(served.channel)
        for _ in range(3):
            refused = await async_refusal(perception.Segment(SEGMENT, timeout=30))
            says(refused, StatusCode.INTERNAL, "INTERNAL", "", "ValueError inside PerceptionService")
            assert "told to nobody" not in refused.message


async def test_what_remains_of_a_deadline_reaches_the_service_behind(tmp_path: Path) -> None:
    async with slow_and_asking(tmp_path, default_deadline_s=7.0) as (served, slow, _):
        slow.may_end.set()
        memory = memory_pb2_grpc.MemoryServiceStub(served.channel)
        await memory.Stats(STATS, timeout=40)
        assert slow.time_left is not None
        assert 8 < slow.time_left < 41  # gRPC counts in milliseconds, rounded up
        await memory.Stats(STATS)  # no deadline: the service has one of its own
        assert 0 < slow.time_left < 8


async def test_an_expired_deadline_ends_the_call_and_those_made_for_it(tmp_path: Path) -> None:
    async with slow_and_asking(tmp_path) as (served, slow, _):
        memory = memory_pb2_grpc.MemoryServiceStub(served.channel)
        refused = await async_refusal(memory.Stats(STATS, timeout=0.5))
        assert refused.code is StatusCode.DEADLINE_EXCEEDED
        await slow.cancelled.wait()


async def test_a_cancel_reaches_the_service_behind(tmp_path: Path) -> None:
    async with slow_and_asking(tmp_path) as (served, slow, _):
        call = memory_pb2_grpc.MemoryServiceStub(served.channel).Stats(STATS, timeout=60)
        await slow.begun.wait()
        call.cancel()
        await slow.cancelled.wait()


async def test_what_the_service_behind_refused_is_what_the_caller_reads(tmp_path: Path) -> None:
    slow = Slow(InvalidArgument("text is 'a'; give another", field="text", reason="BAD_TEXT"))
    slow.may_end.set()
    made: list[Asking] = []

    def make(_: Any, address: str) -> list[Any]:
        made.append(Asking(address))
        return [slow.service(), made[0].service()]

    async with serving(tmp_path, make) as served:
        refused = await async_refusal(memory_pb2_grpc.MemoryServiceStub(served.channel).Stats(STATS, timeout=30))
        says(refused, StatusCode.INVALID_ARGUMENT, "BAD_TEXT", "text", "give another")


async def test_a_service_that_is_not_there_is_named(tmp_path: Path) -> None:
    asking = Asking(f"127.0.0.1:{CLOSED_PORT}")
    async with serving(tmp_path, lambda *_: [asking.service()]) as served:
        refused = await async_refusal(memory_pb2_grpc.MemoryServiceStub(served.channel).Stats(STATS, timeout=30))
        says(refused, StatusCode.UNAVAILABLE, "UNAVAILABLE", "", f"127.0.0.1:{CLOSED_PORT}")


async def test_a_stopping_server_says_so_first_and_lets_calls_at_work_end(tmp_path: Path) -> None:
    """Also those that still have to ask another service of the same process."""
    async with slow_and_asking(tmp_path, drain_s=60.0) as (served, slow, asking):
        slow.may_end.set()
        asking.may_ask.clear()
        memory = memory_pb2_grpc.MemoryServiceStub(served.channel)
        watch = health_pb2_grpc.HealthStub(served.channel).Watch(health_pb2.HealthCheckRequest(service=PERCEPTION))
        while (await watch.read()).status != SERVING:
            pass
        at_work = asyncio.ensure_future(memory.Stats(STATS, timeout=60))
        await asking.begun.wait()

        stopping = served.stop()
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()
        refused = await async_refusal(memory.Stats(STATS, timeout=30))
        says(refused, StatusCode.UNAVAILABLE, "STOPPING", "", "MemoryService is stopping")
        assert refused.retry_after_s == 1.0
        assert not at_work.done()
        assert not asking.closed, "services are closed after the last call"

        asking.may_ask.set()
        assert (await at_work).seq == 1
        await stopping
        assert asking.closed


async def test_the_drain_ends_when_its_time_is_over(tmp_path: Path) -> None:
    slow = Slow()
    async with serving(tmp_path, lambda *_: [slow.service()], drain_s=0.1) as served:
        call = perception_pb2_grpc.PerceptionServiceStub(served.channel).Segment(SEGMENT, timeout=60)
        await slow.begun.wait()
        await served.stop()
        await slow.cancelled.wait()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)) as caught:
            await call
        if isinstance(caught.value, grpc.aio.AioRpcError):
            assert told(caught.value).code in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)


async def test_a_taken_port_is_named(tmp_path: Path) -> None:
    async with serving(tmp_path, lambda *_: [Slow().service()]) as served:
        with pytest.raises(FailedPrecondition, match=f"cannot listen on {served.address}.*SAPIENCE_LISTEN") as caught:
            async with serving(tmp_path, lambda *_: [], listen=served.address):
                pass
        assert caught.value.reason == "CANNOT_LISTEN"
