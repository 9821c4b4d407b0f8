"""The perception service: text becomes Concepts and vectors.

The encoder is loaded on its own thread when the service starts; calls that come before wait for it, and health says
NOT_SERVING until it answers. A load that failed is told to every caller, with the reason.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import numpy as np
import structlog
from sapience.v1 import concept_pb2, perception_pb2, perception_pb2_grpc

from core.errors import InvalidArgument, NotFound, NotYet
from core.nouns import Space
from perception.encoders.base import Encoded, Encoder
from perception.segment import segment
from services import wire
from services.runtime.server import Service
from services.runtime.worker import Worker

log = structlog.get_logger()

MAX_TEXTS = 4096
NAME = "sapience.v1.PerceptionService"

Context = grpc.aio.ServicerContext[Any, Any]


class NullEncoder(Encoder):
    """Gives every text the same vector at once: for measuring the runtime around it, never for use."""

    space = Space("null", "1", 8)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """One row for each text."""
        return Encoded(np.full((len(texts), 8), 8**-0.5, dtype=np.float32), 0)


class Perception(perception_pb2_grpc.PerceptionServiceServicer):
    """Serves one encoder."""

    def __init__(self, address: str, load: Callable[[], Encoder], worker: Worker) -> None:
        self._address = address
        self._worker = worker
        self._encoder = asyncio.ensure_future(worker.run(load))
        self._encoder.add_done_callback(self._loaded)

    async def ready(self) -> bool:
        """Whether the encoder is loaded."""
        return self._encoder.done() and not self._encoder.cancelled() and self._encoder.exception() is None

    async def close(self) -> None:
        """Ends the encoder's thread."""
        self._encoder.cancel()
        await asyncio.gather(self._encoder, return_exceptions=True)
        await self._worker.close()

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

    async def ListModels(
        self, request: perception_pb2.PerceptionServiceListModelsRequest, context: Context
    ) -> perception_pb2.PerceptionServiceListModelsResponse:
        """The one encoder, loaded or not."""
        model = concept_pb2.Model(address=self._address, kind=concept_pb2.MODEL_KIND_ENCODER)
        if await self.ready():
            encoder = self._encoder.result()
            model.loaded = True
            model.space, model.space_version = encoder.space.name, encoder.space.version
            model.dimensions = encoder.space.dimensions
            model.device = str(getattr(encoder, "device", ""))
            model.parameters = int(getattr(encoder, "parameters", 0))
        return perception_pb2.PerceptionServiceListModelsResponse(models=[model])

    def _loaded(self, done: asyncio.Future[Encoder]) -> None:
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("the encoder cannot be loaded", model=self._address, error=str(error))

    async def _encode(self, request: perception_pb2.EncodeRequest, path: str) -> perception_pb2.EncodeResponse:
        if request.model and request.model != self._address:
            raise NotFound(
                f"no encoder {request.model!r} is loaded; this service has {self._address!r} (SAPIENCE_ENCODER)",
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
        # shield: one caller's cancel must not cancel the load for all.
        encoder = self._encoder.result() if self._encoder.done() else await asyncio.shield(self._encoder)
        encoded = await self._worker.run(encoder.encode, texts)
        return perception_pb2.EncodeResponse(
            vectors=wire.tensor_to(encoded.vectors, encoder.space), truncated=encoded.truncated
        )


def service(servicer: Perception) -> Service:
    """The service as a server takes it."""
    return Service(
        NAME,
        lambda server: perception_pb2_grpc.add_PerceptionServiceServicer_to_server(servicer, server),
        servicer.ready,
        servicer.close,
    )
