"""`sapience train codec` and `train concepts`: runs from the command line, their ends, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from core.errors import AlreadyExists, InvalidArgument, SapienceError
from services.cli.main import app

pytest.importorskip("torch")


def sapience(*arguments: Any) -> str:
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    if isinstance(result.exception, SapienceError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_codec_is_trained_and_read_by_a_concept_model_of_ones_own_documents(tmp_path: Path) -> None:
    codec = json.loads(
        sapience("codec", "--out", tmp_path / "codec", "--steps", 3, "--dimensions", 32, "--sentences", 1000, "--json")
    )
    assert codec["finished"]
    assert codec["steps"] == 3
    assert (tmp_path / "codec" / "curriculum.svg").is_file()
    with pytest.raises(AlreadyExists):
        sapience("codec", "--out", tmp_path / "codec", "--steps", 3)
    lines = [json.dumps({"text": f"Nora has {n} cups. Felix takes one. Now Nora has {n - 1}."}) for n in range(1, 80)]
    (tmp_path / "cups.jsonl").write_text("\n".join(lines))
    asked = ("--codec", f"file:{codec['model']}", "--width", 32, "--steps", 4, "--device", "cpu")
    out = tmp_path / "concepts"
    told = json.loads(sapience("concepts", "--data", tmp_path / "cups.jsonl", "--out", out, *asked, "--json"))
    assert told["finished"]
    again = json.loads(sapience("concepts", "--out", out, "--resume", "--json"))
    assert (again["steps"], again["loss"]) == (told["steps"], told["loss"])
    config = json.loads((out / "model" / "config.json").read_text())
    assert config["space"]["dimensions"] == 32
    assert config["shape"]["method"] == "cross-entropy"


def test_a_method_that_is_none_and_data_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is no method"):
        sapience("concepts", "--method", "magic")
    with pytest.raises(InvalidArgument, match="is not there"):
        sapience("concepts", "--data", tmp_path / "none", "--out", tmp_path / "run")
    with pytest.raises(InvalidArgument, match="even number"):
        sapience("codec", "--dimensions", 33, "--out", tmp_path / "run")


def test_a_run_of_the_other_command_and_a_codec_that_is_none_leave_nothing_behind(tmp_path: Path) -> None:
    codec, run = tmp_path / "codec", tmp_path / "run"
    asked = ("--out", run, "--documents", 20, "--steps", 1, "--width", 32, "--device", "cpu")
    with pytest.raises(SapienceError, match="not-there"):
        sapience("concepts", "--codec", f"file:{tmp_path}/not-there", *asked)
    assert not run.exists()
    sapience("concepts", *asked)
    sapience("codec", "--out", codec, "--steps", 1, "--dimensions", 32, "--sentences", 1000)
    with pytest.raises(InvalidArgument, match="a run of another command"):
        sapience("codec", "--out", run, "--resume")
    with pytest.raises(InvalidArgument, match="a run of another command"):
        sapience("concepts", "--out", codec, "--resume")
