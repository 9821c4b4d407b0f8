"""The task that takes Dreams on, step by step, wherever they are: those just begun, and those that a restart left.

It keeps nothing of its own. The record says which Dreams are at work, and each step is one transaction there; so a
process that is killed goes on where it was, and of two processes on one record neither does what the other did.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import structlog

from core.dreams import AT_WORK, Dream, DreamState
from core.errors import NotFound, SapienceError, Unavailable
from core.ports import Record
from memory.dreams.reading import Model
from memory.dreams.work import Dreaming
from services.runtime.worker import Worker

log = structlog.get_logger()

LOOK_S = 30.0
"""How often it looks for Dreams that nobody told it of: those of another process that was killed."""
LONGEST_BACKOFF_S = 10.0


class Dreamer:
    """Owns its task and one thread: Dreams of different namespaces take turns, step by step."""

    def __init__(
        self, record: Record, changed: Callable[[], None], model: Model | None = None, timezone: str = "UTC"
    ) -> None:
        """`changed` is called after each step, which may have written. A `model` reads Episodes for Facts."""
        self._record = record
        self._dreaming = Dreaming(record, model=model, timezone=timezone)
        self._changed = changed
        self._worker = Worker("dream", max_waiting=8)
        self._wake = asyncio.Event()
        self._moved = asyncio.Condition()
        self._closing = threading.Event()
        self._given_up: set[str] = set()
        self._task = asyncio.create_task(self._run(), name="dreamer")

    async def wake(self) -> None:
        """Says that a Dream has been moved by somebody else."""
        self._wake.set()
        await self._tell()

    async def give_up(self, dream_id: str) -> None:
        """Says that a Dream was cancelled: a long reading ends early."""
        self._given_up.add(dream_id)
        await self.wake()

    async def wait(self, seconds: float) -> None:
        """Returns when a Dream took a step, or after some time."""
        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait()
        except TimeoutError:
            return

    async def close(self) -> None:
        """Ends the task; a change at work is finished by its thread, a reading ends early and is done again later."""
        self._closing.set()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._worker.close()

    async def _run(self) -> None:
        backoff = 0.1
        while True:
            self._wake.clear()
            try:
                waiting = await self._worker.run(self._record.dreams_at_work)
                for dream in waiting:
                    await self._step(dream)
                self._given_up.intersection_update(dream.id for dream in waiting)
                backoff = 0.1
                if not waiting:
                    await self._sleep()
            except Unavailable as error:
                log.warning("Dreams wait for the record", reason=error.reason, error=error.message)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, LONGEST_BACKOFF_S)
            except Exception:
                # A fault of ours must not keep all Dreams of this process from going on.
                log.exception("dreaming failed by a fault of ours")
                await asyncio.sleep(LONGEST_BACKOFF_S)

    async def _step(self, dream: Dream) -> None:
        def may_go_on() -> bool:
            return dream.id not in self._given_up and not self._closing.is_set()

        try:
            await self._worker.run(self._dreaming.step, dream.namespace, dream.id, may_go_on)
        except (Unavailable, NotFound) as error:
            if isinstance(error, Unavailable):
                raise
            log.info("a Dream went with its namespace", dream=dream.id)
        except SapienceError as error:
            if error.reason != "DREAM_STATE":  # else somebody cancelled it while it was read
                await self._fail(dream, error.message)
        except Exception as error:
            log.exception("a Dream failed by a fault of ours", dream=dream.id)
            await self._fail(dream, f"a fault of ours: {type(error).__name__}")
        self._changed()
        await self._tell()

    async def _fail(self, dream: Dream, why: str) -> None:
        log.warning("a Dream failed", dream=dream.id, error=why)
        await self._worker.run(
            self._record.move_dream, dream.namespace, dream.id, DreamState.FAILED, among=AT_WORK, message=why
        )

    async def _sleep(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), LOOK_S)
        except TimeoutError:
            return

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()
