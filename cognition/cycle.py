"""One question, from perceiving to answering: perceive -> recall -> think -> verify -> answer -> learn.

The cycle decides by evidence. Recall finds it; a calibrated support score says whether any of it bears on the
question; where none does the answer is "I don't know", with no citation. A language model words an answer that was
decided already, and its words are checked against the evidence; where they fail the evidence is quoted instead.

It talks to ports only, and knows neither gRPC nor a model nor a store.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from cognition import wording
from cognition.engine import base as engine
from cognition.engine.base import Finished, LanguageModel, LatentStep, Piece
from cognition.events import (
    Answered,
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

STOPPED = {
    engine.StopReason.DONE: StopReason.DONE,
    engine.StopReason.TOKENS: StopReason.TOKENS,
    engine.StopReason.WALL: StopReason.WALL,
}

SUPPORT_METHOD = "support-logistic-1"


Percept = TypeVar("Percept")
PerceptMade = TypeVar("PerceptMade", covariant=True)
PerceptTaken = TypeVar("PerceptTaken", contravariant=True)
"""A text as perception gives it and memory takes it: the cycle hands it on and never looks."""


class Perceiver(Protocol[PerceptMade]):
    """Turns the question into what memory searches by."""

    async def perceive(self, text: str) -> PerceptMade:
        """The text's vector, in whatever form memory takes it."""
        ...


class Memory(Protocol[PerceptTaken]):
    """Finds evidence, and keeps what was answered."""

    async def recall(self, question: Question, percept: PerceptTaken, limit: int) -> Recollection:
        """The Episodes that bear on the question, best first, evidence kinds only."""
        ...

    async def learn(self, question: Question, answer: Answered) -> str:
        """Remembers the exchange as an Episode of kind SELF; returns its id."""
        ...


@dataclass(frozen=True, slots=True)
class Policy:
    """The few numbers that decide."""

    least_support: float = 0.4
    """Below this the best evidence does not support an answer. Set on the tuning half of the sample's questions: at 0.5
    a third of those with an answer were refused, at 0.4 a fifth."""
    recalled: int = 10
    """How many Episodes are asked for."""


class Timer:
    """Milliseconds of each stage, by name."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self.started = self._last = time.perf_counter()

    def stage(self, name: str) -> None:
        """Ends a stage: all time since the last one ended was spent on it."""
        now = time.perf_counter()
        self.milliseconds[name] = self.milliseconds.get(name, 0.0) + (now - self._last) * 1e3
        self._last = now

    @property
    def seconds(self) -> float:
        """Seconds since the question came."""
        return time.perf_counter() - self.started


class Cycle(Generic[Percept]):
    """Answers questions. Holds no state between them."""

    def __init__(self, perceiver: Perceiver[Percept], memory: Memory[Percept], policy: Policy = Policy()) -> None:
        self._perceiver = perceiver
        self._memory = memory
        self._policy = policy

    async def answer(
        self, question: Question, model: LanguageModel, draft_id: str, timer: Timer
    ) -> AsyncGenerator[Event, None]:
        """The events of one answer; the last is `Answered`."""
        percept = await self._perceiver.perceive(question.text)
        timer.stage("perceive")
        limit = max(self._policy.recalled, question.max_citations)
        found = await self._memory.recall(question, percept, limit)
        timer.stage("recall")
        yield Recalled(question.text, found)

        chosen = apart(found.evidence, question.max_citations)
        # Judged by what would be cited: support further down would answer with evidence that nobody is shown.
        best = max((piece.support for piece in chosen), default=0.0)
        supported = bool(found.evidence) and best >= self._policy.least_support
        yield Checked("support", supported, best, _support_detail(best, self._policy.least_support, found))
        if not supported:
            yield Spent(0, 1, 0, timer.seconds)
            answer = Answered(
                wording.UNKNOWN_TEXT,
                Verdict.UNKNOWN,
                (),
                1 - best,
                SUPPORT_METHOD,
                StopReason.NO_EVIDENCE,
                Wording.EXTRACTIVE,
            )
            yield await self._learned(question, answer, timer)
            return

        cited = tuple(wording.quoted(piece) for piece in chosen)
        notes = wording.notes_on(cited, question.budget.context_tokens)
        draft, tokens, thoughts, stop = "", 0, 0, StopReason.DONE
        left = question.budget.wall_s - timer.seconds
        if question.budget.new_tokens and left > 0:
            request = engine.Request(
                wording.prompt(question.text, notes),
                new_tokens=question.budget.new_tokens,
                thinking=question.thinking,
                sampling=question.sampling,
                deadline_s=left,
                share=question.namespace,
            )
            drawn = model.generate(request)
            async with aclosing(drawn) as said:
                async for item in said:
                    match item:
                        case LatentStep():
                            yield item
                        case Piece():
                            draft += item.text
                            yield Worded(draft_id, item.text)
                        case Finished():
                            tokens, thoughts = item.new_tokens, item.latent_steps
                            stop = STOPPED[item.stop_reason]
            timer.stage("think")
            verdict = wording.check(draft, question.text, notes)
            passed = verdict.passed and stop is StopReason.DONE
            yield Checked("wording", passed, verdict.supported, verdict.detail)
            if not passed:
                yield DraftRetracted(draft_id, verdict.detail if not verdict.passed else "the draft was cut short")
        else:
            passed = False
            stop = StopReason.WALL if left <= 0 else stop
        timer.stage("verify")
        yield Spent(tokens, 1, notes.tokens, timer.seconds, thoughts)
        answer = Answered(
            wording.cleaned(draft) if passed else wording.extract(cited[0]),
            Verdict.ANSWERED,
            cited,
            best,
            SUPPORT_METHOD,
            stop if stop is StopReason.WALL else StopReason.DONE,
            Wording.LANGUAGE_MODEL if passed else Wording.EXTRACTIVE,
        )
        yield await self._learned(question, answer, timer)

    async def _learned(self, question: Question, answer: Answered, timer: Timer) -> Answered:
        if not question.learn:
            return answer
        learned = await self._memory.learn(question, answer)
        timer.stage("learn")
        return replace(answer, learned_episode_id=learned)


def apart(evidence: Sequence[Evidence], most: int) -> list[Evidence]:
    """The first `most` of which no two are turns of one exchange: it is cited once, by the turn that fits best.

    As many citations then show more of what was found: turns around one question say little more than one of them.
    """
    chosen: list[Evidence] = []
    for piece in evidence:
        if len(chosen) < most and not any(piece.beside(other) for other in chosen):
            chosen.append(piece)
    return chosen


def _support_detail(best: float, least: float, found: Recollection) -> str:
    if not found.evidence:
        return "memory holds nothing that bears on it"
    return f"the best of {len(found.evidence)} pieces of evidence has support {best:.2f}; {least:.2f} is needed"
