"""Encode of media by an encoder of speech: what is said, as vectors, with no text between."""

from __future__ import annotations

import io

from sapience.v1 import perception_pb2 as pb

from core.errors import InvalidArgument
from perception.encoders.base import Encoder
from perception.encoders.speech import SpeechEncoder
from services import wire
from services.perception.hosting import Hosted

MAX_MEDIA = 64


async def encode_speech(request: pb.EncodeRequest, path: str, hosted: Hosted[Encoder]) -> pb.EncodeResponse:
    """Encodes a request's audio. Raises InvalidArgument for media that are none, and for an encoder that hears none."""
    if request.texts:
        raise InvalidArgument(
            f"{path}texts and {path}media are both given; encode them one after the other", field=f"{path}media"
        )
    if len(request.media) > MAX_MEDIA:
        raise InvalidArgument(
            f"{path}media holds {len(request.media)}; give 1 to {MAX_MEDIA}", field=f"{path}media", reason="BAD_BATCH"
        )
    encoder = await hosted.get()
    if not isinstance(encoder, SpeechEncoder):
        raise InvalidArgument(
            f"{path}model: {hosted.address} reads texts and hears no speech; name an encoder of speech, such as "
            "sonar:sonar_speech_encoder_LANGUAGE",
            field=f"{path}model",
            reason="NO_SPEECH",
        )
    try:
        encoded = await hosted.worker.run(encoder.encode_media, [io.BytesIO(one.data) for one in request.media])
    except InvalidArgument as error:
        raise InvalidArgument(error.message, field=f"{path}{error.field}", reason=error.reason) from error
    return pb.EncodeResponse(
        vectors=wire.tensor_to(encoded.vectors, encoder.space),
        lengths=() if encoded.lengths is None else encoded.lengths.tolist(),
    )
