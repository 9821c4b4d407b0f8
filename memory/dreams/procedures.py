"""Procedural memory, as far as memory can see it: which questions were answered from evidence.

An answer that was learnt is an Episode of ours, derived from what it cites; one that cites nothing was "I don't know".
So for each shape of question (what it asks for) it is counted how many were asked, how many answered, and with how many
citations, and some of those that were answered are quoted. It is a modest kind of skill: it says what has worked here,
and not what would work better; which recipe was used is in the Traces, and not in memory. Shapes are told by English
question words; in another language all questions are of one shape.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from core.dreams import Archive, DreamKind, Proposal, SummaryOf, Write
from memory.analysis import asks
from memory.dreams.material import Material, Sentence, Told
from memory.dreams.writing import SHAPES, key_of

LEAST_ASKED = 5
MOST_QUOTED = 3

_ASKED = re.compile(r"^\s*Asked:\s*")
_BY_WORDS = (
    ("a time", re.compile(r"^(?:.*\b)?(?:when|what (?:time|day|date|month|year)|which (?:day|month|year))\b")),
    ("an amount", re.compile(r"^(?:.*\b)?how (?:many|much|long|often|old|far)\b")),
    ("a person", re.compile(r"^(?:.*\b)?(?:who|whom|whose)\b")),
    ("a place", re.compile(r"^(?:.*\b)?where\b")),
    ("a reason", re.compile(r"^(?:.*\b)?why\b")),
    ("a way", re.compile(r"^how\b")),
    ("a yes or a no", re.compile(r"^(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should)\b")),
)


def procedures(material: Material) -> list[Proposal]:
    """What has worked, by shape; and what said so earlier and is no longer the last word."""
    asked: dict[str, list[tuple[Told, Sentence]]] = defaultdict(list)
    for answer in material.answers:
        question = next((sentence for sentence in answer.sentences if asks(sentence.concept.span.text)), None)
        if question is not None:
            asked[shape_of(question.concept.span.text)].append((answer, question))
    found = [one for shape in SHAPES if (one := _of_shape(shape, asked[shape])) is not None]
    made = {key_of(write): (write, score) for write, score in found}
    reason = "questions of one shape, and how many were answered from evidence"
    fresh = [
        Proposal(DreamKind.PROCEDURES, write.sources, reason, score, (write,))
        for key, (write, score) in made.items()
        if key not in material.known
    ]
    return [*fresh, *_stale(material, made)]


def shape_of(question: str) -> str:
    """What a question asks for, by its words."""
    words = _ASKED.sub("", question).casefold()
    return next((shape for shape, pattern in _BY_WORDS if pattern.search(words)), SHAPES[-1])


def _of_shape(shape: str, asked: Sequence[tuple[Told, Sentence]]) -> tuple[Write, float] | None:
    answered = [(one, question) for one, question in asked if one.sources]
    if len(asked) < LEAST_ASKED or not answered:
        return None
    shown = answered[-MOST_QUOTED:]
    figures = (
        ("shape", SHAPES.index(shape)),
        ("asked", len(asked)),
        ("answered", len(answered)),
        ("citations", sum(len(one.sources) for one, _ in answered)),
    )
    quotes, sources = tuple(question.concept.id for _, question in shown), tuple(one.id for one, _ in shown)
    return Write(SummaryOf.PROCEDURE, quotes, sources, figures=figures), len(answered) / len(asked)


def _stale(material: Material, made: dict[str, tuple[Write, float]]) -> list[Proposal]:
    ours = {answer.id for answer in material.answers}
    reason = "other questions were asked since"
    return [
        Proposal(DreamKind.PROCEDURES, (one.id, *one.sources), reason, 1.0, (Archive(one.id),))
        for one in material.summaries
        if set(one.sources) & ours
        and material.read.issuperset(one.sources)
        and one.episode.external_id not in made
        and not one.keeping.holds
    ]
