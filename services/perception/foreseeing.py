"""Predict and Continue: the Concepts that a concept model expects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb

from core.errors import NotYet

Context = grpc.aio.ServicerContext[Any, Any]


class ForeseeingCalls:
    """What comes next."""

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        """The next Concept."""
        raise NotYet("no concept model is here", reason="NO_CONCEPT_MODEL")

    async def Continue(self, request: pb.ContinueRequest, context: Context) -> AsyncIterator[pb.ContinueResponse]:
        """The next Concepts."""
        raise NotYet("no concept model is here", reason="NO_CONCEPT_MODEL")
        yield
