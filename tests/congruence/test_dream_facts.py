"""One suite for every record: Facts that a Dream asserts out of an Episode, and what is left once they are undone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from record_backends import PLACES, SPACE, T0, Bench, Place, ids_of, plain, told

from core.clock import DAY
from core.dreams import Asserted, ChangeState, DreamBudget, DreamKind, DreamState, Proposal
from core.nouns import AsOf, Contradiction, Entity, Episode, Interval, NewFact, Precision
from core.ports import Record
from memory.dreams.stating import as_places
from memory.dreams.work import Dreaming

UNDOABLE = {DreamState.APPLIED, DreamState.CANCELLED, DreamState.FAILED}
PROBES = [T0 + days * DAY for days in range(-3, 12)]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    made.clear()
    return made


@pytest.fixture
def record(place: Place) -> Iterator[Record]:
    bench = Bench(place)
    bench.record.create_namespace("a")
    yield bench.record
    bench.record.close()


@pytest.fixture
def episodes(record: Record) -> list[Episode]:
    texts = ("Zoë moved to Łódź.", "Zoë is in Rome now.", "I like tea.")
    ids = ids_of(record, *(told(text, position=n, at=T0 + n * DAY) for n, text in enumerate(texts)))
    found = record.episodes("a", ids)
    return [found[one] for one in ids]


def read(episode: Episode, subject: str, relation: str, target: str, *, named: bool = True) -> NewFact:
    return NewFact(
        subject=subject,
        relation=relation,
        valid=Interval(episode.told_at, episode.told_at + 5 * DAY, Precision.DAY, "", "Europe/Berlin"),
        told_at=episode.told_at,
        entity=target if named else None,
        literal=None if named else target,
        episode_id=episode.id,
        trust=0.5,
        id=f"f-{episode.position}",
        rule="model:m",
    )


def asserted(record: Record, *facts: tuple[Episode, NewFact]) -> str:
    begun = record.begin_dream("a", [DreamKind.FACTS], DreamBudget(), automatic=True)
    proposals = [
        Proposal(DreamKind.FACTS, (episode.id,), "read", fact.trust, (as_places(fact, episode),))
        for episode, fact in facts
    ]
    to = (facts[-1][0].seq, facts[-1][0].id)
    record.propose("a", begun.id, proposals, end=(0, ""), episodes=0, more=False, reader="m", read_to=to)
    assert Dreaming(record).run("a", begun.id).state is DreamState.APPLIED
    return begun.id


def undone(record: Record, dream_id: str) -> None:
    record.move_dream("a", dream_id, DreamState.UNDOING, among=UNDOABLE)
    assert Dreaming(record).run("a", dream_id).state is DreamState.UNDONE


def holding(record: Record, seq: int = 2**62) -> list[list[tuple[str, str, str]]]:
    """What holds around each name, day by day."""
    names = ("Zoë", "Łódź", "Rome", "Ann")
    return [
        [one.statement for name in names for one in record.around("a", name, AsOf(valid_at=at, seq=seq))]
        for at in PROBES
    ]


def test_a_fact_is_what_the_episode_says_and_goes_without_a_trace_in_what_holds(
    record: Record, episodes: list[Episode]
) -> None:
    record.set_policy("a", "lives_in", Contradiction.SINGLE)
    before, seq = holding(record), record.seq()
    moved, rome, tea = episodes
    facts = [
        (moved, read(moved, "Zoë", "lives_in", "Łódź")),
        (rome, read(rome, "Zoë", "lives_in", "Rome")),
        (tea, read(tea, "Ann", "likes", "tea", named=False)),
    ]
    dream_id = asserted(record, *facts)
    kept = record.facts("a")
    assert [(one.subject.name, one.relation, one.id, one.rule, one.trust, one.episode_id) for one in kept] == [
        (fact.subject, fact.relation, fact.id, "model:m", 0.5, fact.episode_id) for _, fact in facts
    ]
    assert [one.object.name if isinstance(one.object, Entity) else one.object for one in kept] == [
        "Łódź",
        "Rome",
        "tea",
    ]
    assert [one.valid for one in kept] == [fact.valid for _, fact in facts]
    assert [one.inverse for one in record.changes("a", dream_id)] == [(Asserted(fact.id),) for _, fact in facts]
    after, then = holding(record), record.seq()
    assert after != before
    assert holding(record, seq) == before
    undone(record, dream_id)
    assert holding(record) == before
    assert holding(record, then) == after, "what was believed then is not rewritten"


def test_what_somebody_said_again_since_stays(record: Record, episodes: list[Episode]) -> None:
    moved = episodes[0]
    fact = read(moved, "Zoë", "lives_in", "Łódź")
    dream_id = asserted(record, (moved, fact))
    by_hand = record.assert_fact("a", NewFact("Zoë", "lives_in", fact.valid, fact.told_at + 1, entity="Łódź"))
    undone(record, dream_id)
    (holds,) = record.around("a", "Zoë", AsOf(valid_at=T0 + DAY))
    assert holds.id == by_hand.id


def test_a_fact_that_is_there_or_was_taken_back_is_skipped(record: Record, episodes: list[Episode]) -> None:
    moved = episodes[0]
    fact = read(moved, "Zoë", "lives_in", "Łódź")
    first = asserted(record, (moved, fact))
    undone(record, first)
    facts = plain(record.facts("a"))
    second = asserted(record, (moved, fact))
    assert [one.state for one in record.changes("a", second)] == [ChangeState.SKIPPED]
    assert plain(record.facts("a")) == facts
    assert record.dream("a", second).reader == "m"


def test_how_far_a_model_has_read_is_kept_by_the_dreams_that_count(record: Record, episodes: list[Episode]) -> None:
    def to(dream_id: str) -> tuple[str, tuple[int, str]]:
        dream = record.dream("a", dream_id)
        return dream.reader, dream.read_to

    def begun() -> str:
        return record.begin_dream("a", [DreamKind.FACTS], DreamBudget(), automatic=False).id

    first = asserted(record, (episodes[1], read(episodes[1], "Zoë", "lives_in", "Rome")))
    place = (episodes[1].seq, episodes[1].id)
    given_up = begun()
    assert to(given_up) == ("m", place)
    record.move_dream("a", given_up, DreamState.CANCELLED, among={DreamState.READING})
    undone(record, first)
    last = begun()
    assert to(last) == ("", (0, "")), "what was undone or given up settles nothing"
    assert record.dream("a", last).told == 3
    assert record.space_of("a") == SPACE
