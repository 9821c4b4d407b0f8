"""How much an Episode says by itself, whatever was asked: the channel "salience".

It is retention (`memory.forget`): strength and surprise raise it, age lowers it, and being cited raises it again where
a recipe has that counted. `forget` reads the whole namespace for it; this is for a recall, and sees a pool only:

- *strength* is the IDF of the terms that it states, by how many of the candidates hold them: a question says nothing;
- *surprise* is the share of its terms that no candidate told before it holds. Candidates are on one topic, so it is
  the one that brought something up, and not the tenth that comes back to it: "I adopted a cat" and not "How cute!".

Nothing of it is read from the record but uses, so it takes a millisecond at most. Who said it and on which day are
terms of every Concept, and count for nothing here. It does not know what is true: what is said again, and corrected,
is the less surprising for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from core.clock import DAY
from core.nouns import Float64, Int64, Keeping
from core.windows import EpisodeColumns
from memory.analysis import context_terms, episode_context
from memory.channels import Pool
from memory.forget import DECAY, SURPRISE, TYPICAL, YEAR
from memory.fusion import Channel


def salience_channel(weight: float, pool: Pool, kept: Mapping[str, Keeping]) -> Channel:
    """Retention of each Episode of the pool; `kept` says what was cited, and is empty where that does not count."""
    return Channel("salience", weight, retentions(pool, kept))


def retentions(pool: Pool, kept: Mapping[str, Keeping]) -> Float64:
    """Shape [e], from 0 to 1. Ages are counted from what was told last, and from the last use: no clock is asked.

    As `forget.retention` has it of one after the other.
    """
    strength, surprise = impressions(pool)
    told_at = np.array(pool.episodes.told_at, np.float64)
    odds = strength / TYPICAL * (1 + SURPRISE * surprise) * _faded(told_at.max() - told_at)
    used = [(place, one) for place, id_ in enumerate(pool.episodes.ids) if (one := kept.get(id_)) and one.uses]
    if used:
        places = [place for place, _ in used]
        used_at = np.array([one.used_at or 0 for _, one in used], np.float64)
        odds[places] += np.array([one.uses for _, one in used]) * _faded(used_at.max() - used_at)
    return np.asarray(odds / (1 + odds), np.float64)


def impressions(pool: Pool) -> tuple[Float64, Float64]:
    """Strength, in nats, and surprise, from 0 to 1, of each Episode; shape [e]. Both are 0 where it has no term."""
    many = len(pool.episodes)
    place, term, stated = _said(pool)
    distinct, of = np.unique(term, return_inverse=True)
    holding = np.bincount(of, minlength=len(distinct))
    idf = np.log1p((many - holding + 0.5) / (holding + 0.5))
    strength = np.bincount(place, idf[of] * stated, many)
    rank = np.empty(many, np.int64)
    rank[_in_order(pool.episodes)] = np.arange(many)
    first = np.full(len(distinct), many)
    np.minimum.at(first, of, rank[place])
    new = np.bincount(place, first[of] == rank[place], many)
    surprise = new / np.maximum(np.bincount(place, minlength=many), 1)
    return strength.astype(np.float64), surprise.astype(np.float64)


def _said(pool: Pool) -> tuple[Int64, Int64, Float64]:
    """Every Episode's own terms, each once: the Episode's place, the term, and 1 where a statement of it holds it."""
    rows = pool.columns.term_rows
    # A term has 32 bits, so a pair fits one number.
    said, entry = np.unique(pool.episode_of[rows] << 32 | pool.columns.terms, return_inverse=True)
    stated = np.bincount(entry, pool.states[rows], len(said)) > 0
    told_with = np.array(
        [
            place << 32 | term
            for place, (speaker, told_at) in enumerate(zip(pool.episodes.speakers, pool.episodes.told_at, strict=True))
            for term in _told_with(speaker, told_at // DAY)
        ],
        np.int64,
    )
    at = np.minimum(np.searchsorted(said, told_with), len(said) - 1)
    own = np.ones(len(said), bool)
    own[at[said[at] == told_with]] = False
    return said[own] >> 32, said[own] & 0xFFFFFFFF, stated[own].astype(np.float64)


@lru_cache(maxsize=4096)
def _told_with(speaker: str, day: int) -> tuple[int, ...]:
    """The terms that Concepts have for who said them, and on which day since 1970."""
    return context_terms(episode_context(speaker, day * DAY))


def _faded(since: Float64) -> Float64:
    return np.asarray((1 + since / YEAR) ** -DECAY, np.float64)


def _in_order(told: EpisodeColumns) -> list[int]:
    """The places in the order in which things were told; within a conversation of one time, by their places there."""
    by = zip(told.told_at, told.source_names, told.conversations, told.positions, told.seqs, told.ids, strict=True)
    keys = list(by)
    return sorted(range(len(keys)), key=keys.__getitem__)
