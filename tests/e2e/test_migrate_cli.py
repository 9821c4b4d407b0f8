"""`sapience migrate` as its user has it, and a daemon that is killed with -9 in the middle of it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import PATIENCE_S, Sapience, eventually, stopped_afterwards

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # many commands, each a process that starts

EPISODES = 1500


def encoder(folder: Path, size: int) -> str:
    """The address of a sentence encoder with random weights that reads letters."""
    folder.mkdir()
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789.,?"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(size)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=size, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=128, initializer_range=0.5,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    return f"file:{folder}"


@pytest.fixture
def addresses(tmp_path: Path) -> tuple[str, str]:
    return encoder(tmp_path / "old", 16), encoder(tmp_path / "new", 24)


@pytest.fixture
def sapience(tmp_path: Path, addresses: tuple[str, str]) -> Iterator[Sapience]:
    old, new = addresses
    models = {"SAPIENCE_ENCODER": old, "SAPIENCE_ENCODERS": new, "SAPIENCE_LANGUAGE_MODEL": "file:/nowhere"}
    with stopped_afterwards(Sapience(tmp_path / "data", models)) as one:
        yield one


def migration(data_dir: Path) -> dict[str, Any]:
    """The migration that the record keeps, read beside the daemon; empty while there is none."""
    with sqlite3.connect(f"file:{data_dir / 'record.sqlite'}?mode=ro", uri=True) as db:
        row = db.execute("SELECT state, body FROM migration").fetchone()
    return {} if row is None else {**json.loads(row[1]), "state": row[0]}


def test_a_kill_in_the_middle_loses_nothing_and_the_next_start_goes_on(
    sapience: Sapience, addresses: tuple[str, str], tmp_path: Path
) -> None:
    old, new = addresses
    told = tmp_path / "told.jsonl"
    lines = [{"speaker": "Ann", "text": f"Item {n} was seen.", "time": "2024-05-01T10:00:00Z"} for n in range(EPISODES)]
    told.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sapience.ok("namespaces", "create", "notes")
    sapience.ok("import", told, "--namespace", "notes")
    plan = sapience.ok("migrate", "notes", "--to", new, "--plan").out
    assert "1,500 Concepts" in plan
    assert "(16)" in plan
    assert "(24)" in plan
    command = sapience.start("migrate", "notes", "--to", new, "--yes")
    deadline = time.monotonic() + PATIENCE_S
    while not migration(sapience.data_dir).get("done"):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.kill(sapience.daemon()["pid"], signal.SIGKILL)
    before = migration(sapience.data_dir)
    assert before["state"] == 1, "it was killed while it encoded"
    assert 0 < before["done"] < EPISODES
    command.wait(PATIENCE_S)
    (known,) = sapience.ok("migrations", "list", "notes", "--json").json
    assert known["done"] >= before["done"]
    eventually("the migration has ended", lambda: migration(sapience.data_dir)["state"] == 3)
    ended = migration(sapience.data_dir)
    assert ended["done"] == EPISODES, "no page was done twice"
    assert sapience.ok("migrations", "spaces", "--json").json[0]["model"] == new
    checked = sapience.ok("index", "check", "--json").json
    (notes,) = [one for one in checked if one["namespace"] == "notes"]
    assert (notes["concepts"], notes["missing"], notes["foreign"]) == (EPISODES, 0, 0)
    assert sapience.ok("recall", "Item 1234 was seen.", "--namespace", "notes", "--json").json
    assert "namespaces with vectors: 1" in sapience("doctor").out
    # A daemon that knows the old encoder only says what is the matter, and how to mend it.
    sapience.ok("down")
    said = sapience("recall", "Item 7", "--namespace", "notes", SAPIENCE_ENCODERS="")
    assert said.status == 1
    assert "sapience migrate" in said.err
    assert "no loaded encoder has the space of: notes" in " ".join(sapience("doctor", SAPIENCE_ENCODERS="").out.split())
