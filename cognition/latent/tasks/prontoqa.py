"""True-or-false questions over made-up kinds of things, after PrOntoQA (Saparov and He 2022, arXiv 2210.01240).

    Every wumpus is a tumpus. Tumpuses are not bright. Sally is a wumpus. Each wumpus is loud. … True or false: Sally is
    not bright.

A chain of kinds leads from the one that someone is to the one that has the property asked about; each step of the
chain of thought is one rule applied, so a question of n hops has n steps. The rules are shuffled among others: kinds
beside the chain, properties of other families along it, and a kind that is no ancestor with the opposite property, so
that the sentence about the property does not give the answer away. Half the questions have a "not", and half of each
are true.

Made here from the description in the paper; the sentences are not those of the published data set.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cognition.latent.tasks.base import SPLITS, Example, Split, same_answer
from core.errors import InvalidArgument

NAMES = "Alex Fae Max Polly Rex Sally Sam Stella Wren Ada".split()
KINDS = (
    "wumpus tumpus yumpus zumpus dumpus rompus numpus vumpus impus jompus gorpus shumpus lempus sterpus grimpus lorpus "
    "brimpus kerpus terpus borpus hilpus felpus quimpus zhorpus"
).split()
PROPERTIES = tuple(
    words.split()
    for words in (
        "blue red brown orange",
        "small large",
        "metallic wooden luminous liquid",
        "transparent opaque",
        "nervous happy feisty shy",
        "bright dull",
        "sweet sour spicy bitter",
        "floral fruity earthy",
        "hot cold temperate",
        "kind mean angry amenable",
        "aggressive loud melodic",
    )
)
"""Families of properties that exclude one another; a question and its distractor are of one family."""
MOST_HOPS = 5
"""As many as there are families for: a chain of n takes up to 2n."""


@dataclass(frozen=True, slots=True)
class ProntoQA:
    """Questions of 1 to `hops` hops, drawn by a seed; a question is in one split only.

    Raises InvalidArgument for hops outside 1 to 5 or a size below 1.
    """

    seed: int = 0
    hops: int = 5
    train: int = 9_000
    validation: int = 200
    test: int = 800

    def __post_init__(self) -> None:
        if not 1 <= self.hops <= MOST_HOPS:
            raise InvalidArgument(f"hops is {self.hops}; it goes from 1 to {MOST_HOPS}", field="hops")
        for split in SPLITS:
            if getattr(self, split) < 1:
                raise InvalidArgument(f"{split} is {getattr(self, split)}; each split has an example", field=split)

    @property
    def name(self) -> str:
        """See Task."""
        return "prontoqa"

    def examples(self, split: Split) -> Sequence[Example]:
        """See Task. A question that an earlier split drew too is drawn again."""
        return _examples(self, split)

    def correct(self, example: Example, generated: str) -> bool:
        """See Task."""
        return same_answer(example.answer, generated)


@functools.lru_cache(maxsize=6)
def _examples(task: ProntoQA, split: Split) -> Sequence[Example]:
    taken: set[str] = set()
    made: list[Example] = []
    for one in SPLITS[: SPLITS.index(split) + 1]:
        # A text as seed: Python hashes it the same in every process.
        draw = random.Random(f"prontoqa {task.seed} {one}")
        made = []
        while len(made) < getattr(task, one):
            example = _question(draw, 1 + len(made) % task.hops, negated=bool(len(made) & 1))
            if example.question not in taken:
                taken.add(example.question)
                made.append(example)
    return tuple(made)


def _question(draw: random.Random, hops: int, *, negated: bool) -> Example:
    """One question. `hops` counts the rule that gives the property."""
    name = draw.choice(NAMES)
    kinds = draw.sample(KINDS, 2 * hops + 2)
    chain, beside, (follower, stranger) = kinds[:hops], kinds[hops:-2], kinds[-2:]
    asked_family, *families = draw.sample(PROPERTIES, len(PROPERTIES))
    asked = draw.choice(asked_family)
    truth = draw.random() < 0.5
    positive = truth != negated  # whether the rule of the chain gives the property or denies it
    rules = [_is_a(draw, low, high) for low, high in pairwise(chain)]
    rules += [_is_a(draw, low, high) for low, high in zip(chain, beside, strict=True)]
    rules += [_has(draw, chain[-1], asked, positive=positive), _has(draw, stranger, asked, positive=not positive)]
    rules.append(_is_a(draw, follower, stranger))
    # Each family once, so that no two rules can contradict one another.
    for kind, family in zip([*beside, *chain[:-1]], families, strict=False):
        if draw.random() < 0.5:
            rules.append(_has(draw, kind, draw.choice(family), positive=draw.random() < 0.7))
    draw.shuffle(rules)
    steps = [f"{name} is {_a(kind)}." for kind in chain[1:]] + [f"{name} is {_signed(asked, positive)}."]
    asks = f"{name} is {_a(chain[0])}. True or false: {name} is {_signed(asked, not negated)}."
    return Example(" ".join([*rules, asks]), tuple(steps), str(truth), details={"hops": hops})


def _is_a(draw: random.Random, low: str, high: str) -> str:
    return draw.choice((f"Every {low} is {_a(high)}.", f"Each {low} is {_a(high)}.", f"{_many(low)} are {high}es."))


def _has(draw: random.Random, kind: str, quality: str, *, positive: bool) -> str:
    said = _signed(quality, positive)
    return draw.choice((f"Every {kind} is {said}.", f"Each {kind} is {said}.", f"{_many(kind)} are {said}."))


def _signed(quality: str, positive: bool) -> str:
    return quality if positive else f"not {quality}"


def _many(kind: str) -> str:
    return f"{kind.capitalize()}es"


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
