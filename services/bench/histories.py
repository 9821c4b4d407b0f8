"""Random histories of Facts, and what holds in them: the oracle of `sapience bench bitemporal`.

A world has a handful of moments, numbered from 0, and a handful of times at which something is told. What holds is
found by the definitions (docs/decisions/0011): for every moment a list of the assertions that stand is kept, versions
are taken one by one, and the policy picks from the list of the moment asked for. No interval is compared with another.
It shares no code with `memory`, and knows neither ids nor clocks: the n-th step of a group is its n-th commit.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from core.nouns import Contradiction

MOMENTS = 12
TOLD_TIMES = 8
RELATIONS = 6
OBJECTS = 5
SOURCES = (0.9, 0.6, 0.6, 0.3)
"""How far each source is trusted."""
QUESTIONS = 10
POLICY_CHANGES = 12


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a Fact. `source` None: told by nobody in particular, with no Episode."""

    history: int
    object: int
    start: int | None
    end: int | None
    told: int
    source: int | None
    trust: float
    retracted: bool


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A relation gets another policy."""

    relation: int
    policy: Contradiction


Step = Version | PolicyChange


@dataclass(frozen=True, slots=True)
class Question:
    """What holds at `moment`, by what was told by `told` (None: ever) and committed by the step `commit` (None: ever).

    `axis` says how the commit is named: by its seq, or by its time.
    """

    moment: int
    told: int | None
    commit: int | None
    axis: Literal["seq", "recorded_by"]


@dataclass(frozen=True, slots=True)
class Group:
    """Histories that are written in turns into one namespace. `relations` is the relation of each."""

    relations: tuple[int, ...]
    steps: tuple[Step, ...]
    questions: tuple[Question, ...]


def group(seed: int, number: int, size: int) -> Group:
    """The same for the same numbers. Commits come in another order than tellings, and tellings than what they tell."""
    chance = random.Random(f"{seed}/{number}")
    relations = tuple(chance.randrange(RELATIONS) for _ in range(size))
    lives = [list(_history(chance, history)) for history in range(size)]
    turns = [history for history, life in enumerate(lives) for _ in life]
    chance.shuffle(turns)
    remaining = [iter(life) for life in lives]
    steps: list[Step] = [next(remaining[history]) for history in turns]
    last: dict[int, Contradiction] = {}
    for place in sorted(chance.randrange(len(steps) + 1) for _ in range(POLICY_CHANGES)):
        relation = chance.randrange(RELATIONS)
        policy = chance.choice([one for one in Contradiction if one is not last.get(relation)])
        last[relation] = policy
        steps.insert(place + sum(isinstance(one, PolicyChange) for one in steps), PolicyChange(relation, policy))
    questions = tuple(_question(chance, len(steps)) for _ in range(QUESTIONS))
    return Group(relations, tuple(steps), questions)


def _history(chance: random.Random, history: int) -> Iterator[Version]:
    for _ in range(chance.randint(2, 8)):
        told, source = chance.randrange(TOLD_TIMES), chance.choice([None, *range(len(SOURCES))])
        usual = 0.5 if source is None else SOURCES[source]
        start, end = _bounds(chance)
        if chance.random() < 0.25:
            yield Version(history, chance.randrange(OBJECTS), start, None, told, None, 1.0, retracted=True)
            continue
        for target in chance.sample(range(OBJECTS), chance.choice([1, 1, 1, 2, 3])):
            trust = chance.choice([usual, usual, usual, 0.4])
            yield Version(history, target, start, end, told, source, trust, retracted=False)


def _bounds(chance: random.Random) -> tuple[int | None, int | None]:
    start, end = sorted(chance.sample(range(MOMENTS + 1), 2))
    return (None if chance.random() < 0.25 else start), (None if chance.random() < 0.35 else end)


def _question(chance: random.Random, steps: int) -> Question:
    return Question(
        moment=chance.randrange(MOMENTS),
        told=chance.choice([None, *range(TOLD_TIMES)]),
        commit=chance.choice([None, chance.randrange(steps), chance.randrange(steps)]),
        axis=chance.choice(["seq", "recorded_by"]),
    )


def holds(of: Group, question: Question) -> list[set[int]]:
    """For each history, the numbers of the steps that hold."""
    last = len(of.steps) if question.commit is None else question.commit + 1
    policies: dict[int, Contradiction] = {}
    lives: list[list[int]] = [[] for _ in of.relations]
    for number, step in enumerate(of.steps[:last]):
        if isinstance(step, PolicyChange):
            policies[step.relation] = step.policy
        elif question.told is None or step.told <= question.told:
            lives[step.history].append(number)
    versions = {number: step for life in lives for number in life if isinstance(step := of.steps[number], Version)}
    return [
        set(_chosen(_stand(life, versions)[question.moment], versions, policies.get(relation, Contradiction.MANY)))
        for life, relation in zip(lives, of.relations, strict=True)
    ]


def _stand(life: Sequence[int], versions: dict[int, Version]) -> list[list[int]]:
    """For every moment the assertions that stand, by number."""
    standing: list[list[int]] = [[] for _ in range(MOMENTS)]
    for told in range(TOLD_TIMES):
        for number in (number for number in life if versions[number].told == told):
            version = versions[number]
            first = version.start or 0
            if version.retracted:
                for moment in range(first, MOMENTS):
                    standing[moment] = [one for one in standing[moment] if versions[one].object != version.object]
            else:
                for moment in range(first, MOMENTS if version.end is None else version.end):
                    standing[moment].append(number)
    return standing


def _chosen(standing: Sequence[int], versions: dict[int, Version], policy: Contradiction) -> list[int]:
    """`standing` comes in the order of telling, then of commits: so the last of equals is the latest."""
    if policy is Contradiction.MANY:
        return list({versions[number].object: number for number in standing}.values())
    ranked = sorted(standing, key=lambda number: versions[number].trust)  # a stable sort: of equals the latest is last
    if policy is Contradiction.SINGLE or not ranked:
        return ranked[-1:]
    first = versions[ranked[-1]]
    telling = [n for n in ranked if (versions[n].told, versions[n].source) == (first.told, first.source)]
    return list({versions[number].object: number for number in telling}.values())
