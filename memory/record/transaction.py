"""What a backend of the record brings: transactions, and the small steps within one.

Each step is a statement or a few in the backend's own language; `base` puts them in order. A backend raises
`core.errors` only, and runs write transactions one after another: from the first `last_commit` of one to its end, no
other one writes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeVar

from core.moving import Audit, StoredNamespace
from core.nouns import (
    AsOf,
    ConceptColumns,
    Entity,
    Episode,
    EpisodeFilter,
    Expiry,
    Fact,
    Forgotten,
    Keeping,
    Namespace,
    NewFact,
    OutboxEntry,
    RecordCounts,
    RelationPolicy,
    Space,
    StoredConcept,
    TimeToLive,
)
from core.windows import Windows
from memory.record import rows
from memory.record.dream_steps import DreamSteps
from memory.record.entity_steps import EntitySteps
from memory.record.migration_steps import MigrationSteps
from memory.record.tombstones import Buried, Mark

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Held:
    """A namespace as a transaction finds it. `key` is the seq of the commit that made it, and so never used again."""

    key: int
    name: str
    space: Space | None
    episodes: int
    concepts: int
    dreamt: int = 0
    """Concepts among those that Dreams wrote: no statistics count them, since what they quote was told once."""
    merges: int = 0
    """How often its merges of Entities were changed; 0 where there never was one."""
    merged_seq: int = 0
    """The last commit that made or undid one of them."""
    slot: int = 0
    """Which of a Concept's two places for a vector is the one that counts; a migration fills the other, and swaps."""


@dataclass(frozen=True, slots=True)
class Going:
    """The ids of all that a deletion takes."""

    episodes: tuple[str, ...]
    concepts: tuple[str, ...]
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Commit:
    """The number and the time of a transaction that writes."""

    seq: int
    recorded_at: int


@dataclass(frozen=True, slots=True)
class FreshFact:
    """A version of a Fact that is to be written: its id, and the commit it is numbered by."""

    id: str
    told: NewFact
    commit: Commit


class Transaction(DreamSteps, EntitySteps, MigrationSteps, Protocol):
    """The steps of a backend within one transaction. A `held` says in which namespace; ids of others are not there."""

    def last_commit(self) -> Commit | None:
        """The last that was written; in a write transaction, no other can come between."""
        ...

    def commit(self, *commits: Commit) -> None:
        """Numbers what this transaction writes, in order."""
        ...

    def seq_at(self, recorded_by: int) -> int:
        """The last commit at or before a time; 0 if there was none."""
        ...

    def namespaces(self) -> list[Namespace]:
        """All, by name."""
        ...

    def held(self, name: str) -> Held | None:
        """The namespace of that name."""
        ...

    def make_namespace(self, name: str, commit: Commit) -> None:
        """Adds one; its key is the commit's seq."""
        ...

    def delete_namespace(self, held: Held) -> None:
        """Deletes it and all that is in it, but not what the outbox and the audit say of it."""
        ...

    def counts(self, held: Held | None) -> RecordCounts:
        """Of one, or of the whole store; `seq` is the store's."""
        ...

    def answer(self, held: Held, request_id: str) -> rows.Row | None:
        """The stored answer to a request: columns kind, digest, response."""
        ...

    def store_answer(self, held: Held, request_id: str, kind: str, asked: str, response: str, at: int) -> None:
        """Keeps the answer to a request."""
        ...

    def drop_answers(self, before: int, limit: int) -> int:
        """Drops the oldest answers of those that were kept before a time; how many."""
        ...

    def known(self, held: Held, identities: Sequence[str]) -> dict[str, tuple[str, int]]:
        """Id and seq of the Episodes that have one of these identities, by identity."""
        ...

    def taken(self, episode_ids: Sequence[str]) -> str | None:
        """One of these ids that an Episode of any namespace has."""
        ...

    def write_episodes(self, held: Held, space: Space, fresh: Sequence[rows.FreshEpisode], commit: Commit) -> None:
        """Adds Episodes with their Concepts, and counts them, their speakers and terms. Sets the namespace's space."""
        ...

    def episodes(self, held: Held, ids: Sequence[str]) -> list[Episode]:
        """Those that exist, in any order."""
        ...

    def window(self, held: Held, episode_ids: Sequence[str], radius: int) -> Windows:
        """As `Record.window`."""
        ...

    def timeline(
        self, held: Held, where: EpisodeFilter, as_of: AsOf, limit: int, after: tuple[int, str] | None
    ) -> list[Episode]:
        """As `Record.timeline`."""
        ...

    def episodes_after(self, held: Held, after: tuple[int, str], up_to_seq: int, limit: int) -> list[Episode]:
        """The first by (seq, id) after the one given."""
        ...

    def concepts(self, held: Held, ids: Sequence[str]) -> list[StoredConcept]:
        """Those that exist, in any order."""
        ...

    def concepts_of(self, held: Held, episode_ids: Sequence[str]) -> list[StoredConcept]:
        """All Concepts of these Episodes, by ordinal."""
        ...

    def columns_of(self, held: Held, episode_ids: Sequence[str]) -> ConceptColumns:
        """As `Record.columns_of`."""
        ...

    def concept_ids_after(self, held: Held, after: str, limit: int) -> list[str]:
        """The first ids after the one given, ascending, but those of archived Episodes."""
        ...

    def speakers(self, held: Held) -> dict[str, int]:
        """As `Record.speakers`."""
        ...

    def document_frequency(self, held: Held, terms: Sequence[int]) -> dict[int, int]:
        """How many Concepts hold each of these terms, but for 0."""
        ...

    def facts_by_id(self, held: Held, ids: Sequence[str]) -> list[Fact]:
        """The versions of these ids that exist, in any order."""
        ...

    def fact_ids_taken(self, ids: Sequence[str]) -> set[str]:
        """Those of these ids that a Fact of any namespace has."""
        ...

    def write_facts(self, held: Held, fresh: Sequence[FreshFact]) -> Mapping[str, Entity]:
        """Adds versions, and their Entities where there are none. The Episodes they name exist.

        Returns the Entities that their subjects and objects are, by normalised name.
        """
        ...

    def facts(
        self, held: Held, entity: str | None, relation: str, as_of: AsOf, contended: Collection[str]
    ) -> list[Fact]:
        """As `Record.facts`."""
        ...

    def around(self, held: Held, entity: str, as_of: AsOf, contended: Collection[str], limit: int) -> list[Fact]:
        """As `Record.around`."""
        ...

    def write_policy(self, held: Held, policy: RelationPolicy) -> None:
        """Adds a version of a relation's policy."""
        ...

    def policies(self, held: Held, seq: int) -> list[RelationPolicy]:
        """As `Record.policies`, in any order."""
        ...

    def select(self, held: Held, episode_ids: Sequence[str], speaker: str, conversation: str) -> Going:
        """What `delete` would take: Episodes that all given selectors select, their Concepts, and their Facts.

        With the last assertion of a statement go its retractions that name no Episode: they would keep its words.
        """
        ...

    def delete(self, held: Held, going: Going) -> None:
        """Deletes that, takes it out of all counts, and deletes Entities that only those Facts named."""
        ...

    def set_archived(self, held: Held, episode_ids: Sequence[str], seq: int) -> None:
        """Marks them as archived by the commit `seq`; 0 takes the mark off."""
        ...

    def archived_after(self, held: Held, after: tuple[int, str], seq: int, limit: int) -> list[Episode]:
        """The first by (archived_seq, id) after the one given that were committed by `seq`."""
        ...

    def keepings(self, held: Held, episode_ids: Sequence[str]) -> list[Keeping]:
        """Of those that exist, in any order; holds by name."""
        ...

    def first_hold(self, held: Held, episode_ids: Sequence[str] | None) -> tuple[str, str] | None:
        """The least (Episode id, hold) among these, or in the namespace where None."""
        ...

    def set_hold(self, held: Held, episode_ids: Sequence[str], hold: str, release: bool) -> int:
        """Puts them under it, or releases them from it; how many were not so already."""
        ...

    def set_expiry(self, held: Held, episode_ids: Sequence[str], expires_at: int | None, expiry: Expiry) -> None:
        """Sets their end."""
        ...

    def time_to_live(self, held: Held) -> TimeToLive | None:
        """The namespace's, if it has one."""
        ...

    def set_time_to_live(self, held: Held, given: TimeToLive | None) -> None:
        """Sets it, or takes it off."""
        ...

    def due(self, held: Held, now: int, lived: TimeToLive | None, young: int, limit: int) -> dict[str, Expiry]:
        """Episodes whose own end is at or before `now`, then, with `lived`, those without one of seq <= `young`.

        Each with what becomes of it. Not those under a hold, nor archived ones that would be archived.
        """
        ...

    def add_uses(self, held: Held, uses: Mapping[str, tuple[int, int]]) -> None:
        """Adds to the counts of those that exist; the last use is the latest ever given."""
        ...

    def audit(self, namespace: str, gone: Forgotten, commit: Commit) -> None:
        """Keeps that something was deleted, and how much, with no content."""
        ...

    def secret(self) -> bytes:
        """What this store alone has, and keeps: the key of digests that are made of words."""
        ...

    def identities(self, held: Held, episode_ids: Sequence[str] | None) -> Iterator[tuple[str, str]]:
        """Id and identity of those of these Episodes that exist, or of all in the namespace where None."""
        ...

    def fact_ids(self, held: Held) -> Iterator[str]:
        """The ids of all versions of Facts in the namespace."""
        ...

    def any_buried(self, namespace: str) -> bool:
        """Whether anything was ever deleted in a namespace of that name."""
        ...

    def buried(self, namespace: str, marks: Collection[Mark]) -> set[Mark]:
        """Those of these marks that have a tombstone."""
        ...

    def bury(self, namespace: str, marks: Collection[Mark], seq: int) -> None:
        """Adds tombstones; of one that is there already, the later seq stays."""
        ...

    def unbury(self, namespace: str, marks: Collection[Mark]) -> None:
        """Takes tombstones off."""
        ...

    def commit_by(self, seq: int) -> Commit | None:
        """The last commit up to that one."""
        ...

    def commits_after(self, after: int, up_to: int, limit: int) -> list[Commit]:
        """The first ones after it, in order."""
        ...

    def put_commits(self, commits: Sequence[Commit]) -> None:
        """Adds those that are not there; the last commit is then the highest of all."""
        ...

    def clear(self) -> None:
        """Deletes all namespaces, which hold nothing, what was asked of them, and all commits."""
        ...

    def stored_namespaces(self) -> list[StoredNamespace]:
        """All, by name."""
        ...

    def set_space(self, held: Held, space: Space) -> None:
        """Sets the namespace's space."""
        ...

    def ordinals(self, held: Held, episode_ids: Sequence[str]) -> dict[str, int]:
        """The places of Episodes in their batches."""
        ...

    def facts_after(self, held: Held, after: int, up_to: int, limit: int) -> list[Fact]:
        """The first versions after that commit, by seq."""
        ...

    def policies_after(self, held: Held, after: int, up_to: int) -> list[RelationPolicy]:
        """All versions after that commit, in any order."""
        ...

    def reset_kept(self, held: Held, up_to: int) -> None:
        """Takes archive marks, holds, ends and counts of use off Episodes that were committed by then."""
        ...

    def audits_after(self, after: int, up_to: int, limit: int) -> list[Audit]:
        """The first after that commit, by seq; a commit has at most one."""
        ...

    def audits_known(self, audit_ids: Sequence[str]) -> set[str]:
        """Those of these that exist."""
        ...

    def buried_namespaces(self) -> list[str]:
        """The names that tombstones have, in order."""
        ...

    def tombstones_after(
        self, namespace: str, kind: Buried, after: str, later_than: int, limit: int
    ) -> list[tuple[str, int]]:
        """The first digests after the one given, with their seq, of those later than a commit."""
        ...

    def outbox(self, limit: int) -> list[OutboxEntry]:
        """The first entries, by position."""
        ...

    def outbox_add(self, entry: OutboxEntry) -> None:
        """Adds an entry."""
        ...

    def outbox_done(self, position: int) -> None:
        """Drops the entries up to this one."""
        ...


class Store(Protocol):
    """Transactions of a backend. Its errors are `core.errors`."""

    def read(self, work: Callable[[Transaction], _T]) -> _T:
        """Runs `work` in a transaction that reads."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """As `Record.snapshot`."""
        ...

    def write(self, work: Callable[[Transaction], _T]) -> _T:
        """Runs `work` in a transaction that is durable when this returns, and undone if it raises.

        `work` may be run again where the store asks for it; nothing of the earlier run remains.
        """
        ...

    def scrub(self) -> None:
        """After a deletion: makes what was deleted unreadable on disk, as far as the store can."""
        ...

    def close(self) -> None:
        """Lets go of it. May be repeated."""
        ...
