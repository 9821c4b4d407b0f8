"""While a store or a service behind is down: callers are told UNAVAILABLE and the address, and nothing is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr
from qdrant_client import QdrantClient
from refusals import async_refusal, episode, says
from sapience.v1 import memory_pb2 as pb
from sapience.v1 import memory_pb2_grpc, reasoning_pb2, reasoning_pb2_grpc
from servers import CLOSED_PORT, MEMORY, Served, serving

from cognition.cycle import Cycle
from cognition.engine.null import NullLanguageModel
from core.clock import SystemClock
from core.errors import Unavailable
from core.ids import RandomIds
from core.ports import Index
from memory.index.edge import EdgeIndex
from memory.index.qdrant import QdrantIndex
from memory.record.sqlite import SqliteRecord
from services import memory, reasoning
from services.assembly import open_index, open_record
from services.memory.encoders import RemoteEncoder
from services.reasoning.links import RemoteMemory, RemotePerceiver
from services.reasoning.models import Models
from services.reasoning.thoughts import Thoughts
from services.reasoning.traces import Traces
from services.runtime.client import Link
from services.runtime.settings import Settings, load

NOWHERE = f"127.0.0.1:{CLOSED_PORT}"
DOWN: dict[str, dict[str, Any]] = {
    "qdrant": {"index": "qdrant", "qdrant_url": f"http://{NOWHERE}", "qdrant_grpc_port": CLOSED_PORT},
    "neo4j": {"record": "neo4j", "neo4j_url": f"bolt://{NOWHERE}", "neo4j_password": SecretStr("secret-word")},
}


@pytest.mark.parametrize(("store", "reason"), [("qdrant", "INDEX_UNAVAILABLE"), ("neo4j", "STORE_UNAVAILABLE")])
def test_a_store_that_is_down_is_named(store: str, reason: str, tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path, **DOWN[store])
    with pytest.raises(Unavailable) as caught:
        (open_index if store == "qdrant" else open_record)(settings)
    assert caught.value.reason == reason
    assert NOWHERE in caught.value.message
    assert "secret-word" not in caught.value.message


def test_a_service_whose_store_is_down_says_so_and_ends(environment: Any, tmp_path: Path) -> None:
    """A container's service; whoever started it starts it again."""
    settings = {
        "SAPIENCE_INDEX": "qdrant",
        "SAPIENCE_QDRANT_URL": f"http://{NOWHERE}",
        "SAPIENCE_QDRANT_GRPC_PORT": str(CLOSED_PORT),
        "SAPIENCE_LISTEN": "127.0.0.1:0",
        "SAPIENCE_PERCEPTION_ADDRESS": NOWHERE,
    }
    command = [sys.executable, "-c", "from services.cli.main import main; main()", "serve", "memory"]
    done = subprocess.run(command, env=environment(tmp_path, **settings), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert f"http://{NOWHERE} does not answer" in done.stderr
    assert "Traceback" not in done.stderr


@asynccontextmanager
async def memory_service(
    tmp_path: Path, encoder: Link, index: Index
) -> AsyncIterator[tuple[Served, memory_pb2_grpc.MemoryServiceStub]]:
    """The memory service on a SQLite record, with an index and an encoder of the test's choosing."""

    def make(settings: Settings, _: str) -> list[Any]:
        clock = SystemClock()
        record = SqliteRecord(settings.data_dir / "record.sqlite", clock, RandomIds(clock))
        return [memory.service(memory.Memory(record, index, RemoteEncoder(encoder), clock, index_wait_s=30.0))]

    async with serving(tmp_path, make) as served:
        yield served, memory_pb2_grpc.MemoryServiceStub(served.channel)
    await encoder.close()


async def test_with_the_index_down_writes_are_kept_and_searches_refused(daemon: Any, tmp_path: Path) -> None:
    """The index goes down after the service started: it is derived, so what is told is acknowledged all the same."""
    gone = QdrantIndex(
        QdrantClient(
            url=f"http://{NOWHERE}", grpc_port=CLOSED_PORT, prefer_grpc=True, timeout=2, check_compatibility=False
        )
    )
    encoder = Link(daemon.address, daemon.token, 1 << 20)
    async with memory_service(tmp_path, encoder, gone) as (served, stub):
        await stub.CreateNamespace(pb.CreateNamespaceRequest(namespace="a"), timeout=30)
        told = pb.RememberRequest(namespace="a", episodes=[episode("It rained all week.")])
        (kept,) = (await stub.Remember(told, timeout=30)).remembered
        down = StatusCode.UNAVAILABLE, "INDEX_UNAVAILABLE", "", f"http://{NOWHERE}"
        says(await async_refusal(stub.Recall(pb.RecallRequest(namespace="a", text="rain"), timeout=60)), *down)
        says(await async_refusal(stub.Stats(pb.StatsRequest(namespace="a"), timeout=60)), *down)
        health = health_pb2_grpc.HealthStub(served.channel)
        reply = await health.Check(health_pb2.HealthCheckRequest(service=MEMORY), timeout=30)
        assert reply.status == health_pb2.HealthCheckResponse.NOT_SERVING
        found = await stub.Timeline(pb.TimelineRequest(namespace="a"), timeout=30)
        assert [entry.episode.id for entry in found.entries] == [kept.episode_id], "the record answers alone"

    # The same folder with an index that is up: what waited is found.
    encoder = Link(daemon.address, daemon.token, 1 << 20)
    async with memory_service(tmp_path, encoder, EdgeIndex(tmp_path / "index")) as (_, stub):
        hits = (await stub.Recall(pb.RecallRequest(namespace="a", text="rain"), timeout=60)).hits
        assert [hit.episode.id for hit in hits] == [kept.episode_id]


async def test_with_perception_down_nothing_is_half_written(tmp_path: Path) -> None:
    async with memory_service(tmp_path, Link(NOWHERE, "", 1 << 20), EdgeIndex(tmp_path / "index")) as (_, stub):
        await stub.CreateNamespace(pb.CreateNamespaceRequest(namespace="a"), timeout=30)
        before = await stub.Stats(pb.StatsRequest(), timeout=30)
        told = pb.RememberRequest(namespace="a", request_id="r", episodes=[episode("It rained all week.")])
        refused = await async_refusal(stub.Remember(told, timeout=60))
        says(refused, StatusCode.UNAVAILABLE, "UNAVAILABLE", "", NOWHERE)
        assert await stub.Stats(pb.StatsRequest(), timeout=30) == before


@pytest.mark.parametrize("missing", ["perception", "memory"])
async def test_a_question_with_a_service_down_names_it(missing: str, daemon: Any, tmp_path: Path) -> None:
    links: list[Link] = []

    def link(name: str) -> Link:
        here = (NOWHERE, "") if name == missing else (daemon.address, daemon.token)
        links.append(Link(*here, 1 << 20))
        return links[-1]

    def make(settings: Settings, _: str) -> list[Any]:
        clock = SystemClock()
        cycle = Cycle(RemotePerceiver(link("perception")), RemoteMemory(link("memory")))
        models = Models("wheel:null", lambda _: NullLanguageModel())
        traces = Traces(None, 10)
        return [
            reasoning.service(reasoning.Reasoning(cycle, models, traces, Thoughts(None, 10), clock, RandomIds(clock)))
        ]

    async with serving(tmp_path, make) as served:
        stub = reasoning_pb2_grpc.ReasoningServiceStub(served.channel)
        call = stub.Reason(reasoning_pb2.ReasonRequest(namespace="a", text="Where?"), timeout=60)
        says(await async_refusal(anext(aiter(call))), StatusCode.UNAVAILABLE, "UNAVAILABLE", "", NOWHERE)
    for one in links:
        await one.close()
