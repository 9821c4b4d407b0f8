"""Episodes of a conversation with those beside them, as columns: a recall judges some hundred and returns ten.

A window is a mapping from each Episode that was asked for to those beside it, itself among them, in their order.
Episodes are made from the columns when somebody looks at one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from core.nouns import AsOf, Episode, EpisodeFilter, Int64, Source, SourceKind


@dataclass(frozen=True, slots=True, eq=False)
class EpisodeColumns:
    """Episodes of one namespace side by side; the fields are those of `Episode`."""

    namespace: str
    ids: Sequence[str] = ()
    kinds: Sequence[int] = ()
    source_names: Sequence[str] = ()
    conversations: Sequence[str] = ()
    positions: Sequence[int] = ()
    speakers: Sequence[str] = ()
    texts: Sequence[str] = ()
    told_at: Sequence[int] = ()
    external_ids: Sequence[str] = ()
    recorded_at: Sequence[int] = ()
    seqs: Sequence[int] = ()
    archived_seqs: Sequence[int] = ()

    @classmethod
    def of(cls, namespace: str, episodes: Iterable[Episode]) -> EpisodeColumns:
        """From Episodes one by one, all of that namespace."""
        rows = [
            (one.id, int(one.source.kind), one.source.name, one.conversation, one.position, one.speaker, one.text,
             one.told_at, one.external_id, one.recorded_at, one.seq, one.archived_seq)
            for one in episodes
        ]  # fmt: skip
        return cls(namespace, *zip(*rows, strict=True)) if rows else cls(namespace)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: int) -> Episode:
        return Episode(
            id=self.ids[place],
            namespace=self.namespace,
            source=source_of(self.kinds[place], self.source_names[place]),
            conversation=self.conversations[place],
            position=self.positions[place],
            speaker=self.speakers[place],
            text=self.texts[place],
            told_at=self.told_at[place],
            external_id=self.external_ids[place],
            recorded_at=self.recorded_at[place],
            seq=self.seqs[place],
            archived_seq=self.archived_seqs[place],
        )

    def __iter__(self) -> Iterator[Episode]:
        return map(self.__getitem__, range(len(self)))

    def take(self, places: Sequence[int]) -> EpisodeColumns:
        """Some of them, in the order given."""
        columns = ([getattr(self, one.name)[place] for place in places] for one in fields(self)[1:])
        return EpisodeColumns(self.namespace, *columns)

    def allowed(self, where: EpisodeFilter, as_of: AsOf) -> NDArray[np.bool_]:
        """Shape [episodes]: what `EpisodeFilter.allows` says of each."""
        told, last = np.array(self.told_at, np.int64), min(as_of.told_by, as_of.valid_at)
        allowed = (told <= last) & (np.array(self.seqs, np.int64) <= as_of.seq)
        if where.told.start is not None:
            allowed &= told >= where.told.start
        if where.told.end is not None:
            allowed &= told < where.told.end
        for values, chosen in (
            (self.speakers, where.speakers),
            (self.kinds, where.kinds),
            (self.conversations, where.conversations),
        ):
            if chosen:
                allowed &= np.fromiter((value in chosen for value in values), np.bool_, len(values))
        return allowed

    def archived(self, as_of: AsOf) -> NDArray[np.bool_]:
        """Shape [episodes]: what `Episode.archived` says of each."""
        seqs = np.array(self.archived_seqs, np.int64)
        return (seqs > 0) & (seqs <= as_of.seq)


@dataclass(frozen=True, slots=True, eq=False)
class Windows(Mapping[str, list[Episode]]):
    """What stands beside some Episodes: `Record.window`."""

    episodes: EpisodeColumns
    """All that stand in any window, ascending by id."""
    centres: Mapping[str, int]
    """By the id of each Episode that was asked for, the row of its window."""
    places: Int64
    """Shape [windows, most]: the places in `episodes` of those in a window, in their order; -1 behind the last."""

    def __getitem__(self, episode_id: str) -> list[Episode]:
        return [self.episodes[place] for place in self.places[self.centres[episode_id]].tolist() if place >= 0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.centres)

    def __len__(self) -> int:
        return len(self.centres)


@lru_cache(maxsize=1024)
def source_of(kind: int, name: str) -> Source:
    """A source; a recall meets the same few with every Episode it reads."""
    return Source(SourceKind(kind), name)


def windows_of(episodes: EpisodeColumns, keys: Sequence[int | str], windows: Sequence[Sequence[int | str]],
               centres: Sequence[int | str]) -> Windows:  # fmt: skip
    """From windows that name Episodes by the store's own keys; `keys` are those of `episodes`."""
    place_of = {key: place for place, key in enumerate(keys)}
    most = max(map(len, windows), default=0)
    places = np.full((len(windows), most), -1, np.int64)
    for row, window in enumerate(windows):
        places[row, : len(window)] = [place_of[key] for key in window]
    return Windows(episodes, {episodes.ids[place_of[key]]: row for row, key in enumerate(centres)}, places)


def beside(places: Int64, episodes: int, radius: int) -> tuple[Int64, Int64]:
    """Who stands within `radius` of each of so many Episodes, and who right before it, as far as the windows tell.

    Returns shape [episodes, most], places ascending and -1 where there are fewer, and shape [episodes], -1 for nobody.
    """
    before = np.full(episodes, -1, np.int64)
    pairs = []
    for apart in range(1, min(radius, places.shape[1] - 1) + 1):
        earlier, later = places[:, :-apart].ravel(), places[:, apart:].ravel()
        if apart == 1:
            before[later[later >= 0]] = earlier[later >= 0]
        both = (earlier >= 0) & (later >= 0)
        pairs += [earlier[both] * episodes + later[both], later[both] * episodes + earlier[both]]
    if not pairs:
        return np.zeros((episodes, 0), np.int64), before
    own, other = np.divmod(np.unique(np.concatenate(pairs)), episodes)
    counts = np.bincount(own, minlength=episodes)
    near = np.full((episodes, int(counts.max(initial=0))), -1, np.int64)
    near[own, np.arange(len(own)) - np.repeat(np.cumsum(counts) - counts, counts)] = other
    return near, before
