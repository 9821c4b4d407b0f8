"""Summaries of what a speaker, an Entity, a topic or a month came to: the sentences that say most, quoted.

Nothing is worded here, so nothing is made up. A sentence counts by how central it is to its group (its cosine with the
mean) and by how much it says (the IDF of its terms); each next one is chosen by that less its likeness to those chosen
(maximal marginal relevance, Carbonell and Goldstein, SIGIR 1998). Questions are not quoted.

A summary rests on what it quotes and nothing else: those are its sources, and it goes when one of them goes. One that
would not be made again from what all its sources were read with is archived, since memory has moved on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from core.clock import to_datetime
from core.dreams import Archive, DreamKind, Place, Proposal, SummaryOf, Write
from core.ids import normalised_name
from core.nouns import Entity
from memory.dreams.clusters import clusters
from memory.dreams.material import Material, Sentence, Told, place, unit_mean
from memory.dreams.writing import key_of

LEAST_TERMS = 3
"""Of a sentence that is quoted."""
LEAST_EPISODES = {SummaryOf.SPEAKER: 8, SummaryOf.PERIOD: 8, SummaryOf.ENTITY: 3, SummaryOf.TOPIC: 3}
MOST_QUOTED = 8
MOST_OF_TOPIC = 12
"""A topic is as large as what its summary can quote: one sentence of each Episode."""
DIVERSITY = 0.3
"""How much likeness to what is quoted already costs."""


@dataclass(frozen=True, slots=True, eq=False)
class _Group:
    of: SummaryOf
    told: Sequence[Told]
    name: str = ""
    """Of the Entity."""


def summaries(material: Material, may_go_on: Callable[[], bool] = lambda: True) -> list[Proposal]:
    """What to write, and what earlier Dreams wrote and would not write now."""
    made: dict[str, Proposal] = {}
    for group in _groups(material, may_go_on):
        proposal = _summary(group, material)
        if proposal is not None:
            made.setdefault(key_of(_only_write(proposal)), proposal)
    if not may_go_on():
        return []  # half of them would take the other half, written earlier, for out of date
    return [*(one for key, one in made.items() if key not in material.known), *_stale(material, made)]


def _stale(material: Material, made: Iterable[str]) -> list[Proposal]:
    wanted = frozenset(made)
    stale = []
    for one in material.summaries:
        # Those of answers are looked after by `procedures`.
        of_evidence = one.sources and not set(one.sources) & {answer.id for answer in material.answers}
        if of_evidence and material.read.issuperset(one.sources) and one.episode.external_id not in wanted:
            reason = "would not be made again from what is told by now"
            reads = (one.id, *one.sources)
            stale.append(Proposal(DreamKind.SUMMARIES, reads, reason, 1.0, (Archive(one.id),)))
    return [one for one in stale if not _held(material, one)]


def _held(material: Material, proposal: Proposal) -> bool:
    archived = {action.episode_id for action in proposal.actions if isinstance(action, Archive)}
    return any(one.id in archived and one.keeping.holds for one in material.summaries)


def _groups(material: Material, may_go_on: Callable[[], bool]) -> Iterator[_Group]:
    told = [one for one in material.evidence if one.sentences]
    speakers: dict[str, list[Told]] = defaultdict(list)
    months: dict[tuple[str, str, int, int], list[Told]] = defaultdict(list)
    for one in told:
        episode, at = one.episode, to_datetime(one.episode.told_at)
        if episode.speaker:
            speakers[episode.speaker].append(one)
        if episode.conversation:
            months[episode.source.name, episode.conversation, at.year, at.month].append(one)
    for _, of_speaker in sorted(speakers.items()):
        yield _Group(SummaryOf.SPEAKER, of_speaker)
    for _, of_month in sorted(months.items()):
        yield _Group(SummaryOf.PERIOD, of_month)
    yield from _entities(material, {normalised_name(name) for name in speakers})
    full = [one for one in told if any(_quotable(sentence) for sentence in one.sentences)]
    if full:
        vectors = np.stack([one.vector() for one in full])
        for group in clusters(vectors, LEAST_EPISODES[SummaryOf.TOPIC], MOST_OF_TOPIC, may_go_on=may_go_on):
            yield _Group(SummaryOf.TOPIC, [full[number] for number in group])


def _entities(material: Material, speakers: set[str]) -> Iterator[_Group]:
    by_id = {one.id: one for one in material.evidence if one.sentences}
    about: dict[str, tuple[str, set[str]]] = {}
    for fact in material.facts:
        for end in (fact.subject, fact.object):
            if not isinstance(end, Entity) or fact.retracted or fact.episode_id not in by_id:
                continue
            if normalised_name(end.name) not in speakers:
                about.setdefault(end.id, (end.name, set()))[1].add(fact.episode_id)
    for _, (name, episodes) in sorted(about.items()):
        told = sorted((by_id[one] for one in episodes), key=lambda one: place(one.episode))
        yield _Group(SummaryOf.ENTITY, told, name)


def _summary(group: _Group, material: Material) -> Proposal | None:
    if len(group.told) < LEAST_EPISODES[group.of]:
        return None
    by_id = {one.id: one for one in group.told}
    chosen = _chosen(group, material)
    sources = tuple(sentence.concept.episode_id for sentence in chosen)
    if len(set(sources)) < LEAST_EPISODES[SummaryOf.TOPIC]:
        return None
    named = _named(group.name, [by_id[one] for one in dict.fromkeys(sources)]) if group.name else None
    if group.name and named is None:
        return None  # what is not named in its sources has no name of its own to give
    write = Write(group.of, tuple(sentence.concept.id for sentence in chosen), sources, named)
    centre = unit_mean([sentence.vector for sentence in chosen])
    score = max(0.0, min(1.0, fmean(float(sentence.vector @ centre) for sentence in chosen)))
    reason = f"{len(group.told)} Episodes {_SHARE[group.of]}; the {len(chosen)} sentences that say most"
    return Proposal(DreamKind.SUMMARIES, tuple(dict.fromkeys(sources)), reason, score, (write,))


_SHARE = {
    SummaryOf.SPEAKER: "of one speaker",
    SummaryOf.PERIOD: "of one month of a conversation",
    SummaryOf.ENTITY: "about one Entity",
    SummaryOf.TOPIC: "of one topic",
}


def _chosen(group: _Group, material: Material) -> list[Sentence]:
    """What to quote, in the order of telling; of a topic one sentence of each Episode."""
    pool = [sentence for one in group.told for sentence in one.sentences if _quotable(sentence)]
    if not pool:
        return []
    most = MOST_OF_TOPIC if group.of is SummaryOf.TOPIC else MOST_QUOTED
    vectors = np.stack([one.vector for one in pool]).astype(np.float64)
    centre = unit_mean([one.vector for one in pool]).astype(np.float64)
    says = np.array([sum(sorted(material.weights.get(term, 0.0) for term in one.terms)) for one in pool])
    # Rounded, so that the order of summation of two machines does not decide.
    worth = np.round((vectors @ centre + says / max(float(says.max()), 1e-9)) / 2, 6)
    taken: list[int] = []
    alike = np.zeros(len(pool))
    free = np.ones(len(pool), bool)
    while len(taken) < most and free.any():
        best = int(np.argmax(np.where(free, worth - DIVERSITY * alike, -np.inf)))
        taken.append(best)
        alike = np.maximum(alike, np.round(vectors @ vectors[best], 6))
        free[best] = False
        if group.of is SummaryOf.TOPIC:
            episode = pool[best].concept.episode_id
            free &= np.array([one.concept.episode_id != episode for one in pool])
    return [pool[number] for number in sorted(taken)]


def _quotable(sentence: Sentence) -> bool:
    return sentence.states and len(sentence.terms) >= LEAST_TERMS


def _named(name: str, told: Iterable[Told]) -> Place | None:
    """Where the first of these Episodes that names it does, letter for letter."""
    for one in told:
        start = one.episode.text.find(name)
        if start >= 0:
            before = len(one.episode.text[:start].encode())
            return Place(one.id, before, before + len(name.encode()))
    return None


def _only_write(proposal: Proposal) -> Write:
    (action,) = proposal.actions
    assert isinstance(action, Write), "a new summary is one Write"
    return action
