"""The local daemon: all four services in one process on loopback, for one user and one data folder.

The data folder says how it is reached: `daemon.json` (address, pid, version) and `token` (readable by its owner only).
`daemon.lock` is held while it lives, so that no two processes fight for the stores. It stops by itself when no call
came for a while.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TextIO

import structlog
from pydantic import SecretStr

from core.clock import SystemClock, isoformat
from core.errors import FailedPrecondition, SapienceError
from services.assembly import Links, build
from services.runtime import loop, telemetry
from services.runtime.names import SERVICES
from services.runtime.server import Server
from services.runtime.settings import Settings, load

log = structlog.get_logger()

IDLE_CHECK_S = 1.0


def token_of(data_dir: Path) -> str:
    """The folder's token; makes one on first use, readable by its owner only."""
    path = data_dir / "token"
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"token.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(fresh, path)  # the first one to link wins, and nobody sees half a token
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()


@contextmanager
def sole_owner(data_dir: Path) -> Iterator[None]:
    """Holds the data folder. Raises FailedPrecondition (DATA_FOLDER_IN_USE) while another process does."""
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "daemon.lock").open("a+") as file:
        if not _locked(file):
            raise FailedPrecondition(
                f"another process works on {data_dir}; `sapience down` stops it, or use another SAPIENCE_DATA_DIR",
                reason="DATA_FOLDER_IN_USE",
            )
        (data_dir / "daemon.json").unlink(missing_ok=True)  # of one that was killed
        yield


def _locked(file: TextIO) -> bool:
    """Tries for a second: a client that looks whether a daemon lives holds the lock for a moment."""
    for _ in range(20):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return True
    return False


@contextmanager
def discoverable(data_dir: Path, address: str) -> Iterator[None]:
    """Says how the daemon is reached for as long as it is."""
    path = data_dir / "daemon.json"
    about = {
        "address": address,
        "pid": os.getpid(),
        "version": version("sapience"),
        "started_at": isoformat(SystemClock().now()),
    }
    fresh = path.with_suffix(".tmp")
    fresh.write_text(json.dumps(about))
    fresh.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


async def serve(settings: Settings) -> None:
    """Serves until it is told to stop, or idle for too long."""
    server = Server(settings)
    address = f"127.0.0.1:{server.bind()}"
    links = Links(settings, here=address)
    await server.start([build(name, settings, links) for name in SERVICES])
    watcher = asyncio.create_task(_stop_when_idle(server, settings.idle_s), name="idle watcher")
    with discoverable(settings.data_dir, address):
        log.info("serving", address=address, data=str(settings.data_dir))
        await server.run()
    watcher.cancel()
    await asyncio.gather(watcher, return_exceptions=True)
    await links.close()


async def _stop_when_idle(server: Server, idle_s: float) -> None:
    if not idle_s:
        return
    while (left := idle_s - server.activity.idle_s) > 0:
        await asyncio.sleep(max(left, IDLE_CHECK_S))
    log.info("idle", seconds=idle_s)
    server.request_stop()


def main() -> int:
    """Runs the daemon of the data folder that the settings name."""
    try:
        settings = load()
        token = SecretStr(token_of(settings.data_dir))
        settings = settings.model_copy(update={"listen": "127.0.0.1:0", "token": settings.token or token})
        telemetry.configure_logging(settings.log_level, settings.log_format)
        with sole_owner(settings.data_dir):
            loop.run(serve(settings))
    except SapienceError as error:
        sys.stderr.write(f"sapience: {error.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
