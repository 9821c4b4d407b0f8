"""What the speech bench says: sentences drawn from a seed, spoken by espeak-ng, and how words are compared.

The sentences are everyday English, written for this project as patterns with places to fill; numbers are spelled out.
Words are compared as is usual for speech: in lower case, without punctuation, numbers as words on both sides,
contractions written out.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import Unavailable

VOICES = ("en-us", "en-us+m3", "en-us+f2", "en-gb")
SPEEDS = (130, 150, 170)
"""Words a minute; people read aloud at about 150."""

_FILL: dict[str, tuple[str, ...]] = {
    "person": (
        "Anna", "David", "Maria", "Peter", "Laura", "Thomas", "Julia", "Robert", "Helen", "Martin", "Susan", "George",
        "my sister", "my brother", "the doctor", "our neighbor", "the teacher", "my grandmother", "the new manager",
    ),
    "place": (
        "the kitchen", "the library", "the garden", "the station", "the hospital", "the office", "the museum",
        "the market", "the harbor", "the airport", "the basement", "the village", "the old bridge", "the school",
    ),
    "thing": (
        "umbrella", "laptop", "bicycle", "camera", "guitar", "suitcase", "notebook", "telephone", "jacket", "mirror",
        "painting", "hammer", "blanket", "ticket", "passport", "radio", "wallet",
    ),
    "food": (
        "bread", "soup", "rice", "cheese", "chocolate", "tomatoes", "fish", "potatoes", "coffee", "lemons", "honey",
        "onions", "butter",
    ),
    "animal": ("dog", "cat", "horse", "rabbit", "parrot", "goat", "turtle", "chicken", "hamster"),
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "month": ("January", "February", "March", "April", "June", "July", "August", "September", "October", "November"),
    "number": (
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen",
        "twenty", "thirty", "forty",
    ),
    "color": ("red", "green", "blue", "yellow", "black", "white", "brown", "purple", "orange"),
    "city": ("London", "Paris", "Berlin", "Chicago", "Madrid", "Boston", "Vienna", "Dublin", "Rome", "Toronto"),
    "weather": ("rain", "snow", "fog", "thunder", "strong wind", "hot weather", "ice on the roads"),
    "work": ("engineer", "nurse", "farmer", "lawyer", "carpenter", "baker", "pilot", "dentist", "journalist"),
}  # fmt: skip
_PATTERNS = (
    "{person} left a {color} {thing} in {place} last {day}.",
    "The train to {city} leaves at {number} o'clock in the morning.",
    "We bought {food} and {food} for dinner at the market.",
    "Please remember to bring your {thing} when you come to {place}.",
    "{person} has worked as a {work} in {city} for {number} years.",
    "There will be {weather} in {city} on {day}, so drive carefully.",
    "The {animal} ran across the road and hid behind {place}.",
    "I have an appointment with {person} on {day} afternoon.",
    "How many people came to the meeting in {place} yesterday?",
    "{person} wants to sell the {color} car before the end of {month}.",
    "The children drew a {color} {animal} on the wall of {place}.",
    "My favorite meal is fish with {food} and a little {food}.",
    "The bus stopped in front of {place} for {number} minutes.",
    "{person} forgot to lock the door of {place} again.",
    "In {month} we are going to visit our friends in {city}.",
    "The {work} repaired the roof after the storm in {month}.",
    "Somebody stole the {thing} from {place} during the night.",
    "Could you ask {person} to call me back before {day}?",
    "The house with the {color} door belongs to a {work}.",
    "It takes about {number} hours to walk from here to the river.",
    "{person} is afraid of every {animal} that barks or bites.",
    "The key to {place} is under the {color} flower pot.",
    "She paid {number} dollars for the {thing} and it never worked.",
    "After the concert we had {food} in a small restaurant near {place}.",
    "The company moved its office from {city} to {city} in {month}.",
    "He reads the newspaper in {place} every {day} morning.",
    "The {animal} sleeps on a {color} blanket next to the window.",
    "Our flight to {city} was delayed because of the {weather}.",
    "{person} found an old {thing} while cleaning {place}.",
    "The recipe needs {number} eggs, some {food} and a cup of sugar.",
    "They painted the kitchen {color} and the bedroom {color}.",
    "Nobody knows why the {work} left {city} so suddenly.",
    "The lights in {place} go out at {number} every evening.",
    "{person} gave the {animal} a bowl of water and some {food}.",
    "A {work} from {city} won the first prize in the competition.",
    "You can park behind {place}, but only for {number} hours.",
    "The {thing} on the table was a gift from {person}.",
    "I would rather stay at home than drive through the {weather}.",
    "The library closes early on {day} during the month of {month}.",
    "{person} learned to play the piano at the age of {number}.",
)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence and how it is said."""

    text: str
    voice: str
    speed: int


def utterances(seed: int, count: int, without: Collection[str] = ()) -> list[Utterance]:
    """So many different sentences, none of `without`, each with a voice and a speed in turn."""
    draw = random.Random(seed)
    told: dict[str, None] = {}
    patterns: list[str] = []
    while len(told) < count:
        patterns = patterns or draw.sample(_PATTERNS, len(_PATTERNS))
        text = _filled(patterns.pop(), draw)
        if text not in without:
            told[text] = None
    return [
        Utterance(text, VOICES[place % len(VOICES)], SPEEDS[place // len(VOICES) % len(SPEEDS)])
        for place, text in enumerate(told)
    ]


def _filled(pattern: str, draw: random.Random) -> str:
    used: set[str] = set()

    def one(match: re.Match[str]) -> str:
        chosen = draw.choice([word for word in _FILL[match[1]] if word not in used])
        used.add(chosen)
        return chosen

    text = re.sub(r"\{(\w+)\}", one, pattern)
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)
    return text[0].upper() + text[1:]


def speak(said: Utterance, file: Path) -> None:
    """Writes a WAV file. Raises Unavailable (PEER_MISSING) where espeak-ng is not installed."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise Unavailable(
            "espeak-ng is not installed, which says the sentences; on Debian: apt-get install espeak-ng",
            reason="PEER_MISSING",
        )
    subprocess.run(
        [program, "-v", said.voice, "-s", str(said.speed), "-w", str(file), said.text], check=True, capture_output=True
    )


# How words are compared

_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_LONG = (
    ("won't", "will not"), ("can't", "can not"), ("cannot", "can not"), ("let's", "let us"), ("n't", " not"),
    ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'m", " am"), ("o'clock", "oclock"),
)  # fmt: skip
_SPELLINGS = {"neighbour": "neighbor", "harbour": "harbor", "favourite": "favorite", "colour": "color", "grey": "gray"}


def number_words(number: int) -> str:
    """A number below a million in words, as American English has it."""
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
    for size, name in ((1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {number_words(number % size)}" if number % size else ""
            return f"{number_words(number // size)} {name}{rest}"
    raise ValueError(number)


def normalised(text: str) -> list[str]:
    """The words of a text as they are compared."""
    lower = text.lower().replace("’", "'")
    lower = re.sub(r"\$(\d[\d,]*)", r"\1 dollars", lower).replace("%", " percent")
    lower = re.sub(r"(\d+):00\b", r"\1", lower)
    lower = re.sub(r"(\d),(\d{3})\b", r"\1\2", lower)
    for short, written in _LONG:
        lower = lower.replace(short, written)
    lower = re.sub(r"\d+", lambda match: f" {number_words(int(match[0]) % 1_000_000)} ", lower)
    words = re.sub(r"[^a-z' ]", " ", lower).split()
    return [_SPELLINGS.get(word, word) for word in (word.strip("'") for word in words) if word]


def edits(truth: Sequence[str], told: Sequence[str]) -> int:
    """The least number of insertions, deletions and substitutions between two sequences (Levenshtein)."""
    row = list(range(len(told) + 1))
    for place, wanted in enumerate(truth, 1):
        diagonal, row[0] = row[0], place
        for column, given in enumerate(told, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (wanted != given))
    return row[-1]
