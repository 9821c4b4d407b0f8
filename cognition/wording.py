"""How evidence becomes words: the prompt a language model gets, the check of what it says, and the fallback.

The evidence decides what is said; the model only words it. A draft stands if its words are in the evidence (or the
question), every number and name in it too, and it says something that the question does not. Else the answer is the
evidence itself, quoted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from cognition.engine.base import Message
from cognition.events import Evidence
from core.clock import Micros, to_datetime
from core.nouns import Span

BYTES_PER_TOKEN = 4
"""How `context_tokens` is counted; the same for every model."""
LEAST_SUPPORTED = 0.8
"""The share of a draft's content words that must be in the evidence or the question."""

_MONTHS = tuple(date(2000, month, 1).strftime("%B") for month in range(1, 13))

WHOLE_QUOTE_BYTES = 320
"""Episodes up to this size are quoted whole."""

UNKNOWN_TEXT = "I don't know."

_LABEL = re.compile(r"(?:A|Answer):\s+")
_WORD = re.compile(r"(\d+(?:[.,:]\d+)*|[^\W\d_]+)(?:(?<!\d)['’][^\W\d_]+)*")
"""A number or a word; the group leaves out what follows an apostrophe."""
_FUNCTION_WORDS = frozenset(
    (
        "a about after all also am an and any are as at be because been before being but by can could did do does "
        "doing for from had has have having he her here hers him his how i if in into is it its just me more most "
        "my no not now of on one or other our out over own said says she so some such than that the their them "
        "then there these they this those through to too told tells up very was we were what when where which "
        "while who whom whose why will with would yes you your yours"
    ).split()
)


@dataclass(frozen=True, slots=True)
class WordingCheck:
    """Whether a draft stands. `unsupported` are its words that nothing supports."""

    passed: bool
    supported: float
    unsupported: tuple[str, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Notes:
    """Evidence as a model reads it, and what it takes of its context."""

    lines: tuple[str, ...]
    tokens: int


def notes_on(evidence: Sequence[Evidence], context_tokens: int) -> Notes:
    """The first pieces of evidence whose notes fit so many tokens; at least the first one."""
    lines: list[str] = []
    taken = 0
    for piece in evidence:
        line = note(piece)
        size = len(line.encode())
        if lines and taken + size > context_tokens * BYTES_PER_TOKEN:
            break
        lines.append(line)
        taken += size
    return Notes(tuple(lines), taken // BYTES_PER_TOKEN)


def note(piece: Evidence) -> str:
    """A piece of evidence as the model reads it: when, who, what."""
    return f"[{_day(piece.told_at)}] {piece.speaker or piece.source.name or 'someone'}: {piece.text}"


def _day(at: Micros) -> str:
    day = to_datetime(at)
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def prompt(question: str, notes: Notes) -> list[Message]:
    """The chat that asks for one short sentence from these notes, and nothing else."""
    lines = "\n".join(notes.lines)
    return [
        Message("system", "You answer questions from notes. Use only the notes. Answer in one short sentence."),
        Message("user", f"Notes:\n{lines}\n\nQuestion: {question}"),
    ]


def quoted(piece: Evidence) -> Evidence:
    """The evidence with the words to be shown: all of a short Episode, the Concept that matched best of a long one.

    In a short turn the sentence that answers often stands beside the one that matched the question.
    """
    size = len(piece.text.encode())
    return replace(piece, quote=Span(piece.text, 0, size)) if size <= WHOLE_QUOTE_BYTES else piece


def cleaned(draft: str) -> str:
    """The draft without the label that small models put before an answer."""
    return _LABEL.sub("", draft.strip())


def extract(evidence: Evidence) -> str:
    """The evidence itself as the answer."""
    who = evidence.speaker or evidence.source.name or "the source"
    return f"{who}, on {_day(evidence.told_at)}: “{evidence.quote.text}”"


def check(draft: str, question: str, notes: Notes) -> WordingCheck:
    """Compares a draft with what it may be made of, word by word (by their first letters, as a light stem)."""
    said: dict[str, str] = {}
    for word in _WORD.finditer(draft):
        if (lowered := word[1].casefold()) not in _FUNCTION_WORDS:
            said.setdefault(_stem(lowered), word[0])
    if not said:
        return WordingCheck(False, 0.0, (), "the draft says nothing")
    known = _stems(" ".join(notes.lines))
    asked = _stems(question)
    unsupported = tuple(sorted({word for stem, word in said.items() if stem not in known and stem not in asked}))
    supported = 1 - len(unsupported) / len(said)
    invented = [word for word in unsupported if any(c.isdigit() for c in word) or word[0].isupper()]
    if invented:
        return WordingCheck(False, supported, unsupported, f"not in the evidence: {', '.join(invented[:5])}")
    if supported < LEAST_SUPPORTED:
        return WordingCheck(False, supported, unsupported, f"not in the evidence: {', '.join(unsupported[:5])}")
    if not any(stem in known and stem not in asked for stem in said):
        return WordingCheck(False, supported, unsupported, "the draft only repeats the question")
    return WordingCheck(True, supported, unsupported, "every word is in the evidence or the question")


def _stems(text: str) -> set[str]:
    """The stems of a text's content words."""
    return set(map(_stem, set(map(str.casefold, _WORD.findall(text))) - _FUNCTION_WORDS))


def _stem(lowered: str) -> str:
    """Numbers whole, other words by their first five letters."""
    return lowered if lowered[0].isdigit() else lowered[:5]
