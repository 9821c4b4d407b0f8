"""What `sapience bench memory` writes and asks: seeded, made here, the same for every store that is measured.

Conversations of twenty turns, each turn one sentence. Words are made up and drawn by Zipf's law, so that a term index
meets the few words that are everywhere and the many that are rare. Vectors gather by topic and by conversation, as
those of a sentence encoder do: evenly random ones would be a worst case that no encoder brings. Here and there a turn
holds a planted sentence with a word that no other turn has; questions ask for these, with a vector near the turn's.

Facts are edges between Entities: most Entities have a handful, and one, the hub, has a hundredth of all. Half of the
Facts end, and one in ten is told again or taken back later. It knows no store.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from core.clock import DAY
from core.nouns import Float32, Int64, Interval, NewFact

DIMENSIONS = 384
SPACE = "bench/vectors"
TURNS = 20
SPEAKERS = 200
TOPICS = 200
WORDS = 30_000
PLANTED_EVERY = 50
RELATIONS = ("knows", "likes", "works_at", "lives_in", "owns", "visited")
T0 = 1_600_000_000_000_000
SPAN = 1000
"""Days over which everything is told."""
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aeiou"


@dataclass(frozen=True, slots=True)
class Turn:
    """One Episode to be."""

    number: int
    text: str
    speaker: str
    conversation: str
    position: int
    told_at: int


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """A question for a planted turn."""

    text: str
    vector: Float32
    answer: int
    """The number of the turn."""


class Talk:
    """`n` turns with their vectors, and what is asked about them."""

    def __init__(self, seed: int, n: int) -> None:
        self.n = n
        self._seed = seed
        self._rng = np.random.default_rng([seed, n])
        ranks = np.arange(WORDS) + 30  # Zipf's law; the words before these would be stop words
        self._odds = np.cumsum(1 / ranks) / np.sum(1 / ranks)

    @cached_property
    def vectors(self) -> Float32:
        """Shape [n, DIMENSIONS], unit length."""
        conversations = -(-self.n // TURNS)
        topics = _units(self._rng, TOPICS)[self._rng.integers(TOPICS, size=conversations)]
        centres = np.repeat(0.6 * topics + 0.5 * _units(self._rng, conversations), TURNS, axis=0)[: self.n]
        vectors = centres + 0.6 * _units(self._rng, self.n)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def turns(self) -> Iterator[Turn]:
        """All of them, in order."""
        rng = np.random.default_rng([self._seed, self.n, 1])
        lengths = rng.integers(6, 18, self.n)
        drawn = iter(_words(self._odds, rng, int(lengths.sum())))
        for number, length in enumerate(lengths.tolist()):
            words = [next(drawn) for _ in range(length)]
            if number % PLANTED_EVERY == 0:
                words = ["we", "keep", "the", planted(number), *words]
            pair = number // TURNS % SPEAKERS
            yield Turn(
                number,
                " ".join(words).capitalize() + ".",
                _name((pair + number % 2 * 7) % SPEAKERS),
                f"talk {number // TURNS}",
                number % TURNS,
                T0 + number * (SPAN * DAY // self.n),
            )

    def queries(self, count: int) -> list[Query]:
        """Questions for planted turns. None names a speaker: then a service could not take the vector as it is."""
        rng = np.random.default_rng([self._seed, self.n, 2])
        places = rng.choice(np.arange(0, self.n, PLANTED_EVERY), count).tolist()
        around = _words(self._odds, rng, 5 * count)
        near = self.vectors[places] + 0.5 * _units(rng, count)
        near /= np.linalg.norm(near, axis=1, keepdims=True)
        return [
            Query(f"where do we keep the {planted(place)} {' '.join(around[5 * at : 5 * at + 5])}?", near[at], place)
            for at, place in enumerate(places)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """Facts as columns, and who is asked about."""

    subjects: Int64
    objects: Int64
    relations: Int64
    starts: Int64
    """Days after T0."""
    ends: Int64
    """Days after T0, -1 for an open end."""
    told: Int64
    """Days after T0."""
    retracted: NDArray[np.bool_]

    @classmethod
    def made(cls, seed: int, count: int) -> Edges:
        """`count` versions of Facts; Entity 0 is the hub."""
        rng = np.random.default_rng([seed, count, 3])
        entities = max(2, count // 5)
        subjects, objects = (rng.integers(1, entities, count) for _ in range(2))
        subjects[rng.choice(count, max(1, count // 100), replace=False)] = 0
        relations = rng.integers(len(RELATIONS), size=count)
        starts = rng.integers(SPAN, size=count)
        again = np.flatnonzero(rng.random(count) < 0.1)
        earlier = (again * rng.random(len(again))).astype(np.int64)
        for column in (subjects, objects, relations):
            column[again] = column[earlier]
        retracted = np.zeros(count, bool)
        retracted[again] = rng.random(len(again)) < 0.5
        ends = np.where((rng.random(count) < 0.5) & ~retracted, starts + rng.integers(1, SPAN, count), -1)
        told = np.sort(np.minimum(SPAN, rng.integers(SPAN, size=count)))
        return cls(subjects, objects, relations, starts, ends, told, retracted)

    def facts(self, first: int, last: int) -> list[NewFact]:
        """Some of them, as nouns."""
        rows = zip(
            *(
                column[first:last].tolist()
                for column in (self.subjects, self.objects, self.relations, self.starts, self.ends, self.told)
            ),
            self.retracted[first:last].tolist(),
            strict=True,
        )
        return [
            NewFact(
                subject=entity(subject),
                relation=RELATIONS[relation],
                valid=Interval(at(start), None if end < 0 else at(end)),
                told_at=at(told),
                entity=entity(target),
                retracted=retracted,
            )
            for subject, target, relation, start, end, told, retracted in rows
        ]

    def asked(self, seed: int, count: int) -> list[tuple[str, int, int]]:
        """(Entity, valid at, told by): Entities as often as Facts have them for a subject, but for the hub."""
        rng = np.random.default_rng([seed, count, 4])
        subjects = self.subjects[self.subjects > 0]
        chosen = rng.choice(subjects, count) if len(subjects) else np.zeros(count, np.int64)
        days = rng.integers(SPAN // 10, SPAN, size=(2, count))
        rows = zip(chosen.tolist(), *days.tolist(), strict=True)
        return [(entity(one), at(valid), at(told)) for one, valid, told in rows]


def at(day: int) -> int:
    """A day of the bench, as a time."""
    return T0 + day * DAY


def entity(number: int) -> str:
    """The name of an Entity."""
    return "The hub" if number == 0 else f"Entity {number}"


def planted(number: int) -> str:
    """A word that the turn of this number has, and no other."""
    return "qu" + _word(number) + "x"


def _name(number: int) -> str:
    return _word(number).capitalize() + "son"


def _word(number: int) -> str:
    """A different word for each number, of syllables."""
    letters = ""
    number += len(_CONSONANTS) * len(_VOWELS)  # two syllables at least
    while number:
        number, syllable = divmod(number, len(_CONSONANTS) * len(_VOWELS))
        letters += _CONSONANTS[syllable // len(_VOWELS)] + _VOWELS[syllable % len(_VOWELS)]
    return letters


def _words(odds: NDArray[np.float64], rng: np.random.Generator, count: int) -> list[str]:
    return [_word(rank) for rank in np.searchsorted(odds, rng.random(count)).tolist()]


def _units(rng: np.random.Generator, count: int) -> Float32:
    drawn = rng.standard_normal((count, DIMENSIONS), np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)
