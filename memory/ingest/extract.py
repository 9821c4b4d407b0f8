"""From an Episode to what it says: who and what it mentions, the dates in it, and the Facts that it states outright.

Deterministic, and a function of the Episode and the timezone alone: the same Episode gives the same everywhere, in any
order, so extraction may be repeated and resumed. Ids of Facts are made of the Episode, the rule and what is stated; a
later version of the rules that says the same again writes nothing.

Only what may be cited as evidence is read for Facts. What we said ourselves, and dreams, prove nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace

from core.entities import Extracted, NewMention
from core.nouns import EVIDENCE, Episode, NewFact
from memory.ingest.dates import Dated, dates
from memory.ingest.entities import names
from memory.ingest.relation_rules import POLICIES
from memory.ingest.relations import Dating, Saying, Stated, stated
from memory.ingest.sentences import sentences
from memory.ingest.words import PERSON

VERSION = 1
"""Counts up with every change of what is extracted: Episodes that an earlier version read are read again."""
MAX_FACTS = 64
"""Of one Episode: a text that states more is a list, and its sentences are found as they are."""

_NAMESPACE_FACT = uuid.UUID("6f0c2c8e-7d0a-5b8e-9a55-6b1f0f1c7d03")


@dataclass(frozen=True, slots=True)
class Extraction(Extracted):
    """What one Episode says: what the record keeps, and the dates in it."""

    dates: tuple[Dated, ...] = ()


def extract(episode: Episode, timezone: str = "UTC") -> Extraction:
    """What the Episode says. Dates are those of a calendar in `timezone`. Raises InvalidArgument for an unknown one."""
    if episode.source.kind not in EVIDENCE:
        return Extraction(episode.id)
    text, speaker = episode.text, " ".join(episode.speaker.split())
    at = _ByteOffsets(text)
    found_dates = dates(text, episode.told_at, timezone)
    in_characters = [
        Dating(at.character(one.start_byte), at.character(one.end_byte), one.interval) for one in found_dates
    ]
    said = [
        one
        for start, end in sentences(text)
        for one in stated(Saying(text, start, end, speaker, episode.told_at, timezone, in_characters))
    ]
    mentions = {(one.name, at.byte(one.start), at.byte(one.end)): one.kind for one in names(text)}
    if speaker:
        mentions[speaker, 0, 0] = PERSON
    present = {name for name, _, _ in mentions}
    facts: dict[str, NewFact] = {}
    for one in said[:MAX_FACTS]:
        fact = _fact(episode, one)
        facts.setdefault(fact.id, fact)
        for name in (one.subject, one.object) if one.entity else (one.subject,):
            if name not in present:  # "Nora's sister", whom the text calls "my sister"
                present.add(name)
                mentions[name, at.byte(one.start), at.byte(one.end)] = ""
    return Extraction(
        episode.id,
        tuple(
            NewMention(*place, kind)
            for place, kind in sorted(mentions.items(), key=lambda one: one[0][1:] + one[0][:1])
        ),
        tuple(facts.values()),
        {fact.relation: POLICIES[fact.relation] for fact in facts.values() if fact.relation in POLICIES},
        tuple(found_dates),
    )


def fact_id(episode_id: str, rule: str, fact: NewFact) -> str:
    """The id of what a rule read in an Episode: the same on every machine and every rerun."""
    target = ("entity", fact.entity) if fact.entity is not None else ("literal", fact.literal)
    valid = fact.valid
    said = (fact.subject, fact.relation, *target, fact.retracted, valid.start, valid.end, int(valid.precision))
    return str(uuid.uuid5(_NAMESPACE_FACT, "\x1f".join(map(str, (episode_id, rule, *said)))))


def _fact(episode: Episode, one: Stated) -> NewFact:
    made = NewFact(
        subject=one.subject,
        relation=one.relation,
        valid=one.valid,
        told_at=episode.told_at,
        entity=one.object if one.entity else None,
        literal=None if one.entity else one.object,
        retracted=one.retracted,
        episode_id=episode.id,
        trust=one.trust,
        rule=one.rule,
    )
    return replace(made, id=fact_id(episode.id, one.rule, made))


class _ByteOffsets:
    """Places in a text between characters and the bytes of its UTF-8; free where the two are the same."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._data = None if text.isascii() else text.encode()

    def byte(self, place: int) -> int:
        """The byte at which a character begins."""
        return place if self._data is None else len(self._text[:place].encode())

    def character(self, place: int) -> int:
        """The character that begins at a byte."""
        return place if self._data is None else len(self._data[:place].decode())
