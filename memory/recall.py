"""From a question to the Episodes that bear on it, each with why it was found.

    search both channels -> Episodes and their neighbours -> judge all on all channels -> fuse -> filter -> page

Both searches bring in candidates, the record brings in the turns beside them, and then every one of these is judged
on every channel (see `memory.channels`) from what the record keeps, so a score never depends on which search happened
to find an Episode.

An archived Episode is not found, but still speaks for those beside it: the question before a reply, say.

A ranking is as deep as its candidates (`Recipe.candidates`, some hundred Episodes): recall finds what bears on a
question, and does not list all there is. What was not told by `as_of` is neither found nor speaks for a neighbour;
IDF alone counts the namespace as it is now. It reads and never writes, calls no model, and may run on many threads.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import compress

import numpy as np

from core.clock import Micros
from core.errors import FailedPrecondition, InvalidArgument
from core.nouns import (
    AsOf,
    Concept,
    Episode,
    EpisodeFilter,
    Float32,
    Float64,
    Interval,
    ScoredConcept,
    Space,
    Sparse,
)
from core.ports import Index, Record
from core.windows import beside
from memory.analysis import idf, name_terms, named_speakers, query_terms, without_names
from memory.archived import archived_since, with_dense, with_sparse
from memory.channels import Judged, Pool
from memory.fusion import Channel, Contribution, apart, diverse, fuse
from memory.graph import About, facts_about, graph_channel
from memory.recipes import Recipe, recipe_named
from memory.salience import salience_channel
from memory.votes import vote_channel, votes
from memory.when import time_channel

BYTES_PER_TOKEN = 4
"""What a token budget counts: close to the rate of common tokenisers on English, and the same for every model."""


@dataclass(frozen=True, slots=True)
class RecallQuery:
    """What is looked for, where, and as of when."""

    namespace: str
    text: str
    space: Space
    dense_vector: Float32 | None = None
    """Shape [dimensions]: the vector of `dense_text`; None leaves the dense channel out."""
    recipe: str = ""
    as_of: AsOf = AsOf()
    asked_at: Micros | None = None
    """What "last summer" in the text is counted from; None leaves such words unread."""
    where: EpisodeFilter = EpisodeFilter()
    limit: int = 10
    offset: int = 0
    """How many hits earlier pages gave."""
    token_budget: int = 0
    """Stops before the texts exceed so many tokens (UTF-8 bytes / 4); 0 means no limit."""


@dataclass(frozen=True, slots=True)
class RecallHit:
    """An Episode that was found, and why. `score` is comparable within one result only."""

    episode: Episode
    concept: Concept
    score: float
    channels: tuple[Contribution, ...]
    coverage: float
    """The share of the query's IDF weight that this Episode and its neighbours hold, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class RecallResult:
    """The hits, best first, ties by Episode id."""

    hits: tuple[RecallHit, ...] = ()
    has_more: bool = False
    known_terms: float = 0.0
    """The share of the query's IDF weight that the namespace knows at all; 0 where the query has no terms."""
    recipe: str = "default"


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The candidates of one query, judged; those beside them too, which may not be allowed as hits."""

    recipe: Recipe
    judged: Judged
    channels: Sequence[Channel]
    parts: Float64
    """Shape [channels, candidates]."""
    weights: Mapping[int, float]
    known_terms: float

    def page(self, query: RecallQuery) -> RecallResult:
        """The hits of one page, as many as the limit and the token budget allow."""
        allowed = self._allowed(query)
        hits: list[RecallHit] = []
        left = query.token_budget * BYTES_PER_TOKEN if query.token_budget else math.inf
        for one in self._order(allowed, query.offset + query.limit)[query.offset :]:
            left -= len(self.judged.pool.episodes.texts[one[0]].encode())
            if left < 0:
                break
            hits.append(self._hit(*one))
        has_more = query.offset + len(hits) < len(allowed)
        return RecallResult(tuple(hits), has_more, self.known_terms, self.recipe.name)

    def all(self, query: RecallQuery) -> list[RecallHit]:
        """Every candidate that may be a hit, best first, whatever the page and the budget."""
        return [self._hit(*one) for one in self._order(self._allowed(query), None)]

    def _allowed(self, query: RecallQuery) -> list[int]:
        episodes = self.judged.pool.episodes
        allowed = ~episodes.archived(query.as_of)
        if query.where != _anybody(query.where):  # else the pool holds none that it excludes
            allowed &= episodes.allowed(query.where, query.as_of)
        places: list[int] = np.flatnonzero(allowed).tolist()
        return places

    def _order(self, allowed: Sequence[int], most: int | None) -> list[tuple[int, list[Contribution]]]:
        """Places, best first, each with what it lost to those before it."""
        pool, recipe, scores = self.judged.pool, self.recipe, self.parts.sum(axis=0)
        if recipe.mmr:
            by_likeness = diverse(scores, pool.topics, recipe.mmr, allowed, most)
            return [(place, _lost("mmr", like, recipe.mmr)) for place, like in by_likeness]
        groups = pool.conversations.tolist() if recipe.spread else ()
        return [
            (place, _lost("apart", crowded, recipe.apart) + _lost("spread", told, recipe.spread))
            for place, crowded, told in apart(scores, pool.beside, recipe.apart, allowed, groups, recipe.spread, most)
        ]

    def _hit(self, place: int, lost: Sequence[Contribution]) -> RecallHit:
        raw = (float(channel.scores[place]) for channel in self.channels)
        why = list(map(Contribution, (one.name for one in self.channels), raw, self.parts[:, place].tolist()))
        why += lost
        return RecallHit(
            self.judged.pool.episodes[place],
            self.judged.concept(place),
            math.fsum(part.fused for part in why),
            tuple(why),
            _coverage(place, self.judged, self.weights),
        )


def dense_text(text: str, speakers: Iterable[str]) -> str:
    """What to encode for the dense channel: the query without the speakers' names, or as it is if no word is left."""
    return without_names(text, speakers)


class Recall:
    """Searches one record and its index. Raises what they raise."""

    def __init__(self, record: Record, index: Index) -> None:
        self._record = record
        self._index = index

    def dense_text(self, namespace: str, text: str, recipe: str = "") -> str:
        """What to encode for a recall with this recipe in this namespace."""
        if not recipe_named(recipe).strip_names:
            return text
        return dense_text(text, self._record.speakers(namespace))

    def search(self, query: RecallQuery) -> RecallResult:
        """Finds the Episodes that bear on the query. A few calls to the stores, however many candidates there are.

        Raises InvalidArgument (recipe, vector, limit, offset, token_budget), NotFound (NAMESPACE_NOT_FOUND), and
        FailedPrecondition (SPACE_MISMATCH) where the namespace's vectors are in another space.
        """
        ranking = self.rank(query)
        return ranking if isinstance(ranking, RecallResult) else ranking.page(query)

    def rank(self, query: RecallQuery, also: Collection[str] = ()) -> Ranking | RecallResult:
        """All candidates judged, and the Episodes `also` as if a search had found them; a result where there are none.

        Raises what `search` raises.
        """
        with self._record.snapshot():
            return self._rank(query, also)

    def _rank(self, query: RecallQuery, also: Collection[str]) -> Ranking | RecallResult:
        recipe = recipe_named(query.recipe).suited(query.text)
        vector = _checked(query)
        space = self._record.space_of(query.namespace)
        if space is None:
            return RecallResult(recipe=recipe.name)
        if vector is not None and space != query.space:
            raise FailedPrecondition(
                f"namespace {query.namespace!r} keeps vectors in {space}, the query's is in {query.space}; "
                "encode it with the encoder of that space",
                reason="SPACE_MISMATCH",
            )
        weights, known_terms = self._term_weights(query)
        found = self._searched(query, recipe, vector, weights)
        voted = self._votes(query, recipe, vector)
        about = About()
        if recipe.graph:
            about = facts_about(self._record, query.namespace, query.text, weights, query.as_of)
        candidates = {hit.episode_id for hits in found for hit in hits} | voted.keys() | about.sources
        pool = self._pool(query, recipe, candidates | set(also))
        if not pool.episodes:
            return RecallResult(known_terms=known_terms, recipe=recipe.name)
        judged = Judged(pool, recipe, query.text, vector, weights)
        channels = judged.channels(self._named(query, recipe))
        if recipe.time:
            channels += time_channel(recipe.time, query.text, query.asked_at, pool.episodes, said=recipe.dates_said)
        if recipe.salience:
            ids = pool.episodes.ids if recipe.uses else []
            channels.append(salience_channel(recipe.salience, pool, self._record.keepings(query.namespace, ids)))
        if voted:
            channels.append(vote_channel(recipe.summary, pool.episodes.ids, voted))
        parts = fuse(recipe.fusion, channels)
        if recipe.conversation:
            channels.append(judged.conversation(parts.sum(axis=0)))
            parts = np.concatenate([parts, fuse(recipe.fusion, channels[-1:])])
        if recipe.graph:
            mentioned = self._record.mentioned_in(query.namespace, pool.episodes.ids, query.as_of)
            channels.append(graph_channel(recipe.graph, parts.sum(axis=0), pool.episodes.ids, mentioned, about))
            parts = np.concatenate([parts, fuse(recipe.fusion, channels[-1:])])
        if recipe.feedback:
            shares = judged.feedback_terms(parts.sum(axis=0), weights)
            statistics = self._record.term_statistics(query.namespace, list(shares))
            channels.append(judged.feedback(shares, {term: idf(statistics, term) for term in shares}))
            parts = np.concatenate([parts, fuse(recipe.fusion, channels[-1:])])
        return Ranking(recipe, judged, channels, parts, weights, known_terms)

    def _term_weights(self, query: RecallQuery) -> tuple[dict[int, float], float]:
        """IDF of each of the query's terms, and the share of it that the namespace knows."""
        asked = query_terms(query.text)
        statistics = self._record.term_statistics(query.namespace, asked)
        weights = {term: idf(statistics, term) for term in asked}
        total = math.fsum(weights.values())
        known = math.fsum(weight for term, weight in weights.items() if statistics.document_frequency.get(term))
        return weights, known / total if total else 0.0

    def _searched(
        self, query: RecallQuery, recipe: Recipe, vector: Float32 | None, weights: Mapping[int, float]
    ) -> list[list[ScoredConcept]]:
        found = []
        # Neither the page's size nor its place: all pages of a query are cut from one ranking.
        limit = recipe.candidates
        scope = (limit, query.where, query.as_of)
        archived = archived_since(self._record, query.namespace, query.where, query.as_of)
        if vector is not None and recipe.dense:
            dense = self._index.search_dense(query.space, query.namespace, vector, *scope)
            found.append(with_dense(dense, archived, vector, limit) if archived else dense)
        if weights and recipe.sparse:
            asked = Sparse(tuple(weights), tuple(weights.values()))
            sparse = self._index.search_sparse(query.space, query.namespace, asked, *scope)
            found.append(with_sparse(sparse, archived, asked, limit) if archived else sparse)
        return found

    def _pool(self, query: RecallQuery, recipe: Recipe, found: set[str]) -> Pool:
        """The Episodes found and those beside them, as far as they had been told by then and are evidence.

        One that the filter excludes may still speak for its neighbour: the question before an answer, say, that
        somebody else asked.
        """
        ids = sorted(found)
        windows = self._record.window(query.namespace, ids, recipe.window)
        near, kept = windows.episodes, np.flatnonzero(windows.episodes.allowed(_anybody(query.where), query.as_of))
        columns = self._record.columns_of(query.namespace, [near.ids[place] for place in kept.tolist()])
        if len(held := dict.fromkeys(columns.episode_ids)) < len(kept):  # one that is blank has no Concept
            kept = np.array([place for place in kept.tolist() if near.ids[place] in held], np.int64)
        places = windows.places
        if len(kept) < len(near):
            moved = np.full(len(near) + 1, -1, np.int64)  # the last for what stands behind a window's end
            moved[kept] = np.arange(len(kept))
            near, places = near.take(kept.tolist()), moved[places]
        return Pool(near, *beside(places, len(near), recipe.window), columns)

    def _votes(self, query: RecallQuery, recipe: Recipe, vector: Float32 | None) -> dict[str, float]:
        if vector is None or not recipe.summary:
            return {}
        return votes(self._record, self._index, query.namespace, query.space, vector, query.as_of)

    def _named(self, query: RecallQuery, recipe: Recipe) -> frozenset[str]:
        return named_speakers(query.text, self._record.speakers(query.namespace)) if recipe.speaker else frozenset()


def _checked(query: RecallQuery) -> Float32 | None:
    """The query's vector at unit length."""
    for name, value, least in (("limit", query.limit, 1), ("offset", query.offset, 0)):
        if value < least:
            raise InvalidArgument(f"{name} is {value}; give {least} or more", field=name)
    if query.token_budget < 0:
        raise InvalidArgument(f"token_budget is {query.token_budget}; give 0 for no limit", field="token_budget")
    if query.dense_vector is None:
        return None
    if query.dense_vector.shape != (query.space.dimensions,):
        raise InvalidArgument(
            f"the vector has shape {list(query.dense_vector.shape)}; {query.space} asks for [{query.space.dimensions}]",
            field="vector",
        )
    vector = query.dense_vector.astype(np.float32)
    length = float(np.linalg.norm(vector))
    if not math.isfinite(length) or length == 0:
        raise InvalidArgument(f"the vector's length is {length}; it must be finite and not 0", field="vector")
    return vector / np.float32(length)


def _lost(name: str, raw: float, weight: float) -> list[Contribution]:
    return [Contribution(name, raw, -weight * raw)] if raw and weight else []


def _anybody(where: EpisodeFilter) -> EpisodeFilter:
    """The filter without what does not keep an Episode from speaking for those beside it."""
    return replace(where, speakers=(), conversations=(), told=Interval())


def _coverage(place: int, judged: Judged, weights: Mapping[int, float]) -> float:
    """The share of the query's IDF weight that an Episode and its neighbours hold, or the names of their speakers."""
    near = [place, *(other for other in judged.pool.beside[place].tolist() if other >= 0)]
    asked = sorted(weights)
    held = set(compress(asked, np.any(judged.terms[near] > 0, axis=0)))
    held.update(*map(name_terms, {judged.pool.episodes.speakers[other] for other in near}))
    total = math.fsum(weights.values())
    return math.fsum(weights[term] for term in asked if term in held) / total if total else 0.0
