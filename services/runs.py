"""Long work as Runs, whatever it is: Dreams and migrations."""

from __future__ import annotations

from sapience.v1 import concept_pb2, dream_pb2, memory_pb2, memory_pb2_grpc, migration_pb2

from services.runtime.client import Link

CALL_S = 5.0

_STATES = {
    dream_pb2.DREAM_STATE_READING: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_PROPOSED: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_APPROVED: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_APPLIED: concept_pb2.RUN_STATE_SUCCEEDED,
    dream_pb2.DREAM_STATE_UNDOING: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_UNDONE: concept_pb2.RUN_STATE_SUCCEEDED,
    dream_pb2.DREAM_STATE_CANCELLED: concept_pb2.RUN_STATE_CANCELLED,
    dream_pb2.DREAM_STATE_FAILED: concept_pb2.RUN_STATE_FAILED,
}
_MIGRATION_STATES = {
    migration_pb2.MIGRATION_STATE_ENCODING: concept_pb2.RUN_STATE_RUNNING,
    migration_pb2.MIGRATION_STATE_CLEANING: concept_pb2.RUN_STATE_RUNNING,
    migration_pb2.MIGRATION_STATE_SUCCEEDED: concept_pb2.RUN_STATE_SUCCEEDED,
    migration_pb2.MIGRATION_STATE_UNDOING: concept_pb2.RUN_STATE_RUNNING,
    migration_pb2.MIGRATION_STATE_CANCELLED: concept_pb2.RUN_STATE_CANCELLED,
    migration_pb2.MIGRATION_STATE_FAILED: concept_pb2.RUN_STATE_FAILED,
}


def run_of(dream: dream_pb2.Dream) -> concept_pb2.Run:
    """A Dream as a Run; one that waits for approval has not ended."""
    state = dream_pb2.DreamState.Name(dream.state).removeprefix("DREAM_STATE_").lower()
    run = concept_pb2.Run(
        id=dream.id,
        kind="dream",
        state=_STATES.get(dream.state, concept_pb2.RUN_STATE_UNSPECIFIED),
        done=dream.done,
        total=dream.total,
        message=f"{state}: {dream.message}" if dream.message else state,
        started_at=dream.started_at,
    )
    if dream.HasField("ended_at"):
        run.ended_at.CopyFrom(dream.ended_at)
    return run


def run_of_migration(migration: migration_pb2.Migration) -> concept_pb2.Run:
    """A migration as a Run."""
    state = migration_pb2.MigrationState.Name(migration.state).removeprefix("MIGRATION_STATE_").lower()
    run = concept_pb2.Run(
        id=migration.id,
        kind="migrate",
        state=_MIGRATION_STATES.get(migration.state, concept_pb2.RUN_STATE_UNSPECIFIED),
        done=migration.done,
        total=migration.total,
        message=f"{state}: {migration.message}" if migration.message else state,
        started_at=migration.started_at,
    )
    if migration.HasField("ended_at"):
        run.ended_at.CopyFrom(migration.ended_at)
    return run


async def newest(memory: memory_pb2_grpc.MemoryServiceAsyncStub, link: Link, limit: int) -> list[concept_pb2.Run]:
    """The newest of all namespaces, two calls for each. Raises what memory refuses or cannot do."""
    known = await memory.ListNamespaces(memory_pb2.ListNamespacesRequest(), **link.options(CALL_S))
    runs: list[concept_pb2.Run] = []
    for namespace in known.namespaces:
        request = dream_pb2.ListDreamsRequest(namespace=namespace.name, limit=limit)
        runs += map(run_of, (await memory.ListDreams(request, **link.options(CALL_S))).dreams)
        asked = migration_pb2.ListMigrationsRequest(namespace=namespace.name, limit=limit)
        runs += map(run_of_migration, (await memory.ListMigrations(asked, **link.options(CALL_S))).migrations)
    return sorted(runs, key=lambda run: run.started_at.ToNanoseconds(), reverse=True)[:limit]
