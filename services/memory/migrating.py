"""The calls about migrations: plan one, begin it, look at it, give it up; and which encoder serves which namespace."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc
from google.protobuf.duration_pb2 import Duration
from sapience.v1 import migration_pb2 as pb

from core.errors import InvalidArgument
from core.migrations import MIGRATING, Migration
from core.nouns import Space
from core.ports import Record
from memory.migrating import Cost, cost, sample
from memory.record.migration_rows import nothing_to_migrate, space_is_serving
from services import wire
from services.memory.encoders import Hosted
from services.memory.keeping import checked_request_id
from services.memory.migrator import Migrator
from services.memory.perceiving import Encoder
from services.runs import run_of_migration
from services.runtime.worker import Worker

MAX_ADDRESS = 4096
WATCH_S = 1.0
"""How often a watcher looks where nobody tells it: another process may do the work."""

Context = grpc.aio.ServicerContext[Any, Any]


class Encoders(Encoder, Protocol):
    """Encoders by space and by name: `services.memory.encoders.RemoteEncoder`."""

    async def hosted(self) -> list[Hosted]:
        """All, the default one first."""
        ...

    async def named(self, address: str) -> Hosted:
        """One by its address, or the default one. Raises NotFound (MODEL_NOT_FOUND)."""
        ...


class MigrationCalls:
    """A part of the memory service, which brings what these calls work with."""

    _record: Record
    _reads: Worker
    _writes: Worker
    _encoder: Encoders
    _migrator: Migrator

    async def PlanMigration(self, request: pb.PlanMigrationRequest, context: Context) -> pb.PlanMigrationResponse:
        """Measures the encoder with a sample of the namespace."""
        namespace, model = wire.checked_namespace(request.namespace), _checked_model(request.model)
        to, source, found, sampled = await self._planned(namespace, model)
        return pb.PlanMigrationResponse(
            model=to.address, source=_space_to(source), target=_space_to(to.space), cost=_cost_to(found, sampled)
        )

    async def Migrate(self, request: pb.MigrateRequest, context: Context) -> pb.MigrateResponse:
        """Begins one, and returns at once."""
        namespace, model = wire.checked_namespace(request.namespace), _checked_model(request.model)
        request_id = checked_request_id(request.request_id)
        to, _, found, sampled = await self._planned(namespace, model)
        begun = await self._writes.run(
            self._record.begin_migration, namespace, to.address, to.space, found.seconds, request_id
        )
        await self._migrator.wake()
        return pb.MigrateResponse(run=run_of_migration(migration_to(begun)), cost=_cost_to(found, sampled))

    async def GetMigration(self, request: pb.GetMigrationRequest, context: Context) -> pb.GetMigrationResponse:
        """As it is now."""
        namespace = wire.checked_namespace(request.namespace)
        found = await self._reads.run(self._record.migration, namespace, request.migration_id)
        return pb.GetMigrationResponse(migration=migration_to(found))

    async def ListMigrations(self, request: pb.ListMigrationsRequest, context: Context) -> pb.ListMigrationsResponse:
        """The newest first."""
        namespace = wire.checked_namespace(request.namespace)
        limit = wire.checked_limit(request.limit, "limit", 50, 1000)
        before, key = 0, b"migrations/" + namespace.encode()
        if request.page_token:
            _, place = wire.read_page_token(request.page_token, key)
            if not isinstance(place, int) or place < 1:
                raise InvalidArgument("page_token is damaged; begin again without one", field="page_token")
            before = place
        found = await self._reads.run(self._record.migrations, namespace, limit + 1, before)
        response = pb.ListMigrationsResponse(migrations=[migration_to(one) for one in found[:limit]])
        if len(found) > limit:
            response.next_page_token = wire.page_token(key, 0, found[limit - 1].number)
        return response

    async def WatchMigration(
        self, request: pb.WatchMigrationRequest, context: Context
    ) -> AsyncIterator[pb.WatchMigrationResponse]:
        """Page by page, until it has ended."""
        namespace, after = wire.checked_namespace(request.namespace), request.after_version
        if after < 0:
            raise InvalidArgument(f"after_version is {after}; versions count from 1", field="after_version")
        while True:
            found = await self._reads.run(self._record.migration, namespace, request.migration_id)
            if found.version > after:
                after = found.version
                yield pb.WatchMigrationResponse(migration=migration_to(found))
            if found.state not in MIGRATING:
                return
            await self._migrator.wait(WATCH_S)

    async def CancelMigration(self, request: pb.CancelMigrationRequest, context: Context) -> pb.CancelMigrationResponse:
        """Begins to undo it, and returns at once."""
        namespace = wire.checked_namespace(request.namespace)
        moved = await self._writes.run(self._record.undo_migration, namespace, request.migration_id)
        await self._migrator.wake()
        return pb.CancelMigrationResponse(migration=migration_to(moved))

    async def ListSpaces(self, request: pb.ListSpacesRequest, context: Context) -> pb.ListSpacesResponse:
        """Each namespace that has vectors, with its encoder."""

        def look() -> dict[str, Space]:
            found = {one.name: self._record.spaces_in_use(one.name) for one in self._record.namespaces()}
            return {name: spaces[0] for name, spaces in found.items() if spaces}

        spaces = await self._reads.run(look)
        serving = {one.space: one.address for one in reversed(await self._encoder.hosted())}
        return pb.ListSpacesResponse(
            namespaces=[
                pb.ListSpacesResponse.Kept(namespace=name, space=_space_to(space), model=serving.get(space, ""))
                for name, space in sorted(spaces.items())
            ]
        )

    async def _planned(self, namespace: str, model: str) -> tuple[Hosted, Space, Cost, int]:
        """The encoder, the space that is left, what it costs, and by how many Concepts that was judged."""

        def look() -> tuple[Space | None, int, list[str]]:
            return (
                self._record.space_of(namespace),
                self._record.counts(namespace).concepts,
                sample(self._record, namespace),
            )

        source, concepts, words = await self._reads.run(look)
        if source is None:
            raise nothing_to_migrate(namespace)
        to = await self._encoder.named(model)
        if to.space == source:
            raise space_is_serving(namespace, source)
        seconds = 0.0
        if words:
            await self._encoder.encode(words[:1], to.space)  # what comes first pays for what is loaded or compiled
            began = time.monotonic()
            await self._encoder.encode(words, to.space)
            seconds = time.monotonic() - began
        return to, source, cost(concepts, words, seconds, to.space.dimensions), len(words)


def migration_to(migration: Migration) -> pb.Migration:
    """A migration as a message."""
    message = pb.Migration(
        id=migration.id,
        namespace=migration.namespace,
        model=migration.model,
        source=_space_to(migration.source),
        target=_space_to(migration.target),
        state=pb.MigrationState.ValueType(migration.state),
        done=migration.done,
        total=migration.total,
        expected=_duration(migration.seconds),
        message=migration.message,
        started_at=wire.timestamp(migration.started_at),
        seq=migration.seq,
        version=migration.version,
    )
    if migration.ended_at is not None:
        wire.set_timestamp(message.ended_at, migration.ended_at)
    return message


def _checked_model(address: str) -> str:
    if len(address) > MAX_ADDRESS:
        raise InvalidArgument(
            f"model has {len(address)} characters; an address has {MAX_ADDRESS} at most", field="model"
        )
    return address


def _cost_to(found: Cost, sampled: int) -> pb.MigrationCost:
    return pb.MigrationCost(
        concepts=found.concepts,
        text_bytes=found.text_bytes,
        duration=_duration(found.seconds),
        sampled=sampled,
        vector_bytes=found.vector_bytes,
        disk_bytes=found.disk_bytes,
    )


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromMicroseconds(round(seconds * 1e6))
    return message


def _space_to(space: Space) -> pb.VectorSpace:
    return pb.VectorSpace(name=space.name, version=space.version, dimensions=space.dimensions)


__all__ = ["Encoders", "MigrationCalls", "migration_to"]
