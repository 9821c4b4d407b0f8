"""Migrations of a namespace to another space, on both backends of the record."""

from __future__ import annotations

import numpy as np
import pytest
from record_backends import SPACE, Bench, concept, ids_of, plain, refused, told

from core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from core.migrations import Migration, MigrationState
from core.nouns import Float32, Space
from core.ports import Record
from memory.migrating import next_page

NEW = Space("encoder/other", "2", 3)
MODEL = "wheel:other"


def vector_of(words: str) -> Float32:
    """What stands for an encoder of the new space: a unit vector that depends on the words alone."""
    found = np.array([len(words), sum(words.encode()) % 97, 1], np.float32)
    return found / np.float32(np.linalg.norm(found))


def encoded(record: Record, migration: Migration, pages: int = 1000) -> Migration:
    """Stages so many pages."""
    for _ in range(pages):
        page = next_page(record, migration)
        if page is None:
            break
        vectors = {key: vector_of(words) for key, words in page.words.items()}
        migration = record.stage(
            migration.namespace, migration.id, vectors, after=migration.through, through=page.through
        )
    return migration


def cleaned(record: Record, migration: Migration) -> Migration:
    """Takes it to its end."""
    while migration.ended_at is None:
        migration = record.clean_page("a", migration.id, 2)
    return migration


def vectors(record: Record, namespace: str = "a") -> dict[str, list[float]]:
    """The vectors that count, by the words of their Concepts."""
    exported = record.export_episodes(namespace)
    return {one.concept.span.text: one.vector.tolist() for _, concepts in exported for one in concepts}


def expected(*texts: str) -> dict[str, list[float]]:
    return {text: vector_of(text).tolist() for text in texts}


def test_until_the_switch_nothing_is_seen_of_it(bench: Bench) -> None:
    record = bench.record
    ids = ids_of(record, told("one"), told("two"))
    before = plain(list(record.export_episodes("a")))
    migration = record.begin_migration("a", MODEL, NEW, seconds=2.5)
    assert (migration.state, migration.total, migration.done) == (MigrationState.ENCODING, 2, 0)
    assert (migration.source, migration.target, migration.seconds) == (SPACE, NEW, 2.5)
    migration = encoded(record, migration)
    assert (migration.done, migration.state) == (2, MigrationState.ENCODING)
    assert record.space_of("a") == SPACE
    assert record.spaces_in_use("a") == (SPACE, NEW)
    assert plain(list(record.export_episodes("a"))) == before
    assert record.columns_of("a", ids).vectors.shape == (2, 4)
    concepts = [one.concept.id for found in record.concepts_of("a", ids).values() for one in found]
    found = record.staged("a", migration.id, concepts)
    assert {one.space for one in found.values()} == {NEW}
    assert {one.concept.span.text: one.vector.tolist() for one in found.values()} == expected("one", "two")


def test_the_switch_is_one_commit_that_takes_the_namespace_out_of_the_old_index(bench: Bench) -> None:
    record = bench.record
    ids = ids_of(record, told("one"), told("two"))
    ids_of(record, told("elsewhere"), namespace="b")
    migration = encoded(record, record.begin_migration("a", MODEL, NEW))
    last = record.seq()
    switched = record.switch_space("a", migration.id)
    assert (switched.state, switched.seq, record.seq()) == (MigrationState.CLEANING, last + 1, last + 1)
    assert record.space_of("a") == NEW
    entry = record.outbox(100)[-1]
    assert (entry.seq, entry.space, entry.deleted, entry.concept_ids) == (last + 1, SPACE, True, ())
    assert vectors(record) == expected("one", "two")
    assert record.columns_of("a", ids).vectors.shape == (2, 3)
    assert record.space_of("b") == SPACE
    assert len(vectors(record, "b")["elsewhere"]) == 4
    ended = cleaned(record, switched)
    assert (ended.state, ended.done) == (MigrationState.SUCCEEDED, 2)
    assert vectors(record) == expected("one", "two")
    assert record.spaces_in_use("a") == (NEW,)
    assert record.switched_after("a", last) == last + 1
    assert record.switched_after("a", last + 1) == 0
    assert record.switch_space("a", migration.id) == ended, "it is done once"


def test_what_is_told_meanwhile_has_to_be_encoded_before_the_switch(bench: Bench) -> None:
    record = bench.record
    ids_of(record, told("one"))
    migration = encoded(record, record.begin_migration("a", MODEL, NEW))
    ids_of(record, told("two", position=1))
    assert record.switch_space("a", migration.id).state is MigrationState.ENCODING
    assert record.space_of("a") == SPACE
    migration = encoded(record, migration)
    assert record.switch_space("a", migration.id).state is MigrationState.CLEANING
    assert vectors(record) == expected("one", "two")


def test_after_the_switch_only_the_new_space_is_taken(bench: Bench) -> None:
    record = bench.record
    ids_of(record, told("one"))
    migration = encoded(record, record.begin_migration("a", MODEL, NEW))
    switched = record.switch_space("a", migration.id)
    refused(FailedPrecondition, "SPACE_MISMATCH", record.remember, "a", SPACE, [told("two", position=1)])
    three = told("three", position=2, concepts=(concept("three", vector=vector_of("three")),))
    record.remember("a", NEW, [three])
    assert vectors(record) == expected("one", "three")
    cleaned(record, switched)
    assert vectors(record) == expected("one", "three"), "what was told after the switch is not cleaned away"


def test_what_is_forgotten_archived_or_deleted_meanwhile_is(bench: Bench) -> None:
    record = bench.record
    ids = ids_of(record, told("one"), told("two", position=1), told("three", position=2))
    migration = encoded(record, record.begin_migration("a", MODEL, NEW))
    record.forget("a", episode_ids=ids[:1])
    record.archive("a", ids[1:2])
    switched = record.switch_space("a", migration.id)
    assert switched.state is MigrationState.CLEANING
    assert vectors(record) == expected("two", "three"), "an archived Episode keeps its place, and gets its vector"
    assert len(list(record.concept_ids("a"))) == 1
    assert record.counts("a").concepts == 2


def test_a_vector_for_what_is_gone_is_passed_over(bench: Bench) -> None:
    record = bench.record
    ids = ids_of(record, told("one"), told("two", position=1))
    migration = record.begin_migration("a", MODEL, NEW)
    page = next_page(record, migration)
    assert page is not None
    record.forget("a", episode_ids=ids[:1])
    given = {key: vector_of(words) for key, words in page.words.items()}
    migration = record.stage("a", migration.id, given, after=migration.through, through=page.through)
    record.switch_space("a", migration.id)
    assert vectors(record) == expected("two")


def test_a_page_counts_once_and_goes_on_after_a_restart(bench: Bench) -> None:
    ids_of(bench.record, *(told(f"t{n}", position=n) for n in range(70)))
    begun = bench.record.begin_migration("a", MODEL, NEW)
    halfway = encoded(bench.record, begun, pages=1)
    assert halfway.done == 64
    record = bench.reopen()
    assert record.migrations_at_work() == [halfway]
    assert record.stage("a", begun.id, {}, after=begun.through, through=(99, "z")) == halfway, "somebody else did it"
    done = encoded(record, halfway)
    assert done.done == 70
    switched = record.switch_space("a", begun.id)
    record = bench.reopen()
    assert record.migration("a", begun.id) == switched
    assert cleaned(record, switched).state is MigrationState.SUCCEEDED
    assert vectors(record) == expected(*(f"t{n}" for n in range(70)))
    assert record.migrations_at_work() == []


def test_an_older_episode_that_comes_in_late_is_found(bench: Bench) -> None:
    record = bench.record
    ids_of(record, told("one"), told("two", position=1))
    migration = record.begin_migration("a", MODEL, NEW)
    page = next_page(record, migration)
    assert page is not None
    # A restore puts Episodes at the commits they had, and so before where the migration is.
    (first, *_) = page.words
    given = {key: vector_of(words) for key, words in page.words.items() if key != first}
    migration = record.stage("a", migration.id, given, after=migration.through, through=page.through)
    again = record.switch_space("a", migration.id)
    assert (again.state, again.through) == (MigrationState.ENCODING, (0, ""))
    page = next_page(record, again)
    assert page is not None
    assert list(page.words) == [first], "what is encoded is not encoded again"
    done = encoded(record, again)
    assert record.switch_space("a", done.id).state is MigrationState.CLEANING
    assert vectors(record) == expected("one", "two")


@pytest.mark.parametrize(
    ("failed", "message", "end"), [(False, "", MigrationState.CANCELLED), (True, "no", MigrationState.FAILED)]
)
def test_one_that_is_given_up_leaves_all_as_it_was(
    bench: Bench, failed: bool, message: str, end: MigrationState
) -> None:
    record = bench.record
    ids_of(record, told("one"), told("two", position=1))
    before = plain(list(record.export_episodes("a")))
    migration = encoded(record, record.begin_migration("a", MODEL, NEW))
    undoing = record.undo_migration("a", migration.id, message=message, failed=failed)
    assert undoing.state is MigrationState.UNDOING
    assert record.switch_space("a", migration.id) == undoing
    assert record.stage("a", migration.id, {}, after=migration.through, through=(9, "")) == undoing
    assert record.staged("a", migration.id, list(record.concept_ids("a"))) == {}
    refused(FailedPrecondition, "MIGRATION_AT_WORK", record.begin_migration, "a", MODEL, NEW)
    ended = cleaned(record, undoing)
    assert (ended.state, ended.message) == (end, message)
    assert plain(list(record.export_episodes("a"))) == before
    assert record.space_of("a") == SPACE
    again = record.begin_migration("a", MODEL, NEW)
    assert again.number == 2
    page = next_page(record, again)
    assert page is not None
    assert len(page.words) == 2, "nothing of the first one is left"


def test_it_leads_back_too(bench: Bench) -> None:
    record = bench.record
    ids_of(record, told("one"))
    there = encoded(record, record.begin_migration("a", MODEL, NEW))
    cleaned(record, record.switch_space("a", there.id))
    back = record.begin_migration("a", "wheel:first", SPACE)
    page = next_page(record, back)
    assert page is not None
    given = {key: np.array([1, 0, 0, 0], np.float32) for key in page.words}
    back = record.stage("a", back.id, given, after=back.through, through=page.through)
    ended = cleaned(record, record.switch_space("a", back.id))
    assert [one.id for one in record.migrations("a", 10)] == [ended.id, there.id]
    assert [one.id for one in record.migrations("a", 10, ended.number)] == [there.id]
    assert record.space_of("a") == SPACE
    assert vectors(record) == {"one": [1, 0, 0, 0]}


def test_a_deleted_namespace_takes_its_migration_and_both_indexes_along(bench: Bench) -> None:
    record = bench.record
    ids_of(record, told("one"))
    encoded(record, record.begin_migration("a", MODEL, NEW))
    record.delete_namespace("a")
    dropped = [one.space for one in record.outbox(100) if one.deleted]
    assert dropped == [SPACE, NEW]
    assert record.migrations_at_work() == []
    assert record.spaces_in_use("a") == ()
    record.create_namespace("a")
    record.remember("a", SPACE, [told("anew")])
    assert record.migrations("a", 10) == []


def test_what_cannot_be_migrated_says_why(bench: Bench) -> None:
    record = bench.record
    refused(FailedPrecondition, "NOTHING_TO_MIGRATE", record.begin_migration, "a", MODEL, NEW)
    refused(NotFound, "NAMESPACE_NOT_FOUND", record.begin_migration, "nowhere", MODEL, NEW)
    ids_of(record, told("one"))
    refused(FailedPrecondition, "SPACE_IS_SERVING", record.begin_migration, "a", MODEL, SPACE)
    refused(NotFound, "MIGRATION_NOT_FOUND", record.migration, "a", "none")
    begun = record.begin_migration("a", MODEL, NEW, 0.0, "r")
    assert record.begin_migration("a", MODEL, NEW, 0.0, "r") == begun, "a retry is answered"
    with pytest.raises(AlreadyExists):
        record.begin_migration("a", "wheel:third", NEW, 0.0, "r")
    page = next_page(record, begun)
    assert page is not None
    wrong = dict.fromkeys(page.words, np.zeros(4, np.float32))
    with pytest.raises(InvalidArgument):
        record.stage("a", begun.id, wrong, after=begun.through, through=page.through)
    noted = record.note_migration("a", begun.id, "waits")
    assert (noted.message, noted.version) == ("waits", begun.version + 1)
    switched = record.switch_space("a", encoded(record, noted).id)
    refused(FailedPrecondition, "MIGRATION_STATE", record.undo_migration, "a", switched.id)
