"""Contradiction policies and what changed between two times, against an oracle that looks at one moment at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from core.nouns import AsOf, Contradiction, Entity, Fact, Interval
from memory.temporal import Difference, changes, holding

MANY, SINGLE, SET = Contradiction.MANY, Contradiction.SINGLE, Contradiction.SET
ANN, BOB = Entity("id-ann", "ann"), Entity("id-bob", "bob")
OBJECTS = (Entity("id-rome", "Rome"), Entity("id-oslo", "Oslo"), "by the sea")


@st.composite
def versions(draw: st.DrawFn) -> list[Fact]:
    """Versions of a few statements of two subjects and relations, with ties on every axis but `seq`."""
    bound = st.none() | st.integers(0, 5)
    facts = []
    for seq in range(1, draw(st.integers(0, 12)) + 1):
        start, end = draw(bound), draw(bound)
        if start is not None and end is not None and start >= end:
            start, end = end, start + 1
        facts.append(
            Fact(
                id=f"f{seq}",
                subject=draw(st.sampled_from([ANN, ANN, BOB])),
                relation=draw(st.sampled_from(["lives_in", "lives_in", "likes"])),
                object=draw(st.sampled_from(OBJECTS)),
                valid=Interval(start, end),
                told_at=draw(st.integers(0, 3)),
                recorded_at=seq,
                seq=seq,
                retracted=draw(st.integers(0, 3)) == 0,
                episode_id=draw(st.sampled_from(["", "e1", "e2"])),
                trust=draw(st.sampled_from([0.2, 1.0])),
            )
        )
    return draw(st.permutations(facts))


moments = st.builds(AsOf, valid_at=st.integers(-1, 6), told_by=st.integers(-1, 4), seq=st.integers(0, 13))
policies = st.fixed_dictionaries({}, optional={"lives_in": st.sampled_from(Contradiction), "likes": st.just(SET)})


def oracle(facts: Sequence[Fact], as_of: AsOf, chosen: dict[str, Contradiction]) -> set[str]:
    """The ids of what holds, by asking each version whether another one stands in its way."""

    def stands(one: Fact) -> bool:
        covers = (one.valid.start is None or one.valid.start <= as_of.valid_at) and (
            one.valid.end is None or as_of.valid_at < one.valid.end
        )
        return not one.retracted and covers and heard(one) and not any(takes_back(other, one) for other in facts)

    def heard(one: Fact) -> bool:
        return one.told_at <= as_of.told_by and one.seq <= as_of.seq

    def takes_back(other: Fact, one: Fact) -> bool:
        later = other.told_at > one.told_at or (other.told_at == one.told_at and other.seq > one.seq)
        reaches = other.valid.start is None or other.valid.start <= as_of.valid_at
        same = (other.subject, other.relation, other.object) == (one.subject, one.relation, one.object)
        return other.retracted and heard(other) and same and later and reaches

    def beats(other: Fact, one: Fact, by: str) -> bool:
        if by == "trust" and other.trust != one.trust:
            return other.trust > one.trust
        return other.told_at > one.told_at or (other.told_at == one.told_at and other.seq > one.seq)

    found = set()
    for one in filter(stands, facts):
        rivals = [
            other for other in facts if (other.subject, other.relation) == (one.subject, one.relation) and stands(other)
        ]
        twins = [other for other in rivals if other.object == one.object]
        policy = chosen.get(one.relation, MANY)
        if policy is MANY:
            holds = not any(beats(twin, one, "time") for twin in twins)
        elif policy is SINGLE:
            holds = not any(beats(rival, one, "trust") for rival in rivals)
        else:
            (first,) = [r for r in rivals if not any(beats(other, r, "trust") for other in rivals)]
            told_with = [twin for twin in twins if (twin.told_at, twin.episode_id) == (first.told_at, first.episode_id)]
            holds = one in told_with and not any(beats(twin, one, "trust") for twin in told_with)
        if holds:
            found.add(one.id)
    return found


@settings(max_examples=500)
@given(versions(), moments, policies)
def test_what_holds_is_what_the_oracle_says(facts: list[Fact], as_of: AsOf, chosen: dict[str, Contradiction]) -> None:
    assert {fact.id for fact in holding(facts, as_of, chosen)} == oracle(facts, as_of, chosen)


@given(versions(), moments)
def test_single_and_set_hold_something_wherever_many_does_and_nothing_else(facts: list[Fact], as_of: AsOf) -> None:
    def answered(policy: Contradiction) -> dict[tuple[str, str], set[tuple[str, str, str]]]:
        found: dict[tuple[str, str], set[tuple[str, str, str]]] = {}
        for fact in holding(facts, as_of, {"lives_in": policy, "likes": policy}):
            found.setdefault((fact.subject.id, fact.relation), set()).add(fact.statement)
        return found

    many, single, whole = answered(MANY), answered(SINGLE), answered(SET)
    assert many.keys() == single.keys() == whole.keys()
    for question, held in many.items():
        assert len(single[question]) == 1
        assert single[question] <= whole[question] <= held


@given(versions(), moments, policies, st.randoms(use_true_random=False))
def test_neither_order_nor_what_comes_later_matters(
    facts: list[Fact], as_of: AsOf, chosen: dict[str, Contradiction], random: object
) -> None:
    by_then = [fact for fact in facts if fact.told_at <= as_of.told_by and fact.seq <= as_of.seq]
    random.shuffle(by_then)  # type: ignore[attr-defined]
    assert holding(by_then, as_of, chosen) == holding(facts, as_of, chosen)


@given(versions(), moments, moments, policies, policies)
def test_changes_of_belief_then_of_the_world_are_the_whole_difference(
    facts: list[Fact], before: AsOf, after: AsOf, first: dict[str, Contradiction], second: dict[str, Contradiction]
) -> None:
    found = changes(facts, before, after, first, second)

    def apply(held: set[tuple[str, str, str]], by: Difference) -> set[tuple[str, str, str]]:
        gained, lost = ({fact.statement for fact in part} for part in (by.gained, by.lost))
        assert lost <= held, "only what held is lost"
        assert not gained & held, "only what did not hold is gained"
        assert (len(gained), len(lost)) == (len(by.gained), len(by.lost))
        return held - lost | gained

    ids = {fact.id: fact for fact in facts}
    then = {ids[one].statement for one in oracle(facts, before, first)}
    now = {ids[one].statement for one in oracle(facts, after, second)}
    assert apply(apply(then, found.belief), found.world) == now
    as_known_now = replace(after, valid_at=before.valid_at)
    assert apply(then, found.belief) == {ids[one].statement for one in oracle(facts, as_known_now, second)}
    nothing = changes(facts, before, before, first, first)
    assert nothing.belief == nothing.world == Difference((), ())


def told(where: str, start: int | None, end: int | None, at: int, seq: int, **more: object) -> Fact:
    return Fact(f"{where}-{seq}", ANN, "lives_in", where, Interval(start, end), at, seq, seq, **more)  # type: ignore[arg-type]


def home(facts: Sequence[Fact], at: int, told_by: int = 99, policy: Contradiction = SINGLE) -> list[object]:
    return [fact.object for fact in holding(facts, AsOf(at, told_by), {"lives_in": policy})]


def test_news_comes_late_reaches_back_and_is_taken_back() -> None:
    rome = told("Rome", 10, None, at=10, seq=1)
    oslo = told("Oslo", 20, 30, at=25, seq=2)  # told five later than it began, and it ended
    facts = [rome, oslo]
    assert [home(facts, at) for at in (15, 20, 29, 30)] == [["Rome"], ["Oslo"], ["Oslo"], ["Rome"]]
    assert home(facts, 22, told_by=24) == ["Rome"], "nobody had said otherwise yet"
    never = told("Oslo", None, None, at=40, seq=3, retracted=True)
    assert home([*facts, never], 22) == ["Rome"], "the older belief comes back"
    assert home([*facts, never], 22, told_by=39) == ["Oslo"]
    assert home(facts, 22, policy=MANY) == ["Rome", "Oslo"]


def test_the_word_of_a_trusted_source_outlives_later_gossip() -> None:
    facts = [told("Rome", 0, None, at=1, seq=1, trust=0.9), told("Oslo", 0, None, at=5, seq=2, trust=0.3)]
    assert home(facts, 9) == ["Rome"]
    assert home([*facts, told("Rome", None, None, at=6, seq=3, retracted=True)], 9) == ["Oslo"]


def test_a_later_telling_replaces_a_set_as_a_whole_for_the_moments_it_covers() -> None:
    first = [told(one, 0, None, at=1, seq=n, episode_id="e1") for n, one in enumerate(("Rome", "Oslo"), 1)]
    second = [told(one, 10, 20, at=5, seq=n, episode_id="e2") for n, one in enumerate(("Oslo", "Bonn"), 3)]
    facts = first + second
    assert sorted(map(str, home(facts, 5, policy=SET))) == ["Oslo", "Rome"]
    assert sorted(map(str, home(facts, 15, policy=SET))) == ["Bonn", "Oslo"]
    assert sorted(map(str, home(facts, 20, policy=SET))) == ["Oslo", "Rome"]
    at_once = [*first, told("Bonn", 0, None, at=1, seq=5, episode_id="e3")]
    assert home(at_once, 5, policy=SET) == ["Bonn"], "told at one time, but by another source"
