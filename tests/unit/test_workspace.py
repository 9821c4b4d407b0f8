"""The workspace: the most salient win, winners are numbered without gaps, and the newest stay."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cognition.metacognition.workspace import WINNERS, Item, Workspace

ITEMS = st.builds(Item, st.sampled_from("abc"), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.text(max_size=3))
ROUNDS = st.lists(st.lists(ITEMS, max_size=8), max_size=8)


@given(ROUNDS, st.integers(1, 12))
def test_against_an_oracle_that_keeps_everything(rounds: list[list[Item]], capacity: int) -> None:
    workspace = Workspace(capacity)
    everything: list[Item] = []
    for at, items in enumerate(rounds):
        winners = workspace.compete(items, at)
        assert len(winners) == min(len(items), WINNERS)
        lost = [item.salience for item in items]
        for winner in winners:
            lost.remove(winner.salience)
        assert all(winner.salience >= salience for winner in winners for salience in lost)
        assert [winner.salience for winner in winners] == sorted((w.salience for w in winners), reverse=True)
        assert all(winner.at == at for winner in winners)
        everything += winners
        assert workspace.seq == len(everything)
    assert [item.seq for item in everything] == list(range(1, len(everything) + 1))
    kept = everything[-capacity:]
    for seq in range(-1, len(everything) + 2):
        assert workspace.since(seq) == [item for item in kept if item.seq > seq]


@given(st.permutations([Item("b", 0.5, "x"), Item("a", 0.5, "y"), Item("a", 0.5, "x"), Item("c", 0.9, "z")]))
def test_ties_are_decided_by_module_and_text(items: list[Item]) -> None:
    won = [(item.module, item.text) for item in Workspace(8).compete(items, 0)]
    assert won == [("c", "z"), ("a", "x"), ("a", "y"), ("b", "x")]


def test_nothing_competes_and_nothing_wins() -> None:
    workspace = Workspace(8)
    assert workspace.compete([], 0) == []
    assert workspace.seq == 0
    assert workspace.since(0) == []
