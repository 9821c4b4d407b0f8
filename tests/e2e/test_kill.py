"""Killed with -9 at any point of an import: nothing acknowledged is lost, a rerun finishes it with no duplicate, and
the index agrees with the record.

Twenty kills hit the memory service as a container runs it, while it is told a conversation over RememberStream. The
vectors come with the Episodes, so no encoder is needed and what was kept can be compared bit by bit. The moments are
drawn from seeds: so many acknowledgements after the start, and some milliseconds more. Two more kills hit the local
daemon while `sapience import` reads the sample conversation.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
import pytest
import sapience as client_library
from google.protobuf.timestamp_pb2 import Timestamp
from processes import PATIENCE_S, SAPIENCE, Sapience, environment, eventually, stopped_afterwards
from sapience.v1 import concept_pb2, memory_pb2, memory_pb2_grpc

from core.clock import SystemClock
from core.ids import RandomIds
from core.nouns import AsOf, EpisodeFilter, Space
from memory.index.edge import EdgeIndex
from memory.record.sqlite import SqliteRecord

KILLS = 20
TURNS = 300
DIMENSIONS = 16
SPACE = Space("made-up", "1", DIMENSIONS)
WORDS = "boat lake rain north letter train apple chair stone violin paper winter glass honey tram".split()
TOKEN = "a token"
METADATA = (("authorization", f"Bearer {TOKEN}"),)
SAMPLE = Path(__file__).parents[1] / "bench" / "data" / "sample" / "conversation.jsonl"


# ---- what is told ----


def conversation(seed: int) -> list[memory_pb2.NewEpisode]:
    """Turns of one to three sentences each. Some say the very same; every third has the caller's own id."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    return [turn(position, rng, numbers) for position in range(TURNS)]


def turn(position: int, rng: random.Random, numbers: np.random.Generator) -> memory_pb2.NewEpisode:
    sentences = ["Thanks!"] if rng.random() < 0.1 else [sentence(rng) for _ in range(rng.randint(1, 3))]
    vectors = numbers.standard_normal((len(sentences), DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    episode = memory_pb2.NewEpisode(
        source=concept_pb2.Source(kind=concept_pb2.SOURCE_KIND_TESTIMONY, name="chat.jsonl"),
        conversation="chat",
        position=position,
        speaker=rng.choice(["Ada", "Grace"]),
        text=" ".join(sentences),
        told_at=Timestamp(seconds=1_700_000_000 + 60 * position),
        external_id="" if position % 3 else f"turn-{position}",
        vectors=concept_pb2.Tensor(
            space=SPACE.name,
            space_version=SPACE.version,
            dtype=concept_pb2.DTYPE_FLOAT32,
            shape=vectors.shape,
            data=vectors.tobytes(),
        ),
    )
    start = 0
    for ordinal, words in enumerate(sentences):
        end = start + len(words)
        episode.concepts.add(ordinal=ordinal, text=words, start_byte=start, end_byte=end)
        start = end + 1
    return episode


def sentence(rng: random.Random) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 9))).capitalize() + "."


# ---- the service that is killed ----


@dataclass
class Service:
    """`sapience serve memory` on one data folder: started, killed and started again."""

    data_dir: Path
    process: subprocess.Popen[bytes] | None = None
    channel: grpc.Channel | None = None
    stub: memory_pb2_grpc.MemoryServiceStub = field(init=False)

    @property
    def log(self) -> Path:
        return self.data_dir / "service.log"

    def start(self) -> None:
        """Starts it, and returns when it listens: it may still be at work on what the last one left."""
        self.spawn()
        begin = self._begin
        eventually("the service listens", lambda: "port" in self._said(begin) or self.process.poll() is not None)
        about = self._said(begin)
        assert "port" in about, self.log.read_text()[-4000:]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{about['port']}")
        self.stub = memory_pb2_grpc.MemoryServiceStub(self.channel)

    def spawn(self) -> None:
        """Starts the process and does not wait for it."""
        settings = {"SAPIENCE_LISTEN": "127.0.0.1:0", "SAPIENCE_TOKEN": TOKEN}
        # Nothing is there: whatever is to be encoded fails.
        settings["SAPIENCE_PERCEPTION_ADDRESS"] = "127.0.0.1:9"
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self.process = subprocess.Popen(
                [SAPIENCE, "serve", "memory"], env=environment(self.data_dir, **settings), stdout=log, stderr=log
            )

    def end(self, number: signal.Signals) -> int:
        """Sends the signal, and waits for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(PATIENCE_S)
        if self.channel is not None:
            self.channel.close()
            self.channel = None
        return status

    def caught_up(self) -> None:
        """Waits until the outbox is empty."""
        eventually("the outbox is drained", lambda: self.stats("").outbox_pending == 0)

    def stats(self, namespace: str) -> memory_pb2.StatsResponse:
        return self.stub.Stats(memory_pb2.StatsRequest(namespace=namespace), metadata=METADATA, timeout=60)

    def export(self, namespace: str) -> dict[str, memory_pb2.EpisodeRecord]:
        """Every Episode by its id, with Concepts and vectors."""
        records = self.stub.Export(memory_pb2.ExportRequest(namespace=namespace), metadata=METADATA, timeout=60)
        episodes = [response.record.episode for response in records if response.record.HasField("episode")]
        return {one.episode.id: one for one in episodes}

    def _said(self, begin: int) -> dict[str, object]:
        for line in self.log.read_bytes()[begin:].decode().splitlines():
            if line.startswith("{") and (about := json.loads(line))["event"] == "serving":
                return about
        return {}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    one = Service(tmp_path_factory.mktemp("killed"))
    one.start()
    try:
        yield one
    finally:
        if one.process is not None and one.process.poll() is None:
            one.end(signal.SIGKILL)


def tell(
    service: Service, namespace: str, turns: list[memory_pb2.NewEpisode], window: int, kill: tuple[int, float] | None
) -> dict[int, memory_pb2.Remembered]:
    """Imports turns over one stream, with at most `window` of them unacknowledged; what came back, by `client_seq`.

    `kill` (acknowledgements, seconds) kills the service so many seconds after so many acknowledgements.
    """
    room = threading.Semaphore(window)

    def requests() -> Iterator[memory_pb2.RememberStreamRequest]:
        for number, episode in enumerate(turns):
            room.acquire()
            yield memory_pb2.RememberStreamRequest(namespace=namespace, client_seq=number, episode=episode)

    after, delay = kill or (-1, 0.0)
    killer = threading.Timer(delay, lambda: service.process.kill())
    acknowledged: dict[int, memory_pb2.Remembered] = {}
    call = service.stub.RememberStream(requests(), metadata=METADATA, timeout=60)
    try:
        if after == 0:
            killer.start()
        for response in call:
            assert response.WhichOneof("outcome") == "remembered", response
            acknowledged[response.client_seq] = response.remembered
            if len(acknowledged) == after:
                killer.start()
            room.release()
        assert len(acknowledged) == len(turns)
    except grpc.RpcError as error:
        if kill is None or error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
    finally:
        room.release(len(turns))  # gRPC's own thread may wait for room
    if kill is not None:
        killer.join()
    return acknowledged


# ---- twenty kills ----


@pytest.mark.parametrize("seed", range(KILLS))
def test_nothing_acknowledged_is_lost_and_a_rerun_finishes_with_no_duplicate(service: Service, seed: int) -> None:
    rng = random.Random(seed)
    namespace, turns = f"import-{seed}", conversation(seed)
    service.stub.CreateNamespace(memory_pb2.CreateNamespaceRequest(namespace=namespace), metadata=METADATA)

    moment = (rng.randrange(TURNS + 1), rng.choice([0.0, rng.uniform(0, 0.05)]))
    acknowledged = tell(service, namespace, turns, rng.choice([1, 8, 64, 256]), moment)
    assert service.end(signal.SIGKILL) == -signal.SIGKILL
    assert len(acknowledged) >= moment[0]

    if seed % 4 == 0:  # and once more, while the next one starts and drains
        service.spawn()
        time.sleep(rng.uniform(0, 1.5))
        service.end(signal.SIGKILL)
    service.start()
    service.caught_up()

    kept = service.export(namespace)
    for number, remembered in acknowledged.items():
        assert_kept(kept[remembered.episode_id], turns[number])
    positions = [record.episode.position for record in kept.values()]
    assert len(set(positions)) == len(positions), "something was kept twice"
    counted = service.stats(namespace)
    assert counted.indexed == counted.concepts == sum(len(record.concepts) for record in kept.values())

    rerun = tell(service, namespace, turns, 256, None)
    assert {number for number, one in rerun.items() if one.duplicate} == set(positions)
    assert all(rerun[number].episode_id == one.episode_id for number, one in acknowledged.items())
    finished = service.export(namespace)
    assert sorted(record.episode.position for record in finished.values()) == list(range(TURNS))
    for record in finished.values():
        assert_kept(record, turns[record.episode.position])
    service.caught_up()
    counted = service.stats(namespace)
    assert (counted.episodes, counted.concepts) == (TURNS, sum(len(one.concepts) for one in turns))
    assert counted.indexed == counted.concepts


def assert_kept(record: memory_pb2.EpisodeRecord, told: memory_pb2.NewEpisode) -> None:
    """An Episode is as it was told, with its Concepts and their vectors, bit by bit."""
    kept = record.episode
    for name in ("source", "conversation", "position", "speaker", "text", "told_at", "external_id"):
        assert getattr(kept, name) == getattr(told, name), name
    spans = [(one.ordinal, one.text, one.start_byte, one.end_byte) for one in record.concepts]
    assert spans == [(one.ordinal, one.text, one.start_byte, one.end_byte) for one in told.concepts]
    assert record.vectors == told.vectors


def test_after_all_kills_the_stores_agree_id_by_id(service: Service) -> None:
    """Comes last: it stops the service and opens both stores."""
    assert service.end(signal.SIGTERM) == 0
    assert "was mended" not in service.log.read_text(), "draining the outbox alone did not make the index whole"
    clock = SystemClock()
    record = SqliteRecord(service.data_dir / "record.sqlite", clock, RandomIds(clock))
    index = EdgeIndex(service.data_dir / "index")
    try:
        assert record.outbox(1) == []
        namespaces = [one.name for one in record.namespaces()]
        assert namespaces
        for namespace in namespaces:
            ids = list(record.concept_ids(namespace))
            assert list(index.ids(SPACE, namespace)) == ids
            some = record.concepts(namespace, random.Random(namespace).sample(ids, 5))
            for concept_id, stored in some.items():
                (found,) = index.search_dense(SPACE, namespace, stored.vector, 1, EpisodeFilter(), AsOf())
                assert (found.concept_id, found.score) == (concept_id, pytest.approx(1, abs=1e-5))
        assert index.count(SPACE) == record.counts().concepts
    finally:
        index.close()
        record.close()


# ---- the local daemon, in a real import ----


@pytest.mark.slow
def test_an_import_from_the_command_line_is_killed_twice_and_finished(tmp_path: Path) -> None:
    """With the default encoder; no language model, which an import has no need of."""
    turns = len(SAMPLE.read_text().splitlines())
    rng = random.Random(0)
    with stopped_afterwards(Sapience(tmp_path, {"SAPIENCE_LANGUAGE_MODEL": "file:/nowhere"})) as sapience:
        seen, killed = 0, 0
        for _ in range(2):
            running = sapience.start("import", SAMPLE)  # starts the next daemon by itself
            killed = next_pid(sapience, killed)
            seen = kill_in_import(sapience, running, rng.uniform(0, 0.5))
            out, err = running.communicate(timeout=PATIENCE_S)
            assert "Traceback" not in err
            assert out == ""
            assert running.returncode == (0 if "0 refused" in err else 1), err

        (row,) = sapience.ok("import", SAMPLE, "--json").json
        assert row["remembered"] + row["duplicates"] == turns
        assert row["duplicates"] >= seen, "something that could be read already was lost"
        assert row["refused"] == []
        (row,) = sapience.ok("import", SAMPLE, "--json").json
        assert (row["remembered"], row["duplicates"]) == (0, turns)

        records = sapience.ok("export").json_lines
        lines = [record for record in records if "episode" in record]
        told = sorted(line["episode"]["episode"]["external_id"] for line in lines)
        assert told == [f"t{number:03}" for number in range(1, turns + 1)]
        (hit,) = sapience.ok("recall", "a grey tabby with one torn ear", "--limit", "1", "--json").json
        assert hit["episode"]["external_id"] == "t040"  # a recall waits for the index
        held = sapience.ok("status", "--json").json["stats"]
        assert held["episodes"] == turns
        assert held["indexed"] == held["concepts"] == sum(len(line["episode"]["concepts"]) for line in lines)
        assert held["outbox_pending"] == 0

        def read() -> bool:
            stats = sapience.ok("status", "--json").json["stats"]
            return bool(stats["extracted_seq"] == stats["seq"])

        eventually("every Episode is read for what it states", read)
        facts = [record["fact"] for record in sapience.ok("export").json_lines if "fact" in record]
        stated = {(one["subject"]["name"], one["relation"], one["episode_id"], one["rule"]) for one in facts}
        assert facts
        assert len({one["id"] for one in facts}) == len(facts) == len(stated), "something was read twice"


def next_pid(sapience: Sapience, killed: int) -> int:
    """Waits for a daemon other than the one that was killed, which can be found until another has begun."""

    def pid() -> int:
        try:
            return int(sapience.daemon()["pid"])
        except FileNotFoundError:
            return killed

    eventually("another daemon is started", lambda: pid() != killed)
    return pid()


def kill_in_import(sapience: Sapience, importing: subprocess.Popen[str], delay: float) -> int:
    """Kills the daemon so many seconds after Episodes can be read; how many could be at the last look."""
    about = sapience.daemon()
    token = (sapience.data_dir / "token").read_text()
    with client_library.connect(about["address"], token, create=False) as client:
        eventually(
            "Episodes are imported", lambda: client.stats(namespace="").episodes > 0 or importing.poll() is not None
        )
        time.sleep(delay)
        seen = client.stats(namespace="").episodes
        os.kill(about["pid"], signal.SIGKILL)
    return seen
