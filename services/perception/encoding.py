"""Encode and EncodeStream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb

from core.errors import InvalidArgument, NotFound
from perception.encoders.base import Encoder, MultilingualEncoder
from services import wire
from services.perception.hosting import Hosted

MAX_TEXTS = 4096
Context = grpc.aio.ServicerContext[Any, Any]


class EncodingCalls:
    """Texts into vectors."""

    _encoders: list[Hosted[Encoder]]

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:
        """Encodes one batch."""
        return await self._encode(request, "")

    async def EncodeStream(
        self, request_iterator: AsyncIterator[pb.EncodeStreamRequest], context: Context
    ) -> AsyncIterator[pb.EncodeStreamResponse]:
        """Encodes batch after batch; the stream's flow control is the bound of what waits."""
        async for request in request_iterator:
            batch = await self._encode(request.batch, "batch.")
            yield pb.EncodeStreamResponse(client_seq=request.client_seq, batch=batch)

    async def _encode(self, request: pb.EncodeRequest, path: str) -> pb.EncodeResponse:
        hosted = self._encoder_named(request.model, path)
        texts = list(request.texts)
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise InvalidArgument(
                f"{path}texts holds {len(texts)}; give 1 to {MAX_TEXTS}", field=f"{path}texts", reason="BAD_BATCH"
            )
        for number, text in enumerate(texts):
            wire.checked_text(text, f"{path}texts[{number}]", wire.MAX_TEXT_BYTES)
        encoder = await hosted.get()
        if isinstance(encoder, MultilingualEncoder):
            encoded = await hosted.worker.run(encoder.encode, texts, language=request.language)
        else:
            encoded = await hosted.worker.run(encoder.encode, texts)
        return pb.EncodeResponse(
            vectors=wire.tensor_to(encoded.vectors, encoder.space),
            truncated=encoded.truncated,
            lengths=() if encoded.lengths is None else encoded.lengths.tolist(),
        )

    def _encoder_named(self, address: str, path: str) -> Hosted[Encoder]:
        for hosted in self._encoders:
            if address in ("", hosted.address):
                return hosted
        known = ", ".join(repr(one.address) for one in self._encoders)
        raise NotFound(
            f"no encoder {address!r} is loaded, but {known} (SAPIENCE_ENCODER)",
            reason="MODEL_NOT_FOUND",
            field=f"{path}model",
        )
