"""Questions for a time, an amount or a name, texts that hold one, and questions for several things."""

from __future__ import annotations

import pytest

from memory.expected import asks_for_amount, asks_for_name, asks_for_several, holds_amount, holds_name


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


@pytest.mark.parametrize(
    "question",
    [
        "Where did you move?",
        "Who came?",
        "to whom was it",
        "Which two cities?",
        "What is the van called?",
        "What book?",
    ],
)
def test_it_asks_for_a_name(question: str) -> None:
    assert asks_for_name(question)


@pytest.mark.parametrize("question", ["What did the city cost?", "Is it nowhere?", "How is the band?", "When?", ""])
def test_it_asks_for_no_name(question: str) -> None:
    assert not asks_for_name(question)


@pytest.mark.parametrize("text", ["We went to Lisbon.", "it is \u201cDune\u201d", "Yes, Bo, in Rome", 'I read "Emma".'])
def test_it_holds_a_name(text: str) -> None:
    assert holds_name(text, {"Bo"})


@pytest.mark.parametrize("text", ["Lisbon. Rome!", "so I went", "thanks, Bo", "WE did", "it's \u201chere\u201d", ""])
def test_it_holds_no_name(text: str) -> None:
    assert not holds_name(text, {"Bo"})


@pytest.mark.parametrize(
    "question",
    [
        "Which instruments does Ada play?",
        "what kind of plants did he water",
        "In what ways does she help?",
        "Where has Bruno been repaired?",
        "What are Ada's plans?",
        "Who were they?",
        "How many times did it rain?",
        "What do Ada and Bo have in common?",
        "What does Bo like to cook?",
        "Which children came?",
    ],
)
def test_it_asks_for_several(question: str) -> None:
    assert asks_for_several(question)


@pytest.mark.parametrize(
    "question",
    [
        "What did Ada buy?",
        "When did the buses stop?",
        "Which boat does Bo sail?",
        "What is his address?",
        "What was lost on the trips?",
        "Where does Ada live?",
        "What does Bo have to do?",
        "Who has the key?",
        "Tell me about the walks",
        "",
    ],
)
def test_it_asks_for_one(question: str) -> None:
    assert not asks_for_several(question)
