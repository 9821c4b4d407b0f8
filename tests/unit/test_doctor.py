"""`sapience doctor`: each thing that can be wrong is found and comes with its mend; what is well is left alone."""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
from pathlib import Path

import pytest
from pydantic import SecretStr

from memory.record.sqlite.schema import MIGRATIONS
from services.cli import doctor
from services.cli.doctor import Finding
from services.runtime.settings import Settings


def model_folder(folder: Path) -> str:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text("")
    return f"file:{folder}"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a set-up with nothing wrong and nothing there yet."""
    monkeypatch.setattr(doctor, "FREE_BYTES", 1)
    model = model_folder(tmp_path / "model")
    return Settings(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", encoder=model, language_model=model, device="cpu"
    )


def found(settings: Settings, **changed: object) -> dict[str, Finding]:
    """The findings by what they are about. Every one that is not well says how to mend it."""
    findings = {one.what: one for one in doctor.findings(settings.model_copy(update=changed))}
    assert all(one.well or one.mend for one in findings.values())
    return findings


def ill(findings: dict[str, Finding]) -> list[str]:
    return [what for what, one in findings.items() if not one.well]


def test_a_fresh_set_up_is_well_and_nothing_is_made(settings, tmp_path):
    findings = found(settings)
    assert ill(findings) == []
    assert findings["token"].detail.startswith("none yet")
    assert findings["record"].detail == "none yet"
    assert findings["daemon"].detail.startswith("not running")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_packages_that_are_missing_are_named(settings, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None if name == "qdrant_edge" else name)
    finding = found(settings)["packages"]
    assert (finding.well, finding.detail) == (False, "missing: qdrant_edge")
    assert "uv sync --extra all" in finding.mend


@pytest.mark.parametrize("name", ["data", "cache"])
def test_a_file_in_the_place_of_a_folder_is_named(settings, tmp_path, name):
    (tmp_path / "file").write_text("")
    findings = found(settings, **{f"{name}_dir": tmp_path / "file" / "below"})
    assert ill(findings) == [f"{name} folder"]
    assert f"{tmp_path / 'file'} is a file" in findings[f"{name} folder"].detail
    assert f"SAPIENCE_{name.upper()}_DIR" in findings[f"{name} folder"].mend


@pytest.mark.parametrize("name", ["data", "cache"])
def test_a_folder_that_cannot_be_written_is_named(settings, tmp_path, monkeypatch, name):
    """Whoever runs this may be root, who may write anywhere: so the system's answer stands in for it."""
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path / "locked")
    (tmp_path / "locked").mkdir()
    findings = found(settings, **{f"{name}_dir": tmp_path / "locked" / "below"})
    assert ill(findings) == [f"{name} folder"]
    assert findings[f"{name} folder"].detail == f"{tmp_path}/locked/below cannot be written"


def test_a_disk_that_is_full_is_named(settings, monkeypatch):
    monkeypatch.setattr(doctor, "FREE_BYTES", 1 << 80)
    findings = found(settings)
    assert ill(findings) == ["data folder", "cache folder"]
    assert "free some space" in findings["data folder"].mend


@pytest.mark.parametrize(("mode", "well"), [(0o600, True), (0o400, True), (0o640, False), (0o604, False)])
def test_a_token_that_others_can_read_is_named(settings, mode, well):
    settings.data_dir.mkdir()
    token = settings.data_dir / "token"
    token.write_text("secret")
    token.chmod(mode)
    finding = found(settings)["token"]
    assert finding.well is well
    assert f"{mode:04o}" in finding.detail
    assert finding.mend == f"others can read it: chmod 600 {token}"
    assert "secret" not in finding.detail


@pytest.mark.parametrize(("setting", "what"), [("encoder", "encoder"), ("language_model", "language model")])
@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("gpt2", "'gpt2' is no model address"),
        ("wheel:no-such-wheel", "no distribution named 'no-such-wheel'"),
        ("file:/no/such/model", "/no/such/model is not there"),
    ],
)
def test_a_model_that_is_not_there_is_named(settings, setting, what, address, says):
    findings = found(settings, **{setting: address})
    assert ill(findings) == [what]
    assert says in findings[what].detail
    assert f"SAPIENCE_{setting.upper()}" in findings[what].mend


def test_a_model_of_the_hub_is_not_fetched(settings, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: pytest.fail("it was fetched"))
    finding = found(settings, encoder="hf:owner/model")["encoder"]
    assert finding.well
    assert "fetched" in finding.detail


def test_a_gpu_that_is_asked_for_and_not_there_is_named(settings):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        assert ill(found(settings, device="cuda")) == []
    else:
        findings = found(settings, device="cuda")
        assert ill(findings) == ["device"]
        assert "SAPIENCE_DEVICE=cpu" in findings["device"].mend


def test_a_sound_record_is_told_from_a_broken_one(settings):
    settings.data_dir.mkdir()
    path = settings.data_dir / "record.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE t (x TEXT UNIQUE)")
    database.executemany("INSERT INTO t VALUES (?)", [(f"{number:0200}",) for number in range(500)])
    database.commit()
    database.close()
    assert "sound" in found(settings)["record"].detail

    pages = bytearray(path.read_bytes())
    pages[8192:16384] = bytes(8192)
    path.write_bytes(pages)
    findings = found(settings)
    assert ill(findings) == ["record"]
    assert "sapience restore" in findings["record"].mend

    path.write_bytes(b"this is no database" * 100)
    assert "not a database" in found(settings)["record"].detail


def test_the_schema_of_the_record_is_told_and_what_a_start_would_make_of_it(settings):
    settings.data_dir.mkdir()
    path = settings.data_dir / "record.sqlite"
    known = len(MIGRATIONS)
    for version, says in (
        (known, f"schema {known}"),
        (1, f"schema 1: the next start copies it to record.sqlite.before-{known} and brings it to {known}"),
    ):
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute(f"PRAGMA user_version = {version}")
        assert found(settings)["record"].detail.endswith(says)
        assert ill(found(settings)) == []
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    findings = found(settings)
    assert ill(findings) == ["record"]
    assert "99" in findings["record"].detail
    assert "version that wrote it" in findings["record"].mend


def test_servers_that_do_not_answer_are_named(settings):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    findings = found(
        settings,
        record="neo4j",
        neo4j_url=f"bolt://127.0.0.1:{port}",
        neo4j_password=SecretStr("p"),
        index="qdrant",
        qdrant_url=f"http://127.0.0.1:{port}",
    )
    assert ill(findings) == ["neo4j", "qdrant"]
    assert f"127.0.0.1:{port}" in findings["neo4j"].detail
    assert "SAPIENCE_NEO4J_URL" in findings["neo4j"].mend
    assert "SAPIENCE_QDRANT_URL" in findings["qdrant"].mend


def test_a_server_that_answers_is_well(settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"bolt://127.0.0.1:{server.getsockname()[1]}"
        assert ill(found(settings, record="neo4j", neo4j_url=url)) == []


def test_examine_prints_the_findings_and_says_whether_anything_is_wrong(settings, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "load", lambda: settings)
    assert doctor.examine() is False
    monkeypatch.setattr(doctor, "load", lambda: settings.model_copy(update={"encoder": "[red]gpt2"}))
    assert doctor.examine() is True
    out = capsys.readouterr().out
    assert "✗ encoder: '[red]gpt2' is no model address" in out
    assert "\n    set SAPIENCE_ENCODER" in out
