"""What speaks for each Episode of a pool, channel by channel, for all of them at once. Arrays in, arrays out.

- *dense*: the best cosine of an Episode's Concepts with the query's vector.
- *sparse*: BM25 with the namespace's own IDF; each term counts as the best of the Episode's Concepts has it, or, at a
  discount, as the turn before it has it: what was just spoken of is not said again.
- *neighbours*: the best dense and sparse score among the turns beside it.
- *reply*: that score of the turn before it, where somebody else ends that turn with a question. "What is the yacht
  called?" matches, and "Windflower." is the evidence.
- *speaker*: 1 where the query names the one who said it.
- *statement*: the share of its Concepts that state something and do not ask.
- *length*: the logarithm of how many terms it has.
- *salience*: how much it says that few others say, and first (`memory.salience`).
- *time*: how near to a period that the query names it was told (`memory.when`).
- *expected*: 1 where the query asks for a time, an amount or a name, and the Episode holds one.
- *conversation*: how well the others of its conversation match, the best three of them.
- *graph*: its share of walks over what Episodes mention and over Facts (`memory.graph`).
- *feedback*: how much it says of what the first hits have in common, after the relevance model of Lavrenko and Croft
  (SIGIR 2001).

Shapes: e Episodes, r Concepts, t distinct terms of the query.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.nouns import Concept, ConceptColumns, Float32, Float64, Int64
from core.windows import EpisodeColumns
from memory import fusion
from memory.analysis import QUESTION_MARKS, asks, episode_context, terms
from memory.expected import asks_for_amount, asks_for_name, holds_amount, holds_name
from memory.fusion import Channel
from memory.recipes import Recipe

_MARK = re.compile(f"[{QUESTION_MARKS}]")

FEEDBACK_HITS = 5
FEEDBACK_TERMS = 12
FEEDBACK_SHARPNESS = 0.35
"""How much more the first hit's words count than the fifth's: the hits are weighted by exp(sharpness * score)."""


@dataclass(eq=False)
class Pool:
    """All Episodes that are judged, side by side, ascending by id. Every one of them has a Concept."""

    episodes: EpisodeColumns
    beside: Int64
    """Shape [e, most]: the places of those within the window of each one, -1 where there are fewer."""
    before: Int64
    """Shape [e]: the place of the turn right before, -1 where it is not in the pool."""
    columns: ConceptColumns

    @cached_property
    def first_row(self) -> Int64:
        """Shape [e]: where the rows of each Episode begin."""
        ids = self.columns.episode_ids
        return np.array([row for row, one in enumerate(ids) if not row or ids[row - 1] != one], np.int64)

    @cached_property
    def episode_of(self) -> Int64:
        """Shape [r]: the place of each Concept's Episode."""
        return np.repeat(np.arange(len(self.first_row)), np.diff(self.first_row, append=len(self.columns.ids)))

    def rows_of(self, place: int) -> tuple[int, int]:
        """Where the rows of an Episode begin and end."""
        first = self.first_row
        return int(first[place]), int(first[place + 1]) if place + 1 < len(first) else len(self.columns.ids)

    @cached_property
    def conversations(self) -> Int64:
        """Shape [e]: the number of each Episode's conversation, -1 where it has none."""
        numbers: dict[tuple[str, str], int] = {}
        named = zip(self.episodes.source_names, self.episodes.conversations, strict=True)
        return np.array([numbers.setdefault(one, len(numbers)) if one[1] else -1 for one in named], np.int64)

    @cached_property
    def speakers(self) -> Int64:
        """Shape [e]: the number of each Episode's speaker."""
        numbers: dict[str, int] = {}
        return np.array([numbers.setdefault(one, len(numbers)) for one in self.episodes.speakers], np.int64)

    @cached_property
    def entry_of(self) -> Int64:
        """Shape [entries]: the place of the Episode that each entry of the columns' terms is of."""
        return self.episode_of[self.columns.term_rows]

    @cached_property
    def states(self) -> Float64:
        """Shape [r]: 1 for a Concept that states, 0 for one that asks."""
        states = np.ones(len(self.columns.ids))
        for place, text in enumerate(self.episodes.texts):
            if _MARK.search(text):
                encoded = text.encode()
                for row in range(*self.rows_of(place)):
                    span = encoded[self.columns.start_bytes[row] : self.columns.end_bytes[row]]
                    states[row] = not asks(span.decode())
        return states

    @cached_property
    def topics(self) -> Float32:
        """Shape [e, dimensions]: the mean of the vectors of each Episode's Concepts, at unit length or 0."""
        means = np.add.reduceat(self.columns.vectors, self.first_row)
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        return np.asarray(means / np.maximum(lengths, 1e-9), np.float32)

    def best(self, per_concept: Float64) -> Float64:
        """Shape [e]: the highest value among the Concepts of each Episode."""
        return np.maximum.reduceat(per_concept, self.first_row)

    def held(self, weights: Mapping[int, float]) -> tuple[Float64, Float64]:
        """How much of each of these terms an Episode holds, [e, terms], and a Concept of all of them, [r].

        In units of document weight times `weights`; the columns are in ascending order of the terms.
        """
        wanted = np.array(sorted(weights), np.int64)
        idf = np.array([weights[term] for term in wanted.tolist()])
        by_episode, by_concept = np.zeros((len(self.episodes), len(wanted))), np.zeros(len(self.columns.ids))
        if not len(wanted):
            return by_episode, by_concept
        place = np.minimum(np.searchsorted(wanted, self.columns.terms), len(wanted) - 1)
        match = wanted[place] == self.columns.terms
        rows, place = self.columns.term_rows[match], place[match]
        product = self.columns.term_weights[match] * idf[place]
        np.maximum.at(by_episode, (self.episode_of[rows], place), product)
        by_concept += np.bincount(rows, product, len(self.columns.ids))
        return by_episode, by_concept


class Judged:
    """A pool as one query sees it."""

    def __init__(
        self, pool: Pool, recipe: Recipe, text: str, vector: Float32 | None, weights: Mapping[int, float]
    ) -> None:
        """`weights` is the IDF of each of the query's terms; `vector` None leaves the dense channel out."""
        self.pool = pool
        self._recipe = recipe
        self._text = text
        cosines = np.zeros(len(pool.columns.ids))
        if vector is not None:
            cosines = (pool.columns.vectors @ vector).astype(np.float64)
        self._dense = pool.best(cosines) if vector is not None and recipe.dense else None
        self.terms, sums = pool.held(weights)
        """Shape [e, t]: what each of the query's terms adds to BM25, in ascending order of the terms."""
        # Each channel as a share of its best, so that neither decides alone which Concept is shown.
        self._fit = cosines / max(cosines.max(), 1e-9) + sums / max(sums.max(), 1e-9)

    def concept(self, place: int) -> Concept:
        """The Concept of an Episode that matches best; the first of those that match alike."""
        start, end = self.pool.rows_of(place)
        best = start + int(np.argmax(self._fit[start:end]))
        return self.pool.columns.concept(best, self.pool.episodes.texts[place].encode())

    def channels(self, named: Collection[str]) -> list[Channel]:
        """Those that the recipe asks for, but for feedback; `named` are the speakers whom the query names."""
        recipe, pool = self._recipe, self.pool
        own = []
        if self._dense is not None:
            own.append(Channel("dense", recipe.dense, self._dense))
        if recipe.sparse:
            own.append(Channel("sparse", recipe.sparse, self._sparse()))
        channels = list(own)
        if recipe.window and own:
            alone = fusion.fuse(recipe.fusion, own).sum(axis=0)
            channels += [
                Channel("neighbours", recipe.neighbours, self._beside(alone)),
                Channel("reply", recipe.reply, self._reply(alone)),
            ]
        if named:
            said = np.array([float(speaker in named) for speaker in pool.episodes.speakers])
            channels.append(Channel("speaker", recipe.speaker, said))
        if recipe.statement:
            counts = np.bincount(pool.episode_of)
            channels.append(Channel("statement", recipe.statement, np.bincount(pool.episode_of, pool.states) / counts))
        if recipe.length:
            entries = np.bincount(pool.entry_of, minlength=len(pool.episodes))
            channels.append(Channel("length", recipe.length, np.log1p(entries)))
        if recipe.expected and (holds := self._holds_expected()) is not None:
            channels.append(Channel("expected", recipe.expected, holds))
        return [channel for channel in channels if channel.weight]

    def conversation(self, scores: Float64) -> Channel:
        """The mean of the three best scores in an Episode's conversation besides its own; the least where alone."""
        return Channel("conversation", self._recipe.conversation, best_others(scores, self.pool.conversations))

    def feedback_terms(self, scores: Float64, asked: Collection[int]) -> dict[int, float]:
        """What the first hits talk of besides the query: terms, with how much of their text they make up.

        Who said it and when are no words of the text, and do not count.
        """
        shares: dict[int, float] = {}
        first = fusion.ranked(scores)[:FEEDBACK_HITS]
        trust = np.exp(FEEDBACK_SHARPNESS * (scores[first] - scores[first].max()))
        for place, share in zip(first, (trust / trust.sum()).tolist(), strict=True):
            told = self.pool.episodes
            said = set(self.pool.columns.terms[self.pool.entry_of == place].tolist())
            said.difference_update(asked, terms(episode_context(told.speakers[place], told.told_at[place])))
            for term in said:
                shares[term] = shares.get(term, 0.0) + share / len(said)
        return shares

    def feedback(self, shares: Mapping[int, float], idf: Mapping[int, float]) -> Channel:
        """The channel of the terms of `feedback_terms` that say most: of a high share and a high IDF."""
        weights = {term: share * idf[term] for term, share in shares.items()}
        most = sorted(weights, key=lambda term: (-weights[term], term))[:FEEDBACK_TERMS]
        held, _ = self.pool.held(dict.fromkeys(most, 1.0))
        said = (held > 0) @ np.array([weights[term] for term in sorted(most)])
        return Channel("feedback", self._recipe.feedback, said)

    def _holds_expected(self) -> Float64 | None:
        """Shape [e]: 1 where an Episode holds what the query asks for; None where that is nothing that can be told."""
        episodes = self.pool.episodes
        if asks_for_amount(self._text):
            return np.array([float(holds_amount(text)) for text in episodes.texts])
        if asks_for_name(self._text):
            known = {word for speaker in {*episodes.speakers} for word in speaker.split()}
            return np.array([float(holds_name(text, known)) for text in episodes.texts])
        return None

    def _sparse(self) -> Float64:
        """BM25 of each Episode, with what the turn before it lends."""
        own, carry, before = self.terms, self._recipe.carry, self.pool.before
        if self._recipe.window and carry:
            own = np.maximum(own, np.where(before[:, None] >= 0, carry * self.terms[before], 0.0))
        return np.asarray(own.sum(axis=1), np.float64)

    def _beside(self, alone: Float64) -> Float64:
        """The best of `alone` among the turns beside each Episode; one that has none gets the least that any gets."""
        beside = self.pool.beside
        best = np.where(beside >= 0, alone[beside], -np.inf).max(axis=1, initial=-np.inf)
        known = np.isfinite(best)
        return np.where(known, best, best[known].min() if known.any() else 0.0)

    def _reply(self, alone: Float64) -> Float64:
        """`alone` of the question that an Episode replies to, if that matches more than most: else it says nothing."""
        pool = self.pool
        last_row = np.append(pool.first_row[1:], len(pool.columns.ids)) - 1
        asks = pool.states[last_row] == 0
        replies = (pool.before >= 0) & asks[pool.before] & (pool.speakers[pool.before] != pool.speakers)
        return np.where(replies, np.maximum(0.0, alone[pool.before]), 0.0)


def best_others(scores: Float64, groups: Int64) -> Float64:
    """Shape [e]: the mean of the three best scores of a group besides one's own; alone in it, the least of all.

    `groups` below 0 are none.
    """
    order = np.lexsort((-scores, groups))
    first = np.flatnonzero(np.diff(groups[order], prepend=-2))
    size = np.diff(first, append=len(order))
    place = np.arange(len(order)) - np.repeat(first, size)
    own = scores[order]
    # Of the best four the sum without its own, for one of the best three; else the sum of these.
    four, three = (np.repeat(np.add.reduceat(np.where(place < most, own, 0.0), first), size) for most in (4, 3))
    others = np.minimum(np.repeat(size, size) - 1, 3)
    total = np.where(place < 3, four - own, three)
    alone = (others == 0) | (groups[order] < 0)
    best = np.empty(len(scores))
    best[order] = np.where(alone, scores.min(), total / np.maximum(others, 1))
    return best
