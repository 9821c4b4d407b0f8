"""A memory service in a process of its own, which a bench or a test starts, kills and starts again on one folder.

It stands on SQLite and Qdrant Edge. Nothing of the caller's SAPIENCE_* settings reaches it but those given here, and no
perception is there: Episodes bring their vectors (`made_turn`), and whatever had to be encoded fails.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from sapience.v1 import concept_pb2, memory_pb2, memory_pb2_grpc

from core.nouns import Space

PATIENCE_S = 240.0
"""Nothing takes so long on a busy machine; what does hangs."""
DIMENSIONS = 16
SPACE = Space("made-up", "1", DIMENSIONS)
WORDS = "boat lake rain north letter train apple chair stone violin paper winter glass honey tram".split()
SPEAKERS = ("Ada", "Grace")
SHOWN = "what callers show"
METADATA = (("authorization", f"Bearer {SHOWN}"),)


@dataclass
class MemoryProcess:
    """`sapience serve memory` on one data folder."""

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    stub: memory_pb2_grpc.MemoryServiceStub = field(init=False)
    _process: subprocess.Popen[bytes] | None = None
    _channel: grpc.Channel | None = None
    _begin: int = 0

    @property
    def log(self) -> Path:
        """What the processes have logged, one after the other."""
        return self.data_dir / "service.log"

    def start(self) -> None:
        """Starts it, and returns when it listens: it may still be at work on what the last one left."""
        self.spawn()
        wait_until("the memory service listens", lambda: "port" in self._said() or not self.runs())
        about = self._said()
        if "port" not in about:
            raise RuntimeError(f"the memory service did not start:\n{self.log.read_text()[-4000:]}")
        self._channel = grpc.insecure_channel(f"127.0.0.1:{about['port']}")
        self.stub = memory_pb2_grpc.MemoryServiceStub(self._channel)

    def spawn(self) -> None:
        """Starts the process and does not wait for it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("SAPIENCE_")}
        settings = {
            "SAPIENCE_DATA_DIR": str(self.data_dir),
            "SAPIENCE_LISTEN": "127.0.0.1:0",
            "SAPIENCE_TOKEN": SHOWN,
            "SAPIENCE_PERCEPTION_ADDRESS": "127.0.0.1:9",  # discard: refused at once
        }
        run = "from services.cli.main import main; main()"
        with self.log.open("ab") as log:
            self._begin = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-c", run, "serve", "memory"],
                env=kept | settings | dict(self.settings),
                stdout=log,
                stderr=log,
            )

    def runs(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Sends SIGKILL, and waits for nothing. Safe to call from another thread."""
        if self._process is not None:
            self._process.kill()

    def end(self, number: signal.Signals) -> int:
        """Sends the signal, and waits for the end; the status."""
        assert self._process is not None, "it was never started"
        self._process.send_signal(number)
        status = self._process.wait(PATIENCE_S)
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        return status

    def caught_up(self) -> None:
        """Waits until the outbox is empty."""
        wait_until("the outbox is drained", lambda: self.stats("").outbox_pending == 0)

    def stats(self, namespace: str) -> memory_pb2.StatsResponse:
        """Counts of a namespace, or of all where it is empty."""
        return self.stub.Stats(memory_pb2.StatsRequest(namespace=namespace), metadata=METADATA, timeout=60)

    def export(self, namespace: str) -> list[memory_pb2.MemoryRecord]:
        """All that a namespace holds."""
        request = memory_pb2.ExportRequest(namespace=namespace)
        return [response.record for response in self.stub.Export(request, metadata=METADATA, timeout=PATIENCE_S)]

    def _said(self) -> dict[str, object]:
        for line in self.log.read_bytes()[self._begin :].decode().splitlines():
            if line.startswith("{") and (about := json.loads(line))["event"] == "serving":
                found: dict[str, object] = about
                return found
        return {}


@contextmanager
def memory_process(data_dir: Path, **settings: str) -> Iterator[MemoryProcess]:
    """One that is started, and killed at the end."""
    one = MemoryProcess(data_dir, settings)
    one.start()
    try:
        yield one
    finally:
        if one.runs():
            one.end(signal.SIGKILL)


def wait_until(what: str, done: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
    """Waits until something holds. Raises TimeoutError, by its name, where it does not in time."""
    deadline = time.monotonic() + within_s
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {within_s:.0f} s: {what}")
        time.sleep(0.02)


def made_sentence(chance: random.Random) -> str:
    """A few of `WORDS`."""
    return " ".join(chance.choice(WORDS) for _ in range(chance.randint(3, 9))).capitalize() + "."


def made_turn(chance: random.Random, position: int, external_id: str = "") -> memory_pb2.NewEpisode:
    """A turn of one to three sentences with their vectors. Some say the very same as others."""
    sentences = ["Thanks!"] if chance.random() < 0.1 else [made_sentence(chance) for _ in range(chance.randint(1, 3))]
    numbers = np.random.default_rng(chance.getrandbits(32))
    vectors = numbers.standard_normal((len(sentences), DIMENSIONS)).astype("<f4")
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    episode = memory_pb2.NewEpisode(
        source=concept_pb2.Source(kind=concept_pb2.SOURCE_KIND_TESTIMONY, name="chat.jsonl"),
        conversation="chat",
        position=position,
        speaker=chance.choice(SPEAKERS),
        text=" ".join(sentences),
        told_at=Timestamp(seconds=1_700_000_000 + 60 * position),
        external_id=external_id,
        vectors=tensor(vectors),
    )
    start = 0
    for ordinal, words in enumerate(sentences):
        end = start + len(words)
        episode.concepts.add(ordinal=ordinal, text=words, start_byte=start, end_byte=end)
        start = end + 1
    return episode


def tensor(vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> concept_pb2.Tensor:
    """Vectors of `SPACE` as they go over the wire."""
    return concept_pb2.Tensor(
        space=SPACE.name,
        space_version=SPACE.version,
        dtype=concept_pb2.DTYPE_FLOAT32,
        shape=vectors.shape,
        data=vectors.astype("<f4").tobytes(),
    )


def differences(record: memory_pb2.EpisodeRecord, told: memory_pb2.NewEpisode) -> list[str]:
    """In what an Episode that was kept differs from what was told: its fields, its Concepts, its vectors bit by bit."""
    kept = record.episode
    names = ("source", "conversation", "position", "speaker", "text", "told_at", "external_id")
    differing = [name for name in names if getattr(kept, name) != getattr(told, name)]

    def spans(concepts: Iterator[concept_pb2.Concept]) -> list[tuple[int, str, int, int]]:
        return [(one.ordinal, one.text, one.start_byte, one.end_byte) for one in concepts]

    if spans(iter(record.concepts)) != spans(iter(told.concepts)):
        differing.append("concepts")
    return differing + ([] if record.vectors == told.vectors else ["vectors"])
