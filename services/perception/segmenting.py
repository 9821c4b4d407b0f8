"""Segment: texts into sentences, each with its language."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb

from core.nouns import Span
from perception.segment import segment
from perception.segment.detecting import language_of
from perception.segment.languages import checked
from services import wire

Context = grpc.aio.ServicerContext[Any, Any]


class SegmentingCalls:
    """What cuts texts."""

    async def Segment(self, request: pb.SegmentRequest, context: Context) -> pb.SegmentResponse:
        """Splits on a thread of its own: 1 MiB takes longer than other calls may wait."""
        wire.checked_text(request.text, "text", wire.MAX_TEXT_BYTES)
        language = checked(request.language)
        spans = await asyncio.to_thread(_segmented, request.text, language)
        return pb.SegmentResponse(concepts=[wire.span_to(span, ordinal) for ordinal, span in enumerate(spans)])


def _segmented(text: str, language: str) -> list[Span]:
    return [replace(span, language=language or language_of(span.text)) for span in segment(text)]
