"""The task that takes migrations on, page by page, wherever they are: those just begun, and those a restart left.

It keeps nothing of its own: the record says how far each is. Encoding goes on beside everything else. At the end, when
all that was told is encoded, writes to the namespace wait for a moment, so that the last of them can be encoded too;
then the index's thread compares the new index with the record, and one transaction switches. A write that was perceived
before the switch and comes after it is refused by the record, and perceived again by `services.memory.service`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import grpc
import structlog

from core.errors import FailedPrecondition, NotFound, SapienceError, Unavailable
from core.migrations import Migration, MigrationState
from core.ports import Index, Record
from memory.migrating import CLEANED, NewIndex, next_page
from services.memory.drainer import Drainer
from services.memory.perceiving import Encoder
from services.runtime.worker import Worker

log = structlog.get_logger()

LOOK_S = 30.0
"""How often it looks for migrations that nobody told it of: those of another process that was killed."""
LONGEST_BACKOFF_S = 10.0
ENCODE_S = 300.0
"""A page that takes longer is given up and tried again."""
HELD_S = 5.0
"""How long writes to a namespace wait for its switch at most."""


class Migrator:
    """Owns its task and one thread: migrations of different namespaces take turns, page by page."""

    def __init__(
        self, record: Record, index: Index, encoder: Encoder, drainer: Drainer, changed: Callable[[], None]
    ) -> None:
        """`changed` is called after a switch, which leaves something for the index to do."""
        self._record = record
        self._encoder = encoder
        self._drainer = drainer
        self._changed = changed
        self._beside = NewIndex(record, index)
        self._worker = Worker("migrate", max_waiting=8)
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._held: dict[str, asyncio.Event] = {}
        self._task = asyncio.create_task(self._run(), name="migrator")

    async def wake(self) -> None:
        """Says that a migration has been moved by somebody else."""
        self._wake.set()
        await self._tell()

    async def wait(self, seconds: float) -> None:
        """Returns when a migration took a step, or after some time."""
        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait()
        except TimeoutError:
            return

    async def admit(self, namespace: str) -> None:
        """Lets a write begin: at once, but while its namespace is being switched."""
        held = self._held.get(namespace)
        if held is None:
            return
        try:
            await asyncio.wait_for(held.wait(), HELD_S)
        except TimeoutError:
            return

    async def close(self) -> None:
        """Ends the task; a page at work is done again later."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._worker.close()

    async def _run(self) -> None:
        backoff = 0.1
        while True:
            self._wake.clear()
            try:
                waiting = await self._worker.run(self._record.migrations_at_work)
                stuck = [one for one in waiting if not await self._step(one)]
                if not waiting:
                    await self._sleep(LOOK_S)
                elif len(stuck) == len(waiting):
                    await self._sleep(backoff)
                    backoff = min(backoff * 2, LONGEST_BACKOFF_S)
                else:
                    backoff = 0.1
            except Unavailable as error:
                log.warning("migrations wait for the record", reason=error.reason, error=error.message)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_S)
            except Exception:
                # A fault of ours must not keep all migrations of this process from going on.
                log.exception("migrating failed by a fault of ours")
                await asyncio.sleep(LONGEST_BACKOFF_S)

    async def _step(self, migration: Migration) -> bool:
        """One page of work; False where it could not go on, and has to be tried again."""
        try:
            await self._advance(migration)
        except NotFound as error:
            if error.reason not in ("NAMESPACE_NOT_FOUND", "MIGRATION_NOT_FOUND"):
                return await self._waits(migration, error.message)
            log.info("a migration went with its namespace", migration=migration.id)
        except (FailedPrecondition, Unavailable, TimeoutError) as error:
            return await self._waits(
                migration, error.message if isinstance(error, SapienceError) else "a page timed out"
            )
        except grpc.aio.AioRpcError as error:
            return await self._waits(migration, f"perception does not encode: {error.details()}")
        except Exception as error:
            if migration.state is not MigrationState.ENCODING:
                raise
            log.exception("a migration failed by a fault of ours", migration=migration.id)
            why = error.message if isinstance(error, SapienceError) else f"a fault of ours: {type(error).__name__}"
            await self._undo(migration, why)
        await self._tell()
        return True

    async def _waits(self, migration: Migration, why: str) -> bool:
        log.warning("a migration waits", migration=migration.id, why=why)
        try:
            await self._worker.run(self._record.note_migration, migration.namespace, migration.id, why)
        except NotFound:
            log.info("a migration went with its namespace", migration=migration.id)
        await self._tell()
        return False

    async def _undo(self, migration: Migration, why: str) -> None:
        give_up = partial(self._record.undo_migration, migration.namespace, migration.id, message=why, failed=True)
        try:
            await self._worker.run(give_up)
        except SapienceError as error:
            log.info("a migration that failed had ended", migration=migration.id, error=error.message)

    async def _advance(self, migration: Migration) -> None:
        if migration.state is MigrationState.ENCODING:
            if not await self._encode_page(migration):
                await self._finish(migration)
            return
        if migration.state is MigrationState.UNDOING and not migration.cleaned:
            await self._drainer.aside(partial(self._beside.drop, migration))
        cleaned = await self._worker.run(self._record.clean_page, migration.namespace, migration.id, CLEANED)
        if cleaned.ended_at is not None:
            await self._drainer.aside(partial(self._beside.tidy, cleaned))

    async def _encode_page(self, migration: Migration) -> bool:
        """Encodes what comes next; False where nothing does."""
        page = await self._worker.run(next_page, self._record, migration)
        if page is None:
            return False
        vectors = {}
        if page.words:
            async with asyncio.timeout(ENCODE_S):
                made, _ = await self._encoder.encode(list(page.words.values()), migration.target)
            vectors = dict(zip(page.words, made, strict=True))
        stage = partial(
            self._record.stage,
            migration.namespace,
            migration.id,
            vectors,
            after=migration.through,
            through=page.through,
        )
        staged = await self._worker.run(stage)
        if staged.message:
            await self._worker.run(self._record.note_migration, migration.namespace, migration.id, "")
        await self._drainer.aside(partial(self._beside.write, migration, page.ids))
        return True

    async def _finish(self, migration: Migration) -> None:
        """All is encoded: switches, while writes wait. Gives up for this time where that takes too long."""
        with self._holding(migration.namespace):
            ends = time.monotonic() + HELD_S
            while migration.state is MigrationState.ENCODING and time.monotonic() < ends:
                migration = await self._worker.run(self._record.migration, migration.namespace, migration.id)
                if migration.state is MigrationState.ENCODING and not await self._encode_page(migration):
                    migration = await self._drainer.aside(partial(self._beside.settle, migration))
        if migration.state is MigrationState.CLEANING:
            log.info("a namespace has moved", namespace=migration.namespace, space=str(migration.target))
            self._changed()
            await self._drainer.aside(partial(self._beside.warm, migration))

    @contextmanager
    def _holding(self, namespace: str) -> Iterator[None]:
        self._held[namespace] = free = asyncio.Event()
        try:
            yield
        finally:
            del self._held[namespace]
            free.set()

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()
