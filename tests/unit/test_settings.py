"""Settings: what is wrong is named by its variable, secrets come from files, and every one says what it means."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import FailedPrecondition
from services.runtime import settings
from services.runtime.settings import Settings, load, table


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of whoever runs the tests reaches them."""
    for name in [name for name in os.environ if name.startswith("SAPIENCE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(settings, "SECRETS_FOLDER", tmp_path / "none")


def test_all_have_defaults() -> None:
    found = load()
    assert found.listen == "127.0.0.1:50051"
    assert (found.record, found.index) == ("sqlite", "edge")
    assert found.token_text == ""
    assert found.data_dir.is_absolute()


@pytest.mark.parametrize(("name", "value"), [
    ("LISTEN", "50051"),
    ("LISTEN", "127.0.0.1:"),
    ("LISTEN", "127.0.0.1:65536"),
    ("LISTEN", ":50051"),
    ("METRICS_LISTEN", "localhost"),
    ("GATEWAY_LISTEN", "localhost:http"),
    ("RECORD", "mongo"),
    ("INDEX", "faiss"),
    ("DEVICE", "tpu"),
    ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"),
    ("QDRANT_GRPC_PORT", "0"),
    ("QDRANT_GRPC_PORT", "x"),
    ("MAX_IN_FLIGHT", "0"),
    ("MAX_MESSAGE_BYTES", "1"),
    ("DRAIN_S", "-1"),
    ("DEFAULT_DEADLINE_S", "0"),
    ("INDEX_WAIT_S", "soon"),
    ("THREADS", "-1"),
    ("TRACE_KEEP", "0"),
])  # fmt: skip
def test_what_is_wrong_is_named_by_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"SAPIENCE_{name}", value)
    with pytest.raises(FailedPrecondition, match=f"SAPIENCE_{name}: ") as caught:
        load()
    assert caught.value.reason == "BAD_SETTINGS"


def test_every_fault_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENCE_RECORD", "mongo")
    monkeypatch.setenv("SAPIENCE_DRAIN_S", "-1")
    with pytest.raises(FailedPrecondition) as caught:
        load()
    assert "SAPIENCE_RECORD: " in caught.value.message
    assert "SAPIENCE_DRAIN_S: " in caught.value.message


def test_secrets_come_from_files_and_variables_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(settings, "SECRETS_FOLDER", tmp_path)
    (tmp_path / "sapience_token").write_text("from a file\n")
    (tmp_path / "sapience_neo4j_password").write_text("secret")
    found = load()
    assert found.token_text == "from a file"
    assert found.neo4j_password is not None
    assert found.neo4j_password.get_secret_value() == "secret"
    monkeypatch.setenv("SAPIENCE_TOKEN", "from a variable")
    assert load().token_text == "from a variable"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TOKEN", "NEO4J_PASSWORD", "QDRANT_API_KEY"):
        monkeypatch.setenv(f"SAPIENCE_{name}", "hidden-word")
    assert "hidden-word" not in repr(load()) + str(load()) + load().model_dump_json()


def test_settings_do_not_change_and_unknown_ones_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAPIENCE_ADDRESS", "a setting of the client's")
    found = load(listen="127.0.0.1:0")
    assert found.listen == "127.0.0.1:0"
    with pytest.raises(ValueError, match="frozen"):
        found.listen = "127.0.0.1:1"  # type: ignore[misc]


def test_every_setting_says_what_it_means() -> None:
    rows = table()
    assert [name for name, _, _ in rows] == [f"SAPIENCE_{name.upper()}" for name in Settings.model_fields]
    assert all(meaning.endswith(".") for _, _, meaning in rows)
    defaults = {name: default for name, default, _ in rows}
    assert defaults["SAPIENCE_DATA_DIR"] == "the system's user data folder"
