"""Everyday English sentences by a grammar and a seed: the data of the codec, which are the project's own.

A sentence is about people, places, times, numbers and deeds: statements, questions, requests, small talk; in several
tenses, with subordinate and coordinate clauses, quotations and lists, up to `MOST_CHARACTERS`. They are grammatical and
need not make sense. `held_out` splits by the hash of the text, so that no sentence is on both sides, whatever the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence

from perception.codec import lexicon as words
from perception.codec.lexicon import Verb

MOST_CHARACTERS = 110
_HELD_OUT_SHARE = 50
"""One sentence in so many is held out."""
_NUMBERS = (
    "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty forty fifty hundred".split()
)
_PLURAL_EXCEPTIONS = {"knife": "knives", "leaf": "leaves", "shelf": "shelves", "scarf": "scarves", "loaf": "loaves"}
_PERIODS = (*words.WEEKDAYS, *words.SEASONS, "week", "month", "year")
_HABITS = (*words.WEEKDAYS, "day", "morning", "evening", "week", "month", "summer")
_VOWEL_SOUNDS, _NO_VOWEL_SOUNDS = ("hour", "honest", "unus"), ("unif", "univ", "use", "usu", "unu", "eu")


def held_out(text: str) -> bool:
    """Whether a sentence is set aside for tests: a property of its text."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") % _HELD_OUT_SHARE == 0


class Grammar:
    """Draws sentences. The same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def sentence(self) -> str:
        """One sentence of at most `MOST_CHARACTERS`."""
        while True:
            text = self._random.choices(_KINDS, _WEIGHTS)[0](self)
            text = text[0].upper() + text[1:]
            if len(text) <= MOST_CHARACTERS:
                return text

    def sentences(self, count: int, *, held: bool = False) -> list[str]:
        """Distinct sentences, in the order drawn: those held out, or those that are not."""
        found: dict[str, None] = {}
        while len(found) < count:
            text = self.sentence()
            if held_out(text) == held:
                found[text] = None
        return list(found)

    # Noun phrases.

    def _pick(self, options: Sequence[str]) -> str:
        return self._random.choice(options)

    def _verb(self, options: Sequence[Verb]) -> Verb:
        return self._random.choice(options)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def person(self) -> str:
        draw = self._random.random()
        if draw < 0.5:
            return self._pick(words.FIRST_NAMES)
        if draw < 0.6:
            return f"{self._pick(words.FIRST_NAMES)} {self._pick(words.SURNAMES)}"
        if draw < 0.67:
            return f"{self._pick(('Mr', 'Mrs', 'Ms', 'Dr'))} {self._pick(words.SURNAMES)}"
        if draw < 0.8:
            return f"{self._pick(('my', 'your', 'his', 'her', 'our', 'their'))} {self._pick(words.ROLES)}"
        if draw < 0.93:
            return f"the {self._pick(words.ROLES)}"
        return f"{self._pick(words.FIRST_NAMES)}'s {self._pick(words.FAMILY)}"

    def subject(self) -> tuple[str, bool, bool]:
        """A subject; whether it takes the verb's third person; whether it is "I"."""
        draw = self._random.random()
        if draw < 0.2:
            return "I", False, True
        if draw < 0.26:
            return "we", False, False
        if draw < 0.31:
            return "they", False, False
        if draw < 0.44:
            return self._pick(("he", "she")), True, False
        if draw < 0.5:
            return f"{self.name()} and {self._pick(('I', self.name()))}", False, False
        return self.person(), True, False

    def name(self) -> str:
        return self._pick(words.FIRST_NAMES)

    def whom(self) -> str:
        if self._chance(0.25):
            return self._pick(("me", "him", "her", "us", "them", "you", "everyone", "nobody"))
        return self.person()

    def thing(self) -> str:
        draw = self._random.random()
        noun = self._pick(words.THINGS)
        if draw < 0.15:
            return f"{self.number()} {plural(noun)}"
        described = f"{self._pick(words.ADJECTIVES if self._chance(0.6) else words.COLOURS)} {noun}"
        noun = described if self._chance(0.45) else noun
        if draw < 0.45:
            return f"the {noun}"
        if draw < 0.7:
            return f"{article(noun)} {noun}"
        if draw < 0.9:
            return f"{self._pick(('my', 'your', 'his', 'her', 'our', 'their'))} {noun}"
        return f"{self.name()}'s {noun}"

    def animal(self) -> str:
        noun = self._pick(words.ANIMALS)
        if self._chance(0.3):
            noun = f"{self._pick(words.ADJECTIVES if self._chance(0.5) else words.COLOURS)} {noun}"
        return self._pick((f"the {noun}", f"{article(noun)} {noun}", f"my {noun}", f"{self.name()}'s {noun}"))

    def food(self) -> str:
        first = self._pick(words.FOODS)
        return (
            f"{first} and {self._pick(words.FOODS)}" if self._chance(0.3) else self._pick(("some ", "the ", "")) + first
        )

    def number(self) -> str:
        return self._pick(_NUMBERS) if self._chance(0.6) else str(self._random.randint(2, 999))

    def place(self) -> str:
        draw = self._random.random()
        if draw < 0.3:
            return f"in {self._pick(words.CITIES)}"
        if draw < 0.38:
            return f"in {self._pick(words.COUNTRIES)}"
        spot = self._pick(words.PLACES)
        if self._chance(0.25):
            spot = f"{self._pick(words.ADJECTIVES)} {spot}"
        if draw < 0.8:
            return f"{self._pick(('at', 'in', 'near', 'behind', 'outside', 'by'))} the {spot}"
        return f"{self._pick(('under', 'next to', 'beside', 'on', 'in', 'behind'))} the {self._pick(words.THINGS)}"

    def goal(self) -> str:
        draw = self._random.random()
        if draw < 0.45:
            return f"to {self._pick(words.CITIES)}"
        if draw < 0.55:
            return f"to {self._pick(words.COUNTRIES)}"
        return f"to the {self._pick(words.PLACES)}"

    # Times.

    def clock(self) -> str:
        draw = self._random.random()
        if draw < 0.4:
            return f"at {self._random.randint(1, 23)}:{self._random.randint(0, 59):02}"
        if draw < 0.7:
            return f"at {self._pick(_NUMBERS[:11])} o'clock"
        return f"at {self._pick(('half past', 'quarter past', 'quarter to'))} {self._pick(_NUMBERS[:11])}"

    def date(self) -> str:
        draw = self._random.random()
        day, month, year = self._random.randint(1, 28), self._pick(words.MONTHS), self._random.randint(1900, 2029)
        if draw < 0.3:
            return f"on {day} {month} {year}"
        if draw < 0.55:
            return f"on {day} {month}"
        if draw < 0.7:
            return f"in {month} {year}"
        return f"in {self._pick((month, str(year)))}"

    def past_time(self) -> str:
        return self._random.choice(
            (
                self.date, self.clock, lambda: f"last {self._pick(_PERIODS)}",
                lambda: "yesterday", lambda: f"on {self._pick(words.WEEKDAYS)}", lambda: "this morning",
                lambda: f"{self.number()} {self._pick(('minutes', 'hours', 'days', 'weeks', 'months', 'years'))} ago",
                lambda: f"before the {self._pick(words.EVENTS)}", lambda: f"after the {self._pick(words.EVENTS)}",
                lambda: f"during the {self._pick(words.EVENTS)}",
            )
        )()  # fmt: skip

    def future_time(self) -> str:
        return self._random.choice(
            (
                self.date, self.clock, lambda: f"next {self._pick(_PERIODS)}",
                lambda: "tomorrow", lambda: "tonight", lambda: f"on {self._pick(words.WEEKDAYS)}", lambda: "soon",
                lambda: f"in {self.number()} {self._pick(('minutes', 'hours', 'days', 'weeks', 'months', 'years'))}",
            )
        )()  # fmt: skip

    def habit_time(self) -> str:
        return self._random.choice(
            (
                lambda: f"every {self._pick(_HABITS)}",
                lambda: f"on {self._pick(words.WEEKDAYS)}s", lambda: f"in {self._pick(words.SEASONS)}",
                lambda: "twice a week", lambda: "once a year", lambda: "at night", lambda: "after work",
            )
        )()  # fmt: skip

    # Verb phrases, as a verb and what follows it.

    def deed(self) -> tuple[Verb, str]:
        draw = self._random.random()
        if draw < 0.38:
            return self._verb(words.TRANSITIVE), self.thing()
        if draw < 0.58:
            return self._verb(words.ON_PEOPLE), self.whom()
        if draw < 0.66:
            return self._verb(words.ON_FOOD), self.food()
        if draw < 0.72:
            return self._verb(words.ON_ANIMALS), self.animal()
        if draw < 0.84:
            return self._verb(words.INTRANSITIVE), self._pick(("", self.place(), f"with {self.whom()}"))
        if draw < 0.91:
            how = " " + self._pick(words.TRANSPORT) if self._chance(0.5) else ""
            return words.verb(self._pick(("go", "travel", "walk", "drive"))), self.goal() + how
        if draw < 0.94:
            return words.verb("play"), self._pick((f"the {self._pick(words.INSTRUMENTS)}", self._pick(words.GAMES)))
        if draw < 0.97:
            return words.verb(self._pick(("learn", "teach", "study"))), self._pick(
                (*words.SUBJECTS_TAUGHT, *words.LANGUAGES)
            )
        return words.verb("give"), f"{self.whom()} {self.thing()}"

    def past_clause(self) -> str:
        who, _, _ = self.subject()
        verb, rest = self.deed()
        return joined(who, verb.past, rest)

    def plain_deed(self) -> str:
        verb, rest = self.deed()
        return joined(verb.base, rest)

    # Kinds of sentences.

    def told(self) -> str:
        who, _, _ = self.subject()
        verb, rest = self.deed()
        adverb = self._pick(words.ADVERBS) if self._chance(0.2) else ""
        body = joined(who, adverb, verb.past, rest, self.place() if self._chance(0.25) else "")
        if self._chance(0.3):
            time = self.past_time()
            return f"{time[0].upper()}{time[1:]} {body}." if self._chance(0.3) else f"{body} {time}."
        return f"{self._pick(words.OPENERS)} {body}." if self._chance(0.15) else f"{body}."

    def habit(self) -> str:
        who, third, _ = self.subject()
        verb, rest = self.deed()
        adverb = self._pick(("always", "often", "never", "sometimes", "usually", "rarely")) if self._chance(0.4) else ""
        if self._chance(0.2):
            return joined(who, "doesn't" if third else "don't", verb.base, rest, self.habit_time()) + "."
        return joined(who, adverb, verb.third if third else verb.base, rest, self.habit_time()) + "."

    def plan(self) -> str:
        who, third, first = self.subject()
        verb, rest = self.deed()
        be = "am" if first else "is" if third else "are"
        how = self._pick(("will", "won't", "must", "might", "can't", "should", "wants to", "going to", "would like to"))
        if how == "wants to":
            wanting = self._verb(words.WANTING)
            how = f"{wanting.third if third else wanting.base} to"
        elif how == "going to":
            how = f"{be} going to"
        return joined(who, how, verb.base, rest, self.future_time() if self._chance(0.5) else "") + "."

    def perfect(self) -> str:
        who, third, _ = self.subject()
        verb, rest = self.deed()
        have = "has" if third else "have"
        how = self._pick(("just", "already", "never", "not", ""))
        since = f"since {self._pick((*words.MONTHS, *words.WEEKDAYS, str(self._random.randint(1950, 2029))))}"
        return joined(who, have, how, verb.participle, rest, since if self._chance(0.25) else "") + "."

    def now(self) -> str:
        who, third, first = self.subject()
        verb, rest = self.deed()
        be = self._pick(("am" if first else "is" if third else "are", "was" if third or first else "were"))
        return joined(who, be, verb.gerund, rest, self.clock() if self._chance(0.2) else "") + "."

    def being(self) -> str:
        draw = self._random.random()
        if draw < 0.3:
            who, third, first = self.subject()
            be = self._pick(("am" if first else "is" if third else "are", "was" if third or first else "were"))
            return joined(who, be, self._pick(("", "very", "not", "too", "a little")), self._pick(words.MOODS)) + "."
        if draw < 0.5:
            thing = f"{self._pick(('the', 'my', 'this', 'that', 'your'))} {self._pick(words.THINGS)}"
            adjective = self._pick((*words.ADJECTIVES, *words.COLOURS))
            return (
                joined(thing, self._pick(("is", "was", "looks", "seems")), self._pick(("", "very", "too")), adjective)
                + "."
            )
        if draw < 0.65:
            return f"{self.person()} is {self._pick(('in', 'from'))} {self._pick(words.CITIES)}."
        if draw < 0.8:
            role = self._pick(words.ROLES)
            return f"{self.person()} is {article(role)} {role} {self.place()}."
        if draw < 0.9:
            return f"{self.thing()} {self._pick(('is', 'was'))} {self.place()}."
        adjective = self._pick(words.ADJECTIVES)
        found = f"{article(adjective)} {adjective} {self._pick(words.THINGS)}"
        return f"there {self._pick(('is', 'was'))} {found} {self.place()}."

    def asked(self) -> str:
        verb, rest = self.deed()
        who, third, _ = self.subject()
        who = "you" if who == "I" else who
        draw = self._random.random()
        if draw < 0.2:
            return joined("did", who, verb.base, rest, self.past_time() if self._chance(0.4) else "") + "?"
        if draw < 0.35:
            return joined(self._pick(("can", "could", "will", "would", "should")), who, verb.base, rest) + "?"
        if draw < 0.6:
            which = self._pick(("why", "when", "where", "how"))
            return joined(which, "did" if self._chance(0.6) else "does" if third else "do", who, verb.base, rest) + "?"
        if draw < 0.7:
            return joined("who", verb.past, rest) + "?"
        if draw < 0.8:
            return f"where {self._pick(('is', 'was'))} {self.thing()}?"
        if draw < 0.9:
            return f"how many {plural(self._pick(words.THINGS))} {self._pick(('are', 'were'))} there {self.place()}?"
        return f"what {'does' if third else 'do'} {who} think about {self._pick(words.SUBJECTS)}?"

    def request(self) -> str:
        start = self._pick(("please", "don't", "let's", "", "never", f"{self.name()}, please"))
        return joined(start, self.plain_deed(), self.future_time() if self._chance(0.25) else "") + self._pick(
            (".", ".", "!")
        )

    def joined_clauses(self) -> str:
        link = self._pick(
            ("because", "but", "and", "so", "while", "when", "after", "before", "although", "until", "or")
        )
        comma = "," if link in ("but", "so", "although") else ""
        if self._chance(0.25) and link in ("because", "while", "when", "after", "before", "although"):
            return f"{link} {self.past_clause()}, {self.past_clause()}."
        more = self._random.choice((self.place, self.past_time))() if self._chance(0.6) else ""
        return joined(f"{self.past_clause()}{comma}", link, self.past_clause(), more) + "."

    def condition(self) -> str:
        who, third, _ = self.subject()
        verb, rest = self.deed()
        other, _, _ = self.subject()
        return f"if {joined(who, verb.third if third else verb.base, rest)}, {other} will {self.plain_deed()}."

    def reported(self) -> str:
        who, _, _ = self.subject()
        verb = self._verb(words.SAYING)
        return f"{who} {verb.past} {self._pick(('that ', ''))}{self.past_clause()}."

    def quoted(self) -> str:
        said = self._random.choice((self.plan, self.being, self.told))().rstrip(".")
        said = said[0].upper() + said[1:]
        if self._chance(0.5):
            return f'"{said}," said {self.person()}.'
        return f'{self.person()} said: "{said}."'

    def relative(self) -> str:
        verb, rest = self.deed()
        then, after = self.deed()
        return joined("the", self._pick(words.ROLES), "who", verb.past, rest, then.past, after) + "."

    def numbers(self) -> str:
        thing, price = self._pick(words.THINGS), self._random
        means, ordinal = ("train", "bus", "plane", "ferry"), ("first", "second", "third", "fourth")
        return self._random.choice(
            (
                lambda: f"{self.thing()} costs {price.randint(1, 999)} {self._pick(('euros', 'dollars', 'pounds'))}.",
                lambda: f"{self.person()} is {price.randint(1, 99)} years old.",
                lambda: f"{self.name()} bought {self.number()} {plural(thing)} for {price.randint(2, 500)} euros.",
                lambda: f"the {self._pick(words.EVENTS)} starts {self.clock()} {self.date()}.",
                lambda: f"{self.person()} was born {self.date()} in {self._pick(words.CITIES)}.",
                lambda: f"call {self.name()} on {price.randint(100, 999)} {price.randint(1000, 9999)}.",
                lambda: f"we have {self.number()} {self._pick(words.UNITS)} of {self._pick(words.FOODS)} left.",
                lambda: f"the {self._pick(means)} to {self._pick(words.CITIES)} leaves {self.clock()}.",
                lambda: f"it is {price.randint(2, 900)} kilometres "
                f"from {self._pick(words.CITIES)} to {self._pick(words.CITIES)}.",
                lambda: f"room {price.randint(1, 499)} is on the {self._pick(ordinal)} floor.",
            )
        )()  # fmt: skip

    def weather(self) -> str:
        when = self._pick(("all day", "all night", self.past_time(), f"in {self._pick(words.CITIES)}"))
        return f"{self._pick(words.WEATHER)} {when}."

    def talk(self) -> str:
        greeting = self._pick(words.GREETINGS)
        well = ("are you", f"is your {self._pick(words.FAMILY)}")
        sure, nice = (
            ("thanks", "I think", "to be honest", "as always"),
            ("lovely", "nice", "funny", "strange", "pretty"),
        )
        return self._random.choice(
            (
                lambda: f"{greeting}, {self.name()}!",
                lambda: f"{greeting}, {self.name()}, how {self._pick(well)}?",
                lambda: f"I'm {self._pick(words.MOODS)}, {self._pick(sure)}.",
                lambda: f"my name is {self.name()} and I'm from {self._pick(words.CITIES)}.",
                lambda: f"no, that's {self._pick(('my', 'his', 'her', 'your'))} {self._pick(words.THINGS)}.",
                lambda: f"yes, I {self._verb(words.TRANSITIVE).past} it {self.past_time()}.",
                lambda: f"what a {self._pick(nice)} {self._pick(words.THINGS)}!",
                lambda: f"I don't know {self._pick(('where', 'why', 'when', 'whether'))} {self.past_clause()}.",
                lambda: f"see you {self._pick(words.WEEKDAYS)} {self.clock()}, {self.name()}.",
                lambda: f"I'd rather {self.plain_deed()} than {self.plain_deed()}.",
                lambda: f"thank you for the {self._pick(words.THINGS)}, {self.name()}.",
                lambda: f"{self.name()} and I talked about {self._pick(words.SUBJECTS)}.",
                lambda: f"{self.name()} {self._verb(words.STARTING).past} {joined(*self._doing())}.",
            )
        )()  # fmt: skip

    def _doing(self) -> tuple[str, str]:
        verb, rest = self.deed()
        return verb.gerund, rest

    def listed(self) -> str:
        items = [self._pick(words.THINGS if self._chance(0.5) else words.FOODS) for _ in range(3)]
        first, second, third = items
        return f"{self.person()} {self._verb(words.TRANSITIVE).past} {first}, {second} and {third}."


def joined(*parts: str) -> str:
    """Parts with single spaces between those that are not empty."""
    return " ".join(part for part in parts if part)


def article(noun: str) -> str:
    """A or an, by the first letter but for the usual exceptions."""
    vowel = noun[0] in "aeiou" and not noun.startswith(_NO_VOWEL_SOUNDS)
    return "an" if vowel or noun.startswith(_VOWEL_SOUNDS) else "a"


def plural(noun: str) -> str:
    """The plural of a countable noun of the lexicon."""
    if noun in _PLURAL_EXCEPTIONS:
        return _PLURAL_EXCEPTIONS[noun]
    if noun.endswith(("s", "sh", "ch", "x")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"


_KINDS: list[Callable[[Grammar], str]] = [
    Grammar.told, Grammar.habit, Grammar.plan, Grammar.perfect, Grammar.now, Grammar.being, Grammar.asked,
    Grammar.request, Grammar.joined_clauses, Grammar.condition, Grammar.reported, Grammar.quoted, Grammar.relative,
    Grammar.numbers, Grammar.weather, Grammar.talk, Grammar.listed,
]  # fmt: skip
_WEIGHTS = (20, 8, 9, 5, 5, 7, 9, 5, 14, 6, 6, 6, 5, 8, 1, 8, 3)
