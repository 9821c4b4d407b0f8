"""Encode and EncodeStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
from sapience.v1 import perception_pb2 as pb

from core.errors import InvalidArgument, NotFound
from perception.encoders.base import Encoded, Encoder, MultilingualEncoder
from perception.encoders.image import ImageEncoder
from perception.encoders.speech import SpeechEncoder
from perception.segment.detecting import code_of
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
        batcher = self.batchers[hosted.address]
        if isinstance(encoder, MultilingualEncoder):
            encoded, cached = await _by_language(batcher, encoder, texts, request.language)
        else:
            encoded, cached = await batcher.encode(texts)
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


async def _by_language(
    batcher: Batcher, encoder: MultilingualEncoder, texts: list[str], language: str
) -> tuple[Encoded, int]:
    """The vectors of texts in one language; where none is given, each in that which its words say."""
    if language:
        return await batcher.encode(texts, language)
    # On a thread: the first text loads a model, and each takes a while.
    codes = await asyncio.to_thread(lambda: [code_of(text, encoder.languages) for text in texts])
    places: dict[str, list[int]] = {}
    for place, code in enumerate(codes):
        places.setdefault(code, []).append(place)
    parts = [await batcher.encode([texts[place] for place in some], code) for code, some in places.items()]
    order = np.argsort(np.concatenate([*places.values()]))
    lengths = [part.lengths for part, _ in parts if part.lengths is not None]
    vectors = np.concatenate([part.vectors for part, _ in parts])[order]
    cut = [one for part, _ in parts for one in part.cut or [False] * len(part.vectors)]
    encoded = Encoded(
        vectors, sum(cut), np.concatenate(lengths)[order] if lengths else None, [cut[place] for place in order]
    )
    return encoded, sum(n for _, n in parts)
