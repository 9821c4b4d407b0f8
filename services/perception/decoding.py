"""Decode: words for vectors, and how far they can be believed."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import grpc
import numpy as np
import structlog
from sapience.v1 import perception_pb2 as pb

from core.errors import FailedPrecondition, InvalidArgument, NotFound, SapienceError
from core.nouns import Float32, Space
from perception.decoders.base import Decoder
from perception.encoders.base import Encoder, MultilingualEncoder
from perception.encoders.speech import SpeechEncoder
from services import wire
from services.perception.hosting import Hosted

log = structlog.get_logger()

MAX_VECTORS = 1024
M = TypeVar("M")
Context = grpc.aio.ServicerContext[Any, Any]


class DecodingCalls:
    """Vectors into texts."""

    _encoders: list[Hosted[Encoder]]
    _decoders: list[Hosted[Decoder]]

    async def Decode(self, request: pb.DecodeRequest, context: Context) -> pb.DecodeResponse:
        """Decodes one batch; where the space's encoder is here, it reads the texts again."""
        if not self._decoders:
            raise FailedPrecondition(
                "this service has no decoder; set SAPIENCE_DECODERS to the address of one", reason="NO_DECODER"
            )
        rows = request.vectors.shape[0] if request.vectors.shape else 0
        if not 1 <= rows <= MAX_VECTORS:
            raise InvalidArgument(
                f"vectors holds {rows}; give 1 to {MAX_VECTORS}", field="vectors.shape", reason="BAD_BATCH"
            )
        vectors, space = wire.tensor_from(request.vectors, rows, "vectors")
        hosted = await self.decoder_of(space, request.model)
        decoder = await hosted.get()
        encoder = await self.encoder_of(space)
        lengths = _lengths(request, rows, decoder, encoder.loaded if encoder else None)
        work = partial(decoder.decode, language=request.language)
        texts = list(await hosted.worker.run(work, vectors * lengths[:, None]))
        response = pb.DecodeResponse(texts=texts, model=hosted.address)
        if encoder is not None:
            response.round_trip.extend(await round_trip(encoder, vectors, texts, request.language))
        return response

    async def decoder_of(self, space: Space, address: str = "", *, likely: str = "") -> Hosted[Decoder]:
        """The decoder of a space, loaded: the named one, or the first that reads it, of `likely` address if that does.

        Raises NotFound (MODEL_NOT_FOUND) for an address that none has, FailedPrecondition (SPACE_MISMATCH) where none
        reads that space, and why a decoder could not be loaded.
        """
        named = [hosted for hosted in self._decoders if address in ("", hosted.address)]
        if not named:
            known = ", ".join(repr(one.address) for one in self._decoders) or "none"
            raise NotFound(
                f"no decoder {address!r} is here, but {known} (SAPIENCE_DECODERS)",
                reason="MODEL_NOT_FOUND",
                field="model",
            )
        failure: SapienceError | None = None
        read: list[Space] = []
        for hosted in _likeliest(named, likely):
            try:
                decoder = await hosted.get()
            except SapienceError as error:  # another one may read this space
                failure = failure or error
                continue
            if decoder.space == space:
                return hosted
            read.append(decoder.space)
        if failure is not None:
            raise failure
        spaces = ", ".join(str(one) for one in read)
        raise FailedPrecondition(
            f"vectors is in space {space}, but the decoders here read {spaces}; encode with the encoder of that space",
            reason="SPACE_MISMATCH",
            field="vectors",
        )

    async def encoder_of(self, space: Space, *, likely: str = "") -> Hosted[Encoder] | None:
        """The encoder of a space, loaded, if there is one. One that cannot be loaded is none: Encode says why."""
        for hosted in _likeliest(self._encoders, likely):
            try:
                encoder = await hosted.get()
            except SapienceError as error:
                log.warning("no round trip by this encoder", model=hosted.address, error=error.message)
                continue
            if encoder.space == space and not isinstance(encoder, SpeechEncoder):
                return hosted
        return None


def _likeliest(hosted: list[Hosted[M]], address: str) -> list[Hosted[M]]:
    """Those that are loaded first, then that of an address: to ask another for its space is to load it."""
    return sorted(hosted, key=lambda one: (one.loaded is None, one.address != address))


async def round_trip(hosted: Hosted[Encoder], vectors: Float32, texts: list[str], language: str) -> list[float]:
    """The cosine of each vector, of length 1, to that of its text; 0 for a text that says nothing."""
    said = [place for place, text in enumerate(texts) if text.strip()]
    found = np.zeros(len(texts))
    if said:
        encoder = await hosted.get()
        words = [texts[place] for place in said]
        if isinstance(encoder, MultilingualEncoder):
            encoded = await hosted.worker.run(encoder.encode, words, language=language)
        else:
            encoded = await hosted.worker.run(encoder.encode, words)
        found[said] = np.einsum("ij,ij->i", encoded.vectors, vectors[said], dtype=np.float64)
    return [float(value) for value in found]


def _lengths(request: pb.DecodeRequest, rows: int, decoder: Decoder, encoder: Encoder | None) -> Float32:
    if request.lengths:
        given = np.array(request.lengths, np.float32)
        if len(given) != rows or not (np.isfinite(given) & (given > 0)).all():
            raise InvalidArgument(
                f"lengths holds {len(given)} numbers for {rows} vectors; give one above 0 for each, as Encode did, or "
                "none",
                field="lengths",
            )
        return given
    usual = decoder.mean_length
    if isinstance(encoder, MultilingualEncoder):
        usual = usual or encoder.mean_length
    if not usual:
        raise InvalidArgument(
            "lengths is empty, and the usual length of this decoder's vectors is not known; give the lengths that "
            "Encode said, or serve the encoder of that space beside it",
            field="lengths",
            reason="LENGTHS_NEEDED",
        )
    return np.full(rows, usual, np.float32)
