"""Encode and EncodeStream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb

from core.errors import InvalidArgument, NotFound
from perception.encoders.base import Encoder, MultilingualEncoder
from perception.encoders.image import ImageEncoder
from perception.encoders.speech import SpeechEncoder
from perception.senses.media import HEAD_BYTES, IMAGES, sniffed
from services import wire
from services.perception.batching import Batcher
from services.perception.hosting import Hosted
from services.perception.media import encode_images, encode_speech

MAX_TEXTS = 4096
Context = grpc.aio.ServicerContext[Any, Any]


class EncodingCalls:
    """Texts and media into vectors."""

    _encoders: list[Hosted[Encoder]]
    batchers: dict[str, Batcher]
    """By the address of the encoder."""
    _image_encoder: Hosted[ImageEncoder] | None

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
        if request.media:
            if await self._is_for_eyes(request, hosted):
                return await encode_images(request, path, self._image_encoder)
            return await encode_speech(request, path, hosted)
        texts = list(request.texts)
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise InvalidArgument(
                f"{path}texts holds {len(texts)}; give 1 to {MAX_TEXTS}", field=f"{path}texts", reason="BAD_BATCH"
            )
        for number, text in enumerate(texts):
            wire.checked_text(text, f"{path}texts[{number}]", wire.MAX_TEXT_BYTES)
        encoder = await hosted.get()
        language = request.language if isinstance(encoder, MultilingualEncoder) else ""
        encoded, cached = await self.batchers[hosted.address].encode(texts, language)
        return pb.EncodeResponse(
            vectors=wire.tensor_to(encoded.vectors, encoder.space),
            truncated=encoded.truncated,
            cached=cached,
            lengths=() if encoded.lengths is None else encoded.lengths.tolist(),
        )

    async def _is_for_eyes(self, request: pb.EncodeRequest, hosted: Hosted[Encoder]) -> bool:
        """Whether media go to the encoder of images: the model says so, or without one what there is to choose."""
        if request.model:
            return hosted is self._image_encoder
        if isinstance(await hosted.get(), SpeechEncoder):
            return False
        return self._image_encoder is not None or sniffed(request.media[0].data[:HEAD_BYTES]) in IMAGES

    def _encoder_named(self, address: str, path: str) -> Hosted[Encoder]:
        for hosted in self._encoders:
            if address in ("", hosted.address):
                return hosted
        known = ", ".join(repr(one.address) for one in self._encoders)
        raise NotFound(
            f"no encoder {address!r} is loaded, but {known} (SAPIENCE_ENCODER, SAPIENCE_ENCODERS)",
            reason="MODEL_NOT_FOUND",
            field=f"{path}model",
        )
