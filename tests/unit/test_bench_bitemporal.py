"""The bench of as-of answers: its histories are of every kind, its oracle is not ours, and it finds what is wrong."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from core.nouns import Contradiction
from memory import temporal
from services.bench import bitemporal, histories
from services.bench.histories import PolicyChange, Version, group, holds

NOWHERE = "bolt://127.0.0.1:9"


def test_a_record_agrees_with_the_oracle_and_a_missing_server_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = bitemporal.run(3, 260, NOWHERE)
    assert report.figures["agreement_sqlite"] == 1.0
    assert report.figures["questions"] == 2 * 10 * 4 + 260 * 10, "each history, and each Entity that is an object"
    assert "agreement_neo4j" not in report.figures
    assert NOWHERE.removeprefix("bolt://") in str(report.settings["neo4j"])
    assert "agreement_neo4j is left out" in capsys.readouterr().err
    for peer in ("as known now", "no policies"):
        assert report.peers[peer]["agreement"] < 0.95, "the questions are not such that anything answers them"


def test_a_wrong_rule_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    choices = dict(temporal._CHOICE) | {Contradiction.SET: temporal._CHOICE[Contradiction.SINGLE]}
    monkeypatch.setattr(temporal, "_CHOICE", choices)
    assert bitemporal.run(3, 50, NOWHERE).figures["agreement_sqlite"] < 1
    assert "sqlite disagrees: seed 3, group 0" in capsys.readouterr().err


def test_the_oracle_shares_no_code_with_what_it_judges() -> None:
    tree = ast.parse(Path(histories.__file__).read_text(encoding="utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.split(".")[0] in ("core", "memory", "services")} == {
        "core.nouns"
    }


def test_histories_are_of_every_kind_and_the_same_for_a_seed() -> None:
    one = group(5, 0, 50)
    assert one == group(5, 0, 50)
    assert one != group(6, 0, 50) != group(5, 1, 50)
    versions = [step for step in one.steps if isinstance(step, Version)]
    told = [version.told for version in versions]
    assert told != sorted(told), "committed in another order than told"
    assert {version.retracted for version in versions} == {True, False}
    assert {version.start is None for version in versions} == {version.end is None for version in versions}
    assert len({version.trust for version in versions}) > 3
    assert {version.source for version in versions} == {None, *range(len(histories.SOURCES))}
    assert {step.policy for step in one.steps if isinstance(step, PolicyChange)} == set(Contradiction)
    assert len(holds(one, one.questions[0])) == 50
