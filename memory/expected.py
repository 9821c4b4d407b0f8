"""What kind of answer a question asks for: a time, an amount or a name, or several; and whether a text holds one.

Rules of thumb over English words. "When did you move?" is answered by a turn that says "last weekend", and not by
"Moving is hard"; "Which city did you move to?" by one that names something. "Which instruments does she play?" is
answered by many turns, far from one another. A question of another kind or language asks for none of these, and then
nothing is preferred. They do not read: the time found need not be of what was asked, and who asks for several may get
one.
"""

from __future__ import annotations

import re
from collections.abc import Collection

_ASKS = re.compile(
    r"""\b(?:
        when | how\ (?:many|much|old|long|often|far|tall|late|early) | (?:what|which)\ (?:time|date|day|month|year)
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ASKS_NAME = re.compile(
    r"""
        ^\s*(?:(?:in|from|to|at)\ )?(?:where|who|whom|whose)\b
      | \b(?:what|which)\ (?:(?!(?:did|do|does|is|are|was|were|has|have|had|can|could|will|would)\b)\w+\ ){0,2}?(?:
            city|cities|country|countries|places?|states?|locations?|towns?|areas?|persons?|people|teams?|company|companies
          | brands?|books?|series|movies?|films?|shows?|games?|songs?|bands?|artists?|authors?|names?|nicknames?
        )\b
      | ^\s*(?:what|which)\b.*\b(?:names?|called|named|titles?)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A word with a capital where no sentence begins, or where a quotation does.
_WITHIN = re.compile(r"""[A-Z](?:(?<=[,:;][ ].)|(?<=[^\W\d_][ ].)(?<![A-Z][ ].)|(?<=["\u201c].))\w+""")
_AMOUNTS = frozenset(
    """
    one two three four five six seven eight nine ten eleven twelve dozen hundred thousand half once twice
    yesterday today tonight tomorrow ago last next since until morning evening
    week weeks weekend weekends month months year years day days hour hours
    monday tuesday wednesday thursday friday saturday sunday
    january february march april june july august september october november december
    """.split()
)
_DIGIT, _WORD = re.compile(r"\d"), re.compile(r"\w+")
_NO_PLURAL = frozenset({"always", "does", "has", "his", "its", "perhaps", "this", "was", "yes"})
_PLURAL = re.compile(r"[a-z]{2,}(?:[^\Wsu]s|ies)|people|children|men|women")
_NOUN_PHRASE = re.compile(
    r"\s*(?:in )?(?:what|which)(?: (?:kind|type|sort|genre)s? of)?((?: [\w'-]+){1,3})", re.IGNORECASE
)
_AUXILIARY = frozenset({"do", "does", "did", "is", "are", "was", "were", "has", "have", "had", "can", "could", "will"})
_SEVERAL = re.compile(
    r"""
        \bhow\ (?:many|often)\b | \b(?:both|different|hobbies|activities)\b | \bin\ common\b
      | \b(?:kinds|types|sorts|ways)\ (?:of|to)\b
      # "What are ...", "Who were ...": more than one
      | ^\s*(?:what|who|which|where)(?:'re|\ are|\ were)\b
      # "Where has she been?", "What has he painted?": all of it up to now
      | ^\s*(?:what|who|which|where)\b.*\b(?:has|have)\b(?!\ to\b).*\b\w+(?:ed|en|ne|ent|own|ade|ead|ought|et|un)\b
      # "What does she like to do?": what is so again and again
      | ^\s*what\ (?:do|does)\ (?!.*\bha(?:ve|s)\ to\b)
        .*\b(?:do|like|enjoy|love|prefer|hate|collect|own|play|read|watch|cook|grow|make)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def asks_for_amount(question: str) -> bool:
    """Whether the question asks when, or how many, how long and the like."""
    return _ASKS.search(question) is not None


def holds_amount(text: str) -> bool:
    """Whether the text names a number, a date or a time."""
    return _DIGIT.search(text) is not None or not _AMOUNTS.isdisjoint(_WORD.findall(text.lower()))


def asks_for_name(question: str) -> bool:
    """Whether the question asks who or where, or for what has a name: a book, a city, a team."""
    return _ASKS_NAME.search(question) is not None


def holds_name(text: str, known: Collection[str]) -> bool:
    """Whether the text names somebody or something besides those known: the speakers, who address one another."""
    return any(match[0] not in known for match in _WITHIN.finditer(text))


def asks_for_several(question: str) -> bool:
    """Whether the question asks for several things, or for one thing in all its forms: the evidence is spread then."""
    if _SEVERAL.search(question):
        return True
    phrase = _NOUN_PHRASE.match(question)
    for word in phrase[1].lower().split() if phrase else ():
        if word in _AUXILIARY:
            return False
        if _PLURAL.fullmatch(word) and word not in _NO_PLURAL:
            return True
    return False
