"""What is worth keeping at hand: how well an Episode is retained, and which ones to archive first.

    odds      = strength / TYPICAL (1 + SURPRISE surprise) (1 + age / YEAR)^-DECAY + uses (1 + since use / YEAR)^-DECAY
    retention = odds / (1 + odds)

The odds are those that the Episode will be needed. Their shape is from the literature:

- The odds of needing a memory fall as a power of the time since it was met, and each time adds its own share: Anderson
  and Schooler, "Reflections of the Environment in Memory" (1991), and ACT-R's base-level activation B = ln sum t^-d,
  whose exponential these odds are, with its usual d = 1/2. A power falls fast at first and slowly later, as
  Ebbinghaus (1885) measured; an exponential, which others use, falls by the same share each day.
- Strength scales the whole curve, and time is counted from 1: m = lambda (1 + beta t)^-psi, Wickelgren's power law
  (1974; Wixted and Carpenter 2007). What is strong stays ahead at every age. (In exp(-t / 5 * S), which is to be found
  in a well-known peer, what is strong is lost first.)

Ours are the time scale, a year (people are asked about last year as about last week); that all uses count as the last
one, so that a record keeps two numbers and no list; and what strength and surprise are made of before an Episode was
ever used:

- *strength* is how much it says: the IDF, within its namespace, of the terms that its statements hold. A question
  says nothing yet; the terms of one that ends a turn count for the reply of somebody else instead: "Windflower." tells
  little, until one knows what was asked.
- *surprise* is the share of its terms that nothing told before it held. The first mention of a thing says more than
  the tenth.

`SURPRISE`, and that questions count for their replies alone, were chosen on five LoCoMo conversations by leaving each
out in turn; all five gave the same. Nothing here reads names, ids or any one language. It does not know what an Episode
means: a short sentence of common words that changes everything is weak until it is used, or held.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from core.clock import DAY, Micros
from core.errors import InvalidArgument
from core.nouns import Episode, Keeping, StoredConcept, TermStatistics
from memory.analysis import asks, episode_context, idf, terms

DECAY = 0.5
"""The exponent of forgetting: ACT-R's d."""
YEAR = 365 * DAY
TYPICAL = 30.0
"""The strength (nats) of a statement that is needed at even odds when it is new: about six terms that few others hold.
It sets what a threshold means and what a use weighs; the order of what was never used is the same with any."""
SURPRISE = 4.0
"""How many times its strength an Episode gains that shares no term with what was told before it."""


@dataclass(frozen=True, slots=True)
class Impression:
    """What an Episode left behind when it was told."""

    strength: float
    """In nats: 0 or more."""
    surprise: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class Retained:
    """An Episode, how well it is retained, and what keeps it from being archived."""

    episode: Episode
    retention: float
    held: bool = False


def retention(strength: float, surprise: float, age: Micros, uses: int = 0, since_use: Micros | None = None) -> float:
    """From 0 to 1: rises with strength, surprise and uses, falls with age and with the time since the last use.

    Times before 0 count as 0: a source's clock may be ahead of ours. `since_use` None means since it was told.
    """
    told = strength / TYPICAL * (1 + SURPRISE * surprise) * _faded(age)
    used = uses * _faded(age if since_use is None else since_use)
    odds = told + used
    # As odds / (1 + odds), but every step of it rises or falls also after rounding.
    return 1 / (1 + 1 / odds) if odds else 0.0


def retained(
    told: Iterable[tuple[Episode, Sequence[StoredConcept]]], keepings: Mapping[str, Keeping], now: Micros
) -> list[Retained]:
    """All Episodes of a namespace, in the order they were told in, archived ones among them. Reads `told` once.

    Ages are since `told_at`: an old chat imported today is old.
    """
    ordered = sorted((_Words.of(*one) for one in told), key=_place)
    rated = []
    for words, left in zip(ordered, _impressions(ordered), strict=True):
        episode = words.episode
        kept = keepings.get(episode.id, Keeping(episode.id))
        since = None if kept.used_at is None else now - kept.used_at
        kept_by = retention(left.strength, left.surprise, now - episode.told_at, kept.uses, since)
        rated.append(Retained(episode, kept_by, bool(kept.holds)))
    return rated


def impressions(told: Iterable[tuple[Episode, Sequence[StoredConcept]]]) -> dict[str, Impression]:
    """Strength and surprise of all Episodes of a namespace, by id."""
    ordered = sorted((_Words.of(*one) for one in told), key=_place)
    return {words.episode.id: left for words, left in zip(ordered, _impressions(ordered), strict=True)}


def choose(rated: Sequence[Retained], *, share: float | None = None, threshold: float | None = None) -> list[Retained]:
    """Which to archive, least retained first, ties by id; never one under a hold.

    `share`: as many as it takes until that share of all is archived, so that asking twice changes nothing.
    `threshold`: all that are retained less than that. Raises InvalidArgument unless one of them is given, from 0 to 1.
    """
    if (share is None) == (threshold is None):
        raise InvalidArgument("give a share or a threshold, and not both", field="share")
    for field, value in (("share", share), ("threshold", threshold)):
        if value is not None and not 0 <= value <= 1:
            raise InvalidArgument(f"{field} is {value}; give 0 to 1", field=field)
    free = [one for one in rated if not one.held and not one.episode.archived_seq]
    ordered = sorted(free, key=lambda one: (one.retention, one.episode.id))
    if threshold is not None:
        return [one for one in ordered if one.retention < threshold]
    # Rounded first: 0.3 of 10 is 3, and not 2.9999.
    wanted = math.floor(round((share or 0.0) * len(rated), 6))
    archived = sum(one.episode.archived_seq > 0 for one in rated)
    return ordered[: max(0, wanted - archived)]


def _faded(since: Micros) -> float:
    return float((1 + max(0, since) / YEAR) ** -DECAY)


@dataclass(frozen=True, slots=True)
class _Words:
    """The terms of an Episode's own words: those of its statements, its questions, and of a question at its end."""

    episode: Episode
    concepts: int
    counted: tuple[int, ...]
    """Of every Concept, with what it was told with: what document frequency counts."""
    stated: frozenset[int]
    asked: frozenset[int]
    last: frozenset[int]

    @classmethod
    def of(cls, episode: Episode, concepts: Sequence[StoredConcept]) -> _Words:
        # Who said it, and when, is indexed with every Concept, and says nothing that the Episode says.
        context = frozenset(terms(episode_context(episode.speaker, episode.told_at)))
        stated: set[int] = set()
        asked: set[int] = set()
        last: frozenset[int] = frozenset()
        for concept in concepts:
            own = frozenset(concept.terms.indices) - context
            last = own if asks(concept.concept.span.text) else frozenset()
            (asked if last else stated).update(own)
        counted = tuple(chain.from_iterable(concept.terms.indices for concept in concepts))
        return cls(episode, len(concepts), counted, frozenset(stated), frozenset(asked - stated), last)

    def replies_to(self, before: _Words | None) -> bool:
        if before is None or not before.last or not self.episode.conversation:
            return False
        own, theirs = self.episode, before.episode
        same = (own.source.name, own.conversation) == (theirs.source.name, theirs.conversation)
        return same and own.speaker != theirs.speaker


def _place(words: _Words) -> tuple[Micros, str, str, int, int, str]:
    """The order in which things were told; within a conversation of one time, that of its places."""
    one = words.episode
    return one.told_at, one.source.name, one.conversation, one.position, one.seq, one.id


def _impressions(ordered: Sequence[_Words]) -> Iterable[Impression]:
    frequency: dict[int, int] = {}
    for term in chain.from_iterable(words.counted for words in ordered):
        frequency[term] = frequency.get(term, 0) + 1
    statistics = TermStatistics(sum(words.concepts for words in ordered), frequency)
    weight = {term: idf(statistics, term) for term in frequency}

    def mass(said: Iterable[int]) -> float:
        return math.fsum(weight[term] for term in said)

    known: set[int] = set()
    before: _Words | None = None
    for words in ordered:
        strength = mass(words.stated)
        if before is not None and words.replies_to(before):
            strength += mass(before.last)
        said = words.stated | words.asked
        yield Impression(strength, len(said - known) / len(said) if said else 0.0)
        known |= said
        before = words
