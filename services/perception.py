"""The perception service: text becomes Concepts and vectors, and texts are judged beside a question.

Each model is loaded on its own thread when the service starts; calls that come before wait for it, and health says
NOT_SERVING until it answers. A load that failed is told to every caller, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, TypeVar

import grpc
import numpy as np
import structlog
from sapience.v1 import concept_pb2, perception_pb2, perception_pb2_grpc

from core.errors import FailedPrecondition, InvalidArgument, NotFound, NotYet
from core.nouns import Space
from perception.encoders.base import Encoded, Encoder
from perception.rerankers.base import Reranker
from perception.segment import segment
from services import wire
from services.runtime.server import Service
from services.runtime.worker import Worker

log = structlog.get_logger()

MAX_TEXTS = 4096
MAX_RERANKED = 1024
NAME = "sapience.v1.PerceptionService"

_M = TypeVar("_M")
Context = grpc.aio.ServicerContext[Any, Any]


class NullEncoder(Encoder):
    """Gives every text the same vector at once: for measuring the runtime around it, never for use."""

    space = Space("null", "1", 8)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """One row for each text."""
        return Encoded(np.full((len(texts), 8), 8**-0.5, dtype=np.float32), 0)


class _Loading(Generic[_M]):
    """A model on a thread of its own, loaded when the service starts."""

    def __init__(self, address: str, load: Callable[[], _M], worker: Worker) -> None:
        self.address = address
        self.worker = worker
        self._model = asyncio.ensure_future(worker.run(load))
        self._model.add_done_callback(self._loaded)

    @property
    def loaded(self) -> _M | None:
        """The model, once it is there."""
        done = self._model.done() and not self._model.cancelled() and self._model.exception() is None
        return self._model.result() if done else None

    async def get(self) -> _M:
        """Waits for the model. Raises why it could not be loaded."""
        # shield: one caller's cancel must not cancel the load for all.
        return self._model.result() if self._model.done() else await asyncio.shield(self._model)

    async def close(self) -> None:
        """Ends the thread."""
        self._model.cancel()
        await asyncio.gather(self._model, return_exceptions=True)
        await self.worker.close()

    def _loaded(self, done: asyncio.Future[_M]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("a model of perception cannot be loaded", model=self.address, error=str(error))


class Perception(perception_pb2_grpc.PerceptionServiceServicer):
    """Serves one encoder, and one reranker where there is one."""

    def __init__(
        self,
        address: str,
        load: Callable[[], Encoder],
        worker: Worker,
        reranker: tuple[str, Callable[[], Reranker], Worker] | None = None,
    ) -> None:
        self._encoder = _Loading(address, load, worker)
        self._reranker = _Loading(*reranker) if reranker else None

    async def ready(self) -> bool:
        """Whether the models are loaded."""
        return self._encoder.loaded is not None and (self._reranker is None or self._reranker.loaded is not None)

    async def close(self) -> None:
        """Ends the models' threads."""
        await self._encoder.close()
        if self._reranker is not None:
            await self._reranker.close()

    async def Segment(self, request: perception_pb2.SegmentRequest, context: Context) -> perception_pb2.SegmentResponse:
        """Splits on a thread of its own: 1 MiB takes longer than other calls may wait."""
        wire.checked_text(request.text, "text", wire.MAX_TEXT_BYTES)
        spans = await asyncio.to_thread(segment, request.text)
        return perception_pb2.SegmentResponse(
            concepts=[wire.span_to(span, ordinal) for ordinal, span in enumerate(spans)]
        )

    async def Encode(self, request: perception_pb2.EncodeRequest, context: Context) -> perception_pb2.EncodeResponse:
        """Encodes one batch."""
        return await self._encode(request, "")

    async def EncodeStream(
        self, request_iterator: AsyncIterator[perception_pb2.EncodeStreamRequest], context: Context
    ) -> AsyncIterator[perception_pb2.EncodeStreamResponse]:
        """Encodes batch after batch; the stream's flow control is the bound of what waits."""
        async for request in request_iterator:
            batch = await self._encode(request.batch, "batch.")
            yield perception_pb2.EncodeStreamResponse(client_seq=request.client_seq, batch=batch)

    async def Decode(self, request: perception_pb2.DecodeRequest, context: Context) -> perception_pb2.DecodeResponse:
        """No decoder can be loaded in this version."""
        raise NotYet("no model with a decoder is loaded; this version has none", reason="NO_DECODER")

    async def Rerank(self, request: perception_pb2.RerankRequest, context: Context) -> perception_pb2.RerankResponse:
        """Scores one batch."""
        if self._reranker is None:
            raise FailedPrecondition(
                "this service has no reranker; set SAPIENCE_RERANKER to the address of a cross-encoder, or use a "
                "recipe that does not rerank",
                reason="NO_RERANKER",
            )
        wire.checked_text(request.question, "question", wire.MAX_QUERY_BYTES)
        texts = list(request.texts)
        if not 1 <= len(texts) <= MAX_RERANKED:
            raise InvalidArgument(
                f"texts holds {len(texts)}; give 1 to {MAX_RERANKED}", field="texts", reason="BAD_BATCH"
            )
        for number, text in enumerate(texts):
            wire.checked_text(text, f"texts[{number}]", wire.MAX_EPISODE_BYTES)
        reranker = await self._reranker.get()
        found = await self._reranker.worker.run(reranker.score, request.question, texts)
        return perception_pb2.RerankResponse(
            scores=[perception_pb2.TextScore(score=score) for score in found.scores.tolist()],
            truncated=found.truncated,
            model=self._reranker.address,
        )

    async def ListModels(
        self, request: perception_pb2.PerceptionServiceListModelsRequest, context: Context
    ) -> perception_pb2.PerceptionServiceListModelsResponse:
        """The encoder and the reranker, loaded or not."""
        model = concept_pb2.Model(address=self._encoder.address, kind=concept_pb2.MODEL_KIND_ENCODER)
        if (encoder := self._encoder.loaded) is not None:
            model.loaded = True
            model.space, model.space_version = encoder.space.name, encoder.space.version
            model.dimensions = encoder.space.dimensions
            _describe(model, encoder)
        models = [model]
        if self._reranker is not None:
            models.append(concept_pb2.Model(address=self._reranker.address, kind=concept_pb2.MODEL_KIND_RERANKER))
            if (reranker := self._reranker.loaded) is not None:
                models[-1].loaded = True
                _describe(models[-1], reranker)
        return perception_pb2.PerceptionServiceListModelsResponse(models=models)

    async def _encode(self, request: perception_pb2.EncodeRequest, path: str) -> perception_pb2.EncodeResponse:
        if request.model and request.model != self._encoder.address:
            raise NotFound(
                f"no encoder {request.model!r} is loaded, but {self._encoder.address!r} (SAPIENCE_ENCODER)",
                reason="MODEL_NOT_FOUND",
                field=f"{path}model",
            )
        texts = list(request.texts)
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise InvalidArgument(
                f"{path}texts holds {len(texts)}; give 1 to {MAX_TEXTS}", field=f"{path}texts", reason="BAD_BATCH"
            )
        for number, text in enumerate(texts):
            wire.checked_text(text, f"{path}texts[{number}]", wire.MAX_TEXT_BYTES)
        encoder = await self._encoder.get()
        encoded = await self._encoder.worker.run(encoder.encode, texts)
        return perception_pb2.EncodeResponse(
            vectors=wire.tensor_to(encoded.vectors, encoder.space), truncated=encoded.truncated
        )


def _describe(message: concept_pb2.Model, model: object) -> None:
    """What a model may say of itself."""
    message.device = str(getattr(model, "device", ""))
    message.parameters = int(getattr(model, "parameters", 0))


def service(servicer: Perception) -> Service:
    """The service as a server takes it."""
    return Service(
        NAME,
        lambda server: perception_pb2_grpc.add_PerceptionServiceServicer_to_server(servicer, server),
        servicer.ready,
        servicer.close,
    )
