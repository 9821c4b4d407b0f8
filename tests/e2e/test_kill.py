"""Killed with -9 at any point of an import: nothing acknowledged is lost, a rerun finishes it with no duplicate, and
the index agrees with the record.

Twenty kills hit the memory service as a container runs it, while it is told a conversation over RememberStream. The
vectors come with the Episodes, so no encoder is needed and what was kept can be compared bit by bit. The moments are
drawn from seeds: so many acknowledgements after the start, and some milliseconds more. Two more kills hit the local
daemon while `sapience import` reads the sample conversation.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import sapience as client_library
from processes import PATIENCE_S, Sapience, eventually, stopped_afterwards
from sapience.v1 import memory_pb2

from core.clock import SystemClock
from core.ids import RandomIds
from core.nouns import AsOf, EpisodeFilter
from memory.index.edge import EdgeIndex
from memory.record.sqlite import SqliteRecord
from services.bench.memory_process import METADATA, SPACE, MemoryProcess, differences, made_turn, memory_process

KILLS = 20
TURNS = 300
SAMPLE = Path(__file__).parents[1] / "bench" / "data" / "sample" / "conversation.jsonl"


# ---- what is told ----


def conversation(seed: int) -> list[memory_pb2.NewEpisode]:
    """Turns of one to three sentences each. Some say the very same; every third has the caller's own id."""
    chance = random.Random(seed)
    return [made_turn(chance, position, "" if position % 3 else f"turn-{position}") for position in range(TURNS)]


# ---- the service that is killed ----


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MemoryProcess]:
    with memory_process(tmp_path_factory.mktemp("killed")) as one:
        yield one


def exported(service: MemoryProcess, namespace: str) -> dict[str, memory_pb2.EpisodeRecord]:
    """Every Episode by its id, with Concepts and vectors."""
    records = service.export(namespace)
    return {record.episode.episode.id: record.episode for record in records if record.HasField("episode")}


def tell(
    service: MemoryProcess,
    namespace: str,
    turns: list[memory_pb2.NewEpisode],
    window: int,
    kill: tuple[int, float] | None,
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
    killer = threading.Timer(delay, service.kill)
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
def test_nothing_acknowledged_is_lost_and_a_rerun_finishes_with_no_duplicate(service: MemoryProcess, seed: int) -> None:
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

    kept = exported(service, namespace)
    for number, remembered in acknowledged.items():
        assert_kept(kept[remembered.episode_id], turns[number])
    positions = [record.episode.position for record in kept.values()]
    assert len(set(positions)) == len(positions), "something was kept twice"
    counted = service.stats(namespace)
    assert counted.indexed == counted.concepts == sum(len(record.concepts) for record in kept.values())

    rerun = tell(service, namespace, turns, 256, None)
    assert {number for number, one in rerun.items() if one.duplicate} == set(positions)
    assert all(rerun[number].episode_id == one.episode_id for number, one in acknowledged.items())
    finished = exported(service, namespace)
    assert sorted(record.episode.position for record in finished.values()) == list(range(TURNS))
    for record in finished.values():
        assert_kept(record, turns[record.episode.position])
    service.caught_up()
    counted = service.stats(namespace)
    assert (counted.episodes, counted.concepts) == (TURNS, sum(len(one.concepts) for one in turns))
    assert counted.indexed == counted.concepts


def assert_kept(record: memory_pb2.EpisodeRecord, told: memory_pb2.NewEpisode) -> None:
    """An Episode is as it was told, with its Concepts and their vectors, bit by bit."""
    assert differences(record, told) == []


def test_after_all_kills_the_stores_agree_id_by_id(service: MemoryProcess) -> None:
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
