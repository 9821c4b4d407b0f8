"""Segment: texts into sentences."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb

from perception.segment import segment
from services import wire

Context = grpc.aio.ServicerContext[Any, Any]


class SegmentingCalls:
    """What cuts."""

    async def Segment(self, request: pb.SegmentRequest, context: Context) -> pb.SegmentResponse:
        """Splits on a thread of its own: 1 MiB takes longer than other calls may wait."""
        wire.checked_text(request.text, "text", wire.MAX_TEXT_BYTES)
        spans = await asyncio.to_thread(segment, request.text)
        return pb.SegmentResponse(concepts=[wire.span_to(span, ordinal) for ordinal, span in enumerate(spans)])
