"""One question from perceiving to answering, with ports made here: what is decided by evidence, what by budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition.cycle import SUPPORT_METHOD, Cycle, Policy, Timer, apart
from cognition.engine import base as engine
from cognition.engine.base import (
    Finished,
    LanguageModel,
    LatentStep,
    Mode,
    Piece,
    Prompt,
    Request,
    Sampling,
    Thinking,
)
from cognition.events import (
    Answered,
    Budget,
    Checked,
    DraftRetracted,
    Event,
    Evidence,
    Question,
    Recalled,
    Recollection,
    Spent,
    StopReason,
    Verdict,
    Worded,
    Wording,
)
from cognition.wording import UNKNOWN_TEXT
from core.nouns import Source, SourceKind, Span

QUESTION = Question("home", "Where did Ada move?")
DONE, TOKENS, WALL = engine.StopReason.DONE, engine.StopReason.TOKENS, engine.StopReason.WALL


def evidence(number: int, support: float, text: str = "I moved to Lisbon.") -> Evidence:
    span = Span(text, 0, len(text.encode()))
    return Evidence(f"e{number}", f"c{number}", text, span, "Ada", Source(), 0, "", 1.0, support)


@dataclass
class Ears:
    """Perception that gives the text itself."""

    heard: list[str] = field(default_factory=list)

    async def perceive(self, text: str) -> str:
        await asyncio.sleep(0)
        self.heard.append(text)
        return text


@dataclass
class Notebook:
    """Memory that finds what it is given, and keeps what it is told."""

    found: tuple[Evidence, ...] = ()
    limits: list[int] = field(default_factory=list)
    learned: list[Answered] = field(default_factory=list)

    async def recall(self, question: Question, percept: str, limit: int) -> Recollection:
        await asyncio.sleep(0)
        assert percept == question.text
        self.limits.append(limit)
        return Recollection(self.found[:limit])

    async def learn(self, question: Question, answer: Answered) -> str:
        await asyncio.sleep(0)
        self.learned.append(answer)
        return f"learned-{len(self.learned)}"


class Parrot(LanguageModel):
    """Says what it was told to say, a word at a time, and notes what it was asked."""

    name = "parrot"
    context_tokens = 1000

    def __init__(self, words: str = "Ada moved to Lisbon.", stop: engine.StopReason = DONE, thoughts: int = 0) -> None:
        self._words, self._stop, self._thoughts = words, stop, thoughts
        self.asked: list[Request] = []
        self.closed_early = False

    async def generate(self, request: Request) -> AsyncGenerator[engine.Item, None]:
        self.asked.append(request)
        try:
            for step in range(self._thoughts):
                yield LatentStep(step, 1.0)
            for word in self._words.split(" "):
                await asyncio.sleep(0)
                yield Piece(f" {word}")
            yield Finished(self._stop, 10, len(self._words.split(" ")), latent_steps=self._thoughts)
        except GeneratorExit:
            self.closed_early = True
            raise

    def count_tokens(self, prompt: Prompt) -> int:
        return 10

    def close(self) -> None:
        """Nothing to end."""


async def events_of(
    question: Question, found: Sequence[Evidence], model: Parrot | None = None, memory: Notebook | None = None
) -> list[Event]:
    memory = memory or Notebook()
    memory.found = tuple(found)
    cycle = Cycle(Ears(), memory)
    return [event async for event in cycle.answer(question, model or Parrot(), "draft", Timer())]


def answer_of(events: Sequence[Event]) -> Answered:
    answers = [event for event in events if isinstance(event, Answered)]
    assert len(answers) == 1
    assert events[-1] is answers[0]
    return answers[0]


async def test_a_supported_question_is_answered_in_the_models_words() -> None:
    found = [evidence(1, 0.9), evidence(2, 0.2)]
    events = await events_of(QUESTION, found)
    kinds = [type(event) for event in events]
    assert kinds == [Recalled, Checked, *[Worded] * 4, Checked, Spent, Answered]
    answer = answer_of(events)
    assert (answer.text, answer.wording) == ("Ada moved to Lisbon.", Wording.LANGUAGE_MODEL)
    assert (answer.verdict, answer.stop_reason) == (Verdict.ANSWERED, StopReason.DONE)
    assert [piece.episode_id for piece in answer.citations] == ["e1", "e2"]
    assert (answer.confidence, answer.confidence_method) == (0.9, SUPPORT_METHOD)
    (spent,) = (event for event in events if isinstance(event, Spent))
    assert (spent.new_tokens, spent.recalls) == (4, 1)
    assert {event.draft_id for event in events if isinstance(event, Worded)} == {"draft"}


@given(st.lists(st.floats(0, 1), max_size=5), st.floats(0, 1))
def test_what_is_cited_is_decided_by_support(supports: list[float], least: float) -> None:
    async def run() -> None:
        memory, model = Notebook(tuple(evidence(n, s) for n, s in enumerate(supports))), Parrot()
        cycle = Cycle(Ears(), memory, Policy(least_support=least))
        events = [event async for event in cycle.answer(QUESTION, model, "d", Timer())]
        answer, best = answer_of(events), max(supports[: QUESTION.max_citations], default=0.0)
        check = next(event for event in events if isinstance(event, Checked))
        supported = bool(supports) and best >= least
        assert (check.name, check.passed, check.score) == ("support", supported, best)
        if supported:
            assert answer.verdict is Verdict.ANSWERED
            assert answer.citations
        else:
            assert answer == Answered(
                UNKNOWN_TEXT, Verdict.UNKNOWN, (), 1 - best, SUPPORT_METHOD, StopReason.NO_EVIDENCE, Wording.EXTRACTIVE
            )
            assert not model.asked, "no model is asked to word what is not known"

    asyncio.run(run())


@pytest.mark.parametrize(("words", "stop", "reason"), [
    ("Ada moved to Porto.", DONE, "not in the evidence: Porto"),
    ("Where did Ada move?", DONE, "only repeats the question"),
    ("", DONE, "says nothing"),
    ("Ada moved to Lisbon", TOKENS, "cut short"),
    ("Ada moved to Lisbon", WALL, "cut short"),
])  # fmt: skip
async def test_a_draft_that_does_not_stand_is_taken_back(words: str, stop: engine.StopReason, reason: str) -> None:
    events = await events_of(QUESTION, [evidence(1, 0.9)], Parrot(words, stop))
    (retracted,) = (event for event in events if isinstance(event, DraftRetracted))
    assert retracted.draft_id == "draft"
    assert reason in retracted.reason
    answer = answer_of(events)
    assert answer.wording is Wording.EXTRACTIVE
    assert "I moved to Lisbon." in answer.text
    assert answer.stop_reason is (StopReason.WALL if stop is WALL else StopReason.DONE)
    assert [piece.episode_id for piece in answer.citations] == ["e1"]


async def test_a_question_whose_time_is_over_is_answered_by_the_evidence() -> None:
    model = Parrot()
    late = replace(QUESTION, budget=Budget(wall_s=0.0))
    events = await events_of(late, [evidence(1, 0.9)], model)
    answer = answer_of(events)
    assert (answer.wording, answer.stop_reason) == (Wording.EXTRACTIVE, StopReason.WALL)
    assert answer.citations
    assert not model.asked
    assert not [event for event in events if isinstance(event, Worded | DraftRetracted)]


async def test_the_model_gets_what_the_question_allows() -> None:
    model = Parrot()
    budget = Budget(new_tokens=7, context_tokens=1, wall_s=30)
    thinking = Thinking(Mode.SOFT, 3)
    sampling = Sampling(temperature=0.5, seed=11)
    question = replace(QUESTION, budget=budget, sampling=sampling, thinking=thinking, max_citations=2)
    memory = Notebook()
    events = await events_of(question, [evidence(n, 0.9) for n in range(20)], model, memory)
    (asked,) = model.asked
    assert (asked.new_tokens, asked.sampling, asked.thinking) == (7, sampling, thinking)
    assert asked.deadline_s is not None
    assert 0 < asked.deadline_s <= 30
    assert str(asked.prompt).count("I moved to Lisbon.") == 1, "one token of context holds the first note only"
    assert len(answer_of(events).citations) == 2
    assert memory.limits == [Policy().recalled]
    await events_of(replace(QUESTION, max_citations=20), [evidence(1, 0.9)], memory=memory)
    assert memory.limits[-1] == 20


async def test_thoughts_come_before_the_draft_and_are_counted() -> None:
    events = await events_of(QUESTION, [evidence(1, 0.9)], Parrot(thoughts=3))
    kinds = [type(event) for event in events]
    assert kinds == [Recalled, Checked, *[LatentStep] * 3, *[Worded] * 4, Checked, Spent, Answered]
    assert [event.latent_steps for event in events if isinstance(event, Spent)] == [3]


@pytest.mark.parametrize("support", [0.9, 0.1])
async def test_only_what_is_to_be_learned_is_learned_and_only_once(support: float) -> None:
    memory = Notebook()
    assert answer_of(await events_of(QUESTION, [evidence(1, support)], memory=memory)).learned_episode_id == ""
    assert not memory.learned
    answer = answer_of(await events_of(replace(QUESTION, learn=True), [evidence(1, support)], memory=memory))
    assert answer.learned_episode_id == "learned-1"
    assert [replace(learned, learned_episode_id="learned-1") for learned in memory.learned] == [answer]


async def test_closing_the_events_stops_the_model_and_learns_nothing() -> None:
    memory, model = Notebook((evidence(1, 0.9),)), Parrot("Ada moved to Lisbon " * 100)
    happened = Cycle(Ears(), memory).answer(replace(QUESTION, learn=True), model, "draft", Timer())
    async for event in happened:
        if isinstance(event, Worded):
            break
    await happened.aclose()
    assert model.closed_early
    assert not memory.learned


async def test_a_port_that_fails_ends_the_answer() -> None:
    class Amnesia(Notebook):
        async def recall(self, question: Question, percept: str, limit: int) -> Recollection:
            raise ConnectionError("memory is down")

    with pytest.raises(ConnectionError, match="memory is down"):
        await events_of(QUESTION, [], memory=Amnesia())


async def test_stages_are_timed() -> None:
    timer = Timer()
    memory = Notebook((evidence(1, 0.9),))
    async for _ in Cycle(Ears(), memory).answer(replace(QUESTION, learn=True), Parrot(), "draft", timer):
        pass
    assert list(timer.milliseconds) == ["perceive", "recall", "think", "verify", "learn"]
    assert all(value >= 0 for value in timer.milliseconds.values())
    assert sum(timer.milliseconds.values()) <= timer.seconds * 1e3 + 1e-6


def turn(position: int, *, conversation: str = "chat", kind: SourceKind = SourceKind.TESTIMONY) -> Evidence:
    return replace(evidence(position, 0.9), source=Source(kind), conversation=conversation, position=position)


def test_an_exchange_is_cited_once_by_the_turn_that_fits_best() -> None:
    ranked = [turn(4), turn(5), turn(9), turn(3), turn(10), turn(7)]
    assert [piece.position for piece in apart(ranked, 3)] == [4, 9, 7]
    assert [piece.position for piece in apart(ranked, 1)] == [4]


def test_what_is_next_to_each_other_elsewhere_is_no_exchange() -> None:
    for pieces in (
        [turn(1), turn(2, conversation="other")],
        [turn(1, conversation=""), turn(2, conversation="")],
        [turn(1, kind=SourceKind.DOCUMENT), turn(2, kind=SourceKind.DOCUMENT)],
    ):
        assert apart(pieces, 3) == pieces
