"""Calls of the memory service about migrations."""

from __future__ import annotations

from typing import Any

from sapience import migrations as types
from sapience import wire
from sapience.calls import Call, Streaming
from sapience.calls.memory import LONG, SECONDS, new_request_id
from sapience.v1 import migration_pb2 as pb


def plan_migration(
    *, model: str = "", namespace: str | None = None, timeout: float | None = LONG
) -> Call[types.MigrationPlan]:
    """What it costs to move a namespace to the space of an encoder, by default the service's default one.

    Measures that encoder with a sample of the namespace, and changes nothing. Raises FailedPrecondition where there is
    nothing to migrate, and NotFound where perception does not host the encoder.
    """
    request = wire.message(pb.PlanMigrationRequest, namespace=namespace, model=model)
    return Call("memory", "PlanMigration", request, timeout, namespace is None, _read_plan)


def migrate(
    *, model: str = "", request_id: str | None = None, namespace: str | None = None, timeout: float | None = LONG
) -> Call[str]:
    """Begins to encode a namespace anew, and returns the migration's id at once. The old space serves until it is done.

    Raises FailedPrecondition while another migration of the namespace is at work, and what `plan_migration` raises.
    """
    request = wire.message(
        pb.MigrateRequest, namespace=namespace, model=model, request_id=request_id or new_request_id()
    )
    return Call("memory", "Migrate", request, timeout, namespace is None, lambda response: str(response.run.id))


def get_migration(
    migration_id: str, *, namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[types.Migration]:
    """A migration as it is now."""
    request = wire.message(pb.GetMigrationRequest, namespace=namespace, migration_id=migration_id)
    return Call("memory", "GetMigration", request, timeout, namespace is None, _read_moved)


def migrations(
    *, limit: int = 50, namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[list[types.Migration]]:
    """The last migrations of a namespace, newest first, at most 1,000."""
    request = wire.message(pb.ListMigrationsRequest, namespace=namespace, limit=limit)

    def read(response: pb.ListMigrationsResponse) -> list[types.Migration]:
        return [read_migration(one) for one in response.migrations]

    return Call("memory", "ListMigrations", request, timeout, namespace is None, read)


def watch_migration(
    migration_id: str, *, after_version: int = 0, namespace: str | None = None, timeout: float | None = None
) -> Streaming[types.Migration]:
    """Streams a migration as it goes on, until it has ended.

    `after_version` resumes after the last `version` that was seen.
    """
    request = wire.message(
        pb.WatchMigrationRequest, namespace=namespace, migration_id=migration_id, after_version=after_version
    )
    return Streaming("memory", "WatchMigration", request, timeout, namespace is None, _read_moved)


def cancel_migration(
    migration_id: str, *, namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[types.Migration]:
    """Gives a migration up that is still encoding, and returns at once; the namespace stays in its old space."""
    request = wire.message(pb.CancelMigrationRequest, namespace=namespace, migration_id=migration_id)
    return Call("memory", "CancelMigration", request, timeout, namespace is None, _read_moved)


def spaces(*, timeout: float | None = SECONDS) -> Call[list[types.ServedSpace]]:
    """The spaces of all namespaces that have vectors, each with the encoder that serves it."""

    def read(response: pb.ListSpacesResponse) -> list[types.ServedSpace]:
        return [types.ServedSpace(one.namespace, _space(one.space), one.model) for one in response.namespaces]

    return Call("memory", "ListSpaces", pb.ListSpacesRequest(), timeout, False, read)


def read_migration(value: pb.Migration) -> types.Migration:
    """A migration as it is kept."""
    return types.Migration(
        id=value.id,
        namespace=value.namespace,
        model=value.model,
        source=_space(value.source),
        target=_space(value.target),
        state=wire.read_enum(types.MigrationState, value.state),
        done=value.done,
        total=value.total,
        expected=value.expected.ToTimedelta(),
        message=value.message,
        started_at=wire.read_moment(value, "started_at"),
        ended_at=wire.read_time(value, "ended_at"),
        seq=value.seq,
        version=value.version,
    )


def _read_moved(response: Any) -> types.Migration:
    return read_migration(response.migration)


def _read_plan(response: pb.PlanMigrationResponse) -> types.MigrationPlan:
    cost = response.cost
    return types.MigrationPlan(
        response.model,
        _space(response.source),
        _space(response.target),
        types.MigrationCost(
            cost.concepts,
            cost.text_bytes,
            cost.duration.ToTimedelta(),
            cost.sampled,
            cost.vector_bytes,
            cost.disk_bytes,
        ),
    )


def _space(value: pb.VectorSpace) -> types.VectorSpace:
    return types.VectorSpace(value.name, value.version, value.dimensions)
