"""Undoing a Fact write: with what is added, everything reads as if the write had never been."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import FailedPrecondition
from core.nouns import AsOf, Contradiction, Entity, Fact, Interval, NewFact
from memory.temporal import holding
from memory.undoing import again, pieces, undo

ANN = Entity("ann", "Ann")
MOMENTS = range(-1, 8)


def version(
    seq: int,
    told_at: int,
    start: int | None = None,
    end: int | None = None,
    *,
    retracted: bool = False,
    target: str = "Paris",
    trust: float = 1.0,
    episode: str = "",
) -> Fact:
    valid = Interval(start, end)
    return Fact(str(seq), ANN, "lives_in", target, valid, told_at, 0, seq, retracted, episode, trust)


@st.composite
def histories(draw: st.DrawFn) -> list[Fact]:
    made = []
    for seq in range(1, draw(st.integers(1, 7)) + 1):
        start, end = draw(st.none() | st.integers(0, 5)), draw(st.none() | st.integers(1, 6))
        if start is not None and end is not None and start >= end:
            start, end = end, start + 1
        retracted = draw(st.booleans())
        made.append(
            version(
                seq,
                draw(st.integers(0, 4)),
                start,
                None if retracted else end,
                retracted=retracted,
                target=draw(st.sampled_from(["Paris", "Rome"])),
                trust=draw(st.sampled_from([0.5, 1.0])),
                episode=draw(st.sampled_from(["", "e"])),
            )
        )
    return made


def added_to(history: list[Fact], undone: Fact, added: list[NewFact]) -> list[Fact]:
    made = [
        replace(
            undone, id=f"new{n}", seq=len(history) + n, valid=one.valid, told_at=one.told_at, retracted=one.retracted,
            trust=one.trust, episode_id=one.episode_id,
        )
        for n, one in enumerate(added, 1)
    ]  # fmt: skip
    return [*history, *made]


def read(history: list[Fact], told_by: int, policy: Contradiction) -> list[set[tuple[str, str, str]]]:
    """What holds at every moment, as told by then."""
    asked = (AsOf(valid_at=moment, told_by=told_by) for moment in MOMENTS)
    return [{one.statement for one in holding(history, at, {"lives_in": policy})} for at in asked]


def tried(fact: Fact, history: list[Fact], policy: Contradiction) -> tuple[list[NewFact], str]:
    """What undoing adds, or why it is refused."""
    try:
        return undo(fact, history, {"lives_in": policy}), ""
    except FailedPrecondition as error:
        return [], error.reason


@settings(max_examples=400, deadline=None)
@given(histories(), st.integers(0, 6))
def test_everything_reads_as_if_it_had_not_been_told_as_of_every_time(history: list[Fact], which: int) -> None:
    fact = history[which % len(history)]
    without = [one for one in history if one is not fact]
    added, refused = tried(fact, history, Contradiction.MANY)
    if refused:
        assert refused == "NOTHING_TO_UNDO"
        for told_by in (fact.told_at, 9):
            assert read(history, told_by, Contradiction.MANY) == read(without, told_by, Contradiction.MANY)
        return
    after = added_to(history, fact, added)
    for told_by in range(-1, 6):
        assert read(after, told_by, Contradiction.MANY) == read(without, told_by, Contradiction.MANY)
    assert tried(fact, after, Contradiction.MANY)[1] == "NOTHING_TO_UNDO", "it was undone already"


@settings(max_examples=400, deadline=None)
@given(histories(), st.integers(0, 6), st.sampled_from([Contradiction.SINGLE, Contradiction.SET]))
def test_under_a_policy_it_is_undone_exactly_or_refused(history: list[Fact], which: int, policy: Contradiction) -> None:
    fact = history[which % len(history)]
    added, refused = tried(fact, history, policy)
    if refused:
        assert refused in ("NOTHING_TO_UNDO", "CANNOT_UNDO")
        return
    without = [one for one in history if one is not fact]
    assert read(added_to(history, fact, added), 9, policy) == read(without, 9, policy)


def test_an_assertion_alone_is_taken_back_by_one_version() -> None:
    fact = version(1, 5, 2, 4)
    (added,) = undo(fact, [fact], {})
    assert (added.retracted, added.valid, added.told_at) == (True, Interval(2), 5)


def test_a_retraction_is_undone_by_saying_again_what_it_took() -> None:
    told, back = version(1, 1, 0, 6, trust=0.5, episode="e"), version(2, 3, 2, retracted=True)
    (added,) = undo(back, [told, back], {})
    assert (added.retracted, added.valid, added.told_at) == (False, Interval(2, 6), 3)
    assert (added.trust, added.episode_id) == (0.5, "e")


def test_what_would_weigh_more_than_it_did_is_refused() -> None:
    old, new, back = version(1, 1), version(2, 2, target="Rome"), version(3, 3, retracted=True)
    assert undo(back, [old, new, back], {})
    with pytest.raises(FailedPrecondition) as caught:
        undo(back, [old, new, back], {"lives_in": Contradiction.SINGLE})
    assert caught.value.reason == "CANNOT_UNDO"


def test_pieces_are_what_retractions_left() -> None:
    first, second, back = version(1, 1, 0, 3), version(2, 2, 4, None), version(3, 3, 2, retracted=True)
    left = pieces([back, second, first])
    assert [(one.start, one.end, one.of.id) for one in left] == [(0, 2, "1")]
    assert [one.valid for one in again(pieces([first, second]), 2, 9)] == [Interval(2, 3), Interval(4)]
