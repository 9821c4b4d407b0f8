"""Calls about the system itself: vectors, models and how the services stand."""

from __future__ import annotations

from collections.abc import Iterable

from sapience import types, wire
from sapience.calls import Call
from sapience.calls.memory import SECONDS
from sapience.dreams import Consolidation, DreamState
from sapience.v1 import controller_pb2, perception_pb2, reasoning_pb2


def encode(
    texts: Iterable[str], *, model: str = "", language: str = "", timeout: float | None = SECONDS
) -> Call[types.Tensor]:
    """Vectors of texts, at most 4,096, none empty: one Tensor [texts, dimensions] of float32, each row of length 1.

    `language` is that of all the texts ("de", "deu_Latn"), for the encoders that ask for it.
    """
    request = wire.message(
        perception_pb2.EncodeRequest, texts=wire.words(texts, "texts"), model=model, language=language
    )
    return Call("perception", "Encode", request, timeout, False, lambda response: wire.read_tensor(response.vectors))


def decode(
    vectors: types.Tensor, *, model: str = "", language: str = "", timeout: float | None = SECONDS
) -> Call[list[types.Decoded]]:
    """Words for vectors [n, dimensions], at most 1,024, in the space of a decoder, and how far to believe them."""
    request = wire.message(
        perception_pb2.DecodeRequest, vectors=wire.tensor(vectors, "vectors"), model=model, language=language
    )
    return Call("perception", "Decode", request, timeout, False, _read_decoded)


def _read_decoded(response: perception_pb2.DecodeResponse) -> list[types.Decoded]:
    believed: list[float | None] = list(response.round_trip) or [None] * len(response.texts)
    return [
        types.Decoded(text, round_trip, response.model)
        for text, round_trip in zip(response.texts, believed, strict=False)
    ]


def perception_models(*, timeout: float | None = SECONDS) -> Call[list[types.Model]]:
    """The encoders and decoders, the default encoder first."""
    request = perception_pb2.PerceptionServiceListModelsRequest()
    return Call("perception", "ListModels", request, timeout, False, _read_models)


def language_models(*, timeout: float | None = SECONDS) -> Call[list[types.Model]]:
    """The language models, the default first; also those that come with Sapience and are loaded when asked for."""
    request = reasoning_pb2.ReasoningServiceListModelsRequest()
    return Call("reasoning", "ListModels", request, timeout, False, _read_models)


def _read_models(
    response: perception_pb2.PerceptionServiceListModelsResponse | reasoning_pb2.ReasoningServiceListModelsResponse,
) -> list[types.Model]:
    return [wire.read_model(model) for model in response.models]


def status(*, timeout: float | None = SECONDS) -> Call[types.SystemStatus]:
    """Whether each service answers, as the controller last saw it."""
    return Call("controller", "Status", controller_pb2.StatusRequest(), timeout, False, _read_status)


def _read_status(response: controller_pb2.StatusResponse) -> types.SystemStatus:
    return types.SystemStatus(
        services=tuple(
            types.ServiceStatus(
                name=service.name,
                serving=service.serving,
                latency_ms=service.latency_ms,
                detail=service.detail,
                checked_at=wire.read_time(service, "checked_at"),
            )
            for service in response.services
        ),
        paused=response.paused,
        cycles=response.cycles,
        started_at=wire.read_time(response, "started_at"),
        consolidation=_read_consolidation(response.consolidation),
    )


def _read_consolidation(value: controller_pb2.ConsolidationStatus) -> Consolidation:
    return Consolidation(
        mode=value.mode,
        begun=value.begun,
        failed=value.failed,
        namespace=value.namespace,
        dream_id=value.dream_id,
        state=wire.read_enum(DreamState, value.state),
        error=value.error,
    )
