"""Facts that sentences state outright, by the rules of `relation_rules`. First person is the speaker.

A sentence that asks, supposes, wishes or denies states nothing; so does what is in quotation marks, which somebody else
may have said. "He", "she" and "they" are not resolved. Two rules may read one sentence: "moved from Paris to Lyon"
ends one thing and begins another.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.clock import Micros, to_datetime
from core.ids import normalised_name
from core.nouns import Interval, Precision
from memory.ingest import calendar as cal
from memory.ingest.entities import NAME, named
from memory.ingest.relation_patterns import ANY_ROLE, ONE_ROLE, Pattern
from memory.ingest.relation_rules import RULES, RelationRule, When
from memory.ingest.sentences import words_of
from memory.ingest.words import PLURALS, ROLES

NEAR = 40
"""Characters between a statement and a date behind it that still belongs to it."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a sentence states, in characters [start, end) of the text. `entity` says that the object is a name."""

    rule: str
    subject: str
    relation: str
    object: str
    entity: bool
    valid: Interval
    retracted: bool
    trust: float
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Dating:
    """A date in a text, by characters."""

    start: int
    end: int
    interval: Interval


@dataclass(frozen=True, slots=True)
class Saying:
    """A sentence [start, end) of a text, who says it ("" for nobody known), when, and the dates of the text."""

    text: str
    start: int
    end: int
    speaker: str
    told_at: Micros
    timezone: str
    dates: Sequence[Dating] = ()


def stated(saying: Saying) -> list[Stated]:
    """All that the sentence states, in the order of the table of rules, then by place."""
    sentence = saying.text[saying.start : saying.end]
    words = words_of(sentence)
    wanted = {index for word in words & _BY_TRIGGER.keys() for index in _BY_TRIGGER[word]}
    if not wanted or _ASKS.search(sentence):
        return []
    return [
        one
        for index in sorted(wanted)
        for match in _READERS[index].compiled.finditer(saying.text, saying.start, saying.end)
        if not _doubtful(saying, match, _READERS[index].after)
        for one in _READERS[index].read(saying, match)
    ]


_ASKS = re.compile(r"\?[\"'”’)]*\s*$")
_HEDGE = re.compile(
    r"\b(?:if|wish|could|might|maybe|perhaps|imagine|suppose|pretend|dream(?:ed|t|ing)?|doubt|unless|whether|should|hope|"
    r"hoping|would|wonder|wondering|ask(?:ed|s)?|as though|rumou?rs?|almost|nearly|supposed to)\b|['’]d (?:love|like)",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"(?:n['’]t|\b(?:not|never|no longer|nobody|no one|neither|nor|without))\b[^.,;!]{0,40}$", re.IGNORECASE
)
# "The book I wrote", "a thing we love": what follows is no sentence of its own, and its object stands before it.
_RELATIVE = re.compile(
    r"\b(?:the|an?|those|these|any|every|all|some|things?|my|your) (?:[\w'’-]+ ){0,2}?"
    r"(?!(?:moment|end|time|day|week|weekend|month|year|morning|evening|night|summer|spring|winter|fall|autumn|meantime|past|"
    r"way|other|and|but|so|because|that|when|while|since|ago|then|also|now|so|as|before|after|where|until|well|too)\b)"
    r"[\w'’-]*[a-z]s? $|\bthings $"
)
_CLAUSE = re.compile(r"[;,:]|\b(?:and|but|because|so|while|when|which|who)\b")


def _doubtful(saying: Saying, match: re.Match[str], after: tuple[str, ...]) -> bool:
    """Whether what stands before the match makes it no statement; `after` which words, right before it, do."""
    before = saying.text[saying.start : match.start()]
    if _HEDGE.search(before) or _DENIAL.search(before):
        return True
    if before.rstrip().lower().endswith(after) or _RELATIVE.search(before):
        return True
    return before.count('"') % 2 == 1 or before.count("“") > before.count("”")


class _Statement:
    """A rule of the table, compiled."""

    after = (" of", " with", "what", "how")
    """Before these, a subject is part of something else: "a picture of Tom", "how I love it"."""

    def __init__(self, rule: RelationRule) -> None:
        self.triggers = rule.triggers.split()
        self._rule = rule
        self._pattern = Pattern(rule.pattern)
        self.compiled = self._pattern.compiled

    def read(self, saying: Saying, match: re.Match[str]) -> Iterator[Stated]:
        """The one Fact of a match, or none where a part of it means nobody or nothing."""
        rule = self._rule
        subject = _whom(self._said(match, "subject"), saying.speaker)
        date = _date_of(saying, match)
        said, entity = self._object(saying, match, date)
        if not subject or not said or normalised_name(subject) == normalised_name(said):
            return
        relation = rule.relation
        if relation == "favourite":
            relation = f"favourite_{_NO_WORD.sub('_', self._said(match, 'sort').lower())}"
        valid = _valid(rule.when, saying, date)
        ends = rule.when is When.ENDS
        yield Stated(
            rule.name, subject, relation, said, entity, valid, ends, rule.trust, match.start(), match.end()
        )  # fmt: skip

    def _object(self, saying: Saying, match: re.Match[str], date: Dating | None) -> tuple[str, bool]:
        start, end = self._pattern.span(match, "object")
        if self._pattern.has("date"):
            return _calendar_words(saying, match.end(), self._rule.relation), False
        if start == end:  # "a cat", with no name
            noun = self._said(match, "sort")
            return PLURALS.get(noun, noun), False
        if date is not None and date.start < end and start < date.end:
            end = max(start, date.start)
        said, entity = _what(saying.text[start:end])
        return said, entity and not self._rule.literal

    def _said(self, match: re.Match[str], group: str) -> str:
        start, end = self._pattern.span(match, group)
        return match.string[start:end]


class _Role:
    """Whose what a name is: "my sister Anna", "our dog is called Bruno", "Bruno, our old van"."""

    after: tuple[str, ...] = ()
    triggers = (*ROLES, *PLURALS)
    _OWNER = rf"(?<![\w'’-])(?P<owner>[Mm]y|[Oo]ur|{NAME}['’]s)"
    _ROLE = rf"(?:[a-z]+ )?(?P<role>{ANY_ROLE})"
    _CALLED = r"(?: (?:is|was|are|were) (?:named|called)|['’]s name is|['’]s names are| named| called)?"
    _pattern = Pattern(
        rf"{_OWNER} {_ROLE}{_CALLED} (?P<name>{{NAME}})(?: and (?P<other>{{NAME}}))?|"
        rf"{_OWNER} {_ROLE}, (?P<name>{{NAME}}),(?= [a-z])|"
        rf"(?<![\w'’-])(?P<name>{{NAME}}), (?P<owner>[Mm]y|[Oo]ur) {_ROLE}(?=[,.!;]|$)|"
        rf"(?<![\w'’-])(?P<name>{{NAME}})(?: is|['’]s) (?P<owner>my|our|{{NAME}}['’]s) {_ROLE}(?=[,.!;]| and|$)"
    )
    compiled = _pattern.compiled

    def read(self, saying: Saying, match: re.Match[str]) -> Iterator[Stated]:
        """One Fact for each name, and what it is where the noun says more than the relation."""
        owner, noun, *runs = (self._said(match, group) for group in ("owner", "role", "name", "other"))
        one_noun = PLURALS.get(noun, noun)
        role, whose = ROLES[one_noun], _whom(owner, saying.speaker)
        valid = Interval() if role.lasting else Interval(saying.told_at)
        for run in runs if noun in PLURALS else runs[:1]:
            one = named(run)
            if one is None or one.start or not whose or normalised_name(whose) == normalised_name(one.name):
                continue
            place = (match.start(), match.end())
            yield Stated(f"my {one_noun}", whose, role.relation, one.name, True, valid, False, 0.8, *place)
            if role.sort:
                yield Stated(f"my {one_noun}", one.name, "is_a", one_noun, False, Interval(), False, 0.8, *place)

    def _said(self, match: re.Match[str], group: str) -> str:
        start, end = self._pattern.span(match, group)
        return match.string[start:end]


_NO_WORD = re.compile(r"\W+")
_POSSESSIVE = re.compile(rf"({NAME})['’]s(?: |$)")
_ROLE_NAME = re.compile(rf"(?:[a-z]+ )?({ONE_ROLE})(?:,? ({NAME}),?)?$")
_ARTICLE = re.compile(r"^(?:an?|the|my|our|some|this|these|another) ")
_TAIL = re.compile(
    r"(?: (?:of|for|to|in|on|at|with|from|by|an?|the|my|our|some|about|into|over|up|out|down|around|really|much))+$"
)
_POINTS_BACK = re.compile(r"\b(?:it|them|him|that|those|these|this|you|your|there|everyone|something|anything|one)\b")
_NO_OBJECT = frozenset(
    """
    all any anything bit both bunch couple day days everything feeling few first her here him his how idea ideas
    it kind lot lots many me mine more most much nothing number one ones part same some someone something sort
    stuff such that their them there these thing things this those time times ton tons us way ways what you your
    yours
    """.split()
)
_NO_WHOLE = frozenset("home make take put use find bring turn share show give caring work".split())
"""What says little by itself, and something with more words: "make dinner"."""


def _whom(said: str, speaker: str) -> str:
    """The Entity that a subject means; empty where nobody is known."""
    first, _, rest = said.partition(" ")
    if first in ("I", "We", "we", "My", "my", "Our", "our"):
        return _of_role(rest, speaker) if rest else speaker
    possessive = _POSSESSIVE.match(said)
    one = named(possessive[1] if possessive else said)
    if one is None or one.start:
        return ""
    rest = said[possessive.end() :] if possessive else ""
    return _of_role(rest, one.name) if rest else one.name


def _of_role(said: str, owner: str) -> str:
    """Whoever has the role: "sister Anna" is Anna; a "sister" without a name is her owner's."""
    match = _ROLE_NAME.match(said)
    if match is None:
        return ""
    one = named(match[2]) if match[2] else None
    if one is not None:
        return one.name
    return f"{owner}'s {match[1]}" if owner else ""


def _what(said: str) -> tuple[str, bool]:
    """The object, and whether it is a name; empty where it says nothing by itself."""
    said = said.strip(" ,-'’")
    if said[:1] in ('"', "“"):
        return said.strip('"“”.,! '), True
    bare = _TAIL.sub("", _ARTICLE.sub("", said))
    if not bare or (len(bare) == 1 and not bare.isdigit()):
        return "", False
    first, _, rest = bare.lower().partition(" ")
    if first in _NO_OBJECT or (not rest and first in _NO_WHOLE):
        return "", False
    if _POINTS_BACK.search(bare) or bare.endswith("ly"):
        return "", False
    one = named(bare)
    if one is not None and (one.start, one.end) == (0, len(bare)):
        return one.name, True
    return bare, False


# Time


def _date_of(saying: Saying, match: re.Match[str]) -> Dating | None:
    """The date that goes with a match: in it, shortly behind it, or right before it; none beyond a clause."""
    before = None
    for one in saying.dates:
        if one.start >= match.start():
            gap = saying.text[match.end() : one.start]  # empty where the date is within
            if one.end <= saying.end and len(gap) <= NEAR and not _CLAUSE.search(gap):
                return one
        elif one.start >= saying.start and not saying.text[one.end : match.start()].strip(" ,"):
            before = one
    return before


def _valid(when: When, saying: Saying, date: Dating | None) -> Interval:
    told, held = saying.told_at, None if date is None else date.interval
    if when is When.ALWAYS:
        return Interval()
    if when is When.EVENT:
        return held or _day_told(saying)
    if when is When.PAST:
        return held or Interval(end=told)
    if when is When.PLAN:
        return Interval(told) if held is None or held.end is None or held.end <= told else replace(held, start=told)
    if held is None or held.start is None or (when is When.STATE and held.start > told):
        return Interval(told)
    return replace(held, end=None)


def _day_told(saying: Saying) -> Interval:
    zone = cal.zone_of(saying.timezone)
    try:
        return cal.interval(cal.day(cal.local_day(saying.told_at, zone)), "", saying.timezone)
    except OverflowError:  # at the ends of the calendar
        return Interval(saying.told_at)


def _calendar_words(saying: Saying, at: int, relation: str) -> str:
    """The date that begins at a place, as ISO 8601 says it, as far as it is known; a birthday has no year."""
    for one in saying.dates:
        start, precision = one.interval.start, one.interval.precision
        if one.start <= at < one.end and start is not None:
            day = to_datetime(start).astimezone(cal.zone_of(saying.timezone)).date().isoformat()
            if relation == "birthday":
                return day[5:] if precision is Precision.DAY else ""
            return day[: {Precision.YEAR: 4, Precision.MONTH: 7}.get(precision, 10)]
    return ""


_READERS: tuple[_Statement | _Role, ...] = (*(_Statement(rule) for rule in RULES), _Role())
_BY_TRIGGER: defaultdict[str, list[int]] = defaultdict(list)
for _index, _reader in enumerate(_READERS):
    for _word in _reader.triggers:
        _BY_TRIGGER[_word].append(_index)
