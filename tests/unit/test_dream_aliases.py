"""Which merges a Dream proposes: by how names are written and used, never what somebody refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.dreams import DreamKind, Join
from core.entities import Mention, Merge
from core.ids import entity_id, normalised_name
from core.nouns import Entity, Episode, Fact, Interval, Keeping, Source
from memory.dreams.aliases import BEST, LEAST, aliases, in_question, only_sure
from memory.dreams.material import Material, Told
from memory.dreams.proposing import propose
from memory.ingest.aliases import CERTAIN
from memory.ingest.extract import extract

T0 = 1_700_000_000_000_000


def said(number: int, speaker: str, text: str, conversation: str = "c") -> Episode:
    return Episode(
        f"e{number:03}", "a", Source(name="chat"), conversation, number, speaker, text, T0 + number, "", T0, number + 1
    )


def entity(name: str) -> Entity:
    return Entity(entity_id("a", name), name)


def material(*episodes: Episode, **more: Any) -> Material:
    """What a Dream reads of Episodes: their mentions as the extractor finds them."""
    mentions: dict[str, list[Mention]] = {}
    spelt: dict[str, str] = {}
    for episode in episodes:
        spans: dict[str, list[tuple[int, int]]] = {}
        for one in extract(episode).mentions:
            key = spelt.setdefault(normalised_name(one.name), one.name)
            spans.setdefault(key, []).extend([(one.start_byte, one.end_byte)] if one.end_byte else [])
        for name, found in spans.items():
            mentions.setdefault(name, []).append(Mention(episode, tuple(found)))
    named = {name: mentions[name] for name in in_question(mentions)}
    read = [Told(one, (), Keeping(one.id)) for one in episodes]
    return Material.of("a", read, named=named, **more)


def pairs(of: Material) -> list[tuple[str, ...]]:
    names = {entity_id("a", name): name for name in of.named}
    return [tuple(names[one] for one in proposal.entities) for proposal in aliases(of)]


CHAT = (
    said(0, "Melanie", "I went to the beach with the kids."),
    said(1, "Caroline", "That sounds lovely, Mel!"),
    said(2, "Melanie", "It was, and we saw a film called Mell with Anna."),
    said(3, "Caroline", "How are you, Mel?"),
)


def test_who_is_called_by_a_name_where_she_speaks_has_it() -> None:
    (found,) = aliases(material(*CHAT))
    assert found.kind is DreamKind.ALIASES
    assert found.actions == (Join(entity("Melanie").id, entity("Mel").id),)
    assert found.entities == (entity("Melanie").id, entity("Mel").id)
    assert found.reads == ("e001",), "the first Episode in which she is called so"
    assert LEAST < found.score < BEST < CERTAIN
    assert "2 Episodes" in found.reason
    assert not any(name in found.reason for name in ("Mel", "Caroline"))


@pytest.mark.parametrize(
    "more",
    [
        pytest.param((said(9, "Mel", "Hello from me too."),), id="both speak there"),
        pytest.param(
            (said(8, "Melvin", "I am here as well."), said(9, "Caroline", "Melvin told me.")),
            id="a rival speaks too",
        ),
    ],
)
def test_where_somebody_else_may_be_meant_nothing_is_proposed(more: Sequence[Episode]) -> None:
    assert [one for one in pairs(material(*CHAT, *more)) if "Mel" in one] == []


def test_a_rival_in_another_conversation_is_no_rival_here() -> None:
    elsewhere = (said(8, "Melvin", "I am here.", "d"), said(9, "Dan", "Melvin told me.", "d"))
    assert pairs(material(*CHAT, *elsewhere)) == [("Melanie", "Mel")]


def test_what_is_no_person_has_no_first_name() -> None:
    told = (
        said(0, "Nate", "We watched Game of Thrones all weekend."),
        said(1, "Joanna", "We played Game of Thrones, and then another Game with Tom."),
        said(2, "Nate", "Did Frau Albrecht say anything, or was it another Frau?"),
        said(3, "Joanna", "Frau Albrecht said that she knows every stop."),
    )
    assert pairs(material(*told)) == []


def test_a_first_name_of_a_person_who_speaks_is_hers() -> None:
    told = (said(0, "Anna", "Good morning!"), said(1, "Ben", "We met Anna Kowalski at the market.", "d"))
    assert pairs(material(*told)) == [("Anna Kowalski", "Anna")]


def test_who_is_related_to_somebody_is_somebody_else() -> None:
    fact = Fact("f", entity("Melanie"), "sister", entity("Mel"), Interval(), T0, T0, 9)
    assert pairs(material(*CHAT, facts=[fact])) == []


def test_a_merge_that_was_refused_is_not_proposed_again() -> None:
    kept, merged = entity("Melanie"), entity("Mel")
    undone = Merge("m", kept, merged, "", T0, 5, undone_seq=6)
    assert pairs(material(*CHAT, merges=[undone])) == []
    assert pairs(material(*CHAT, declined=[frozenset((merged.id, kept.id))])) == []
    assert pairs(material(*CHAT, merges=[Merge("m", kept, merged, "", T0, 5)])) == [], "it is made already"


def test_only_what_is_certain_is_merged_unseen() -> None:
    told = (*CHAT, said(7, "Caroline", "We met Zoë Müller and Anna."), said(8, "Caroline", "Zoe Muller was there."))
    of = material(*told)
    seen = propose(of, [DreamKind.ALIASES], 9).proposals
    assert [len(one.actions) for one in seen] == [1, 1]
    assert only_sure(seen) == list(propose(of, [DreamKind.ALIASES], 9, unseen=True).proposals)
    certain, finding = only_sure(seen)
    assert certain.score >= CERTAIN > finding.score
    assert (finding.actions, finding.entities) == ((), seen[1].entities)


def test_later_kinds_see_what_is_merged_as_one() -> None:
    facts = [
        Fact("f1", entity("Mel"), "lives_in", entity("Rome"), Interval(T0), T0, T0, 7, episode_id="e001"),
        Fact("f2", entity("Melanie"), "lives_in", entity("Oslo"), Interval(T0), T0 + 1, T0, 8, episode_id="e003"),
    ]
    before = material(*CHAT, facts=facts)
    (join,) = aliases(before)[0].actions
    assert isinstance(join, Join)
    after = before.merged([join])
    assert {one.subject.name for one in after.facts} == {"Melanie"}
    assert aliases(after) == []


@given(st.integers(1, 30))
def test_more_use_makes_a_name_surer_and_never_certain(times: int) -> None:
    def score(count: int) -> float:
        used = [said(10 + n, "Caroline", "Thanks for the photo, Mel!") for n in range(count)]
        return aliases(material(*CHAT, *used))[0].score

    assert score(times - 1) < score(times) < BEST
