"""Questions for a time or an amount, and texts that hold one."""

from __future__ import annotations

import pytest

from memory.expected import asks_for_amount, holds_amount


@pytest.mark.parametrize(
    "question",
    ["When did you move?", "How many cats are there?", "Since when?", "In what month was it?", "and HOW OLD is Juno"],
)
def test_it_asks(question: str) -> None:
    assert asks_for_amount(question)


@pytest.mark.parametrize("question", ["Who moved?", "How did it go?", "Whenever you like", "What is it called?", ""])
def test_it_does_not_ask(question: str) -> None:
    assert not asks_for_amount(question)


@pytest.mark.parametrize("text", ["At 7.", "Last weekend.", "Two of them", "on a Friday", "years ago", "JUNE"])
def test_it_holds_one(text: str) -> None:
    assert holds_amount(text)


@pytest.mark.parametrize("text", ["Someone often stones it.", "Lasting friendship", "", "Weakened"])
def test_it_holds_none(text: str) -> None:
    assert not holds_amount(text)
