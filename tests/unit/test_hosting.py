"""Models in a service: loaded once, and one that cannot be loaded is not tried by everyone who asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sapience.v1 import concept_pb2

from core.errors import FailedPrecondition
from core.nouns import Space
from services.perception import hosting
from services.perception.decoding import DecodingCalls
from services.perception.hosting import Hosted
from services.runtime.worker import Worker

ENCODER = concept_pb2.MODEL_KIND_ENCODER


class Loads:
    """Says how often it was loaded, and fails where it is told to."""

    def __init__(self, model: Any = None) -> None:
        self.count = 0
        self.model = model

    def __call__(self) -> Any:
        self.count += 1
        if self.model is None:
            raise FailedPrecondition("its files are broken", reason="MODEL_LOAD_FAILED")
        return self.model


class Model:
    def __init__(self, space: str) -> None:
        self.space = Space(space, "1", 4)


async def test_a_load_that_failed_is_told_for_a_while_and_then_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosting, "RETRY_S", 0.05)
    loads = Loads()
    hosted = Hosted(ENCODER, "file:/broken", loads, Worker("broken"), lazy=True)
    for _ in range(5):
        with pytest.raises(FailedPrecondition, match="files are broken"):
            await hosted.get()
    assert loads.count == 1
    loads.model = Model("mended")
    async with asyncio.timeout(10):
        while hosted.loaded is None:
            await asyncio.sleep(0.02)
            await asyncio.gather(hosted.get(), return_exceptions=True)
    assert loads.count == 2
    await hosted.close()


async def test_the_encoder_of_a_space_is_looked_for_where_it_is_likely() -> None:
    loads = {name: Loads(Model(name)) for name in ("large", "codec", "small")}
    loads["broken"] = Loads()
    hosted = [
        Hosted(ENCODER, name, loads[name], Worker(name), lazy=True) for name in ("broken", "large", "small", "codec")
    ]
    calls = DecodingCalls()
    calls._encoders = hosted
    found = await calls.encoder_of(Space("codec", "1", 4), likely="codec")
    assert found is hosted[3]
    assert await calls.encoder_of(Space("codec", "1", 4)) is hosted[3], "what is loaded is asked first"
    assert {name: one.count for name, one in loads.items()} == {"broken": 0, "large": 0, "small": 0, "codec": 1}
    assert await calls.encoder_of(Space("small", "1", 4)) is hosted[2]
    assert await calls.encoder_of(Space("none", "1", 4)) is None
    assert loads["broken"].count == 1
    for one in hosted:
        await one.close()
