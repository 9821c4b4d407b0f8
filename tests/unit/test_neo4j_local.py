"""What `scripts/neo4j-local` promises without a real Java: arguments, statuses, fetching, and whose process is whose.

Every test runs the script as its users do. Where a `java` or `mvn` is on PATH here it is a few lines of shell that
stand in for a program this machine may not have; the congruence tests use the real server, through the script itself.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "neo4j-local"
JAVA_17 = "echo 'openjdk version \"17.0.15\" 2025-04-15' >&2"
MAVEN = """
echo call >> "$CALLS"
for argument; do case "$argument" in -DoutputDirectory=*) out="${argument#*=}";; esac; done
/bin/mkdir -p "$out"
/bin/sleep 0.3
: > "$out/neo4j-server-5.26.30.jar"
: > "$out/neo4j-security-5.26.30.jar"
"""

Install = Callable[[str, str], None]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No program on PATH, and every folder the script may write to inside `tmp_path`."""
    for name in ("bin", "tmp"):
        (tmp_path / name).mkdir()
    return {
        "PATH": str(tmp_path / "bin"),
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path / "tmp"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "CALLS": str(tmp_path / "calls"),
    }


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Put a shell script on the PATH of `environment`."""

    def install(name: str, script: str) -> None:
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return install


@pytest.fixture
def lib(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "sapience" / "neo4j-5.26.30" / "lib"


def command(*arguments: str) -> list[str]:
    return [sys.executable, str(SCRIPT), *arguments]


def neo4j_local(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_script_is_executable_and_its_help_has_examples(environment: dict[str, str]) -> None:
    assert os.access(SCRIPT, os.X_OK)
    done = neo4j_local(environment, "--help")
    assert done.returncode == 0
    assert "neo4j-local run -- pytest tests/congruence" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "required"),
        (["fly"], "invalid choice: 'fly'"),
        (["start"], "one of the arguments --password --password-file --no-auth is required"),
        (["start", "--no-auth", "--password", "long enough"], "not allowed with"),
        (["start", "--password", "short"], "shorter than 8"),
        (["start", "--password", "two\nlines of it"], "control character"),
        (["start", "--password-file", "/no/such/file"], "/no/such/file"),
        (["start", "--no-auth", "--port", "70000"], "'70000' is no port"),
        (["start", "--no-auth", "--heap", "much"], "'much' is no heap size"),
        (["start", "--no-auth", "--timeout", "-1"], "--timeout"),
        (["start", "--no-auth", "--", "pytest"], "start takes nothing after `--`"),
        (["run"], "run needs `-- COMMAND...`"),
        (["run", "pytest"], "unrecognized arguments: pytest"),
    ],
)
def test_wrong_arguments_exit_2_and_name_what_is_wrong(
    environment: dict[str, str], arguments: list[str], complaint: str
) -> None:
    done = neo4j_local(environment, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert complaint in done.stderr


@pytest.mark.parametrize("arguments", [["fetch"], ["start", "--no-auth"], ["run", "--", "true"]])
def test_without_java_exits_3_says_how_to_get_it_and_leaves_nothing(
    environment: dict[str, str], tmp_path: Path, arguments: list[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    done = neo4j_local(environment, *arguments)
    assert (done.returncode, done.stdout) == (3, "")
    assert "needs Java 17 or 21" in done.stderr
    assert "openjdk-17-jre-headless" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_java_of_another_release_counts_as_missing(environment: dict[str, str], install: Install) -> None:
    install("java", "echo 'java version \"1.8.0_392\"' >&2")
    done = neo4j_local(environment, "start", "--no-auth")
    assert done.returncode == 3
    assert "is Java 8" in done.stderr


def test_java_home_is_looked_at_before_path(environment: dict[str, str], install: Install, tmp_path: Path) -> None:
    install("java", "echo 'java version \"11.0.1\"' >&2")
    java = tmp_path / "jdk" / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\n{JAVA_17}\n")
    java.chmod(0o755)
    done = neo4j_local(environment | {"JAVA_HOME": str(tmp_path / "jdk")}, "fetch")
    assert "no `mvn` on PATH" in done.stderr  # it went past Java


def test_without_maven_exits_3_and_says_how_to_get_it(environment: dict[str, str], install: Install) -> None:
    install("java", JAVA_17)
    done = neo4j_local(environment, "fetch")
    assert done.returncode == 3
    assert "apt install maven" in done.stderr


def test_fetch_runs_maven_once_and_then_needs_neither_maven_nor_java(
    environment: dict[str, str], install: Install, tmp_path: Path, lib: Path
) -> None:
    install("java", JAVA_17)
    install("mvn", MAVEN)
    done = neo4j_local(environment, "fetch")
    assert (done.returncode, done.stdout) == (0, f"{lib}\n")
    for program in (tmp_path / "bin").iterdir():
        program.unlink()
    done = neo4j_local(environment, "fetch")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{lib}\n", "")


def test_fetches_at_the_same_time_bring_one_whole_folder(
    environment: dict[str, str], install: Install, tmp_path: Path, lib: Path
) -> None:
    install("java", JAVA_17)
    install("mvn", MAVEN)
    fetches = [subprocess.Popen(command("fetch"), env=environment, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [fetch.wait(60) for fetch in fetches] == [0, 0, 0]
    assert (tmp_path / "calls").read_text() == "call\n"
    assert len(list(lib.iterdir())) == 2


@pytest.mark.parametrize(
    ("maven", "complaint"),
    [
        ("echo 'Could not resolve host'; exit 1", "Could not resolve host"),
        ("exit 0", "without neo4j-server-5.26.30.jar"),
    ],
)
def test_a_failed_fetch_shows_mavens_words_and_is_not_taken_for_a_whole_one(
    environment: dict[str, str], install: Install, lib: Path, maven: str, complaint: str
) -> None:
    install("java", JAVA_17)
    install("mvn", maven)
    done = neo4j_local(environment, "fetch")
    assert done.returncode == 1
    assert complaint in done.stderr
    assert not lib.exists()


def test_what_an_interrupted_fetch_left_is_thrown_away(
    environment: dict[str, str], install: Install, lib: Path
) -> None:
    install("java", JAVA_17)
    install("mvn", MAVEN)
    partial = lib.with_name("lib.partial")
    partial.mkdir(parents=True)
    (partial / "half.jar").write_text("half")
    assert neo4j_local(environment, "fetch").returncode == 0
    assert not partial.exists()
    assert not (lib / "half.jar").exists()


def test_start_refuses_a_port_that_is_taken(
    environment: dict[str, str], install: Install, tmp_path: Path, lib: Path
) -> None:
    install("java", JAVA_17)
    lib.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        home = str(tmp_path / "home")
        done = neo4j_local(environment, "start", "--no-auth", "--home", home, "--port", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"port {port} of 127.0.0.1: Address already in use" in done.stderr


def test_start_shows_the_end_of_the_log_of_a_server_that_died(
    environment: dict[str, str], install: Install, tmp_path: Path, lib: Path
) -> None:
    install("java", f'[ "$1" = -version ] && {{ {JAVA_17}; exit 0; }}; echo "no memory left"; exit 1')
    lib.mkdir(parents=True)
    home = tmp_path / "home"
    done = neo4j_local(environment, "start", "--no-auth", "--home", str(home), "--port", "0")
    assert (done.returncode, done.stdout) == (1, "")
    assert "  | no memory left" in done.stderr
    assert (home / "logs" / "console.log").read_text() == "no memory left\n"


def test_run_removes_its_home_and_does_not_run_the_command_when_the_server_dies(
    environment: dict[str, str], install: Install, tmp_path: Path, lib: Path
) -> None:
    install("java", f'[ "$1" = -version ] && {{ {JAVA_17}; exit 0; }}; exit 1')
    install("touch-it", ': > "$CALLS"')
    lib.mkdir(parents=True)
    done = neo4j_local(environment, "run", "--", "touch-it")
    assert done.returncode == 1
    assert not (tmp_path / "calls").exists()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_status_and_stop_where_nothing_runs(environment: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    status = neo4j_local(environment, "status", "--home", str(home))
    assert status.returncode == 1
    assert json.loads(status.stdout) == {"running": False, "home": str(home)}
    stop = neo4j_local(environment, "stop", "--home", str(home))
    assert (stop.returncode, stop.stdout) == (0, "")
    assert f"nothing runs on {home}" in stop.stderr
    assert not home.exists()


def test_a_process_that_only_has_the_servers_old_number_is_left_alone(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "server.lock").touch()
    with subprocess.Popen(["sleep", "60"]) as bystander:
        line = {"url": "bolt://127.0.0.1:1", "pid": bystander.pid, "home": str(tmp_path)}
        (tmp_path / "server.json").write_text(json.dumps(line))
        assert neo4j_local(environment, "status", "--home", str(tmp_path)).returncode == 1
        assert neo4j_local(environment, "stop", "--home", str(tmp_path)).returncode == 0
        assert bystander.poll() is None
        bystander.kill()


def test_status_tells_a_server_that_does_not_answer(environment: dict[str, str], tmp_path: Path) -> None:
    line = {"url": "bolt://127.0.0.1:1", "pid": os.getpid(), "home": str(tmp_path)}
    (tmp_path / "server.json").write_text(json.dumps(line))
    with (tmp_path / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = neo4j_local(environment, "status", "--home", str(tmp_path))
    assert done.returncode == 1
    assert json.loads(done.stdout) == {"running": True, "answers": False} | line


def test_stop_ends_a_server_that_ignores_sigterm(environment: dict[str, str], tmp_path: Path) -> None:
    with (tmp_path / "server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stubborn = subprocess.Popen(
            [sys.executable, "-c", "import signal as s; s.signal(s.SIGTERM, s.SIG_IGN); print(flush=True); s.pause()"],
            stdout=subprocess.PIPE,
            pass_fds=[lock.fileno()],
        )
    with stubborn:
        assert stubborn.stdout is not None
        stubborn.stdout.readline()  # it ignores SIGTERM from here on
        line = {"url": "bolt://127.0.0.1:1", "pid": stubborn.pid, "home": str(tmp_path)}
        (tmp_path / "server.json").write_text(json.dumps(line))
        done = neo4j_local(environment, "stop", "--home", str(tmp_path), "--timeout", "0.3")
        assert done.returncode == 0
        assert "0.3 s after SIGTERM: sending SIGKILL" in done.stderr
        assert stubborn.wait(10) == -9
