"""`sapience train`: a run from the command line, its end, its resumption, and what it refuses."""

import json

import pytest
from typer.testing import CliRunner

from core.errors import AlreadyExists, InvalidArgument, NotFound, SapienceError
from services.cli.main import app

pytest.importorskip("torch")
pytest.importorskip("transformers")

SMALL = (
    "--model new:1x64 --stages 1 --first-epochs 1 --epochs-per-stage 1 --epochs 3 --examples 8 --batch 4 --threads 1 "
    "--device cpu"
).split()


def sapience(*arguments):
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    if isinstance(result.exception, SapienceError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def sums(tmp_path):
    path = tmp_path / "sums.jsonl"
    rows = [{"question": f"{one} + 1 ?", "steps": [f"{one} and 1"], "answer": one + 1} for one in range(60)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_run_trains_saves_and_is_gone_on_with(tmp_path, sums):
    out = tmp_path / "run"
    told = json.loads(sapience("latent", "--task", sums, "--out", out, *SMALL, "--json"))
    assert told["finished"]
    assert told["epochs"] == 3
    assert [row["stage"] for row in told["metrics"] if "accuracy" in row] == [0, 1, 2]
    assert (out / "model" / "config.json").is_file()
    assert (out / "curriculum.svg").is_file()
    again = json.loads(sapience("latent", "--out", out, "--resume", "--json"))
    assert again == told
    with pytest.raises(AlreadyExists):
        sapience("latent", "--task", sums, "--out", out, *SMALL)


def test_a_config_is_a_beginning_that_flags_change(tmp_path, sums):
    out = tmp_path / "run"
    sapience("latent", "--config", "prosqa-gpt2-pause", "--task", sums, "--out", out, *SMALL, "--precision", "float32")
    asked = json.loads((out / "config.json").read_text())["settings"]
    assert (asked["curriculum"]["mode"], asked["curriculum"]["stages"], asked["batch"]) == ("pause", 1, 4)
    assert asked["curriculum"]["reset"] == "epoch"  # the config's own


def test_the_built_in_configs_are_listed_and_whole():
    names = [line.split()[0] for line in sapience("configs").splitlines()]
    assert {"prosqa-gpt2-coconut", "prosqa-smollm2-no-cot"} <= set(names)
    from services.cli.training import Settings, _config, _named

    for name in names:
        assert Settings.from_json(_config(_named(name))).task == "prosqa"


def test_methods_are_compared(tmp_path, sums):
    rows = json.loads(
        sapience(
            "compare",
            "--task",
            sums,
            "--model",
            "new:1x64",
            "--stages",
            1,
            "--epochs",
            1,
            "--minutes",
            0.001,
            "--methods",
            "coconut, no-cot",
            "--out",
            tmp_path / "runs",
            "--threads",
            1,
            "--device",
            "cpu",
            "--json",
        )
    )
    assert [row["method"] for row in rows] == ["coconut", "coconut, none", "coconut, pause", "no-cot"]
    assert all(row["examples"] == 32 for row in rows)


@pytest.mark.parametrize(
    ("arguments", "error", "field"),
    [
        (["latent", "--resume"], InvalidArgument, "out"),
        (["latent", "--resume", "--out", "nowhere"], NotFound, "out"),
        (["latent", "--task", "chess"], InvalidArgument, "task"),
        (["latent", "--task", "none.jsonl"], NotFound, "task"),
        (["latent", "--task", "arithmetic", "--mode", "dreams"], InvalidArgument, "mode"),
        (["latent", "--task", "arithmetic", "--budget", "huge"], InvalidArgument, "budget"),
        (["latent", "--task", "arithmetic", "--model", "gpt2"], InvalidArgument, "model"),
        (["latent", "--config", "none"], InvalidArgument, "config"),
        (["compare", "--methods", "coconut,guess"], InvalidArgument, "mode"),
    ],
)
def test_what_is_wrong_names_its_field(tmp_path, monkeypatch, arguments, error, field):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        sapience(*arguments)
    assert caught.value.field == field
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/checkpoint.pt"))
