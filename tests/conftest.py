"""One real stack for all tests that ask for it: the local daemon, as `sapience` starts it, with its default models.

It is started once for a whole run, in a process and a data folder of its own, found by what it writes there, and
stopped with the signal that `sapience down` sends. Tests share it and each takes a namespace of its own. Nothing of the
caller's SAPIENCE_* settings reaches it but the cache folder: converting the language model takes half a minute.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import hypothesis
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sapience.v1 import (
    controller_pb2_grpc,
    memory_pb2,
    memory_pb2_grpc,
    perception_pb2_grpc,
    reasoning_pb2_grpc,
)

# A machine that is busy with other work is slow, and nothing is wrong with the code then.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")
# A shell starts what it runs in the background with Ctrl-C ignored, and that is inherited: tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

START_S = 240.0
"""Loading two models on a busy machine; and once, where nothing is cached, converting one."""
STOP_S = 30.0
CALL_S = 60.0
"""No call of a test takes so long; one that would hang fails."""


@dataclass(frozen=True)
class Daemon:
    """How the running daemon is reached, and where it keeps what it is told."""

    address: str
    token: str
    data_dir: Path
    pid: int
    log: Path

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call has to carry."""
        return (("authorization", f"Bearer {self.token}"),)


class _WithToken(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
    """Sends the token with every call, and a deadline, unless the call brings its own."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    def _authorised(self, details: grpc.ClientCallDetails) -> grpc.ClientCallDetails:
        if not details.metadata:
            details = details._replace(metadata=self._metadata)
        return details if details.timeout else details._replace(timeout=CALL_S)

    def intercept_unary_unary(self, continuation, details, request):  # type: ignore[no-untyped-def]
        return continuation(self._authorised(details), request)

    intercept_unary_stream = intercept_unary_unary
    intercept_stream_unary = intercept_unary_unary
    intercept_stream_stream = intercept_unary_unary


class _StreamsWithToken(_WithToken, grpc.StreamUnaryClientInterceptor, grpc.StreamStreamClientInterceptor):
    """The same for calls that send streams."""


def _environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """The environment of a daemon with these settings, and no others but where the cache is."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SAPIENCE_")}
    if cache := os.environ.get("SAPIENCE_CACHE_DIR"):
        kept["SAPIENCE_CACHE_DIR"] = cache
    # Nobody may be there to stop it: it stops by itself when no test has called for so long.
    defaults = {"SAPIENCE_DATA_DIR": str(data_dir), "SAPIENCE_IDLE_S": "300", "HF_HUB_OFFLINE": "1"}
    return kept | defaults | settings


@pytest.fixture(scope="session")
def environment() -> Callable[..., dict[str, str]]:
    """The environment of a process of ours: `environment(data_dir, SAPIENCE_...="...")`."""
    return _environment


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The local daemon, ready to answer."""
    data_dir = tmp_path_factory.mktemp("daemon")
    log = data_dir / "daemon.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.daemon"], stderr=sink, stdout=sink, env=_environment(data_dir)
        )
    try:
        running = _discovered(process, data_dir, log)
        _wait_until_serving(process, running)
        yield running
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"the daemon did not stop within {STOP_S:.0f} s:\n{log.read_text()[-4000:]}")
    assert process.returncode == 0, log.read_text()[-4000:]
    assert not (data_dir / "daemon.json").exists(), "a daemon that stopped can still be discovered"


def _discovered(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> Daemon:
    path = data_dir / "daemon.json"
    _wait(process, log, path.exists, "is not to be discovered")
    about = json.loads(path.read_text())
    return Daemon(about["address"], (data_dir / "token").read_text(), data_dir, about["pid"], log)


def _wait_until_serving(process: subprocess.Popen[bytes], daemon: Daemon) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        health = health_pb2_grpc.HealthStub(channel)

        def serving() -> bool:
            reply = health.Check(health_pb2.HealthCheckRequest(), timeout=5, wait_for_ready=True)
            return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

        _wait(process, daemon.log, serving, "is not ready")


def _wait(process: subprocess.Popen[bytes], log: Path, done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + START_S
    while not done():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the daemon {what}:\n{log.read_text()[-4000:]}")
        time.sleep(0.1)


@pytest.fixture(scope="session")
def channel(daemon: Daemon) -> Iterator[grpc.Channel]:
    """A channel to the daemon that sends its token, for stubs that block."""
    with grpc.insecure_channel(daemon.address) as bare:
        yield grpc.intercept_channel(bare, _StreamsWithToken(daemon.metadata))


@pytest.fixture(scope="session")
def memory(channel: grpc.Channel) -> memory_pb2_grpc.MemoryServiceStub:
    """The memory service."""
    return memory_pb2_grpc.MemoryServiceStub(channel)


@pytest.fixture(scope="session")
def perception(channel: grpc.Channel) -> perception_pb2_grpc.PerceptionServiceStub:
    """The perception service."""
    return perception_pb2_grpc.PerceptionServiceStub(channel)


@pytest.fixture(scope="session")
def reasoning(channel: grpc.Channel) -> reasoning_pb2_grpc.ReasoningServiceStub:
    """The reasoning service."""
    return reasoning_pb2_grpc.ReasoningServiceStub(channel)


@pytest.fixture(scope="session")
def controller(channel: grpc.Channel) -> controller_pb2_grpc.ControllerServiceStub:
    """The controller service."""
    return controller_pb2_grpc.ControllerServiceStub(channel)


_NUMBERS = itertools.count()


@pytest.fixture
def new_namespace(memory: memory_pb2_grpc.MemoryServiceStub) -> Callable[[], str]:
    """Makes namespaces that no other test uses."""

    def make() -> str:
        name = f"test-{next(_NUMBERS)}"
        memory.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=name))
        return name

    return make


@pytest.fixture
def namespace(new_namespace: Callable[[], str]) -> str:
    """A namespace that no other test uses."""
    return new_namespace()
