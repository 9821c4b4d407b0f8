"""What a backup is made of, as nouns, and what a record is asked for to make one and to take one back.

A backup holds what was committed up to a `seq`, each thing with its own number and time, so that a restored store
answers every question as of a time as the first one did. It is logical: the same on every backend.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.clock import Micros
from core.entities import Merge
from core.nouns import Episode, Fact, Keeping, RelationPolicy, Space, StoredConcept, TimeToLive


@dataclass(frozen=True, slots=True)
class CommitTime:
    """The number and the time of a commit."""

    seq: int
    recorded_at: Micros


@dataclass(frozen=True, slots=True)
class StoredNamespace:
    """A namespace as the record keeps it. `made_seq` is the commit that made it, and tells it from one of that name."""

    name: str
    made_seq: int
    created_at: Micros
    space: Space | None = None
    lived: TimeToLive | None = None


@dataclass(frozen=True, slots=True)
class StoredEpisode:
    """An Episode as the record keeps it. `ordinal` is its place in the batch that it was told with."""

    episode: Episode
    ordinal: int
    concepts: tuple[StoredConcept, ...]
    keeping: Keeping
    derived_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """How an Episode of an earlier backup is kept by now: what changes of it with no number of its own."""

    keeping: Keeping
    archived_seq: int = 0

    @property
    def plain(self) -> bool:
        """Whether nobody has archived, held or cited it, or given it an end."""
        return not self.archived_seq and self.keeping == Keeping(self.keeping.episode_id)


@dataclass(frozen=True, slots=True)
class Audit:
    """That something was deleted, and how much."""

    audit_id: str
    namespace: str
    recorded_at: Micros
    seq: int
    episodes: int
    concepts: int
    facts: int


@dataclass(frozen=True, slots=True)
class Tombstone:
    """That an Episode (kind 1) or a Fact (kind 3) was deleted: the digest of its id, without a word."""

    namespace: str
    kind: int
    digest: str
    seq: int


@dataclass(slots=True)
class Put:
    """What a part of a restore did; sums add up."""

    episodes: int = 0
    facts: int = 0
    policies: int = 0
    merges: int = 0
    duplicates: int = 0
    """Things that were there already."""
    deleted: int = 0
    """Things that were left out, because they were deleted later."""
    replayed: int = 0
    """Episodes and Facts that the store still had, and that were deleted again."""
    dropped: list[tuple[Space, str]] = field(default_factory=list)
    """Namespaces that went, with the space that the index has of them."""

    def __iadd__(self, other: Put) -> Put:
        for name in ("episodes", "facts", "policies", "merges", "duplicates", "deleted", "replayed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.dropped += other.dropped
        return self


class MovableRecord(Protocol):
    """The part of `core.ports.Record` about backups. `after` and `up_to` are commits: after the one, up to the other.

    What is read is read page by page; what is deleted meanwhile may be missing, and is then among the tombstones, which
    are to be read last. What is put has its own number, and whoever puts it has seen that those numbers are free or its
    own (see `memory.record.moving`). Putting a thing again changes nothing. The index is not told: it is compared with
    the record afterwards.
    """

    def commit_by(self, seq: int) -> CommitTime | None:
        """The last commit up to that one."""
        ...

    def commits(self, after: int, up_to: int) -> Iterator[CommitTime]:
        """In order."""
        ...

    def stored_namespaces(self) -> list[StoredNamespace]:
        """All, by name."""
        ...

    def stored_episodes(self, namespace: str, after: int, up_to: int) -> Iterator[StoredEpisode]:
        """By (seq, id)."""
        ...

    def stored_facts(self, namespace: str, after: int, up_to: int) -> Iterator[Fact]:
        """Every version, by seq."""
        ...

    def stored_policies(self, namespace: str, after: int, up_to: int) -> list[RelationPolicy]:
        """Every version, by seq."""
        ...

    def kept(self, namespace: str, up_to: int) -> Iterator[Kept]:
        """How those Episodes are kept that were committed by then, by (seq, id), but for the plain ones."""
        ...

    def audits(self, after: int, up_to: int) -> Iterator[Audit]:
        """By seq."""
        ...

    def tombstones(self, after: int) -> Iterator[Tombstone]:
        """Of deletions after that commit, by (namespace, kind, digest). None is of words: those stay in the store."""
        ...

    def clear_blank(self, names: Iterable[str]) -> bool:
        """Makes a store empty that holds nothing but namespaces of these names, with nothing in them.

        Returns whether it is empty now; a store that holds more is left as it is.
        """
        ...

    def put_commits(self, commits: Sequence[CommitTime]) -> None:
        """Adds those that are not there."""
        ...

    def put_namespaces(self, namespaces: Sequence[StoredNamespace], up_to: int, *, whole: bool) -> Put:
        """Makes them; one that stands in the place of an earlier one takes it over.

        `whole`: there were no others by `up_to`, so what was made by then and is not among them goes.
        """
        ...

    def put_audits(self, audits: Sequence[Audit]) -> None:
        """Adds those that are not there."""
        ...

    def put_tombstones(self, tombstones: Sequence[Tombstone], up_to: int) -> None:
        """Adds them, none later than `up_to`."""
        ...

    def replay_deletions(self) -> Put:
        """Deletes what the store still has of all that has a tombstone: it was deleted after that was written."""
        ...

    def put_episodes(self, namespace: str, episodes: Sequence[StoredEpisode], *, bring_back: bool = False) -> Put:
        """Adds those that are not there and were not deleted here, or with `bring_back` those too.

        One that is there with another number is replaced: it was deleted and brought back in between. One that was
        derived from what was deleted here was deleted with it.
        """
        ...

    def put_facts(self, namespace: str, facts: Sequence[Fact], *, bring_back: bool = False) -> Put:
        """The same for Facts. One whose Episode is not there was deleted with it."""
        ...

    def put_policies(self, namespace: str, policies: Sequence[RelationPolicy]) -> Put:
        """Adds those versions that are not there."""
        ...

    def put_merges(self, namespace: str, merges: Sequence[Merge], *, whole: bool = True) -> Put:
        """Adds those that are not there, and makes the Entities that they need.

        `whole`: those are all there are, as they are. What is there and is not among them goes, and what of them was
        undone, or was not, is said of those that are there. A record gives them by `merges`, with those undone.
        """
        ...

    def reset_kept(self, namespace: str, up_to: int) -> None:
        """Makes plain how all Episodes are kept that were committed by then."""
        ...

    def put_kept(self, namespace: str, kept: Sequence[Kept]) -> None:
        """Sets how Episodes are kept; those that are not there are passed over."""
        ...
