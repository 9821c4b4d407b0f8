"""The index of a new space beside the old one: on both records and both indexes, in whatever order things happen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from index_backends import PLACES
from record_backends import SPACE, Bench, concept, told

from core.migrations import Migration, MigrationState
from core.nouns import AsOf, EpisodeFilter, Space
from core.ports import Index, Record
from memory import migrating
from memory.indexing import Indexer
from memory.migrating import NewIndex, next_page

NEW = Space("encoder/other", "2", 3)
AXES = np.eye(3, dtype=np.float32)


@pytest.fixture(params=PLACES)
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    place = request.param(tmp_path)
    made = place.open()
    yield made
    made.close()
    place.clear()


def remember(record: Record, *texts: str) -> list[str]:
    batch = [told(text, external_id=text, concepts=(concept(text),)) for text in texts]
    return [one.episode_id for one in record.remember("a", SPACE, batch)]


def drained(record: Record, index: Index) -> None:
    while Indexer(record, index).drain() is not None:
        pass


def encoded(record: Record, index: Index, migration: Migration, *, indexed: bool = True) -> Migration:
    """Each page staged, and its points written, unless a kill came in between."""
    while (page := next_page(record, migration)) is not None:
        vectors = {key: AXES[len(words) % 3] for key, words in page.words.items()}
        migration = record.stage("a", migration.id, vectors, after=migration.through, through=page.through)
        if indexed:
            NewIndex(record, index).write(migration, page.ids)
    return migration


def settled(record: Record, index: Index, migration: Migration) -> Migration:
    """Switched, after as many looks as that takes."""
    for _ in range(10):
        migration = NewIndex(record, index).settle(encoded(record, index, migration))
        if migration.state is not MigrationState.ENCODING:
            return migration
    raise AssertionError("it never comes to its switch")


def agrees(record: Record, index: Index) -> None:
    """The new space holds what it should, the old one nothing, and a search finds by the new vectors."""
    drained(record, index)
    wanted = list(record.concept_ids("a"))
    assert list(index.ids(NEW, "a")) == wanted
    assert index.count(SPACE, "a") == 0
    stored = record.concepts("a", wanted)
    for axis in AXES:
        found = index.search_dense(NEW, "a", axis, 50, EpisodeFilter(kinds=()), AsOf())
        near = {one.concept_id for one in found if one.score > 0.99}
        assert near == {key for key, one in stored.items() if one.vector.tolist() == axis.tolist()}


def test_both_spaces_are_there_until_the_switch(bench: Bench, index: Index) -> None:
    record = bench.record
    remember(record, "x", "xx", "xxx")
    drained(record, index)
    migration = encoded(record, index, record.begin_migration("a", "m", NEW))
    assert index.count(SPACE, "a") == index.count(NEW, "a") == 3
    assert settled(record, index, migration).state is MigrationState.CLEANING
    agrees(record, index)


def test_what_a_kill_left_out_of_the_new_index_is_written_before_the_switch(
    bench: Bench, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "BATCH", 2)
    record = bench.record
    remember(record, *("x" * n for n in range(1, 6)))
    migration = encoded(record, index, record.begin_migration("a", "m", NEW), indexed=False)
    assert NewIndex(record, index).settle(migration).state is MigrationState.ENCODING, "a batch at a time"
    settled(record, index, migration)
    agrees(record, index)


@pytest.mark.parametrize("late", [False, True], ids=["drained before", "drained after"])
def test_what_happens_meanwhile_is_in_the_new_index_whenever_it_is_drained(
    bench: Bench, index: Index, late: bool
) -> None:
    record = bench.record
    ids = remember(record, *("x" * n for n in range(1, 8)))
    record.archive("a", ids[:1])
    drained(record, index)
    migration = encoded(record, index, record.begin_migration("a", "m", NEW))
    record.forget("a", episode_ids=ids[1:2])
    record.archive("a", ids[2:3])
    record.thaw("a", ids[:1])
    remember(record, "new one")
    if not late:
        drained(record, index)
    settled(record, index, migration)
    record.forget("a", episode_ids=ids[3:4])
    agrees(record, index)
    record.thaw("a", ids[2:3])
    agrees(record, index)


def test_one_given_up_leaves_the_old_index(bench: Bench, index: Index) -> None:
    record = bench.record
    remember(record, "x", "xx")
    drained(record, index)
    migration = encoded(record, index, record.begin_migration("a", "m", NEW))
    undoing = record.undo_migration("a", migration.id)
    NewIndex(record, index).drop(undoing)
    assert (index.count(SPACE, "a"), index.count(NEW, "a")) == (2, 0)


def test_a_deleted_namespace_leaves_neither(bench: Bench, index: Index) -> None:
    record = bench.record
    remember(record, "x", "xx")
    drained(record, index)
    migration = encoded(record, index, record.begin_migration("a", "m", NEW))
    record.delete_namespace("a")
    drained(record, index)
    assert (index.count(SPACE, "a"), index.count(NEW, "a")) == (0, 0)
    assert migration.total == 2
