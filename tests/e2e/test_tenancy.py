"""Many clients on several namespaces at once, over gRPC: no foreign row in any answer, and no score that a foreign
write has moved.

All namespaces are told the same: the same words, vectors, names, external ids and request ids, so that whatever is told
apart is told apart by its namespace alone. What is foreign is seen by ids, which the server gives. Clients also ask
with ids and page tokens of other namespaces. Beside them one namespace is only read: its answers have to stay the same
to the last bit. `SAPIENCE_TEST_FUZZ` makes it so many times as long.
"""

from __future__ import annotations

import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sapience.v1 import concept_pb2
from sapience.v1 import memory_pb2 as pb

from core.ids import entity_id
from services.bench.memory_process import (
    DIMENSIONS,
    METADATA,
    WORDS,
    MemoryProcess,
    made_turn,
    memory_process,
    tensor,
)

TIMES = int(os.environ.get("SAPIENCE_TEST_FUZZ", "1"))
STEPS = 60 * TIMES
NAMESPACES = ("first", "second", "third")
QUIET = "quiet"
CLIENTS = 2
"""In each namespace."""
ENTITIES = ("Ann", "Bob", "the boat", "the lake")
RELATIONS = ("knows", "likes", "lives_in")
OWNERS_OF_ENTITIES = {entity_id(tenant, name): tenant for tenant in (*NAMESPACES, QUIET) for name in ENTITIES}


@dataclass
class Tenant:
    """What a namespace's own clients did in it. The lock is for all of it."""

    name: str
    lock: threading.Lock = field(default_factory=threading.Lock)
    alive: dict[str, None] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    facts: dict[str, str] = field(default_factory=dict)
    """The Episode that is its evidence, by Fact; empty for none."""
    uses: Counter[str] = field(default_factory=Counter)
    tokens: list[tuple[str, str]] = field(default_factory=list)
    """Page tokens: of which RPC, and the token."""


@dataclass
class Client:
    """One caller in one namespace, with what it told itself."""

    process: MemoryProcess
    tenant: Tenant
    others: Sequence[Tenant]
    number: int
    seed: int
    mine: list[str] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    """Ids that an answer held: of which RPC, and the id."""
    asked: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # The same in each namespace, so that all of them tell and ask the same.
        self.chance = random.Random(f"{self.seed}/{self.number}")
        self.told = 0

    def live(self) -> None:
        steps = [
            *(self.remember, self.remember_stream, self.recall, self.timeline, self.assert_fact, self.graph) * 2,
            *(self.retract, self.forget, self.keep, self.use, self.read_all, self.policies),
            *(self.reach_for_foreign_episodes, self.reach_for_foreign_facts, self.reach_for_foreign_pages),
        ]
        for _ in range(STEPS):
            step = self.chance.choice(steps)
            self.asked[step.__name__] += 1
            step()

    # What it does in its own namespace.

    def remember(self) -> None:
        turns = self._turns(self.chance.randint(1, 6))
        answer = self._call("Remember", pb.RememberRequest(episodes=turns, request_id=self._request_id()))
        self._kept(answer.remembered)

    def remember_stream(self) -> None:
        turns = self._turns(self.chance.randint(1, 12))

        def requests() -> Iterator[pb.RememberStreamRequest]:
            for number, turn in enumerate(turns):
                yield pb.RememberStreamRequest(namespace=self.tenant.name, client_seq=number, episode=turn)

        answers = list(self.process.stub.RememberStream(requests(), metadata=METADATA, timeout=60))
        assert [one.WhichOneof("outcome") for one in answers] == ["remembered"] * len(turns)
        self._kept([one.remembered for one in answers])

    def recall(self) -> None:
        request = pb.RecallRequest(text=self._words(), vector=self._vector(), limit=3)
        answer = self._call("Recall", request)
        for hit in answer.hits:
            assert hit.episode.namespace == self.tenant.name
            self._see("Recall", hit.episode.id, hit.concept.episode_id)
        if answer.next_page_token:
            with self.tenant.lock:
                self.tenant.tokens.append(("Recall", answer.next_page_token))
            request.page_token = answer.next_page_token
            self._see("Recall", *(hit.episode.id for hit in self._call("Recall", request).hits))

    def timeline(self) -> None:
        answer = self._call("Timeline", pb.TimelineRequest(limit=5, entity=self.chance.choice(["", *ENTITIES])))
        for entry in answer.entries:
            if entry.HasField("episode"):
                assert entry.episode.namespace == self.tenant.name
                self._see("Timeline", entry.episode.id)
            else:
                self._see_facts("Timeline", [entry.fact])
        if answer.next_page_token:
            with self.tenant.lock:
                self.tenant.tokens.append(("Timeline", answer.next_page_token))

    def assert_fact(self) -> None:
        evidence = self.chance.choice(self.mine) if self.mine and self.chance.random() < 0.7 else ""
        request = pb.AssertFactRequest(
            request_id=self._request_id(),
            subject=self.chance.choice(ENTITIES),
            relation=self.chance.choice(RELATIONS),
            entity=self.chance.choice(ENTITIES),
            episode_id=evidence,
        )
        fact = self._call("AssertFact", request).fact
        self._see_facts("AssertFact", [fact], own=False)
        with self.tenant.lock:
            self.tenant.facts[fact.id] = evidence

    def graph(self) -> None:
        start, end = self.chance.sample(ENTITIES, 2)
        self._see_facts("Neighbours", self._call("Neighbours", pb.NeighboursRequest(entity=start, hops=2)).facts)
        for path in self._call("Paths", pb.PathsRequest(start=start, end=end)).paths:
            self._see_facts("Paths", path.facts)
        self._see_facts("FactHistory", self._call("FactHistory", pb.FactHistoryRequest(subject=start)).facts)
        earlier = concept_pb2.AsOf(seq=1)
        changes = self._call("Changes", pb.ChangesRequest(before=earlier, entity=start))
        for difference in (changes.belief, changes.world):
            self._see_facts("Changes", [*difference.gained, *difference.lost])

    def retract(self) -> None:
        with self.tenant.lock:
            known = list(self.tenant.facts)
        if known:
            request = pb.RetractFactRequest(fact_id=self.chance.choice(known), request_id=self._request_id())
            try:
                fact = self._call("RetractFact", request).fact
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
                return  # it went with a forgotten Episode
            with self.tenant.lock:
                self.tenant.facts[fact.id] = ""

    def forget(self) -> None:
        if len(self.mine) < 10:
            return
        going = [self.mine.pop(self.chance.randrange(len(self.mine))) for _ in range(2)]
        gone = self._call("Forget", pb.ForgetRequest(episode_ids=going, request_id=self._request_id()))
        assert gone.episodes == len(going)
        with self.tenant.lock:
            self.tenant.forgotten.update(going)

    def keep(self) -> None:
        if not self.mine:
            return
        ids = self.chance.sample(self.mine, min(2, len(self.mine)))
        name = f"hold of {self.tenant.name}"
        assert self._call("Archive", pb.ArchiveRequest(episode_ids=ids)).episodes == len(ids)
        assert self._call("SetHold", pb.SetHoldRequest(episode_ids=ids, hold=name)).changed == len(ids)
        (holds,) = {
            tuple(one.holds) for one in self._call("GetKeeping", pb.GetKeepingRequest(episode_ids=ids)).keepings
        }
        assert holds == (name,)
        assert self._call("SetHold", pb.SetHoldRequest(episode_ids=ids, hold=name, release=True)).changed == len(ids)
        assert self._call("Thaw", pb.ThawRequest(episode_ids=ids)).episodes == len(ids)

    def use(self) -> None:
        if self.mine:
            used = self.chance.choice(self.mine)
            self._call("RecordUse", pb.RecordUseRequest(uses=[pb.Use(episode_id=used, count=1)]))
            with self.tenant.lock:
                self.tenant.uses[used] += 1

    def read_all(self) -> None:
        for record in self.process.export(self.tenant.name):
            if record.HasField("episode"):
                assert record.episode.episode.namespace == self.tenant.name
                self._see("Export", record.episode.episode.id, *(one.episode_id for one in record.episode.concepts))
            elif record.HasField("fact"):
                self._see_facts("Export", [record.fact])
        self._call("Stats", pb.StatsRequest())

    def policies(self) -> None:
        mine = NAMESPACES.index(self.tenant.name) + 1
        relation = self.chance.choice(RELATIONS)
        self._call("SetRelationPolicy", pb.SetRelationPolicyRequest(relation=relation, policy=mine))
        listed = self._call("ListRelationPolicies", pb.ListRelationPoliciesRequest()).policies
        assert {one.policy for one in listed} == {mine}

    # What it tries with what belongs to others.

    def reach_for_foreign_episodes(self) -> None:
        foreign = self._foreign(lambda other: [*other.alive])
        if not foreign:
            return
        assert self._call("Forget", pb.ForgetRequest(episode_ids=foreign)).episodes == 0
        assert not self._call("GetKeeping", pb.GetKeepingRequest(episode_ids=foreign)).keepings
        uses = [pb.Use(episode_id=one, count=1000) for one in foreign]
        self._call("RecordUse", pb.RecordUseRequest(uses=uses))
        when = Timestamp(seconds=1)
        for rpc, request in (
            ("Archive", pb.ArchiveRequest(episode_ids=foreign)),
            ("Thaw", pb.ThawRequest(episode_ids=foreign)),
            ("SetHold", pb.SetHoldRequest(episode_ids=foreign, hold="a foreign hold")),
            ("SetExpiry", pb.SetExpiryRequest(episode_ids=foreign, expires_at=when, expiry=pb.EXPIRY_DELETE)),
            ("AssertFact", pb.AssertFactRequest(subject="Ann", relation="knows", literal="x", episode_id=foreign[0])),
        ):
            self._refused(grpc.StatusCode.NOT_FOUND, rpc, request)

    def reach_for_foreign_facts(self) -> None:
        foreign = self._foreign(lambda other: [*other.facts])
        if foreign:
            self._refused(grpc.StatusCode.NOT_FOUND, "RetractFact", pb.RetractFactRequest(fact_id=foreign[0]))

    def reach_for_foreign_pages(self) -> None:
        tokens: list[tuple[str, str]] = self._foreign(lambda other: other.tokens)
        for rpc, token in tokens:
            made = pb.RecallRequest(text=self._words(), vector=self._vector(), limit=3, page_token=token)
            request = made if rpc == "Recall" else pb.TimelineRequest(limit=5, page_token=token)
            self._refused(grpc.StatusCode.INVALID_ARGUMENT, rpc, request)

    # The steps of these.

    def _call(self, rpc: str, request: Any) -> Any:
        request.namespace = self.tenant.name
        return getattr(self.process.stub, rpc)(request, metadata=METADATA, timeout=60)

    def _refused(self, code: grpc.StatusCode, rpc: str, request: Any) -> None:
        with pytest.raises(grpc.RpcError) as caught:
            self._call(rpc, request)
        assert caught.value.code() is code, caught.value

    def _foreign(self, of: Callable[[Tenant], list[Any]]) -> list[Any]:
        other = self.chance.choice(self.others)
        with other.lock:
            known = of(other)
            return self.chance.sample(known, min(2, len(known)))

    def _turns(self, count: int) -> list[pb.NewEpisode]:
        self.told += count
        first = 10_000 * self.number + self.told - count
        return [
            made_turn(random.Random(f"{self.seed}/{place}"), place, "" if place % 3 else f"turn-{place}")
            for place in range(first, first + count)
        ]

    def _kept(self, remembered: Sequence[pb.Remembered]) -> None:
        assert not any(one.duplicate for one in remembered), "taken for what another namespace was told"
        ids = [one.episode_id for one in remembered]
        self.mine += ids
        with self.tenant.lock:
            self.tenant.alive.update(dict.fromkeys(ids))

    def _request_id(self) -> str:
        return f"{self.number}/{sum(self.asked.values())}"

    def _words(self) -> str:
        return " ".join(self.chance.sample(WORDS, 3))

    def _vector(self) -> concept_pb2.Tensor:
        return vector_of(self.chance.getrandbits(32))

    def _see(self, rpc: str, *ids: str) -> None:
        self.seen += [(rpc, one) for one in ids if one]

    def _see_facts(self, rpc: str, facts: Sequence[concept_pb2.Fact], own: bool = True) -> None:
        for fact in facts:
            self._see(rpc, *([fact.id] if own else []), fact.episode_id)
            for entity in (fact.subject.id, fact.entity.id):
                assert OWNERS_OF_ENTITIES.get(entity, self.tenant.name) == self.tenant.name, f"{rpc}: {fact}"


def vector_of(seed: int) -> concept_pb2.Tensor:
    return tensor(np.random.default_rng(seed).standard_normal((1, DIMENSIONS)).astype(np.float32))


class Quiet:
    """A namespace that nobody writes: what a recall of it says, to the last bit."""

    def __init__(self, process: MemoryProcess) -> None:
        self._process = process
        self._told = [made_turn(random.Random(n), n) for n in range(60)]
        request = pb.RememberRequest(namespace=QUIET, episodes=self._told)
        process.stub.Remember(request, metadata=METADATA, timeout=60)
        process.caught_up()
        self._first = self.answers()
        self.looked = 0

    def answers(self) -> list[list[bytes]]:
        found = []
        for number in range(5):
            words = " ".join(random.Random(number).sample(WORDS, 4))
            request = pb.RecallRequest(namespace=QUIET, text=words, vector=vector_of(number), limit=50)
            answer = self._process.stub.Recall(request, metadata=METADATA, timeout=60)
            hits = [hit.SerializeToString(deterministic=True) for hit in answer.hits]
            found.append([*hits, repr(answer.known_terms).encode()])
        return found

    def watch(self, until: threading.Event) -> None:
        while not until.is_set():
            assert self.answers() == self._first
            self.looked += 1


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryProcess]:
    # A small shard is merged often: scores must not move by that either.
    with memory_process(tmp_path_factory.mktemp("tenancy"), SAPIENCE_OPTIMIZE_EVERY="500") as one:
        yield one


@pytest.mark.parametrize("seed", range(TIMES))
def test_no_foreign_row_in_any_answer_and_no_score_moved(process: MemoryProcess, seed: int, tmp_path: Path) -> None:
    for name in (QUIET, *NAMESPACES):
        process.stub.CreateNamespace(pb.CreateNamespaceRequest(namespace=name), metadata=METADATA, timeout=60)
    quiet = Quiet(process)
    tenants = [Tenant(name) for name in NAMESPACES]
    clients = [
        Client(process, tenant, [one for one in tenants if one is not tenant], number, seed)
        for tenant in tenants
        for number in range(CLIENTS)
    ]
    ended = threading.Event()
    with ThreadPoolExecutor(len(clients) + 1) as threads:
        watching = threads.submit(quiet.watch, ended)
        lives = [threads.submit(client.live) for client in clients]
        try:
            for life in lives:
                life.result()
        finally:
            ended.set()
        watching.result()
    assert quiet.looked > 0
    process.caught_up()
    assert quiet.answers() == quiet._first

    owners = {one: tenant.name for tenant in tenants for one in (*tenant.alive, *tenant.facts)}
    foreign = [
        (client.tenant.name, rpc, one, owners.get(one))
        for client in clients
        for rpc, one in client.seen
        if owners.get(one) != client.tenant.name
    ]
    assert not foreign
    assert {rpc for client in clients for rpc, _ in client.seen} >= {
        "Recall", "Timeline", "Export", "Neighbours", "Paths", "FactHistory", "Changes",
    }  # fmt: skip
    for tenant in tenants:
        check_untouched(process, tenant)
    for name in (*NAMESPACES, QUIET):
        process.stub.DeleteNamespace(pb.DeleteNamespaceRequest(namespace=name), metadata=METADATA, timeout=60)


def check_untouched(process: MemoryProcess, tenant: Tenant) -> None:
    """A namespace holds what its own clients told, forgot and counted, and nothing else."""
    alive = tenant.alive.keys() - tenant.forgotten
    records = process.export(tenant.name)
    assert {one.episode.episode.id for one in records if one.HasField("episode")} == alive
    facts = {one.fact.id for one in records if one.HasField("fact")}
    assert facts <= tenant.facts.keys()
    assert facts >= {fact for fact, evidence in tenant.facts.items() if evidence in alive}
    stats = process.stats(tenant.name)
    concepts = sum(len(one.episode.concepts) for one in records)
    assert (stats.episodes, stats.indexed, stats.archived) == (len(alive), concepts, 0)
    request = pb.GetKeepingRequest(namespace=tenant.name, episode_ids=sorted(alive))
    keepings = process.stub.GetKeeping(request, metadata=METADATA, timeout=60).keepings
    assert {one.episode_id: one.uses for one in keepings if one.uses} == {
        one: count for one, count in tenant.uses.items() if one in alive
    }
    assert not [one for one in keepings if one.holds or one.HasField("expires_at")]
