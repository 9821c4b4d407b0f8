"""Whom and what a text names: capitalised names, with what the words around say of their kind.

A name is a run of capitalised words ("Anna Kowalski", "Museum of Modern Art"). The first word of a sentence is
capitalised whatever it is, so alone it counts only where the same Episode has it as a name elsewhere, or where a verb
follows that only somebody does ("Anna said"). The same text gives the same names in every namespace: nothing is looked
up. Names in lower case, and those of scripts without capitals, are not found.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from memory.ingest.sentences import sentences
from memory.ingest.words import (
    ADJECTIVES,
    NO_NAMES,
    ORGANISATION,
    PERSON,
    PLACE,
    PLURALS,
    ROLES,
    TITLES,
)

MAX_NAME = 80
"""Characters: a longer run of capitals is a heading."""

_UPPER = "A-Z\u00c0-\u00d6\u00d8-\u00de\u0100-\u017e\u0391-\u03a9\u0410-\u042f\u0401"
_TOKEN = rf"[{_UPPER}][\w&]*(?:[-'\u2019](?!s\b)\w+)*"
NAME = rf"(?:(?:Dr|Mr|Mrs|Ms|Prof|St)\. )?{_TOKEN}(?:(?: (?:of|de|la|del|von|van|der)(?: the)?)? {_TOKEN})*"
"""A pattern for a run of capitalised words; `named` says what of it is a name."""

_RUN = re.compile(rf"(?<![\w@#/]){NAME}")
_PIECE = re.compile(rf"(?:Dr|Mr|Mrs|Ms|Prof|St)\.|{_TOKEN}")
_DOES = re.compile(
    r"(?:['\u2019]s [a-z]| and I\b|(?: also| just| even| really)? (?:said|says|told|asked|thinks|wants|wanted|loves|"
    r"likes|lives|lived|works|worked|went|came|moved|called|texted|bought|married|plays|got|gave|took|met|invited|decided|helped|"
    r"knows|knew|turned|started|made|brought|sent|taught|showed|suggested)\b)"
)
_ORGANISATIONS = frozenset(
    "inc ltd llc gmbh corp company university college school hospital institute bank academy association foundation "
    "agency studio studios museum club committee department ministry".split()
)
_PLACES = frozenset(
    "street avenue road park lake river mount mountain island beach city valley bridge square bay falls canyon".split()
)
_BEFORE = re.compile(r"(\w+)(?: named| called|,)? $")
_IN = frozenset("in near".split())


@dataclass(frozen=True, slots=True)
class Named:
    """A name in a text: characters [start, end) of it. `kind` is empty where nothing says it."""

    name: str
    start: int
    end: int
    kind: str = ""


def names(text: str) -> list[Named]:
    """Every name in the text, in order, none overlapping another."""
    found: list[Named] = []
    doubtful: list[Named] = []
    seen: Counter[str] = Counter()
    for start, end in sentences(text):
        if text[start:end].isupper():  # shouted: capitals say nothing
            continue
        first = True
        for match in _RUN.finditer(text, start, end):
            opens = first and not _LETTER.search(text, start, match.start())
            first = False
            one = named(match[0], match.start())
            if one is None:
                continue
            alone = opens and one.start == match.start() and " " not in one.name
            if alone and not _DOES.match(text, one.end):
                doubtful.append(one)
                continue
            one = Named(one.name, one.start, one.end, _kind(text, start, one))
            found.append(one)
            seen[one.name] += 1
    words = {word for one in found for word in one.name.split()}
    found += [one for one in doubtful if one.name in words]
    return sorted(found, key=lambda one: one.start)


_JOINED = frozenset(
    "i we you he she it they my our the a and but so or if then when what how why who that this is".split()
)
_LETTER = re.compile(r"\w")
_APOSTROPHE = re.compile(r"['\u2019]")


def named(run: str, start: int = 0) -> Named | None:
    """What of a run of capitalised words is a name: without words that begin sentences, and adjectives of countries."""
    found = _named_in(run) if len(run) <= 2 * MAX_NAME else _read_name(run)
    return None if found is None else Named(found[0], start + found[1], start + found[2])


def _read_name(run: str) -> tuple[str, int, int] | None:
    """The name in a run, and where in it."""
    pieces = list(_PIECE.finditer(run))
    while pieces and _no_name(pieces[0][0], alone=len(pieces) == 1) and not (len(pieces) > 1 and pieces[0][0] == "New"):
        pieces.pop(0)
    while pieces and (pieces[-1][0].lower() in _JOINED or pieces[-1][0].endswith(".")):
        pieces.pop()
    if not pieces:
        return None
    first, last = pieces[0].start(), pieces[-1].end()
    name = run[first:last]
    if len(name) > MAX_NAME or len(name) < 2 or (len(pieces) == 1 and name.isupper() and len(name) > 6):
        return None
    return name, first, last


_named_in = lru_cache(maxsize=16_384)(_read_name)
"""Kept: the words that begin sentences are few, and whom one speaks of comes again."""


def _no_name(word: str, alone: bool) -> bool:
    lower = word.lower()
    if lower.endswith(".") and lower[:-1] in TITLES:
        return False
    head = _APOSTROPHE.split(lower, maxsplit=1)[0]
    return head in NO_NAMES or (alone and head in ADJECTIVES) or not word[0].isupper()


def _kind(text: str, start: int, one: Named) -> str:
    words = one.name.lower().split()
    if words[0].rstrip(".") in TITLES:
        return PERSON
    if not _ORGANISATIONS.isdisjoint(words):
        return ORGANISATION
    if not _PLACES.isdisjoint(words):
        return PLACE
    before = _BEFORE.search(text, max(start, one.start - 24), one.start)
    if before is not None:
        word = before[1].lower()
        role = ROLES.get(PLURALS.get(word, word))
        if role is not None:
            return role.kind
        if word in _IN:
            return PLACE
    return PERSON if _DOES.match(text, one.end) and not text.startswith(("'s", "\u2019s"), one.end) else ""
