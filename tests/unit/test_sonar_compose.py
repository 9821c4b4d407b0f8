"""The container of SONAR's own library: what its compose file and its lock promise."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = ("--file", "docker-compose.yml", "--file", "docker-compose.sonar.yml")


def compose(*options: str) -> dict[str, dict[str, object]]:
    program = Path(sys.executable).parent / "docker-compose"
    if not program.is_file():
        pytest.skip("docker-compose is not installed; `uv sync` brings it")
    done = subprocess.run(
        [program, *FILES, *options, "config", "--format", "json"],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, dict[str, object]] = json.loads(done.stdout)["services"]
    return found


def test_it_is_there_only_in_its_profile_and_as_confined_as_perception():
    assert "sonar" not in compose()
    services = compose("--profile", "sonar")
    sonar, perception = services["sonar"], services["perception"]
    for field in ("cap_drop", "security_opt", "read_only", "secrets", "networks", "volumes", "tmpfs", "init"):
        assert sonar[field] == perception[field], field
    assert [port["published"] for port in sonar["ports"]] == ["50055"]
    assert sonar["ports"][0]["host_ip"] == "127.0.0.1"
    assert sonar["build"]["target"] == "sonar"
    assert sonar["environment"]["SAPIENCE_ACCEPT_LICENCES"] == "", "nothing is accepted for anybody"


def test_the_lock_holds_what_sonar_was_tried_with():
    packages = tomllib.loads((ROOT / "perception" / "sonar" / "uv.lock").read_text(encoding="utf-8"))["package"]
    versions = {package["name"]: package["version"] for package in packages}
    assert {name: versions[name] for name in ("sonar-space", "fairseq2", "fairseq2n", "torch", "torchaudio")} == {
        "sonar-space": "0.5.0", "fairseq2": "0.8.1", "fairseq2n": "0.8.1", "torch": "2.9.1", "torchaudio": "2.9.1",
    }  # fmt: skip
