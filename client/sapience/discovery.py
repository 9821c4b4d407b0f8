"""Where the services are and which token they want.

An address comes from the first of these that has one:

1. the arguments of `connect`: `addresses` (by service), then `address` (all of them);
2. SAPIENCE_PERCEPTION_ADDRESS, SAPIENCE_MEMORY_ADDRESS, SAPIENCE_REASONING_ADDRESS, SAPIENCE_CONTROLLER_ADDRESS,
   then SAPIENCE_ADDRESS;
3. `daemon.json` in the data folder, which the local daemon writes when it starts.

The token is the argument, else SAPIENCE_TOKEN, else the file `token` beside `daemon.json`. That file's token is the
local daemon's alone, so it is sent to the address that `daemon.json` names and to no other.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import platformdirs

from sapience.errors import InvalidArgument, Unauthenticated, Unavailable

Service = Literal["perception", "memory", "reasoning", "controller"]
SERVICES: tuple[Service, ...] = get_args(Service)


@dataclass(frozen=True)
class Endpoint:
    """How one service is reached. `address` is "HOST:PORT" or a gRPC target; `token` is "" where there is none."""

    address: str
    token: str = ""

    def __repr__(self) -> str:
        # A token must not end up in a log.
        return f"Endpoint({self.address!r})"


@dataclass(frozen=True)
class Daemon:
    """The local daemon, as `daemon.json` describes it."""

    address: str
    pid: int
    version: str = ""
    started_at: str = ""

    def alive(self) -> bool:
        """Whether its process exists. On Windows, which has no harmless signal, it is taken to."""
        if os.name == "nt":
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # another user's process: it exists
        return True


def data_dir() -> Path:
    """The folder of the local daemon: SAPIENCE_DATA_DIR, else the system's place for user data."""
    given = os.environ.get("SAPIENCE_DATA_DIR")
    return Path(given).expanduser() if given else Path(platformdirs.user_data_dir("sapience", appauthor=False))


def read_daemon(folder: Path) -> Daemon | None:
    """The daemon that `daemon.json` in a folder describes, alive or not; None where there is no such file.

    Raises Unavailable (reason BAD_DISCOVERY_FILE) where the file cannot be read as what it should be.
    """
    path = folder / "daemon.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        daemon = Daemon(
            address=content["address"],
            pid=content["pid"],
            version=content.get("version", ""),
            started_at=content.get("started_at", ""),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise Unavailable(
            f"{path} cannot be read ({error!r}): delete it, then `sapience up` writes it anew",
            reason="BAD_DISCOVERY_FILE",
        ) from error
    if not (isinstance(daemon.address, str) and isinstance(daemon.pid, int) and daemon.address and daemon.pid > 0):
        raise Unavailable(
            f"{path} names the address {daemon.address!r} and the pid {daemon.pid!r}: delete it, then `sapience up` "
            "writes it anew",
            reason="BAD_DISCOVERY_FILE",
        )
    return daemon


def resolve(
    address: str | None = None, token: str | None = None, addresses: Mapping[str, str] | None = None
) -> dict[Service, Endpoint]:
    """Where each service is. One for which nothing says so is left out, as long as there is another.

    Raises InvalidArgument for a service that does not exist, Unavailable where nothing says where any service is
    (reason NO_DAEMON) or the daemon that should be there is gone (DAEMON_GONE), and Unauthenticated where the daemon's
    token file cannot be read (BAD_TOKEN_FILE).
    """
    given = dict(addresses or {})
    if unknown := sorted(set(given) - set(SERVICES)):
        raise InvalidArgument(
            f"addresses: there is no service {unknown[0]!r}, only {', '.join(SERVICES)}",
            reason="INVALID_FIELD",
            field="addresses",
        )
    environment = os.environ.get
    found: dict[Service, str] = {
        service: target
        for service in SERVICES
        if (
            target := given.get(service)
            or address
            or environment(f"SAPIENCE_{service.upper()}_ADDRESS")
            or environment("SAPIENCE_ADDRESS")
        )
    }
    folder = data_dir()
    token = token or environment("SAPIENCE_TOKEN")
    daemon = _known(folder) if found else _required(folder)
    if daemon:
        found = {service: found.get(service, daemon.address) for service in SERVICES}
    local_token = "" if token or not daemon else _token_file(folder)
    return {
        service: Endpoint(target, token or (local_token if daemon and target == daemon.address else ""))
        for service, target in found.items()
    }


def _required(folder: Path) -> Daemon:
    daemon = read_daemon(folder)
    mend = "start one with `sapience up`, or name a server with SAPIENCE_ADDRESS"
    if daemon is None:
        missing = folder / "daemon.json"
        raise Unavailable(f"no Sapience daemon runs here (there is no {missing}): {mend}", reason="NO_DAEMON")
    if not daemon.alive():
        raise Unavailable(
            f"the Sapience daemon of {folder} is gone (process {daemon.pid} does not exist): {mend}",
            reason="DAEMON_GONE",
        )
    return daemon


def _known(folder: Path) -> Daemon | None:
    """The running daemon, if any: it stands in for services with no address, and its token is for its own address."""
    try:
        daemon = read_daemon(folder)
    except Unavailable:
        return None  # addresses were given: the broken file of a daemon nobody asked for is no obstacle
    return daemon if daemon and daemon.alive() else None


def _token_file(folder: Path) -> str:
    path = folder / "token"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        raise Unauthenticated(
            f"the daemon's token {path} cannot be read ({error}): give a token, or set SAPIENCE_TOKEN",
            reason="BAD_TOKEN_FILE",
        ) from error
