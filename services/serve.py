"""One service in the foreground: what a container runs.

What serving needs is imported when serving: the health check runs every few seconds, and should cost little.
"""

from __future__ import annotations

import asyncio

import structlog

from core.errors import FailedPrecondition, InvalidArgument
from services.runtime.client import Link
from services.runtime.names import SERVICES, full_name
from services.runtime.settings import Settings

log = structlog.get_logger()

NAMES = (*SERVICES, "gateway")
LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:")


def run(name: str, settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then drains. Refuses to listen beyond loopback without a token."""
    if name not in NAMES:
        raise InvalidArgument(f"no service {name!r}; one of {', '.join(NAMES)}", field="name")
    if not settings.token_text and not settings.listen.startswith(LOOPBACK):
        raise FailedPrecondition(
            f"{name} would answer anybody on {settings.listen}: set SAPIENCE_TOKEN, or listen on 127.0.0.1",
            reason="NO_TOKEN",
        )
    from services.runtime import loop, telemetry

    telemetry.configure_logging(settings.log_level, settings.log_format)
    if settings.metrics_listen:
        telemetry.serve_metrics(settings.metrics_listen)
    if name == "gateway":
        from services.gateway import app

        loop.run(app.serve(settings))
    else:
        loop.run(_serve(name, settings))


async def _serve(name: str, settings: Settings) -> None:
    from services.assembly import Links, build
    from services.runtime.server import Server

    server = Server(settings)
    port = server.bind()
    links = Links(settings)
    await server.start([build(name, settings, links)])
    log.info("serving", service=name, port=port)
    await server.run()
    await links.close()


def healthy(name: str, settings: Settings) -> bool:
    """Whether the service of this container answers and is ready: what its health check runs."""
    if name == "gateway":
        from services.gateway import app

        return app.healthy(settings)
    port = settings.listen.rpartition(":")[2]

    async def ask() -> bool:
        link = Link(f"127.0.0.1:{port}", settings.token_text, settings.max_message_bytes)
        try:
            return await link.serving(full_name(name))
        finally:
            await link.close()

    return asyncio.run(ask())
