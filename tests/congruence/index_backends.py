"""Where the index suite runs, what it writes and what it compares with.

It runs on Qdrant Edge, on the Qdrant client's local mode, and on a real server where one is given:
`SAPIENCE_TEST_QDRANT_URL` names the server's HTTP port (`http://localhost:6333`), `SAPIENCE_TEST_QDRANT_GRPC_PORT` the
port of its gRPC (6334 by default), `SAPIENCE_TEST_QDRANT_API_KEY` its key if it has one. Each test there has
collections of its own and deletes them.
"""

from __future__ import annotations

import os
import random
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
from qdrant_client import QdrantClient

from core.clock import DAY
from core.nouns import (
    AsOf,
    Episode,
    EpisodeFilter,
    Float32,
    IndexPoint,
    ScoredConcept,
    Source,
    SourceKind,
    Space,
    Sparse,
)
from core.ports import Index
from memory.index import edge
from memory.index.edge import EdgeIndex
from memory.index.qdrant import QdrantIndex

SPACE = Space("encoder/mini", "1", 16)
T0 = 1_700_000_000_000_000

SERVER = os.environ.get("SAPIENCE_TEST_QDRANT_URL", "")


class Place(Protocol):
    """Where one test keeps an index."""

    def open(self) -> Index:
        """An index on this place: on what is there already, if anything is."""
        ...

    def clear(self) -> None:
        """Leaves nothing behind."""
        ...


class EdgePlace:
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "edge"

    def open(self) -> Index:
        return EdgeIndex(self.folder, optimize_every=1)

    def clear(self) -> None:
        """The folder goes with the test's own."""


class LocalPlace:
    """The client's local mode, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "local"

    def open(self) -> Index:
        return QdrantIndex(QdrantClient(path=str(self.folder), force_disable_check_same_thread=True))

    def clear(self) -> None:
        """The folder goes with the test's own."""


class MemoryPlace:
    """The client's local mode, in memory: some 10 times faster, and gone when closed."""

    def __init__(self, folder: Path) -> None:
        pass

    def open(self) -> Index:
        return QdrantIndex(QdrantClient(":memory:"))

    def clear(self) -> None:
        """Nothing is left."""


class ServerPlace:
    """Collections with a prefix of their own on a server."""

    def __init__(self, folder: Path) -> None:
        self.prefix = f"sapience-test-{uuid.uuid4().hex[:12]}"
        self.grpc_port = int(os.environ.get("SAPIENCE_TEST_QDRANT_GRPC_PORT", "6334"))
        self.api_key = os.environ.get("SAPIENCE_TEST_QDRANT_API_KEY")

    def open(self) -> Index:
        return QdrantIndex.connect(
            SERVER, api_key=self.api_key, grpc_port=self.grpc_port, timeout_s=30, prefix=self.prefix
        )

    def clear(self) -> None:
        client = QdrantClient(
            url=SERVER,
            api_key=self.api_key,
            grpc_port=self.grpc_port,
            prefer_grpc=True,
            timeout=30,
            check_compatibility=False,
        )
        for collection in client.get_collections().collections:
            if collection.name.startswith(f"{self.prefix}-"):
                client.delete_collection(collection.name)
        client.close()


NO_SERVER = pytest.mark.skipif(not SERVER, reason="SAPIENCE_TEST_QDRANT_URL is not set: no Qdrant server to test")
_SERVER_PARAM = pytest.param(ServerPlace, id="qdrant-server", marks=NO_SERVER)

PLACES = [pytest.param(EdgePlace, id="edge"), pytest.param(MemoryPlace, id="qdrant-local"), _SERVER_PARAM]
"""For all tests but those that open an index twice."""

LASTING_PLACES = [pytest.param(EdgePlace, id="edge"), pytest.param(LocalPlace, id="qdrant-local"), _SERVER_PARAM]
"""For tests that open an index twice."""


class Oracle:
    """The index as a list of points and two loops."""

    def __init__(self) -> None:
        self.points: dict[tuple[str, str], IndexPoint] = {}

    def upsert(self, points: list[IndexPoint]) -> None:
        self.points |= {(point.namespace, point.concept_id): point for point in points}

    def dense(
        self, namespace: str, vector: Float32, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        def cosine(point: IndexPoint) -> float:
            a, b = point.vector.astype(np.float64), vector.astype(np.float64)
            return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

        return self._best(namespace, cosine, limit, where, as_of)

    def sparse(
        self, namespace: str, terms: Sparse, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        query = dict(zip(terms.indices, terms.values, strict=True))

        def overlap(point: IndexPoint) -> float | None:
            weights = dict(zip(point.terms.indices, point.terms.values, strict=True))
            common = query.keys() & weights.keys()
            return sum(query[term] * weights[term] for term in common) if common else None

        return self._best(namespace, overlap, limit, where, as_of)

    def delete(self, namespace: str, concept_ids: list[str]) -> None:
        for concept_id in concept_ids:
            self.points.pop((namespace, concept_id), None)

    def drop_namespace(self, namespace: str) -> None:
        self.points = {key: point for key, point in self.points.items() if key[0] != namespace}

    def ids(self, namespace: str) -> list[str]:
        return sorted(concept_id for owner, concept_id in self.points if owner == namespace)

    def _best(
        self,
        namespace: str,
        score: Callable[[IndexPoint], float | None],
        limit: int,
        where: EpisodeFilter,
        as_of: AsOf,
    ) -> list[ScoredConcept]:
        found = [
            ScoredConcept(point.concept_id, point.episode_id, value)
            for (owner, _), point in self.points.items()
            if owner == namespace and where.allows(_episode(point), as_of) and (value := score(point)) is not None
        ]
        return sorted(found, key=lambda hit: (-hit.score, hit.concept_id))[:limit]


def _episode(point: IndexPoint) -> Episode:
    return Episode(
        id=point.episode_id,
        namespace=point.namespace,
        source=Source(point.kind),
        conversation=point.conversation,
        position=0,
        speaker=point.speaker,
        text="",
        told_at=point.told_at,
        external_id="",
        recorded_at=0,
        seq=point.seq,
    )


class Maker:
    """Points and queries from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.numpy = np.random.default_rng(seed)

    def vector(self, dimensions: int = SPACE.dimensions) -> Float32:
        vector = self.numpy.normal(size=dimensions).astype(np.float32)
        return vector / np.linalg.norm(vector)

    def terms(self, count: int) -> Sparse:
        """Weights in quarters: their sums are exact in float32 in any order, so ties are ties everywhere."""
        ids = sorted(
            {self.random.choice([self.random.randrange(20), self.random.randrange(2**32)]) for _ in range(count)}
        )
        return Sparse(tuple(ids), tuple(self.random.randrange(1, 9) / 4 for _ in ids))

    def point(self, namespace: str = "a", dimensions: int = SPACE.dimensions) -> IndexPoint:
        return IndexPoint(
            concept_id=str(uuid.UUID(int=self.random.getrandbits(128))),
            episode_id=f"episode-{self.random.randrange(1000)}",
            namespace=namespace,
            vector=self.vector(dimensions),
            terms=self.terms(self.random.choice([0, 3, 6])),
            told_at=T0 + self.random.randrange(100) * DAY,
            seq=self.random.randrange(1, 100),
            kind=self.random.choice(list(SourceKind)),
            speaker=self.random.choice(["", "Ada", "Grace Hopper", "Zoë ÆØÅ 林"]),
            conversation=self.random.choice(["", "c/1", "c 2"]),
        )

    def points(self, count: int, namespace: str = "a") -> list[IndexPoint]:
        return [self.point(namespace) for _ in range(count)]


def history(seed: int) -> Iterator[Callable[[Oracle | Index], None]]:
    """Steps to take on an index and on an oracle, the same for each seed: writes, replacements and deletions."""
    make, so_far = Maker(seed), Oracle()
    while True:
        namespace = make.random.choice("aab")
        held = so_far.ids(namespace)
        action = make.random.random()
        if action < 0.7 or not held:
            points = make.points(make.random.randrange(2, 200), namespace)
            if held and make.random.random() < 0.5:
                points[0] = replace(points[0], concept_id=make.random.choice(held))
            step = _upsert(points)
        elif action < 0.95:
            step = _delete(namespace, make.random.sample(held, min(len(held), make.random.randrange(1, 100))))
        else:
            step = _drop(namespace)
        step(so_far)
        yield step


def _upsert(points: list[IndexPoint]) -> Callable[[Oracle | Index], None]:
    return lambda on: on.upsert(points) if isinstance(on, Oracle) else on.upsert(SPACE, points)


def _delete(namespace: str, ids: list[str]) -> Callable[[Oracle | Index], None]:
    return lambda on: on.delete(namespace, ids) if isinstance(on, Oracle) else on.delete(SPACE, namespace, ids)


def _drop(namespace: str) -> Callable[[Oracle | Index], None]:
    return lambda on: on.drop_namespace(namespace) if isinstance(on, Oracle) else on.drop_namespace(SPACE, namespace)


def run(folder: Path, seed: int) -> None:
    """Lives through a history on Qdrant Edge until it is killed, and says so after each step."""
    edge._FLUSH_EVERY = 1000  # often enough to be killed in
    sys.stdout.write("starting\n")
    sys.stdout.flush()
    index = EdgeIndex(folder, optimize_every=1000)
    for number, step in enumerate(history(seed)):
        step(index)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        index.optimize(SPACE)


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]))
