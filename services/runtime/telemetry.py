"""Logs and metrics: structured logs to standard error, Prometheus metrics over HTTP where a setting says so."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import start_http_server as _start_http_server

REGISTRY = CollectorRegistry()
"""Every metric of the process. Not the library's global one, so that tests and embedded use start from nothing."""

CALLS = Counter(
    "sapience_calls_total", "Calls that ended, by method and status.", ["method", "code"], registry=REGISTRY
)
SECONDS = Histogram(
    "sapience_call_seconds",
    "Seconds from a call's arrival to its end.",
    ["method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("sapience_calls_in_flight", "Calls at work, by service.", ["service"], registry=REGISTRY)
BEHIND = Gauge("sapience_index_behind", "Commits of the record that the index has not taken.", registry=REGISTRY)
SERVING = Gauge("sapience_serving", "1 while a service answers, by service.", ["service"], registry=REGISTRY)


def configure_logging(level: str, form: Literal["json", "text"]) -> None:
    """Sends structlog's and the standard library's logs, and warnings, to standard error, as JSON lines or as text."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    )
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, render],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)
    logging.captureWarnings(True)


def serve_metrics(listen: str) -> int:
    """Serves /metrics on host:port from a thread of its own; returns the port."""
    host, _, port = listen.rpartition(":")
    server, _thread = _start_http_server(int(port), host, registry=REGISTRY)
    return int(server.server_port)
