"""The steps of a transaction that are about migrations between spaces. Part of `Transaction`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from core.nouns import Space, StoredConcept
from memory.record.migration_rows import MigrationRow

if TYPE_CHECKING:
    from memory.record.transaction import Held


class MigrationSteps(Protocol):
    """A `held` says in which namespace; ids of others are not there. The other place is that which does not count."""

    def put_migration(self, held: Held, row: MigrationRow) -> None:
        """Adds a migration, or writes over the one with its id."""
        ...

    def migration_row(self, held: Held, migration_id: str) -> MigrationRow | None:
        """The migration of that id."""
        ...

    def migration_rows(self, held: Held, limit: int, before: int) -> list[MigrationRow]:
        """Those with the greatest numbers less than `before`, descending."""
        ...

    def migration_rows_in(self, states: Collection[int]) -> list[tuple[str, MigrationRow]]:
        """Of the whole store, with the namespace's name, those in these states; by id."""
        ...

    def put_second(self, held: Held, vectors: Sequence[tuple[str, bytes]]) -> None:
        """Writes vectors of Concepts, by id, to the other place; ids that are not there are no error."""
        ...

    def second(self, held: Held, space: Space, ids: Sequence[str]) -> list[StoredConcept]:
        """Those of these Concepts that have a vector in the other place, with it, in any order."""
        ...

    def without_second(self, held: Held) -> tuple[int, str] | None:
        """The (seq, id) of an Episode one of whose Concepts has none; None where all have. Looks at all of them."""
        ...

    def swap(self, held: Held, space: Space) -> None:
        """Makes the other place the one that counts, and `space` the namespace's."""
        ...

    def drop_second(self, held: Held, after: str, limit: int) -> str:
        """Empties the other place of the first Concepts by id after the one given; the last of them, "" for none."""
        ...
