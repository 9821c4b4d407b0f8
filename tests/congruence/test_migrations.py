"""A SQLite record of an earlier version: copied, brought up to date, and whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from old_files import FIRST, TOLD, oldest
from record_backends import SPACE, T0, told

from core.clock import ManualClock
from core.errors import FailedPrecondition
from core.ids import RandomIds
from core.nouns import Interval, SourceKind
from memory.record.sqlite import SqliteRecord, file
from memory.record.sqlite.schema import MIGRATIONS

LATEST = len(MIGRATIONS)


def opened(path: Path) -> SqliteRecord:
    clock = ManualClock(T0)
    return SqliteRecord(path, clock, RandomIds(clock, seed=1))


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def test_a_file_of_the_oldest_version_answers_as_it_did_and_does_all_that_a_new_one_does(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    oldest(path)
    record = opened(path)
    (episode,) = record.episodes("a", [FIRST]).values()
    assert (episode.text, episode.told_at, episode.seq) == ("one", TOLD, 2)
    (fact,) = record.facts("a", "Ann")
    assert (fact.relation, fact.valid, fact.episode_id) == ("lives_in", Interval(), FIRST)
    assert record.speakers("a") == {"Ann": 1}
    assert record.space_of("a") == SPACE
    (stored,) = record.stored_episodes("a", 0, record.seq())
    assert stored.episode.source.kind is SourceKind.TESTIMONY
    record.archive("a", [FIRST])
    record.forget("a", episode_ids=[FIRST])
    assert record.remember("a", SPACE, [told("x", given_id=FIRST)], bring_back=False)[0].deleted
    assert file.schema_version(path) == LATEST
    record.close()


def test_it_is_copied_before_anything_is_changed_and_only_then(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    oldest(path)
    before = dump(path)
    opened(path).close()
    copy = tmp_path / f"record.db.before-{LATEST}"
    assert copy == file.before_migration(path, LATEST)
    assert (file.schema_version(copy), dump(copy)) == (1, before)
    assert copy.stat().st_mode & 0o777 == 0o600
    made = copy.stat().st_mtime_ns
    opened(path).close()
    assert copy.stat().st_mtime_ns == made
    assert sorted(one.name for one in tmp_path.iterdir()) == ["record.db", copy.name]
    opened(tmp_path / "new.db").close()
    assert not list(tmp_path.glob("new.db.before*"))


def test_the_copy_opens_with_the_program_that_wrote_it(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    oldest(path)
    opened(path).close()
    copy = file.before_migration(path, LATEST)
    with closing(sqlite3.connect(copy)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert db.execute("SELECT text FROM episode").fetchall() == [("one",)]


def test_without_room_for_the_copy_nothing_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "record.db"
    oldest(path)
    before = dump(path)
    (tmp_path / f"record.db.before-{LATEST}.partial").mkdir()
    with pytest.raises(FailedPrecondition) as caught:
        opened(path)
    assert caught.value.reason == "STORE_UNREADABLE"
    assert "before-" in caught.value.message
    assert (file.schema_version(path), dump(path)) == (1, before)
