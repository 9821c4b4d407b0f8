"""Finds the local daemon, starts it where there is none, and stops it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import sapience

from core.errors import FailedPrecondition, Unavailable
from services.runtime.settings import Settings

START_S = 120.0
STOP_S = 30.0
POLL_S = 0.05
PROBE_S = 0.25


def remote() -> bool:
    """Whether the environment says where the services are: then no local daemon is needed."""
    names = ("ADDRESS", "PERCEPTION_ADDRESS", "MEMORY_ADDRESS", "REASONING_ADDRESS", "CONTROLLER_ADDRESS")
    return any(os.environ.get(f"SAPIENCE_{name}") for name in names)


def running(data_dir: Path) -> dict[str, str | int] | None:
    """What the daemon of this folder says of itself; None where none lives."""
    try:
        about: dict[str, str | int] = json.loads((data_dir / "daemon.json").read_text())
        with (data_dir / "daemon.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return about
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
        return None  # it is starting or stopping, or there is no such folder
    return None  # nobody holds the lock: it was killed


def ensure(settings: Settings, say: Callable[[str], None]) -> None:
    """Returns when a daemon answers; starts one where none does. `say` is told what takes long."""
    if running(settings.data_dir):
        return
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    with (settings.data_dir / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several first commands, one starts it and the others wait
        if running(settings.data_dir):
            return
        say("starting the local daemon")
        _start(settings.data_dir)


def _start(data_dir: Path) -> None:
    log_path = data_dir / "daemon.log"
    with log_path.open("ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "services.daemon"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "SAPIENCE_DATA_DIR": str(data_dir)},
        )
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if running(data_dir):
            return
        if (status := process.poll()) is not None:
            with log_path.open("rb") as log:
                log.seek(begin)
                tail = log.read()[-2000:].decode(errors="replace").strip()
            raise FailedPrecondition(
                f"the local daemon ended with status {status}; {log_path} says:\n{tail}", reason="DAEMON_FAILED"
            )
        time.sleep(POLL_S)
    process.terminate()
    raise Unavailable(f"the local daemon did not start in {START_S:.0f} s; see {log_path}", reason="DAEMON_SLOW")


def stop(settings: Settings) -> bool:
    """Drains and stops the daemon; False where none lives."""
    about = running(settings.data_dir)
    if about is None:
        return False
    pid = int(about["pid"])
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return True  # it has ended by itself in this moment
    deadline = time.monotonic() + STOP_S + settings.drain_s
    while time.monotonic() < deadline:
        if _gone(pid):
            return True
        time.sleep(POLL_S)
    raise Unavailable(
        f"process {pid} did not stop in {STOP_S + settings.drain_s:.0f} s; kill it", reason="DAEMON_STUCK"
    )


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    try:
        # Started by this very process, it stays as a zombie until it is waited for.
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return False


def connect(settings: Settings, namespace: str, say: Callable[[str], None]) -> sapience.Client:
    """A client of the local daemon, or of the services that the environment names."""
    if remote():
        return sapience.connect(namespace=namespace, token=settings.token_text or None)
    ensure(settings, say)
    return sapience.connect(namespace=namespace)


def wait_ready(
    client: sapience.Client, say: Callable[[str], None], needs: Collection[str] = ("perception", "memory", "reasoning")
) -> None:
    """Returns when these services answer: models take some seconds to load. Raises Unavailable after START_S."""
    deadline = time.monotonic() + START_S
    waiting: list[str] = []
    while time.monotonic() < deadline:
        down = [one for one in client.status().services if one.name in needs and not one.serving]
        now_waiting = [f"{one.name} ({one.detail})" if one.detail else one.name for one in down]
        if not now_waiting:
            return
        if now_waiting != waiting:
            waiting = now_waiting
            say(f"waiting for {', '.join(waiting)}")
        _raise_what_failed(client, {one.name for one in down})
        time.sleep(0.25)
    raise Unavailable(f"not ready after {START_S:.0f} s: {', '.join(waiting)}; see the log", reason="NOT_READY")


def _raise_what_failed(client: sapience.Client, down: Collection[str]) -> None:
    """Raises why a model could not be loaded: then its service answers calls with that, and would never get ready.

    While a model is being loaded its service lets calls wait.
    """
    try:
        if "perception" in down:
            client.encode(["ready?"], timeout=PROBE_S)
        if "reasoning" in down:
            models = client.models(timeout=PROBE_S)
            default = next(one.address for one in models if one.kind == sapience.ModelKind.LANGUAGE_MODEL)
            client.load_model(default, timeout=PROBE_S)
    except (sapience.DeadlineExceeded, sapience.Unavailable):
        return
