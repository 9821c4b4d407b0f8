"""The call of the perception service that hears and reads files."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike

from sapience import wire
from sapience.errors import InvalidArgument
from sapience.senses import Modality, Perceived, PerceivedConcept
from sapience.v1 import perception_pb2 as pb

File = bytes | bytearray | memoryview | str | PathLike[str]
"""A file's bytes, or its path."""

PIECE_BYTES = 1 << 20
SECONDS = 600.0
"""An hour of speech takes some minutes to hear."""


def header(media_type: str, language: str) -> pb.PerceiveRequest:
    """The first message."""
    told = wire.message(pb.PerceiveHeader, media_type=media_type, language=language)
    return pb.PerceiveRequest(header=told)


def pieces(file: File) -> Iterator[pb.PerceiveRequest]:
    """The bytes of a file. Raises InvalidArgument (BAD_FILE) for a path that cannot be read."""
    if isinstance(file, bytes | bytearray | memoryview):
        data = memoryview(file).cast("B")
        for start in range(0, len(data), PIECE_BYTES):
            yield pb.PerceiveRequest(data=bytes(data[start : start + PIECE_BYTES]))
        return
    try:
        with open(file, "rb") as opened:
            while piece := opened.read(PIECE_BYTES):
                yield pb.PerceiveRequest(data=piece)
    except OSError as error:
        raise InvalidArgument(
            f"{file} cannot be read: {error.strerror}; give the path of a file, or its bytes",
            reason="BAD_FILE",
            field="file",
        ) from error


def read_perceived(response: pb.PerceiveResponse) -> Perceived:
    """What was heard or read."""
    return Perceived(
        modality=wire.read_enum(Modality, response.modality),
        text=response.text,
        concepts=tuple(_read_concept(one) for one in response.concepts),
        language=response.language,
        model=response.model,
        duration_s=response.duration_s,
    )


def _read_concept(value: pb.PerceivedConcept) -> PerceivedConcept:
    box = tuple(value.box)
    return PerceivedConcept(
        text=value.concept.text,
        start_byte=value.concept.start_byte,
        end_byte=value.concept.end_byte,
        confidence=value.confidence,
        start_s=value.start_s,
        end_s=value.end_s,
        box=(box[0], box[1], box[2], box[3]) if len(box) == 4 else None,
    )
