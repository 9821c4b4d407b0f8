"""Which language models a service has: the default, those of a setting, those that ship, those that are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from cognition.engine.null import NullLanguageModel
from core.errors import InvalidArgument, NotFound, ResourceExhausted
from core.models import ModelAddress
from services.reasoning import models as module
from services.reasoning.models import MAX_MODELS, Models

SHIPPED = [ModelAddress("models", "a"), ModelAddress("models", "b")]


class Loader:
    """Loads models that compute nothing, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, address: ModelAddress) -> NullLanguageModel:
        self.asked.append(str(address))
        if address.name == "/broken":
            raise NotFound("nothing is there", reason="MODEL_NOT_FOUND")
        return NullLanguageModel()


@pytest.fixture
def loader(monkeypatch: pytest.MonkeyPatch) -> Loader:
    monkeypatch.setattr(module, "shipped", lambda _: SHIPPED)
    return Loader()


@pytest.fixture
async def models(loader: Loader) -> AsyncIterator[Models]:
    made = Models("wheel:default", loader, ["file:/other", "wheel:default", "file:/broken"])
    yield made
    await made.close()


def listed(models: Models) -> dict[str, bool]:
    return {one.address: one.loaded for one in models.list()}


async def test_the_default_and_those_of_the_setting_are_loaded_at_the_start(models: Models, loader: Loader) -> None:
    await models.get("")
    await models.get("file:/other")
    with pytest.raises(NotFound):  # whoever loads it is told why
        await models.get("file:/broken")
    assert models.ready
    assert sorted(loader.asked) == ["file:/broken", "file:/other", "wheel:default"]
    assert list(listed(models)) == ["wheel:default", "file:/other", "models:a", "models:b"]


async def test_what_ships_is_listed_and_loaded_once_when_it_is_first_asked_for(models: Models, loader: Loader) -> None:
    assert listed(models)["models:a"] is False
    first, second = await asyncio.gather(models.get("models:a"), models.get("models:a"))
    assert first is second
    assert loader.asked.count("models:a") == 1
    assert listed(models)["models:a"] is True
    await models.unload("models:a")
    assert listed(models)["models:a"] is False


async def test_what_may_take_gigabytes_is_loaded_only_when_somebody_says_so(models: Models, loader: Loader) -> None:
    with pytest.raises(NotFound, match="LoadModel") as caught:
        await models.get("hf:owner/large")
    assert caught.value.reason == "MODEL_NOT_LOADED"
    assert "hf:owner/large" not in loader.asked


async def test_those_that_ship_do_not_count_among_the_most(models: Models) -> None:
    await models.load("models:a")
    for number in range(MAX_MODELS - 2):
        await models.load(f"file:/{number}")
    with pytest.raises(ResourceExhausted, match="unload one") as caught:
        await models.load("file:/one-more")
    assert caught.value.reason == "TOO_MANY_MODELS"
    assert (await models.load("models:b")).loaded


async def test_an_address_in_the_setting_that_is_none_is_named(loader: Loader) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Models("wheel:default", loader, ["gpt"])
    assert caught.value.field == "SAPIENCE_MODELS"
