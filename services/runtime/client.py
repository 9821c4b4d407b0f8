"""The one way to reach another service here: round-robin over every address, safe retries, the remaining deadline."""

from __future__ import annotations

import json
from typing import Any, TypedDict

import grpc

from services.runtime import deadline
from services.runtime.interceptors import INTERNAL

IDEMPOTENT = {
    "sapience.v1.PerceptionService": ["Segment", "Patch", "Encode", "Decode", "Predict", "ListModels"],
    "sapience.v1.MemoryService": [
        "ListNamespaces", "Recall", "FactHistory", "Neighbours", "Paths", "Changes",
        "ListRelationPolicies", "Timeline", "Stats", "GetKeeping", "GetDream", "ListDreams", "ListEntities",
        "GetEntity", "Mentions", "ListMerges", "PlanMigration", "GetMigration", "ListMigrations", "ListSpaces",
        # Writes that carry a request_id: a second try is answered from the record and not done again.
        "Remember", "AssertFact", "RetractFact", "SetRelationPolicy", "Forget", "Archive", "Thaw", "SetHold",
        "SetExpiry", "MergeEntities", "UndoMerge", "Migrate",
    ],
    "sapience.v1.ReasoningService": ["GetTrace", "ListModels", "GetThought", "ListThoughts"],
    "sapience.v1.ControllerService": ["Status", "Goals", "SelfPrompts", "Runs"],
}  # fmt: skip
"""Calls that may be tried again when a service was not reached. Streams and LoadModel are not among them."""


class CallOptions(TypedDict):
    """What every outgoing call carries."""

    timeout: float | None
    metadata: grpc.aio.Metadata


def service_config() -> str:
    """The gRPC service config: round-robin, and retries of idempotent calls on UNAVAILABLE."""
    names = [{"service": service, "method": method} for service, methods in IDEMPOTENT.items() for method in methods]
    retry = {
        "maxAttempts": 4,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    return json.dumps(
        {"loadBalancingConfig": [{"round_robin": {}}], "methodConfig": [{"name": names, "retryPolicy": retry}]}
    )


class Link:
    """A channel to one service, wherever its replicas are. `stub` calls take `**link.options()`."""

    def __init__(self, address: str, token: str, max_message_bytes: int) -> None:
        self.address = address
        # Of gRPC's own type, which it takes as it is.
        self._metadata = grpc.aio.Metadata((INTERNAL, "1"))
        if token:
            self._metadata.add("authorization", f"Bearer {token}")
        self.channel: grpc.aio.Channel = grpc.aio.insecure_channel(
            address if "://" in address or address.startswith("dns:") else f"dns:///{address}",
            options=[
                ("grpc.service_config", service_config()),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 5_000),
                # A container that was replaced has another address; gRPC would look at most every 30 s.
                ("grpc.dns_min_time_between_resolutions_ms", 1_000),
                ("grpc.use_local_subchannel_pool", 1),
            ],
        )

    def options(self, at_most: float | None = None) -> CallOptions:
        """The remaining deadline and the token. Raises DeadlineExceeded when no time is left."""
        return {"timeout": deadline.remaining(at_most), "metadata": self._metadata}

    async def serving(self, service: str, timeout_s: float = 2.0) -> bool:
        """Whether grpc.health.v1 says that a service answers. Raises grpc.aio.AioRpcError when it is not reached."""
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Closes the channel; calls at work are cancelled."""
        await self.channel.close()
