"""What a record answers of Episodes and Concepts: windows, the timeline, exports, statistics; on both backends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from record_backends import (
    ALL,
    NOW,
    concept,
    ids_of,
    texts,
    told,
)

from core.nouns import (
    AsOf,
    EpisodeFilter,
    Interval,
    SourceKind,
)
from core.ports import Record


def test_a_window_counts_places_and_not_positions(record: Record) -> None:
    spoken = [told(f"t{position}", position=position) for position in (40, 0, 7, 3, 10)]
    episode = dict(zip((one.text for one in spoken), ids_of(record, *spoken), strict=True))
    ids_of(record, told("elsewhere", conversation="d", position=6), told("mail", source="mail", position=6))
    found = record.window("a", [episode["t7"], episode["t0"], episode["t7"], "nobody"], 1)
    assert {one: texts(near) for one, near in found.items()} == {
        episode["t7"]: ["t3", "t7", "t10"],
        episode["t0"]: ["t0", "t3"],
    }
    assert texts(record.window("a", [episode["t10"]], 2)[episode["t10"]]) == ["t3", "t7", "t10", "t40"]
    assert texts(record.window("a", [episode["t10"]], 0)[episode["t10"]]) == ["t10"]


def test_a_window_orders_one_position_by_commit_and_place_in_the_batch(record: Record) -> None:
    ids_of(record, *[told(f"first {n}", position=5) for n in range(3)])
    ids_of(record, *[told(f"second {n}", position=5) for n in range(3)])
    middle = ids_of(record, told("before", position=4), told("first 2", position=5))[1]
    assert texts(record.window("a", [middle], 2)[middle]) == ["first 0", "first 1", "first 2", "second 0", "second 1"]


def test_without_a_conversation_an_episode_is_alone(record: Record) -> None:
    ids = ids_of(record, *[told(f"t{n}", conversation="", position=n) for n in range(3)])
    assert texts(record.window("a", ids, 5)[ids[1]]) == ["t1"]


def test_speakers_are_counted_and_the_nameless_are_not(record: Record) -> None:
    ids_of(record, told("1", speaker="Bob"), told("2"), told("3", speaker=""), told("4"))
    ids_of(record, told("5"), told("6", speaker="ann"))
    assert record.speakers("a") == {"Ann": 3, "Bob": 1, "ann": 1}
    assert record.speakers("b") == {}


def test_terms_are_counted_by_concept(record: Record) -> None:
    two = (concept("x", "x y", terms=[1, 2]), concept("y", "x y", terms=[2, 2**32 - 1]))
    ids_of(record, told("x y", concepts=two), told("z", terms=[2]), told("none", terms=[]))
    statistics = record.term_statistics("a", [1, 2, 3, 2**32 - 1])
    assert statistics.concepts == 4
    assert dict(statistics.document_frequency) == {1: 1, 2: 3, 2**32 - 1: 1}
    assert record.term_statistics("b", [1]).concepts == 0


def test_the_timeline_filters_and_pages(record: Record) -> None:
    ids_of(
        record,
        told("1", at=10, conversation="d"),
        told("2", at=5, speaker="Bob"),
        told("3", at=20, kind=SourceKind.SELF),
        told("4", at=5, speaker="Cy"),
    )
    last = record.seq()
    ids_of(record, told("5", at=7))

    def seen(where: EpisodeFilter = ALL, as_of: AsOf = NOW, limit: int = 10) -> list[str]:
        return texts(record.timeline("a", where, as_of, limit))

    everything = record.timeline("a", ALL, NOW, 10)
    assert [(one.told_at, one.id) for one in everything] == sorted((one.told_at, one.id) for one in everything)
    assert seen(EpisodeFilter()) == [one.text for one in everything if one.text != "3"]
    assert seen(EpisodeFilter(kinds=(SourceKind.SELF,))) == ["3"]
    assert sorted(seen(EpisodeFilter(speakers=("Bob", "Cy")))) == ["2", "4"]
    assert seen(EpisodeFilter(conversations=("d",))) == ["1"]
    assert seen(EpisodeFilter(kinds=(), told=Interval(7, 20))) == ["5", "1"]
    assert seen(as_of=AsOf(told_by=7))[-1] == "5"
    assert seen(as_of=AsOf(valid_at=9))[-1] == "5"
    assert "5" not in seen(as_of=AsOf(seq=last))
    paged, after = [], None
    while page := record.timeline("a", ALL, NOW, 2, after):
        assert len(page) <= 2
        paged += page
        after = (page[-1].told_at, page[-1].id)
    assert paged == everything


def test_an_export_is_complete_in_order_and_stops_at_its_seq(record: Record) -> None:
    for start in range(0, 600, 300):
        ids_of(record, *[told(f"t{n}", position=n) for n in range(start, start + 300)])
    exported = list(record.export_episodes("a"))
    keys = [(episode.seq, episode.id) for episode, _ in exported]
    assert keys == sorted(keys)
    assert {episode.text for episode, _ in exported} == {f"t{n}" for n in range(600)}
    assert all([one.concept.span.text for one in concepts] == [episode.text] for episode, concepts in exported)
    half = list(record.export_episodes("a", up_to_seq=exported[0][0].seq))
    assert [episode for episode, _ in half] == [episode for episode, _ in exported[:300]]
    stream = record.export_episodes("a")
    ids_of(record, told("later"))
    assert len(list(stream)) == 600


def test_concept_ids_come_all_and_ascending(record: Record) -> None:
    words = " ".join(f"w{n:03}" for n in range(500))
    many = tuple(concept(word, words) for word in words.split())
    expected = set()
    for batch in range(9):
        (one,) = ids_of(record, told(words, position=batch, concepts=many))
        expected |= {kept.concept.id for kept in record.concepts_of("a", [one])[one]}
    ids_of(record, told("other"), namespace="b")
    found = list(record.concept_ids("a"))
    assert found == sorted(expected)
    assert len(found) == 4500


def test_reads_of_a_snapshot_follow_one_another_and_reads_after_it_see_what_came(record: Record) -> None:
    """On SQLite they see the same commits; on Neo4j a read may see one that came meanwhile."""
    ids = ids_of(record, told("1", speaker="Ann"))
    with record.snapshot():
        assert record.speakers("a") == {"Ann": 1}
        with record.snapshot():
            assert list(record.episodes("a", ids)) == ids
        with ThreadPoolExecutor(1) as other:
            other.submit(ids_of, record, told("2", speaker="Bob")).result()
            seen = other.submit(record.speakers, "a").result()
        assert seen == {"Ann": 1, "Bob": 1}, "a snapshot is of one thread"
        if record.backend == "sqlite":
            assert record.speakers("a") == {"Ann": 1}
            assert len(record.timeline("a", ALL, NOW, 10)) == 1
    assert record.speakers("a") == {"Ann": 1, "Bob": 1}
    assert len(record.timeline("a", ALL, NOW, 10)) == 2
