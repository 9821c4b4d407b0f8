"""Sapience as its user has it: commands and services in processes of their own, each with a data folder of a test.

Nothing of the caller's SAPIENCE_* settings reaches them but the cache folder: converting the default language model
takes half a minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SAPIENCE = str(Path(sys.executable).with_name("sapience"))
PATIENCE_S = 240.0
"""No command takes so long on a busy machine; one that does hangs."""


def environment(data_dir: Path, **settings: str) -> dict[str, str]:
    """The environment of a process with these settings and no others, but where the cache is."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("SAPIENCE_")}
    if cache := os.environ.get("SAPIENCE_CACHE_DIR"):
        kept["SAPIENCE_CACHE_DIR"] = cache
    # A daemon that a broken test leaves behind ends by itself.
    return kept | {"SAPIENCE_DATA_DIR": str(data_dir), "SAPIENCE_IDLE_S": "120"} | settings


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which is one JSON value."""
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        """Standard output, which is a JSON value a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True)
class Sapience:
    """The command line on one data folder."""

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str | Path, given: str = "", **settings: str) -> Done:
        """Runs a command to its end. `given` is typed into it."""
        done = subprocess.run(
            [SAPIENCE, *map(str, arguments)],
            env=self.environment(**settings),
            input=given,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str | Path, given: str = "", **settings: str) -> Done:
        """The same, of a command that has to succeed."""
        done = self(*arguments, given=given, **settings)
        assert done.status == 0, f"sapience {' '.join(map(str, arguments))}: {done.status}\n{done.out}\n{done.err}"
        return done

    def start(self, *arguments: str | Path, **settings: str) -> subprocess.Popen[str]:
        """Starts a command and does not wait for it."""
        return subprocess.Popen(
            [SAPIENCE, *map(str, arguments)],
            env=self.environment(**settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def environment(self, **settings: str) -> dict[str, str]:
        """What its processes find around them."""
        return environment(self.data_dir, **{**self.settings, **settings})

    def daemon(self) -> dict[str, Any]:
        """What the daemon of this folder says of itself. Raises FileNotFoundError where none runs."""
        about: dict[str, Any] = json.loads((self.data_dir / "daemon.json").read_text())
        return about

    def log(self) -> list[dict[str, Any]]:
        """What its daemons have logged; lines that are not of the log (a traceback, say) are left out."""
        lines = (self.data_dir / "daemon.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


@contextmanager
def stopped_afterwards(sapience: Sapience) -> Iterator[Sapience]:
    """Stops what daemon the commands have started."""
    try:
        yield sapience
    finally:
        sapience("down")


def eventually(what: str, done: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Waits until something holds. Fails, by its name, where it does not in time."""
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, f"not in {within_s:.0f} s: {what}"
        time.sleep(0.05)
