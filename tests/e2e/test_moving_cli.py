"""Facts by hand, backups and the index from the command line; no command here needs a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import Sapience, stopped_afterwards

NO_MODELS = {"SAPIENCE_ENCODER": "file:/nowhere", "SAPIENCE_LANGUAGE_MODEL": "file:/nowhere"}

pytestmark = pytest.mark.slow


@pytest.fixture
def sapience(tmp_path: Path) -> Iterator[Sapience]:
    with stopped_afterwards(Sapience(tmp_path / "first", NO_MODELS)) as one:
        yield one


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Sapience]:
    with stopped_afterwards(Sapience(tmp_path / "second", NO_MODELS)) as one:
        yield one


def said(sapience: Sapience, *options: str) -> list[tuple[str, bool]]:
    found = sapience.ok("facts", "Nora", "--json", *options).json
    return [(one["object"]["name"], one["retracted"]) for one in found]


def test_a_fact_is_said_corrected_and_the_correction_undone(sapience: Sapience) -> None:
    (fact,) = sapience.ok("assert", "Nora", "lives_in", "Leipzig", "--since", "2020-05-01", "--json").json
    corrected = sapience.ok("correct", fact["id"], "Bremen", "--from", "2024-03-01", "--json").json
    assert corrected["retraction"]["seq"] + 1 == corrected["assertion"]["seq"]
    assert said(sapience) == [("Bremen", False)]
    assert said(sapience, "--history") == [("Leipzig", False), ("Leipzig", True), ("Bremen", False)]
    sapience.ok("undo", str(corrected["assertion"]["seq"]))
    sapience.ok("undo", corrected["retraction"]["id"])
    assert said(sapience) == [("Leipzig", False)]
    again = sapience("undo", corrected["retraction"]["id"])
    assert (again.status, again.out) == (1, "")
    assert "nothing to undo" in again.err
    sapience.ok("retract", fact["id"])
    assert said(sapience) == []
    shown = sapience.ok("facts", "Nora", "--history").out
    assert fact["id"] in shown
    assert "taken back altogether" in shown


def test_ends_are_set_from_the_command_line(sapience: Sapience) -> None:
    sapience.ok("assert", "Nora", "likes", "tea", "--literal")
    assert "deletes after 30d" in sapience.ok("ttl", "30d", "--delete").out
    assert "keeps for good" in sapience.ok("ttl", "never").out
    assert "no span of time" in sapience("ttl", "soon").err
    assert "there is no Episode 'nobody'" in sapience("expire", "nobody", "--at", "2027-01-01").err
    assert "--at" in sapience("expire", "nobody").err


def test_a_backup_moves_the_store_with_its_numbers(sapience: Sapience, other: Sapience, tmp_path: Path) -> None:
    sapience.ok("assert", "Nora", "lives_in", "Leipzig", "--since", "2020-05-01")
    assert "1 Facts of 1 namespaces up to commit 2" in sapience.ok("backup", tmp_path / "monday").out
    sapience.ok("policies", "lives_in", "single")
    sapience.ok("assert", "Nora", "lives_in", "Bremen", "--since", "2024-05-01")
    made = sapience.ok("backup", tmp_path / "tuesday.zip", "--since", tmp_path / "monday", "--json").json
    assert made["up_to_seq"] == 4
    both = (tmp_path / "monday", tmp_path / "tuesday.zip")
    assert "every file is as it was written" in other.ok("restore", *both, "--verify").out
    assert "is there already" in sapience("backup", tmp_path / "monday").err
    refused = other("restore", tmp_path / "tuesday.zip")
    assert refused.status == 1
    assert "restore the one that it was made since first" in " ".join(refused.err.split())
    done = other.ok("restore", *both, "--up-to", "3", "--json").json
    assert (done["exact"], done["seq"], done["facts"], done["policies"]) == (True, 3, 1, 1)
    assert "the store is at commit 4" in other.ok("restore", *both).out
    assert other.ok("export").out == sapience.ok("export").out
    assert other.ok("index", "check").status == 0
    assert other.ok("index", "rebuild", "--thorough", "--json").json[0]["missing"] == 0
