"""How evidence becomes words: the prompt a language model gets, the check of what it says, and the fallback.

The evidence decides what is said; the model only words it. A draft stands if its words are in the evidence (or the
question), every number and name in it too, and it says something that the question does not. Else the answer is the
evidence itself, quoted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cognition.engine.base import Message
from cognition.events import Evidence
from core.clock import to_datetime
from core.nouns import Span

BYTES_PER_TOKEN = 4
"""How `context_tokens` is counted; the same for every model."""
LEAST_SUPPORTED = 0.8
"""The share of a draft's content words that must be in the evidence or the question."""

WHOLE_QUOTE_BYTES = 320
"""Episodes up to this size are quoted whole."""

UNKNOWN_TEXT = "I don't know."

_WORD = re.compile(r"\d+(?:[.,:]\d+)*|[^\W\d_]+(?:['’][^\W\d_]+)*")
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


def within(evidence: Sequence[Evidence], context_tokens: int) -> list[Evidence]:
    """The first pieces of evidence whose notes fit so many tokens; at least the first one."""
    kept: list[Evidence] = []
    left = context_tokens * BYTES_PER_TOKEN
    for piece in evidence:
        left -= len(note(piece).encode())
        if kept and left < 0:
            break
        kept.append(piece)
    return kept


def note(piece: Evidence) -> str:
    """A piece of evidence as the model reads it: when, who, what."""
    day = to_datetime(piece.told_at)
    who = piece.speaker or piece.source.name or "someone"
    return f"[{day.day} {day:%B %Y}] {who}: {piece.text}"


def prompt(question: str, evidence: Sequence[Evidence]) -> list[Message]:
    """The chat that asks for one short sentence from these notes, and nothing else."""
    notes = "\n".join(note(piece) for piece in evidence)
    return [
        Message("system", "You answer questions from notes. Use only the notes. Answer in one short sentence."),
        Message("user", f"Notes:\n{notes}\n\nQuestion: {question}"),
    ]


def quoted(piece: Evidence) -> Evidence:
    """The evidence with the words to be shown: all of a short Episode, the Concept that matched best of a long one.

    In a short turn the sentence that answers often stands beside the one that matched the question.
    """
    size = len(piece.text.encode())
    return replace(piece, quote=Span(piece.text, 0, size)) if size <= WHOLE_QUOTE_BYTES else piece


def extract(evidence: Evidence) -> str:
    """The evidence itself as the answer."""
    day = to_datetime(evidence.told_at)
    who = evidence.speaker or evidence.source.name or "the source"
    return f"{who}, on {day.day} {day:%B %Y}: “{evidence.quote.text}”"


def check(draft: str, question: str, evidence: Sequence[Evidence]) -> WordingCheck:
    """Compares a draft with what it may be made of, word by word (by their first letters, as a light stem)."""
    said = _content(draft)
    if not said:
        return WordingCheck(False, 0.0, (), "the draft says nothing")
    known = _content(" ".join(note(piece) for piece in evidence))
    asked = _content(question)
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


def _content(text: str) -> dict[str, str]:
    """Content words by stem: numbers whole, other words by their first five letters."""
    found: dict[str, str] = {}
    for word in _WORD.findall(text):
        lowered = word.casefold().split("'")[0].split("’")[0]
        if lowered and lowered not in _FUNCTION_WORDS:
            found.setdefault(lowered if lowered[0].isdigit() else lowered[:5], word)
    return found
