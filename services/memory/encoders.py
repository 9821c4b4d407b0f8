"""The encoders of the perception service, found by the space that they encode into.

A namespace is served by the encoder of its own space, whichever of perception's that is: so one whose encoder is no
longer the default goes on being read and written, while it is migrated or for good. What perception hosts is asked for
when a space is not known yet, and again when an encoder turns out to have changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import structlog
from sapience.v1 import concept_pb2, perception_pb2, perception_pb2_grpc

from core.errors import FailedPrecondition, NotFound
from core.nouns import Float32, Space
from services import wire
from services.runtime.client import Link

log = structlog.get_logger()

MAX_TEXTS_A_CALL = 1024
_USELESS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.NOT_FOUND)
"""What an encoder says to a text that it will not read later either."""


@dataclass(frozen=True, slots=True)
class Hosted:
    """An encoder of the perception service; the first of them is the default one."""

    address: str
    space: Space


class RemoteEncoder:
    """The perception service, over gRPC."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stub = perception_pb2_grpc.PerceptionServiceStub(link.channel)
        self._known: dict[Space, str] = {}

    async def encode(self, texts: Sequence[str], space: Space | None = None) -> tuple[Float32, Space]:
        """Encodes in calls of at most 1,024 texts. Raises FailedPrecondition (ENCODER_NOT_LOADED)."""
        if space is None:
            return await self._encode(texts, "")
        if space not in self._known:
            # Mostly it is the default one's, and no question is needed.
            vectors, encoded_in = await self._encode(texts, "")
            self._known[encoded_in] = ""
            if encoded_in == space:
                return vectors, space
            await self.hosted()
        for _ in range(2):
            if space not in self._known:
                break
            vectors, encoded_in = await self._encode(texts, self._known[space])
            if encoded_in == space:
                return vectors, space
            await self.hosted()  # another model answers to that address since
        raise not_loaded(space, sorted(address for address in self._known.values() if address))

    async def hosted(self) -> list[Hosted]:
        """What perception can encode with now, the default first. One that it would have to load is loaded."""
        response = await self._stub.ListModels(
            perception_pb2.PerceptionServiceListModelsRequest(), **self._link.options()
        )
        encoders = [one for one in response.models if one.kind == concept_pb2.MODEL_KIND_ENCODER]
        spaces = await asyncio.gather(*(self._space_of(one) for one in encoders))
        found = [Hosted(one.address, space) for one, space in zip(encoders, spaces, strict=True) if space]
        # Of two with one space the first is as good: a default one may have been named twice.
        self._known = {one.space: one.address for one in reversed(found)}
        return found

    async def named(self, address: str) -> Hosted:
        """The encoder of that address, or the default one where it is empty. Raises NotFound (MODEL_NOT_FOUND)."""
        found = await self.hosted()
        for one in found:
            if address in ("", one.address):
                return one
        known = ", ".join(one.address for one in found)
        raise NotFound(
            f"perception hosts no encoder {address!r}, but {known}; name it in SAPIENCE_ENCODERS, or make it "
            "SAPIENCE_ENCODER, and start the services again",
            reason="MODEL_NOT_FOUND",
            field="model",
        )

    async def _space_of(self, model: concept_pb2.Model) -> Space | None:
        """None for an encoder that reads no texts, or that cannot be loaded: it serves nobody, and hinders nobody."""
        if model.space:
            return Space(model.space, model.space_version, model.dimensions)
        try:
            return (await self._encode(["a"], model.address))[1]
        except grpc.aio.AioRpcError as error:
            if error.code() not in _USELESS:
                raise
            log.warning("an encoder is left out", model=model.address, error=error.details())
            return None

    async def _encode(self, texts: Sequence[str], address: str) -> tuple[Float32, Space]:
        parts: list[Float32] = []
        space: Space | None = None
        for start in range(0, len(texts), MAX_TEXTS_A_CALL):
            batch = texts[start : start + MAX_TEXTS_A_CALL]
            request = perception_pb2.EncodeRequest(texts=batch, model=address)
            response = await self._stub.Encode(request, **self._link.options())
            vectors, space = wire.tensor_from(response.vectors, len(batch), "vectors")
            parts.append(vectors)
        if space is None:
            raise ValueError("nothing to encode")
        return parts[0] if len(parts) == 1 else np.concatenate(parts), space


def not_loaded(space: Space, addresses: Sequence[str]) -> FailedPrecondition:
    """For a space that no encoder has."""
    return FailedPrecondition(
        f"the namespace keeps vectors of {space}, and no encoder that is loaded makes such ({', '.join(addresses)} do "
        "not); name the encoder that made them in SAPIENCE_ENCODERS, or move the namespace to another one: "
        "sapience migrate NAMESPACE",
        reason="ENCODER_NOT_LOADED",
        field="namespace",
    )


__all__ = ["Hosted", "RemoteEncoder", "not_loaded"]
