"""The index in a folder of this process: Qdrant Edge, the Qdrant engine as a library.

One shard per space, in a folder of its own. One process holds the folder, by a lock on `FOLDER/lock`; it is let go when
the process ends, however it ends. A write returns when the shard's log of operations is synced to disk; opening a shard
applies what its log has and its segments have not.

Assumed: a call of the driver holds the interpreter's lock from start to end (measured of qdrant-edge-py 0.9). So no two
calls overlap, a search must be short and points are written in small batches. `optimize` is the one thing that takes
long; it runs in a child process on a copy of the shard, while searches go on and writes wait.

The shard is what lasts; searches are answered from columns in memory (`columns`), which follow every write. What an
earlier process wrote is taken from the shard by `warm`; until then the shard itself is searched, exactly, some 0.2 ms
for each 1,000 Concepts. No graph is ever built: for 100,000 Concepts that took minutes.

Exactness: with `exact=True`, the default, every dense search compares all vectors of the namespace. With `exact=False`
a search of many picks by a sketch of the vectors first, and a few of the nearest may be missed. Sparse search is exact
either way.

A shard that cannot be opened is renamed to `NAME.damaged-N`, a warning is logged, and an empty one takes its place:
compare `count` with the record and index again what is missing. Deleted points cannot be found from the moment that
`delete` returns; their bytes go when `optimize` next rewrites their segment.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge

from core.errors import FailedPrecondition, SapienceError, Unavailable
from core.nouns import AsOf, EpisodeFilter, Float32, IndexPoint, ScoredConcept, SourceKind, Space, Sparse
from memory.index import points as shared
from memory.index.columns import Columns

log = logging.getLogger(__name__)

_PAGE = 4096
_FLUSH_EVERY = 10_000
"""Points between two flushes of a shard's segments. A flush holds the interpreter's lock (10 to 200 ms), syncing the
log does not; without any, opening the shard after a crash would apply the whole log again (some 0.1 ms a point)."""
_NOTHING_DUE = 3
"""Exit status of the optimising child: the shard is as good as it gets."""


class EdgeIndex:
    """`core.ports.Index` on Qdrant Edge. Thread-safe; a second one on the same folder is refused."""

    def __init__(self, folder: Path, *, exact: bool = True, optimize_every: int = 20_000) -> None:
        """Takes hold of the folder, making it if needed; shards are opened when first asked for.

        `optimize` does nothing before `optimize_every` points of a space were written or deleted since the last time.
        Raises FailedPrecondition (INDEX_IN_USE) when another process, or another EdgeIndex, holds the folder.
        """
        self.backend = "edge"
        self._folder = folder
        self._exact = exact
        self._optimize_every = optimize_every
        self._shards: dict[str, edge.EdgeShard] = {}
        self._changes: dict[str, int] = {}  # points written or deleted since the last optimize, or since the start
        self._unflushed: dict[str, int] = {}  # points that only the log is sure to have
        self._columns: dict[tuple[str, str], Columns] = {}  # by shard and namespace
        self._cold: set[tuple[str, str]] = set()  # those with points that only the shard has
        self._searching = threading.Lock()  # the columns; taken after _writing, and never together with _lock
        self._writing = threading.Lock()  # one writer; taken before _lock
        self._lock = threading.RLock()  # the shards and every call on them
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = False
        folder.mkdir(parents=True, exist_ok=True)
        self._held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._held)
            raise FailedPrecondition(
                f"the index in {folder} is held by another process; stop it, or give this one a folder of its own",
                reason="INDEX_IN_USE",
            ) from None

    def upsert(self, space: Space, points: Sequence[IndexPoint]) -> None:
        """Writes points, replacing those of the same Concept id in their namespace.

        Raises InvalidArgument (VECTOR_SIZE) for a vector of another size, before anything is written.
        """
        batches = shared.batches(space, points)
        with self._write(space, make=True) as apply:
            for batch in batches:
                by_namespace: defaultdict[str, list[IndexPoint]] = defaultdict(list)
                for _, point in batch:
                    by_namespace[point.namespace].append(point)
                # Before the shard has them: it says whether a namespace had points that are in no columns.
                columns = {namespace: self._columns_of(space, namespace) for namespace in by_namespace}
                apply(edge.UpdateOperation.upsert_points([_point(id_, point) for id_, point in batch]), len(batch))
                with self._searching:
                    for namespace, held in columns.items():
                        if held is not None:
                            held.upsert(by_namespace[namespace])

    def delete(self, space: Space, namespace: str, concept_ids: Sequence[str]) -> None:
        """Deletes points; those that are not there are no error."""
        ids: list[edge.PointId] = [shared.point_id(namespace, concept_id) for concept_id in concept_ids]
        with self._write(space, make=False) as apply:
            for start in range(0, len(ids), shared.BATCH):
                batch = ids[start : start + shared.BATCH]
                apply(edge.UpdateOperation.delete_points(batch), len(batch))
            self._delete_columns(space, namespace, concept_ids)

    def drop_namespace(self, space: Space, namespace: str) -> None:
        """Deletes every point of a namespace."""
        points = self.count(space, namespace)
        with self._write(space, make=False) as apply:
            apply(edge.UpdateOperation.delete_points_by_filter(_tenant(namespace)), points)
            with self._searching:
                self._columns.pop((shared.collection_name(space), namespace), None)
                self._cold.discard((shared.collection_name(space), namespace))

    def search_dense(
        self, space: Space, namespace: str, vector: Float32, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        """The nearest by cosine. Raises InvalidArgument (VECTOR_SIZE) for a vector of another size."""
        shared.check_vector(space, vector)
        with self._warmed(space, namespace) as columns:
            if columns is not None:
                return columns.dense(vector, limit, where, as_of)
        query = edge.Query.Nearest(vector.tolist(), using=shared.DENSE)
        return self._search(space, query, shared.Selection(namespace, where, as_of), limit)

    def search_sparse(
        self, space: Space, namespace: str, terms: Sparse, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        """The highest sum of products of weights; what shares no term is not found."""
        shared.check_terms(terms)
        if not terms.indices:
            return []
        with self._warmed(space, namespace) as columns:
            if columns is not None:
                return columns.sparse(terms, limit, where, as_of)
        query = edge.Query.Nearest(_sparse(terms), using=shared.TERMS)
        return self._search(space, query, shared.Selection(namespace, where, as_of), limit)

    def count(self, space: Space, namespace: str | None = None) -> int:
        """How many points there are, exactly."""
        with self._shard(space, make=False) as shard:
            if shard is None:
                return 0
            return shard.count(edge.CountRequest(exact=True, filter=None if namespace is None else _tenant(namespace)))

    def ids(self, space: Space, namespace: str) -> Iterator[str]:
        """Every Concept id of a namespace, ascending. Holds them all at once: some 100 MB for a million."""
        found: list[str] = []
        offset: edge.PointId | None = None
        wanted = edge.PayloadSelector.Include(["concept_id"])
        while True:
            with self._shard(space, make=False) as shard:
                if shard is None:
                    return iter(())
                request = edge.ScrollRequest(offset, _PAGE, _tenant(namespace), with_payload=wanted)
                records, offset = shard.scroll(request)
            found += [str((record.payload or {})["concept_id"]) for record in records]
            if offset is None:
                return iter(sorted(found))

    def warm(self, space: Space, namespace: str) -> None:
        """Takes a namespace's points from the shard into memory. Writes wait, searches do not."""
        key = (shared.collection_name(space), namespace)
        with self._writing:
            if self._columns_of(space, namespace) is not None:
                return
            columns = Columns(space.dimensions, exact=self._exact)
            for page in self._stored(space, namespace):
                columns.upsert(page)
            with self._searching:
                self._columns[key] = columns
                self._cold.discard(key)

    def optimize(self, space: Space) -> bool:
        """Merges segments and frees what was deleted.

        Returns whether anything was done. Raises Unavailable (INDEX_OPTIMIZE_FAILED) when the child process fails; the
        shard is then as it was. Needs as much free disk as the shard takes.
        """
        name = shared.collection_name(space)
        with self._writing:
            with self._shard(space, make=False) as shard:
                if shard is None or self._changes[name] < self._optimize_every:
                    return False
                shard.flush()
            copy = self._folder / f"{name}.next-{os.getpid()}"
            try:
                shutil.copytree(self._folder / name, copy, copy_function=_copy_sparse)
                done = self._optimize_copy(copy)
                if done:
                    self._replace(space, copy)
            except OSError as error:
                raise self._failure("optimize", error) from error
            finally:
                shutil.rmtree(copy, ignore_errors=True)
            self._changes[name] = 0
            return done

    def close(self) -> None:
        """Flushes and lets go of the folder. Ends an `optimize` under way: it raises, and changes nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if self._child is not None:
                self._child.kill()
        with self._writing, self._lock:
            try:
                for shard in self._shards.values():
                    with self._driver("close"):
                        shard.flush()
                        shard.close()
            finally:
                self._shards.clear()
                os.close(self._held)
        with self._searching:
            self._columns.clear()

    @contextmanager
    def _warmed(self, space: Space, namespace: str) -> Iterator[Columns | None]:
        """The columns of a namespace, for one search; None where they are not there, or the index is closed."""
        with self._searching:
            yield self._columns.get((shared.collection_name(space), namespace))

    def _columns_of(self, space: Space, namespace: str) -> Columns | None:
        """The columns that a write has to keep up; None where the shard has more than they would. For the writer."""
        key = (shared.collection_name(space), namespace)
        if key not in self._columns and key not in self._cold:
            if self.count(space, namespace):
                self._cold.add(key)
            else:
                with self._searching:
                    self._columns[key] = Columns(space.dimensions, exact=self._exact)
        return self._columns.get(key)

    def _delete_columns(self, space: Space, namespace: str, concept_ids: Sequence[str]) -> None:
        key = (shared.collection_name(space), namespace)
        with self._searching:
            columns = self._columns.get(key)
            if columns is None:
                return
            columns.delete(concept_ids)
            if not columns.packed():
                self._columns[key] = columns.repacked()

    def _stored(self, space: Space, namespace: str) -> Iterator[list[IndexPoint]]:
        """All points of a namespace in the shard, page by page."""
        offset: edge.PointId | None = None
        while True:
            with self._shard(space, make=False) as shard:
                if shard is None:
                    return
                request = edge.ScrollRequest(
                    offset, shared.BATCH, _tenant(namespace), with_payload=True, with_vector=True
                )
                records, offset = shard.scroll(request)
            yield [_stored_point(record) for record in records]
            if offset is None:
                return

    def _search(self, space: Space, query: edge.Query, selection: shared.Selection, limit: int) -> list[ScoredConcept]:
        params = edge.SearchParams(exact=True)
        wanted = edge.PayloadSelector.Include(shared.HIT_FIELDS)

        def fetch(conditions: list[shared.Condition], size: int) -> list[shared.Hit]:
            request = edge.SearchRequest(query, size, filter=_filter(conditions), params=params, with_payload=wanted)
            with self._shard(space, make=False) as shard:
                found = [] if shard is None else shard.search(request)
            return [shared.Hit.of(point.score, point.payload) for point in found]

        return shared.ranked(fetch, selection, limit)

    @contextmanager
    def _write(self, space: Space, *, make: bool) -> Iterator[Callable[[edge.UpdateOperation, int], None]]:
        """Gives `apply(operation, points)`; what was applied is on disk when the block ends without an error.

        The shards are free between operations, so searches slip in. A crash leaves a first part of the operations.
        """
        name = shared.collection_name(space)

        def apply(operation: edge.UpdateOperation, points: int) -> None:
            with self._shard(space, make=make) as shard:
                if shard is not None:
                    shard.update(operation)
                    self._changes[name] += points
                    self._unflushed[name] += points

        with self._writing:
            yield apply
            with self._shard(space, make=False) as shard:
                if shard is None:
                    return
                if self._unflushed[name] >= _FLUSH_EVERY:
                    shard.flush()
                    self._unflushed[name] = 0
            with self._driver(f"sync the log of {name}"):
                log_folder = self._folder / name / "wal"
                for path in (*log_folder.iterdir(), log_folder):
                    _sync(path)

    @contextmanager
    def _shard(self, space: Space, *, make: bool) -> Iterator[edge.EdgeShard | None]:
        """The shard of a space, for one call; None when there is none and none is to be made."""
        name = shared.collection_name(space)
        with self._lock, self._driver(f"use {name}"):
            if self._closed:
                raise Unavailable(f"the index in {self._folder} is closed", reason="INDEX_CLOSED")
            if name not in self._shards:
                live = self._folder / name
                self._tidy(name)
                if live.exists():
                    self._shards[name] = self._load(space)
                elif make:
                    self._create(space)
                    self._shards[name] = self._load(space)
                else:
                    yield None
                    return
                self._changes[name] = self._shards[name].info().points_count
                # What the log had may be in no segment yet: unless the first write flushes, a process that is killed
                # again and again before `_FLUSH_EVERY` would apply a longer log every time it starts.
                self._unflushed[name] = _FLUSH_EVERY
            yield self._shards[name]

    def _tidy(self, name: str) -> None:
        """Ends what a crash left half done: see `_create` and `_replace`."""
        live, old = self._folder / name, self._folder / f"{name}.old"
        if old.exists() and not live.exists():
            old.rename(live)
        for leftover in (*self._folder.glob(f"{name}.next-*"), *self._folder.glob(f"{name}.new"), old):
            shutil.rmtree(leftover, ignore_errors=True)

    def _create(self, space: Space) -> None:
        """Makes an empty shard under another name first: one with the final name is whole."""
        name = shared.collection_name(space)
        new = self._folder / f"{name}.new"
        shard = edge.EdgeShard.create(str(new), self._config(space))
        keyword, lookup, range_ = edge.KeywordIndexParams, edge.IntegerIndexParams, edge.IntegerIndexParams
        fields: dict[str, edge.KeywordIndexParams | edge.IntegerIndexParams] = {
            shared.TENANT: keyword(is_tenant=True),
            **{field: keyword() for field in shared.KEYWORDS},
            **{field: lookup(lookup=True, range=False) for field in shared.LOOKUPS},
            **{field: range_(lookup=False, range=True) for field in shared.RANGES},
        }
        for field, schema in fields.items():
            shard.update(edge.UpdateOperation.create_field_index(field, schema))
        shard.flush()
        shard.close()
        new.rename(self._folder / name)
        _sync(self._folder)

    def _load(self, space: Space) -> edge.EdgeShard:
        """Opens a shard; a damaged one is put aside and replaced by an empty one."""
        live = self._folder / shared.collection_name(space)
        try:
            return edge.EdgeShard.load(str(live), self._config(space))
        except BaseException as error:
            if not _of_driver(error) or _disk_full(error):
                raise
            taken = {path.name for path in self._folder.glob(f"{live.name}.damaged-*")}
            number = next(n for n in range(1, len(taken) + 2) if f"{live.name}.damaged-{n}" not in taken)
            aside = live.with_name(f"{live.name}.damaged-{number}")
            log.warning(
                "the index of space %s could not be opened (%s); it is kept as %s and an empty one takes its place: "
                "index the space again from the record",
                *(space, error, aside),
            )
            live.rename(aside)
            self._create(space)
            return edge.EdgeShard.load(str(live), self._config(space))

    def _config(self, space: Space) -> edge.EdgeConfig:
        """m=0 builds no graph."""
        return edge.EdgeConfig(
            vectors={shared.DENSE: edge.EdgeVectorParams(size=space.dimensions, distance=edge.Distance.Cosine)},
            sparse_vectors={shared.TERMS: edge.EdgeSparseVectorParams()},
            hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=128, full_scan_threshold=10_000, payload_m=0),
        )

    def _optimize_copy(self, copy: Path) -> bool:
        """Runs this module in a child process on a copy of a shard (see `_optimize_shard`)."""
        with self._lock:
            if self._closed:
                raise Unavailable(f"the index in {self._folder} is closed", reason="INDEX_CLOSED")
            self._child = subprocess.Popen(
                [sys.executable, "-m", "memory.index.edge", str(copy)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        try:
            _, complaint = self._child.communicate()
        finally:
            with self._lock:
                child, self._child = self._child, None
        if child.returncode not in (0, _NOTHING_DUE):
            raise Unavailable(
                f"optimizing {copy} ended with status {child.returncode}: {complaint.decode(errors='replace')[-500:]}",
                reason="INDEX_OPTIMIZE_FAILED",
            )
        return child.returncode == 0

    def _replace(self, space: Space, copy: Path) -> None:
        """Puts an optimised copy in the place of a shard. A crash between the renames is mended by `_tidy`."""
        name = shared.collection_name(space)
        live, old = self._folder / name, self._folder / f"{name}.old"
        with self._shard(space, make=False) as shard:
            assert shard is not None
            shard.close()
            del self._shards[name]
            live.rename(old)
            copy.rename(live)
            _sync(self._folder)
            self._shards[name] = self._load(space)
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def _driver(self, doing: str) -> Iterator[None]:
        """Turns what the driver or the file system raises into errors of ours."""
        try:
            yield
        except SapienceError:
            raise
        except BaseException as error:
            if not _of_driver(error):
                raise
            raise self._failure(doing, error) from error

    def _failure(self, doing: str, error: BaseException) -> SapienceError:
        if _disk_full(error):
            return FailedPrecondition(
                f"the disk of {self._folder} is full, could not {doing}: free some space and try again",
                reason="DISK_FULL",
            )
        return Unavailable(f"the index in {self._folder} could not {doing}: {error}", reason="INDEX_UNAVAILABLE")


def _of_driver(error: BaseException) -> bool:
    """Whether it comes from the driver or the system; a panic of the driver is no `Exception`."""
    return isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime"


def _disk_full(error: BaseException) -> bool:
    return "No space left on device" in str(error)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk. Lets other threads run meanwhile."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sparse(terms: Sparse) -> edge.SparseVector:
    return edge.SparseVector(list(terms.indices), list(terms.values))


def _point(id_: str, point: IndexPoint) -> edge.Point:
    vectors: dict[str, edge.NamedVector] = {shared.DENSE: point.vector.tolist()}
    if point.terms.indices:
        vectors[shared.TERMS] = _sparse(point.terms)
    return edge.Point(id_, vectors, shared.payload(point))


def _stored_point(record: Any) -> IndexPoint:
    """A point as it was written."""
    fields, vectors = record.payload or {}, record.vector
    terms = vectors.get(shared.TERMS)
    return IndexPoint(
        concept_id=str(fields["concept_id"]),
        episode_id=str(fields["episode_id"]),
        namespace=str(fields["namespace"]),
        vector=np.array(vectors[shared.DENSE], np.float32),
        terms=Sparse() if terms is None else Sparse(tuple(terms.indices), tuple(terms.values)),
        told_at=int(fields["told_at"]),
        seq=int(fields["seq"]),
        kind=SourceKind(fields["kind"]),
        speaker=str(fields["speaker"]),
        conversation=str(fields["conversation"]),
    )


def _tenant(namespace: str) -> edge.Filter:
    return _filter([shared.AnyOf(shared.TENANT, [namespace])])


def _filter(conditions: list[shared.Condition]) -> edge.Filter:
    return edge.Filter(must=[_condition(condition) for condition in conditions])


def _condition(condition: shared.Condition) -> edge.FieldCondition:
    if isinstance(condition, shared.Within):
        range_ = edge.RangeFloat(gte=condition.at_least, lte=condition.at_most)
        return edge.FieldCondition(condition.field, range=range_)
    if len(condition.values) == 1:
        return edge.FieldCondition(condition.field, match=edge.MatchValue(condition.values[0]))
    return edge.FieldCondition(condition.field, match=edge.MatchAny(condition.values))


def _copy_sparse(source: str, target: str) -> str:
    """Copies a file without its holes: a shard keeps files of 32 MB that are mostly empty."""
    if not hasattr(os, "copy_file_range"):
        return shutil.copyfile(source, target)
    with open(source, "rb") as reader, open(target, "wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        writer.truncate(size)
        at = 0
        while at < size:
            try:
                start = os.lseek(reader.fileno(), at, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            at = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            while start < at:
                start += os.copy_file_range(reader.fileno(), writer.fileno(), at - start, start, start)
    return target


def _optimize_shard(folder: str) -> int:
    """The child process: optimises a shard that nobody else uses, and checks that it opens with as many points."""
    os.nice(10)
    shard = edge.EdgeShard.load(folder)
    points = shard.count(edge.CountRequest(exact=True))
    done = shard.optimize()
    shard.flush()
    shard.close()
    shard = edge.EdgeShard.load(folder)
    after = shard.count(edge.CountRequest(exact=True))
    shard.close()
    if after != points:
        raise SystemExit(f"{points} points became {after}")
    return 0 if done else _NOTHING_DUE


if __name__ == "__main__":
    sys.exit(_optimize_shard(sys.argv[1]))
