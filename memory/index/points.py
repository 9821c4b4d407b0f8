"""What the index backends share: names, ids, payloads, filters and the order of results. Imports no driver.

A point is a Concept in one namespace. Its id is made of both, so that two namespaces may hold the same Concept (an
export imported again) and no write of one can ever touch a point of the other.

Filters travel to the stores as conditions, whose ranges are floats: whole numbers beyond 2**53 (times after the year
2255 or before 1684) are not exact there. So bounds are widened to the next float, and every hit is checked once more
here, on whole numbers. What comes out is exact.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from operator import lt

import numpy as np

from core.clock import EARLIEST, LATEST
from core.errors import InvalidArgument
from core.ids import uuid5
from core.nouns import AsOf, EpisodeFilter, Float32, IndexPoint, ScoredConcept, Space, Sparse

DENSE = "dense"
TERMS = "terms"

TENANT = "namespace"
KEYWORDS = ("speaker", "conversation")
LOOKUPS = ("kind",)
RANGES = ("told_at", "seq")
"""Payload fields by the kind of payload index they get; `TENANT` is a keyword too."""

HIT_FIELDS = ["concept_id", "episode_id", "told_at", "seq", "kind"]
"""The payload that a search asks for: what a `Hit` is made of."""

BATCH = 256
"""Points in one call of a driver: a few hundred KB on the wire, and some 10 ms of the interpreter for Qdrant Edge."""

_POINT_IDS = uuid.UUID("6f0c2c8e-7d0a-5b8e-9a55-6b1f0f1c7d03")


@lru_cache(maxsize=1024)
def _namespace_root(namespace: str) -> uuid.UUID:
    return uuid.uuid5(_POINT_IDS, namespace)


def point_id(namespace: str, concept_id: str) -> str:
    """The store's id of a Concept in a namespace."""
    return uuid5(_namespace_root(namespace), concept_id)


@lru_cache(maxsize=256)
def collection_name(space: Space) -> str:
    """A name for a space that every file system and store takes; different for any two spaces."""
    readable = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in space.name)[:40]
    return f"{readable}-{space.dimensions}-{blake2b(str(space).encode(), digest_size=6).hexdigest()}"


def payload(point: IndexPoint) -> dict[str, str | int]:
    """What is kept beside the vectors: what filters read and hits carry."""
    return {
        "namespace": point.namespace,
        "concept_id": point.concept_id,
        "episode_id": point.episode_id,
        "told_at": point.told_at,
        "seq": point.seq,
        "kind": int(point.kind),
        "speaker": point.speaker,
        "conversation": point.conversation,
    }


def batches(space: Space, points: Sequence[IndexPoint]) -> list[list[tuple[str, IndexPoint]]]:
    """The points with their ids, checked, the last of each id only, in batches of `BATCH`.

    Raises InvalidArgument before anything is written.
    """
    last: dict[str, IndexPoint] = {}
    finite = _all_finite(space, points)
    for point in points:
        if not finite:
            check_vector(space, point.vector)
        check_terms(point.terms)
        last[point_id(point.namespace, point.concept_id)] = point
    items = list(last.items())
    return [items[start : start + BATCH] for start in range(0, len(items), BATCH)]


def _all_finite(space: Space, points: Sequence[IndexPoint]) -> bool:
    """Whether all vectors are plainly what `check_vector` asks for: it takes as long for one as this for ten."""
    shape = (space.dimensions,)
    if not points or any(point.vector.shape != shape for point in points):
        return False
    return bool(np.isfinite(np.concatenate([point.vector for point in points])).all())


def check_vector(space: Space, vector: Float32) -> None:
    """Raises InvalidArgument for a vector that is not of this space, or not of numbers."""
    if vector.shape != (space.dimensions,):
        raise InvalidArgument(
            f"a vector of shape {vector.shape} is not of space {space}; give one of shape ({space.dimensions},)",
            field="vector",
            reason="VECTOR_SIZE",
        )
    if not np.isfinite(vector).all():
        raise InvalidArgument("a vector holds NaN or infinity; give finite numbers", field="vector")


def check_terms(terms: Sparse) -> None:
    """Raises InvalidArgument for a sparse vector that is not what `Sparse` says."""
    ids, weights = terms.indices, terms.values
    if len(ids) != len(weights):
        raise InvalidArgument(f"{len(ids)} term ids with {len(weights)} weights; give one for each", field="terms")
    if ids and not (all(map(lt, ids, ids[1:])) and ids[0] >= 0 and ids[-1] < 2**32):
        raise InvalidArgument(f"the term ids {ids[:8]}... are not ascending, unique uint32", field="terms")
    if not all(map(math.isfinite, weights)):
        raise InvalidArgument("a term weight is NaN or infinite; give finite numbers", field="terms")


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The field has one of these values."""

    field: str
    values: list[str] | list[int]


@dataclass(frozen=True, slots=True)
class Within:
    """The field is in this range, ends included; None is an open end."""

    field: str
    at_least: float | None
    at_most: float | None


Condition = AnyOf | Within


@dataclass(frozen=True, slots=True)
class Hit:
    """A point that a store found, with what decides whether it counts."""

    concept_id: str
    episode_id: str
    score: float
    told_at: int
    seq: int
    kind: int

    @classmethod
    def of(cls, score: float, fields: Mapping[str, object] | None) -> Hit:
        """From the score and the payload that a driver returns."""
        found = fields or {}
        told_at, seq, kind = (found.get(name) for name in ("told_at", "seq", "kind"))
        if not (isinstance(told_at, int) and isinstance(seq, int) and isinstance(kind, int)):
            raise TypeError(f"the payload {found} of a point lacks a whole number for told_at, seq or kind")
        return cls(str(found["concept_id"]), str(found["episode_id"]), score, told_at, seq, kind)


@dataclass(frozen=True, slots=True)
class Selection:
    """What one search may see."""

    namespace: str
    where: EpisodeFilter
    as_of: AsOf

    def loose(self) -> list[Condition]:
        """The conditions that are few and cheap: all but kind, time and seq."""
        conditions: list[Condition] = [AnyOf(TENANT, [self.namespace])]
        if self.where.speakers:
            conditions.append(AnyOf("speaker", list(self.where.speakers)))
        if self.where.conversations:
            conditions.append(AnyOf("conversation", list(self.where.conversations)))
        return conditions

    def strict(self) -> list[Condition]:
        """All conditions. What they let through is all that is allowed, and perhaps a neighbour of a bound."""
        conditions = self.loose()
        if self.where.kinds:
            conditions.append(AnyOf("kind", [int(kind) for kind in self.where.kinds]))
        first, last = self._told()
        if first > EARLIEST or last < LATEST:
            conditions.append(Within("told_at", _at_least(first), _at_most(last)))
        if self.as_of.seq < 2**63 - 1:
            conditions.append(Within("seq", None, _at_most(self.as_of.seq)))
        return conditions

    def allows(self, hit: Hit) -> bool:
        """Whether a hit of `loose` or `strict` conditions counts, exactly."""
        first, last = self._told()
        return (
            (not self.where.kinds or hit.kind in self.where.kinds)
            and first <= hit.told_at <= last
            and hit.seq <= self.as_of.seq
        )

    def _told(self) -> tuple[int, int]:
        """The first and the last time that may have been told at."""
        told = self.where.told
        last = min(self.as_of.told_by, self.as_of.valid_at)
        return (
            EARLIEST if told.start is None else told.start,
            last if told.end is None else min(last, told.end - 1),
        )


def ranked(fetch: Callable[[list[Condition], int], list[Hit]], selection: Selection, limit: int) -> list[ScoredConcept]:
    """The best `limit` hits that the selection allows, by descending score and then Concept id.

    `fetch(conditions, size)` gives the best `size` points that meet the conditions, in any order among ties. A
    condition that most points meet costs a store far more than it saves, so the first try leaves such conditions to
    `allows`; only if too few pass are they pushed down. Where a tie reaches past what was fetched, more is fetched, so
    that which of the tied come first never depends on the store.
    """
    if limit <= 0:
        return []
    conditions, size, pushed_down = selection.loose(), 2 * limit + 16, False
    while True:
        hits = fetch(conditions, size)
        kept = sorted((hit for hit in hits if selection.allows(hit)), key=lambda hit: (-hit.score, hit.concept_id))
        seen_all = len(hits) < size
        if seen_all or (len(kept) >= limit and kept[limit - 1].score > min(hit.score for hit in hits)):
            return [ScoredConcept(hit.concept_id, hit.episode_id, hit.score) for hit in kept[:limit]]
        if pushed_down:
            size *= 4
        conditions, pushed_down = selection.strict(), True


def _at_least(value: int) -> float:
    """The nearest float that is not above."""
    bound = float(value)
    return bound if bound <= value else math.nextafter(bound, -math.inf)


def _at_most(value: int) -> float:
    """The nearest float that is not below."""
    bound = float(value)
    return bound if bound >= value else math.nextafter(bound, math.inf)
