"""Nothing is downloaded at run time: importing and asking work on a machine that reaches nothing but itself.

The default models come from installed packages; the folders for caches are empty, and nothing tells the libraries to
stay offline. Where the system lets us, the commands and their daemon run in a network namespace that has a loopback
device alone. Elsewhere (a user who may not make one) Python refuses every connection and lookup beyond loopback.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import SAPIENCE

SAMPLE = Path(__file__).parents[1] / "bench" / "data" / "sample" / "messages.json"
ISOLATE = ["unshare", "--net", "--map-root-user", "--", "bash", "-c", 'ip link set lo up && exec "$@"', "isolated"]
GUARD = '''
"""Refuses whatever goes beyond loopback, in every Python process that finds this file."""
import ipaddress
import socket

_LOCAL = ("localhost", "", None)
_getaddrinfo, _connect, _connect_ex = socket.getaddrinfo, socket.socket.connect, socket.socket.connect_ex


def _check(host):
    host = host.decode() if isinstance(host, bytes) else host
    if host not in _LOCAL and not ipaddress.ip_address(host).is_loopback:
        raise OSError(f"the network is off: {host}")


def getaddrinfo(host, *arguments, **options):
    try:
        _check(host)
    except ValueError:
        raise socket.gaierror(socket.EAI_AGAIN, f"the network is off: {host}") from None
    return _getaddrinfo(host, *arguments, **options)


def _guarded(connect):
    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            _check(address[0])
        return connect(self, address)

    return guarded


socket.getaddrinfo = getaddrinfo
socket.socket.connect, socket.socket.connect_ex = _guarded(_connect), _guarded(_connect_ex)
'''
OUTSIDE = "192.0.2.1"
"""Of a block that is set aside for documentation: nothing is there, and nothing is sent with the network off."""
PROBE = f"import socket; socket.create_connection(('{OUTSIDE}', 443), timeout=5)"


def can_isolate() -> bool:
    """Whether this user may make a network namespace and bring up its loopback device."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run([*ISOLATE, "true"], capture_output=True).returncode == 0


@pytest.mark.slow
def test_import_and_ask_work_with_the_network_off_and_empty_caches(tmp_path: Path) -> None:
    isolate = ISOLATE if can_isolate() else []
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SAPIENCE_", "HF_", "TRANSFORMERS_", "XDG_"))
    }
    home = tmp_path / "home"
    home.mkdir()
    environment = kept | {
        "HOME": str(home),
        "SAPIENCE_DATA_DIR": str(tmp_path / "data"),
        "SAPIENCE_CACHE_DIR": str(tmp_path / "cache"),
        "SAPIENCE_IDLE_S": "120",
    }
    if not isolate:
        guard = tmp_path / "guard"
        guard.mkdir()
        (guard / "sitecustomize.py").write_text(GUARD)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(guard), kept.get("PYTHONPATH", "")]))

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*isolate, *command], env=environment, capture_output=True, text=True, timeout=280, check=False
        )

    probed = run(sys.executable, "-c", PROBE)
    assert probed.returncode != 0
    assert "Network is unreachable" in probed.stderr or "the network is off" in probed.stderr, probed.stderr

    # One shell for all: the daemon lives in the network namespace of the command that started it.
    script = '"$0" import "$1" && "$0" ask "Where do we stop on the way to Trieste?" --json --no-learn; '
    done = run("bash", "-c", script + 'status=$?; "$0" down >&2; exit $status', SAPIENCE, str(SAMPLE))
    log = (tmp_path / "data" / "daemon.log").read_text()
    assert done.returncode == 0, f"{done.stderr}\n{log}"
    assert "messages.json: 10 remembered" in done.stderr
    answer = done.stdout.splitlines()[-1]
    assert '"event": "answer"' in answer
    assert "Villach" in answer
    assert list((tmp_path / "cache").iterdir()), "the language model was not converted here"


@pytest.mark.parametrize(
    "attempt",
    [
        PROBE,
        "import socket; socket.getaddrinfo('example.org', 443)",
        "import socket; socket.socket(socket.AF_INET6).connect(('2001:db8::1', 443))",
    ],
)
def test_the_guard_refuses_what_goes_beyond_loopback(tmp_path: Path, attempt: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    done = subprocess.run(
        [sys.executable, "-c", attempt],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "the network is off" in done.stderr


def test_the_guard_lets_loopback_pass(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        attempt = f"import socket; socket.create_connection(('localhost', {port}))"
        done = subprocess.run(
            [sys.executable, "-c", attempt], env=os.environ | {"PYTHONPATH": str(tmp_path)}, timeout=60
        )
    assert done.returncode == 0
