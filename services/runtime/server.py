"""The one way to build a gRPC server here: health, reflection, hooks, limits, keepalive, and a drain."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from core.errors import FailedPrecondition
from services.runtime import garbage, telemetry
from services.runtime.interceptors import (
    AccessLog,
    Activity,
    Admission,
    Authentication,
    Drain,
    Hook,
    Interceptor,
    Metrics,
)
from services.runtime.settings import Settings

log = structlog.get_logger()

HEALTH_INTERVAL_S = 1.0
DRAIN_INTERVAL_S = 0.02


@dataclass(frozen=True)
class Service:
    """One gRPC service to be served: how it joins a server, whether it can answer, and how it is closed."""

    name: str
    """The full name, for example "sapience.v1.MemoryService"."""
    register: Callable[[grpc.aio.Server], None]
    ready: Callable[[], Awaitable[bool]]
    """Asked by the health watcher; cheap."""
    close: Callable[[], Awaitable[None]]
    """Called once, after the last call ended."""


class Server:
    """A gRPC server for one or more services.

    `bind` takes the port, so that services in one process can be told where they are; `start` adds them and answers;
    `run` stays until a signal or `request_stop`; `stop` drains: health says NOT_SERVING first, new calls are refused,
    calls at work get `drain_s` seconds to end, then services are closed.
    """

    def __init__(self, settings: Settings) -> None:
        self.activity = Activity()
        self._settings = settings
        self._services: tuple[Service, ...] = ()
        self._stopping = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        hooks: list[Hook] = [Metrics(), AccessLog(debug=settings.log_level == "debug")]
        if settings.token_text:
            hooks.append(Authentication(settings.token_text))
        self._drain = Drain()
        hooks += [self._drain, Admission(settings.max_in_flight), self.activity]
        self._server = grpc.aio.server(
            interceptors=[Interceptor(hooks, settings.default_deadline_s)],
            options=[
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", settings.max_message_bytes),
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.so_reuseport", 0),
            ],
        )
        self._health = health.aio.HealthServicer()
        self._registry = cast(grpc.aio.Server, _GenericOnly(self._server))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._registry)

    def bind(self) -> int:
        """Takes the port that the settings name, and returns it. Raises FailedPrecondition (CANNOT_LISTEN)."""
        listen = self._settings.listen
        try:
            return self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise FailedPrecondition(
                f"cannot listen on {listen}: {error}; another process may hold the port, choose one by SAPIENCE_LISTEN",
                reason="CANNOT_LISTEN",
            ) from error

    async def start(self, services: Sequence[Service]) -> None:
        """Adds the services and begins to answer. The server owns them from here on, and closes them."""
        self._services = tuple(services)
        for service in self._services:
            service.register(self._registry)
        names = [service.name for service in self._services]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._registry)
        for name in ("", *names):  # until the watcher knows better
            await self._health.set(name, _health_status(False))
        await self._server.start()
        self._watcher = asyncio.create_task(self._watch_health(), name="health watcher")

    async def run(self) -> None:
        """Serves until SIGTERM, SIGINT or `request_stop`, then drains. The process is this server's from here on."""
        garbage.settle()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        await self._stopping.wait()
        await self.stop()

    def request_stop(self) -> None:
        """Asks `run` to drain and return."""
        self._stopping.set()

    async def stop(self) -> None:
        """Drains and closes."""
        log.info("draining", seconds=self._settings.drain_s)
        await self._health.enter_graceful_shutdown()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        # Calls at work may still have to call services of this very process, which the server, once it stops, refuses.
        self._drain.begun = True
        ends = time.monotonic() + self._settings.drain_s
        while self.activity.at_work and time.monotonic() < ends:
            await asyncio.sleep(DRAIN_INTERVAL_S)
        await self._server.stop(max(0.0, ends - time.monotonic()))
        for service in reversed(self._services):
            await service.close()
        log.info("stopped")

    async def _watch_health(self) -> None:
        said: dict[str, bool] = {}
        while True:
            for service in self._services:
                try:
                    serving = await service.ready()
                except Exception:
                    # A readiness check that breaks is a service that is not ready; the log keeps the cause.
                    log.exception("the readiness check failed", service=service.name)
                    serving = False
                if said.get(service.name) is not serving:
                    said[service.name] = serving
                    log.info("health", service=service.name, serving=serving)
                    telemetry.SERVING.labels(service.name).set(serving)
                    await self._health.set(service.name, _health_status(serving))
            await self._health.set("", _health_status(all(said.values())))
            await asyncio.sleep(HEALTH_INTERVAL_S)


class _GenericOnly:
    """A server as generated code sees it, that takes generic handlers alone.

    Generated code registers every method a second time, by name. grpc.aio waits for a call of each such method, and
    sets out to wait for all of them anew whenever a call comes: with thirty methods that costs more than what it saves.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self.add_generic_rpc_handlers = server.add_generic_rpc_handlers

    def add_registered_method_handlers(self, service_name: str, method_handlers: dict[str, Any]) -> None:
        """Nothing to do: the same handlers came as generic ones."""


def _health_status(serving: bool) -> Any:
    status = health_pb2.HealthCheckResponse
    return status.SERVING if serving else status.NOT_SERVING
