"""Summaries vote for their sources: what a Dream brought together is found together.

A summary is never evidence and never a hit. But where one matches a question, what it quotes may bear on it too, though
no word of it matches: so the summaries nearest to the query bring in their sources, each with the cosine of the best of
them. A vote says that two turns are of one topic, and not that either answers; `sapience bench dream` measures what it
brings, and by that the default recipe has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from core.nouns import AsOf, EpisodeFilter, Float32, SourceKind, Space
from core.ports import Index, Record
from memory.fusion import Channel

SUMMARIES = 3
"""Concepts of summaries that vote."""


def votes(record: Record, index: Index, namespace: str, space: Space, vector: Float32, as_of: AsOf) -> dict[str, float]:
    """For each source of the summaries nearest to the vector, the best of their cosines. Empty where nothing dreamt."""
    where = EpisodeFilter(kinds=(SourceKind.DREAM,))
    best: dict[str, float] = {}
    for hit in index.search_dense(space, namespace, vector, SUMMARIES, where, as_of):
        best[hit.episode_id] = max(hit.score, best.get(hit.episode_id, hit.score))
    voted: dict[str, float] = {}
    for summary, sources in record.sources_of(namespace, sorted(best)).items():
        for source in sources:
            voted[source] = max(best[summary], voted.get(source, best[summary]))
    return voted


def vote_channel(weight: float, episode_ids: Sequence[str], voted: Mapping[str, float]) -> Channel:
    """What is quoted by no summary that matches gets the least that anything quoted got."""
    least = min(voted.values())
    return Channel("summary", weight, np.array([voted.get(episode_id, least) for episode_id in episode_ids]))
