"""The language models of the reasoning service: loaded by address, each on a thread of its own.

The small ones that come with Sapience (`models:NAME`) are loaded when they are first asked for; others when a setting
or LoadModel says so, since they may take gigabytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from sapience.v1 import concept_pb2

from cognition.engine.base import LanguageModel
from core.errors import FailedPrecondition, NotFound, ResourceExhausted
from core.models import ModelAddress, shipped
from services.reasoning.requests import MODES_ON_THE_WIRE

log = structlog.get_logger()

MAX_MODELS = 4
"""Those that come with Sapience not counted."""


class Models:
    """Loaded models by address. The default one is loaded when the service starts; calls before that wait for it."""

    def __init__(self, default: str, load: Callable[[ModelAddress], LanguageModel], others: Sequence[str] = ()) -> None:
        """`load` blocks, and is called on a thread. `others` are loaded at the start too; nothing waits for them."""
        self.default = ModelAddress.parse(default, field="SAPIENCE_LANGUAGE_MODEL")
        self._load = load
        self._shipped = shipped("language")
        self._loaded: dict[ModelAddress, asyncio.Future[LanguageModel]] = {}
        for address in dict.fromkeys(
            [self.default, *(ModelAddress.parse(other, field="SAPIENCE_MODELS") for other in others)]
        ):
            self._begin(address)

    @property
    def ready(self) -> bool:
        """Whether the default model answers."""
        future = self._loaded.get(self.default)
        return future is not None and future.done() and not future.cancelled() and future.exception() is None

    async def get(self, address: str) -> LanguageModel:
        """A loaded model; empty means the default. Raises NotFound (MODEL_NOT_LOADED, or what `locate` raises)."""
        wanted = ModelAddress.parse(address) if address else self.default
        if wanted.scheme == "models" and wanted not in self._loaded:
            self._begin(wanted)
        future = self._loaded.get(wanted)
        if future is None:
            raise NotFound(
                f"model {address!r} is not loaded; call LoadModel first, or leave model empty for {self.default}",
                reason="MODEL_NOT_LOADED",
                field="model",
            )
        return future.result() if future.done() else await asyncio.shield(future)

    async def load(self, address: str) -> concept_pb2.Model:
        """Loads a model, or waits for one that is being loaded. A failed load may be tried again."""
        wanted = ModelAddress.parse(address)
        if wanted not in self._loaded:
            if wanted.scheme != "models" and sum(one.scheme != "models" for one in self._loaded) >= MAX_MODELS:
                raise ResourceExhausted(
                    f"{MAX_MODELS} models are loaded; unload one first", reason="TOO_MANY_MODELS", field="model"
                )
            self._begin(wanted)
        await asyncio.shield(self._loaded[wanted])
        return self._describe(wanted)

    async def unload(self, address: str) -> None:
        """Frees a model. The default one stays."""
        wanted = ModelAddress.parse(address)
        if wanted == self.default:
            raise FailedPrecondition(
                f"{wanted} is this service's default model; set SAPIENCE_LANGUAGE_MODEL to have another",
                reason="DEFAULT_MODEL",
                field="model",
            )
        future = self._loaded.pop(wanted, None)
        if future is None:
            raise NotFound(f"model {address!r} is not loaded", reason="MODEL_NOT_LOADED", field="model")
        await _closed(future)

    def list(self) -> list[concept_pb2.Model]:
        """Every model, the default first; then those that come with Sapience and were not asked for yet."""
        return [self._describe(address) for address in dict.fromkeys([*self._loaded, *self._shipped])]

    async def close(self) -> None:
        """Frees all."""
        for future in [*self._loaded.values()]:  # a load that fails meanwhile takes itself out
            await _closed(future)

    def _begin(self, address: ModelAddress) -> None:
        future = asyncio.ensure_future(asyncio.to_thread(self._load, address))
        self._loaded[address] = future

        def ended(done: asyncio.Future[LanguageModel]) -> None:
            if done.cancelled() or (error := done.exception()) is None:
                return
            log.error("a language model cannot be loaded", model=str(address), error=str(error))
            if address != self.default and self._loaded.get(address) is done:
                del self._loaded[address]

        future.add_done_callback(ended)

    def _describe(self, address: ModelAddress) -> concept_pb2.Model:
        model = concept_pb2.Model(address=str(address), kind=concept_pb2.MODEL_KIND_LANGUAGE_MODEL)
        future = self._loaded.get(address)
        if future is not None and future.done() and not future.cancelled() and future.exception() is None:
            loaded = future.result()
            model.loaded = True
            model.device = loaded.device
            model.parameters = loaded.parameters
            model.precision = loaded.precision
            model.memory_bytes = loaded.memory_bytes
            model.context_tokens = loaded.context_tokens
            can = loaded.capabilities
            model.modes.extend(sorted(MODES_ON_THE_WIRE[mode] for mode in can.modes))
            model.default_mode = MODES_ON_THE_WIRE[can.default.mode]
            model.default_latent_steps = can.default.steps
        return model


async def _closed(future: asyncio.Future[LanguageModel]) -> None:
    try:
        model = await future
    except Exception:
        return  # it was never loaded, which was logged when it failed, whatever the cause
    await asyncio.to_thread(model.close)
