"""Which names probably mean the same: candidates with a reason and a score, for a person or a Dream to decide.

A name that is another's but for case and white space is no candidate: the record gives both one Entity from the start.
Only what is the same word written differently (accents, hyphens, full stops) is sure enough to be merged by itself; a
first name, a nickname or a title leaves room for somebody else, however often it fits.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from core.ids import normalised_name
from memory.ingest.words import ROLES, TITLES

CERTAIN = 0.95
"""What may be merged with nobody asked has at least this score."""

# The short forms of common first names that are not their beginnings.
_NICKNAMES = {
    short: full
    for full, shorts in {
        "robert": "bob bobby rob", "william": "bill billy will", "richard": "dick rick", "elizabeth": "liz beth betty",
        "margaret": "maggie peggy meg", "katherine": "kate katie kathy", "catherine": "kate katie cathy",
        "james": "jim jimmy", "john": "jack johnny", "michael": "mike mick", "edward": "ted ned", "anthony": "tony",
        "dorothy": "dot dolly", "susan": "sue susie", "charles": "chuck charlie", "henry": "harry hank",
        "theodore": "ted teddy", "alexander": "sasha sandy xander", "rebecca": "becky", "patricia": "patty trish",
        "sarah": "sally", "david": "dave davy", "joseph": "joe joey", "andrew": "drew", "jennifer": "jenny",
    }.items()
    for short in shorts.split()
}  # fmt: skip
_LEAST_SHORT = 3
"""Letters of a short form that is the beginning of a name: "Mel" of "Melanie", not "Al" of "Alice"."""
_APPOSITION = re.compile(rf"\b([A-Z]\w+), (?:my|our|his|her|their) (?:\w+ )?({'|'.join(ROLES)})(?=[,.!;]|$)")


@dataclass(frozen=True, slots=True)
class Candidate:
    """Two names that may mean the same; `name` is the fuller one. `score` is from 0 to 1.

    `personal` says that the rule is about names of people: "Game of Thrones" has no first name.
    """

    name: str
    alias: str
    reason: str
    score: float
    personal: bool = False

    @property
    def certain(self) -> bool:
        """Whether it may be merged with nobody asked."""
        return self.score >= CERTAIN


def candidates(names: Iterable[str]) -> list[Candidate]:
    """Every pair of the names that a rule fits, the best first. A pair that several names could complete scores less.

    The time grows with the number of names and of pairs found, not with all pairs: names are looked up by what the
    rules compare.
    """
    known = {normalised_name(name): name for name in sorted(set(names), reverse=True)}
    found: list[Candidate] = []
    for rule in (_spelling, _titles, _first_names, _short_forms, _initials):
        found += rule(known)
    best: dict[frozenset[str], Candidate] = {}
    for one in found:
        pair = frozenset((normalised_name(one.name), normalised_name(one.alias)))
        if pair not in best or best[pair].score < one.score:
            best[pair] = one
    return sorted(best.values(), key=lambda one: (-one.score, one.name, one.alias))


def of_name(name: str, names: Iterable[str]) -> list[Candidate]:
    """Those of the candidates that speak of one name."""
    wanted = normalised_name(name)
    return [
        one for one in candidates([*names, name]) if wanted in (normalised_name(one.name), normalised_name(one.alias))
    ]


def appositions(text: str) -> list[Candidate]:
    """What a text itself equates: "Bruno, our old van" is what is meant by "our van" elsewhere."""
    return [Candidate(match[1], match[2], "a text says what it is", 0.7) for match in _APPOSITION.finditer(text)]


def _spelling(known: dict[str, str]) -> list[Candidate]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for folded, name in known.items():
        groups[_plain(folded)].append(name)
    return [
        Candidate(first, other, "the same but for accents and marks", 0.97)
        for key, (first, *others) in groups.items()
        for other in others
        if len(key) > 3  # "U.S." and "us" differ by marks as well
    ]


def _titles(known: dict[str, str]) -> list[Candidate]:
    last: defaultdict[str, list[str]] = defaultdict(list)
    for folded in known:
        if " " in folded:
            last[folded.rpartition(" ")[2]].append(folded)
    found = []
    for folded, name in known.items():
        title, _, rest = folded.partition(" ")
        if title.rstrip(".") not in TITLES or not rest:
            continue
        if rest in known:
            found.append(Candidate(name, known[rest], "the same with a title", 0.8, personal=True))
        longer = [other for other in last[rest] if other.partition(" ")[0].rstrip(".") not in TITLES]
        found += [
            Candidate(known[other], name, "a title and the last name", 0.6 / len(longer), personal=True)
            for other in longer
        ]
    return found


def _first_names(known: dict[str, str]) -> list[Candidate]:
    longer: defaultdict[str, list[str]] = defaultdict(list)
    for folded in known:
        first, _, rest = folded.partition(" ")
        if rest and first.rstrip(".") not in TITLES:
            longer[first].append(folded)
    return [
        Candidate(known[full], known[first], "the first of several names", 0.75 / len(fulls), personal=True)
        for first, fulls in longer.items()
        if first in known
        for full in fulls
    ]


def _short_forms(known: dict[str, str]) -> list[Candidate]:
    single = sorted(folded for folded in known if " " not in folded)
    found: list[Candidate] = []
    for place, short in enumerate(single):
        fulls = [_NICKNAMES[short]] if _NICKNAMES.get(short) in known else []
        if len(short) >= _LEAST_SHORT:
            for other in single[place + 1 :]:
                if not other.startswith(short):
                    break
                fulls.append(other)
        fulls = [full for full in fulls if not full.startswith((f"{short}'", f"{short}-"))]
        found += [
            Candidate(known[full], known[short], "a short form", 0.7 / len(fulls), personal=True) for full in fulls
        ]
    return found


def _initials(known: dict[str, str]) -> list[Candidate]:
    found = []
    for folded, name in known.items():
        words = [word for word in folded.split() if word not in ("of", "the", "and", "for")]
        letters = "".join(word[0] for word in words)
        if len(words) >= 3 and known.get(letters, "").isupper():
            found.append(Candidate(name, known[letters], "its first letters", 0.6))
    return found


def _plain(folded: str) -> str:
    decomposed = unicodedata.normalize("NFD", folded)
    return "".join(mark for mark in decomposed if mark.isalnum())
