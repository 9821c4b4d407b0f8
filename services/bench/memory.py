"""What the memory service takes and finds, at size, over gRPC: the default recipe on SQLite and Qdrant Edge.

The service runs in a process of its own on an empty folder, as `sapience serve memory` would; this process sends. What
is written and asked is made from a seed (`memory_load`): `n` Episodes of one Concept each, with their vectors, and ten
times as many Facts.

    episodes_per_s    Episodes that RememberStream acknowledged a second, durably, over one stream
    indexed_per_s     the same until all of them can be found as well: the index follows behind the acknowledgements
    extracted_per_s   Episodes a second that were read for what they mention and state, from the first one sent until
                      the last was read; reading gives way to writes
    recall_p95_ms     Recall at all of them, one call at a time, the query's vector given
    as_of_p95_ms      Neighbours of one hop at all Facts, by told_by and valid_at; Entities as often as Facts name them
    hub_p95_ms        the same around an Entity that has a hundredth of all Facts
    rss_mb            the most memory that the service's process held while the Episodes were written and recalled
    found@10          share of the questions whose turn was among the first ten: that what is fast does find
    ..._cpu_ms        processor time of the service for each call: what noise from other processes does not change

The Facts are put into the record's file before the service opens it, in large transactions: how fast is not measured
here.

The peers take the same load: `qdrant-client`'s local mode writes and searches the vectors, a Neo4j answers the one-hop
as-of query of edges as Graphiti shapes them (`memory_peers`). Each says its own size, where it cannot take all.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from pydantic import SecretStr
from rich.progress import track
from sapience.v1 import concept_pb2, memory_pb2_grpc
from sapience.v1 import memory_pb2 as pb

from core.clock import SystemClock
from core.ids import RandomIds
from core.nouns import Float32
from services import wire
from services.bench import memory_load as made
from services.bench import memory_peers as peers
from services.bench.report import Report, versions
from services.cli import show
from services.runtime import loop

TOKEN = "bench"  # noqa: S105
NAMESPACE = "bench"
QUERIES = 300
WARM_UP = 20
EPISODES_A_MESSAGE = 128
FACTS_A_TURN = 10
FACTS_A_TRANSACTION = 20_000
WRITTEN_IN_S = 600.0
LIMIT = 10
RECALL = "/sapience.v1.MemoryService/Recall"


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the stream."""

    acknowledged_s: float
    indexed_s: float
    cpu_s: float
    extracted_s: float


@dataclass(frozen=True, slots=True)
class Timed:
    """Calls one after the other: milliseconds each took, and the processor time of the service for one."""

    ms: list[float]
    cpu_ms: float

    def figures(self, name: str) -> dict[str, float]:
        """Median, 95th percentile, and processor time."""
        return {
            f"{name}_p95_ms": float(np.percentile(self.ms, 95)),
            f"{name}_p50_ms": statistics.median(self.ms),
            f"{name}_cpu_ms": self.cpu_ms,
        }


def run(seed: int, n: int, neo4j: str) -> Report:
    """Fills a memory with `n` Episodes and another with ten times as many Facts, asks both, and asks the peers."""
    talk = made.Talk(seed, n)
    edges = made.Edges.made(seed, FACTS_A_TURN * n)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder, _service(Path(folder)) as service:
        _say("writing Episodes")
        written = loop.run(_write(service, talk))
        figures |= {
            "episodes_per_s": n / written.acknowledged_s,
            "indexed_per_s": n / written.indexed_s,
            "extracted_per_s": n / written.extracted_s,
            "write_cpu_ms": written.cpu_s * 1e3 / n,
        }
        _tell(figures)
        _say("recalling")
        recalled, found = loop.run(_recall(service, talk.queries(QUERIES + WARM_UP)))
        figures |= recalled.figures("recall") | {"found@10": found, "rss_mb": service.peak_mb()}
        _tell(figures)
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as folder:
        _keep_facts(Path(folder), edges)
        with _service(Path(folder)) as service:
            _say("asking for neighbours")
            asked = edges.asked(seed, QUERIES + WARM_UP)
            figures |= loop.run(_neighbours(service, asked)).figures("as_of")
            hub = [(made.entity(0), valid, told) for _, valid, told in asked]
            figures |= loop.run(_neighbours(service, hub)).figures("hub")
    return Report(
        "memory",
        seed,
        figures,
        peers.measured(seed, talk, edges, neo4j, _say),
        {"n": n, "facts": len(edges.subjects), "queries": QUERIES, "recipe": "default", "limit": LIMIT},
        versions("qdrant-edge-py", "qdrant-client", "neo4j", "grpcio"),
    )


async def _write(service: Service, talk: made.Talk) -> Written:
    """Sends all Episodes over one stream, made into messages beforehand; then waits for the index."""
    turns = iter(track(talk.turns(), "making messages", talk.n, console=show.err, transient=True))
    messages = list(_messages(turns, talk.vectors))
    async with service.channel() as channel:
        stub = memory_pb2_grpc.MemoryServiceStub(channel)
        await stub.CreateNamespace(pb.CreateNamespaceRequest(namespace=NAMESPACE), metadata=service.metadata)
        stream: Any = channel.stream_stream(
            "/sapience.v1.MemoryService/RememberStream",
            response_deserializer=pb.RememberStreamResponse.FromString,
        )
        cpu, began = service.cpu_s(), time.perf_counter()

        async def sent() -> AsyncIterator[bytes]:
            for message in messages:
                yield message

        acknowledged = 0
        async for response in stream(sent(), metadata=service.metadata):
            for outcome in response.outcomes:
                if not outcome.HasField("remembered"):
                    raise RuntimeError(f"an Episode was refused: {outcome.error.message}")
            acknowledged += len(response.outcomes)
        acknowledged_s = time.perf_counter() - began
        if acknowledged != talk.n:
            raise RuntimeError(f"{acknowledged} of {talk.n} Episodes were acknowledged")
        _say("waiting for the index")
        await _until(stub, service, lambda held: held.indexed == talk.n and not held.outbox_pending, "index")
        indexed_s, cpu_s = time.perf_counter() - began, service.cpu_s() - cpu
        _say("waiting for extraction")
        seq = (await stub.Stats(pb.StatsRequest(namespace=NAMESPACE), metadata=service.metadata)).seq
        await _until(stub, service, lambda held: held.extracted_seq >= seq, "extraction")
    return Written(acknowledged_s, indexed_s, cpu_s, time.perf_counter() - began)


async def _until(
    stub: Any, service: Service, done: Callable[[pb.StatsResponse], bool], what: str, within_s: float = WRITTEN_IN_S
) -> None:
    """Waits until Stats say that it is done. Raises TimeoutError."""
    give_up = time.perf_counter() + within_s
    while time.perf_counter() < give_up:
        if done(await stub.Stats(pb.StatsRequest(namespace=NAMESPACE), metadata=service.metadata)):
            return
        await asyncio.sleep(0.1)
    raise TimeoutError(f"{what} did not take all Episodes in {within_s:.0f} s")


def _messages(turns: Iterable[made.Turn], vectors: Float32) -> Iterator[bytes]:
    """Turns with their Concepts, as RememberStream takes them: a batch in each message."""
    for first, batch in enumerate(iter(lambda: list(islice(turns, EPISODES_A_MESSAGE)), [])):
        message = pb.RememberStreamRequest(namespace=NAMESPACE, client_seq=first * EPISODES_A_MESSAGE)
        for turn in batch:
            message.episodes.add(
                source=concept_pb2.Source(kind=concept_pb2.SOURCE_KIND_TESTIMONY, name="bench"),
                conversation=turn.conversation,
                position=turn.position,
                speaker=turn.speaker,
                text=turn.text,
                told_at=wire.timestamp(turn.told_at),
                external_id=str(turn.number),
                concepts=[concept_pb2.Concept(text=turn.text, end_byte=len(turn.text.encode()))],
                vectors=_tensor(vectors[turn.number]),
            )
        yield bytes(message.SerializeToString())


def _tensor(vector: Float32) -> concept_pb2.Tensor:
    return concept_pb2.Tensor(
        space=made.SPACE,
        space_version="1",
        dtype=concept_pb2.DTYPE_FLOAT32,
        shape=[1, made.DIMENSIONS],
        data=vector.astype("<f4").tobytes(),
    )


async def _recall(service: Service, queries: Sequence[made.Query]) -> tuple[Timed, float]:
    """The calls after the warm-up, and the share of them that found their turn."""
    async with service.channel() as channel:
        stub = memory_pb2_grpc.MemoryServiceStub(channel)
        found = []

        async def ask(query: made.Query) -> None:
            request = pb.RecallRequest(namespace=NAMESPACE, text=query.text, vector=_tensor(query.vector), limit=LIMIT)
            response = await stub.Recall(request, metadata=service.metadata)
            found.append(str(query.answer) in [hit.episode.external_id for hit in response.hits])

        timed = await _timed(service, [partial(ask, query) for query in queries])
    return timed, statistics.fmean(found)


async def _neighbours(service: Service, asked: Sequence[tuple[str, int, int]]) -> Timed:
    async with service.channel() as channel:
        stub = memory_pb2_grpc.MemoryServiceStub(channel)

        async def ask(name: str, valid_at: int, told_by: int) -> None:
            as_of = concept_pb2.AsOf(valid_at=wire.timestamp(valid_at), told_by=wire.timestamp(told_by))
            request = pb.NeighboursRequest(namespace=NAMESPACE, entity=name, hops=1, as_of=as_of)
            await stub.Neighbours(request, metadata=service.metadata)

        return await _timed(service, [partial(ask, *one) for one in asked])


async def _timed(service: Service, calls: Sequence[Callable[[], Awaitable[None]]]) -> Timed:
    """Makes the calls one after the other; the first few are not counted."""
    for call in calls[:WARM_UP]:
        await call()
    cpu, ms = service.cpu_s(), []
    for call in calls[WARM_UP:]:
        began = time.perf_counter()
        await call()
        ms.append((time.perf_counter() - began) * 1e3)
    return Timed(ms, (service.cpu_s() - cpu) * 1e3 / len(ms))


def _keep_facts(folder: Path, edges: made.Edges) -> None:
    """Puts the Facts into the record that the service will open."""
    from memory.record.sqlite import SqliteRecord

    clock = SystemClock()
    record = SqliteRecord(folder / "record.sqlite", clock, RandomIds(clock))
    try:
        record.create_namespace(NAMESPACE)
        count = len(edges.subjects)
        starts = range(0, count, FACTS_A_TRANSACTION)
        for first in track(starts, "keeping Facts", console=show.err, transient=True):
            record.assert_facts(NAMESPACE, edges.facts(first, min(count, first + FACTS_A_TRANSACTION)))
    finally:
        record.close()


class Service:
    """The memory service in a process of its own, as seen from here."""

    metadata = (("authorization", f"Bearer {TOKEN}"),)

    def __init__(self, address: str, pid: int) -> None:
        self._address = address
        self._pid = pid

    def channel(self) -> grpc.aio.Channel:
        """A channel to it."""
        return grpc.aio.insecure_channel(self._address)

    def cpu_s(self) -> float:
        """Processor time that the process has taken, of all its threads."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """The most memory it has held, in MB of 1,000,000 bytes."""
        lines = Path(f"/proc/{self._pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


@contextmanager
def _service(folder: Path) -> Iterator[Service]:
    """Starts it on a folder, and ends it."""
    context = multiprocessing.get_context("spawn")
    pipe, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, str(folder)), daemon=True)
    process.start()
    try:
        if not pipe.poll(60):
            raise TimeoutError("the service of the bench did not start in 60 s")
        yield Service(pipe.recv(), process.pid or 0)
    finally:
        process.terminate()
        process.join(60)
        process.kill()  # the folder goes next, and nobody may still write to it
        process.join()


def _serve(pipe: Connection, folder: str) -> None:
    loop.run(_serving(pipe, folder))


async def _serving(pipe: Connection, folder: str) -> None:
    """The memory service and nothing else, on the embedded stores."""
    from services.assembly import Links, build
    from services.runtime import telemetry
    from services.runtime.server import Server
    from services.runtime.settings import load

    telemetry.configure_logging("warning", "text")
    settings = load().model_copy(
        update={
            "listen": "127.0.0.1:0",
            "token": SecretStr(TOKEN),
            "data_dir": Path(folder),
            "record": "sqlite",
            "index": "edge",
        }
    )
    server = Server(settings)
    address = f"127.0.0.1:{server.bind()}"
    links = Links(settings, here=address)
    await server.start([build("memory", settings, links)])
    pipe.send(address)
    await server.run()
    await links.close()


def _tell(figures: Mapping[str, float]) -> None:
    """What is known so far: the whole takes minutes."""
    _say(", ".join(f"{name} {value:.3f}" for name, value in figures.items()))


def _say(what: str) -> None:
    show.err.print(f"{what} …", style="dim")
