"""What only a file can do: it is killed, damaged, locked, full, or of another version."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from record_backends import (
    SPACE,
    T0,
    ids_of,
    refused,
    stated,
    told,
)

from core.clock import ManualClock
from core.errors import FailedPrecondition, Unavailable
from core.ids import RandomIds
from core.nouns import (
    Contradiction,
)
from memory.record.sqlite import SqliteRecord
from memory.record.sqlite import file as sqlite_file
from memory.record.sqlite.schema import APPLICATION_ID, MIGRATIONS


def opened(path: Path) -> SqliteRecord:
    clock = ManualClock(T0)
    return SqliteRecord(path, clock, RandomIds(clock, 1))


def test_a_killed_writer_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    command = [sys.executable, str(Path(__file__).with_name("record_backends.py")), str(path)]
    for kill_after in (1, 7):
        path.unlink(missing_ok=True)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline()) for _ in range(kill_after)]
            process.kill()
            acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
        record = opened(path)
        exported = {episode.text: concepts for episode, concepts in record.export_episodes("a")}
        assert {f"{batch}/{part}" for batch in acknowledged for part in range(5)} <= exported.keys()
        assert len(exported) % 5 == 0  # a batch is there whole or not at all
        assert all(len(concepts) == 1 for concepts in exported.values())
        assert len(record.outbox(10**6)) == len(exported) // 5
        record.close()
        for leftover in path.parent.glob("record.db-*"):
            leftover.unlink()


def test_only_its_owner_reads_the_file(tmp_path: Path) -> None:
    record = opened(tmp_path / "deep" / "record.db")
    record.create_namespace("a")
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "deep").iterdir()} == {0o600}
    record.close()


def test_what_was_forgotten_is_no_longer_in_the_files(tmp_path: Path) -> None:
    record = opened(tmp_path / "record.db")
    record.create_namespace("a")
    (episode,) = ids_of(record, told("the secret is 4711-XYZZY"))
    record.assert_fact("a", stated("Swordfish Society", literal="hidden", episode_id=episode))
    record.seq()

    def on_disk(words: bytes) -> bool:
        return any(words in path.read_bytes() for path in tmp_path.iterdir())

    assert on_disk(b"4711-XYZZY")
    record.forget("a", episode_ids=[episode])
    assert not on_disk(b"4711-XYZZY")
    assert not on_disk(b"Swordfish")
    record.close()


def test_a_file_of_an_earlier_version_is_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    for steps in range(1, len(MIGRATIONS)):
        sqlite_file.SqliteFile(path, APPLICATION_ID, MIGRATIONS[:steps]).close()
    record = opened(path)
    record.create_namespace("a")
    assert record.policies("a") == []
    record.set_policy("a", "lives_in", Contradiction.SINGLE)
    record.close()
    again = opened(path)
    assert [one.policy for one in again.policies("a")] == [Contradiction.SINGLE]
    again.close()


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    opened(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    assert "99" in refused(FailedPrecondition, "SCHEMA_TOO_NEW", lambda: opened(path)).message


def test_a_file_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE mine (x)")
    db.close()
    before = path.read_bytes()
    refused(FailedPrecondition, "STORE_FOREIGN", lambda: opened(path))
    assert path.read_bytes() == before


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    path.write_bytes(b"this is no database, but long enough to be taken for the header of one" * 20)
    refused(FailedPrecondition, "STORE_CORRUPT", lambda: opened(path))
    refused(FailedPrecondition, "STORE_UNREADABLE", lambda: opened(tmp_path))
    refused(FailedPrecondition, "STORE_UNREADABLE", lambda: opened(path / "below a file"))


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path: Path) -> None:
    record = opened(tmp_path / "record.db")
    record.create_namespace("a")
    ids_of(record, told("first"))
    with record._store._file.writing() as db:  # type: ignore[attr-defined]
        pages = db.execute("PRAGMA page_count").fetchone()[0]
    writer = record._store._file._writer  # type: ignore[attr-defined]
    writer.execute(f"PRAGMA max_page_count = {pages}")
    large = [told("x" * 5000, position=n) for n in range(50)]
    refused(FailedPrecondition, "STORE_FULL", lambda: record.remember("a", SPACE, large))
    assert record.counts("a").episodes == 1
    writer.execute("PRAGMA max_page_count = 1000000")
    assert len(record.remember("a", SPACE, large)) == 50
    record.close()


def test_a_file_that_another_process_holds_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.1)
    path = tmp_path / "record.db"
    record = opened(path)
    record.create_namespace("a")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    refused(Unavailable, "STORE_BUSY", lambda: record.remember("a", SPACE, [told("x")]))
    assert record.counts("a").episodes == 0  # readers do not wait
    other.execute("ROLLBACK")
    other.close()
    assert len(record.remember("a", SPACE, [told("x")])) == 1
    record.close()


def test_two_processes_may_write_one_file(tmp_path: Path) -> None:
    first, second = opened(tmp_path / "record.db"), opened(tmp_path / "record.db")
    first.create_namespace("a")
    assert second.remember("a", SPACE, [told("x", given_id="1")])[0].seq == 2
    assert first.remember("a", SPACE, [told("y", given_id="2")])[0].seq == 3
    assert first.remember("a", SPACE, [told("x")])[0].duplicate
    first.close()
    assert second.counts("a").episodes == 2
    second.close()
