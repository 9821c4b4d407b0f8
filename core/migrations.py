"""Migrations: a namespace's vectors made anew in another space, from the words that the record keeps.

A migration is a Run. While it encodes, every Concept gets a second vector beside the one that searches use; one
transaction then makes the second ones those that count, and what is left of the first space is removed. Until that
transaction, reads and writes know of the old space only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from core.clock import Micros
from core.nouns import Float32, Space, StoredConcept


class MigrationState(IntEnum):
    """How far a migration is. The numbers are those of the protos."""

    ENCODING = 1
    """Concepts get their second vectors; the old space serves."""
    CLEANING = 2
    """The new space serves; the vectors of the old one are being removed."""
    SUCCEEDED = 3
    UNDOING = 4
    """It was cancelled, or failed: the old space serves, and the second vectors are being removed."""
    CANCELLED = 5
    FAILED = 6


MIGRATING = frozenset({MigrationState.ENCODING, MigrationState.CLEANING, MigrationState.UNDOING})
"""The states that go on by themselves, after a restart too."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of a namespace's space."""

    id: str
    namespace: str
    model: str
    """The address of the encoder that makes the new vectors."""
    source: Space
    target: Space
    state: MigrationState
    started_at: Micros
    ended_at: Micros | None = None
    through: tuple[int, str] = (0, "")
    """The last Episode, by (seq, id), whose Concepts have their second vectors."""
    cleaned: str = ""
    """The last Concept, by id, whose vector that counts no more is removed."""
    total: int = 0
    """How many Concepts the namespace had when it began."""
    done: int = 0
    """How many were encoded; those told meanwhile count too."""
    seconds: float = 0.0
    """How long it was expected to take."""
    seq: int = 0
    """The commit that made the new space the one that serves; 0 before."""
    failed: bool = False
    """Whether it ends as FAILED once all is undone."""
    message: str = ""
    """One line for people: what it waits for, or why it failed."""
    number: int = 0
    """Counts the migrations of the namespace, from 1."""
    version: int = 0
    """Counts its changes: a watcher resumes with the last one it saw."""


class MigrationRecord(Protocol):
    """What a record keeps of migrations. Each write is one transaction.

    Every method but `migrations_at_work` and `spaces_in_use` raises NotFound (NAMESPACE_NOT_FOUND); those that name a
    migration raise NotFound (MIGRATION_NOT_FOUND).
    """

    def begin_migration(
        self, namespace: str, model: str, target: Space, seconds: float = 0.0, request_id: str = ""
    ) -> Migration:
        """A new one, ENCODING.

        Raises FailedPrecondition: MIGRATION_AT_WORK while another one of the namespace is, SPACE_IS_SERVING where its
        vectors are in `target` already, NOTHING_TO_MIGRATE where it never had any.
        """
        ...

    def stage(
        self,
        namespace: str,
        migration_id: str,
        vectors: Mapping[str, Float32],
        *,
        after: tuple[int, str],
        through: tuple[int, str],
    ) -> Migration:
        """Second vectors, by Concept id, for the Episodes after `after` up to `through`.

        Does nothing unless it is ENCODING and has come just as far as `after`: another process may have done it.
        Concepts that are gone are passed over. Raises InvalidArgument for a vector that is not of the target space.
        """
        ...

    def staged(self, namespace: str, migration_id: str, ids: Sequence[str]) -> dict[str, StoredConcept]:
        """Those of these Concepts that have a second vector, with it, in the target space; none but while ENCODING."""
        ...

    def switch_space(self, namespace: str, migration_id: str) -> Migration:
        """Makes the second vectors those that count, and the migration CLEANING: one commit, with the outbox entry that
        takes the namespace out of the old space's index.

        Where a Concept has no second vector, nothing is switched, and it is ENCODING still: from the beginning, if the
        Concept is older than how far it has come. Does nothing in any other state.
        """
        ...

    def clean_page(self, namespace: str, migration_id: str, limit: int) -> Migration:
        """Removes vectors that count no more, of at most so many Concepts; after the last, the migration has ended.

        Does nothing unless it is CLEANING or UNDOING.
        """
        ...

    def undo_migration(
        self, namespace: str, migration_id: str, *, message: str = "", failed: bool = False
    ) -> Migration:
        """Gives one up that is ENCODING. Raises FailedPrecondition (MIGRATION_STATE) in any other state."""
        ...

    def note_migration(self, namespace: str, migration_id: str, message: str) -> Migration:
        """Sets what it waits for."""
        ...

    def migration(self, namespace: str, migration_id: str) -> Migration:
        """As it is now."""
        ...

    def migrations(self, namespace: str, limit: int, before: int = 0) -> list[Migration]:
        """The newest first; those with a lesser number than `before`, if one is given."""
        ...

    def migrations_at_work(self, states: Collection[MigrationState] = MIGRATING) -> list[Migration]:
        """Of the whole store, those in these states; by id."""
        ...

    def spaces_in_use(self, namespace: str) -> tuple[Space, ...]:
        """The space that serves, and that of a migration at work; none where there is no such namespace."""
        ...

    def switched_after(self, namespace: str, seq: int) -> int:
        """The first commit after that one which changed the namespace's space; 0 if none did."""
        ...
