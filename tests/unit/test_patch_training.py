"""A byte model from files: `sapience train patches`, its figures, and a model calibrated for other text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from core.errors import InvalidArgument
from core.models import ModelAddress, locate, shipped
from perception.segment import patcher
from perception.segment.patches import Rule, patch
from perception.segment.training import dealt, recalibrate, train
from services.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docs" / "architecture.md"


def test_blocks_are_dealt_out_whole_and_once() -> None:
    text = FILE.read_bytes()
    parts = dealt([text, text[:5000]], 3, (0.5, 0.25, 0.25))
    assert sum(len(block) for part in parts for block in part) == len(text) + 5000
    assert sorted(block for part in parts for block in part) == sorted(
        block for part in dealt([text, text[:5000]], 4, (1.0,)) for block in part
    )
    shares = [sum(map(len, part)) / (len(text) + 5000) for part in parts]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.05)
    assert dealt([text], 3, (0.5, 0.5)) == dealt([text], 3, (0.5, 0.5)) != dealt([text], 4, (0.5, 0.5))
    with pytest.raises(InvalidArgument, match="too few"):
        dealt([text[:1500]], 0, (0.5, 0.5))


def test_the_command_makes_a_model_that_loads_and_says_how_it_does(tmp_path: Path) -> None:
    asked = [
        "train",
        "patches",
        str(FILE),
        "--out",
        str(tmp_path / "m"),
        "--order",
        "4",
        "--licence",
        "CC0-1.0",
        "--json",
    ]
    told = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    assert told["bytes_per_patch_global"] == pytest.approx(4.5, abs=1)
    assert 0 < told["bits_per_byte"] < 4
    made = patcher.load(ModelAddress("file", str(tmp_path / "m")))
    assert (made.licence, made.parameters) == ("CC0-1.0", told["contexts"])
    data = FILE.read_bytes()[:3000]
    for rule in Rule:
        assert b"".join(patch(made.model, data, made.cut_for(rule)).of(data)) == data

    german = tmp_path / "german.txt"
    german.write_text("Der Zug hatte heute Morgen wieder Verspätung, also gingen wir zu Fuß nach Hause.\n" * 60)
    asked = [
        "train",
        "patches",
        str(german),
        "--from",
        f"file:{tmp_path / 'm'}",
        "--out",
        str(tmp_path / "de"),
        "--json",
    ]
    told = json.loads(CliRunner().invoke(app, asked, catch_exceptions=False).stdout)
    calibrated = patcher.load(ModelAddress("file", str(tmp_path / "de")))
    assert calibrated.parameters == made.parameters
    assert calibrated.cut_for(Rule.GLOBAL) != made.cut_for(Rule.GLOBAL)


def test_the_model_that_comes_with_sapience() -> None:
    address = ModelAddress.parse("models:byte-ngram")
    assert address in shipped("patcher")
    assert address not in shipped("language")
    assert sum(file.stat().st_size for file in locate(address).iterdir()) < 2 << 20
    ours = patcher.load(address)
    for rule in Rule:
        for mean in (2.0, 4.5, 16.0):
            assert ours.cut_for(rule, mean=mean).rule is rule
    # A word, once begun, is easier to foresee than its beginning.
    entropies = ours.model.entropies(b"We asked them because of the weather")
    assert entropies[-1] < entropies[-7]


def test_a_model_is_calibrated_on_texts_of_another_kind() -> None:
    text = FILE.read_bytes()
    other = text.upper()
    made = train([text], calibrate_on=[other], order=3)
    own = recalibrate(made.model, [text])
    for trained in (made, own):
        for rule in Rule:
            assert trained.figures[f"bytes_per_patch_{rule}"] == pytest.approx(4.5, rel=0.15)
