"""Perceive: audio into what was said, images into what is written on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb

from core.errors import NotYet

Context = grpc.aio.ServicerContext[Any, Any]


class SensingCalls:
    """What hears and reads."""

    async def Perceive(
        self, request_iterator: AsyncIterator[pb.PerceiveRequest], context: Context
    ) -> pb.PerceiveResponse:
        """Hears or reads one file."""
        raise NotYet("no model that hears or reads is here", reason="NO_TRANSCRIBER")
