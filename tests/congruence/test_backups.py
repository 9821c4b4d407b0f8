"""Backups of every record into every record: what was copied answers as the first one, whatever it lived through.

Here the parts of a backup go from one record to the other with no file between them; `tests/contract/test_backup.py`
has files, services and broken ones. The histories and their oracle are those of `test_record_histories`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import test_record_histories as histories
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_backends import NEO4J_URL, SPACE, Bench, Neo4jPlace, Place, SqlitePlace, plain, stated, told

from core.entities import Merge
from core.ids import RandomIds
from core.moving import CommitTime, Put
from core.nouns import AsOf, EpisodeFilter, Expiry, TimeToLive
from core.ports import Record
from memory.ingest.extract import VERSION, extract

LAST = 2**63 - 1
WAYS = [pytest.param((SqlitePlace, SqlitePlace), id="sqlite-sqlite")]
if NEO4J_URL:
    WAYS += [
        pytest.param((SqlitePlace, Neo4jPlace), id="sqlite-neo4j"),
        pytest.param((Neo4jPlace, SqlitePlace), id="neo4j-sqlite"),
    ]


@pytest.fixture(params=WAYS)
def places(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Place, Place]:
    first, second = request.param
    made = first(tmp_path / "first"), second(tmp_path / "second")
    for place in made:
        place.clear()
    return made


@pytest.fixture
def benches(places: tuple[Place, Place]) -> Iterator[tuple[Bench, Bench]]:
    made = Bench(places[0]), Bench(places[1])
    made[1].ids = RandomIds(made[1].clock, seed=2)  # of two stores, none gives the ids of the other
    made[1].reopen()
    yield made
    for bench in made:
        bench.record.close()


@pytest.fixture
def source(benches: tuple[Bench, Bench]) -> Record:
    record = benches[0].record
    record.create_namespace("a")
    return record


@pytest.fixture
def target(benches: tuple[Bench, Bench]) -> Record:
    return benches[1].record


def copy(source: Record, target: Record, after: int = 0, up_to: int = 0) -> Put:
    """All parts in the order of a restore, in small pieces."""
    up_to = up_to or source.seq()
    put = Put()
    names = [one for one in source.stored_namespaces() if one.made_seq <= up_to]
    commits = list(source.commits(after, up_to))
    if commits:
        target.put_commits(commits)
    target.put_audits(list(source.audits(after, up_to)))
    target.put_tombstones(list(source.tombstones(after)), up_to)
    put += target.put_namespaces(names, up_to, whole=True)
    put += target.replay_deletions()
    for name in [one.name for one in names]:
        if after:
            target.reset_kept(name, after)
            target.put_kept(name, list(source.kept(name, after)))
        for episode in source.stored_episodes(name, after, up_to):
            put += target.put_episodes(name, [episode])
        put += target.put_facts(name, list(source.stored_facts(name, after, up_to)))
        put += target.put_policies(name, source.stored_policies(name, after, up_to))
        put += target.put_merges(name, merges(source, name, up_to))
    return put


def merges(record: Record, name: str, up_to: int = LAST) -> list[Merge]:
    """As a backup has them: all, and as they were."""
    found = record.merges(name, AsOf(seq=up_to), undone=True)
    return [replace(one, undone_seq=0) if one.undone_seq > up_to else one for one in found]


def whole(record: Record) -> Any:
    """All that a backup of a record would hold."""
    return plain(
        [
            record.stored_namespaces(), list(record.commits(0, LAST)), list(record.audits(0, LAST)),
            list(record.tombstones(0)),
            *(
                [
                    list(record.stored_episodes(one.name, 0, LAST)), list(record.stored_facts(one.name, 0, LAST)),
                    record.stored_policies(one.name, 0, LAST), list(record.kept(one.name, LAST)),
                    merges(record, one.name),
                ]
                for one in record.stored_namespaces()
            ),
        ]
    )  # fmt: skip


def remember(record: Record, *texts: str) -> list[str]:
    return [one.episode_id for one in record.remember("a", SPACE, [told(text) for text in texts])]


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(
    st.lists(histories.steps, min_size=1, max_size=25),
    st.builds(AsOf, st.sampled_from([1, 3]), st.sampled_from([1, 3]), st.sampled_from([3, 9, 2**63 - 1])),
    st.integers(0, 25),
)
def test_a_copy_of_a_random_history_reads_as_the_oracle_says(
    places: tuple[Place, Place], history: list[tuple[Any, ...]], as_of: AsOf, half: int
) -> None:
    """In two parts: a whole copy on the way, and at the end what came after it."""
    for place in places:
        place.clear()
    lived, copied = histories.History(Bench(places[0])), Bench(places[1])
    try:
        steps = [("create_namespace", "a"), ("create_namespace", "b"), *history]
        for step in steps[:half]:
            lived.take(step)
        if half:
            copy(lived.bench.record, copied.record)
        middle = lived.bench.record.seq() if half else 0
        for step in steps[half:]:
            lived.take(step)
        copy(lived.bench.record, copied.record, middle)
        assert whole(copied.record) == whole(lived.bench.record)
        lived.bench.record.outbox_done(2**40)
        lived.oracle.entries = []
        first, lived.bench.record = lived.bench.record, copied.record
        lived.check(EpisodeFilter(kinds=()), as_of, None, 2)
        lived.bench.record = first
        again = copy(lived.bench.record, copied.record, middle)
        assert (again.episodes, again.facts, again.policies, again.replayed) == (0, 0, 0, 0)
    finally:
        lived.bench.record.close()
        copied.record.close()


def test_a_time_of_recording_finds_the_same_commit(source: Record, target: Record) -> None:
    remember(source, "x")
    fact = source.assert_fact("a", stated())
    copy(source, target)
    for one in source.commits(0, LAST):
        assert target.seq_at(one.recorded_at) == one.seq
        assert target.seq_at(one.recorded_at - 1) == source.seq_at(one.recorded_at - 1)
    assert target.facts("a") == [fact]
    (next_one,) = target.remember("a", SPACE, [told("y")])
    assert next_one.seq == source.seq() + 1


def test_how_episodes_are_kept_goes_along(source: Record, target: Record) -> None:
    first, second, third = remember(source, "x", "y", "z")
    source.set_hold("a", [first], "case")
    source.set_expiry("a", [second], 99, Expiry.DELETE)
    source.add_uses("a", {second: (3, 7)})
    source.set_time_to_live("a", TimeToLive(5, Expiry.DELETE))
    source.archive("a", [third])
    copy(source, target)
    assert whole(target) == whole(source)
    assert target.keepings("a", [first, second]) == source.keepings("a", [first, second])
    assert target.time_to_live("a") == TimeToLive(5, Expiry.DELETE)
    middle = source.seq()
    source.set_hold("a", [first], "case", release=True)
    source.thaw("a", [third])
    source.archive("a", [second])
    copy(source, target, middle)
    assert whole(target) == whole(source)
    copy(source, target, middle)
    assert target.keepings("a", [second])[second].uses == 3, "counts are not added twice"


def test_what_was_deleted_after_the_backup_does_not_come_back(source: Record, target: Record) -> None:
    first, second = remember(source, "x", "y")
    source.assert_fact("a", stated(episode_id=first))
    early = source.seq()
    source.forget("a", episode_ids=[first])
    put = copy(source, target, up_to=early)
    assert [one.id for one, _ in target.export_episodes("a")] == [second]
    assert (put.episodes, target.facts("a"), target.seq()) == (1, [], early)
    assert target.remember("a", SPACE, [told("x", given_id=first)], bring_back=False)[0].deleted


def test_a_deletion_is_replayed_where_the_copy_is_older_and_held(source: Record, target: Record) -> None:
    first, second = remember(source, "x", "y")
    source.assert_fact("a", stated(episode_id=first))
    source.set_hold("a", [first], "case")
    copy(source, target)
    middle = source.seq()
    source.set_hold("a", [first], "case", release=True)
    source.forget("a", episode_ids=[first])
    assert copy(source, target, middle).replayed == 2
    assert whole(target) == whole(source)
    assert target.speakers("a") == {"Ann": 1}


def test_what_was_deleted_and_brought_back_has_its_new_number(source: Record, target: Record) -> None:
    (first,) = remember(source, "x")
    copy(source, target)
    middle = source.seq()
    source.forget("a", episode_ids=[first])
    source.remember("a", SPACE, [told("x", given_id=first)])
    copy(source, target, middle)
    assert whole(target) == whole(source)


def test_a_namespace_that_was_deleted_goes_and_one_made_anew_is_another(source: Record, target: Record) -> None:
    remember(source, "x")
    source.create_namespace("b")
    copy(source, target)
    middle = source.seq()
    source.delete_namespace("a")
    source.delete_namespace("b")
    source.create_namespace("a")
    remember(source, "x")
    put = copy(source, target, middle)
    assert put.dropped == [(SPACE, "a")], "the other had no vectors"
    assert whole(target) == whole(source)


def test_a_blank_store_is_made_empty_and_no_other(source: Record, target: Record) -> None:
    assert target.clear_blank([])
    target.create_namespace("default")
    assert not target.clear_blank(["a"])
    assert target.clear_blank(["a", "default"])
    assert (target.seq(), target.namespaces()) == (0, [])
    target.create_namespace("a")
    remember(target, "x")
    target.forget("a", speaker="Ann")
    assert not target.clear_blank(["a", "default"])
    assert target.commit_by(1) == CommitTime(1, target.namespaces()[0].created_at)
    assert target.commit_by(0) is None


def test_a_store_that_is_ahead_keeps_what_it_has(source: Record, target: Record) -> None:
    (first,) = remember(source, "x")
    copy(source, target)
    (later,) = target.remember("a", SPACE, [told("later")])
    target.archive("a", [first])
    before = whole(target)
    put = copy(source, target)
    assert (put.episodes, put.duplicates) == (0, 1)
    assert whole(target) == before
    assert later.seq == source.seq() + 1


def entities(record: Record, as_of: AsOf = AsOf()) -> Any:
    return record.entities("a", as_of)


def read_all(record: Record) -> int:
    """What an extractor does; how many Facts are new."""
    episodes = record.unextracted("a", VERSION, 100)
    return record.write_extracted("a", VERSION, [extract(one) for one in episodes])


def test_merges_go_along_with_their_numbers_and_their_end(source: Record, target: Record) -> None:
    source.assert_facts("a", [stated("Mel", "likes", "Bruno"), stated("Melanie", "likes", "Rome")])
    source.assert_fact("a", stated("Tom", "knows", "Thomas"))
    first = source.merge_entities("a", "Melanie", "Mel", "a short form")
    second = source.merge_entities("a", "Thomas", "Tom")
    middle = source.seq()
    assert copy(source, target).merges == 2
    assert whole(target) == whole(source)
    assert target.facts("a") == source.facts("a")
    source.undo_merge("a", first.id)
    third = source.merge_entities("a", "Mel", "Melanie")
    assert copy(source, target, middle).merges == 1
    assert [one.id for one in target.merges("a")] == [second.id, third.id]
    for seq in range(middle - 3, source.seq() + 1):
        then = AsOf(seq=seq)
        assert target.facts("a", as_of=then) == source.facts("a", as_of=then)
        assert entities(target, then) == entities(source, then)
        assert target.merges("a", then) == source.merges("a", then)
    assert copy(source, target, middle).merges == 0, "again, it changes nothing"
    assert whole(target) == whole(source)


def test_a_merge_that_went_with_its_entities_does_not_come_back(source: Record, target: Record) -> None:
    (first,) = remember(source, "x")
    source.assert_fact("a", stated("Mel", "likes", "Bruno", episode_id=first))
    source.assert_fact("a", stated("Melanie", "likes", "Bruno"))
    source.merge_entities("a", "Melanie", "Mel")
    copy(source, target)
    middle = source.seq()
    source.forget("a", episode_ids=[first])
    assert source.merges("a") == []
    copy(source, target, middle)
    assert target.merges("a", undone=True) == []
    assert whole(target) == whole(source)
    assert entities(target) == entities(source)
    copy(source, target)
    assert whole(target) == whole(source), "not from its first backup either"


def test_of_a_store_that_is_ahead_only_missing_merges_are_added(source: Record, target: Record) -> None:
    source.assert_facts("a", [stated("Mel", "likes", "Bruno"), stated("Melanie", "likes", "Rome")])
    first = source.merge_entities("a", "Melanie", "Mel")
    copy(source, target)
    target.undo_merge("a", first.id)
    second = target.merge_entities("a", "Rome", "Bruno")
    put = target.put_merges("a", merges(source, "a"), whole=False)
    assert (put.merges, put.duplicates) == (0, 1)
    assert [one.id for one in target.merges("a")] == [second.id]


def test_what_was_derived_goes_along_with_what_it_was_derived_from(source: Record, target: Record) -> None:
    first, second = remember(source, "x", "y")
    batch = [told("of both", derived_from=(first, second)), told("of one", derived_from=(second,))]
    both, one = (kept.episode_id for kept in source.remember("a", SPACE, batch))
    copy(source, target)
    assert whole(target) == whole(source)
    assert target.sources_of("a", [both, one]) == {both: tuple(sorted((first, second))), one: (second,)}
    target.forget("a", episode_ids=[first])
    assert sorted(key.id for key, _ in target.export_episodes("a")) == sorted([second, one])
    assert copy(source, target).deleted == 2, "what was deleted here, and what quotes it"
    put = target.put_episodes("a", list(source.stored_episodes("a", 0, LAST)), bring_back=True)
    assert put.episodes == 2
    kept = plain(list(source.stored_episodes("a", 0, LAST)))
    assert plain(list(target.stored_episodes("a", 0, LAST))) == kept


def test_a_copy_is_read_again_for_what_it_says_and_nothing_is_written_twice(source: Record, target: Record) -> None:
    """Mentions are derived: the copy's own extractor makes them anew."""
    texts = ("My sister Melanie moved to Rome last month.", "Mel said so.", "I live in Oslo.")
    source.remember("a", SPACE, [told(text, position=place, speaker="Nora") for place, text in enumerate(texts)])
    assert read_all(source) == 3
    source.merge_entities("a", "Melanie", "Mel")
    source.assert_fact("a", stated("Mel", "likes", "Bruno"))
    copy(source, target)
    assert whole(target) == whole(source)
    assert {one.rule for one in target.facts("a")} == {one.rule for one in source.facts("a")}
    assert read_all(target) == 0
    assert whole(target) == whole(source), "not a commit more"
    assert entities(target) == entities(source)
    for name in ("Mel", "Nora", "Rome"):
        assert plain(target.mentions("a", name, AsOf(), 9)) == plain(source.mentions("a", name, AsOf(), 9))
    source.undo_merge("a", source.merges("a")[0].id)
    middle = target.seq()
    copy(source, target, middle)
    assert entities(target) == entities(source)
