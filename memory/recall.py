"""From a question to the Episodes that bear on it, each with why it was found.

    search both channels -> Episodes and their neighbours -> judge all on all channels -> fuse -> filter -> page

- *dense*: the best cosine of an Episode's Concepts with the query's vector.
- *sparse*: BM25 with the namespace's own IDF; each term counts as the best of the Episode's Concepts has it, or, at a
  discount, as the turn before it has it: what was just spoken of is not said again.
- *neighbours*: the best dense and sparse score among the turns beside it.
- *reply*: that score of the turn before it, where somebody else ends that turn with a question. "What is the yacht
  called?" matches, and "Windflower." is the evidence.
- *speaker*: 1 where the query names the one who said it.
- *statement*: the share of its Concepts that state something and do not ask.

Both searches bring in candidates, the record brings in the turns beside them, and then every one of these is judged
on every channel from what the record keeps, so a score never depends on which search happened to find an Episode.

An archived Episode is not found, but still speaks for those beside it: the question before a reply, say.

A ranking is as deep as its candidates (`Recipe.candidates`, some hundred Episodes): recall finds what bears on a
question, and does not list all there is. What was not told by `as_of` is neither found nor speaks for a neighbour;
IDF alone counts the namespace as it is now. It reads and never writes, calls no model, and may run on many threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument
from core.nouns import (
    AsOf,
    Concept,
    Episode,
    EpisodeFilter,
    Float32,
    Interval,
    ScoredConcept,
    Space,
    Sparse,
    StoredConcept,
)
from core.ports import Index, Record
from memory.analysis import asks, idf, named_speakers, query_terms, terms, without_names
from memory.archived import archived_since, with_dense, with_sparse
from memory.fusion import Channel, Contribution, Fused, fuse
from memory.recipes import Recipe, recipe_named

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
        """Finds the Episodes that bear on the query. Eight calls to the stores, however many candidates there are.

        Raises InvalidArgument (recipe, vector, limit, offset, token_budget), NotFound (NAMESPACE_NOT_FOUND), and
        FailedPrecondition (SPACE_MISMATCH) where the namespace's vectors are in another space.
        """
        recipe = recipe_named(query.recipe)
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
        channels = self._searched(query, recipe, vector, weights)
        pool = self._pool(query, recipe, (hit.episode_id for hits in channels for hit in hits))
        matches = _matches(pool, self._record.concepts_of(query.namespace, list(pool.episodes)), vector, weights)
        ranked = _ranked(query, recipe, pool, matches, self._named(query, recipe))
        return _page(query, recipe, pool, matches, weights, ranked, known_terms)

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
        # Not the offset: all pages of a query are cut from one ranking.
        limit = max(recipe.candidates, query.limit)
        scope = (limit, query.where, query.as_of)
        apart = archived_since(self._record, query.namespace, query.where, query.as_of)
        if vector is not None and recipe.dense:
            dense = self._index.search_dense(query.space, query.namespace, vector, *scope)
            found.append(with_dense(dense, apart, vector, limit) if apart else dense)
        if weights and recipe.sparse:
            asked = Sparse(tuple(weights), tuple(weights.values()))
            sparse = self._index.search_sparse(query.space, query.namespace, asked, *scope)
            found.append(with_sparse(sparse, apart, asked, limit) if apart else sparse)
        return found

    def _pool(self, query: RecallQuery, recipe: Recipe, found: Iterable[str]) -> _Pool:
        """The Episodes found and those beside them, as far as they had been told by then and are evidence.

        One that the filter excludes may still speak for its neighbour: the question before an answer, say, that
        somebody else asked.
        """
        ids = sorted(set(found))
        beside = replace(query.where, speakers=(), conversations=(), told=Interval())
        if not recipe.window:
            episodes = self._record.episodes(query.namespace, ids)
            return _Pool({key: episodes[key] for key in ids if key in episodes}, {}, {})
        pool = _Pool({}, {}, {})
        for window in self._record.window(query.namespace, ids, recipe.window).values():
            for place, episode in enumerate(window):
                if beside.allows(episode, query.as_of):
                    pool.episodes[episode.id] = episode
                    near = window[max(0, place - recipe.window) : place + recipe.window + 1]
                    pool.neighbours.setdefault(episode.id, set()).update(other.id for other in near)
                    if place:
                        pool.before[episode.id] = window[place - 1].id
        for key, near_ids in pool.neighbours.items():
            near_ids.intersection_update(pool.episodes)
            near_ids.discard(key)
        return replace(pool, before={key: other for key, other in pool.before.items() if other in pool.episodes})

    def _named(self, query: RecallQuery, recipe: Recipe) -> frozenset[str]:
        return named_speakers(query.text, self._record.speakers(query.namespace)) if recipe.speaker else frozenset()


@dataclass(frozen=True, slots=True)
class _Pool:
    """All Episodes that are judged, and for each those within the window of it that are in the pool too."""

    episodes: dict[str, Episode]
    neighbours: dict[str, set[str]]
    before: dict[str, str]
    """Which of the neighbours is the turn right before it."""

    def asked(self, key: str, matches: Mapping[str, _Match]) -> str | None:
        """The turn before it, if somebody else said that one and ended with a question."""
        before = self.before.get(key, "")
        if before not in matches or not matches[before].asks:
            return None
        return before if self.episodes[before].speaker != self.episodes[key].speaker else None


@dataclass(slots=True)
class _Match:
    """How an Episode's own words meet the query."""

    concept: Concept
    dense: float = 0.0
    statement: float = 0.0
    asks: bool = False
    """Whether it ends with a question."""
    terms: dict[int, float] = field(default_factory=dict)
    """Those of the query's terms that it holds, each with what it adds to BM25."""


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


def _matches(
    pool: _Pool, stored: Mapping[str, Sequence[StoredConcept]], vector: Float32 | None, weights: Mapping[int, float]
) -> dict[str, _Match]:
    """For every Episode of the pool that has Concepts: its scores, and the Concept that matches best."""
    rows = [(key, concept) for key in sorted(pool.episodes) for concept in stored.get(key, ())]
    if not rows:
        return {}
    cosines = [0.0] * len(rows)
    if vector is not None:
        cosines = (np.stack([concept.vector for _, concept in rows]) @ vector).tolist()
    held = [_held(concept.terms, weights) for _, concept in rows]
    sums = [math.fsum(products.values()) for products in held]
    # Each channel as a share of its best, so that neither decides alone which Concept is shown.
    top_cosine, top_sum = max(max(cosines), 1e-9), max(max(sums), 1e-9)
    fit = [cosine / top_cosine + total / top_sum for cosine, total in zip(cosines, sums, strict=True)]
    matches: dict[str, _Match] = {}
    best_fit: dict[str, float] = {}
    for (key, concept), cosine, products, fits in zip(rows, cosines, held, fit, strict=True):
        match = matches.setdefault(key, _Match(concept.concept, dense=cosine))
        match.dense = max(match.dense, cosine)
        if fits > best_fit.setdefault(key, fits):
            best_fit[key], match.concept = fits, concept.concept
        for term, product in products.items():
            match.terms[term] = max(match.terms.get(term, 0.0), product)
    for key, match in matches.items():
        stated = [not asks(one.concept.span.text) for one in stored[key]]
        match.statement, match.asks = sum(stated) / len(stated), not stated[-1]
    return matches


def _held(document: Sparse, weights: Mapping[int, float]) -> dict[int, float]:
    """The terms that a Concept shares with the query, each with the product of both weights."""
    return {
        term: value * weights[term]
        for term, value in zip(document.indices, document.values, strict=True)
        if term in weights
    }


def _ranked(
    query: RecallQuery, recipe: Recipe, pool: _Pool, matches: Mapping[str, _Match], named: frozenset[str]
) -> list[Fused]:
    """The Episodes that the filter allows, best first."""
    own = []
    sparse = {key: _sparse(key, pool, matches, recipe.carry) for key in matches}
    if query.dense_vector is not None and recipe.dense:
        own.append(Channel("dense", recipe.dense, {key: match.dense for key, match in matches.items()}))
    if recipe.sparse:
        own.append(Channel("sparse", recipe.sparse, sparse, floor=0))
    channels = list(own)
    if recipe.window:
        alone = {fused.id: fused.score for fused in fuse(recipe.fusion, own, matches)}
        if recipe.neighbours:
            beside = {
                key: max(alone[other] for other in near)
                for key in matches
                if (near := pool.neighbours.get(key, set()) & alone.keys())
            }
            channels.append(Channel("neighbours", recipe.neighbours, beside))
        if recipe.reply:
            # A question that matches less than most says nothing for its reply, and nothing against it.
            replies = {key: max(0.0, alone[asked]) for key in matches if (asked := pool.asked(key, matches))}
            channels.append(Channel("reply", recipe.reply, replies, floor=0))
    if named:
        said = {key: float(pool.episodes[key].speaker in named) for key in matches}
        channels.append(Channel("speaker", recipe.speaker, said))
    if recipe.statement:
        channels.append(Channel("statement", recipe.statement, {key: m.statement for key, m in matches.items()}))
    ranked = fuse(recipe.fusion, channels, matches)
    return [
        fused
        for fused in ranked
        if query.where.allows(episode := pool.episodes[fused.id], query.as_of) and not episode.archived(query.as_of)
    ]


def _sparse(key: str, pool: _Pool, matches: Mapping[str, _Match], carry: float) -> float:
    """BM25 of an Episode, with what the turn before it lends."""
    own, before = matches[key].terms, matches.get(pool.before.get(key, ""))
    lent = {term: carry * product for term, product in before.terms.items()} if before and carry else {}
    return math.fsum(max(own.get(term, 0.0), lent.get(term, 0.0)) for term in own.keys() | lent.keys())


def _page(
    query: RecallQuery,
    recipe: Recipe,
    pool: _Pool,
    matches: Mapping[str, _Match],
    weights: Mapping[int, float],
    ranked: Sequence[Fused],
    known_terms: float,
) -> RecallResult:
    """The hits of one page, as many as the limit and the token budget allow."""
    hits: list[RecallHit] = []
    left = query.token_budget * BYTES_PER_TOKEN if query.token_budget else math.inf
    for fused in ranked[query.offset : query.offset + query.limit]:
        episode = pool.episodes[fused.id]
        left -= len(episode.text.encode())
        if left < 0:
            break
        coverage = _coverage(fused.id, pool, matches, weights)
        hits.append(RecallHit(episode, matches[fused.id].concept, fused.score, fused.parts, coverage))
    has_more = query.offset + len(hits) < len(ranked)
    return RecallResult(tuple(hits), has_more, known_terms, recipe.name)


def _coverage(key: str, pool: _Pool, matches: Mapping[str, _Match], weights: Mapping[int, float]) -> float:
    held: set[int] = set()
    for near in {key, *pool.neighbours.get(key, ())} & matches.keys():
        held.update(matches[near].terms)
        held.update(terms(pool.episodes[near].speaker))
    total = math.fsum(weights.values())
    return math.fsum(weight for term, weight in weights.items() if term in held) / total if total else 0.0
