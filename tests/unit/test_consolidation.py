"""When a namespace is due for a Dream: at rest, with enough that is new, and never while another one is open."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cognition.metacognition.consolidation import FIRST_BACKOFF_S, LONGEST_BACKOFF_S, Schedule, Seen


def seen(namespace: str = "a", told: int = 10, *, new: int | None = None, busy: bool = False) -> Seen:
    return Seen(namespace, (told,), told if new is None else new, busy)


def test_a_namespace_is_due_once_it_was_at_rest_and_enough_is_new() -> None:
    schedule = Schedule(idle_s=30, least_new=10)
    assert schedule.due([seen()], 100) == "", "nobody knows yet how long it has been at rest"
    assert schedule.due([seen()], 129) == ""
    assert schedule.due([seen()], 130) == "a"
    assert schedule.due([seen(told=11)], 131) == "", "something was told"
    assert schedule.due([seen(told=11)], 160) == ""
    assert schedule.due([seen(told=11)], 161) == "a"
    assert schedule.due([seen(told=11, new=9)], 170) == ""
    assert schedule.due([seen(told=11, busy=True)], 170) == ""
    assert schedule.due([], 170) == ""
    assert schedule.due([seen(told=11)], 171) == "", "it was deleted and made again"


def test_the_one_with_the_most_that_is_new_comes_first() -> None:
    schedule = Schedule(idle_s=0, least_new=1)
    assert schedule.due([seen("b", 5), seen("a", 5), seen("c", 4)], 0) == "a"
    assert schedule.due([seen("b", 6), seen("a", 5)], 0) == "b"


def test_each_failure_keeps_it_off_for_longer_and_a_success_forgets_them() -> None:
    schedule = Schedule(idle_s=0, least_new=1)
    assert schedule.due([seen()], 0) == "a"
    assert schedule.failed("a", 0) == FIRST_BACKOFF_S
    assert schedule.due([seen(), seen("b", 1)], FIRST_BACKOFF_S - 1) == "b", "others are not kept off"
    assert schedule.due([seen()], FIRST_BACKOFF_S) == "a"
    assert schedule.failed("a", 100) == 2 * FIRST_BACKOFF_S
    schedule.succeeded("a")
    assert schedule.failed("a", 1000) == FIRST_BACKOFF_S


@given(st.integers(1, 40))
def test_it_is_never_kept_off_for_longer_than_an_hour(failures: int) -> None:
    schedule = Schedule(idle_s=0, least_new=1)
    waits = [schedule.failed("a", 0) for _ in range(failures)]
    assert waits == sorted(waits)
    assert waits[-1] <= LONGEST_BACKOFF_S
