"""Recall between the wire and `memory.recall`: checks, the query's vector, pages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sapience.v1 import memory_pb2 as pb

from core.clock import LATEST
from core.errors import InvalidArgument
from core.nouns import AsOf, EpisodeFilter, Float32, Space
from core.ports import Record
from memory.recall import RecallHit, RecallQuery, RecallResult, dense_text
from memory.recipes import Recipe, recipe_named
from memory.support import supports
from services import wire
from services.memory import reranking
from services.memory.perceiving import Encoder
from services.runtime.worker import Worker


@dataclass(frozen=True, slots=True)
class Query:
    """A Recall request, checked. `seq` comes from a page token: later pages read what the first one read."""

    namespace: str
    text: str
    vector: Float32 | None
    space: Space | None
    recipe: Recipe
    where: EpisodeFilter
    limit: int
    offset: int
    token_budget: int
    seq: int | None
    key: bytes


def read(request: pb.RecallRequest) -> Query:
    """Checks a Recall request."""
    namespace = wire.checked_namespace(request.namespace)
    text = wire.checked_text(request.text, "text", wire.MAX_QUERY_BYTES)
    vector, space = None, None
    if request.HasField("vector"):
        vectors, space = wire.tensor_from(request.vector, 1, "vector")
        vector = vectors[0]
    if request.token_budget < 0:
        raise InvalidArgument(f"token_budget is {request.token_budget}; give 1 or more, or 0", field="token_budget")
    key, seq, offset = b"", None, 0
    if request.page_token:
        seq, place = wire.read_page_token(request.page_token, _key(request))
        if not isinstance(place, int) or place < 0:
            raise InvalidArgument("page_token is damaged; begin again without one", field="page_token")
        offset = place
    return Query(
        namespace,
        text,
        vector,
        space,
        recipe_named(request.recipe or "default"),
        wire.filter_from(request.filter) if request.HasField("filter") else EpisodeFilter(),
        wire.checked_limit(request.limit, "limit", 10, 200),
        offset,
        request.token_budget,
        seq,
        key or _key(request),
    )


def _key(request: pb.RecallRequest) -> bytes:
    bare = pb.RecallRequest()
    bare.CopyFrom(request)
    bare.page_token = ""
    key: bytes = bare.SerializeToString(deterministic=True)
    return key


class Search(Protocol):
    """What finds Episodes: `memory.recall.Recall`."""

    def search(self, query: RecallQuery) -> RecallResult:
        """Blocks; called on a thread."""
        ...


@dataclass(frozen=True, slots=True)
class Scope:
    """What a query is asked of: a space, a point in time; and its text without the names of those who spoke there."""

    space: Space | None
    wanted: str
    as_of: AsOf


def look(record: Record, query: Query, as_of: AsOf) -> Scope:
    """Reads what the query's text has to be seen with. Blocks."""
    space = record.space_of(query.namespace)
    wanted = query.text
    if space is not None and query.recipe.strip_names:
        wanted = dense_text(query.text, record.speakers(query.namespace))
    return Scope(space, wanted, as_of)


def ready_vector(query: Query, scope: Scope) -> Float32 | None:
    """The caller's vector, unless there is none, or a name had to be taken out of the text."""
    if query.space is not None and scope.space is not None:
        wire.same_space(query.space, scope.space, "vector.space")
    return query.vector if scope.wanted == query.text else None


async def vector_for(encoder: Encoder, query: Query, scope: Scope) -> Float32 | None:
    """The caller's vector, or one made here; None where the namespace has no vectors."""
    vector = ready_vector(query, scope)
    if vector is None and scope.space is not None:
        vectors, encoded_in = await encoder.encode([scope.wanted], scope.space)
        wire.same_space(encoded_in, scope.space, "text")
        vector = vectors[0]
    return vector


async def answer(
    search: Search, encoder: Encoder, judge: reranking.Judge, reads: Worker, query: Query, scope: Scope
) -> pb.RecallResponse:
    """Searches, with the caller's vector or with one made here; reranks where the recipe says so."""
    vector = await vector_for(encoder, query, scope)
    if not query.recipe.rerank or scope.space is None:
        return await reads.run(found, search, query, scope, vector)

    async def run(asked: RecallQuery) -> RecallResult:
        return await reads.run(search.search, asked)

    asked, recipe = wanted(query, scope, scope.space, vector), query.recipe
    return _response(query, scope, await reranking.search(run, judge, asked, recipe.rerank, recipe.rerank_depth))


def found(search: Search, query: Query, scope: Scope, vector: Float32 | None) -> pb.RecallResponse:
    """Searches. Blocks."""
    if scope.space is None:
        return _response(query, scope, RecallResult(recipe=query.recipe.name))
    return _response(query, scope, search.search(wanted(query, scope, scope.space, vector)))


def wanted(query: Query, scope: Scope, space: Space, vector: Float32 | None) -> RecallQuery:
    """What is searched for."""
    as_of = scope.as_of
    return RecallQuery(
        namespace=query.namespace,
        text=query.text,
        space=space,
        dense_vector=vector,
        recipe=query.recipe.name,
        as_of=AsOf(LATEST, as_of.told_by, as_of.seq),
        asked_at=min(as_of.valid_at, as_of.told_by),
        where=query.where,
        limit=query.limit,
        offset=query.offset,
        token_budget=query.token_budget,
    )


def _response(query: Query, scope: Scope, result: RecallResult) -> pb.RecallResponse:
    response = pb.RecallResponse(recipe=query.recipe.name, dense_text=scope.wanted, known_terms=result.known_terms)
    wire.set_as_of(response.as_of, scope.as_of)
    _fill(response, result)
    if result.has_more and result.hits:
        response.next_page_token = wire.page_token(query.key, scope.as_of.seq, query.offset + len(result.hits))
    return response


def _fill(response: pb.RecallResponse, result: RecallResult) -> None:
    for hit, supported in zip(result.hits, supports(result), strict=True):
        fill_hit(response.hits.add(), hit, supported)


def fill_hit(message: pb.Hit, hit: RecallHit, supported: float) -> None:
    """Writes a hit into a message."""
    message.episode.CopyFrom(wire.episode_to(hit.episode))
    message.concept.CopyFrom(wire.concept_to(hit.concept))
    message.score, message.coverage, message.support = hit.score, hit.coverage, supported
    for channel in hit.channels:
        message.channels.add(channel=channel.channel, raw=channel.raw, fused=channel.fused)
