"""Health and metrics over HTTP.

GET /healthz    200 while the gateway itself answers
GET /readyz     200 while every service behind it answers, else 503; either way a JSON object, service by service
GET /metrics    Prometheus metrics of the gateway
"""

from __future__ import annotations

import asyncio
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import grpc
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.assembly import Links
from services.runtime import telemetry
from services.runtime.client import Link
from services.runtime.names import SERVICES, full_name
from services.runtime.settings import Settings


def application(links: Mapping[str, Link]) -> Starlette:
    """The HTTP application over these services."""

    async def health(request: Request) -> Response:
        return JSONResponse({"gateway": "serving"})

    async def ready(request: Request) -> Response:
        states = dict(
            zip(links, await asyncio.gather(*(_state(name, link) for name, link in links.items())), strict=True)
        )
        return JSONResponse(states, 200 if set(states.values()) == {"serving"} else 503)

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(telemetry.REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", health), Route("/readyz", ready), Route("/metrics", metrics)])


async def _state(name: str, link: Link) -> str:
    try:
        serving = await link.serving(full_name(name))
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    telemetry.SERVING.labels(name).set(serving)
    return "serving" if serving else "not ready"


class _Server(uvicorn.Server):
    """uvicorn's server, which drains on a signal and then ends well: uvicorn would raise the signal once more."""

    def stop(self) -> None:
        """Asks it to drain and return."""
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to us."""
        yield


async def serve(settings: Settings) -> None:
    """Serves until a signal."""
    links = Links(settings)
    host, _, port = settings.gateway_listen.rpartition(":")
    server = _Server(
        uvicorn.Config(
            application({name: links.to(name) for name in SERVICES}),
            host=host,
            port=int(port),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=int(settings.drain_s),
        )
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)
    await server.serve()
    await links.close()


def healthy(settings: Settings) -> bool:
    """Whether the gateway on this machine answers."""
    port = settings.gateway_listen.rpartition(":")[2]
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=3) as response:
            return bool(response.status == 200)
    except urllib.error.URLError:
        return False
