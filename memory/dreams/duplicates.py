"""Near-duplicates: Episodes that say again what an earlier one of the same speaker says.

Two honest "Thanks!" are two things told, so only what says something can be a copy: at least `LEAST_TERMS` different
terms. A later Episode is a copy of an earlier one where

- the same speaker of the same source told both,
- it has no term that the earlier one has not: it says nothing new,
- the two share at least `OVERLAP` of their terms (Jaccard), and their vectors point the same way (`COSINE`),
- no number tells them apart, and neither denies what the other says, as far as the words for "not" show.

The first copy stays and gets the uses of the others, which are archived; nothing is deleted. Pairs are found exactly,
and without comparing all with all: two sets with so much in common share one of their rarest terms (prefix filtering,
Bayardo, Ma and Srikant, WWW 2007).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator

from core.dreams import AddUses, Archive, DreamKind, Proposal
from memory.dreams.material import Material, Told

LEAST_TERMS = 8
OVERLAP = 0.8
COSINE = 0.9

_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_NOT = re.compile(r"(?:no|not|never|none|nobody|nothing|without|cannot|\w+n['\u2019]t)", re.IGNORECASE)


def duplicates(material: Material) -> list[Proposal]:
    """One proposal for each copy, which rests on the first of its kind."""
    long = [one for one in material.evidence if len(one.terms) >= LEAST_TERMS]
    proposals: list[Proposal] = []
    gone: set[str] = set()
    for earlier, later in _pairs(long):
        # A copy of a copy is one of the first: its terms are among those of the first, too.
        if earlier.id in gone or later.id in gone or later.keeping.holds:
            continue
        score = _likeness(earlier, later)
        if score is None:
            continue
        gone.add(later.id)
        uses = later.keeping.uses
        moved = (AddUses(earlier.id, uses, later.keeping.used_at or 0),) if uses else ()
        reason = "says nothing that an earlier Episode of the same speaker does not say"
        proposals.append(
            Proposal(DreamKind.DUPLICATES, (earlier.id, later.id), reason, score, (Archive(later.id), *moved))
        )
    return proposals


def _pairs(long: list[Told]) -> Iterator[tuple[Told, Told]]:
    """(earlier, later) of those that may be alike, by the later one, then by the earlier one."""
    counts = Counter(term for one in long for term in one.terms)
    holding: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for number, one in enumerate(long):
        ordered = sorted(one.terms, key=lambda term: (counts[term], term))
        prefix = ordered[: len(ordered) - math.ceil(OVERLAP * len(ordered)) + 1]
        met: set[int] = set()
        for term in prefix:
            met.update(holding[one.episode.source.name, one.episode.speaker, term])
            holding[one.episode.source.name, one.episode.speaker, term].append(number)
        for other in sorted(met):
            yield long[other], one


def _likeness(earlier: Told, later: Told) -> float | None:
    """How alike they are, from 0 to 1; None where the later one is no copy."""
    if not later.terms <= earlier.terms:
        return None
    overlap = len(later.terms) / len(earlier.terms)
    cosine = float(earlier.vector() @ later.vector())
    if overlap < OVERLAP or cosine < COSINE or _decisive(earlier) != _decisive(later):
        return None
    return min(1.0, overlap * cosine)


def _decisive(told: Told) -> tuple[Counter[str], int]:
    """The numbers in the text, and how often it denies: where these differ, two texts say different things."""
    words = [word.casefold() for word in _WORD.findall(told.episode.text)]
    numbers = Counter(word for word in words if any(letter.isdigit() for letter in word))
    return numbers, sum(_NOT.fullmatch(word) is not None for word in words)
