"""The parts that patterns of relations are made of, and how they become one regular expression.

- `{S}` is who is spoken of: I, we, a name, "my sister", "my sister Anna", "Anna's brother".
- `{I}` is the first person alone.
- `{N}` is a name and `{O}` a name or a few words; they become the object. `{F}` is a name that does not.
- `{V}` is what somebody does: a verb and what belongs to it; `{DOING}` the same with a verb in -ing.
- `{WORDS}` are some words, `{QUOTED}` is a quotation; `{END}` says that the words before it are a whole.
- `{PET}` is an animal that people keep, `{DATE}` the place where a date has to be.
- `{ADV}` stands for adverbs that change nothing, `{BE}` for the present of "to be", `{HAVE}` for an auxiliary, if any.

Patterns know capitals: a name is a run of capitalised words.
"""

from __future__ import annotations

import re
from collections import Counter

from memory.ingest.entities import NAME
from memory.ingest.words import ANIMAL, PLURALS, ROLES

ONE_ROLE = "|".join(sorted(ROLES, key=len, reverse=True))
ANY_ROLE = "|".join(sorted([*ROLES, *PLURALS], key=len, reverse=True))

_PETS = "|".join(noun for noun in [*ROLES, *PLURALS] if ROLES[PLURALS.get(noun, noun)].kind == ANIMAL)
# Where a run of words ends that is an object: what follows says more of the sentence, not of the thing.
_STOP = "|".join(
    """
    a an the my our and but because so when while which who that since for with at in on to from as if last this next
    yesterday today tomorrow tonight too also now right lately recently either any anymore is are was were it I we he
    she they you by after before during or though although where how just about over around then ago again together
    until without like more than every through back out up whenever even ever not have has had really here there into
    off would will can cause cuz bc lol haha via near between towards along myself ourselves him her them me us soon
    """.split()
)
# The same for what somebody does, which goes on over prepositions.
_HALT = "|".join(
    """
    and but because so when while which who that since if last this next yesterday today tomorrow tonight too also now
    right lately recently either anymore is are was were I we he she they as or though although where how just ago
    again until like more than whenever even cause cuz bc lol haha soon will would can could
    """.split()
)
_WORD = rf"(?!(?:{_STOP})\b)[\w&][\w'’&-]*"
_WORDS = rf"{_WORD}(?:(?: of(?: the| a| my| our)?)? {_WORD}){{0,5}}"
_ON = rf"(?: (?!(?:{_HALT})\b)[\w&][\w'’&-]*){{0,8}}"
# What says little without what was said before it.
_VAGUE = "be|have|do|get|see|keep|stay|need|try|check|give|let|miss|love|like|want|continue|rock|make it|say|tell|think"
_VAGUE_DOING = (
    "feeling|thinking|going|getting|doing|making|having|being|seeing|looking|saying|trying|hearing|knowing|holding|"
    "watching|coming|putting|bringing|giving|letting|working"
)
_QUOTED = r"[\"“][^\"”\n]{2,60}[\"”]"
_ADVERBS = "|".join(
    """
    just also still already really actually now currently recently finally absolutely totally truly always especially
    both all even usually definitely so mostly mainly honestly genuinely
    """.split()
)
_PARTS = {
    "{S}": r"(?<![\w'’-])(?P<subject>I|[Ww]e|"
           rf"(?:[Mm]y|[Oo]ur|{NAME}['’]s) (?:[a-z]+ )?(?:{ONE_ROLE})(?:,? {NAME},?)?|{NAME})",
    "{N}": rf"(?:the |a |an )?(?P<object>{NAME})",
    "{F}": rf"(?:the )?{NAME}",
    "{I}": r"(?<![\w'’-])(?P<subject>I|[Ww]e)",
    "{O}": rf"(?!(?:{_VAGUE_DOING})\b)(?P<object>{_QUOTED}|(?:(?:an?|the|my|our|some|his|her|their) )?{_WORDS})",
    "{V}": rf"(?P<object>(?!(?:{_VAGUE})\b)[a-z]+{_ON})",
    "{DOING}": rf"(?P<object>(?!(?:{_VAGUE_DOING})\b)[a-z]+ing\b{_ON})",
    "{ADV}": rf"(?:,? (?:{_ADVERBS}))*",
    "{BE}": r"(?:['’]m|['’]re|['’]s| am| are| is)",
    "{HAVE}": r"(?:['’]ve|['’]s| have| has|['’]d| had)?",
    "{NAME}": NAME,
    "{WORDS}": _WORDS,
    "{QUOTED}": _QUOTED,
    "{PET}": rf"(?P<sort>{_PETS})\b",
    "{END}": rf"(?=[.,!;:)]|\s*$| (?:{_STOP}|called|named)\b)",
    "{DATE}": r"(?P<date>(?:on |in )?(?:the )?)(?=\w)",
}  # fmt: skip


class Pattern:
    """A regular expression that may name a group several times; of one name, one takes part in a match."""

    def __init__(self, pattern: str) -> None:
        for part, meaning in _PARTS.items():
            pattern = pattern.replace(part, meaning)
        counts: Counter[str] = Counter()

        def numbered(match: re.Match[str]) -> str:
            counts[match[1]] += 1
            return f"(?P<{match[1]}_{counts[match[1]]}>"

        self.compiled = re.compile(re.sub(r"\(\?P<(\w+)>", numbered, pattern))
        self._groups = {name: [f"{name}_{n + 1}" for n in range(count)] for name, count in counts.items()}

    def has(self, group: str) -> bool:
        """Whether the pattern names it."""
        return group in self._groups

    def span(self, match: re.Match[str], group: str) -> tuple[int, int]:
        """Where the group is in the text; an empty stretch at the match's begin where it takes no part."""
        for one in self._groups.get(group, ()):
            if match[one] is not None:
                return match.span(one)
        return match.start(), match.start()
