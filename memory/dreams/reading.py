"""A language model reads Episodes for the Facts that they state: a few in each Dream, and never when they are written.

What the model says is taken whole or not at all. `memory.ingest.schema` checks it, and what it lets through has to have
a relation of `memory.dreams.examples` and an object that stands in the text. Where an answer is refused, the model is
told why and asked once more. So it can leave things out and misread them, which is why its Facts are trusted less than
those of rules; but it can neither break a Dream nor bring in words that nobody said.

Which Episodes a model has read is known by how far it has come in the order of commits, which the Dream keeps with what
it proposes. An Episode that was begun is read to its end, whatever the budget: else one that takes longer than a budget
would keep all others from being read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.dreams import Dream
from core.errors import InvalidArgument, SapienceError
from core.ids import normalised_name
from core.nouns import EVIDENCE, Episode, NewFact
from core.ports import Record
from memory.dreams.examples import EXAMPLES, RELATIONS, TASK
from memory.dreams.stating import as_places
from memory.ingest import schema
from memory.record import rows

PAGE = 64
MOST_BYTES = 4000
"""Of an Episode that is read: a longer one is a document, and a small model loses itself in it."""
ATTEMPTS = 2
CONFIDENCE = 0.9
"""What the examples say of their facts."""

GoOn = Callable[[], bool]
Turn = tuple[str, str]
"""A role ("system", "user" or "assistant") and what it says."""


class Model(Protocol):
    """Whatever answers a chat: the reasoning service, in a running system."""

    name: str
    """It stands in the rule of every Fact that it reads."""

    def answer(self, chat: Sequence[Turn], may_go_on: GoOn) -> str | None:
        """The next turn; None where `may_go_on` said no before it came. Blocks.

        Raises SapienceError where the model cannot be asked at all.
        """
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """What one model read for one Dream."""

    reader: str
    facts: tuple[tuple[Episode, NewFact], ...] = ()
    """Checked, in the order of reading."""
    to: tuple[int, str] = (0, "")
    """The last Episode that it has read or passed over."""
    episodes: int = 0
    refused: int = 0
    """Episodes of which every answer was refused."""
    error: str = ""
    """Why the model could not be asked; empty where it could."""


def read_on(record: Record, model: Model, dream: Dream, timezone: str, in_time: GoOn, may_go_on: GoOn) -> Said:
    """Lets the model read where it stopped. `in_time` is asked before each Episode, `may_go_on` during one too."""
    to = dream.read_to if dream.reader == model.name else (0, "")
    facts: list[tuple[Episode, NewFact]] = []
    read, refused = 0, 0
    for episode in _after(record, dream.namespace, to):
        if _worth_reading(episode):
            if read == dream.budget.readings or not in_time():
                break
            try:
                found = _facts_of(model, episode, timezone, may_go_on)
            except SapienceError as error:
                return Said(model.name, tuple(facts), to, read, refused, error.message)
            except _GivenUp:
                break
            read += 1
            refused += found is None
            facts += [(episode, fact) for fact in found or ()]
        to = (episode.seq, episode.id)
    return Said(model.name, tuple(facts), to, read, refused)


def chat_of(episode: Episode) -> list[Turn]:
    """The task, the examples, and the Episode as data."""
    chat = [("system", TASK.format(relations=", ".join(RELATIONS)))]
    for speaker, text, facts in EXAMPLES:
        answer = {"mentions": [], "facts": [{**fact, "confidence": CONFIDENCE} for fact in facts]}
        chat += [("user", _asked(speaker, text)), ("assistant", json.dumps(answer, ensure_ascii=False))]
    return [*chat, ("user", _asked(episode.speaker, episode.text))]


def checked(output: str, episode: Episode, model: str, timezone: str = "UTC") -> list[NewFact]:
    """The Facts of an answer. Raises InvalidArgument, with the path of the field, for an answer that is refused."""
    facts = list(schema.read(output, episode, model, timezone).facts)
    for place, fact in enumerate(facts):
        if fact.relation not in RELATIONS:
            raise InvalidArgument(
                f"facts[{place}].relation is {fact.relation!r}, which is none of those given",
                field=f"facts[{place}].relation",
            )
        if fact.entity is not None and normalised_name(fact.entity) == normalised_name(fact.subject):
            raise InvalidArgument(
                f"facts[{place}].entity is its own subject, {fact.subject!r}", field=f"facts[{place}].entity"
            )
        rows.check_fact(fact)
        as_places(fact, episode)
    return facts


class _GivenUp(Exception):
    """The Dream was cancelled, or the process ends."""


def _facts_of(model: Model, episode: Episode, timezone: str, may_go_on: GoOn) -> list[NewFact] | None:
    """None where every answer was refused."""
    chat = chat_of(episode)
    for _ in range(ATTEMPTS):
        answer = model.answer(chat, may_go_on)
        if answer is None:
            raise _GivenUp
        try:
            return checked(answer, episode, model.name, timezone)
        except InvalidArgument as error:
            mend = f"That is refused: {error.message}. Answer again, with what the text says and nothing else."
            chat = [*chat, ("assistant", answer or "{}"), ("user", mend)]
    return None


def _worth_reading(episode: Episode) -> bool:
    small = 0 < len(episode.text.encode()) <= MOST_BYTES
    return small and episode.source.kind in EVIDENCE and not episode.archived_seq


def _after(record: Record, namespace: str, after: tuple[int, str]) -> Iterator[Episode]:
    while page := record.episodes_after(namespace, after, PAGE):
        yield from (episode for episode, _ in page)
        after = (page[-1][0].seq, page[-1][0].id)


def _asked(speaker: str, text: str) -> str:
    return json.dumps({"speaker": speaker, "text": text}, ensure_ascii=False)
