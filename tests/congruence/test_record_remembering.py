"""What a record is told: kept whole, once, in one commit and one space; on both backends."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from record_backends import (
    SPACE,
    T0,
    concept,
    ids_of,
    refused,
    told,
)

from core.clock import DAY
from core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from core.nouns import (
    PerceivedConcept,
    PerceivedEpisode,
    SourceKind,
    Space,
    Span,
    Sparse,
)
from core.ports import Record


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
