"""Many threads on several namespaces of one record at once: what each is told, and what is forgotten, stays its own.

All namespaces are told the same, with the same external ids and request ids, by threads that also ask with ids of
others. At the end each holds what its own threads made of it; one that nobody wrote is as it was, statistics and all.
`SAPIENCE_TEST_FUZZ` makes it so many times as long.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from record_backends import PLACES, SPACE, Place, stated, told

from core.clock import SystemClock
from core.errors import NotFound
from core.ids import RandomIds, entity_id
from core.nouns import AsOf, Contradiction, EpisodeFilter, Expiry
from core.ports import Record

TIMES = int(os.environ.get("SAPIENCE_TEST_FUZZ", "1"))
STEPS = 40 * TIMES
NAMESPACES = ("first", "second", "third")
QUIET = "quiet"
NAMES = ("Ann", "Bob", "the boat")
ALL = EpisodeFilter(kinds=())


@dataclass
class Tenant:
    """One thread's namespace, and all that it holds. Other threads read `episodes` and `facts` to ask for them."""

    record: Record
    name: str
    others: list[Tenant] = field(default_factory=list)
    episodes: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    archived: set[str] = field(default_factory=set)
    evidence: dict[str, str] = field(default_factory=dict)
    uses: int = 0
    made: int = 0

    def live(self, seed: int) -> None:
        chance = random.Random(seed)  # the same for all: they do the same, each on its own
        steps: list[Callable[[random.Random], None]] = [
            self.remember, self.assert_facts, self.forget, self.move, self.use, self.read, self.reach, self.reach,
        ]  # fmt: skip
        self.remember(chance)
        for _ in range(STEPS):
            chance.choice(steps)(chance)

    def remember(self, chance: random.Random) -> None:
        batch = [
            told(f"turn {n}", position=n, external_id="" if n % 2 else f"x{n}", terms=[n % 5, 5 + n % 7])
            for n in range(self.made, self.made + chance.randint(1, 5))
        ]
        answer = self.record.remember(self.name, SPACE, batch, request_id=f"remember {self.made}")
        assert not any(one.duplicate for one in answer)
        self.made += len(batch)
        self.episodes += [one.episode_id for one in answer]

    def assert_facts(self, chance: random.Random) -> None:
        evidence = [chance.choice(self.episodes) for _ in range(chance.randint(1, 4))]
        facts = [stated(chance.choice(NAMES), "knows", chance.choice(NAMES), episode_id=one) for one in evidence]
        for fact, one in zip(self.record.assert_facts(self.name, facts), evidence, strict=True):
            self.evidence[fact.id] = one
            self.facts.append(fact.id)

    def forget(self, chance: random.Random) -> None:
        if len(self.episodes) > 5:
            going = self.episodes.pop(chance.randrange(len(self.episodes)))
            gone = [fact for fact, evidence in self.evidence.items() if evidence == going]
            answer = self.record.forget(self.name, episode_ids=[going], request_id=f"forget {going}")
            assert (answer.episodes, answer.facts) == (1, len(gone))
            self.archived.discard(going)
            for fact in gone:
                del self.evidence[fact]
                self.facts.remove(fact)

    def move(self, chance: random.Random) -> None:
        some = chance.choice(self.episodes)
        move = self.record.thaw if some in self.archived else self.record.archive
        assert move(self.name, [some]).episode_ids == (some,)
        self.archived ^= {some}

    def use(self, chance: random.Random) -> None:
        self.uses += 1
        self.record.add_uses(self.name, {self.episodes[0]: (1, self.uses)})

    def read(self, chance: random.Random) -> None:
        mine = set(self.episodes)
        record, name = self.record, self.name
        listed = record.timeline(name, ALL, AsOf(), 1000)
        assert {one.id for one in listed} == mine
        assert {one.namespace for one in listed} == {name}
        exported = [episode.id for episode, _ in record.export_episodes(name)]
        assert sorted(exported) == sorted(mine)
        near = record.window(name, [chance.choice(self.episodes)], 3)
        assert {one.id for some in near.values() for one in some} <= mine
        for entity in (None, *NAMES):
            facts = record.facts(name, entity, contended=["knows"])
            assert {one.id for one in facts} <= set(self.facts)
            assert {one.subject.id for one in facts} <= {entity_id(name, one) for one in NAMES}
        assert {one.id for one in record.facts(name)} == set(self.facts)
        assert {episode.id for episode, _ in record.archived_concepts(name, AsOf())} == set()
        assert len(list(record.concept_ids(name))) == len(mine - self.archived)
        counts = record.counts(name)
        assert (counts.episodes, counts.facts) == (len(mine), len(self.facts))
        assert counts.archived_episodes == len(self.archived)
        assert record.speakers(name) == {"Ann": len(mine)}

    def reach(self, chance: random.Random) -> None:
        """With ids of another namespace: they are not there, whatever is asked."""
        other = chance.choice(self.others)
        episodes, facts = [*other.episodes], [*other.facts]
        if not episodes or not facts:
            return
        record, name = self.record, self.name
        foreign = [chance.choice(episodes)]
        assert record.episodes(name, foreign) == {}
        assert record.concepts_of(name, foreign) == {}
        assert record.columns_of(name, foreign).ids == ()
        assert record.window(name, foreign, 2) == {}
        assert record.keepings(name, foreign) == {}
        assert record.forget(name, episode_ids=foreign).episodes == 0
        record.add_uses(name, {foreign[0]: (1000, 1)})
        calls: Sequence[Callable[[], Any]] = [
            lambda: record.archive(name, foreign),
            lambda: record.thaw(name, foreign),
            lambda: record.set_hold(name, foreign, "h"),
            lambda: record.set_expiry(name, foreign, 1, Expiry.DELETE),
            lambda: record.assert_fact(name, stated(episode_id=foreign[0])),
            lambda: record.retract_fact(name, chance.choice(facts), None, None),
        ]
        for call in calls:
            with pytest.raises(NotFound):
                call()


@pytest.fixture(params=PLACES)
def record(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Record]:
    place: Place = request.param(tmp_path)
    place.clear()
    clock = SystemClock()
    made = place.open(clock, RandomIds(clock))
    for name in (QUIET, *NAMESPACES):
        made.create_namespace(name)
    yield made
    made.close()


def everything(record: Record) -> list[Any]:
    """What the quiet namespace answers, with all that scores are made of; and to the last bit."""
    exported = list(record.export_episodes(QUIET))
    vectors = [one.vector.tobytes() for _, concepts in exported for one in concepts]
    terms = [one.terms for _, concepts in exported for one in concepts]
    return [
        [episode for episode, _ in exported], vectors, terms, record.term_statistics(QUIET, range(20)),
        record.speakers(QUIET), record.facts(QUIET), record.policies(QUIET), record.facts(QUIET, "Ann"),
        list(record.concept_ids(QUIET)), record.keepings(QUIET, [episode.id for episode, _ in exported]),
    ]  # fmt: skip


def test_no_namespace_sees_or_moves_what_is_anothers(record: Record) -> None:
    quiet = record.remember(QUIET, SPACE, [told(f"turn {n}", position=n, terms=[n % 5, 5 + n % 7]) for n in range(20)])
    record.assert_facts(QUIET, [stated(episode_id=quiet[0].episode_id), stated("Bob")])
    record.set_policy(QUIET, "knows", Contradiction.SET)
    before = everything(record)
    tenants = [Tenant(record, name) for name in NAMESPACES]
    for tenant in tenants:
        tenant.others = [other for other in tenants if other is not tenant]
    with ThreadPoolExecutor(len(tenants)) as threads:
        for life in [threads.submit(tenant.live, 1) for tenant in tenants]:
            life.result()
    assert everything(record) == before
    for tenant in tenants:
        tenant.read(random.Random(0))
        assert sum(one.uses for one in record.keepings(tenant.name, tenant.episodes).values()) <= tenant.uses
    seqs = [entry.seq for entry in record.outbox(10_000)]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] <= record.seq()
