"""What every bench prints: one object of flat figures, or a table."""

from __future__ import annotations

import json
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sapience
from typer.testing import CliRunner

from services import bench
from services.bench import rpc, sample
from services.bench.report import Report, versions
from services.cli.measuring import bench_app

REPORT = Report(
    "made-up",
    7,
    {"ratio_c1": 0.81234, "p99_ms_c32": 12.0},
    {"bare grpc.aio": {"rate_c1": 1000.0}},
    {"seconds": 3.0, "turns": 5},
    {"sapience": "1.2.3"},
)


def test_json_is_one_object_on_one_line(capsys):
    REPORT.show(as_json=True)
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out) == {
        "bench": "made-up",
        "seed": 7,
        "figures": {"ratio_c1": 0.81234, "p99_ms_c32": 12.0},
        "peers": {"bare grpc.aio": {"rate_c1": 1000.0}},
        "settings": {"seconds": 3.0, "turns": 5},
        "versions": {"sapience": "1.2.3"},
    }


def test_a_report_needs_no_peers_settings_or_versions(capsys):
    Report("made-up", 0, {}).show(as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert (told["figures"], told["peers"], told["settings"], told["versions"]) == ({}, {}, {}, {})


def test_a_table_shows_every_figure_with_its_seed_and_its_peers(capsys):
    REPORT.show(as_json=False)
    out = capsys.readouterr().out
    assert "bench made-up, seed 7" in out
    assert "bare grpc.aio" in out
    rows = dict(line.split() for line in out.splitlines() if len(line.split()) == 2)
    assert (rows["ratio_c1"], rows["p99_ms_c32"], rows["rate_c1"]) == ("0.812", "12.000", "1000.000")


def test_versions_say_what_was_measured_on_what():
    told = versions("numpy")
    assert told["python"] == platform.python_version()
    assert int(told["cores"]) >= 1
    assert {"sapience", "numpy"} <= told.keys()


def sapience_bench(*arguments):
    return CliRunner().invoke(bench_app, [str(one) for one in arguments])


def test_a_bench_is_run_by_its_name_and_takes_options_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(rpc, "run", lambda seed, seconds: Report("rpc", seed, {"seconds": seconds}))
    monkeypatch.setattr(sample, "run", lambda data, seed: Report("sample", seed, {"files": len(list(data.iterdir()))}))
    (tmp_path / "one").touch()
    done = sapience_bench("rpc", "--seed", 3, "--seconds", 1.5, "--json")
    assert json.loads(done.stdout)["figures"] == {"seconds": 1.5}
    done = sapience_bench("sample", "--data", tmp_path)
    assert "bench sample, seed 0" in done.stdout
    assert re.search(r"files +1\.000", done.stdout)


def test_every_bench_has_a_command():
    folder = Path(bench.__file__).parent
    runs = {one.stem for one in folder.glob("*.py") if re.search(r"^def run\(", one.read_text(), re.MULTILINE)}
    commands = {one.name or one.callback.__name__ for one in bench_app.registered_commands}
    assert commands == runs


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["wild"], "No such command 'wild'"),
        (["sample"], "Missing option '--data'"),
        (["rpc", "--histories", 3], "No such option: --histories"),
        (["soak", "--seconds", 0], "Invalid value for '--seconds'"),
        (["engine", "--device", "tpu"], "'tpu' is not one of 'cpu', 'cuda'"),
    ],
)
def test_what_a_bench_does_not_take_is_refused(arguments, says):
    done = sapience_bench(*arguments)
    assert done.exit_code == 2
    told = re.sub(r"\s*│\s*", " ", re.sub(r"\x1b\[[0-9;]*m", "", done.output))
    assert says in " ".join(told.split())


def test_figures_of_the_sample_count_each_kind_of_question_apart():
    """Refused and right are figured by hand here."""
    outcomes = [
        outcome("t1", cited=("t9", "t1")),
        outcome("t2", cited=("t9", "t8", "t7", "t2")),  # the fourth is too late
        outcome("t3", cited=()),  # refused though there is an answer
        outcome("t4", cited=("t4",), worded=True),
        outcome("", cited=()),
        outcome("", cited=("t9",)),  # answered though there is none
    ]
    assert sample._figures(outcomes) == {
        "right_turn@3": 0.5,
        "unanswerable_refused": 0.5,
        "answerable_refused": 0.25,
        "worded_by_model": 0.25,
    }


def outcome(evidence: str, *, cited: tuple[str, ...], worded: bool = False) -> sample.Outcome:
    now = datetime.now(UTC)
    citations = tuple(
        sapience.Citation("e", "c", "q", 0, 1, "Ada", "s", sapience.SourceKind.TESTIMONY, now, 0.9, name)
        for name in cited
    )
    answer = sapience.Answer(
        0, "t", now, "text", sapience.Verdict.ANSWERED if cited else sapience.Verdict.UNKNOWN, citations, 0.9, "m",
        sapience.StopReason.DONE, sapience.Wording.LANGUAGE_MODEL if worded else sapience.Wording.EXTRACTIVE, "",
    )  # fmt: skip
    question = sample.Question("q", "?", frozenset({evidence} - {""}), "fact", "held_out")
    return sample.Outcome(question, answer, None, 1.0)
