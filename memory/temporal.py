"""The rules of time: which Facts hold as of a moment. Pure functions over versions of Facts.

A statement (subject, relation, object) has versions, each told at a time. Taken in the order of (told_at, seq), an
assertion adds its valid interval to what is believed, and a retraction takes back all that was believed until then from
its `valid.start` on (everything, where it has none). What was told later wins, and among what was told at once, what
was committed later. A statement holds at `valid_at` if that moment is in what remains.

What this does not do: two statements never contradict each other here ("lives in Rome" does not end "lives in Paris":
retract the one and assert the other), trust does not count, and a time known to the day is taken at its first moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from core.ids import normalised_name
from core.nouns import AsOf, Entity, Fact


def known(facts: Iterable[Fact], as_of: AsOf) -> list[Fact]:
    """The versions that had been told and committed by then, in the order in which they count."""
    by_then = (fact for fact in facts if fact.told_at <= as_of.told_by and fact.seq <= as_of.seq)
    return sorted(by_then, key=lambda fact: (fact.told_at, fact.seq, fact.id))


def holding(facts: Iterable[Fact], as_of: AsOf) -> list[Fact]:
    """For each statement that holds as of then, the version that says so: the last assertion that still stands.

    Ordered by (told_at, seq). `facts` may hold versions of many statements, in any order; all versions of a statement
    must be among them.
    """
    standing: dict[tuple[str, str, str], Fact] = {}
    # Only the one moment matters, so no interval is ever cut: a version either covers it or not.
    for fact in known(facts, as_of):
        if fact.retracted:
            if fact.valid.start is None or fact.valid.start <= as_of.valid_at:
                standing.pop(fact.statement, None)
        elif fact.valid.contains(as_of.valid_at):
            standing[fact.statement] = fact
    return sorted(standing.values(), key=lambda fact: (fact.told_at, fact.seq, fact.id))


def neighbours(
    entity: str, hops: int, facts_of: Callable[[str], Iterable[Fact]], as_of: AsOf, limit: int
) -> list[Fact]:
    """The Facts that hold as of then within `hops` steps of an Entity, nearest first, then by id; at most `limit`.

    `facts_of` gives all versions of the Facts that have the Entity of that name as subject or object. It is called once
    for each Entity nearer than `hops`, breadth first, until the limit is reached.
    """
    found: list[Fact] = []
    seen_facts: set[str] = set()
    seen_names = {normalised_name(entity)}
    frontier = [entity]
    for _ in range(hops):
        step: dict[str, Fact] = {}
        for name in frontier:
            step.update((fact.id, fact) for fact in holding(facts_of(name), as_of) if fact.id not in seen_facts)
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
