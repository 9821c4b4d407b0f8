"""The scheduler: who computes next, held by properties over random queues and by small cases. No model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition.engine.scheduler import Entry, Ledger, Limits, Plan, schedule

LIMITS = Limits(slots=3, rows=8, chunk=4)


@st.composite
def queues(draw):
    count = draw(st.integers(0, 12))
    entries = [
        Entry(
            id=number,
            waiting=draw(st.integers(0, 20)),
            priority=draw(st.integers(-1, 2)),
            share=draw(st.sampled_from("abc")),
            arrival=number,
        )
        for number in draw(st.permutations(range(count)))
    ]
    slots = draw(st.integers(1, 5))
    running = draw(st.integers(0, min(slots, count)))
    limits = Limits(slots=slots, rows=slots + draw(st.integers(0, 10)), chunk=draw(st.integers(1, 8)))
    served = {share: draw(st.floats(0, 100)) for share in "ab"}
    return entries[:running], entries[running:], limits, served


@given(queues())
def test_a_plan_keeps_every_limit(case):
    running, waiting, limits, served = case
    plan = schedule(running, waiting, limits, served)
    by_id = {entry.id: entry for entry in running}
    assert sum(rows for _, rows in plan.work) <= limits.rows
    assert all(1 <= rows <= max(1, min(by_id[one].waiting, limits.chunk)) for one, rows in plan.work)
    assert len({one for one, _ in plan.work}) == len(plan.work)
    assert set(plan.preempted) <= set(by_id)
    assert set(plan.admitted) <= {entry.id for entry in waiting}
    assert len(running) - len(plan.preempted) + len(plan.admitted) <= limits.slots
    assert not {one for one, _ in plan.work} & set(plan.preempted)


@given(queues())
def test_no_slot_stays_free_while_one_waits_and_all_that_speak_do_so_in_every_step(case):
    running, waiting, limits, served = case
    plan = schedule(running, waiting, limits, served)
    left = len(waiting) - len(plan.admitted)
    taken = len(running) - len(plan.preempted) + len(plan.admitted)
    assert left == 0 or taken == limits.slots
    speaking = {entry.id for entry in running if entry.waiting == 1} - set(plan.preempted)
    assert speaking <= {one for one, _ in plan.work}
    if any(entry.waiting for entry in running if entry.id not in plan.preempted):
        assert plan.work


@given(queues())
def test_nobody_who_waits_has_a_higher_priority_than_one_who_computes(case):
    running, waiting, limits, served = case
    plan = schedule(running, waiting, limits, served)
    priorities = {entry.id: entry.priority for entry in (*running, *waiting)}
    holding = ({entry.id for entry in running} | set(plan.admitted)) - set(plan.preempted)
    outside = {entry.id for entry in waiting} - set(plan.admitted)
    assert all(priorities[one] <= priorities[other] for one in outside for other in holding)


@given(queues())
def test_the_order_of_the_queues_does_not_matter(case):
    running, waiting, limits, served = case
    turned = schedule(running[::-1], waiting[::-1], limits, served)
    assert turned == schedule(running, waiting, limits, served)


def test_a_long_prompt_is_read_beside_those_who_speak():
    running = [Entry(1, waiting=100, arrival=0), Entry(2, waiting=1, arrival=1), Entry(3, waiting=1, arrival=2)]
    assert schedule(running, [], LIMITS).work == ((2, 1), (3, 1), (1, 4))


def test_a_round_of_rows_that_belong_together_is_not_divided():
    together = Entry(1, waiting=7, arrival=0, indivisible=True)
    assert schedule([together], [], LIMITS).work == ((1, 7),)
    others = [Entry(2, waiting=1, arrival=1), Entry(3, waiting=1, arrival=2)]
    assert schedule([together, *others], [], LIMITS).work == ((2, 1), (3, 1)), "7 rows have no room beside 2 of 8"


def test_the_youngest_of_the_lowest_priority_gives_its_slot_up():
    running = [
        Entry(number, waiting=1, priority=priority, arrival=number) for number, priority in ((0, 0), (1, 0), (2, 1))
    ]
    plan = schedule(running, [Entry(9, waiting=5, priority=1, arrival=9)], LIMITS)
    assert plan == Plan(preempted=(1,), admitted=(9,), work=((2, 1), (0, 1)))


def test_equals_never_take_a_slot_from_each_other():
    running = [Entry(number, waiting=1, arrival=number) for number in range(3)]
    assert schedule(running, [Entry(9, waiting=5, arrival=9)], LIMITS).admitted == ()


def test_slots_go_to_the_share_that_was_served_least_and_in_turn():
    queue = [Entry(number, waiting=1, share="loud", arrival=number) for number in range(5)]
    queue += [Entry(10, waiting=1, share="quiet", arrival=10)]
    assert schedule([], queue, LIMITS, {"loud": 5.0, "quiet": 0.0}).admitted[0] == 10
    assert 10 in schedule([], queue, LIMITS, {"loud": 0.0, "quiet": 5.0}).admitted, "one share does not take all slots"


def test_a_share_that_comes_back_has_no_credit():
    ledger = Ledger()
    ledger.note("a", 1000)
    ledger.note("b", 900)
    ledger.keep(["a", "b", "new"])
    assert ledger.served == {"a": 1000.0, "b": 900.0, "new": 900.0}
    ledger.keep(["new"])
    assert ledger.served == {"new": 900.0}


@given(st.lists(st.integers(1, 6), min_size=2, max_size=2))
def test_shares_with_equal_wants_get_equal_rows(loads):
    # Two shares, one with many Thoughts and one with few, all endless: over time each gets the same number of slots.
    ledger, held, counts = Ledger(), [], {"a": 0, "b": 0}
    pending = [Entry(n, waiting=1, share="a", arrival=n) for n in range(40 * loads[0])]
    pending += [Entry(1000 + n, waiting=1, share="b", arrival=1000 + n) for n in range(40)]
    limits = Limits(slots=1, rows=1, chunk=1)
    for _ in range(60):
        ledger.keep([entry.share for entry in (*pending, *held)])
        plan = schedule(held, pending, limits, ledger.served)
        held = held or [entry for entry in pending if entry.id in plan.admitted]
        pending = [entry for entry in pending if entry.id not in plan.admitted]
        done = held.pop()
        ledger.note(done.share, 1)
        counts[done.share] += 1
    assert abs(counts["a"] - counts["b"]) <= 1


@pytest.mark.parametrize("limits", [(0, 1, 1), (1, 1, 0), (4, 3, 1)])
def test_limits_that_hold_no_step_are_refused(limits):
    with pytest.raises(ValueError, match="holds no step"):
        Limits(*limits)
