"""Contradictions found: Facts that cannot all be so, and relations that behave as if only one could. Changes nothing.

Two statements of one subject and a SINGLE relation disagree where both stand at the same moment with different objects
(`memory.temporal` says what stands, and which one holds). A relation that was given no policy *behaves like SINGLE*
where, for `LEAST_SUBJECTS` subjects or more, objects came one after another and never two at one telling: then the
policy is suggested, and somebody who knows what the relation means may set it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from core.clock import EARLIEST
from core.dreams import DreamKind, Proposal
from core.nouns import AsOf, Contradiction, Fact
from memory import temporal
from memory.dreams.material import Material

LEAST_SUBJECTS = 2
MOST = 200
"""Findings of one Dream."""


def contradictions(material: Material) -> list[Proposal]:
    """Suggestions of a policy first, then disagreements by the time of the telling that made them."""
    policies = {one.relation: one.policy for one in material.policies}
    told: dict[str, dict[str, list[Fact]]] = defaultdict(lambda: defaultdict(list))
    for fact in material.facts:
        told[fact.relation][fact.subject.id].append(fact)
    suggested, disagreeing = [], []
    for relation, by_subject in sorted(told.items()):
        policy = policies.get(relation)
        single = policy is Contradiction.SINGLE
        if policy is None:
            moving = [facts for facts in by_subject.values() if _one_at_a_time(facts)]
            several = [facts for facts in by_subject.values() if _objects(facts) > 1]
            single = len(moving) >= LEAST_SUBJECTS and len(moving) == len(several)
            if single:
                reason = (
                    f"{len(moving)} subjects had one object after another and never two at once: "
                    "the policy SINGLE would fit this relation"
                )
                suggested.append(_finding([facts[-1] for facts in moving], reason, 0.5))
        if single:
            for facts in by_subject.values():
                disagreeing += _disagreements(facts, known=policy is not None)
    return [*suggested, *disagreeing][:MOST]


def _objects(facts: Sequence[Fact]) -> int:
    return len({fact.statement for fact in facts if not fact.retracted})


def _one_at_a_time(facts: Sequence[Fact]) -> bool:
    """Whether there were several objects, each told at a time of its own."""
    tellings: dict[tuple[int, str], set[tuple[str, str, str]]] = defaultdict(set)
    for fact in facts:
        if not fact.retracted:
            tellings[fact.told_at, fact.episode_id].add(fact.statement)
    return _objects(facts) > 1 and all(len(statements) == 1 for statements in tellings.values())


def _disagreements(facts: Sequence[Fact], *, known: bool) -> list[Proposal]:
    """Each pair of statements that stand at one moment, once, by the Facts that say so."""
    found: dict[frozenset[tuple[str, str, str]], Proposal] = {}
    for moment in sorted({EARLIEST if fact.valid.start is None else fact.valid.start for fact in facts}):
        as_of = AsOf(valid_at=moment)
        stand = {fact.statement: fact for fact in temporal.standing(facts, as_of)}
        if len(stand) < 2:
            continue
        policy = {facts[0].relation: Contradiction.SINGLE}
        (holds,) = temporal.holding(facts, as_of, policy)
        for statement, fact in stand.items():
            if statement != holds.statement:
                reason = "two objects of one relation stand at the same moment; by SINGLE the first one named holds"
                pair = frozenset((statement, holds.statement))
                found.setdefault(pair, _finding([holds, fact], reason, 1.0 if known else 0.5))
    return list(found.values())


def _finding(facts: Sequence[Fact], reason: str, score: float) -> Proposal:
    reads = tuple(dict.fromkeys(fact.episode_id for fact in facts if fact.episode_id))
    return Proposal(DreamKind.CONTRADICTIONS, reads, reason, score, facts=tuple(fact.id for fact in facts))
