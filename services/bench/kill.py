"""A memory service is killed with -9 at random moments under load, and started again: is anything lost, or half there?

Several clients of several namespaces write at once: RememberStream, Remember, AssertFact, Forget, Archive and Thaw, the
unary ones with request ids, one client for each kind so that what each of its writes did can be told. At a random
moment the process is killed, in a fifth of the cases once more while it starts again; then it has to be whole:

    lost            acknowledged writes that are not there as they were made
    half_written    writes without an answer of which a part is there
    done_twice      such writes that took effect twice, or answered otherwise, when they were sent again
    diverged        namespaces whose index held other Concepts than the record, when the outbox was empty
    gaps            numbers of commits that are missing
    mended          starts at which draining the outbox was not enough to make the index whole

All should be 0. Every namespace is exported whole after every kill and compared with what was told; after `GENERATION`
kills it is deleted and another one begun. At the end index and record are compared Concept by Concept. It is measured
on SQLite and Qdrant Edge, which share a process and a disk with what is killed; a Neo4j or a Qdrant server is not
killed with it.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from rich.progress import track
from sapience.v1 import memory_pb2 as pb

from services.bench.ledger import Forgets, Found, Ledger, Moves, State, Stream, Tell, Write, found
from services.bench.memory_process import METADATA, SPACE, MemoryProcess, made_turn
from services.bench.report import Report, versions
from services.cli import show

NAMESPACES = 2
GENERATION = 10
"""After so many kills a namespace makes room for another one."""
LOAD_S = 2.0
"""The load is killed within so many seconds."""
AGAIN = 0.2
FAULTS = ("lost", "half_written", "done_twice", "diverged", "gaps", "mended")


@dataclass
class Caller:
    """One client of one kind. It has at most one write without an answer: the one it was killed in."""

    ledger: Ledger
    name: str
    chance: random.Random
    mine: list[str] = field(default_factory=list)
    """External ids of what it told, for it alone to forget and to move."""
    made: int = 0
    acknowledged: int = 0
    doubtful: Write | None = None
    wrong: list[str] = field(default_factory=list)

    def live(self, process: MemoryProcess) -> None:
        """Writes until the process is gone."""
        while True:
            write = self.next()
            size = len(write.names)
            try:
                self.wrong += write.send(process.stub, self.ledger)
            except grpc.RpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise
                self.doubtful = write
                self.acknowledged += size - len(write.names)
                return
            self.acknowledged += size
            self.learn(write)

    def next(self) -> Write:
        """Some write; at first one that tells."""
        raise NotImplementedError

    def learn(self, write: Write) -> None:
        """What an acknowledged write leaves to work with."""

    def turns(self, count: int) -> list[pb.NewEpisode]:
        """New ones, each with an external id."""
        first = self.made
        self.made += count
        places = range(first, self.made)
        return [made_turn(self.chance, place, f"{self.name}-{place}") for place in places]

    def request_id(self) -> str:
        """A new one."""
        self.made += 1
        return f"{self.name}/{self.made}"


class Streaming(Caller):
    """Sends many Episodes over one stream after the other."""

    def next(self) -> Write:
        return Stream(self.turns(self.chance.choice([1, 20, 100])))


class Telling(Caller):
    """Remembers small batches, and states a Fact of some of them."""

    def next(self) -> Write:
        if self.mine and self.chance.random() < 0.5:
            return State(request_id := self.request_id(), f"fact {request_id}", self.chance.choice(self.mine))
        return Tell(self.request_id(), self.turns(self.chance.randint(1, 8)))

    def learn(self, write: Write) -> None:
        if isinstance(write, Tell):
            self.mine += write.names


class Forgetting(Telling):
    """Tells, states Facts of it, and forgets."""

    def next(self) -> Write:
        if len(self.mine) > 12 and self.chance.random() < 0.4:
            return Forgets(self.request_id(), [self.mine.pop(0) for _ in range(self.chance.randint(1, 10))])
        return super().next()


class Moving(Telling):
    """Tells, archives and thaws."""

    def next(self) -> Write:
        if len(self.mine) > 12 and self.chance.random() < 0.6:
            archived = [name for name in self.mine if name in self.ledger.archived]
            some = archived if archived and self.chance.random() < 0.5 else self.mine
            chosen = self.chance.sample(some, min(len(some), self.chance.randint(1, 10)))
            archive = chosen[0] not in self.ledger.archived
            moved = [name for name in chosen if (name not in self.ledger.archived) == archive]
            return Moves(self.request_id(), moved, archive)
        return super().next()


KINDS: Sequence[type[Caller]] = (Streaming, Telling, Forgetting, Moving)


@dataclass
class Run:
    """The process, what is in it, and what was found to be wrong."""

    process: MemoryProcess
    chance: random.Random
    callers: list[Caller] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)
    restarts_s: list[float] = field(default_factory=list)

    @property
    def ledgers(self) -> list[Ledger]:
        """Of the namespaces there are."""
        return list({caller.ledger.namespace: caller.ledger for caller in self.callers}.values())

    def fault(self, kind: str, faults: Iterator[str] | Sequence[str]) -> None:
        """Counts faults, and says what they are."""
        for one in faults:
            self.faults[kind] += 1
            show.err.print(f"{kind}: {one}", style="red", markup=False)

    def begin(self, generation: int) -> None:
        """Other namespaces in place of those there are."""
        for ledger in self.ledgers:
            delete = pb.DeleteNamespaceRequest(namespace=ledger.namespace)
            self.process.stub.DeleteNamespace(delete, metadata=METADATA, timeout=60)
        self.callers = []
        for number in range(NAMESPACES):
            ledger = Ledger(f"kill-{generation}-{number}")
            create = pb.CreateNamespaceRequest(namespace=ledger.namespace)
            self.process.stub.CreateNamespace(create, metadata=METADATA, timeout=60)
            for kind in KINDS:
                self.callers.append(kind(ledger, kind.__name__.lower(), random.Random(self.chance.getrandbits(64))))

    def kill(self) -> None:
        """Loads the process, kills it at a random moment, starts it again and looks."""
        killer = threading.Timer(self.chance.uniform(0, LOAD_S), self.process.kill)
        killer.start()
        with ThreadPoolExecutor(len(self.callers)) as threads:
            for life in [threads.submit(caller.live, self.process) for caller in self.callers]:
                life.result()
        killer.join()
        self.process.end(signal.SIGKILL)
        self.counted["kills"] += 1
        if self.chance.random() < AGAIN:
            self.process.spawn()
            time.sleep(self.chance.uniform(0, 2.0))
            self.process.end(signal.SIGKILL)
            self.counted["kills"] += 1
        began = time.perf_counter()
        self.process.start()
        self.process.caught_up()
        self.restarts_s.append(time.perf_counter() - began)
        self.look()

    def look(self) -> None:
        """What was acknowledged is there, nothing is half there; and what is sent again is done once."""
        for ledger in self.ledgers:
            callers = [caller for caller in self.callers if caller.ledger is ledger]
            doubtful = [caller.doubtful for caller in callers if caller.doubtful is not None]
            there = self.found(ledger)
            self.fault("lost", ledger.lost(there, doubtful))
            self.fault("half_written", ledger.unknown(there, doubtful))
            for write in doubtful:
                self.fault("half_written", write.halves(there, ledger))
            for caller in callers:
                self.fault("done_twice", caller.wrong)
                if caller.doubtful is not None:
                    self.fault("done_twice", caller.doubtful.send(self.process.stub, ledger))
                    caller.learn(caller.doubtful)
                caller.wrong, caller.doubtful = [], None
            self.counted["in_doubt"] += len(doubtful)
            self.process.caught_up()
            again = self.found(ledger)
            self.fault("done_twice", ledger.lost(again, ()))
            self.fault("done_twice", ledger.unknown(again, ()))
        self.fault("gaps", _gaps(self.process.data_dir))

    def found(self, ledger: Ledger) -> Found:
        """The namespace's export, which has to agree with the index and with what is counted."""
        there = found(self.process.export(ledger.namespace))
        stats = self.process.stats(ledger.namespace)
        said = (stats.episodes, stats.facts, stats.indexed)
        held = (sum(map(len, there.episodes.values())), there.facts.total(), there.concepts)
        if said != held:
            self.fault("diverged", [f"{ledger.namespace} says (Episodes, Facts, indexed) {said}, and holds {held}"])
        return there


def run(seed: int, kills: int) -> Report:
    """Kills so often, and says what was wrong."""
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kill-") as folder:
        one = Run(MemoryProcess(Path(folder)), random.Random(seed))
        one.process.start()
        try:
            for number in track(range(kills), "kills", console=show.err, transient=True):
                if number % GENERATION == 0:
                    one.counted["acknowledged"] += sum(caller.acknowledged for caller in one.callers)
                    one.begin(number // GENERATION)
                one.kill()
            one.counted["acknowledged"] += sum(caller.acknowledged for caller in one.callers)
            one.process.end(signal.SIGTERM)
            one.fault("diverged", _differing(one.process.data_dir, [ledger.namespace for ledger in one.ledgers]))
            log = one.process.log.read_text()
            one.fault("mended", [line for line in log.splitlines() if "was mended" in line])
        finally:
            if one.process.runs():
                one.process.end(signal.SIGKILL)
    restarts = sorted(one.restarts_s)
    figures = {kind: float(one.faults[kind]) for kind in FAULTS} | {name: float(n) for name, n in one.counted.items()}
    return Report(
        "kill",
        seed,
        figures | {"restart_p50_s": restarts[len(restarts) // 2], "restart_max_s": restarts[-1]},
        settings={"namespaces": NAMESPACES, "callers": len(one.callers), "took_s": round(time.perf_counter() - began)},
        versions=versions("grpcio", "qdrant-edge-py"),
    )


def _gaps(data_dir: Path) -> Iterator[str]:
    """Numbers that no commit has, read from the file beside the process."""
    uri = f"file:{data_dir / 'record.sqlite'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=30)) as file:
        query = "SELECT count(*), coalesce(min(seq), 1), coalesce(max(seq), 0) FROM commits"
        count, first, last = file.execute(query).fetchone()
    if (first, count) != (1, last):
        yield f"{count} commits are numbered from {first} to {last}"


def _differing(data_dir: Path, namespaces: Sequence[str]) -> Iterator[str]:
    """Namespaces whose index holds other Concepts than the record, id by id. The process has ended."""
    from core.clock import SystemClock
    from core.ids import RandomIds
    from memory.index.edge import EdgeIndex
    from memory.record.sqlite import SqliteRecord

    clock = SystemClock()
    with (
        closing(SqliteRecord(data_dir / "record.sqlite", clock, RandomIds(clock))) as record,
        closing(EdgeIndex(data_dir / "index")) as index,
    ):
        if record.outbox(1):
            yield "the outbox is not empty"
        ids = {name: list(record.concept_ids(name)) for name in namespaces}
        for name in namespaces:
            if list(index.ids(SPACE, name)) != ids[name]:
                yield f"{name} has other Concepts in the index than in the record"
        if index.count(SPACE) != sum(map(len, ids.values())):
            yield "the index holds Concepts of namespaces that were deleted"
