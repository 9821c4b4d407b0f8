"""The rules of time: which Facts hold as of a moment, and what changed between two. Pure functions over versions.

A statement (subject, relation, object) has versions, each told at a time. Taken in the order of (told_at, seq), an
assertion adds its valid interval to what is believed, and a retraction takes back all that was believed of this
statement until then from its `valid.start` on (everything, where it has none), whoever told it. An assertion stands at
`valid_at` if it covers that moment and nothing told after it took it back.

Statements of one subject and relation may contradict each other; the relation's policy says which of those that stand
also hold. The first in rank of several assertions is the one with the greatest (trust, told_at, seq).

- MANY: each statement holds, by its last assertion. Trust does not count.
- SINGLE: the first in rank holds, alone.
- SET: the first in rank holds, together with all that stands of its telling: what has the same told_at and the same
  Episode as evidence (or none). An Episode is what one source said at one time, so a later telling of equal trust
  replaces the earlier one as a whole, and one of lower trust does not.

This is decided anew for each moment, so an interval never has to be cut: where a newer assertion ends, or is taken
back, an older one that covers the moment holds again. What this does not do: a set told to be empty cannot be said
(retract its members), and a time known to the day is taken at its first moment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from core.ids import normalised_name
from core.nouns import AsOf, Contradiction, Entity, Fact

Policies = Mapping[str, Contradiction]
"""The policy of each relation; one that is not named has MANY."""

ALL_MANY: Policies = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Difference:
    """What one answer has and another has not, by statement; each by the version that says so, by (told_at, seq)."""

    gained: tuple[Fact, ...]
    lost: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Changes:
    """The way from one answer to another, in two steps: `belief` first, then `world`. Together they are all of it."""

    belief: Difference
    """What is said of the first moment now, and was not said then; and the other way round."""
    world: Difference
    """What held at one of the two moments and not at the other, by all that is known now."""


def known(facts: Iterable[Fact], as_of: AsOf) -> list[Fact]:
    """The versions that had been told and committed by then, in the order in which they count."""
    by_then = (fact for fact in facts if fact.told_at <= as_of.told_by and fact.seq <= as_of.seq)
    return sorted(by_then, key=lambda fact: (fact.told_at, fact.seq, fact.id))


def standing(facts: Iterable[Fact], as_of: AsOf) -> list[Fact]:
    """The assertions that cover the moment and were not taken back, by (told_at, seq)."""
    stand: dict[tuple[str, str, str], list[Fact]] = defaultdict(list)
    # Only the one moment matters, so no interval is ever cut: a version either covers it or not.
    for fact in known(facts, as_of):
        if fact.retracted:
            if fact.valid.start is None or fact.valid.start <= as_of.valid_at:
                stand.pop(fact.statement, None)
        elif fact.valid.contains(as_of.valid_at):
            stand[fact.statement].append(fact)
    return _in_order(fact for of_one in stand.values() for fact in of_one)


def holding(facts: Iterable[Fact], as_of: AsOf, policies: Policies = ALL_MANY) -> list[Fact]:
    """For each statement that holds as of then, the version that says so. By (told_at, seq).

    `facts` may hold versions of many statements, in any order. All versions of a statement must be among them, and for
    a relation with another policy than MANY all versions of the same subject and relation. `policies` are those of
    `as_of.seq`.
    """
    rivals: dict[tuple[str, str], list[Fact]] = defaultdict(list)
    for fact in standing(facts, as_of):
        rivals[fact.subject.id, fact.relation].append(fact)
    return _in_order(
        fact
        for (_, relation), stand in rivals.items()
        for fact in _CHOICE[policies.get(relation, Contradiction.MANY)](stand)
    )


def touches(fact: Fact, name: str) -> bool:
    """Whether the Entity of that name is an end of the Fact."""
    ends = (end for end in (fact.subject, fact.object) if isinstance(end, Entity))
    return any(normalised_name(end.name) == normalised_name(name) for end in ends)


def difference(before: Iterable[Fact], after: Iterable[Fact]) -> Difference:
    """What `after` has and `before` has not, and the other way round. Each statement is at most once in either."""
    first, second = ({fact.statement: fact for fact in facts} for facts in (before, after))
    return Difference(
        gained=tuple(fact for statement, fact in second.items() if statement not in first),
        lost=tuple(fact for statement, fact in first.items() if statement not in second),
    )


def changes(
    facts: Sequence[Fact],
    before: AsOf,
    after: AsOf,
    policies_before: Policies = ALL_MANY,
    policies_after: Policies = ALL_MANY,
) -> Changes:
    """What changed from one point in time to another, in belief and in the world.

    `facts` are whole in the sense of `holding` for both; the policies are those of either's `seq`. Neither point has to
    be the earlier one.
    """
    then = holding(facts, before, policies_before)
    then_as_known_now = holding(facts, AsOf(before.valid_at, after.told_by, after.seq), policies_after)
    now = holding(facts, after, policies_after)
    return Changes(difference(then, then_as_known_now), difference(then_as_known_now, now))


def neighbours(
    entity: str,
    hops: int,
    facts_of: Callable[[str], Iterable[Fact]],
    as_of: AsOf,
    limit: int,
    policies: Policies = ALL_MANY,
) -> list[Fact]:
    """The Facts that hold as of then within `hops` steps of an Entity, nearest first, then by id; at most `limit`.

    `facts_of` gives all versions of the Facts that have the Entity of that name as subject or object, and of their
    rivals (see `holding`). It is called once for each Entity nearer than `hops`, breadth first, until the limit is
    reached.
    """
    found: list[Fact] = []
    seen_facts: set[str] = set()
    seen_names = {normalised_name(entity)}
    frontier = [entity]
    for _ in range(hops):
        step: dict[str, Fact] = {}
        for name in frontier:
            around = (fact for fact in holding(facts_of(name), as_of, policies) if touches(fact, name))
            step.update((fact.id, fact) for fact in around if fact.id not in seen_facts)
        nearest = sorted(step.values(), key=lambda fact: fact.id)
        found += nearest
        if len(found) >= limit:
            break
        seen_facts.update(step)
        frontier = []
        for end in (end for fact in nearest for end in (fact.subject, fact.object)):
            if isinstance(end, Entity) and normalised_name(end.name) not in seen_names:
                seen_names.add(normalised_name(end.name))
                frontier.append(end.name)
    return found[:limit]


def _many(rivals: Sequence[Fact]) -> Iterable[Fact]:
    return {fact.statement: fact for fact in rivals}.values()


def _single(rivals: Sequence[Fact]) -> Iterable[Fact]:
    return [max(rivals, key=_rank)]


def _set(rivals: Sequence[Fact]) -> Iterable[Fact]:
    first = max(rivals, key=_rank)
    telling = (fact for fact in rivals if (fact.told_at, fact.episode_id) == (first.told_at, first.episode_id))
    return {fact.statement: fact for fact in sorted(telling, key=_rank)}.values()


_CHOICE: Mapping[Contradiction, Callable[[Sequence[Fact]], Iterable[Fact]]] = {
    Contradiction.MANY: _many,
    Contradiction.SINGLE: _single,
    Contradiction.SET: _set,
}
"""Which of the assertions that stand of one subject and relation hold. They come by (told_at, seq), at least one."""


def _rank(fact: Fact) -> tuple[float, int, int, str]:
    return (fact.trust, fact.told_at, fact.seq, fact.id)


def _in_order(facts: Iterable[Fact]) -> list[Fact]:
    return sorted(facts, key=lambda fact: (fact.told_at, fact.seq, fact.id))
