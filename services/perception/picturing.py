"""Encode of media: images into vectors of the space that an encoder of images and texts has."""

from __future__ import annotations

import io
from typing import Any

from sapience.v1 import perception_pb2 as pb

from core.errors import FailedPrecondition, InvalidArgument, NotFound
from perception.encoders.image import ImageEncoder
from perception.senses.media import HEAD_BYTES, IMAGES, media_type
from services import wire
from services.perception.hosting import Hosted

MAX_MEDIA = 64


async def encode_media(request: pb.EncodeRequest, path: str, hosted: Hosted[ImageEncoder] | None) -> pb.EncodeResponse:
    """Encodes a request's media, by the service's encoder of images, which is `hosted`.

    Raises FailedPrecondition (NO_IMAGE_ENCODER) without one, NotFound for another model, and InvalidArgument for media
    that are no images.
    """
    if request.texts:
        raise InvalidArgument(
            f"{path}texts and {path}media are both given; encode them one after the other",
            field=f"{path}media",
            reason="BAD_BATCH",
        )
    if hosted is None:
        raise FailedPrecondition(
            "this service has no encoder of images; set SAPIENCE_IMAGE_ENCODER to the address of a CLIP or SigLIP",
            reason="NO_IMAGE_ENCODER",
        )
    if request.model not in ("", hosted.address):
        raise NotFound(
            f"no encoder of images {request.model!r} is loaded, but {hosted.address!r} (SAPIENCE_IMAGE_ENCODER)",
            reason="MODEL_NOT_FOUND",
            field=f"{path}model",
        )
    if len(request.media) > MAX_MEDIA:
        raise InvalidArgument(
            f"{path}media holds {len(request.media)}; give 1 to {MAX_MEDIA}", field=f"{path}media", reason="BAD_BATCH"
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
    files = [io.BytesIO(medium.data) for medium in request.media]
    encoder: Any = await hosted.get()
    try:
        encoded = await hosted.worker.run(encoder.encode_media, files)
    except InvalidArgument as error:
        error.field = f"{path}{error.field}"
        raise
    return pb.EncodeResponse(vectors=wire.tensor_to(encoded.vectors, encoder.space))
