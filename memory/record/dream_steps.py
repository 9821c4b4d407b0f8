"""The steps of a transaction that are about Dreams, and about what is derived from what. Part of `Transaction`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Protocol

from memory.record.dream_rows import ChangeRow, DreamRow

if TYPE_CHECKING:
    from memory.record.transaction import Held


class DreamSteps(Protocol):
    """A `held` says in which namespace; ids of others are not there."""

    def link(self, held: Held, derived: Sequence[tuple[str, str]]) -> None:
        """Keeps that the first Episode of each pair was derived from the second; both exist."""
        ...

    def derived(self, held: Held, episode_ids: Sequence[str]) -> list[str]:
        """Every Episode that was derived from one of these, over any number of steps, these left out; by id."""
        ...

    def sources(self, held: Held, episode_ids: Sequence[str]) -> list[tuple[str, str]]:
        """(Episode, source) for those of these Episodes that were derived from others, ascending."""
        ...

    def put_dream(self, held: Held, row: DreamRow) -> None:
        """Adds a Dream, or writes over the one with its id."""
        ...

    def dream_row(self, held: Held, dream_id: str) -> DreamRow | None:
        """The Dream of that id."""
        ...

    def dream_rows(self, held: Held, limit: int, before: int) -> list[DreamRow]:
        """Those with the greatest numbers less than `before`, descending."""
        ...

    def dream_rows_in(self, states: Collection[int]) -> list[tuple[str, DreamRow]]:
        """Of the whole store, with the namespace's name, those in these states; by id."""
        ...

    def add_changes(self, held: Held, dream_id: str, fresh: Sequence[ChangeRow]) -> None:
        """Adds changes to a Dream."""
        ...

    def set_change(self, held: Held, dream_id: str, row: ChangeRow) -> None:
        """Writes state and inverse over those of the change with its ordinal."""
        ...

    def change_rows(self, held: Held, dream_id: str, states: Collection[int]) -> list[ChangeRow]:
        """By ordinal; only those in these states, if any are given."""
        ...

    def change_row(self, held: Held, dream_id: str, ordinal: int) -> ChangeRow | None:
        """The change of that ordinal."""
        ...

    def change_rows_of_kind(self, held: Held, kind: int, state: int) -> list[ChangeRow]:
        """Those of any Dream of the namespace, by (Dream, ordinal)."""
        ...

    def set_uses(self, held: Held, episode_id: str, uses: int, used_at: int | None) -> None:
        """Sets the count of an Episode's uses and the time of the last."""
        ...
