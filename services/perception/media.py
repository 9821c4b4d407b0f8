"""Encode of media: images or speech as vectors, by encoders that read them, with no text between."""

from __future__ import annotations

import io

from sapience.v1 import perception_pb2 as pb

from core.errors import FailedPrecondition, InvalidArgument
from perception.encoders.base import Encoder
from perception.encoders.image import ImageEncoder
from perception.encoders.speech import SpeechEncoder
from perception.senses.media import HEAD_BYTES, IMAGES, media_type
from services import wire
from services.perception.hosting import Hosted

MAX_MEDIA = 64


async def encode_images(request: pb.EncodeRequest, path: str, hosted: Hosted[ImageEncoder] | None) -> pb.EncodeResponse:
    """Encodes a request's images, by the service's encoder of images, which is `hosted`.

    Raises FailedPrecondition (NO_IMAGE_ENCODER) without one, and InvalidArgument for media that are no images.
    """
    _check(request, path)
    if hosted is None:
        raise FailedPrecondition(
            "this service has no encoder of images; set SAPIENCE_IMAGE_ENCODER to the address of a CLIP or SigLIP",
            reason="NO_IMAGE_ENCODER",
        )
    for place, medium in enumerate(request.media):
        at = f"{path}media[{place}]"
        kind = media_type(medium.media_type, medium.data[:HEAD_BYTES], f"{at}.media_type", f"{at}.data")
        if kind not in IMAGES:
            raise InvalidArgument(
                f"{at} is {kind}; this encoder reads images only: Perceive turns audio into text",
                field=f"{at}.data",
                reason="MEDIA_TYPE_UNKNOWN",
            )
    return await _encoded(request, path, hosted, await hosted.get())


async def encode_speech(request: pb.EncodeRequest, path: str, hosted: Hosted[Encoder]) -> pb.EncodeResponse:
    """Encodes a request's audio. Raises InvalidArgument for media that are none, and for an encoder that hears none."""
    _check(request, path)
    encoder = await hosted.get()
    if not isinstance(encoder, SpeechEncoder):
        raise InvalidArgument(
            f"{path}model: {hosted.address} reads texts and hears no speech; name an encoder of speech, such as "
            "sonar:sonar_speech_encoder_LANGUAGE",
            field=f"{path}model",
            reason="NO_SPEECH",
        )
    return await _encoded(request, path, hosted, encoder)


def _check(request: pb.EncodeRequest, path: str) -> None:
    field = f"{path}media"
    if request.texts:
        raise InvalidArgument(
            f"{path}texts and {field} are both given; encode them one after the other", field=field, reason="BAD_BATCH"
        )
    if len(request.media) > MAX_MEDIA:
        raise InvalidArgument(
            f"{field} holds {len(request.media)}; give 1 to {MAX_MEDIA}", field=field, reason="BAD_BATCH"
        )


async def _encoded(
    request: pb.EncodeRequest,
    path: str,
    hosted: Hosted[ImageEncoder] | Hosted[Encoder],
    encoder: ImageEncoder | SpeechEncoder,
) -> pb.EncodeResponse:
    files = [io.BytesIO(medium.data) for medium in request.media]
    try:
        encoded = await hosted.worker.run(encoder.encode_media, files)
    except InvalidArgument as error:
        error.field = f"{path}{error.field}"
        raise
    return pb.EncodeResponse(
        vectors=wire.tensor_to(encoded.vectors, encoder.space),
        lengths=() if encoded.lengths is None else encoded.lengths.tolist(),
    )
