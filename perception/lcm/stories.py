"""Small documents by a seed: stories whose next sentence follows in part from those before.

A story has a kind, a cast (people, a town, things) and a state: where they are, what is wanted, how many or how much is
left. Each kind is a generator that draws what happens next from several possibilities and changes the state, so that a
good model foresees who, what and how many, and has to allow for several deeds. Sentences are of the codec's domain.

`Story.cast` can be told again: the same people, town and things with other draws. That makes distractors which no name
gives away.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from perception.codec import lexicon as words
from perception.codec.grammar import article, plural
from perception.lcm import END_OF_TEXT

_LONGEST = 12
_COUNTS = "no one two three four five six seven eight nine ten eleven twelve".split()


@dataclass(frozen=True, slots=True)
class Cast:
    """Who and what a story is about."""

    kind: int
    hero: str
    friend: str
    town: str
    other_town: str
    thing: str
    colour: str
    place: str
    food: str
    animal: str
    role: str


@dataclass(frozen=True, slots=True)
class Story:
    """A document: its cast and its sentences, the end of text among them."""

    cast: Cast
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class World:
    """The people and things that stories may be about."""

    names: tuple[str, ...]
    towns: tuple[str, ...]
    things: tuple[str, ...]
    places: tuple[str, ...]
    foods: tuple[str, ...]
    animals: tuple[str, ...]
    roles: tuple[str, ...]


WIDE = World(
    words.FIRST_NAMES, words.CITIES, words.THINGS, words.PLACES, words.FOODS, words.ANIMALS, words.ROLES
)  # fmt: skip
"""All that the lexicon has: for the codec, which is to know them."""
SMALL = World(
    words.FIRST_NAMES[::7], words.CITIES[::4], words.THINGS[::5], words.PLACES[::3], words.FOODS[::3],
    words.ANIMALS[::3], words.ROLES[::4],
)  # fmt: skip
"""Some of each, so that a concept model meets everyone often in minutes of training."""


class Stories:
    """Draws stories. The same seed and world give the same ones."""

    def __init__(self, seed: int, world: World = SMALL) -> None:
        self._world = world
        self._random = random.Random(f"stories {seed}")

    def draw(self, cast: Cast | None = None) -> Story:
        """One story, of a new cast or of a given one."""
        cast = cast or self._cast()
        told = _Telling(cast, self._random, self._world.places)
        sentences: list[str] = []
        for sentence in _KINDS[cast.kind](told):
            sentences.append(sentence[0].upper() + sentence[1:])
            if len(sentences) == _LONGEST:
                break
        return Story(cast, (*sentences, END_OF_TEXT))

    def stories(self, count: int) -> list[Story]:
        """So many stories, each of a cast of its own."""
        return [self.draw() for _ in range(count)]

    def _cast(self) -> Cast:
        pick, sample, world = self._random.choice, self._random.sample, self._world
        hero, friend = sample(world.names, 2)
        town, other = sample(world.towns, 2)
        return Cast(
            self._random.randrange(len(_KINDS)), hero, friend, town, other, pick(world.things), pick(words.COLOURS),
            pick(world.places), pick(world.foods), pick(world.animals), pick(world.roles),
        )  # fmt: skip


class _Telling:
    """A cast, draws, and where things may happen."""

    def __init__(self, cast: Cast, source: random.Random, places: tuple[str, ...]) -> None:
        self.cast = cast
        self.places = places
        self._random = source

    def sample(self, options: Sequence[str], count: int) -> list[str]:
        return self._random.sample(options, count)

    def pick(self, *options: str) -> str:
        return self._random.choice(options)

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def number(self, low: int, high: int) -> int:
        return self._random.randint(low, high)


def _lost(t: _Telling) -> Iterator[str]:
    """Something is lost, and looked for in one place after another."""
    c = t.cast
    yield t.pick(f"{c.hero} lost a {c.colour} {c.thing} in {c.town}.", f"{c.hero} can't find the {c.colour} {c.thing}.")
    yield t.pick(f"{c.hero} asked {c.friend} for help.", f"{c.friend} offered to help.", f"{c.hero} was very worried.")
    rooms = [c.place, *t.sample([one for one in t.places if one != c.place], 4)]
    for number, room in enumerate(rooms):
        who = t.pick(c.hero, c.friend)
        yield t.pick(f"{who} looked in the {room}.", f"Then {who} searched the {room}.", f"{who} went to the {room}.")
        if number and t.chance(0.4):
            yield t.pick(f"There was the {c.thing}, behind the door.", f"The {c.thing} was in the {room}.",
                         f"{who} found the {c.colour} {c.thing}.")  # fmt: skip
            yield t.pick(f"{c.hero} was very happy.", f"{c.hero} thanked {c.friend}.", f"{c.friend} laughed.")
            return
        yield t.pick(f"It was not in the {room}.", f"The {room} was empty.", f"There was only {_a(c.animal)} there.")
    yield t.pick(f"{c.hero} bought a new {c.thing}.", f"{c.hero} gave up.")


def _journey(t: _Telling) -> Iterator[str]:
    """Two people go from one town to another by some means, with a departure, a delay and an arrival."""
    c = t.cast
    means = t.pick("train", "bus", "ferry", "plane")
    hour = t.number(6, 15)
    yield t.pick(f"{c.hero} wanted to visit {c.friend} in {c.town}.", f"{c.hero} planned a trip to {c.town}.",
                 f"{c.friend} invited {c.hero} to {c.town}.")  # fmt: skip
    yield t.pick(f"The {means} from {c.other_town} left at {hour}:00.", f"{c.hero} took the {means} at {hour} o'clock.")
    if t.chance(0.4):
        late = t.number(1, 3)
        yield f"The {means} was {_COUNTS[late]} {'hour' if late == 1 else 'hours'} late."
        hour += late
        yield t.pick(f"{c.hero} read a book.", f"{c.hero} slept.", f"{c.hero} called {c.friend}.")
    if t.chance(0.6):
        yield t.pick(f"On the {means} {c.hero} met {_a(c.role)}.", f"A {c.role} sat next to {c.hero}.")
        yield t.pick(f"They talked about {c.town}.", f"The {c.role} came from {c.other_town}.",
                     f"The {c.role} was eating {c.food}.")  # fmt: skip
    hours = t.number(2, 5)
    yield f"The journey took {_COUNTS[hours]} hours."
    yield f"At {hour + hours}:00 the {means} arrived in {c.town}."
    yield t.pick(
        f"{c.friend} was waiting at the station.", f"{c.friend} was late.", f"{c.hero} walked to the {c.place}."
    )
    yield t.pick(f"They went to the {c.place} together.", f"They ate {c.food}.", f"{c.hero} was tired.")
    for _ in range(t.number(0, 2)):
        yield t.pick(
            f"{c.hero} liked {c.town}.",
            f"{c.friend} showed {c.hero} the {c.place}.",
            f"In the evening they ate {c.food}.",
        )
    yield t.pick(f"{c.hero} stayed for {_COUNTS[t.number(2, 9)]} days.", f"Then {c.hero} went back to {c.other_town}.")


def _saving(t: _Telling) -> Iterator[str]:
    """Money is saved for something, week by week, and the sum goes on."""
    c = t.cast
    step = t.number(2, 9) * 5
    goal = step * t.number(3, 6)
    have = 0
    yield t.pick(f"{c.hero} wanted to buy a {c.colour} {c.thing}.", f"{c.hero} dreamed of a {c.colour} {c.thing}.")
    yield t.pick(f"The {c.thing} cost {goal} euros.", f"In {c.town} it cost {goal} euros.")
    yield t.pick(f"{c.hero} saved {step} euros every week.", f"Every week {c.hero} put {step} euros in a box.")
    yield t.pick(f"{c.friend} laughed.", f"{c.friend} wanted to help.", f"{c.hero} worked at the {c.place}.")
    while have < goal:
        have += step
        if t.chance(0.2) and step < have:
            yield t.pick(
                f"But {c.hero} spent {step} euros on {c.food}.", f"Then {c.hero} lent {c.friend} {step} euros."
            )
            have -= step
            yield f"Only {have} euros were left."
            continue
        if have < goal:
            yield t.pick(f"Now {c.hero} had {have} euros.", f"Then there were {have} euros in the box.",
                         f"{goal - have} euros were missing.")  # fmt: skip
    yield t.pick(f"At last {c.hero} had {goal} euros.", f"{c.hero} counted {goal} euros.")
    yield t.pick(f"{c.hero} bought the {c.colour} {c.thing}.", f"{c.hero} went to the shop with {c.friend}.")
    yield t.pick(f"The {c.thing} was beautiful.", f"{c.friend} admired the {c.thing}.", f"{c.hero} was proud.")


def _match(t: _Telling) -> Iterator[str]:
    """Two towns play, and the score goes on."""
    c = t.cast
    game = t.pick("football", "hockey", "handball")
    yield t.pick(f"{c.town} played {game} against {c.other_town}.", f"{c.hero} went to the match in {c.town}.")
    yield t.pick(f"{c.hero} played for {c.town}.", f"{c.friend} played for {c.other_town}.", "The stadium was full.")
    home = away = 0
    for _ in range(t.number(3, 5)):
        if t.chance(0.5):
            home += 1
            yield t.pick(f"{c.hero} scored for {c.town}.", f"A {c.role} scored for {c.town}.")
        else:
            away += 1
            yield t.pick(f"{c.friend} scored for {c.other_town}.", f"{c.other_town} scored.")
        yield t.pick(f"It was {home} to {away}.", f"Now it was {home} to {away}.", f"The score was {home} to {away}.")
    winner = c.town if home > away else c.other_town
    if home == away:
        yield t.pick("Nobody won.", f"{c.hero} and {c.friend} went home together.")
    else:
        yield t.pick(
            f"{winner} won.", f"The people of {winner} danced.", f"{c.hero if home > away else c.friend} was proud."
        )


def _cooking(t: _Telling) -> Iterator[str]:
    """A meal is made: what is missing is fetched, it is cooked, guests come."""
    c = t.cast
    guests = t.number(3, 9)
    yield t.pick(f"{c.hero} invited {_COUNTS[guests]} guests.", f"{_COUNTS[guests]} guests came to {c.hero}'s party.")
    yield t.pick(f"{c.hero} wanted to cook {c.food}.", f"{c.friend} asked for {c.food}.")
    missing = t.sample(["salt", "butter", "onions", "eggs", "milk", "garlic", "pepper", "flour"], 3)
    for one in missing[: t.number(1, 3)]:
        yield t.pick(
            f"There was no {one} in the kitchen.", f"{c.hero} needed {one}.", f"{c.friend} had forgotten the {one}."
        )
        yield t.pick(
            f"{c.friend} went to buy {one}.",
            f"{c.hero} borrowed {one} from the {c.role}.",
            f"The {c.role} brought {one}.",
        )
    yield t.pick(f"{c.hero} washed the {c.colour} pot.", f"{c.hero} lit the stove.", f"{c.friend} laid the table.")
    minutes = t.number(2, 9) * 10
    yield f"The {c.food} had to cook for {minutes} minutes."
    if t.chance(0.4):
        yield t.pick(f"After {minutes} minutes it was burnt.", f"Then the {c.animal} jumped on the table.")
        yield t.pick(f"They ordered pizza.", f"The guests laughed.", f"{c.hero} was angry.")  # noqa: F541
    else:
        yield t.pick(f"After {minutes} minutes it was ready.", f"The {_COUNTS[guests]} guests sat down.")
        yield t.pick(
            f"The {c.food} tasted wonderful.",
            f"{c.friend} praised the {c.food}.",
            f"All {_COUNTS[guests]} ate the {c.food}.",
        )


def _animal(t: _Telling) -> Iterator[str]:
    """An animal runs away and is sought by those who see it."""
    c = t.cast
    name = c.friend
    yield t.pick(f"{c.hero} had {_a(c.colour)} {c.animal} named {name}.", f"{name} was {_a(c.colour)} {c.animal}.")
    yield t.pick(f"{name} lived in the {c.place}.", f"{c.hero} fed {name} with {c.food}.", f"{name} liked {c.food}.")
    yield t.pick(f"One night {name} ran away.", f"On {t.pick(*words.WEEKDAYS)} the door was open.")
    for _ in range(t.number(1, 3)):
        spot = t.pick(*t.places)
        yield t.pick(f"A {c.role} saw {_a(c.animal)} near the {spot}.", f"The {c.animal} was seen at the {spot}.")
        yield t.pick(
            f"{c.hero} ran to the {spot}.", f"{c.hero} waited at the {spot}.", f"It was only a {c.colour} bag."
        )
        yield t.pick(f"But {name} was not there.", f"{c.hero} called {name}.", f"{c.hero} put {c.food} on the ground.")
    if t.chance(0.7):
        yield t.pick(f"Then {name} came back.", f"At last {c.hero} found {name}.", f"The {c.role} brought {name} home.")
        yield t.pick(f"{name} was hungry.", f"{name} slept in the {c.place}.", f"{c.hero} gave {name} some {c.food}.")
    else:
        yield t.pick(f"{name} never came back.", f"{c.hero} was sad.")


def _work(t: _Telling) -> Iterator[str]:
    """A day at work, hour by hour."""
    c = t.cast
    hour = t.number(6, 10)
    yield t.pick(f"{c.hero} worked as {_a(c.role)} in {c.town}.", f"{c.hero} was {_a(c.role)} at the {c.place}.")
    yield t.pick(f"At {hour}:00 {c.hero} opened the {c.place}.", f"{c.hero} came at {hour} o'clock.")
    for _ in range(t.number(3, 5)):
        hour += t.number(1, 2)
        yield t.pick(f"At {hour}:00 {c.friend} came.", f"At {hour}:00 the {c.thing} broke.",
                     f"At {hour}:00 {c.hero} ate {c.food}.", f"At {hour}:00 a {c.animal} ran in.",
                     f"At {hour}:00 {c.friend} called.")  # fmt: skip
        if t.chance(0.5):
            yield t.pick(f"{c.hero} was not surprised.", f"{c.friend} laughed.", f"{c.hero} repaired the {c.thing}.",
                         f"They talked about {c.town}.", f"{c.friend} wanted {c.food}.")  # fmt: skip
    yield t.pick(f"At {hour + 1}:00 {c.hero} went home.", f"{c.hero} closed the {c.place} at {hour + 1} o'clock.")
    yield t.pick(f"{c.hero} was tired.", f"{c.friend} was waiting.", f"The {c.role} slept well.")


def _gifts(t: _Telling) -> Iterator[str]:
    """Things are given away one by one, and fewer are left."""
    c = t.cast
    left = t.number(5, 9)
    several = plural(c.thing)
    yield t.pick(
        f"{c.hero} had {_COUNTS[left]} {c.colour} {several}.", f"{c.friend} gave {c.hero} {_COUNTS[left]} {several}."
    )
    yield t.pick(f"{c.hero} did not need so many {several}.", f"{c.hero} took the {several} to the {c.place}.")
    while left > 1 and t.chance(0.85):
        given = t.number(1, min(2, left - 1))
        left -= given
        remain = f"{several} were" if left > 1 else f"{c.thing} was"
        yield t.pick(f"{c.hero} gave {_COUNTS[given]} to {c.friend}.", f"The {c.role} took {_COUNTS[given]}.",
                     f"{c.hero} sold {_COUNTS[given]} in {c.town}.",
                     f"{_COUNTS[given]} fell into the river.")  # fmt: skip
        yield t.pick(f"Now {c.hero} had {_COUNTS[left]}.", f"{_COUNTS[left]} {remain} left.",
                     f"So there were only {_COUNTS[left]}.")  # fmt: skip
    yield t.pick(f"{c.hero} kept the last {c.thing}.", f"{c.hero} was content.", f"{c.friend} thanked {c.hero}.")


def _a(noun: str) -> str:
    return f"{article(noun)} {noun}"


_KINDS: tuple[Callable[[_Telling], Iterator[str]], ...] = (
    _lost, _journey, _saving, _match, _cooking, _animal, _work, _gifts,
)  # fmt: skip
