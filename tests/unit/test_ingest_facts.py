"""Facts out of text: every rule by its own examples, what states nothing, when Facts hold, what an Episode gives."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import micros
from core.nouns import Contradiction, Episode, Interval, NewFact, Precision, Source, SourceKind
from memory.ingest.extract import Extraction, extract, fact_id
from memory.ingest.relation_rules import POLICIES, RULES, RelationRule

TOLD = micros(datetime(2023, 5, 25, 13, 14, tzinfo=UTC))  # a Thursday


def episode(text: str, speaker: str = "Nora", kind: SourceKind = SourceKind.TESTIMONY) -> Episode:
    return Episode("e1", "n", Source(kind), "c", 0, speaker, text, TOLD, "", TOLD, 1)


def facts(text: str, speaker: str = "Nora") -> list[tuple[str, str, str]]:
    return [
        (one.subject, one.relation, one.entity or one.literal or "") for one in extract(episode(text, speaker)).facts
    ]


def only(text: str) -> NewFact:
    (fact,) = extract(episode(text)).facts
    return fact


def day(year: int, month: int, of: int) -> int:
    return micros(datetime(year, month, of, tzinfo=UTC))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_reads_its_examples(rule: RelationRule) -> None:
    assert rule.examples
    for sentence, stated in rule.examples:
        read = [
            (one.subject, one.relation, one.entity or one.literal)
            for one in extract(episode(sentence)).facts
            if one.rule == rule.name
        ]
        assert read == [stated], sentence
        assert 0 < rule.trust < 1


def test_rules_have_names_of_their_own_and_one_trust_where_the_later_telling_counts() -> None:
    assert len({rule.name for rule in RULES}) == len(RULES)
    for relation in POLICIES:
        assert len({rule.trust for rule in RULES if rule.relation == relation}) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Do I live in Paris?", "I live in Paris, right?", "If I lived in Paris, I'd be happy.",
        "I wish I lived in Paris.",
        "I don't think I live in Paris.", "Maybe I'm moving to Rome.", "I might work at Siemens.",
        "I would love a dog.",
        'She said "I live in Paris" and left.', "I never said that I live in Paris.", "He lives in Rome.", "I love it.",
        "I asked whether Tom works at Siemens.", "I'm going to keep going.", "We dreamt that we moved to Rome.",
        "A picture of Tom lives in Rome.", "I enjoy that.", "",
    ],
)  # fmt: skip
def test_what_states_nothing(text: str) -> None:
    assert facts(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My sister Anna came.", [("Nora", "sibling_of", "Anna")]),
        ("Our kids Tom and Ida are here.", [("Nora", "parent_of", "Tom"), ("Nora", "parent_of", "Ida")]),
        ("Our dog is called Bruno.", [("Nora", "has_pet", "Bruno"), ("Bruno", "is_a", "dog")]),
        ("Bruno, our old van, broke down.", [("Nora", "owns", "Bruno"), ("Bruno", "is_a", "van")]),
        ("Tom's wife Ida called.", [("Tom", "married_to", "Ida")]),
        ("I walked my dog, Caroline.", []),
        ("We met, and my wife Ida works at Siemens.", [("Ida", "works_at", "Siemens"), ("Nora", "married_to", "Ida")]),
        ("Anna has just moved from Paris to Lyon.", [("Anna", "lives_in", "Lyon"), ("Anna", "lives_in", "Paris")]),
    ],
)
def test_who_is_what_to_whom(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert facts(text) == expected


def test_the_first_person_of_nobody_known_states_nothing() -> None:
    assert facts("I live in Paris. My sister Anna is a nurse.", speaker="") == [("Anna", "works_as", "nurse")]


@pytest.mark.parametrize(
    ("text", "valid", "retracted"),
    [
        ("I live in Paris.", Interval(TOLD), False),
        ("I have lived in Paris since 2015.",
         Interval(day(2015, 1, 1), None, Precision.YEAR, "since 2015", "UTC"), False),
        ("Last month we moved to Paris.", Interval(day(2023, 4, 1), None, Precision.MONTH, "Last month", "UTC"), False),
        ("I used to live in Paris.", Interval(None, TOLD), False),
        ("I lived in Paris from 2010 to 2014.",
         Interval(day(2010, 1, 1), day(2015, 1, 1), Precision.YEAR, "from 2010 to 2014", "UTC"), False),
        ("I visited Paris on 3 May 2021.",
         Interval(day(2021, 5, 3), day(2021, 5, 4), Precision.DAY, "3 May 2021", "UTC"), False),
        ("I visited Paris.", Interval(day(2023, 5, 25), day(2023, 5, 26), Precision.DAY, "", "UTC"), False),
        ("I'm moving to Paris next month.",
         Interval(TOLD, day(2023, 7, 1), Precision.MONTH, "next month", "UTC"), False),
        ("I was born in Paris.", Interval(), False),
        ("I moved out of Paris last week.",
         Interval(day(2023, 5, 15), None, Precision.DAY, "last week", "UTC"), True),
        ("I visited Paris, and last year it rained.",
         Interval(day(2023, 5, 25), day(2023, 5, 26), Precision.DAY, "", "UTC"), False),
    ],
)  # fmt: skip
def test_when_it_holds(text: str, valid: Interval, retracted: bool) -> None:
    fact = only(text)
    assert (fact.valid, fact.retracted, fact.told_at) == (valid, retracted, TOLD)


@pytest.mark.parametrize("kind", [SourceKind.SELF, SourceKind.SELF_PROMPT, SourceKind.DREAM])
def test_what_we_said_ourselves_proves_nothing(kind: SourceKind) -> None:
    assert extract(episode("I live in Paris since 2015.", kind=kind)) == Extraction("e1")


def test_an_episode_whole() -> None:
    found = extract(episode("Zoë, my sister Anna moved to Łódź last Saturday."))
    text = "Zoë, my sister Anna moved to Łódź last Saturday.".encode()
    assert [(one.name, one.kind) for one in found.mentions] == [("Nora", "person"), ("Anna", "person"), ("Łódź", "")]
    assert all(text[one.start_byte : one.end_byte].decode() == one.name for one in found.mentions[1:])
    assert [one.interval.original_text for one in found.dates] == ["last Saturday"]
    assert {(one.relation, one.entity) for one in found.facts} == {("lives_in", "Łódź"), ("sibling_of", "Anna")}
    assert all(one.episode_id == "e1" and one.rule and one.trust < 1 for one in found.facts)
    assert found.policies == {"lives_in": Contradiction.SINGLE}


def test_whoever_a_fact_names_is_mentioned() -> None:
    found = extract(episode("My sister is a nurse."))
    assert [one.name for one in found.mentions] == ["Nora", "Nora's sister"]


def test_ids_of_facts_are_those_of_what_is_said() -> None:
    once = extract(episode("I live in Paris."))
    assert once == extract(episode("I live in Paris."))
    (fact,) = once.facts
    assert fact.id == fact_id("e1", fact.rule, fact)
    assert fact_id("e2", fact.rule, fact) != fact.id
    assert fact_id("e1", "another", fact) != fact.id
    assert fact_id("e1", fact.rule, replace(fact, entity="Rome")) != fact.id
    twice = extract(episode("I live in Paris. I live in Paris."))
    assert [one.id for one in twice.facts] == [fact.id]


sentences = st.sampled_from([sentence for rule in RULES for sentence, _ in rule.examples])


@given(st.lists(sentences | st.text(max_size=40), max_size=6), st.text(max_size=20))
def test_any_episode_is_read_and_facts_are_well_formed(parts: list[str], speaker: str) -> None:
    told = episode(" ".join(parts), speaker)
    found = extract(told)
    data = told.text.encode()
    assert found == extract(told)
    assert len({one.id for one in found.facts}) == len(found.facts)
    for fact in found.facts:
        assert fact.subject.strip()
        assert (fact.entity or fact.literal or "").strip()
        assert fact.valid.start is None or fact.valid.end is None or fact.valid.start < fact.valid.end
    for one in found.mentions:
        assert 0 <= one.start_byte <= one.end_byte <= len(data)
