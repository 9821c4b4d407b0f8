"""Small servers in the test's own process, built by the one server builder, with servicers that wait to be told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from pydantic import SecretStr
from sapience.v1 import memory_pb2, memory_pb2_grpc, perception_pb2, perception_pb2_grpc

from services.runtime.client import Link
from services.runtime.server import Server, Service
from services.runtime.settings import Settings, load

PERCEPTION = "sapience.v1.PerceptionService"
MEMORY = "sapience.v1.MemoryService"

CLOSED_PORT = 9
"""discard: no machine of ours listens there, and 127.0.0.1 refuses at once."""


@dataclass
class Served:
    """A server at work, and a channel to it that carries no token."""

    server: Server
    address: str
    channel: grpc.aio.Channel
    _stopping: asyncio.Task[None] | None = None

    def stop(self) -> asyncio.Task[None]:
        """Begins to stop the server, once."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self.server.stop())
        return self._stopping


@asynccontextmanager
async def serving(
    tmp_path: Path, make: Callable[[Settings, str], Sequence[Service]], token: str = "", **changed: Any
) -> AsyncIterator[Served]:
    """Serves what `make` builds, given the settings and the server's own address; stops it at the end."""
    wanted: dict[str, Any] = {"listen": "127.0.0.1:0", "data_dir": tmp_path, "drain_s": 5.0} | changed
    settings = load(**wanted, token=SecretStr(token) if token else None)
    server = Server(settings)
    address = f"127.0.0.1:{server.bind()}"
    await server.start(make(settings, address))
    channel = grpc.aio.insecure_channel(address)
    served = Served(server, address, channel)
    try:
        yield served
    finally:
        await channel.close()
        await served.stop()


class Slow(perception_pb2_grpc.PerceptionServiceServicer):
    """Segment begins, says so, and ends when it may; `error` is how it fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.time_left: float | None = None
        self._error = error

    async def Segment(self, request: Any, context: Any) -> perception_pb2.SegmentResponse:
        self.time_left = context.time_remaining()
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self._error is not None:
            raise self._error
        return perception_pb2.SegmentResponse()

    def service(self) -> Service:
        return Service(
            PERCEPTION,
            lambda server: perception_pb2_grpc.add_PerceptionServiceServicer_to_server(self, server),
            _ready,
            _closed,
        )


class Asking(memory_pb2_grpc.MemoryServiceServicer):
    """Stats asks perception, wherever it is, once it may."""

    def __init__(self, address: str, token: str = "") -> None:
        self.begun = asyncio.Event()
        self.may_ask = asyncio.Event()
        self.may_ask.set()
        self.closed = False
        self._link = Link(address, token, 1 << 20)
        self._perception = perception_pb2_grpc.PerceptionServiceStub(self._link.channel)

    async def Stats(self, request: Any, context: Any) -> memory_pb2.StatsResponse:
        self.begun.set()
        await self.may_ask.wait()
        await self._perception.Segment(perception_pb2.SegmentRequest(text="a"), **self._link.options())
        return memory_pb2.StatsResponse(seq=1)

    async def close(self) -> None:
        self.closed = True
        await self._link.close()

    def service(self) -> Service:
        return Service(
            MEMORY,
            lambda server: memory_pb2_grpc.add_MemoryServiceServicer_to_server(self, server),
            _ready,
            self.close,
        )


async def _ready() -> bool:
    return True


async def _closed() -> None:
    """Nothing to let go of."""
