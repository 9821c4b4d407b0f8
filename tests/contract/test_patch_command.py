"""`sapience patch` on the real daemon: any file comes back whole, and a terminal shows its patches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from services.cli.main import app

DATA = "We went up to the hut on Saturday.\nStraße 語 \x1b[31m\n".encode() + b"\xff\x00"


@pytest.fixture
def file(daemon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAPIENCE_DATA_DIR", str(daemon.data_dir))
    path = tmp_path / "bytes"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("rule", ["global", "monotonic", "combined"])
def test_the_patches_as_json_are_the_file(file: Path, rule: str) -> None:
    shown = CliRunner().invoke(app, ["patch", str(file), "--rule", rule, "--json"], catch_exceptions=False)
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert "".join(one["bytes"] for one in lines).encode("latin-1") == DATA
    assert [one["start"] for one in lines] == [0, *(one["end"] for one in lines[:-1])]


def test_a_terminal_shows_bars_and_no_control_characters_of_the_file(file: Path) -> None:
    shown = CliRunner().invoke(app, ["patch", str(file), "--mean", "6"], catch_exceptions=False).stdout
    assert "hut" in shown
    assert "Straße" in shown
    assert r"\x1b[31m" in shown.replace("▇", "").replace("▆", "").replace("█", "").replace("▅", "").replace("▄", "")
    assert "\x1b[31m" not in shown
    assert "bytes each" in shown
    assert "models:byte-ngram" in shown
