"""What the blocking and the asyncio client share: endpoints, channels by address, what every call carries.

Channels balance round robin over all the addresses that a name resolves to, keep connections alive, and try again,
after UNAVAILABLE, only the calls that are safe to repeat: reads, and writes that carry a request_id. They are plain
text, as the services are: put TLS in front where the network is not trusted.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from sapience.calls import Description
from sapience.discovery import Endpoint, Service
from sapience.errors import FailedPrecondition, Unavailable
from sapience.v1 import controller_pb2_grpc, memory_pb2_grpc, perception_pb2_grpc, reasoning_pb2_grpc

_STUBS: dict[Service, type] = {
    "perception": perception_pb2_grpc.PerceptionServiceStub,
    "memory": memory_pb2_grpc.MemoryServiceStub,
    "reasoning": reasoning_pb2_grpc.ReasoningServiceStub,
    "controller": controller_pb2_grpc.ControllerServiceStub,
}
_SAFE_TO_RETRY = {
    "sapience.v1.PerceptionService": ["Encode", "ListModels"],
    "sapience.v1.MemoryService": [
        "ListNamespaces", "Recall", "WhyNot", "FactHistory", "Neighbours", "Paths", "Changes",
        "ListRelationPolicies", "Timeline", "Stats", "GetKeeping", "ListEntities", "GetEntity", "Mentions",
        "ListMerges",
        # Writes that carry a request_id: a second try is answered from the record and not done again.
        "Remember", "AssertFact", "RetractFact", "SetRelationPolicy", "Forget", "Archive", "Thaw", "SetHold",
        "SetExpiry", "CorrectFact", "UndoFact", "MergeEntities", "UndoMerge",
    ],
    "sapience.v1.ReasoningService": ["GetTrace", "ListModels", "GetThought", "ListThoughts"],
    "sapience.v1.ControllerService": ["Status"],
}  # fmt: skip
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024


def channel_options() -> list[tuple[str, Any]]:
    """The options of every channel, blocking or asyncio."""
    config = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [
            {
                "name": [
                    {"service": name, "method": method} for name, all_ in _SAFE_TO_RETRY.items() for method in all_
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.05s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
    }
    return [
        ("grpc.service_config", json.dumps(config)),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 200),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.dns_min_time_between_resolutions_ms", 1_000),  # a replaced container has another address
    ]


def target(address: str) -> str:
    """A gRPC target: "HOST:PORT" is looked up by DNS, so that every replica behind the name is found."""
    return (
        address if "://" in address or address.startswith(("dns:", "unix:", "ipv4:", "ipv6:")) else f"dns:///{address}"
    )


class Session(ABC):
    """The part of a client that does no input or output. Safe to use from several threads."""

    def __init__(self, endpoints: Mapping[Service, Endpoint], namespace: str, create: bool | None) -> None:
        self.endpoints = dict(endpoints)
        self.namespace = namespace
        self._must_create = namespace == "default" if create is None else create
        self._channels: dict[str, Any] = {}
        self._stubs: dict[Service, Any] = {}
        self._lock = threading.Lock()
        self._closed = False

    @abstractmethod
    def _open_channel(self, address: str) -> Any:
        """A channel to an address."""

    def _method(self, service: Service, method: str) -> Any:
        """The callable of an RPC. Channels are opened at first use, one for each address."""
        if self._closed:
            raise FailedPrecondition("this client is closed; connect again", reason="CLIENT_CLOSED")
        with self._lock:
            if service not in self._stubs:
                address = self._endpoint(service).address
                if address not in self._channels:
                    self._channels[address] = self._open_channel(address)
                self._stubs[service] = _STUBS[service](self._channels[address])
        return getattr(self._stubs[service], method)

    def _options(self, service: Service, timeout: float | None) -> dict[str, Any]:
        """What a call to a service carries: its deadline and the token."""
        token = self._endpoint(service).token
        return {"timeout": timeout, "metadata": (("authorization", f"Bearer {token}"),) if token else ()}

    def _where(self, service: Service) -> str:
        """The service and its address, for error messages."""
        return f"{service} at {self._endpoint(service).address}"

    def _endpoint(self, service: Service) -> Endpoint:
        try:
            return self.endpoints[service]
        except KeyError:
            raise Unavailable(
                f"nothing says where the {service} service is: set SAPIENCE_{service.upper()}_ADDRESS, or "
                "SAPIENCE_ADDRESS for all of them",
                reason="NO_ADDRESS",
            ) from None

    def _addressed(self, call: Description) -> Any:
        """The request of a call, in the client's own namespace unless it names another."""
        request: Any = call.request
        if call.default_namespace:
            request.namespace = self.namespace
        return request

    def _wants_namespace(self, namespace: str | None) -> bool:
        """Whether the client's namespace is still to be created before a call in `namespace`."""
        return self._must_create and namespace in (None, self.namespace)
