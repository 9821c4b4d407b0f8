"""What every write of the record begins with: its namespace, its number, and whether it was made before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.clock import Clock
from core.errors import SapienceError
from core.ids import Ids
from memory.record import rows
from memory.record.transaction import Commit, Held, Store, Transaction


class NumberedRecord:
    """A `Store` with the clock and the ids that its commits take."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids

    def _check_namespace(self, name: str) -> None:
        """Raises NotFound."""
        self._store.read(lambda tx: held_of(tx, name))

    @contextmanager
    def _after_namespace(self, name: str) -> Iterator[None]:
        """Checks of what is given: an unknown namespace is told before any other fault, and looked for where one is."""
        try:
            yield
        except SapienceError:
            self._check_namespace(name)
            raise

    def _next_commit(self, tx: Transaction) -> Commit:
        """What this transaction is numbered if it writes. Time grows with seq, even where the clock went back."""
        last = tx.last_commit()
        now = self._clock.now()
        return Commit(1, now) if last is None else Commit(last.seq + 1, max(now, last.recorded_at + 1))

    def _commit(self, tx: Transaction) -> Commit:
        commit = self._next_commit(tx)
        tx.commit(commit)
        return commit


def held_of(tx: Transaction, name: str) -> Held:
    """The namespace of that name. Raises NotFound."""
    held = tx.held(name)
    if held is None:
        raise rows.namespace_not_found(name)
    return held


def stored_answer(tx: Transaction, held: Held, request_id: str, kind: str, asked: str) -> str | None:
    """What was answered to this request before. Raises AlreadyExists where its id stands for another."""
    return rows.replay(tx.answer(held, request_id), request_id, kind, asked) if request_id else None
