"""Searching what is archived: for reads as of a commit that came before the archival.

The index has no archived Episodes, and a read as of now wants none. One as of an earlier commit asks what this store
would have answered then, and then it had them: so their Concepts are read from the record and scored one by one, as
the index would have. That takes as long as the archive is large, which an audit may, and nothing else pays for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from core.nouns import AsOf, EpisodeFilter, Float32, ScoredConcept, Sparse, StoredConcept
from core.ports import Record


def archived_since(record: Record, namespace: str, where: EpisodeFilter, as_of: AsOf) -> list[StoredConcept]:
    """The Concepts that the filter allows and that were archived after `as_of.seq`; none for a read as of now."""
    if as_of.seq >= record.seq():
        return []
    return [
        concept
        for episode, concepts in record.archived_concepts(namespace, as_of)
        if where.allows(episode, as_of)
        for concept in concepts
    ]


def with_dense(
    found: Sequence[ScoredConcept], apart: Sequence[StoredConcept], vector: Float32, limit: int
) -> list[ScoredConcept]:
    """The nearest of both by cosine, ties by Concept id. `vector` is of unit length."""
    scored = (_scored(one, float(one.vector @ vector) / (float(np.linalg.norm(one.vector)) or 1.0)) for one in apart)
    return _best(found, scored, limit)


def with_sparse(
    found: Sequence[ScoredConcept], apart: Sequence[StoredConcept], terms: Sparse, limit: int
) -> list[ScoredConcept]:
    """The highest sums of products of both; what shares no term is not found."""
    asked = dict(zip(terms.indices, terms.values, strict=True))

    def scored() -> Iterable[ScoredConcept]:
        for one in apart:
            held = zip(one.terms.indices, one.terms.values, strict=True)
            products = [value * asked[term] for term, value in held if term in asked]
            if products:
                yield _scored(one, math.fsum(products))

    return _best(found, scored(), limit)


def _scored(one: StoredConcept, score: float) -> ScoredConcept:
    return ScoredConcept(one.concept.id, one.concept.episode_id, score)


def _best(found: Iterable[ScoredConcept], apart: Iterable[ScoredConcept], limit: int) -> list[ScoredConcept]:
    return sorted([*found, *apart], key=lambda hit: (-hit.score, hit.concept_id))[:limit]
