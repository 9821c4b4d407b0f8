"""What a deletion takes with it, and what it leaves; on both backends."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from record_backends import (
    SPACE,
    T0,
    ids_of,
    refused,
    stated,
    told,
)

from core.errors import InvalidArgument, NotFound
from core.nouns import (
    Forgotten,
)
from core.ports import Record


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
