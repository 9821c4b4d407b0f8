"""The perception service's RPCs, put together; health says NOT_SERVING until its models answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb
from sapience.v1 import perception_pb2_grpc

from perception.decoders.base import Decoder
from perception.encoders.base import Encoder
from perception.rerankers.base import Reranker
from perception.segment.patcher import Patcher
from services.perception.decoding import DecodingCalls
from services.perception.encoding import EncodingCalls
from services.perception.foreseeing import ForeseeingCalls
from services.perception.hosting import Hosted
from services.perception.patching import PatchingCalls
from services.perception.reranking import RerankingCalls
from services.perception.segmenting import SegmentingCalls
from services.perception.sensing import SensingCalls
from services.runtime.server import Service

NAME = "sapience.v1.PerceptionService"

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class Models:
    """What a perception service hosts."""

    encoders: list[Hosted[Encoder]] = field(default_factory=list)
    """The default one first."""
    reranker: Hosted[Reranker] | None = None
    patcher: Hosted[Patcher] | None = None
    decoders: list[Hosted[Decoder]] = field(default_factory=list)
    """Where two read one space, the first is its default."""

    @property
    def all(self) -> list[Hosted[Any]]:
        """Every one, in the order in which ListModels tells them."""
        others: list[Hosted[Any] | None] = [self.reranker, self.patcher]
        return [*self.encoders, *self.decoders, *(one for one in others if one is not None)]


class Perception(
    EncodingCalls,
    DecodingCalls,
    SegmentingCalls,
    PatchingCalls,
    SensingCalls,
    ForeseeingCalls,
    RerankingCalls,
    perception_pb2_grpc.PerceptionServiceServicer,
):
    """Serves what `Models` names."""

    def __init__(self, models: Models) -> None:
        self._models = models
        self._encoders = models.encoders
        self._decoders = models.decoders
        self._reranker = models.reranker
        self._patcher = models.patcher

    async def ready(self) -> bool:
        """Whether the models are loaded that are not loaded on demand."""
        return all(one.ready for one in self._models.all)

    async def close(self) -> None:
        """Ends the models' threads."""
        for one in self._models.all:
            await one.close()

    async def ListModels(
        self, request: pb.PerceptionServiceListModelsRequest, context: Context
    ) -> pb.PerceptionServiceListModelsResponse:
        """The models, loaded or not."""
        return pb.PerceptionServiceListModelsResponse(models=[one.describe() for one in self._models.all])


def service(servicer: Perception) -> Service:
    """The service as a server takes it."""
    return Service(
        NAME,
        lambda server: perception_pb2_grpc.add_PerceptionServiceServicer_to_server(servicer, server),
        servicer.ready,
        servicer.close,
    )
