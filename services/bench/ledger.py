"""What a namespace has been asked to hold, write by write, and what it must then be found to hold.

A write is acknowledged, or in doubt: sent, and the process killed before it answered. Of one in doubt all is there or
nothing, and sending it again does it once. Everything that was told has a name of its own (an external id, a literal),
so what is there twice is seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sapience.v1 import memory_pb2 as pb
from sapience.v1 import memory_pb2_grpc

from services.bench.memory_process import METADATA, differences

CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a namespace holds, as it was exported."""

    episodes: Mapping[str, Sequence[pb.EpisodeRecord]]
    """By external id; more than one is a fault."""
    facts: Counter[str]
    """How many versions there are, by literal."""

    @property
    def concepts(self) -> int:
        """How many Concepts the index must have."""
        kept = (one for some in self.episodes.values() for one in some)
        return sum(len(one.concepts) for one in kept if not one.episode.archived_seq)


def found(records: Iterable[pb.MemoryRecord]) -> Found:
    """Sorts an export."""
    episodes: dict[str, list[pb.EpisodeRecord]] = {}
    facts: Counter[str] = Counter()
    for record in records:
        if record.HasField("episode"):
            episodes.setdefault(record.episode.episode.external_id, []).append(record.episode)
        elif record.HasField("fact"):
            facts[record.fact.literal] += 1
    return Found(episodes, facts)


@dataclass(slots=True)
class Ledger:
    """What one namespace must hold: all that was acknowledged, and nothing else."""

    namespace: str
    episodes: dict[str, pb.NewEpisode] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    """The Episode ids that were given, by external id."""
    archived: set[str] = field(default_factory=set)
    facts: dict[str, str] = field(default_factory=dict)
    """The external id of the Episode that is the evidence, by literal."""

    def lost(self, there: Found, doubtful: Sequence[Write]) -> Iterator[str]:
        """Acknowledged writes that are not there as they were made. What a write in doubt may change is left out."""
        touched = {name for one in doubtful for name in one.names}
        for name, told in self.episodes.items():
            if name in touched:
                continue
            kept = there.episodes.get(name, ())
            if [one.episode.id for one in kept] != [self.ids[name]]:
                yield f"{name} is {len(kept)} times there, and was acknowledged as {self.ids[name]}"
            elif differing := differences(kept[0], told):
                yield f"{name} was told with another {', '.join(differing)}"
            elif bool(kept[0].episode.archived_seq) != (name in self.archived):
                yield f"{name} is archived: {bool(kept[0].episode.archived_seq)}, against what was acknowledged"
        for literal, evidence in self.facts.items():
            if evidence not in touched and there.facts[literal] != 1:
                yield f"the Fact {literal} is {there.facts[literal]} times there"

    def unknown(self, there: Found, doubtful: Sequence[Write]) -> Iterator[str]:
        """What is there and was never told, or was acknowledged as forgotten."""
        known = {*self.episodes, *self.facts, *(name for one in doubtful for name in one.names)}
        for name in (*there.episodes, *there.facts):
            if name not in known:
                yield f"{name} is there, and is not of what was told and kept"


class Write(Protocol):
    """One write, which may be sent again."""

    @property
    def names(self) -> Collection[str]:
        """The external ids and literals that it may change, but those of which it is acknowledged."""
        ...

    def send(self, stub: memory_pb2_grpc.MemoryServiceStub, ledger: Ledger) -> Iterator[str]:
        """Sends it; enters it into the ledger when it is acknowledged. Yields what is wrong with the answer."""
        ...

    def halves(self, there: Found, ledger: Ledger) -> Iterator[str]:
        """What of it is there, where that is neither all nor nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Tell:
    """Remember, with a request_id."""

    request_id: str
    turns: Sequence[pb.NewEpisode]

    @property
    def names(self) -> Collection[str]:
        return [turn.external_id for turn in self.turns]

    def send(self, stub: memory_pb2_grpc.MemoryServiceStub, ledger: Ledger) -> Iterator[str]:
        request = pb.RememberRequest(namespace=ledger.namespace, request_id=self.request_id, episodes=self.turns)
        answer = stub.Remember(request, metadata=METADATA, timeout=CALL_S)
        for turn, kept in zip(self.turns, answer.remembered, strict=True):
            ledger.episodes[turn.external_id] = turn
            ledger.ids[turn.external_id] = kept.episode_id
            if kept.duplicate:  # a stored answer says of new ones that they are new, however often it is given
                yield f"{turn.external_id} of request {self.request_id} is called a duplicate"

    def halves(self, there: Found, ledger: Ledger) -> Iterator[str]:
        yield from _partly(f"Remember {self.request_id}", [name in there.episodes for name in self.names])


@dataclass(slots=True)
class Stream:
    """RememberStream. Each Episode is a write of its own, and has no request_id: a repeated one is a duplicate."""

    turns: Sequence[pb.NewEpisode]
    acknowledged: set[str] = field(default_factory=set)

    @property
    def names(self) -> Collection[str]:
        return [turn.external_id for turn in self.turns if turn.external_id not in self.acknowledged]

    def send(self, stub: memory_pb2_grpc.MemoryServiceStub, ledger: Ledger) -> Iterator[str]:
        def requests() -> Iterator[pb.RememberStreamRequest]:
            for number, turn in enumerate(self.turns):
                yield pb.RememberStreamRequest(namespace=ledger.namespace, client_seq=number, episode=turn)

        for answer in stub.RememberStream(requests(), metadata=METADATA, timeout=CALL_S):
            turn = self.turns[answer.client_seq]
            if answer.WhichOneof("outcome") != "remembered":
                yield f"{turn.external_id} was refused: {answer.error.message}"
                continue
            ledger.episodes[turn.external_id] = turn
            self.acknowledged.add(turn.external_id)
            known = ledger.ids.setdefault(turn.external_id, answer.remembered.episode_id)
            if known != answer.remembered.episode_id:
                yield f"{turn.external_id} was acknowledged as {known}, and is now {answer.remembered.episode_id}"

    def halves(self, there: Found, ledger: Ledger) -> Iterator[str]:
        for turn in self.turns:
            for kept in there.episodes.get(turn.external_id, ()):
                if differing := differences(kept, turn):
                    yield f"{turn.external_id} is half there: another {', '.join(differing)}"


@dataclass(frozen=True, slots=True)
class State:
    """AssertFact of a literal, with an Episode as its evidence."""

    request_id: str
    literal: str
    evidence: str

    @property
    def names(self) -> Collection[str]:
        return [self.literal]

    def send(self, stub: memory_pb2_grpc.MemoryServiceStub, ledger: Ledger) -> Iterator[str]:
        request = pb.AssertFactRequest(
            namespace=ledger.namespace,
            request_id=self.request_id,
            subject="Ada",
            relation="said",
            literal=self.literal,
            episode_id=ledger.ids[self.evidence],
        )
        answer = stub.AssertFact(request, metadata=METADATA, timeout=CALL_S)
        ledger.facts[self.literal] = self.evidence
        if answer.fact.literal != self.literal:
            yield f"the Fact {self.literal} was answered with {answer.fact.literal}"

    def halves(self, there: Found, ledger: Ledger) -> Iterator[str]:
        if there.facts[self.literal] > 1:
            yield f"the Fact {self.literal} is {there.facts[self.literal]} times there"


@dataclass(frozen=True, slots=True)
class Forgets:
    """Forget, of Episodes and with them their Facts."""

    request_id: str
    gone: Sequence[str]

    @property
    def names(self) -> Collection[str]:
        return self.gone

    def send(self, stub: memory_pb2_grpc.MemoryServiceStub, ledger: Ledger) -> Iterator[str]:
        ids = [ledger.ids[name] for name in self.gone]
        request = pb.ForgetRequest(namespace=ledger.namespace, request_id=self.request_id, episode_ids=ids)
        answer = stub.Forget(request, metadata=METADATA, timeout=CALL_S)
        if answer.episodes != len(ids):  # done twice, it would find none the second time
            yield f"Forget {self.request_id} took {answer.episodes} of {len(ids)}"
        for name in self.gone:
            ledger.episodes.pop(name, None)
        # Listed at once: other threads state Facts of their own meanwhile.
        for literal in [one for one, evidence in [*ledger.facts.items()] if evidence in self.gone]:
            del ledger.facts[literal]

    def halves(self, there: Found, ledger: Ledger) -> Iterator[str]:
        facts = [literal for literal, evidence in ledger.facts.items() if evidence in self.gone]
        left = [name in there.episodes for name in self.gone] + [literal in there.facts for literal in facts]
        yield from _partly(f"Forget {self.request_id}", left)


@dataclass(frozen=True, slots=True)
class Moves:
    """Archive or Thaw."""

    request_id: str
    moved: Sequence[str]
    archive: bool

    @property
    def names(self) -> Collection[str]:
        return self.moved

    def send(self, stub: memory_pb2_grpc.MemoryServiceStub, ledger: Ledger) -> Iterator[str]:
        ids = [ledger.ids[name] for name in self.moved]
        name, request_id = ledger.namespace, self.request_id
        if self.archive:
            archive = pb.ArchiveRequest(namespace=name, request_id=request_id, episode_ids=ids)
            count = stub.Archive(archive, metadata=METADATA, timeout=CALL_S).episodes
            ledger.archived.update(self.moved)
        else:
            thaw = pb.ThawRequest(namespace=name, request_id=request_id, episode_ids=ids)
            count = stub.Thaw(thaw, metadata=METADATA, timeout=CALL_S).episodes
            ledger.archived.difference_update(self.moved)
        if count != len(ids):
            yield f"{'Archive' if self.archive else 'Thaw'} {self.request_id} moved {count} of {len(ids)}"

    def halves(self, there: Found, ledger: Ledger) -> Iterator[str]:
        kept = [there.episodes.get(name, ()) for name in self.moved]
        if not all(kept):
            yield f"request {self.request_id} lost what it was to move"
            return
        yield from _partly(f"request {self.request_id}", [bool(one[0].episode.archived_seq) for one in kept])


def _partly(what: str, there: Sequence[bool]) -> Iterator[str]:
    if len(set(there)) > 1:
        yield f"{what} is half there: {sum(there)} of {len(there)}"
