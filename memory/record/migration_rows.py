"""A migration as a row: what both backends keep, and the errors that say what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import FailedPrecondition, NotFound, SapienceError
from core.migrations import Migration, MigrationState
from core.nouns import Space


@dataclass(frozen=True, slots=True)
class MigrationRow:
    """A migration as it is kept; its namespace is known by where the row is."""

    id: str
    number: int
    state: int
    body: str


def migration_row(migration: Migration) -> MigrationRow:
    """A migration as a row."""
    fields = asdict(migration)
    for name in ("id", "namespace", "number", "state"):
        del fields[name]
    body = json.dumps(fields, separators=(",", ":"))
    return MigrationRow(migration.id, migration.number, int(migration.state), body)


def migration_from(namespace: str, row: MigrationRow) -> Migration:
    """What `migration_row` wrote."""
    fields: dict[str, Any] = json.loads(row.body)
    for name in ("source", "target"):
        fields[name] = Space(**fields[name])
    fields["through"] = _place(fields["through"])
    return Migration(id=row.id, namespace=namespace, number=row.number, state=MigrationState(row.state), **fields)


def migration_not_found(namespace: str, migration_id: str) -> SapienceError:
    """For a migration that is not there."""
    return NotFound(
        f"there is no migration {migration_id!r} in namespace {namespace!r}; `sapience migrations list {namespace}` "
        "lists those that are",
        reason="MIGRATION_NOT_FOUND",
        field="migration_id",
    )


def migration_at_work(migration: Migration) -> SapienceError:
    """For a second migration of a namespace while one is at work."""
    return FailedPrecondition(
        f"migration {migration.id} of namespace {migration.namespace!r} to {migration.target} is "
        f"{migration.state.name.lower()}; wait for its end, or cancel it",
        reason="MIGRATION_AT_WORK",
        field="namespace",
    )


def wrong_migration_state(migration: Migration) -> SapienceError:
    """For a migration that can no longer be given up."""
    return FailedPrecondition(
        f"migration {migration.id} is {migration.state.name.lower()}; only one that is encoding can be cancelled, "
        f"and another migration leads back to {migration.source}",
        reason="MIGRATION_STATE",
        field="migration_id",
    )


def space_is_serving(namespace: str, space: Space) -> SapienceError:
    """For a migration to where a namespace is."""
    return FailedPrecondition(
        f"namespace {namespace!r} is in {space} already: there is nothing to migrate; name another encoder",
        reason="SPACE_IS_SERVING",
        field="model",
    )


def nothing_to_migrate(namespace: str) -> SapienceError:
    """For a namespace that never had a vector."""
    return FailedPrecondition(
        f"namespace {namespace!r} has no vectors: what is told there first decides its space; no migration is needed",
        reason="NOTHING_TO_MIGRATE",
        field="namespace",
    )


def _place(value: Sequence[Any]) -> tuple[int, str]:
    return int(value[0]), str(value[1])
