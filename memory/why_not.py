"""Why an Episode is not among the hits of a recall: the first thing that kept it out, and how far it was from them.

It asks the same questions as the recall, in the same order: is it there, had it been told by then, does the filter let
it through, is it archived, did a search bring it in, and where does it stand among all candidates. An Episode that no
search brought in is judged as if one had, so that its channels can be laid beside those of the last hit.

What a cross-encoder would say of it is left out: the ranking is the one before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

from core.nouns import AsOf, Episode, EpisodeFilter
from core.ports import Record
from memory.recall import Recall, RecallHit, RecallQuery, RecallResult


class Kept(IntEnum):
    """What kept an Episode out. The numbers are those of the wire."""

    FOUND = 1
    """Nothing: it is a hit."""
    NOT_THERE = 2
    """The namespace has no such Episode: it was never told, or is forgotten."""
    TOLD_LATER = 3
    """It had not been told, or not been committed, as of then."""
    FILTERED = 4
    """The filter excludes it."""
    ARCHIVED = 5
    """It is archived: a thaw makes it found."""
    NOT_SEARCHED = 6
    """No search brought it in, and it stands beside none that one did."""
    RANKED_BELOW = 7
    """It is a candidate, and others are ranked above."""
    OVER_BUDGET = 8
    """It is ranked high enough, but the token budget ended before it."""


@dataclass(frozen=True, slots=True)
class WhyNot:
    """What kept an Episode out of the first page, in one word and in a sentence."""

    kept: Kept
    message: str
    rank: int = 0
    """Its place among all candidates, from 1, had a search brought it in; 0 where it was not judged."""
    candidates: int = 0
    hit: RecallHit | None = None
    """The Episode as it is judged."""
    page: RecallResult = RecallResult()
    """The page that it is not on: its last hit is what to compare with."""


def why_not(record: Record, recall: Recall, query: RecallQuery, episode_id: str) -> WhyNot:
    """Says why an Episode is not on the first page of a query. Raises what `Recall.search` raises."""
    query = replace(query, offset=0)
    ranking = recall.rank(query)
    page = ranking if isinstance(ranking, RecallResult) else ranking.page(query)
    places = [hit.episode.id for hit in page.hits]
    if episode_id in places:
        rank = places.index(episode_id) + 1
        return WhyNot(Kept.FOUND, f"it is hit {rank}", rank, len(places), page.hits[rank - 1], page)
    episode = record.episodes(query.namespace, [episode_id]).get(episode_id)
    if episode is None:
        message = f"namespace {query.namespace!r} has no Episode {episode_id!r}: it was never told, or is forgotten"
        return WhyNot(Kept.NOT_THERE, message, page=page)
    if (excluded := _excluded(episode, query.where, query.as_of)) is not None:
        return WhyNot(*excluded, page=page)
    candidates = set() if isinstance(ranking, RecallResult) else {*ranking.judged.pool.episodes.ids}
    forced = recall.rank(query, also=[episode_id])
    if isinstance(forced, RecallResult):
        return WhyNot(Kept.NOT_SEARCHED, "it has no Concept, so nothing of it can be searched", page=page)
    ranked = forced.all(query)
    rank = next((place for place, hit in enumerate(ranked, 1) if hit.episode.id == episode_id), 0)
    if not rank:
        return WhyNot(Kept.NOT_SEARCHED, "it has no Concept, so nothing of it can be searched", page=page)
    judged = WhyNot(Kept.RANKED_BELOW, "", rank, len(ranked), ranked[rank - 1], page)
    if episode_id not in candidates:
        message = (
            f"no search brings it in among its first {forced.recipe.candidates} Concepts, and it "
            f"stands beside no Episode that one does; had one, it would be ranked {rank} of {len(ranked)}"
        )
        return replace(judged, kept=Kept.NOT_SEARCHED, message=message)
    if rank <= query.limit:
        message = f"it is ranked {rank}, but the texts before it use up the budget of {query.token_budget} tokens"
        return replace(judged, kept=Kept.OVER_BUDGET, message=message)
    message = f"it is ranked {rank} of {len(ranked)} candidates, and the page ends at {query.limit}"
    if page.hits:
        message += _furthest_behind(ranked[rank - 1], page.hits[-1])
    return replace(judged, message=message)


def _excluded(episode: Episode, where: EpisodeFilter, as_of: AsOf) -> tuple[Kept, str] | None:
    if episode.told_at > min(as_of.told_by, as_of.valid_at):
        return Kept.TOLD_LATER, "it was told later than the time that is asked for"
    if episode.seq > as_of.seq:
        return Kept.TOLD_LATER, f"it was committed later ({episode.seq}) than what is asked for ({as_of.seq})"
    alone = EpisodeFilter(kinds=())
    for name, value, part in (
        ("speakers", episode.speaker or "nobody", replace(alone, speakers=where.speakers)),
        ("kinds", episode.source.kind.name, replace(alone, kinds=where.kinds)),
        ("conversations", episode.conversation or "none", replace(alone, conversations=where.conversations)),
        ("told", "another time", replace(alone, told=where.told)),
    ):
        if not part.allows(episode, as_of):
            return Kept.FILTERED, f"the filter's {name} exclude it: it has {value}"
    if episode.archived(as_of):
        return Kept.ARCHIVED, f"it is archived, by commit {episode.archived_seq}; thaw it to have it found"
    return None


def _furthest_behind(hit: RecallHit, last: RecallHit) -> str:
    """Where it lacks most against the last hit."""
    own = {part.channel: part.fused for part in hit.channels}
    behind = {part.channel: part.fused - own.get(part.channel, 0.0) for part in last.channels}
    channel = max(behind, key=lambda name: (behind[name], name))
    if behind[channel] <= 0:
        return ""
    return f"; it lacks most in {channel}: {behind[channel]:.2f} less than hit {last.episode.id}"
