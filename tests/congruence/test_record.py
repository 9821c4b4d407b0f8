"""One suite for every record: what `core.ports.Record` says, and random histories against an oracle of plain lists.

After it, what only one backend can do: a SQLite file is killed, damaged and locked; a server does not answer.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from record_backends import (
    MUST_HAVE_NEO4J,
    NEO4J_URL,
    PLACES,
    SPACE,
    T0,
    WITHOUT_NEO4J,
    Bench,
    Place,
    concept,
    stated,
    told,
)
from record_oracle import Oracle

from core.clock import DAY, LATEST, ManualClock
from core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, SapienceError, Unavailable
from core.ids import RandomIds, entity_id
from core.nouns import (
    AsOf,
    Contradiction,
    Entity,
    EpisodeFilter,
    Forgotten,
    Interval,
    NewFact,
    PerceivedConcept,
    PerceivedEpisode,
    Precision,
    SourceKind,
    Space,
    Span,
    Sparse,
)
from core.ports import Record
from memory.record.neo4j import Neo4jRecord
from memory.record.sqlite import SqliteRecord
from memory.record.sqlite import file as sqlite_file
from memory.record.sqlite.schema import APPLICATION_ID, MIGRATIONS

ALL = EpisodeFilter(kinds=())
NOW = AsOf()


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    made.clear()
    return made


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    made = Bench(place)
    made.record.create_namespace("a")
    made.record.create_namespace("b")
    yield made
    made.record.close()


@pytest.fixture
def record(bench: Bench) -> Record:
    return bench.record


def ids_of(record: Record, *episodes: PerceivedEpisode, namespace: str = "a") -> list[str]:
    return [one.episode_id for one in record.remember(namespace, SPACE, episodes)]


def texts(window: list[Any]) -> list[str]:
    return [episode.text for episode in window]


def refused(kind: type[SapienceError], reason: str, call: Callable[..., object], *given: object) -> SapienceError:
    with pytest.raises(kind) as caught:
        call(*given)
    assert caught.value.reason == reason
    return caught.value


def test_the_server_is_tested_as_well() -> None:
    """One skip that says how, in place of one for each test."""
    if not NEO4J_URL and MUST_HAVE_NEO4J:
        pytest.fail(WITHOUT_NEO4J)
    if not NEO4J_URL:
        pytest.skip(WITHOUT_NEO4J)


# Namespaces.


def test_namespaces_are_listed_by_name_with_the_time_they_were_made(record: Record) -> None:
    made = record.create_namespace("Ä b")
    assert [one.name for one in record.namespaces()] == ["a", "b", "Ä b"]
    assert record.namespaces()[-1] == made
    assert T0 < made.created_at < T0 + DAY


def test_a_name_is_taken_once(record: Record) -> None:
    refused(AlreadyExists, "NAMESPACE_EXISTS", lambda: record.create_namespace("a"))


CALLS: dict[str, Callable[[Record], object]] = {
    "delete_namespace": lambda r: r.delete_namespace("no"),
    "remember": lambda r: r.remember("no", SPACE, [told("x", concepts=(concept("x", vector=[1]),))]),
    "space_of": lambda r: r.space_of("no"),
    "episodes": lambda r: r.episodes("no", ["x"]),
    "window": lambda r: r.window("no", ["x"], 1),
    "concepts": lambda r: r.concepts("no", ["x"]),
    "concepts_of": lambda r: r.concepts_of("no", ["x"]),
    "columns_of": lambda r: r.columns_of("no", ["x"]),
    "speakers": lambda r: r.speakers("no"),
    "term_statistics": lambda r: r.term_statistics("no", [1]),
    "assert_fact": lambda r: r.assert_fact("no", NewFact("", "", Interval(), 0)),
    "retract_fact": lambda r: r.retract_fact("no", "x", None, None),
    "assert_facts": lambda r: r.assert_facts("no", [NewFact("", "", Interval(), 0)]),
    "facts": lambda r: r.facts("no"),
    "set_policy": lambda r: r.set_policy("no", "\ud800", Contradiction.SET),
    "policies": lambda r: r.policies("no"),
    "timeline": lambda r: r.timeline("no", ALL, NOW, 10),
    "forget": lambda r: r.forget("no"),
    "archive": lambda r: r.archive("no", ["x"]),
    "thaw": lambda r: r.thaw("no", ["x"]),
    "archived_concepts": lambda r: r.archived_concepts("no", NOW),
    "keepings": lambda r: r.keepings("no", ["x"]),
    "set_hold": lambda r: r.set_hold("no", ["x"], "h"),
    "set_expiry": lambda r: r.set_expiry("no", ["x"], 1),
    "time_to_live": lambda r: r.time_to_live("no"),
    "set_time_to_live": lambda r: r.set_time_to_live("no", None),
    "expire": lambda r: r.expire("no", 1, 1),
    "add_uses": lambda r: r.add_uses("no", {}),
    "export_episodes": lambda r: r.export_episodes("no"),
    "concept_ids": lambda r: r.concept_ids("no"),
    "counts": lambda r: r.counts("no"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_unknown_namespace_is_told_before_anything_else(record: Record, call: Callable[[Record], object]) -> None:
    error = refused(NotFound, "NAMESPACE_NOT_FOUND", lambda: call(record))
    assert "'no'" in error.message


def test_a_deleted_namespace_leaves_one_outbox_entry_and_its_name_free(record: Record) -> None:
    ids_of(record, told("x"), told("y", position=1))
    episode = ids_of(record, told("x"), namespace="b")[0]
    record.assert_fact("a", stated())
    record.remember("a", SPACE, [told("z")], request_id="r")
    assert record.delete_namespace("a") == 3
    entries = record.outbox(10)
    assert [(one.namespace, one.deleted, len(one.concept_ids)) for one in entries] == [
        ("a", False, 2), ("b", False, 1), ("a", False, 1), ("a", True, 0),
    ]  # fmt: skip
    assert entries[-1].space == SPACE
    refused(NotFound, "NAMESPACE_NOT_FOUND", lambda: record.counts("a"))
    record.create_namespace("a")
    assert record.counts("a") == dataclasses.replace(record.counts(), episodes=0, concepts=0, outbox_pending=3)
    assert record.space_of("a") is None
    assert record.facts("a") == []
    other = Space("another", "2", 2)
    assert not record.remember("a", other, [told("z", concepts=())], request_id="r")[0].duplicate
    assert list(record.episodes("b", [episode])) == [episode]


def test_a_namespace_without_vectors_leaves_no_outbox_entry(record: Record) -> None:
    assert record.delete_namespace("b") == 0
    assert record.outbox(10) == []


# Remembering.


def test_what_is_remembered_comes_back_whole(record: Record) -> None:
    text = "Grüße aus Köln. Bis bald! 👋"
    parts = (
        PerceivedConcept(Span("Grüße aus Köln.", 0, 18, "de"), np.array([0.1, -2, 3e-9, 4], np.float32)),
        concept("Bis bald! 👋", text, [0, 1, 0, 0], terms=[0, 7, 2**32 - 1]),
    )
    given = PerceivedEpisode(
        source=told("").source, text=text, told_at=-5, concepts=parts, conversation="c\0 1", position=-3,
        speaker="Zoë ÆØÅ 林", external_id="x-1",
    )  # fmt: skip
    (answer,) = record.remember("a", SPACE, [given])
    episode = record.episodes("a", [answer.episode_id, "nobody"])[answer.episode_id]
    assert (episode.id, episode.namespace, episode.seq) == (answer.episode_id, "a", answer.seq)
    assert (episode.source, episode.conversation, episode.position) == (given.source, "c\0 1", -3)
    assert (episode.speaker, episode.text, episode.told_at, episode.external_id) == ("Zoë ÆØÅ 林", text, -5, "x-1")
    assert T0 < episode.recorded_at < T0 + DAY
    kept = record.concepts_of("a", [episode.id])[episode.id]
    assert [one.concept.span for one in kept] == [part.span for part in parts]
    assert [one.concept.ordinal for one in kept] == [0, 1]
    assert {one.concept.episode_id for one in kept} == {episode.id}
    assert {one.space for one in kept} == {SPACE}
    assert [one.vector.tobytes() for one in kept] == [part.vector.tobytes() for part in parts]
    assert kept[0].vector.dtype == np.float32
    assert [one.terms for one in kept] == [Sparse(), Sparse((0, 7, 2**32 - 1), (1.0, 1.25, 1.5))]
    by_id = record.concepts("a", [kept[1].concept.id, "nobody"])
    assert by_id.keys() == {kept[1].concept.id}
    assert by_id[kept[1].concept.id].concept == kept[1].concept


def test_columns_are_the_concepts_side_by_side(record: Record) -> None:
    assert record.columns_of("a", ["nobody"]).ids == ()
    text = "Héllo 🦆. Ja."
    parts = (
        concept("Héllo 🦆.", text, [1.5, -0.25, 0, 3], terms=[]),
        concept("Ja.", text, [-0.5, 0.75, 1, 0], terms=[0, 7, 2**32 - 1]),
    )
    ids = ids_of(record, told(text, concepts=parts), told("x", terms=[3]), told("", concepts=()))
    columns = record.columns_of("a", [*ids, "nobody", ids[0]])
    whole = record.concepts_of("a", ids)
    stored = [one for episode in sorted(ids) for one in whole[episode]]
    texts = {episode.id: episode.text.encode() for episode in record.episodes("a", ids).values()}
    rows = range(len(columns.ids))
    assert [columns.concept(row, texts[columns.episode_ids[row]]) for row in rows] == [one.concept for one in stored]
    assert [columns.vectors[row].tobytes() for row in rows] == [one.vector.tobytes() for one in stored]
    terms = [Sparse(tuple(columns.terms[columns.term_rows == row].tolist()),
                    tuple(columns.term_weights[columns.term_rows == row].tolist())) for row in rows]  # fmt: skip
    assert terms == [one.terms for one in stored]
    assert record.columns_of("a", []).vectors.shape == (0, columns.vectors.shape[1])


def test_a_batch_is_one_commit(record: Record) -> None:
    before = record.seq()
    answers = record.remember("a", SPACE, [told("x"), told("y"), told("z")])
    assert {one.seq for one in answers} == {before + 1}
    assert record.seq() == before + 1
    assert len({one.recorded_at for one in record.episodes("a", [one.episode_id for one in answers]).values()}) == 1


def test_an_episode_may_have_no_concepts(record: Record) -> None:
    (episode,) = ids_of(record, told("", concepts=()))
    assert record.concepts_of("a", [episode, "nobody"]) == {episode: []}
    assert record.space_of("a") == SPACE
    assert record.outbox(10) == []


def test_nothing_to_remember_is_no_commit(record: Record) -> None:
    before = record.seq()
    assert record.remember("a", SPACE, []) == []
    assert (record.seq(), record.space_of("a")) == (before, None)


@pytest.mark.parametrize(
    "change",
    [
        {"source": "other"},
        {"conversation": "d"},
        {"position": 1},
        {"speaker": "Bob"},
        {"at": T0 + 1},
        {"text": "Thanks! "},
        {"external_id": "x"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_two_honest_thanks_are_two(record: Record, change: dict[str, Any]) -> None:
    first, second = ids_of(record, told("Thanks!"), told(**({"text": "Thanks!"} | change)))
    assert first != second
    assert record.counts("a").episodes == 2


def test_the_same_told_twice_is_one_in_a_batch_and_across_batches(record: Record) -> None:
    once = told("Thanks!")
    first, again, other = record.remember("a", SPACE, [once, once, told("Bye")])
    assert (again.episode_id, again.seq, again.duplicate) == (first.episode_id, first.seq, True)
    assert not first.duplicate
    assert not other.duplicate
    before = record.counts("a"), record.speakers("a"), record.term_statistics("a", [1])
    # What was made of it, and of what kind its source is, does not make it another one.
    repeated = told("Thanks!", kind=SourceKind.DOCUMENT, terms=[5])
    assert record.remember("a", SPACE, [repeated]) == [dataclasses.replace(first, duplicate=True)]
    assert (record.counts("a"), record.speakers("a"), record.term_statistics("a", [1])) == before
    assert [one.duplicate for one in record.remember("b", SPACE, [once])] == [False]


def test_what_is_known_is_told_without_writing(record: Record) -> None:
    kept = record.remember("a", SPACE, [told("one"), told("two", external_id="x")])
    before = record.counts("a")
    asked = [told("two, edited", external_id="x"), told("three"), dataclasses.replace(told("one"), concepts=())]
    assert record.known("a", asked) == [
        dataclasses.replace(kept[1], duplicate=True),
        None,
        dataclasses.replace(kept[0], duplicate=True),
    ]
    assert record.known("b", asked) == [None, None, None]
    assert record.known("a", []) == []
    assert record.counts("a") == before
    refused(NotFound, "NAMESPACE_NOT_FOUND", record.known, "nowhere", asked)


def test_an_external_id_alone_says_what_is_a_duplicate(record: Record) -> None:
    first = record.remember("a", SPACE, [told("one", external_id="x")])[0]
    edited, elsewhere = record.remember(
        "a", SPACE, [told("two", external_id="x", position=4), told("one", external_id="x", source="mail")]
    )
    assert edited == dataclasses.replace(first, duplicate=True)
    assert not elsewhere.duplicate


def test_an_imported_episode_keeps_its_id(record: Record) -> None:
    assert ids_of(record, told("x", given_id="mine")) == ["mine"]
    assert record.remember("a", SPACE, [told("x", given_id="mine")])[0].duplicate
    for namespace, text in (("a", "y"), ("b", "x")):
        batch = [told("fresh"), told(text, given_id="mine")]
        refused(AlreadyExists, "EPISODE_ID_TAKEN", record.remember, namespace, SPACE, batch)
        assert record.counts(namespace).episodes == (1 if namespace == "a" else 0)
    twice = [told("p", given_id="same"), told("q", given_id="same")]
    refused(AlreadyExists, "EPISODE_ID_TAKEN", lambda: record.remember("a", SPACE, twice))


def test_a_namespace_has_one_space(record: Record) -> None:
    assert record.space_of("a") is None
    ids_of(record, told("x"))
    assert record.space_of("a") == SPACE
    for other in (Space("other", "1", 4), Space("encoder", "2", 4)):
        error = refused(FailedPrecondition, "SPACE_MISMATCH", record.remember, "a", other, [told("y")])
        assert str(SPACE) in error.message
        assert str(other) in error.message
    record.remember("b", Space("other", "1", 4), [told("x")])
    assert record.counts("a").episodes == 1


BAD_CONCEPTS = {
    "vector too short": concept("hello", vector=[1, 0]),
    "vector of two axes": dataclasses.replace(concept("hello"), vector=np.zeros((1, 4), np.float32)),
    "vector with NaN": concept("hello", vector=[float("nan"), 0, 0, 0]),
    "terms descending": dataclasses.replace(concept("hello"), terms=Sparse((2, 1), (1.0, 1.0))),
    "terms twice": dataclasses.replace(concept("hello"), terms=Sparse((2, 2), (1.0, 1.0))),
    "terms too large": dataclasses.replace(concept("hello"), terms=Sparse((2**32,), (1.0,))),
    "terms negative": dataclasses.replace(concept("hello"), terms=Sparse((-1,), (1.0,))),
    "weights missing": dataclasses.replace(concept("hello"), terms=Sparse((1, 2), (1.0,))),
    "weights infinite": dataclasses.replace(concept("hello"), terms=Sparse((1,), (float("inf"),))),
    "span beyond": dataclasses.replace(concept("hello"), span=Span("hello", 1, 6)),
    "span of other words": dataclasses.replace(concept("hello"), span=Span("hallo", 0, 5)),
}


@pytest.mark.parametrize("bad", BAD_CONCEPTS.values(), ids=BAD_CONCEPTS)
def test_a_bad_concept_names_its_place_and_nothing_is_written(record: Record, bad: PerceivedConcept) -> None:
    batch = [told("fine"), told("hello", concepts=(concept("hello"), bad))]
    with pytest.raises(InvalidArgument) as caught:
        record.remember("a", SPACE, batch)
    assert caught.value.field.startswith("episodes[1].concepts[1].")
    assert record.counts("a").episodes == 0


def test_half_a_surrogate_pair_is_no_text(record: Record) -> None:
    for bad in (told("\ud800", concepts=()), told("x", speaker="\ud800"), told("x", external_id="\ud800")):
        with pytest.raises(InvalidArgument):
            record.remember("a", SPACE, [bad])


# Retries.


def test_a_retry_is_answered_and_not_done_twice(bench: Bench) -> None:
    batch = [told("x"), told("x"), told("y")]
    first = bench.record.remember("a", SPACE, batch, request_id="r1")
    before = bench.record.counts("a")
    # A retry is perceived anew, a moment later: the time filled in and the vectors may differ.
    later = [dataclasses.replace(one, told_at=T0 + 9, concepts=()) for one in batch]
    for retry in (batch, later):
        assert bench.reopen().remember("a", SPACE, retry, request_id="r1") == first
    assert bench.record.counts("a") == before


def test_a_request_id_stands_for_one_request_of_one_namespace(record: Record) -> None:
    record.remember("a", SPACE, [told("x")], request_id="r1")
    for others in ([told("y")], [told("x"), told("y")], [], [told("x", speaker="Bob")]):
        error = refused(AlreadyExists, "REQUEST_ID_REUSED", record.remember, "a", SPACE, others, "r1")
        assert error.field == "request_id"
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.assert_fact("a", stated(), request_id="r1"))
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.forget("a", speaker="Ann", request_id="r1"))
    assert not record.remember("b", SPACE, [told("y")], request_id="r1")[0].duplicate


def test_a_request_that_failed_may_be_made_again(record: Record) -> None:
    record.remember("a", SPACE, [told("x")])
    refused(FailedPrecondition, "SPACE_MISMATCH", lambda: record.remember("a", Space("o", "1", 4), [told("y")], "r1"))
    assert not record.remember("a", SPACE, [told("y")], request_id="r1")[0].duplicate


def test_facts_are_retried_too(record: Record) -> None:
    asserted = record.assert_fact("a", stated(valid=Interval(T0), at=T0), request_id="r1")
    assert record.assert_fact("a", stated(valid=Interval(T0), at=T0), request_id="r1") == asserted
    # "Valid from when it was told, which is now" is the same a moment later.
    assert record.assert_fact("a", stated(valid=Interval(T0 + 5), at=T0 + 5), request_id="r1") == asserted
    for other in (stated(valid=Interval(T0 + 1), at=T0), stated("Bob"), stated(literal="Paris")):
        refused(AlreadyExists, "REQUEST_ID_REUSED", record.assert_fact, "a", other, "r1")
    taken_back = record.retract_fact("a", asserted.id, T0 + 1, None, request_id="r2")
    assert record.retract_fact("a", asserted.id, T0 + 1, None, request_id="r2") == taken_back
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.retract_fact("a", asserted.id, T0, None, "r2"))
    assert len(record.facts("a")) == 2


def test_forgetting_is_retried_too(record: Record) -> None:
    ids_of(record, told("x"))
    gone = record.forget("a", speaker="Ann", request_id="r1")
    assert record.forget("a", speaker="Ann", request_id="r1") == gone
    assert gone.episodes == 1
    refused(AlreadyExists, "REQUEST_ID_REUSED", lambda: record.forget("a", speaker="Bob", request_id="r1"))


# Reading.


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


# Facts.


def test_a_fact_comes_back_whole(record: Record) -> None:
    (episode,) = ids_of(record, told("Ann moved to Paris in May"))
    valid = Interval(T0 - 9, T0 + 9, Precision.MONTH, "in May", "Europe/Paris")
    given = dataclasses.replace(stated(" Ann ", entity="Paris", valid=valid, episode_id=episode), trust=0.25)
    fact = record.assert_fact("a", given)
    assert fact.subject == Entity(entity_id("a", "ann"), " Ann ")
    assert fact.object == Entity(entity_id("a", "Paris"), "Paris")
    assert (fact.relation, fact.valid, fact.told_at, fact.episode_id) == ("lives_in", valid, T0, episode)
    assert (fact.trust, fact.retracted, fact.seq) == (0.25, False, record.seq())
    assert record.facts("a") == [fact]
    open_ended = record.assert_fact("a", stated("Bob", literal=""))
    assert (open_ended.object, open_ended.valid, open_ended.episode_id) == ("", Interval(), "")


def test_an_entity_is_made_once_for_each_normalised_name(record: Record) -> None:
    first = record.assert_fact("a", stated("Ann Lee", entity="Bob"))
    second = record.assert_fact("a", stated("bob", entity="ANN  lee"))
    assert second.object == first.subject
    assert second.subject == first.object
    record.assert_fact("a", stated("Ann Lee", literal="Cy"))
    assert record.counts("a").entities == 2
    assert [fact.seq for fact in record.facts("a", entity="aNN LEE ")] == [3, 4, 5]
    assert [fact.seq for fact in record.facts("a", entity="bob")] == [3, 4]
    assert record.facts("a", entity="Cy") == []
    assert record.facts("b", entity="Bob") == []


def test_a_fact_about_itself_is_listed_once(record: Record) -> None:
    record.assert_fact("a", stated("Ann", "knows", "ann"))
    assert len(record.facts("a", entity="Ann")) == 1


def test_facts_are_those_told_and_committed_by_then(record: Record) -> None:
    early = record.assert_fact("a", stated("Ann", "likes", "tea", at=10))
    late = record.assert_fact("a", stated("Ann", "likes", "milk", at=20, valid=Interval(T0, T0 + 1)))
    other = record.assert_fact("a", stated("Bob", "knows", "Ann", at=15))
    assert record.facts("a") == [early, late, other]
    assert record.facts("a", as_of=AsOf(told_by=15)) == [early, other]
    assert record.facts("a", as_of=AsOf(seq=late.seq)) == [early, late]
    assert record.facts("a", as_of=AsOf(valid_at=0, told_by=LATEST)) == [early, late, other]
    assert record.facts("a", relation="likes") == [early, late]
    assert record.facts("a", entity="Ann", relation="knows") == [other]


def test_a_retraction_is_one_more_version_of_the_statement(record: Record) -> None:
    fact = record.assert_fact("a", stated(valid=Interval(T0, T0 + 9)))
    never = record.retract_fact("a", fact.id, None, T0 + 5)
    later = record.retract_fact("a", never.id, T0 + 3, None)
    assert never.statement == later.statement == fact.statement
    assert never.retracted
    assert later.retracted
    assert (never.valid, never.told_at) == (Interval(), T0 + 5)
    assert (later.valid, later.told_at) == (Interval(T0 + 3), later.recorded_at)
    assert record.facts("a") == [fact, never, later]
    refused(NotFound, "FACT_NOT_FOUND", lambda: record.retract_fact("a", "nothing", None, None))
    refused(NotFound, "FACT_NOT_FOUND", lambda: record.retract_fact("b", fact.id, None, None))


def test_a_fact_needs_an_episode_that_is_there_and_one_object(record: Record) -> None:
    (elsewhere,) = ids_of(record, told("x"), namespace="b")
    for episode in ("nobody", elsewhere):
        refused(NotFound, "EPISODE_NOT_FOUND", record.assert_fact, "a", stated(episode_id=episode))
    for bad in (
        NewFact("Ann", "r", Interval(), T0),
        NewFact("Ann", "r", Interval(), T0, entity="x", literal="x"),
        stated(valid=Interval(5, 5)),
        stated("\ud800"),
    ):
        with pytest.raises(InvalidArgument):
            record.assert_fact("a", bad)
    assert record.counts("a") == dataclasses.replace(record.counts("a"), entities=0, facts=0)


def test_an_imported_fact_is_there_once(record: Record) -> None:
    given = stated("Ann", entity="Bob", valid=Interval(1, 2), given_id="mine")
    fact = record.assert_fact("a", given)
    assert fact.id == "mine"
    assert record.assert_fact("a", given) == fact
    for namespace, other in (("a", stated("Ann", entity="Cy", given_id="mine")), ("b", given)):
        refused(AlreadyExists, "FACT_ID_TAKEN", record.assert_fact, namespace, other)
    assert len(record.facts("a")) == 1


def test_several_facts_are_one_transaction_and_a_commit_each(record: Record) -> None:
    (episode,) = ids_of(record, told("x"))
    before = record.seq()
    batch = [
        stated("Ann", entity="ROME", given_id="one"),
        stated("Rome", "is_in", entity="Italy", episode_id=episode),
        stated("ann", literal="sea", retracted=True),
    ]
    kept = record.assert_facts("a", batch)
    assert [fact.seq for fact in kept] == [before + 1, before + 2, before + 3]
    assert [fact.recorded_at for fact in kept] == sorted({fact.recorded_at for fact in kept})
    assert record.facts("a") == kept
    assert [record.seq_at(fact.recorded_at) for fact in kept] == [fact.seq for fact in kept]
    assert (kept[1].subject.name, kept[2].subject.name) == ("ROME", "Ann"), "the first spelling is the Entity's"
    assert record.assert_facts("a", batch[:1]) == kept[:1], "brought again it is there once"
    twice = stated("Bob", given_id="two")
    assert len({fact.id for fact in record.assert_facts("a", [twice, twice])}) == 1
    assert record.assert_facts("a", []) == []
    held = record.counts("a")
    fine = stated("Cy", literal="x")
    refused(NotFound, "EPISODE_NOT_FOUND", record.assert_facts, "a", [fine, stated("Cy", episode_id="nobody")])
    refused(AlreadyExists, "FACT_ID_TAKEN", record.assert_facts, "a", [fine, stated("Dee", given_id="one")])
    with pytest.raises(InvalidArgument):
        record.assert_facts("a", [fine, stated(valid=Interval(5, 5))])
    assert record.counts("a") == held, "all or none"


def test_rivals_come_along_where_their_relation_is_contended(record: Record) -> None:
    rome = record.assert_fact("a", stated("Ann", "lives_in", "Rome", at=10))
    oslo = record.assert_fact("a", stated("Ann", "lives_in", "Oslo", at=20))
    likes = record.assert_fact("a", stated("Ann", "likes", "Rome", at=30))
    record.assert_fact("a", stated("Ann", "likes", "Oslo", at=30))
    record.assert_fact("a", stated("Bob", "lives_in", "Oslo", at=30))
    assert record.facts("a", "rome") == [rome, likes]
    assert record.facts("a", "rome", contended={"lives_in"}) == [rome, oslo, likes]
    assert record.facts("a", "rome", "lives_in", contended={"lives_in"}) == [rome, oslo]
    assert record.facts("a", "rome", as_of=AsOf(told_by=10), contended={"lives_in"}) == [rome]
    assert record.facts("a", "oslo", as_of=AsOf(seq=rome.seq), contended={"lives_in"}) == []
    assert record.facts("a", "nobody", contended={"lives_in"}) == []


# Policies.


def test_a_policy_counts_from_its_commit_on(record: Record) -> None:
    assert record.policies("a") == []
    single = record.set_policy("a", "lives_in", Contradiction.SINGLE)
    assert (single.relation, single.policy, single.seq) == ("lives_in", Contradiction.SINGLE, record.seq())
    assert record.seq_at(single.recorded_at) == single.seq
    members = record.set_policy("a", "has_member", Contradiction.SET)
    many = record.set_policy("a", "lives_in", Contradiction.MANY)
    assert record.policies("a") == [members, many]
    assert record.policies("a", AsOf(seq=many.seq - 1)) == [members, single]
    assert record.policies("a", AsOf(seq=single.seq)) == [single]
    assert record.policies("a", AsOf(seq=single.seq - 1)) == []
    assert record.policies("b") == []


def test_the_same_policy_again_is_no_commit(record: Record) -> None:
    first = record.set_policy("a", "lives_in", Contradiction.SINGLE, "r")
    seq = record.seq()
    assert record.set_policy("a", "lives_in", Contradiction.SINGLE) == first
    assert record.seq() == seq
    later = record.set_policy("a", "lives_in", Contradiction.SET)
    assert record.set_policy("a", "lives_in", Contradiction.SINGLE, "r") == first, "a retry is answered"
    assert record.policies("a") == [later]
    refused(AlreadyExists, "REQUEST_ID_REUSED", record.set_policy, "a", "lives_in", Contradiction.MANY, "r")


def test_policies_go_with_their_namespace_and_outlive_what_is_forgotten(record: Record) -> None:
    kept = record.set_policy("a", "lives_in", Contradiction.SINGLE)
    record.set_policy("b", "lives_in", Contradiction.SET)
    ids_of(record, told("x"))
    record.forget("a", speaker="Ann")
    record.delete_namespace("b")
    record.create_namespace("b")
    assert (record.policies("a"), record.policies("b")) == ([kept], [])


# Forgetting.


def test_forgetting_takes_all_that_was_derived(record: Record) -> None:
    keep, go = ids_of(record, told("keep", terms=[1, 2]), told("go", speaker="Bob", terms=[2, 3], position=1))
    record.assert_fact("a", stated("Ann", entity="Paris", episode_id=keep))
    gone_fact = record.assert_fact("a", stated("Bob", entity="Rome", episode_id=go))
    record.retract_fact("a", gone_fact.id, None, None)
    record.assert_fact("a", stated("Ann", entity="Oslo"))
    concepts = tuple(one.concept.id for one in record.concepts_of("a", [go])[go])

    planned = record.forget("a", speaker="Bob", dry_run=True, request_id="r")
    assert planned == Forgotten(1, 1, 2)
    assert record.counts("a").episodes == 2
    gone = record.forget("a", speaker="Bob", request_id="r")
    assert gone == dataclasses.replace(planned, audit_id=gone.audit_id)
    assert gone.audit_id

    assert record.episodes("a", [keep, go]).keys() == {keep}
    assert record.concepts("a", concepts) == {}
    assert record.concepts_of("a", [go]) == {}
    assert record.speakers("a") == {"Ann": 1}
    assert dict(record.term_statistics("a", [1, 2, 3]).document_frequency) == {1: 1, 2: 1}
    assert record.term_statistics("a", []).concepts == 1
    assert [fact.subject.name for fact in record.facts("a")] == ["Ann", "Ann"]
    assert record.facts("a", entity="Bob") == []
    counts = record.counts("a")
    assert (counts.episodes, counts.concepts, counts.entities, counts.facts) == (1, 1, 3, 2)
    entry = record.outbox(10)[-1]
    assert (entry.namespace, entry.space, entry.concept_ids) == ("a", SPACE, concepts)
    assert (entry.deleted, entry.seq) == (True, record.seq())
    assert not record.remember("a", SPACE, [told("go", speaker="Bob", position=1)])[0].duplicate


def test_a_retraction_stays_while_the_statement_has_another_assertion(record: Record) -> None:
    first, second = ids_of(record, told("x"), told("y"))
    fact = record.assert_fact("a", stated(episode_id=first))
    record.assert_fact("a", stated(episode_id=second))
    taken_back = record.retract_fact("a", fact.id, T0, None)
    witnessed = record.assert_fact("a", stated(episode_id=second, retracted=True))
    literal = record.assert_fact("a", stated(literal="Paris", retracted=True))
    assert record.forget("a", episode_ids=[first]).facts == 1
    assert taken_back in record.facts("a")
    assert witnessed in record.facts("a")
    assert record.forget("a", episode_ids=[second]).facts == 3
    assert record.facts("a") == [literal]


def test_a_retraction_that_has_its_own_episode_or_statement_stays(record: Record) -> None:
    asserting, denying = ids_of(record, told("x"), told("y"))
    record.assert_fact("a", stated("Ann", "drinks", literal="tea", episode_id=asserting))
    bare = record.assert_fact("a", stated("Ann", "drinks", literal="tea", retracted=True))
    witnessed = record.assert_fact("a", stated("Ann", "drinks", literal="tea", retracted=True, episode_id=denying))
    other = record.assert_fact("a", stated("Ann", "drinks", literal="milk", retracted=True))
    elsewhere = record.assert_fact("a", stated("Ann", "sells", literal="tea", retracted=True))
    assert record.forget("a", episode_ids=[asserting]).facts == 2
    assert bare not in record.facts("a")
    assert record.facts("a") == [witnessed, other, elsewhere]


def test_selectors_narrow_one_another(record: Record) -> None:
    first, second, third = ids_of(
        record, told("1"), told("2", conversation="d"), told("3", speaker="Bob", conversation="d")
    )

    def planned(**selectors: Any) -> int:
        return record.forget("a", **selectors, dry_run=True).episodes

    assert planned(speaker="Ann") == 2
    assert planned(conversation="d") == 2
    assert planned(speaker="Ann", conversation="d") == 1
    assert planned(episode_ids=[first, third, "nobody"]) == 2
    assert planned(episode_ids=[first, third], conversation="d") == 1
    assert planned(speaker="nobody") == 0
    with pytest.raises(InvalidArgument):
        record.forget("a")
    record.forget("a", speaker="Ann", conversation="d")
    assert record.episodes("a", [first, second, third]).keys() == {first, third}


def test_forgetting_what_is_not_there_leaves_only_an_audit(record: Record) -> None:
    gone = record.forget("a", speaker="nobody")
    assert (gone.episodes, gone.concepts, gone.facts) == (0, 0, 0)
    assert gone.audit_id
    assert record.outbox(10) == []


def test_the_answer_of_a_forgotten_fact_is_gone_as_well(record: Record) -> None:
    (episode,) = ids_of(record, told("x"))
    record.assert_fact("a", stated(episode_id=episode), request_id="r")
    record.forget("a", episode_ids=[episode])
    refused(NotFound, "FACT_NOT_FOUND", lambda: record.assert_fact("a", stated(episode_id=episode), request_id="r"))


# Commits, the outbox, counts.


def test_the_outbox_is_in_the_order_of_commits_and_resumes(bench: Bench) -> None:
    for n in range(5):
        ids_of(bench.record, told(f"t{n}"), namespace="ab"[n % 2])
    entries = bench.record.outbox(10)
    assert [one.seq for one in entries] == [3, 4, 5, 6, 7]
    assert [one.position for one in entries] == sorted({one.position for one in entries})
    assert bench.record.outbox(2) == entries[:2]
    assert bench.record.outbox(0) == []
    bench.record.outbox_done(entries[1].position)
    assert bench.reopen().outbox(10) == entries[2:]
    bench.record.outbox_done(entries[0].position)
    assert bench.record.outbox(10) == entries[2:]
    bench.record.outbox_done(entries[-1].position)
    ids_of(bench.record, told("after"))
    assert bench.record.outbox(10)[0].position > entries[-1].position


def test_an_outbox_entry_holds_the_concepts_of_its_commit(record: Record) -> None:
    answer = record.remember("a", SPACE, [told("x"), told("y"), told("x")])
    entry = record.outbox(10)[0]
    assert entry.concept_ids == tuple(
        record.concepts_of("a", [one.episode_id])[one.episode_id][0].concept.id for one in answer[:2]
    )
    record.remember("a", SPACE, [told("x")])
    assert record.outbox(10) == [entry]


def test_time_finds_the_commit_even_when_the_clock_goes_back(bench: Bench) -> None:
    bench.clock.at = T0 + DAY
    ids_of(bench.record, told("1"))
    bench.clock.at = T0
    record = bench.reopen()
    ids_of(record, told("2"))
    first, second = (episode for episode, _ in record.export_episodes("a"))
    assert second.recorded_at > first.recorded_at
    assert record.seq_at(first.recorded_at) == first.seq
    assert record.seq_at(second.recorded_at) == second.seq
    assert record.seq_at(second.recorded_at - 1) == first.seq
    assert record.seq_at(LATEST) == record.seq() == 4
    assert record.seq_at(0) == 0
    record.delete_namespace("a")
    assert record.seq_at(second.recorded_at) == second.seq


def test_counts_of_one_and_of_all(record: Record) -> None:
    ids_of(record, told("x"), told("y", concepts=()))
    ids_of(record, told("x"), namespace="b")
    record.assert_fact("b", stated())
    assert dataclasses.astuple(record.counts("a")) == (2, 1, 0, 0, 5, 1, 0, 0)
    assert dataclasses.astuple(record.counts("b")) == (1, 1, 2, 1, 5, 1, 0, 0)
    assert dataclasses.astuple(record.counts()) == (3, 2, 2, 1, 5, 2, 0, 0)


def test_two_namespaces_never_mix(record: Record) -> None:
    mine, theirs = ids_of(record, told("x")), ids_of(record, told("x", speaker="Eve", terms=[9]), namespace="b")
    fact = record.assert_fact("b", stated("Eve"))
    concepts = [one.concept.id for one in record.concepts_of("b", theirs)[theirs[0]]]
    assert record.episodes("a", theirs) == {}
    assert record.window("a", theirs, 3) == {}
    assert record.concepts("a", concepts) == {}
    assert record.concepts_of("a", theirs) == {}
    assert record.columns_of("a", theirs).ids == ()
    assert record.speakers("a") == {"Ann": 1}
    assert record.term_statistics("a", [9]).document_frequency == {}
    assert record.facts("a", entity="Eve") == []
    assert fact.subject.id != entity_id("a", "Eve")
    assert [one.id for one in record.timeline("a", ALL, NOW, 10)] == mine
    assert record.forget("a", episode_ids=theirs).episodes == 0
    assert record.forget("a", speaker="Eve").episodes == 0
    assert record.episodes("b", theirs).keys() == set(theirs)


def test_what_was_written_is_there_after_closing_and_opening(bench: Bench) -> None:
    ids_of(bench.record, told("x"), told("y", position=1))
    bench.record.assert_fact("a", stated())
    before = snapshot(bench.record, "a")
    assert snapshot(bench.reopen(), "a") == before


def test_a_closed_record_says_so(bench: Bench) -> None:
    bench.record.close()
    bench.record.close()
    calls: list[Callable[[], object]] = [
        bench.record.namespaces,
        bench.record.seq,
        lambda: bench.record.create_namespace("c"),
        lambda: bench.record.remember("a", SPACE, [told("x")]),
        lambda: bench.record.episodes("a", ["x"]),
        lambda: bench.record.outbox(1),
    ]
    for call in calls:
        refused(Unavailable, "STORE_CLOSED", call)


def test_writers_and_readers_on_many_threads_see_whole_commits(record: Record) -> None:
    wrong: list[object] = []
    done = threading.Event()

    def write(worker: int) -> None:
        try:
            for n in range(10):
                ids_of(record, *[told(f"{worker}/{n}/{part}", speaker=f"s{worker}") for part in range(3)])
                ids_of(record, told("the same for all"))
        except Exception as error:
            wrong.append(error)

    def read() -> None:
        seen = 0
        try:
            while not done.wait(0.001):
                episodes = record.counts("a").episodes
                if episodes < seen or (episodes - record.speakers("a").get("Ann", 0)) < seen - 1:
                    wrong.append((seen, episodes))
                seen = episodes
        except Exception as error:
            wrong.append(error)

    writers = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    assert wrong == []
    assert record.speakers("a") == {"Ann": 1} | {f"s{worker}": 30 for worker in range(4)}
    # Two namespaces, four times ten batches, and once what all of them told: as many commits, with no gap.
    assert record.seq() == 2 + 40 + 1
    assert sorted({episode.seq for episode, _ in record.export_episodes("a")}) == list(range(3, 44))


# Random histories.

NAMESPACES = ("a", "b")
SPEAKERS = ("", "Ann", "Bob")
CONVERSATIONS = ("", "c", "d")
ENTITIES = ("Ann", " ann", "Bob", "Köln")
TERMS = (0, 1, 2, 2**32 - 1)

namespaces = st.sampled_from(NAMESPACES)
bounds = st.none() | st.integers(0, 6)


@st.composite
def episode(draw: st.DrawFn) -> PerceivedEpisode:
    text = draw(st.sampled_from(["Hi.", "Hi. Grüße!", "Grüße!"]))
    parts = text.split() if draw(st.booleans()) else []
    terms = st.lists(st.sampled_from(TERMS), unique=True, max_size=3).map(sorted)
    return told(
        text,
        speaker=draw(st.sampled_from(SPEAKERS)),
        conversation=draw(st.sampled_from(CONVERSATIONS)),
        position=draw(st.integers(0, 3)),
        at=draw(st.integers(0, 4)),
        source=draw(st.sampled_from(["chat", "mail"])),
        kind=draw(st.sampled_from(list(SourceKind))),
        external_id=draw(st.sampled_from(["", "", "x", "y"])),
        concepts=tuple(concept(part, text, draw(st.tuples(*[st.integers(-2, 2)] * 4)), draw(terms)) for part in parts),
    )


@st.composite
def valid_time(draw: st.DrawFn) -> Interval:
    start, end = draw(bounds), draw(bounds)
    if start is not None and end is not None and start >= end:
        start, end = end, start + 1
    return Interval(start, end, draw(st.sampled_from(list(Precision))), draw(st.sampled_from(["", "in May"])))


steps = st.one_of(
    st.tuples(st.just("remember"), namespaces, st.lists(episode(), max_size=5)),
    st.tuples(st.just("remember"), namespaces, st.lists(episode(), min_size=1, max_size=5)),
    st.tuples(
        st.just("assert_fact"), namespaces, st.sampled_from(ENTITIES), st.sampled_from(["knows", "likes"]),
        st.sampled_from([*ENTITIES, "=tea", "=milk"]), valid_time(), st.integers(0, 4), st.booleans(),
        st.none() | st.integers(0, 9),
    ),
    st.tuples(
        st.just("set_policy"), namespaces, st.sampled_from(["knows", "likes"]), st.sampled_from(Contradiction)
    ),
    st.tuples(st.just("retract_fact"), namespaces, st.integers(0, 9), bounds, st.integers(0, 4)),
    st.tuples(
        st.just("forget"), namespaces, st.lists(st.integers(0, 9), max_size=2), st.sampled_from(SPEAKERS),
        st.sampled_from(CONVERSATIONS), st.booleans(),
    ),
    st.tuples(st.just("archive"), namespaces, st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(st.just("thaw"), namespaces, st.lists(st.integers(0, 9), max_size=3)),
    st.tuples(
        st.just("set_hold"), namespaces, st.lists(st.integers(0, 9), max_size=1), st.sampled_from("xy"), st.booleans()
    ),
    st.tuples(st.just("delete_namespace"), namespaces),
    st.tuples(st.just("create_namespace"), namespaces),
    st.tuples(st.just("outbox_done"), st.integers(0, 3)),
    st.tuples(st.just("reopen")),
)  # fmt: skip


def plain(value: Any) -> Any:
    """Nouns as tuples that compare, without the times of commits."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [one.name for one in dataclasses.fields(value) if one.name not in ("recorded_at", "audit_id")]
        return (type(value).__name__, *(plain(getattr(value, name)) for name in fields))
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def snapshot(record: Record, namespace: str) -> Any:
    """All that a namespace holds."""
    exported = list(record.export_episodes(namespace))
    ids = [one.id for one, _ in exported]
    return plain(
        [
            record.counts(namespace), record.space_of(namespace), exported, record.speakers(namespace),
            dict(record.term_statistics(namespace, TERMS).document_frequency), record.facts(namespace),
            list(record.concept_ids(namespace)), record.window(namespace, ids, 1), record.outbox(1000),
        ]
    )  # fmt: skip


def outcome(call: Callable[[], object]) -> Any:
    """The answer, or the kind and the reason of the error."""
    try:
        return plain(call())
    except SapienceError as error:
        return type(error), error.reason


class History:
    """The same steps on a record and on the oracle."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.oracle = Oracle()
        self.count = 0

    def take(self, step: tuple[Any, ...]) -> None:
        name, *rest = step
        record, oracle = self.bench.record, self.oracle
        self.count += 1
        if name == "reopen":
            self.bench.reopen()
        elif name == "outbox_done":
            entries = oracle.entries
            position = entries[min(rest[0], len(entries) - 1)].position if entries else 0
            record.outbox_done(position)
            oracle.outbox_done(position)
        elif name == "create_namespace":
            self.both(lambda: record.create_namespace(rest[0]) and None, lambda: oracle.create_namespace(rest[0]))
        elif name == "delete_namespace":
            self.both(lambda: record.delete_namespace(rest[0]), lambda: oracle.delete_namespace(rest[0]))
        elif name == "remember":
            batch = [dataclasses.replace(one, id=f"e{self.count:03}-{9 - n}") for n, one in enumerate(rest[1])]
            self.both(lambda: record.remember(rest[0], SPACE, batch), lambda: oracle.remember(rest[0], SPACE, batch))
        elif name == "assert_fact":
            namespace, subject, relation, target, valid, at, retracted, witness = rest
            fact = stated(
                subject, relation, target, literal=target[1:] if target[0] == "=" else None, valid=valid, at=at,
                retracted=retracted, given_id=f"f{self.count}",
                episode_id="" if witness is None else self.episode_id(namespace, witness),
            )  # fmt: skip
            self.both(lambda: record.assert_fact(namespace, fact), lambda: oracle.assert_fact(namespace, fact))
        elif name == "set_policy":
            self.both(lambda: record.set_policy(*rest), lambda: oracle.set_policy(*rest))
        elif name == "retract_fact":
            namespace, which, start, at = rest
            kept = oracle.tenants[namespace].facts if namespace in oracle.tenants else []
            fact_id = kept[which].id if which < len(kept) else "nothing"
            made: list[str] = []

            def retract() -> object:
                answer = record.retract_fact(namespace, fact_id, start, at)
                made.append(answer.id)
                return answer

            self.both(retract, lambda: oracle.retract_fact(namespace, fact_id, made[0] if made else "", start, at))
        elif name == "forget":
            namespace, which, speaker, conversation, dry_run = rest
            ids = [self.episode_id(namespace, one) for one in which]
            if not ids and not speaker and not conversation:
                ids = ["nobody"]
            self.both(
                lambda: record.forget(
                    namespace, episode_ids=ids, speaker=speaker, conversation=conversation, dry_run=dry_run
                ),
                lambda: oracle.forget(namespace, ids, speaker, conversation, dry_run),
            )

        elif name in ("archive", "thaw"):
            namespace, ids = rest[0], [self.episode_id(rest[0], one) for one in rest[1]]
            move = record.archive if name == "archive" else record.thaw
            self.both(lambda: move(namespace, ids), lambda: oracle.move(namespace, ids, archive=name == "archive"))
        elif name == "set_hold":
            namespace, ids = rest[0], [self.episode_id(rest[0], one) for one in rest[1]]
            self.both(
                lambda: record.set_hold(namespace, ids, rest[2], release=rest[3]),
                lambda: oracle.set_hold(namespace, ids, rest[2], rest[3]),
            )

    def both(self, on_record: Callable[[], object], on_oracle: Callable[[], object]) -> None:
        """The same answer, or the same error."""
        assert outcome(on_record) == outcome(on_oracle)

    def episode_id(self, namespace: str, which: int) -> str:
        kept = self.oracle.tenants[namespace].episodes if namespace in self.oracle.tenants else []
        return kept[which].episode.id if which < len(kept) else "nobody"

    def check(self, where: EpisodeFilter, as_of: AsOf, entity: str | None, radius: int) -> None:
        record, oracle = self.bench.record, self.oracle
        assert [one.name for one in record.namespaces()] == sorted(oracle.tenants)
        assert record.counts() == oracle.counts(None)
        assert record.seq() == oracle.last
        assert plain(record.outbox(1000)) == plain(oracle.entries)
        for name in oracle.tenants:
            exported = oracle.export(name)
            ids = [one.id for one, _ in exported]
            assert plain(list(record.export_episodes(name))) == plain(exported)
            assert record.counts(name) == oracle.counts(name)
            assert record.speakers(name) == oracle.speakers(name)
            statistics = record.term_statistics(name, TERMS)
            assert statistics.concepts == len(oracle.counted(name))
            assert dict(statistics.document_frequency) == oracle.document_frequency(name)
            concepts = {one.concept.id: one for _, of in exported for one in of}
            assert list(record.concept_ids(name)) == oracle.indexed(name)
            for seq in (as_of.seq, oracle.last // 2):
                apart = record.archived_concepts(name, AsOf(seq=seq))
                assert plain(list(apart)) == plain(oracle.archived(name, seq))
            assert plain(record.concepts(name, list(concepts))) == plain(concepts)
            assert plain(record.window(name, ids, radius)) == plain(oracle.window(name, radius))
            assert plain(record.timeline(name, where, as_of, 1000)) == plain(oracle.timeline(name, where, as_of))
            for relation in ("", "likes"):
                for contended in ((), ("knows",)):
                    found = record.facts(name, entity, relation, as_of, contended)
                    assert plain(found) == plain(oracle.facts(name, entity, relation, as_of, contended))
            assert plain(record.policies(name, as_of)) == plain(oracle.policies(name, as_of))


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    st.lists(steps, min_size=1, max_size=25),
    st.builds(
        EpisodeFilter,
        speakers=st.lists(st.sampled_from(SPEAKERS), max_size=2).map(tuple),
        kinds=st.lists(st.sampled_from(list(SourceKind)), max_size=3).map(tuple),
        conversations=st.lists(st.sampled_from(CONVERSATIONS), max_size=2).map(tuple),
        told=valid_time(),
    ),
    st.builds(
        AsOf, st.sampled_from([1, 3, LATEST]), st.sampled_from([1, 3, LATEST]), st.sampled_from([3, 9, 2**63 - 1])
    ),
    st.none() | st.sampled_from(ENTITIES),
    st.integers(0, 3),
)
def test_a_random_history_reads_as_the_oracle_says(
    place: Place, history: list[tuple[Any, ...]], where: EpisodeFilter, as_of: AsOf, entity: str | None, radius: int
) -> None:
    place.clear()
    lived = History(Bench(place))
    try:
        for step in [("create_namespace", "a"), ("create_namespace", "b"), *history]:
            lived.take(step)
        lived.check(where, as_of, entity, radius)
        lived.bench.reopen()
        lived.check(where, as_of, entity, radius)
    finally:
        lived.bench.record.close()


# What only the file can do.


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


# What only the server can do.


def test_a_server_that_is_not_there_is_unavailable() -> None:
    clock = ManualClock(T0)
    given = ("bolt://127.0.0.1:1", "neo4j", "secret", "", clock, RandomIds(clock, 1))
    error = refused(Unavailable, "STORE_UNAVAILABLE", Neo4jRecord, *given)
    assert "bolt://127.0.0.1:1" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize("address", ["", "localhost:7687", "http://localhost:7687"])
def test_an_address_of_no_server_is_refused(address: str) -> None:
    clock = ManualClock(T0)
    refused(FailedPrecondition, "STORE_ADDRESS", lambda: Neo4jRecord(address, "", "", "", clock, RandomIds(clock, 1)))
