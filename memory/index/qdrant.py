"""The index on a Qdrant server: one collection per space, over gRPC.

Many processes may use one server. Writes wait until they can be searched (`wait=True`). All namespaces of a space share
its collection; `namespace` is marked as the tenant, so the server keeps what belongs together side by side, and graphs
are built for each namespace and not over all (`payload_m`, with `m=0`): no search here ever crosses one.

Exactness: with `exact=True`, the default, a dense search compares all vectors of the namespace. With `exact=False` it
uses the HNSW graphs that the server builds in the background: faster in large namespaces, and a few of the nearest may
be missed. Sparse search is exact either way.

The client's local mode (`QdrantClient(":memory:")` or `path=`) works too, slowly: it is for tests. This takes care of
its differences: it knows no payload index and no search parameter, and warns of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.conversions.common_types import PointId

from core.errors import FailedPrecondition, SapienceError, Unavailable
from core.nouns import AsOf, EpisodeFilter, Float32, IndexPoint, ScoredConcept, Space, Sparse
from memory.index import points as shared

_PAGE = 4096
_REFUSALS = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "UNIMPLEMENTED"}
)
"""gRPC codes that trying again does not mend."""


class QdrantIndex:
    """`core.ports.Index` on a Qdrant server. Thread-safe, as the client is (its local mode is not)."""

    def __init__(self, client: QdrantClient, prefix: str = "sapience", *, exact: bool = True) -> None:
        """Takes the client over: `close` closes it.

        Collections are named `PREFIX-...` and made by the first write. Two stores on one server must have different
        prefixes.
        """
        self.backend = "qdrant"
        self._client = client
        self._prefix = prefix
        options = client.init_options
        self._local = options["location"] == ":memory:" or options["path"] is not None
        self._address = str(options["url"] or options["host"] or options["path"] or options["location"])
        self._params = None if self._local else m.SearchParams(exact=exact)
        self._present: set[str] = set()  # collections that were seen on the server
        self._ready: set[str] = set()  # those whose payload indexes were seen to
        self._closed = False

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        grpc_port: int = 6334,
        timeout_s: int = 10,
        prefix: str = "sapience",
        exact: bool = True,
    ) -> QdrantIndex:
        """Connects to a server, and asks it once for its collections to know that it answers.

        `url` is that of its HTTP port (`http://qdrant:6333`); calls go to `grpc_port` of the same host, and none takes
        longer than `timeout_s`. Raises Unavailable (INDEX_UNAVAILABLE), or FailedPrecondition (INDEX_REFUSED) for a
        wrong key.
        """
        client = QdrantClient(
            url=url,
            api_key=api_key,
            grpc_port=grpc_port,
            prefer_grpc=True,
            timeout=timeout_s,
            check_compatibility=False,  # it asks over HTTP and only warns; the first call below says more
        )
        index = cls(client, prefix, exact=exact)
        try:
            with index._driver():
                client.get_collections()
        except SapienceError:
            index.close()
            raise
        return index

    def upsert(self, space: Space, points: Sequence[IndexPoint]) -> None:
        """Writes points, replacing those of the same Concept id in their namespace.

        Raises InvalidArgument (VECTOR_SIZE) for a vector of another size, before anything is written.
        """
        batches = shared.batches(space, points)
        with self._driver():
            if batches:
                self._make(space)
            for batch in batches:
                structs = [_point(id_, point) for id_, point in batch]
                self._client.upsert(self._name(space), structs, wait=True)

    def delete(self, space: Space, namespace: str, concept_ids: Sequence[str]) -> None:
        """Deletes points; those that are not there are no error."""
        ids: list[m.ExtendedPointId] = [shared.point_id(namespace, concept_id) for concept_id in concept_ids]
        with self._driver():
            if not self._has(space):
                return
            for start in range(0, len(ids), shared.BATCH):
                batch = m.PointIdsList(points=ids[start : start + shared.BATCH])
                self._client.delete(self._name(space), batch, wait=True)

    def drop_namespace(self, space: Space, namespace: str) -> None:
        """Deletes every point of a namespace."""
        with self._driver():
            if self._has(space):
                self._client.delete(self._name(space), m.FilterSelector(filter=_tenant(namespace)), wait=True)

    def search_dense(
        self, space: Space, namespace: str, vector: Float32, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        """The nearest by cosine. Raises InvalidArgument (VECTOR_SIZE) for a vector of another size."""
        shared.check_vector(space, vector)
        selection = shared.Selection(namespace, where, as_of)
        return self._search(space, vector.tolist(), shared.DENSE, selection, limit)

    def search_sparse(
        self, space: Space, namespace: str, terms: Sparse, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        """The highest sum of products of weights; what shares no term is not found."""
        shared.check_terms(terms)
        if not terms.indices:
            return []
        return self._search(space, _sparse(terms), shared.TERMS, shared.Selection(namespace, where, as_of), limit)

    def count(self, space: Space, namespace: str | None = None) -> int:
        """How many points there are, exactly."""
        with self._driver():
            if not self._has(space):
                return 0
            tenant = None if namespace is None else _tenant(namespace)
            return self._client.count(self._name(space), count_filter=tenant, exact=True).count

    def ids(self, space: Space, namespace: str) -> Iterator[str]:
        """Every Concept id of a namespace, ascending. Holds them all at once: some 100 MB for a million."""
        found: list[str] = []
        offset: PointId | None = None
        with self._driver():
            while self._has(space):
                records, offset = self._client.scroll(
                    self._name(space), _tenant(namespace), limit=_PAGE, offset=offset, with_payload=["concept_id"]
                )
                found += [str((record.payload or {})["concept_id"]) for record in records]
                if offset is None:
                    break
        return iter(sorted(found))

    def warm(self, space: Space, namespace: str) -> None:
        """Nothing to do: a server keeps itself warm."""

    def optimize(self, space: Space) -> bool:
        """Nothing to do: a server optimises by itself, in the background."""
        return False

    def close(self) -> None:
        """Closes the client. Calls after it raise Unavailable (INDEX_CLOSED)."""
        if not self._closed:
            self._closed = True
            self._client.close()

    def _search(
        self, space: Space, query: list[float] | m.SparseVector, using: str, selection: shared.Selection, limit: int
    ) -> list[ScoredConcept]:
        def fetch(conditions: list[shared.Condition], size: int) -> list[shared.Hit]:
            found = self._client.query_points(
                self._name(space),
                query=query,
                using=using,
                query_filter=_filter(conditions),
                search_params=self._params,
                limit=size,
                with_payload=shared.HIT_FIELDS,
            ).points
            return [shared.Hit.of(point.score, point.payload) for point in found]

        with self._driver():
            return shared.ranked(fetch, selection, limit) if self._has(space) else []

    def _name(self, space: Space) -> str:
        return f"{self._prefix}-{shared.collection_name(space)}"

    def _has(self, space: Space) -> bool:
        """Whether the space has a collection; one that was seen once is not asked for again."""
        name = self._name(space)
        if name not in self._present and self._client.collection_exists(name):
            self._present.add(name)
        return name in self._present

    def _make(self, space: Space) -> None:
        """Makes the collection of a space and its payload indexes, or what of them is not there."""
        name = self._name(space)
        if name in self._ready:
            return
        if not self._has(space):
            try:
                self._client.create_collection(
                    name,
                    vectors_config={shared.DENSE: m.VectorParams(size=space.dimensions, distance=m.Distance.COSINE)},
                    sparse_vectors_config={shared.TERMS: m.SparseVectorParams()},
                    hnsw_config=m.HnswConfigDiff(m=0, payload_m=16),
                )
            except Exception:
                if not self._has(space):  # else another process was faster
                    raise
        if not self._local:
            for field, schema in _SCHEMA.items():
                self._client.create_payload_index(name, field, schema, wait=True)
        self._present.add(name)
        self._ready.add(name)

    @contextmanager
    def _driver(self) -> Iterator[None]:
        """Turns what the client raises into errors of ours."""
        if self._closed:
            raise Unavailable(f"the index at {self._address} is closed", reason="INDEX_CLOSED")
        try:
            yield
        except SapienceError:
            raise
        except Exception as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> SapienceError:
        """By the status of the answer: gRPC errors have `code()`, HTTP errors `status_code`; others had no answer."""
        code = getattr(error, "code", None)
        status = code().name if callable(code) else str(getattr(error, "status_code", ""))
        details = getattr(error, "details", None)
        message = str(details() if callable(details) else error) or type(error).__name__
        if status in ("NOT_FOUND", "404"):  # someone deleted a collection: look again before the next call
            self._present.clear()
            self._ready.clear()
        if status in _REFUSALS or (status.startswith("4") and status not in ("408", "429")):
            return FailedPrecondition(
                f"the Qdrant server at {self._address} refused the call ({status}): {message}; "
                "check its version, its API key and its collections",
                reason="INDEX_REFUSED",
            )
        return Unavailable(
            f"the Qdrant server at {self._address} does not answer: {message}; check that it runs and can be reached",
            reason="INDEX_UNAVAILABLE",
            retry_after_s=float(getattr(error, "retry_after_s", 0)),
        )


_SCHEMA: dict[str, m.KeywordIndexParams | m.IntegerIndexParams] = {
    shared.TENANT: m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD, is_tenant=True),
    **{field: m.KeywordIndexParams(type=m.KeywordIndexType.KEYWORD) for field in shared.KEYWORDS},
    **{
        field: m.IntegerIndexParams(type=m.IntegerIndexType.INTEGER, lookup=True, range=False)
        for field in shared.LOOKUPS
    },
    **{
        field: m.IntegerIndexParams(type=m.IntegerIndexType.INTEGER, lookup=False, range=True)
        for field in shared.RANGES
    },
}


def _sparse(terms: Sparse) -> m.SparseVector:
    return m.SparseVector(indices=list(terms.indices), values=list(terms.values))


def _point(id_: str, point: IndexPoint) -> m.PointStruct:
    vectors: dict[str, m.Vector] = {shared.DENSE: point.vector.tolist()}
    if point.terms.indices:
        vectors[shared.TERMS] = _sparse(point.terms)
    return m.PointStruct(id=id_, vector=vectors, payload=shared.payload(point))


def _tenant(namespace: str) -> m.Filter:
    return _filter([shared.AnyOf(shared.TENANT, [namespace])])


def _filter(conditions: list[shared.Condition]) -> m.Filter:
    return m.Filter(must=[_condition(condition) for condition in conditions])


def _condition(condition: shared.Condition) -> m.FieldCondition:
    if isinstance(condition, shared.Within):
        range_ = m.Range(gte=condition.at_least, lte=condition.at_most)
        return m.FieldCondition(key=condition.field, range=range_)
    if len(condition.values) == 1:
        return m.FieldCondition(key=condition.field, match=m.MatchValue(value=condition.values[0]))
    return m.FieldCondition(key=condition.field, match=m.MatchAny(any=condition.values))
