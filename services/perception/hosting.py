"""Models in a service: each loaded once, on a thread of its own, where it computes.

Those that every call needs are loaded when the service starts, the others when they are first asked for. Calls that
come before wait. A load that failed is told to every caller, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import structlog
from sapience.v1 import concept_pb2

from services.runtime.worker import Worker

log = structlog.get_logger()

RETRY_S = 5.0
"""So long a load that failed is told to those who come, before another try."""
M = TypeVar("M")
P = ParamSpec("P")
T = TypeVar("T")


class Hosted(Generic[M]):
    """A model and its thread. Has to be made on the running event loop."""

    def __init__(
        self,
        kind: concept_pb2.ModelKind.ValueType,
        address: str,
        load: Callable[[], M],
        worker: Worker,
        *,
        lazy: bool = False,
    ) -> None:
        """`load` is called on the worker's thread: now, or when `lazy` at the first `get`."""
        self.kind = kind
        self.address = address
        self.worker = worker
        self._load = load
        self._model: asyncio.Future[M] | None = None
        self._retry: asyncio.TimerHandle | None = None
        self.lazy = lazy
        if not lazy:
            self._begin()

    @property
    def loaded(self) -> M | None:
        """The model, once it is there."""
        model = self._model
        if model is None or not model.done() or model.cancelled() or model.exception() is not None:
            return None
        return model.result()

    @property
    def ready(self) -> bool:
        """Whether a service can say that it serves: a model that is loaded on demand keeps nobody waiting for it."""
        return self.lazy or self.loaded is not None

    async def get(self) -> M:
        """Waits for the model. Raises why it could not be loaded."""
        model = self._begin()
        # shield: one caller's cancel must not cancel the load for all.
        return model.result() if model.done() else await asyncio.shield(model)

    async def run(self, work: Callable[[M], T]) -> T:
        """Computes with the model, on its thread."""
        model = await self.get()
        return await self.worker.run(work, model)

    async def close(self) -> None:
        """Ends the thread."""
        if self._retry is not None:
            self._retry.cancel()
        if self._model is not None:
            self._model.cancel()
            await asyncio.gather(self._model, return_exceptions=True)
        await self.worker.close()

    def describe(self) -> concept_pb2.Model:
        """The model as a message, loaded or not."""
        message = concept_pb2.Model(address=self.address, kind=self.kind)
        model: Any = self.loaded
        if model is None:
            return message
        message.loaded = True
        if (space := getattr(model, "space", None)) is not None:
            message.space, message.space_version, message.dimensions = space.name, space.version, space.dimensions
        message.device = str(getattr(model, "device", ""))
        message.parameters = int(getattr(model, "parameters", 0))
        message.licence = str(getattr(model, "licence", ""))
        return message

    def _begin(self) -> asyncio.Future[M]:
        if self._model is None:
            self._model = asyncio.ensure_future(self.worker.run(self._load))
            self._model.add_done_callback(self._loaded)
        return self._model

    def _loaded(self, done: asyncio.Future[M]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("a model of perception cannot be loaded", model=self.address, error=str(error))
            if self.lazy:
                self._retry = done.get_loop().call_later(RETRY_S, self._forget)

    def _forget(self) -> None:
        self._model = None
