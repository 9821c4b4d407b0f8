"""A Fact that a language model read in an Episode, as places in its text and back. Pure.

A Dream keeps no word that was told, so a Fact waits for approval as the bytes where its Episode has its names and its
words; what is written nowhere there cannot be proposed. The relation is one of a closed list (`memory.dreams.examples`)
and tells nothing.
"""

from __future__ import annotations

from core.dreams import Assert, Place
from core.errors import InvalidArgument
from core.ids import normalised_name
from core.nouns import Episode, Interval, NewFact, Precision


def as_places(fact: NewFact, episode: Episode) -> Assert:
    """The Fact by where the Episode has it. Raises InvalidArgument for a name or words that it does not have."""
    target = fact.entity if fact.entity is not None else fact.literal
    assert target is not None, "a Fact has an object"
    return Assert(
        fact.id,
        _place(fact.subject, episode, "subject", speaker=True),
        fact.relation,
        _place(target, episode, "object", speaker=fact.entity is not None),
        fact.entity is not None,
        fact.valid.start,
        fact.valid.end,
        int(fact.valid.precision),
        fact.valid.timezone,
        fact.trust,
        fact.rule,
    )


def stated(action: Assert, episode: Episode) -> NewFact:
    """The Fact that `as_places` was given."""
    target = _words(action.object, episode)
    return NewFact(
        subject=_words(action.subject, episode),
        relation=action.relation,
        valid=Interval(action.start, action.end, Precision(action.precision), "", action.timezone),
        told_at=episode.told_at,
        entity=target if action.named else None,
        literal=None if action.named else target,
        episode_id=episode.id,
        trust=action.trust,
        rule=action.rule,
        id=action.fact_id,
    )


def _place(words: str, episode: Episode, field: str, *, speaker: bool) -> Place:
    at = episode.text.find(words)
    if at >= 0:
        start = len(episode.text[:at].encode())
        return Place(episode.id, start, start + len(words.encode()))
    if speaker and normalised_name(words) == normalised_name(episode.speaker):
        return Place(episode.id, 0, 0)
    raise InvalidArgument(f"{field} is {words[:80]!r}, which the text does not have", field=field)


def _words(place: Place, episode: Episode) -> str:
    if not place.end_byte:
        return " ".join(episode.speaker.split())
    return episode.text.encode()[place.start_byte : place.end_byte].decode()
