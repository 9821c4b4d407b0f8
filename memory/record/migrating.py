"""Migrations in the record, once for both backends: second vectors beside those that count, then a change of place.

A Concept has two places for a vector, and its namespace says which of them counts (`Held.slot`). A migration fills the
other one, page by page, each page with how far it has come in one transaction; so a kill costs a page. The switch
changes a number and the space, whatever the size of the namespace, and empties nothing: that comes after, in pages too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from core.migrations import MIGRATING, Migration, MigrationState
from core.nouns import Float32, OutboxEntry, Space, StoredConcept
from memory.record import migration_rows, rows
from memory.record.numbering import NumberedRecord, held_of, stored_answer
from memory.record.transaction import Held, Transaction

_ALL = 2**62
_LOOKED_BACK = 10_000


class MigratingRecord(NumberedRecord):
    """The part of `core.ports.Record` that is `core.migrations.MigrationRecord`; each method does what that says."""

    def begin_migration(
        self, namespace: str, model: str, target: Space, seconds: float = 0.0, request_id: str = ""
    ) -> Migration:
        asked = rows.digest(model, target.name, target.version, target.dimensions)

        def work(tx: Transaction) -> Migration:
            held = held_of(tx, namespace)
            stored = stored_answer(tx, held, request_id, "migrate", asked)
            if stored is not None:
                return _migration(tx, held, stored)
            if (present := at_work(tx, held)) is not None:
                raise migration_rows.migration_at_work(present)
            if held.space is None:
                raise migration_rows.nothing_to_migrate(namespace)
            if held.space == target:
                raise migration_rows.space_is_serving(namespace, target)
            last = tx.migration_rows(held, 1, _ALL)
            made = Migration(
                self._ids.new(), namespace, model, held.space, target, MigrationState.ENCODING, self._clock.now(),
                total=held.concepts, seconds=seconds, number=last[0].number + 1 if last else 1, version=1,
            )  # fmt: skip
            tx.put_migration(held, migration_rows.migration_row(made))
            if request_id:
                tx.store_answer(held, request_id, "migrate", asked, made.id, made.started_at)
            return made

        return self._store.write(work)

    def stage(
        self,
        namespace: str,
        migration_id: str,
        vectors: Mapping[str, Float32],
        *,
        after: tuple[int, str],
        through: tuple[int, str],
    ) -> Migration:
        def work(tx: Transaction) -> Migration:
            held = held_of(tx, namespace)
            present = _migration(tx, held, migration_id)
            if present.state is not MigrationState.ENCODING or present.through != after:
                return present
            packed = [
                (key, rows.packed_vector(present.target, vector, f"vectors[{key}]")) for key, vector in vectors.items()
            ]
            tx.put_second(held, packed)
            return _put(tx, held, replace(present, through=through, done=present.done + len(packed)))

        return self._store.write(work)

    def staged(self, namespace: str, migration_id: str, ids: Sequence[str]) -> dict[str, StoredConcept]:
        def work(tx: Transaction) -> dict[str, StoredConcept]:
            held = held_of(tx, namespace)
            present = _migration(tx, held, migration_id)
            if present.state is not MigrationState.ENCODING:
                return {}
            return {one.concept.id: one for one in tx.second(held, present.target, ids)}

        return self._store.read(work)

    def switch_space(self, namespace: str, migration_id: str) -> Migration:
        def work(tx: Transaction) -> Migration:
            held = held_of(tx, namespace)
            present = _migration(tx, held, migration_id)
            if present.state is not MigrationState.ENCODING:
                return present
            if (missing := tx.without_second(held)) is not None:
                if missing > present.through:
                    return present
                return _put(tx, held, replace(present, through=(0, "")))
            commit = self._commit(tx)
            tx.swap(held, present.target)
            tx.outbox_add(OutboxEntry(commit.seq, namespace, present.source, (), deleted=True, seq=commit.seq))
            switched = replace(present, state=MigrationState.CLEANING, seq=commit.seq, message="")
            return _put(tx, held, switched)

        return self._store.write(work)

    def clean_page(self, namespace: str, migration_id: str, limit: int) -> Migration:
        def work(tx: Transaction) -> Migration:
            held = held_of(tx, namespace)
            present = _migration(tx, held, migration_id)
            if present.state not in (MigrationState.CLEANING, MigrationState.UNDOING):
                return present
            if last := tx.drop_second(held, present.cleaned, limit):
                return _put(tx, held, replace(present, cleaned=last))
            if present.state is MigrationState.CLEANING:
                state = MigrationState.SUCCEEDED
            else:
                state = MigrationState.FAILED if present.failed else MigrationState.CANCELLED
            return _put(tx, held, replace(present, state=state, ended_at=self._clock.now()))

        return self._store.write(work)

    def undo_migration(
        self, namespace: str, migration_id: str, *, message: str = "", failed: bool = False
    ) -> Migration:
        def work(tx: Transaction) -> Migration:
            held = held_of(tx, namespace)
            present = _migration(tx, held, migration_id)
            if present.state is not MigrationState.ENCODING:
                raise migration_rows.wrong_migration_state(present)
            return _put(
                tx, held, replace(present, state=MigrationState.UNDOING, failed=failed, message=message, cleaned="")
            )

        return self._store.write(work)

    def note_migration(self, namespace: str, migration_id: str, message: str) -> Migration:
        def work(tx: Transaction) -> Migration:
            held = held_of(tx, namespace)
            present = _migration(tx, held, migration_id)
            return present if present.message == message else _put(tx, held, replace(present, message=message))

        return self._store.write(work)

    def migration(self, namespace: str, migration_id: str) -> Migration:
        return self._store.read(lambda tx: _migration(tx, held_of(tx, namespace), migration_id))

    def migrations(self, namespace: str, limit: int, before: int = 0) -> list[Migration]:
        found = self._store.read(lambda tx: tx.migration_rows(held_of(tx, namespace), limit, before or _ALL))
        return [migration_rows.migration_from(namespace, row) for row in found]

    def migrations_at_work(self, states: Collection[MigrationState] = MIGRATING) -> list[Migration]:
        found = self._store.read(lambda tx: tx.migration_rows_in(states))
        return [migration_rows.migration_from(namespace, row) for namespace, row in found]

    def spaces_in_use(self, namespace: str) -> tuple[Space, ...]:
        def work(tx: Transaction) -> tuple[Space, ...]:
            held = tx.held(namespace)
            if held is None or held.space is None:
                return ()
            present = at_work(tx, held)
            return (held.space,) if present is None else tuple(dict.fromkeys((held.space, present.target)))

        return self._store.read(work)

    def switched_after(self, namespace: str, seq: int) -> int:
        later = [one.seq for one in self.migrations(namespace, _LOOKED_BACK) if one.seq > seq]
        return min(later, default=0)


def at_work(tx: Transaction, held: Held) -> Migration | None:
    """The migration of a namespace that goes on by itself; it is always the last one."""
    found = [migration_rows.migration_from(held.name, row) for row in tx.migration_rows(held, 1, _ALL)]
    return found[0] if found and found[0].state in MIGRATING else None


def _migration(tx: Transaction, held: Held, migration_id: str) -> Migration:
    row = tx.migration_row(held, migration_id)
    if row is None:
        raise migration_rows.migration_not_found(held.name, migration_id)
    return migration_rows.migration_from(held.name, row)


def _put(tx: Transaction, held: Held, migration: Migration) -> Migration:
    changed = replace(migration, version=migration.version + 1)
    tx.put_migration(held, migration_rows.migration_row(changed))
    return changed
