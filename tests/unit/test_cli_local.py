"""How the command line finds the local daemon, starts one and stops it. No daemon of ours: small processes stand in."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sapience

from core.errors import FailedPrecondition, Unavailable
from services import daemon
from services.cli import local
from services.runtime.settings import Settings

HOLDER = """
import fcntl, json, os, pathlib, signal, sys, time
folder = pathlib.Path(os.environ["SAPIENCE_DATA_DIR"])
(folder / "starts").open("a").write("x")
lock = (folder / "daemon.lock").open("a+")
fcntl.flock(lock, fcntl.LOCK_EX)
(folder / "daemon.json").write_text(json.dumps({"address": "127.0.0.1:1", "pid": os.getpid()}))
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else signal.SIG_DFL)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", drain_s=0)


@pytest.fixture
def holder(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the folder as a daemon does."""
    settings.data_dir.mkdir()
    process = hold(settings)
    yield process
    process.kill()
    process.wait()
    assert process.stdout
    process.stdout.close()


def hold(settings: Settings, *how: str) -> subprocess.Popen[str]:
    environment = os.environ | {"SAPIENCE_DATA_DIR": str(settings.data_dir)}
    process = subprocess.Popen([sys.executable, "-c", HOLDER, *how], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


def stand_in(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """Lets `ensure` start this program in the daemon's place."""
    started = subprocess.Popen

    def popen(command, **options):  # type: ignore[no-untyped-def]
        assert command == [sys.executable, "-m", "services.daemon"]
        return started([sys.executable, "-c", source], **options)

    monkeypatch.setattr(local.subprocess, "Popen", popen)


class TestRunning:
    def test_no_folder_no_daemon(self, settings):
        assert local.running(settings.data_dir) is None

    def test_a_file_in_the_place_of_the_folder_is_no_daemon(self, settings):
        settings.data_dir.write_text("")
        assert local.running(settings.data_dir) is None

    def test_one_that_lives_says_where(self, settings, holder):
        assert local.running(settings.data_dir) == {"address": "127.0.0.1:1", "pid": holder.pid}

    def test_one_that_was_killed_leaves_its_file_and_does_not_count(self, settings, holder):
        holder.kill()
        holder.wait()
        assert (settings.data_dir / "daemon.json").exists()
        assert local.running(settings.data_dir) is None

    def test_half_a_file_is_one_that_starts(self, settings, holder):
        (settings.data_dir / "daemon.json").write_text('{"addr')
        assert local.running(settings.data_dir) is None


class TestEnsure:
    def test_one_that_lives_is_left_alone(self, settings, holder, monkeypatch):
        stand_in(monkeypatch, "raise SystemExit('another one was started')")
        local.ensure(settings, pytest.fail)

    def test_commands_at_once_start_one(self, settings, monkeypatch):
        stand_in(monkeypatch, HOLDER)
        said: list[str] = []
        commands = [threading.Thread(target=local.ensure, args=(settings, said.append)) for _ in range(4)]
        for command in commands:
            command.start()
        for command in commands:
            command.join()
        try:
            assert said == ["starting the local daemon"]
            assert (settings.data_dir / "starts").read_text() == "x"
        finally:
            assert local.stop(settings)

    def test_one_that_cannot_start_is_told_with_what_it_said(self, settings, monkeypatch):
        stand_in(monkeypatch, "import sys; sys.exit('sapience: the disk is full')")
        settings.data_dir.mkdir()
        (settings.data_dir / "daemon.log").write_text("what an earlier one said\n")
        with pytest.raises(FailedPrecondition, match=r"ended with status 1; .*daemon\.log says:\n") as caught:
            local.ensure(settings, lambda what: None)
        assert caught.value.reason == "DAEMON_FAILED"
        assert caught.value.message.endswith("sapience: the disk is full")
        assert "earlier" not in caught.value.message

    def test_one_that_takes_too_long_is_stopped_and_told(self, settings, monkeypatch):
        stand_in(monkeypatch, "import time; time.sleep(60)")
        monkeypatch.setattr(local, "START_S", 0.3)
        with pytest.raises(Unavailable, match=r"did not start in 0 s; see .*daemon\.log") as caught:
            local.ensure(settings, lambda what: None)
        assert caught.value.reason == "DAEMON_SLOW"


class TestStop:
    def test_none_that_lives(self, settings):
        assert local.stop(settings) is False
        assert not settings.data_dir.exists()

    def test_one_that_lives_gets_sigterm(self, settings, holder):
        assert local.stop(settings) is True
        assert holder.poll() is not None
        assert local.running(settings.data_dir) is None

    def test_one_that_will_not_stop_is_told(self, settings, monkeypatch):
        settings.data_dir.mkdir()
        process = hold(settings, "stubborn")
        monkeypatch.setattr(local, "STOP_S", 0.3)
        try:
            with pytest.raises(Unavailable, match=f"process {process.pid} did not stop") as caught:
                local.stop(settings)
            assert caught.value.reason == "DAEMON_STUCK"
        finally:
            process.kill()
            process.communicate()


class TestRemote:
    @pytest.mark.parametrize("name", ["SAPIENCE_ADDRESS", "SAPIENCE_MEMORY_ADDRESS", "SAPIENCE_CONTROLLER_ADDRESS"])
    def test_an_address_in_the_environment_needs_no_daemon(self, settings, monkeypatch, name):
        monkeypatch.setenv(name, "127.0.0.1:1")
        assert local.remote()
        local.connect(settings, "default", pytest.fail).close()
        assert not settings.data_dir.exists()

    def test_without_one_a_daemon_is_needed(self, monkeypatch):
        for name in [name for name in os.environ if name.startswith("SAPIENCE_") and name.endswith("ADDRESS")]:
            monkeypatch.delenv(name)
        assert not local.remote()


class Waiting:
    """A client of services that come up one look after another. It stands in where a real one takes seconds."""

    def __init__(self, *looks: set[str], broken: str = "") -> None:
        self._looks = list(looks)
        self._broken = broken

    def status(self) -> sapience.SystemStatus:
        up = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        names = ("perception", "memory", "reasoning")
        services = tuple(
            sapience.ServiceStatus(name, name in up, 1.0, "" if name in up else "loading", None) for name in names
        )
        alone = sapience.Consolidation("off", 0, 0, "", "", sapience.DreamState.UNSPECIFIED, "")
        return sapience.SystemStatus(services, False, 1, None, alone)

    def encode(self, texts: list[str], timeout: float) -> None:
        self._call("perception")

    def models(self, timeout: float) -> list[sapience.Model]:
        kind = sapience.ModelKind.LANGUAGE_MODEL
        return [sapience.Model("wheel:x", kind, False, "", "", 0, "", 0)]

    def load_model(self, model: str, timeout: float) -> None:
        assert model == "wheel:x"
        self._call("reasoning")

    def _call(self, service: str) -> None:
        if service == self._broken:
            raise sapience.NotFound(f"{service} has no model")
        raise sapience.DeadlineExceeded("still loading")


class TestWaitReady:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch):
        monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def test_says_once_what_it_waits_for(self):
        said: list[str] = []
        everything = {"perception", "memory", "reasoning"}
        client = Waiting(set(), {"memory"}, {"memory"}, everything)
        local.wait_ready(client, said.append)  # type: ignore[arg-type]
        assert said == [
            "waiting for perception (loading), memory (loading), reasoning (loading)",
            "waiting for perception (loading), reasoning (loading)",
        ]

    def test_waits_for_what_is_needed_alone(self):
        local.wait_ready(Waiting({"memory"}), pytest.fail, ("memory",))  # type: ignore[arg-type]

    @pytest.mark.parametrize("broken", ["perception", "reasoning"])
    def test_a_model_that_cannot_be_loaded_ends_the_wait_with_the_reason(self, broken):
        up = {"perception", "memory", "reasoning"} - {broken}
        with pytest.raises(sapience.NotFound, match=f"{broken} has no model"):
            local.wait_ready(Waiting(up, broken=broken), lambda what: None)  # type: ignore[arg-type]

    def test_gives_up_and_names_what_never_came(self, monkeypatch):
        monkeypatch.setattr(local, "START_S", 0.05)
        with pytest.raises(Unavailable, match=r"not ready after 0 s: reasoning \(loading\)") as caught:
            local.wait_ready(Waiting({"perception", "memory"}), lambda what: None)  # type: ignore[arg-type]
        assert caught.value.reason == "NOT_READY"


class TestDataFolder:
    """What the daemon itself does with the folder."""

    def test_a_token_is_made_once_and_for_its_owner_alone(self, tmp_path):
        folder = tmp_path / "new"
        tokens = {daemon.token_of(folder) for _ in range(3)}
        assert len(tokens) == 1
        assert len(tokens.pop()) >= 32
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
        assert [path.name for path in folder.iterdir()] == ["token"]

    def test_many_that_make_a_token_at_once_agree(self, tmp_path):
        code = "import sys, pathlib; from services.daemon import token_of; print(token_of(pathlib.Path(sys.argv[1])))"
        command = [sys.executable, "-c", code, str(tmp_path)]
        several = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
        assert len({process.communicate(timeout=120)[0] for process in several}) == 1

    def test_a_folder_has_one_owner_at_a_time(self, settings, holder):
        with (
            pytest.raises(FailedPrecondition, match="another process works on") as caught,
            daemon.sole_owner(settings.data_dir),
        ):
            pass
        assert caught.value.reason == "DATA_FOLDER_IN_USE"
        holder.kill()
        holder.wait()
        with daemon.sole_owner(settings.data_dir):
            assert not (settings.data_dir / "daemon.json").exists(), "what a killed one left misleads"

    def test_a_look_by_a_client_does_not_keep_a_daemon_from_starting(self, tmp_path):
        with (tmp_path / "daemon.lock").open("a+") as looking:
            fcntl.flock(looking, fcntl.LOCK_SH)
            timer = threading.Timer(0.2, looking.close)
            timer.start()
            with daemon.sole_owner(tmp_path):
                pass
            timer.join()

    def test_it_can_be_found_for_as_long_as_it_serves(self, tmp_path):
        with daemon.discoverable(tmp_path, "127.0.0.1:5"):
            about = json.loads((tmp_path / "daemon.json").read_text())
            assert (about["address"], about["pid"]) == ("127.0.0.1:5", os.getpid())
        assert list(tmp_path.iterdir()) == []
