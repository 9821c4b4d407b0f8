"""How evidence becomes words: a draft stands on the evidence's words, and on nothing that it made up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition import wording
from cognition.events import Evidence
from cognition.wording import Notes, check, extract, note, notes_on, prompt, quoted
from core.nouns import Source, SourceKind, Span

MAY_14_2024 = 1_715_644_800_000_000

TEXT = "I moved to Lisbon in May. The flat costs 1,200 euros a month."


def evidence(text: str = TEXT, speaker: str = "Ada", source: str = "chat", best: str = "") -> Evidence:
    start = text.encode().find(best.encode())
    span = Span(best or text, start, start + len((best or text).encode()))
    return Evidence(
        "e1", "c1", text, span, speaker, Source(SourceKind.TESTIMONY, source), MAY_14_2024, "x1", 1.0, 0.9
    )  # fmt: skip


NOTES = notes_on([evidence(), evidence("My cat is called Miso.", "Bob")], 256)
QUESTION = "Where did Ada move, and what does she pay?"


@pytest.mark.parametrize("draft", [
    "Ada moved to Lisbon in May.",
    "Lisbon",
    "She moved to Lisbon, and the flat costs 1,200 euros.",
    "Ada moved to Lisbon on 14 May 2024.",  # the note's own date
    "Bob’s cat is called Miso.",
    "Ada's flat costs 1,200 euros a month!",
])  # fmt: skip
def test_a_draft_made_of_the_evidence_stands(draft: str) -> None:
    found = check(draft, QUESTION, NOTES)
    assert found.passed, found
    assert found.supported == 1.0
    assert found.unsupported == ()


@pytest.mark.parametrize(("draft", "detail"), [
    ("", "says nothing"),
    (" \n", "says nothing"),
    ("It is what it is.", "says nothing"),
    ("?!", "says nothing"),
    ("Ada moved to Porto in May.", "Porto"),
    ("The flat costs 1,300 euros.", "1,300"),
    ("The flat costs 1,200 euros and 50 cents.", "50"),
    ("Ada moved to Lisbon in 2023.", "2023"),
    ("Clara moved to Lisbon.", "Clara"),
    ("Ada bought a big house with a garden there.", "bought"),
    ("Where did Ada move, and what does she pay?", "only repeats the question"),
    ("Ada did move.", "only repeats the question"),
])  # fmt: skip
def test_a_draft_with_anything_else_does_not(draft: str, detail: str) -> None:
    found = check(draft, QUESTION, NOTES)
    assert not found.passed
    assert detail in found.detail


def test_nothing_stands_on_no_evidence() -> None:
    assert not check("Ada moved to Lisbon.", "Who moved?", Notes((), 0)).passed


WORDS = st.lists(st.sampled_from("Lisbon Ada flat costs euros month moved cat Miso called 14 2024".split()), min_size=1)


@given(WORDS.filter(lambda words: set(words) - {"Ada", "moved"}))
def test_any_words_of_the_evidence_stand_in_any_order(words: list[str]) -> None:
    found = check(" ".join(words), QUESTION, NOTES)
    assert found.passed, found


@given(WORDS, st.sampled_from(["Porto", "7", "1,201", "Zoe", "2025"]), st.integers(0, 20))
def test_one_name_or_number_too_many_fells_any_draft(words: list[str], foreign: str, place: int) -> None:
    draft = " ".join([*words[:place], foreign, *words[place:]])
    found = check(draft, QUESTION, NOTES)
    assert not found.passed
    assert found.unsupported == (foreign,)
    assert foreign in found.detail


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_judged(draft: str, question: str) -> None:
    found = check(draft, question, NOTES)
    assert 0 <= found.supported <= 1
    assert found.detail
    assert found.passed <= (found.supported >= wording.LEAST_SUPPORTED)


# Notes


def test_a_note_says_when_who_and_what() -> None:
    assert note(evidence("Hello.")) == "[14 May 2024] Ada: Hello."
    assert note(evidence("Hello.", speaker="")) == "[14 May 2024] chat: Hello."
    assert note(evidence("Hello.", speaker="", source="")) == "[14 May 2024] someone: Hello."


@given(st.lists(st.text(st.sampled_from("aé🙂"), min_size=1, max_size=50), min_size=1, max_size=8), st.integers(1, 60))
def test_notes_fit_but_for_the_first(texts: list[str], tokens: int) -> None:
    pieces = [evidence(text) for text in texts]
    notes = notes_on(pieces, tokens)
    sizes = [len(note(piece).encode()) for piece in pieces]
    count = len(notes.lines)
    room = tokens * wording.BYTES_PER_TOKEN
    assert notes.lines == tuple(note(piece) for piece in pieces[:count])
    assert count >= 1
    assert count == 1 or sum(sizes[:count]) <= room
    assert count == len(pieces) or sum(sizes[: count + 1]) > room, "no room is left unused"
    assert notes.tokens == sum(sizes[:count]) // wording.BYTES_PER_TOKEN


def test_the_prompt_holds_the_notes_and_the_question() -> None:
    system, user = prompt(QUESTION, NOTES)
    assert (system.role, user.role) == ("system", "user")
    assert all(line in user.content for line in NOTES.lines)
    assert user.content.endswith(QUESTION)


# Quotes


@given(st.text(st.sampled_from("aé🙂 ."), min_size=1, max_size=200))
def test_a_quote_is_the_bytes_that_it_says(text: str) -> None:
    whole = quoted(evidence(text))
    assert text.encode()[whole.quote.start_byte : whole.quote.end_byte] == whole.quote.text.encode()


def test_a_short_episode_is_quoted_whole_and_a_long_one_where_it_matched() -> None:
    short = quoted(evidence(best="The flat costs 1,200 euros a month."))
    assert short.quote == Span(TEXT, 0, len(TEXT.encode()))
    long = evidence("Ünd so. " * 50 + "I moved to Lisbon.", best="I moved to Lisbon.")
    assert quoted(long) == long
    assert len(long.text.encode()) > wording.WHOLE_QUOTE_BYTES


def test_the_evidence_itself_is_an_answer() -> None:
    assert extract(evidence("Hello.")) == "Ada, on 14 May 2024: “Hello.”"
    assert extract(evidence("Hello.", speaker="")) == "chat, on 14 May 2024: “Hello.”"
    assert extract(replace(evidence("Hello.", speaker="", source=""))) == "the source, on 14 May 2024: “Hello.”"
