"""What a Dream proposes: which Episodes are copies, what a summary quotes, which Facts disagree, what use strengthens.

Proposals are compared as a whole where what matters is that nothing but memory decides them: not the order of reading.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.clock import DAY
from core.dreams import AddUses, Archive, DreamKind, Proposal, SummaryOf, Write
from core.nouns import (
    Concept,
    Contradiction,
    Entity,
    Episode,
    Fact,
    Interval,
    Keeping,
    RelationPolicy,
    Source,
    SourceKind,
    Space,
    Span,
    StoredConcept,
)
from memory.analysis import document_terms, episode_context
from memory.dreams.clusters import clusters
from memory.dreams.contradictions import contradictions
from memory.dreams.duplicates import duplicates
from memory.dreams.material import Material, Told
from memory.dreams.procedures import procedures, shape_of
from memory.dreams.proposing import propose
from memory.dreams.strengthening import strengthening
from memory.dreams.summaries import summaries
from memory.dreams.writing import key_of, written

T0 = 1_700_000_000_000_000
SPACE = Space("encoder", "1", 8)
ALL = tuple(DreamKind)
ELSEWHERE = {DreamKind.ALIASES, DreamKind.FACTS}
"""What has tests of its own: test_dream_aliases.py, test_dream_reading.py."""
LONG = "The potter sold seventeen blue bowls at the crowded Saturday market in Antwerp before noon."


def told(
    number: int,
    text: str,
    *,
    speaker: str = "Ann",
    direction: int = 0,
    kind: SourceKind = SourceKind.TESTIMONY,
    days: float | None = None,
    sources: Sequence[str] = (),
    keeping: dict[str, Any] | None = None,
    external_id: str = "",
    conversation: str = "c",
) -> Told:
    """An Episode with one Concept for each line; those of one `direction` lie together."""
    at = T0 + int((number if days is None else days) * DAY)
    name = f"e{number:03}"
    told_by = Source(kind, "dream" if kind is SourceKind.DREAM else "chat")
    episode = Episode(name, "a", told_by, conversation, number, speaker, text, at, external_id, at, number + 1)
    vector = np.full(8, 0.01 * (number % 7), np.float32)
    vector[direction] = 1
    concepts, start = [], 0
    for ordinal, line in enumerate(text.splitlines()):
        span = Span(line, start, start + len(line.encode()), "en")
        terms = document_terms(line, episode_context(speaker, at))
        unit = vector / np.float32(np.linalg.norm(vector))
        concepts.append(StoredConcept(Concept(f"{name}/{ordinal}", name, ordinal, span), SPACE, unit, terms))
        start = span.end_byte + 1
    return Told.of(episode, concepts, Keeping(name, **(keeping or {})), sources)


def material(*of: Told, **more: Any) -> Material:
    return Material.of("a", of, **more)


# Near-duplicates.


def test_the_later_copy_is_archived_and_its_uses_go_to_the_first() -> None:
    copies = material(
        told(0, LONG),
        told(1, LONG.replace("The potter", "A potter").upper(), keeping={"uses": 3, "used_at": T0 + 9}),
    )
    (found,) = duplicates(copies)
    assert found.actions == (Archive("e001"), AddUses("e000", 3, T0 + 9))
    assert found.reads == ("e000", "e001")
    assert found.score > 0.8


@pytest.mark.parametrize(
    ("first", "second", "more"),
    [
        ("Thanks!", "Thanks!", {}),
        (LONG, LONG, {"speaker": "Ben"}),
        (LONG, LONG.replace("seventeen", "eighteen"), {}),
        (LONG.replace("seventeen", "17"), LONG.replace("seventeen", "18"), {}),
        (LONG, LONG.replace("sold", "never sold"), {}),
        (LONG.replace("sold", "didn't sell"), LONG.replace("sold", "did sell"), {}),
        (LONG, f"{LONG} Her brother Pieter drove the van home to Ghent.", {}),
        (LONG, LONG, {"direction": 3}),
        (LONG, LONG, {"keeping": {"holds": ("case",)}}),
    ],
    ids=["short", "another speaker", "another word", "another number", "denied", "denied by n't", "says more",
         "another direction", "held"],
)  # fmt: skip
def test_what_may_be_a_thing_of_its_own_is_no_copy(first: str, second: str, more: dict[str, Any]) -> None:
    assert duplicates(material(told(0, first), told(1, second, **more))) == []


def test_all_copies_are_those_of_the_first() -> None:
    found = duplicates(material(*(told(n, LONG) for n in range(4))))
    assert [one.reads for one in found] == [("e000", f"e00{n}") for n in (1, 2, 3)]


# Topics and summaries.


@given(st.integers(0, 2**32 - 1), st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_topics_are_groups_of_what_lies_together_each_in_one(seed: int, count: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    found = clusters(vectors, least=2, most=5, near=0.8)
    taken = [one for group in found for one in group]
    assert len(taken) == len(set(taken))
    for group in found:
        assert 2 <= len(group) <= 5
        assert group == sorted(group)
        near = np.round(vectors[group].astype(np.float64) @ vectors[group].T.astype(np.float64), 6) >= 0.8
        assert near.all(axis=1).any(), "one of them has all the others near it"


def talk() -> list[Told]:
    subjects = ("kiln glaze bowl", "tomato greenhouse compost", "choir requiem chapel")
    return [
        told(
            n,
            f"Our {subjects[n % 3]} number {n} turned out splendid and surprised everybody.\nDid you know?",
            speaker=("Ann", "Ben")[n % 2],
            direction=n % 3,
        )
        for n in range(24)
    ]


def test_a_summary_quotes_statements_and_rests_on_what_it_quotes() -> None:
    episodes = {one.id: one for one in talk()}
    found = [one for one in summaries(material(*episodes.values())) if isinstance(one.actions[0], Write)]
    kinds = [one.actions[0].of for one in found if isinstance(one.actions[0], Write)]
    assert sorted(set(kinds)) == [SummaryOf.SPEAKER, SummaryOf.TOPIC, SummaryOf.PERIOD]
    assert kinds.count(SummaryOf.SPEAKER) == 2
    for one in found:
        (write,) = one.actions
        assert isinstance(write, Write)
        assert one.reads == tuple(dict.fromkeys(write.sources))
        assert [quote.partition("/")[0] for quote in write.quotes] == list(write.sources)
        assert all(quote.endswith("/0") for quote in write.quotes), "the second line asks"
        if write.of is SummaryOf.SPEAKER:
            assert len({episodes[source].episode.speaker for source in write.sources}) == 1
        if write.of is SummaryOf.TOPIC:
            assert len({int(source[1:]) % 3 for source in write.sources}) == 1


def test_a_summary_is_worded_from_its_sources_alone() -> None:
    of = talk()
    write = Write(SummaryOf.SPEAKER, ("e000/0", "e002/0"), ("e000", "e002"))
    episodes = {one.id: one.episode for one in of}
    concepts = {
        sentence.concept.id: StoredConcept(sentence.concept, SPACE, sentence.vector, document_terms(""))
        for one in of
        for sentence in one.sentences
    }
    made = written("a", write, episodes, concepts)
    assert made is not None
    assert made.text.splitlines() == [
        "What Ann told from 14 November 2023 to 16 November 2023.",
        f"Ann on 14 November 2023: \u201c{of[0].sentences[0].concept.span.text}\u201d",
        f"Ann on 16 November 2023: \u201c{of[2].sentences[0].concept.span.text}\u201d",
    ]
    assert (made.told_at, made.source.kind) == (of[2].episode.told_at, SourceKind.DREAM)
    assert made.derived_from == ("e000", "e002")
    data = made.text.encode()
    assert [data[one.span.start_byte : one.span.end_byte].decode() for one in made.concepts] == [
        one.span.text for one in made.concepts
    ]
    assert made.external_id == key_of(write)
    del episodes["e002"]
    assert written("a", write, episodes, concepts) is None


def test_an_entity_is_named_in_the_words_of_a_source() -> None:
    of = [told(n, f"Juno the cat number {n} scratched the velvet sofa again.", direction=n % 7) for n in range(4)]
    juno = Entity("id-juno", "Juno")
    facts = [
        Fact(f"f{n}", juno, "scratched", "sofa", Interval(), T0, T0, n + 1, episode_id=one.id)
        for n, one in enumerate(of)
    ]
    writes = [one.actions[0] for one in summaries(material(*of, facts=facts))]
    (write,) = [one for one in writes if isinstance(one, Write) and one.of is SummaryOf.ENTITY]
    assert write.name is not None
    assert (write.name.start_byte, write.name.end_byte) == (0, 4)


# The same whatever comes first, and nothing more to say.


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_order_of_reading_decides_nothing(seed: int) -> None:
    of = [*talk(), told(30, LONG), told(31, LONG), *asked()]
    facts = disputed()
    shuffled = random.Random(seed).sample(of, len(of))
    first = propose(material(*of, facts=facts), ALL, 100)
    second = propose(material(*shuffled, facts=random.Random(seed).sample(facts, len(facts))), ALL, 100)
    assert first == second
    assert {one.kind for one in first.proposals} == set(ALL) - ELSEWHERE


def test_what_was_dreamt_is_not_dreamt_again_and_what_is_out_of_date_goes() -> None:
    of = talk()
    kinds = (DreamKind.SUMMARIES,)
    first = propose(material(*of), kinds, 100).proposals
    dreamt = [_remembered(100 + n, one) for n, one in enumerate(first)]
    assert propose(material(*of, *dreamt), kinds, 100).proposals == ()
    more = told(40, "Our choir requiem chapel number 40 turned out splendid and outlasted everybody.", direction=2)
    later = propose(material(*of, more, *dreamt), kinds, 100).proposals
    gone = {action.episode_id for one in later for action in one.actions if isinstance(action, Archive)}
    assert gone
    assert all(set(one.sources) != {"e040"} for one in dreamt)
    partly = propose(material(*of[:12], *dreamt), kinds, 100).proposals
    read = {one.id for one in of[:12]}
    for one in partly:
        if isinstance(one.actions[0], Archive):
            assert set(one.reads[1:]) <= read, "what was not read whole is not judged"


def test_a_budget_takes_the_surest_and_says_what_it_left() -> None:
    of = material(*talk(), told(30, LONG), told(31, LONG))
    everything = propose(of, ALL, 100)
    cut = propose(of, ALL, 2)
    assert len(cut.proposals) == 2
    assert cut.proposals == everything.proposals[:2]
    assert cut.beyond == len(everything.proposals) - 2
    assert set(propose(of, ALL, 100, lambda: False).unseen) == set(ALL)


def _remembered(number: int, proposal: Proposal) -> Told:
    (write,) = proposal.actions
    assert isinstance(write, Write)
    return told(number, "A summary.", kind=SourceKind.DREAM, sources=write.sources, external_id=key_of(write))


# Contradictions.


def fact(number: int, subject: str, relation: str, target: str, start: int, **more: Any) -> Fact:
    told_at = T0 + start * DAY
    made = Fact(
        f"f{number}", Entity(f"id-{subject}", subject), relation, Entity(f"id-{target}", target),
        Interval(told_at), told_at, told_at, number,
    )  # fmt: skip
    return replace(made, **more)


def disputed() -> list[Fact]:
    return [
        fact(1, "Ann", "lives_in", "Paris", 0),
        fact(2, "Ann", "lives_in", "Rome", 5),
        fact(3, "Ben", "lives_in", "Oslo", 1),
        fact(4, "Ben", "lives_in", "Bergen", 6),
        fact(5, "Ann", "likes", "tea", 1),
        fact(6, "Ann", "likes", "coffee", 1),
    ]


def test_a_relation_that_behaves_like_single_is_suggested_and_its_disagreements_are_found() -> None:
    found = contradictions(material(facts=disputed()))
    assert all(one.actions == () for one in found)
    assert [one.facts for one in found] == [("f2", "f4"), ("f2", "f1"), ("f4", "f3")]
    assert "SINGLE would fit" in found[0].reason


def test_by_policy_one_disagreement_is_enough_and_many_are_none() -> None:
    single = RelationPolicy("lives_in", Contradiction.SINGLE, T0, 1)
    assert [one.facts for one in contradictions(material(facts=disputed()[:2], policies=[single]))] == [("f2", "f1")]
    assert contradictions(material(facts=disputed()[:2])) == [], "one subject proves no policy"
    many = replace(single, policy=Contradiction.MANY)
    assert contradictions(material(facts=disputed()[:4], policies=[many])) == []


def test_what_ended_or_was_taken_back_does_not_disagree() -> None:
    single = RelationPolicy("lives_in", Contradiction.SINGLE, T0, 1)
    first, second = disputed()[:2]
    ended = replace(first, valid=Interval(first.valid.start, second.valid.start))
    assert contradictions(material(facts=[ended, second], policies=[single])) == []
    back = replace(first, id="f9", retracted=True, valid=Interval(), told_at=second.told_at - 1)
    assert contradictions(material(facts=[first, back, second], policies=[single])) == []


# Use.


def asked() -> list[Told]:
    return [
        told(
            50 + n,
            f"Asked: When did the kiln burn for the {n}. time?\nAnswered: In the evening.",
            speaker="sapience",
            kind=SourceKind.SELF,
            sources=("e000", "e003", f"e00{6 + n % 2}") if n < 4 else (),
            conversation="",
        )
        for n in range(6)
    ]


def test_what_is_cited_together_again_and_again_is_strengthened_once_for_each_answer() -> None:
    of = [*talk(), *asked()]
    found = strengthening(material(*of))
    given_to = {one.actions[0].episode_id: one.actions[0] for one in found if isinstance(one.actions[0], AddUses)}
    last = T0 + 53 * DAY
    assert given_to["e000"] == AddUses("e000", 4, last)
    assert given_to["e006"] == AddUses("e006", 2, T0 + 52 * DAY)
    credited = [(one.reads[0], answer) for one in found for answer in one.reads[1:]]
    assert strengthening(material(*of, credited=credited)) == []
    (again,) = {one.reads[1:] for one in strengthening(material(*of, credited=credited[:-1]))}
    assert again == (credited[-1][1],)


def test_cited_together_once_is_no_bond() -> None:
    assert strengthening(material(*talk(), asked()[0])) == []


def test_a_procedure_counts_what_was_answered_and_quotes_what_was_asked() -> None:
    (found,) = procedures(material(*talk(), *asked()))
    (write,) = found.actions
    assert isinstance(write, Write)
    assert dict(write.figures) == {"shape": 0, "asked": 6, "answered": 4, "citations": 12}
    assert write.sources == ("e051", "e052", "e053")
    made = _remembered(90, found)
    assert procedures(material(*talk(), *asked(), made)) == []
    assert procedures(material(*asked()[:4])) == [], "too few to say anything"


@pytest.mark.parametrize(
    ("question", "shape"),
    [
        ("Asked: When did Ann move?", "a time"),
        ("In which year was it?", "a time"),
        ("How many bowls did she sell?", "an amount"),
        ("Who sold the bowls?", "a person"),
        ("And where is the key?", "a place"),
        ("Why did he leave?", "a reason"),
        ("How did she do it?", "a way"),
        ("Is Juno a girl?", "a yes or a no"),
        ("Wo ist der Schlüssel?", "something else"),
    ],
)
def test_the_shape_of_a_question_is_told_by_its_words(question: str, shape: str) -> None:
    assert shape_of(question) == shape
