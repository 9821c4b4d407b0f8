"""The rules of time against an oracle that keeps, for every statement, the set of moments at which it holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from core.nouns import AsOf, Entity, Fact, Interval
from memory.temporal import holding, known, neighbours

MOMENTS = range(-1, 9)
NAMES = ("ann", "bob", "cy", "dee")
ENTITIES = {name: Entity(f"id-{name}", name) for name in NAMES}


@st.composite
def versions(draw: st.DrawFn, subjects: Sequence[str] = NAMES[:1]) -> list[Fact]:
    """Versions of a few statements, with many ties in time; `seq` counts them in another order than they come in."""
    size = draw(st.integers(0, 14))
    bound = st.none() | st.integers(0, 7)
    objects = st.sampled_from([ENTITIES[name] for name in subjects]) | st.just("tea")
    facts = []
    for seq in range(1, size + 1):
        start, end = draw(bound), draw(bound)
        if start is not None and end is not None and start >= end:
            start, end = end, start + 1
        facts.append(
            Fact(
                id=f"f{draw(st.integers(0, 99)):02}-{seq}",
                subject=ENTITIES[draw(st.sampled_from(subjects))],
                relation="knows",
                object=draw(objects),
                valid=Interval(start, end),
                told_at=draw(st.integers(0, 4)),
                recorded_at=seq,
                seq=seq,
                retracted=draw(st.booleans()),
            )
        )
    return draw(st.permutations(facts))


moments = st.builds(AsOf, valid_at=st.sampled_from(MOMENTS), told_by=st.integers(-1, 5), seq=st.integers(0, 15))


def oracle(facts: Sequence[Fact], as_of: AsOf) -> set[tuple[str, str, str]]:
    """Which statements hold, by adding and taking away whole sets of moments."""
    believed: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for told_at in range(5):
        for seq in range(1, 16):
            for fact in facts:
                if (fact.told_at, fact.seq) != (told_at, seq) or told_at > as_of.told_by or seq > as_of.seq:
                    continue
                start = min(MOMENTS) if fact.valid.start is None else fact.valid.start
                end = max(MOMENTS) + 1 if fact.valid.end is None else fact.valid.end
                if fact.retracted:
                    believed[fact.statement] -= set(range(start, max(MOMENTS) + 1))
                else:
                    believed[fact.statement] |= set(range(start, end))
    return {statement for statement, at in believed.items() if as_of.valid_at in at}


@settings(max_examples=500)
@given(versions(), moments)
def test_what_holds_is_what_the_oracle_says(facts: list[Fact], as_of: AsOf) -> None:
    assert {fact.statement for fact in holding(facts, as_of)} == oracle(facts, as_of)


@given(versions(), moments)
def test_each_statement_is_held_by_one_assertion_that_covers_the_moment(facts: list[Fact], as_of: AsOf) -> None:
    held = holding(facts, as_of)
    assert len({fact.statement for fact in held}) == len(held)
    for fact in held:
        assert not fact.retracted
        assert fact.valid.contains(as_of.valid_at)
        later = [other for other in facts if other.statement == fact.statement and not other.retracted]
        later = [other for other in known(later, as_of) if (other.told_at, other.seq) > (fact.told_at, fact.seq)]
        assert not any(other.valid.contains(as_of.valid_at) for other in later)


@given(versions(), moments, st.randoms())
def test_the_order_of_the_input_does_not_matter(facts: list[Fact], as_of: AsOf, random: object) -> None:
    shuffled = list(facts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert holding(shuffled, as_of) == holding(facts, as_of)


@given(versions(), moments)
def test_what_is_told_or_committed_later_changes_no_earlier_answer(facts: list[Fact], as_of: AsOf) -> None:
    assert holding(known(facts, as_of), as_of) == holding(facts, as_of)


@given(versions(), moments)
def test_a_retraction_of_everything_told_last_leaves_nothing(facts: list[Fact], as_of: AsOf) -> None:
    for place, fact in enumerate(holding(facts, as_of)):
        seq = 100 + place
        gone = Fact("r", fact.subject, fact.relation, fact.object, Interval(), 9, seq, seq, retracted=True)
        later = AsOf(as_of.valid_at, told_by=9, seq=seq)
        before = [one for one in facts if one in known(facts, as_of)]
        assert fact.statement not in {one.statement for one in holding([*before, gone], later)}


@given(versions(subjects=NAMES), moments, st.sampled_from(NAMES), st.integers(1, 4))
def test_neighbours_are_the_facts_within_reach_nearest_first(
    facts: list[Fact], as_of: AsOf, start: str, hops: int
) -> None:
    held = holding(facts, as_of)
    distance = {ENTITIES[start].id: 0}
    for _ in held:  # relax until nothing changes: a shortest path is no longer than the number of Facts
        for fact in held:
            ends = [end.id for end in (fact.subject, fact.object) if isinstance(end, Entity)]
            reach = min((distance[end] for end in ends if end in distance), default=None)
            if reach is not None:
                for end in ends:
                    distance[end] = min(distance.get(end, reach + 1), reach + 1)
    expected = []
    for fact in held:
        ends = [end.id for end in (fact.subject, fact.object) if isinstance(end, Entity)]
        away = min((distance[end] for end in ends if end in distance), default=hops) + 1
        if away <= hops:
            expected.append((away, fact.id))

    asked: list[str] = []

    def facts_of(name: str) -> list[Fact]:
        asked.append(name)
        return [fact for fact in facts if ENTITIES[name] in (fact.subject, fact.object)]

    found = neighbours(start, hops, facts_of, as_of, limit=1000)
    assert [fact.id for fact in found] == [fact_id for _, fact_id in sorted(expected)]
    assert len(asked) == len(set(asked))
    assert neighbours(start, hops, facts_of, as_of, limit=2) == found[:2]


def test_a_changed_mind_answers_differently_for_each_time_asked() -> None:
    ann, paris = ENTITIES["ann"], Entity("id-paris", "Paris")
    moved_in = Fact("1", ann, "lives_in", paris, Interval(10), told_at=10, recorded_at=50, seq=1)
    moved_out = Fact("2", ann, "lives_in", paris, Interval(20), told_at=25, recorded_at=51, seq=2, retracted=True)
    facts = [moved_in, moved_out]
    assert holding(facts, AsOf(valid_at=15, told_by=15)) == [moved_in]
    assert holding(facts, AsOf(valid_at=22, told_by=22)) == [moved_in]  # nobody had said otherwise yet
    assert holding(facts, AsOf(valid_at=22, told_by=25)) == []
    assert holding(facts, AsOf(valid_at=20, told_by=25)) == []
    assert holding(facts, AsOf(valid_at=19, told_by=25)) == [moved_in]
    assert holding(facts, AsOf(valid_at=15, told_by=25)) == [moved_in]  # it was true then, and still is said to be
    assert holding(facts, AsOf(valid_at=22, seq=1)) == [
        moved_in
    ]  # what this store would have said after its first commit
