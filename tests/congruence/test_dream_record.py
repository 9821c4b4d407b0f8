"""One suite for every record: Dreams as they move from state to state, what a change does and how it is undone.

The end of a Dream is compared as a whole: everything that an export has, how each Episode is kept, the statistics, and
what was derived from what. What `memory.dreams` proposes is in `tests/unit/test_dreams.py`.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dream_records import SPACE_8, TOPICS, fill, state_of, without_ids
from record_backends import PLACES, SPACE, T0, Bench, Place, SqlitePlace, stated, told

from core.clock import ManualClock, SystemClock
from core.dreams import (
    AddUses,
    Archive,
    Change,
    ChangeState,
    DreamBudget,
    DreamKind,
    DreamState,
    Proposal,
)
from core.errors import SapienceError
from core.ids import RandomIds
from core.nouns import Expired, Expiry, SourceKind
from core.ports import Record
from memory.dreams.work import Dreaming
from memory.record.sqlite import SqliteRecord

ALL = tuple(DreamKind)
UNDOABLE = {DreamState.APPLIED, DreamState.CANCELLED, DreamState.FAILED}


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    made: Place = request.param(tmp_path)
    made.clear()
    return made


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    made = Bench(place)
    made.record.create_namespace("a")
    yield made
    made.record.close()


@pytest.fixture
def record(bench: Bench) -> Record:
    return bench.record


def refused(reason: str, call: Any) -> SapienceError:
    with pytest.raises(SapienceError) as caught:
        call()
    assert caught.value.reason == reason
    return caught.value


def dreamt(record: Record, *, automatic: bool = True, budget: DreamBudget = DreamBudget()) -> str:
    begun = record.begin_dream("a", ALL, budget, automatic)
    Dreaming(record).run("a", begun.id)
    return begun.id


def undone(record: Record, dream_id: str) -> None:
    record.move_dream("a", dream_id, DreamState.UNDOING, among=UNDOABLE)
    assert Dreaming(record).run("a", dream_id).state is DreamState.UNDONE


def told_three(record: Record) -> list[str]:
    batch = [told(text, position=n) for n, text in enumerate(("one", "two", "three"))]
    return [one.episode_id for one in record.remember("a", SPACE, batch)]


def proposed(record: Record, *proposals: Proposal, automatic: bool = True) -> str:
    begun = record.begin_dream("a", ALL, DreamBudget(), automatic)
    record.propose("a", begun.id, proposals, end=(1, "x"), episodes=3, more=False)
    return begun.id


def archiving(*episode_ids: str) -> Proposal:
    actions = tuple(Archive(one) for one in episode_ids)
    return Proposal(DreamKind.DUPLICATES, episode_ids, "a copy", 0.9, actions)


# What is derived.


def test_what_was_derived_is_forgotten_with_its_source(record: Record) -> None:
    first, second, _ = told_three(record)
    (answer,) = record.remember(
        "a", SPACE, [told("an answer", kind=SourceKind.SELF, external_id="x", derived_from=(first, second))]
    )
    (lesson,) = record.remember(
        "a", SPACE, [told("a lesson", kind=SourceKind.DREAM, external_id="y", derived_from=(answer.episode_id,))]
    )
    assert record.sources_of("a", [lesson.episode_id, first, answer.episode_id]) == {
        answer.episode_id: tuple(sorted((first, second))),
        lesson.episode_id: (answer.episode_id,),
    }
    assert record.forget("a", episode_ids=[second], dry_run=True).episodes == 3
    assert record.forget("a", episode_ids=[second]).episodes == 3
    assert record.episodes("a", [answer.episode_id, lesson.episode_id, second]) == {}
    assert record.episodes("a", [first]).keys() == {first}
    assert record.sources_of("a", [answer.episode_id]) == {}


def test_an_episode_is_derived_from_what_is_there(record: Record) -> None:
    before = record.counts("a")
    orphan = told("an answer", kind=SourceKind.SELF, derived_from=("nobody",))
    refused("EPISODE_NOT_FOUND", lambda: record.remember("a", SPACE, [orphan]))
    assert record.counts("a") == before


def test_an_end_takes_what_was_derived_but_not_past_a_hold(record: Record, bench: Bench) -> None:
    first, second, third = told_three(record)
    answers = record.remember(
        "a",
        SPACE,
        [
            told("an answer", kind=SourceKind.SELF, position=8, derived_from=(first,)),
            told("another", kind=SourceKind.SELF, position=9, derived_from=(second,)),
        ],
    )
    record.set_expiry("a", [first, second], T0 + 1, Expiry.DELETE)
    record.set_hold("a", [answers[1].episode_id], "case")
    assert record.expire("a", T0 + 2, 10) == Expired(deleted=1)
    left = {first, second, third, answers[0].episode_id, answers[1].episode_id}
    assert record.episodes("a", sorted(left)).keys() == left - {first, answers[0].episode_id}
    assert record.expire("a", T0 + 2, 10) == Expired()


# States.


def test_a_dream_moves_from_reading_to_its_end_and_back(record: Record, bench: Bench) -> None:
    first, second, third = told_three(record)
    before = state_of(record)
    dream_id = proposed(record, archiving(second), archiving(third), automatic=False)
    assert record.dream("a", dream_id).state is DreamState.PROPOSED
    assert state_of(record) == before
    approved = record.approve_dream("a", dream_id, [2])
    assert (approved.state, approved.total, approved.done, approved.ended_at) == (DreamState.APPROVED, 2, 1, None)
    bench.clock.at += 5
    assert Dreaming(record).run("a", dream_id).state is DreamState.APPLIED
    applied = record.dream("a", dream_id)
    assert applied.done == 2
    assert applied.ended_at is not None
    assert applied.started_at + 5 < applied.ended_at < bench.clock.now()
    assert [one.state for one in record.changes("a", dream_id)] == [ChangeState.DECLINED, ChangeState.APPLIED]
    kept = record.episodes("a", [first, second, third])
    assert [bool(kept[one].archived_seq) for one in (first, second, third)] == [False, False, True]
    undone(record, dream_id)
    assert state_of(record) == before
    assert [one.state for one in record.changes("a", dream_id)] == [ChangeState.DECLINED, ChangeState.UNDONE]
    assert record.dreams_at_work() == []


def test_one_dream_of_a_namespace_is_at_work_at_a_time(record: Record) -> None:
    record.create_namespace("b")
    begun = record.begin_dream("a", ALL, DreamBudget(), False, "r")
    assert record.begin_dream("a", ALL, DreamBudget(), False, "r") == begun
    refused("REQUEST_ID_REUSED", lambda: record.begin_dream("a", ALL, DreamBudget(), True, "r"))
    refused("DREAM_AT_WORK", lambda: record.begin_dream("a", ALL, DreamBudget(), False))
    other = record.begin_dream("b", ALL, DreamBudget(), False)
    assert [one.id for one in record.dreams_at_work()] == sorted([begun.id, other.id])
    record.move_dream("a", begun.id, DreamState.CANCELLED, among={DreamState.READING})
    later = record.begin_dream("a", ALL, DreamBudget(), False)
    assert [one.id for one in record.dreams("a", 10)] == [later.id, begun.id]
    assert record.dreams("a", 10, later.number) == [record.dream("a", begun.id)]
    record.delete_namespace("b")
    assert [one.id for one in record.dreams_at_work()] == [later.id]


def test_what_a_state_does_not_allow_is_refused_and_changes_nothing(record: Record) -> None:
    _, second, _ = told_three(record)
    dream_id = proposed(record, archiving(second), automatic=False)
    before = record.dream("a", dream_id), record.changes("a", dream_id)
    for reason, call in (
        ("DREAM_STATE", lambda: record.move_dream("a", dream_id, DreamState.UNDOING, among=UNDOABLE)),
        ("DREAM_STATE", lambda: record.propose("a", dream_id, [], end=(0, ""), episodes=0, more=False)),
        ("CHANGE_NOT_FOUND", lambda: record.approve_dream("a", dream_id, [2])),
        ("DREAM_NOT_FOUND", lambda: record.approve_dream("a", "nobody")),
        ("DREAM_NOT_FOUND", lambda: record.changes("a", "nobody")),
        ("NAMESPACE_NOT_FOUND", lambda: record.dream("b", dream_id)),
        ("NAMESPACE_NOT_FOUND", lambda: record.begin_dream("b", ALL, DreamBudget(), False)),
    ):
        refused(reason, call)
    assert record.apply_change("a", dream_id, 1, SPACE, []) == before[1][0], "it was not approved"
    assert (record.dream("a", dream_id), record.changes("a", dream_id)) == before


def test_a_cancelled_dream_keeps_what_it_did_until_it_is_undone(record: Record) -> None:
    _, second, third = told_three(record)
    before = state_of(record)
    dream_id = proposed(record, archiving(second), archiving(third))
    Dreaming(record).step("a", dream_id)
    record.move_dream("a", dream_id, DreamState.CANCELLED, among={DreamState.APPROVED})
    assert Dreaming(record).run("a", dream_id).state is DreamState.CANCELLED
    states = [one.state for one in record.changes("a", dream_id)]
    assert states == [ChangeState.APPLIED, ChangeState.APPROVED]
    undone(record, dream_id)
    assert state_of(record) == before


# Changes.


def test_a_change_is_skipped_where_memory_has_moved_on(record: Record) -> None:
    first, second, third = told_three(record)
    dream_id = proposed(record, archiving(first), archiving(second), archiving(third))
    record.forget("a", episode_ids=[first])
    record.archive("a", [second])
    record.set_hold("a", [third], "case")
    before = state_of(record)
    assert Dreaming(record).run("a", dream_id).state is DreamState.APPLIED
    assert {one.state for one in record.changes("a", dream_id)} == {ChangeState.SKIPPED}
    assert state_of(record) == before
    undone(record, dream_id)
    assert state_of(record) == before


def test_uses_go_back_to_what_they_were_and_later_ones_stay(record: Record) -> None:
    first, second, _ = told_three(record)
    record.add_uses("a", {second: (2, T0 + 5)})
    before = record.keepings("a", [first, second])
    strengthened = Proposal(
        DreamKind.STRENGTHENING, (first,), "used", 0.5, (AddUses(first, 3, T0 + 9), AddUses(second, 1, T0 + 7))
    )
    dream_id = proposed(record, strengthened)
    Dreaming(record).run("a", dream_id)
    kept = record.keepings("a", [first, second])
    assert [(kept[one].uses, kept[one].used_at) for one in (first, second)] == [(3, T0 + 9), (3, T0 + 7)]
    assert record.changes_of_kind("a", DreamKind.STRENGTHENING) == record.changes("a", dream_id)
    record.add_uses("a", {second: (1, T0 + 20)})
    undone(record, dream_id)
    kept = record.keepings("a", [first, second])
    assert kept[first] == before[first]
    assert (kept[second].uses, kept[second].used_at) == (3, T0 + 20)
    assert record.changes_of_kind("a", DreamKind.STRENGTHENING) == []


def test_what_was_archived_again_by_somebody_else_is_not_thawed(record: Record) -> None:
    first, *_ = told_three(record)
    dream_id = proposed(record, archiving(first))
    Dreaming(record).run("a", dream_id)
    record.thaw("a", [first])
    archived = record.archive("a", [first])
    undone(record, dream_id)
    assert record.episodes("a", [first])[first].archived_seq == archived.seq


def test_a_finding_changes_nothing_and_is_kept(record: Record) -> None:
    facts = [record.assert_fact("a", stated(entity=city)) for city in ("Paris", "Rome")]
    finding = Proposal(DreamKind.CONTRADICTIONS, (), "two at once", 1.0, facts=tuple(one.id for one in facts))
    dream_id = proposed(record, finding, automatic=False)
    assert record.dream("a", dream_id).state is DreamState.APPLIED
    assert record.changes("a", dream_id) == [Change(1, finding, ChangeState.FOUND)]
    assert record.facts_by_id("a", [facts[0].id, "nobody"]) == {facts[0].id: facts[0]}


# Whole Dreams.


def test_a_dream_twice_changes_nothing_the_second_time_and_undo_is_exact(record: Record) -> None:
    fill(record, "a")
    before = state_of(record)
    first = dreamt(record)
    changes = record.changes("a", first)
    assert {one.proposal.kind for one in changes if one.state is ChangeState.APPLIED} == set(ALL) - {
        DreamKind.CONTRADICTIONS,
        DreamKind.ALIASES,
        DreamKind.FACTS,
    }
    after = state_of(record)
    assert after != before
    second = dreamt(record)
    assert record.dream("a", second).total == 0
    assert state_of(record) == after
    undone(record, first)
    assert state_of(record) == before


def test_a_summary_has_the_words_of_its_sources_and_goes_with_any_of_them(record: Record) -> None:
    fill(record, "a")
    asked = sorted(
        {term for _, concepts in record.export_episodes("a") for one in concepts for term in one.terms.indices}
    )
    statistics = record.term_statistics("a", asked)
    dreamt(record)
    assert record.term_statistics("a", asked) == statistics, "what is quoted was told once"
    written = {one.id: one for one, _ in record.export_episodes("a") if one.source.kind is SourceKind.DREAM}
    sources = record.sources_of("a", sorted(written))
    assert sources.keys() == written.keys()
    for summary, episode in written.items():
        told_by_others = record.episodes("a", sources[summary])
        assert episode.told_at == max(one.told_at for one in told_by_others.values())
        quotes = [line.partition("\u201c")[2].removesuffix("\u201d") for line in episode.text.splitlines()[1:]]
        assert all(any(quote in one.text for one in told_by_others.values()) for quote in quotes)
    gone = min(source for of in sources.values() for source in of)
    record.forget("a", episode_ids=[gone])
    left = {one.id for one, _ in record.export_episodes("a")}
    assert {summary for summary, of in sources.items() if gone in of}.isdisjoint(left)


def test_the_next_dream_goes_on_where_the_budget_ended_the_last(record: Record) -> None:
    fill(record, "a")
    total = record.counts("a").episodes
    ends = []
    for _ in range(3):
        read = record.dream("a", dreamt(record, automatic=False, budget=DreamBudget(episodes=total // 2)))
        ends.append((read.begin, read.end, read.more))
    assert [more for _, _, more in ends] == [True, True, False]
    assert [begin for begin, _, _ in ends] == [(0, ""), ends[0][1], ends[1][1]]
    assert ends[0][1] < ends[1][1] < ends[2][1]
    again = record.begin_dream("a", ALL, DreamBudget(), False)
    assert again.begin == (0, ""), "all was read"


def test_no_more_changes_than_the_budget_allows(record: Record) -> None:
    fill(record, "a")
    cut = record.dream("a", dreamt(record, budget=DreamBudget(changes=2)))
    assert cut.total == 2
    assert "more than the budget allows" in cut.message
    late = record.dream("a", dreamt(record, budget=DreamBudget(seconds=0.0)))
    assert late.total == 0
    assert "no time was left" in late.message


# Kill.


def test_a_dream_that_is_killed_goes_on_to_the_same_end(tmp_path: Path) -> None:
    """Killed again and again in the middle of its changes, and of taking them back."""
    whole = SqlitePlace(tmp_path / "whole")
    record = whole.open(ManualClock(T0), RandomIds(ManualClock(T0), seed=1))
    record.create_namespace("a")
    fill(record, "a")
    before = without_ids(record)
    dreamt(record)
    undisturbed = without_ids(record)
    record.close()
    dice = random.Random(5)
    path = tmp_path / "killed" / "record.db"
    clock = SystemClock()
    with_kills = SqliteRecord(path, clock, RandomIds(clock))
    with_kills.create_namespace("a")
    fill(with_kills, "a")
    dream_id = with_kills.begin_dream("a", ALL, DreamBudget(), True).id
    for goal, moved in ((DreamState.APPLIED, undisturbed), (DreamState.UNDONE, before)):
        kills = 0
        while with_kills.dream("a", dream_id).state is not goal:
            with_kills.close()
            kills += _killed(path, dice.randrange(3))
            with_kills = SqliteRecord(path, clock, RandomIds(clock))
            changes = with_kills.changes("a", dream_id)
            assert all(bool(one.inverse) == (one.state is ChangeState.APPLIED) for one in changes)
        assert kills >= 3, "it was not disturbed"
        assert without_ids(with_kills) == moved
        if goal is DreamState.APPLIED:
            with_kills.move_dream("a", dream_id, DreamState.UNDOING, among=UNDOABLE)
    with_kills.close()


def _killed(path: Path, lines: int) -> bool:
    """Lets a process go on with the Dream, and kills it after so many steps, somewhere in the next one."""
    process = subprocess.Popen(
        [sys.executable, Path(__file__).parent / "dream_records.py", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write("step\n" * (lines + 1))
        process.stdin.flush()
        for _ in range(lines + 1):
            if not process.stdout.readline():
                return False
        time.sleep(0.003 * lines)
        return process.poll() is None
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_no_row_of_a_dream_holds_a_word_that_was_told(tmp_path: Path) -> None:
    place = SqlitePlace(tmp_path)
    record = place.open(ManualClock(T0), RandomIds(ManualClock(T0), seed=1))
    record.create_namespace("a")
    fill(record, "a")
    dream_id = dreamt(record)
    kept = repr([record.dream("a", dream_id), record.changes("a", dream_id)])
    words = [word for _, text in TOPICS for word in text.split() if len(word) > 7] + ["Ann", "Ben"]
    assert [word for word in words if word in kept] == []
    record.close()


def test_vectors_of_summaries_are_those_of_what_they_quote(record: Record) -> None:
    fill(record, "a")
    dreamt(record)
    assert record.space_of("a") == SPACE_8
    told_vectors = {
        concept.vector.tobytes()
        for one, concepts in record.export_episodes("a")
        if one.source.kind is not SourceKind.DREAM
        for concept in concepts
    }
    written = [concepts for one, concepts in record.export_episodes("a") if one.source.kind is SourceKind.DREAM]
    assert written
    for heading, *quotes in written:
        assert all(one.vector.tobytes() in told_vectors for one in quotes)
        mean = np.mean([one.vector for one in quotes], axis=0)
        assert np.allclose(heading.vector, mean / np.linalg.norm(mean), atol=1e-6)
