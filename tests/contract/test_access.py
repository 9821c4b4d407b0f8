"""Who may call, and what answers anybody: the token, health, reflection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from refusals import refusal, says
from sapience.v1 import controller_pb2, memory_pb2, perception_pb2, reasoning_pb2

SERVICES = [
    file.DESCRIPTOR.services_by_name[name]
    for file, name in (
        (perception_pb2, "PerceptionService"),
        (memory_pb2, "MemoryService"),
        (reasoning_pb2, "ReasoningService"),
        (controller_pb2, "ControllerService"),
    )
]
METHODS = [method for service in SERVICES for method in service.methods]
WRONG = {
    "none": ((), "NO_TOKEN", "authorization: Bearer TOKEN"),
    "another key": ((("token", "TOKEN"),), "NO_TOKEN", "authorization: Bearer TOKEN"),
    "wrong": ((("authorization", "Bearer wrong"),), "WRONG_TOKEN", "not this service's"),
    "no Bearer": ((("authorization", "TOKEN"),), "WRONG_TOKEN", "not this service's"),
    "empty": ((("authorization", ""),), "WRONG_TOKEN", "not this service's"),
    "too long": ((("authorization", "Bearer TOKEN2"),), "WRONG_TOKEN", "not this service's"),
}


@pytest.fixture(scope="module")
def stranger(daemon: Any) -> Iterator[grpc.Channel]:
    """A channel that shows no token."""
    with grpc.insecure_channel(daemon.address) as channel:
        yield channel


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("sapience.v1."))
def test_every_method_asks_for_the_token(stranger: grpc.Channel, daemon: Any, method: Any) -> None:
    path = f"/{method.containing_service.full_name}/{method.name}"
    sends = "stream" if method.client_streaming else "unary"
    answers = "stream" if method.server_streaming else "unary"
    call = getattr(stranger, f"{sends}_{answers}")(path)
    for metadata, reason, word in WRONG.values():
        shown = tuple((key, value.replace("TOKEN", daemon.token)) for key, value in metadata)
        request = iter([b""]) if method.client_streaming else b""
        refused = refusal(lambda: call(request, metadata=shown, timeout=30))  # noqa: B023
        says(refused, StatusCode.UNAUTHENTICATED, reason, "", word)
        assert daemon.token not in refused.message


def test_the_token_is_for_its_owner_only(daemon: Any) -> None:
    assert (daemon.data_dir / "token").stat().st_mode & 0o777 == 0o600
    assert daemon.token not in daemon.log.read_text()


def test_health_answers_anybody(stranger: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(stranger)
    for name in ("", *(service.full_name for service in SERVICES)):
        reply = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)
        assert reply.status == health_pb2.HealthCheckResponse.SERVING, name
    unknown = refusal(lambda: health.Check(health_pb2.HealthCheckRequest(service="sapience.v1.Nobody"), timeout=30))
    assert unknown.code is StatusCode.NOT_FOUND


def test_reflection_tells_anybody_the_services(stranger: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(stranger)
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    (reply,) = stub.ServerReflectionInfo(iter([asked]), timeout=30)
    listed = {service.name for service in reply.list_services_response.service}
    assert {service.full_name for service in SERVICES} | {"grpc.health.v1.Health"} <= listed
