"""What the runtime costs: a Reason call through all its hops, beside bare grpc.aio doing the same hops.

Ours: the real servers, hooks, links, servicers and cycle, around cores that compute nothing: an encoder that gives one
vector, a recall that gives the same hits, a cycle that says the same of them (see `null`). Bare: grpc.aio handlers that
send the same messages over the same hops (Reason, which calls Encode, then Recall) and do nothing else. Each side has
two processes on the same event loop: the services in one, and the caller in the other. The two sides are measured in
turns, so that both meet the same noise; a ratio is the median over the turns.

    null_core_ratio_c1, null_core_ratio_c32   our rate / the bare rate, with 1 and 32 calls at once
    p99_ms_c32                                our 99th percentile at 32 calls at once
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import grpc
from sapience.v1 import memory_pb2, memory_pb2_grpc, perception_pb2, perception_pb2_grpc, reasoning_pb2_grpc
from sapience.v1 import reasoning_pb2 as pb

from services import memory, perception, reasoning
from services.bench import null
from services.bench.report import Report, versions
from services.runtime import loop

TURNS = 5
TOKEN = "bench"  # noqa: S105
QUESTION = "What did we say about the boat last summer?"


@dataclass(frozen=True, slots=True)
class Load:
    """What one turn of one side gave."""

    rate: float
    p50_ms: float
    p99_ms: float


def run(seed: int, seconds: float) -> Report:
    """Measures both sides in turns of `seconds` each."""
    sides = {"ours": _Side(_serve_ours), "bare": _Side(_serve_bare)}
    try:
        recorded = loop.run(_recorded(sides["ours"].address))
        sides["bare"].send(recorded)
        results: dict[tuple[str, int], list[Load]] = {}
        for concurrency in (1, 32):
            for turn in range(TURNS + 1):
                for name, side in sides.items():
                    load = loop.run(_load(side.address, concurrency, seconds / TURNS))
                    if turn:  # the first turn warms both up
                        results.setdefault((name, concurrency), []).append(load)
    finally:
        for side in sides.values():
            side.close()
    return Report(
        "rpc",
        seed,
        {
            "null_core_ratio_c1": _ratio(results, 1),
            "null_core_ratio_c32": _ratio(results, 32),
            "p99_ms_c32": statistics.median(load.p99_ms for load in results["ours", 32]),
        },
        {
            name: {
                f"{figure}_c{concurrency}": statistics.median(
                    getattr(load, figure) for load in results[name, concurrency]
                )
                for concurrency in (1, 32)
                for figure in ("rate", "p50_ms", "p99_ms")
            }
            for name in sides
        },
        {
            "turns": TURNS,
            "seconds": seconds,
            "events": len(recorded.events),
            "bytes": sum(map(len, recorded.events)),
            "pieces": null.PIECES,
        },
        versions("grpcio", "protobuf", "uvloop"),
    )


def _ratio(results: dict[tuple[str, int], list[Load]], concurrency: int) -> float:
    pairs = zip(results["ours", concurrency], results["bare", concurrency], strict=True)
    return statistics.median(ours.rate / bare.rate for ours, bare in pairs)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call of ours, as bytes: what the bare side sends."""

    events: list[bytes]
    encode: tuple[bytes, bytes]
    recall: tuple[bytes, bytes]


class _Side:
    """One side's services, in a process of their own."""

    def __init__(self, serve: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        if not self._pipe.poll(60):
            raise TimeoutError("the services of the bench did not start in 60 s")
        self.address: str = self._pipe.recv()

    def send(self, recorded: Recorded) -> None:
        self._pipe.send(recorded)
        self._pipe.recv()

    def close(self) -> None:
        self._process.terminate()
        self._process.join(10)


async def _load(address: str, concurrency: int, seconds: float) -> Load:
    """As many calls as fit the time, `concurrency` at once on one channel."""
    request = pb.ReasonRequest(namespace="bench", text=QUESTION)
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    taken: list[float] = []
    async with grpc.aio.insecure_channel(address) as channel:
        stub = reasoning_pb2_grpc.ReasoningServiceStub(channel)

        async def caller(until: float) -> None:
            while (began := time.perf_counter()) < until:
                events = 0
                async for _ in stub.Reason(request, metadata=metadata, timeout=30):
                    events += 1
                if not events:
                    raise RuntimeError("a call brought no events")
                taken.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(caller(began + seconds) for _ in range(concurrency)))
        wall = time.perf_counter() - began
    taken.sort()
    return Load(len(taken) / wall, taken[len(taken) // 2] * 1e3, taken[int(len(taken) * 0.99)] * 1e3)


async def _recorded(address: str) -> Recorded:
    """One call of ours, and what its hops carry."""
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    async with grpc.aio.insecure_channel(address) as channel:
        reason = reasoning_pb2_grpc.ReasoningServiceStub(channel)
        request = pb.ReasonRequest(namespace="bench", text=QUESTION)
        events = [
            response.SerializeToString() async for response in reason.Reason(request, metadata=metadata, timeout=30)
        ]
        encode = perception_pb2.EncodeRequest(texts=[QUESTION])
        encoded = await perception_pb2_grpc.PerceptionServiceStub(channel).Encode(encode, metadata=metadata)
        recall = memory_pb2.RecallRequest(namespace="bench", text=QUESTION, vector=encoded.vectors, limit=10)
        recalled = await memory_pb2_grpc.MemoryServiceStub(channel).Recall(recall, metadata=metadata)
    return Recorded(
        events,
        (encode.SerializeToString(), encoded.SerializeToString()),
        (recall.SerializeToString(), recalled.SerializeToString()),
    )


def _serve_ours(pipe: Connection) -> None:
    loop.run(null.serve(pipe, TOKEN))


def _serve_bare(pipe: Connection) -> None:
    loop.run(_bare(pipe))


async def _bare(pipe: Connection) -> None:
    """The same hops and messages with grpc.aio and generated stubs alone.

    Its three methods are generic handlers. Generated code would register every method of the three services with the
    server, and grpc.aio waits for a call of each one anew whenever a call comes: the replica would be slower by that.
    """
    server = grpc.aio.server()
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    channel = grpc.aio.insecure_channel(address)
    bare = _Bare(channel)
    server.add_generic_rpc_handlers(bare.handlers())
    await server.start()
    pipe.send(address)
    bare.take(await asyncio.to_thread(pipe.recv))
    pipe.send("ready")
    await server.wait_for_termination()


class _Bare:
    """Reason calls Encode, then Recall, then streams the recorded events."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._encode = perception_pb2_grpc.PerceptionServiceStub(channel).Encode
        self._recall = memory_pb2_grpc.MemoryServiceStub(channel).Recall
        self._events: list[pb.ReasonResponse] = []
        self._encoding, self._encoded = perception_pb2.EncodeRequest(), perception_pb2.EncodeResponse()
        self._recalling, self._recalled = memory_pb2.RecallRequest(), memory_pb2.RecallResponse()

    def take(self, recorded: Recorded) -> None:
        """What to send from now on."""
        self._events = [pb.ReasonResponse.FromString(event) for event in recorded.events]
        self._encoding.ParseFromString(recorded.encode[0])
        self._encoded.ParseFromString(recorded.encode[1])
        self._recalling.ParseFromString(recorded.recall[0])
        self._recalled.ParseFromString(recorded.recall[1])

    async def encode(self, request: perception_pb2.EncodeRequest, context: Any) -> perception_pb2.EncodeResponse:
        """Answers the first hop."""
        return self._encoded

    async def recall(self, request: memory_pb2.RecallRequest, context: Any) -> memory_pb2.RecallResponse:
        """Answers the second hop."""
        return self._recalled

    async def reason(self, request: pb.ReasonRequest, context: Any) -> AsyncIterator[pb.ReasonResponse]:
        """Takes both hops, then streams."""
        await self._encode(self._encoding)
        await self._recall(self._recalling)
        for event in self._events:
            yield event

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """The methods as a server takes them."""
        encode = grpc.unary_unary_rpc_method_handler(
            self.encode,
            request_deserializer=perception_pb2.EncodeRequest.FromString,
            response_serializer=perception_pb2.EncodeResponse.SerializeToString,
        )
        recall = grpc.unary_unary_rpc_method_handler(
            self.recall,
            request_deserializer=memory_pb2.RecallRequest.FromString,
            response_serializer=memory_pb2.RecallResponse.SerializeToString,
        )
        reason = grpc.unary_stream_rpc_method_handler(
            self.reason,
            request_deserializer=pb.ReasonRequest.FromString,
            response_serializer=pb.ReasonResponse.SerializeToString,
        )
        return [
            grpc.method_handlers_generic_handler(perception.NAME, {"Encode": encode}),
            grpc.method_handlers_generic_handler(memory.NAME, {"Recall": recall}),
            grpc.method_handlers_generic_handler(reasoning.NAME, {"Reason": reason}),
        ]
