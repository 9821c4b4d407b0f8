"""Facts that a language model read, as proposals: those that memory does not have yet. Pure."""

from __future__ import annotations

from core.dreams import DreamKind, Proposal
from core.ids import normalised_name
from core.nouns import Entity, Fact, NewFact
from memory.dreams.material import Material
from memory.dreams.stating import as_places

Statement = tuple[str, str, str, str]


def facts(material: Material) -> list[Proposal]:
    """One proposal for each, in the order of reading; nothing that the same Episode is known to state, by whomever.

    A Fact that was taken back is there with what takes it back, so it is not proposed again.
    """
    known = {one.id for one in material.facts} | {_known(one) for one in material.facts}
    proposals = []
    for episode, fact in material.said:
        if fact.id in known or _new(fact) in known:
            continue
        known |= {fact.id, _new(fact)}
        reason = f"read by {fact.rule.removeprefix('model:')}, a language model"
        action = as_places(fact, episode)
        proposals.append(Proposal(DreamKind.FACTS, (episode.id,), reason, fact.trust, (action,)))
    return proposals


def _known(fact: Fact) -> Statement:
    target = fact.object.name if isinstance(fact.object, Entity) else fact.object
    return fact.episode_id, normalised_name(fact.subject.name), fact.relation, normalised_name(target)


def _new(fact: NewFact) -> Statement:
    target = fact.entity if fact.entity is not None else fact.literal or ""
    return fact.episode_id, normalised_name(fact.subject), fact.relation, normalised_name(target)
