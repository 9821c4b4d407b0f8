"""The calls about how long Episodes are kept: Archive, Thaw, holds, ends, counts of use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any, ParamSpec, TypeVar

import grpc
from sapience.v1 import memory_pb2 as pb

from core.clock import Clock
from core.errors import InvalidArgument
from core.nouns import Episode, Expiry, Keeping, Moved, StoredConcept, TimeToLive
from core.ports import Record
from memory.forget import Retained, choose, retained
from services import wire
from services.memory.drainer import Drainer
from services.runtime.worker import Worker

MAX_IDS = 10_000
MAX_LISTED = 1_000
"""Episodes that a response of Archive lists; all are counted."""
MAX_REQUEST_ID = 128
MAX_HOLD = 256
PAGE = 256

Context = grpc.aio.ServicerContext[Any, Any]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class KeepingCalls:
    """A part of the memory service, which brings what these calls work with."""

    _record: Record
    _clock: Clock
    _reads: Worker
    _writes: Worker
    _drainer: Drainer
    _index_wait_s: float

    async def Archive(self, request: pb.ArchiveRequest, context: Context) -> pb.ArchiveResponse:
        """By id, or the least retained."""
        namespace = wire.checked_namespace(request.namespace)
        request_id = checked_request_id(request.request_id)
        share = request.share if request.HasField("share") else None
        threshold = request.threshold if request.HasField("threshold") else None
        if (bool(request.episode_ids), share is not None, threshold is not None).count(True) != 1:
            raise InvalidArgument(
                "give one of episode_ids, share and threshold", field="episode_ids", reason="NO_SELECTOR"
            )
        if share is not None or threshold is not None:
            choose([], share=share, threshold=threshold)  # refuses numbers out of range before anything is read
        if request.episode_ids and not request.dry_run:
            ids = _checked_ids(request.episode_ids)
            moved = await self._writes.run(self._record.archive, namespace, ids, request_id)
            await self._moved()
            kept = await self._reads.run(self._record.episodes, namespace, moved.episode_ids[:MAX_LISTED])
            listed = [pb.Retained(episode=wire.episode_to(kept[key])) for key in moved.episode_ids if key in kept]
            return pb.ArchiveResponse(
                episodes=len(moved.episode_ids), concepts=moved.concepts, seq=moved.seq, retained=listed
            )
        rated = await _aside(_rated, self._record, namespace, self._clock.now())
        if request.episode_ids:
            wanted = set(_checked_ids(request.episode_ids))
            chosen = sorted((one for one in rated if one.episode.id in wanted), key=_order)
        else:
            chosen = choose(rated, share=share, threshold=threshold)
        if request.dry_run:
            return _response(Moved(tuple(one.episode.id for one in chosen), 0, 0), chosen)
        ids = [one.episode.id for one in chosen]
        asked = f"share {share} threshold {threshold}"
        moved = await self._writes.run(self._record.archive, namespace, ids, request_id, asked)
        await self._moved()
        gone = set(moved.episode_ids)
        return _response(moved, sorted((one for one in rated if one.episode.id in gone), key=_order))

    async def Thaw(self, request: pb.ThawRequest, context: Context) -> pb.ThawResponse:
        """By id, or all."""
        namespace = wire.checked_namespace(request.namespace)
        request_id = checked_request_id(request.request_id)
        if bool(request.episode_ids) == request.all:
            raise InvalidArgument("give episode_ids or all, and not both", field="episode_ids", reason="NO_SELECTOR")
        ids = await _aside(_archived, self._record, namespace) if request.all else _checked_ids(request.episode_ids)
        chosen_by = "all" if request.all else ""
        moved = await self._writes.run(self._record.thaw, namespace, ids, request_id, chosen_by)
        await self._moved()
        return pb.ThawResponse(episodes=len(moved.episode_ids), concepts=moved.concepts, seq=moved.seq)

    async def SetHold(self, request: pb.SetHoldRequest, context: Context) -> pb.SetHoldResponse:
        """Puts under a hold, or releases."""
        namespace = wire.checked_namespace(request.namespace)
        hold = wire.checked_text(request.hold, "hold", MAX_HOLD)
        ids, request_id = _checked_ids(request.episode_ids), checked_request_id(request.request_id)

        def put() -> int:
            return self._record.set_hold(namespace, ids, hold, release=request.release, request_id=request_id)

        return pb.SetHoldResponse(changed=await self._writes.run(put))

    async def SetExpiry(self, request: pb.SetExpiryRequest, context: Context) -> pb.SetExpiryResponse:
        """Sets the end of Episodes."""
        namespace = wire.checked_namespace(request.namespace)
        at = wire.micros(request.expires_at, "expires_at") if request.HasField("expires_at") else None
        count = await self._writes.run(
            self._record.set_expiry,
            namespace,
            _checked_ids(request.episode_ids),
            at,
            _expiry_from(request.expiry),
            checked_request_id(request.request_id),
        )
        return pb.SetExpiryResponse(episodes=count)

    async def SetTimeToLive(self, request: pb.SetTimeToLiveRequest, context: Context) -> pb.SetTimeToLiveResponse:
        """Sets how long a namespace keeps."""
        namespace = wire.checked_namespace(request.namespace)
        lived = None
        if request.HasField("time_to_live"):
            microseconds = request.time_to_live.ToMicroseconds()
            if microseconds <= 0:
                raise InvalidArgument(
                    f"time_to_live is {microseconds} microseconds; give more than 0, or none to keep for good",
                    field="time_to_live",
                )
            lived = TimeToLive(microseconds, _expiry_from(request.expiry))
        await self._writes.run(self._record.set_time_to_live, namespace, lived)
        return pb.SetTimeToLiveResponse()

    async def GetKeeping(self, request: pb.GetKeepingRequest, context: Context) -> pb.GetKeepingResponse:
        """How Episodes are kept."""
        namespace = wire.checked_namespace(request.namespace)
        ids = list(request.episode_ids)
        _check_count(len(ids), 0)

        def look() -> tuple[dict[str, Keeping], TimeToLive | None]:
            return self._record.keepings(namespace, ids), self._record.time_to_live(namespace)

        found, lived = await self._reads.run(look)
        response = pb.GetKeepingResponse(keepings=[_keeping_to(found[key]) for key in ids if key in found])
        if lived is not None:
            response.time_to_live.FromMicroseconds(lived.microseconds)
            response.expiry = pb.Expiry.ValueType(lived.expiry)
        return response

    async def RecordUse(self, request: pb.RecordUseRequest, context: Context) -> pb.RecordUseResponse:
        """Adds to the counts."""
        namespace = wire.checked_namespace(request.namespace)
        _check_count(len(request.uses), 1, "uses")
        now = self._clock.now()
        uses: dict[str, tuple[int, int]] = {}
        for number, one in enumerate(request.uses):
            if one.count < 1:
                raise InvalidArgument(f"uses[{number}].count is {one.count}; give 1 or more", field="uses")
            uses[one.episode_id] = (uses.get(one.episode_id, (0, 0))[0] + one.count, now)
        await self._writes.run(self._record.add_uses, namespace, uses)
        return pb.RecordUseResponse()

    async def _moved(self) -> None:
        """What is archived must not be found by the next recall, nor what is thawed be missed."""
        self._drainer.wake()
        await self._drainer.reach(await self._reads.run(self._record.seq), self._index_wait_s)


def checked_request_id(request_id: str) -> str:
    """A request_id of a size that is kept."""
    if len(request_id.encode()) > MAX_REQUEST_ID:
        raise InvalidArgument(f"request_id is longer than {MAX_REQUEST_ID} bytes; a UUID does", field="request_id")
    return request_id


async def _aside(work: Callable[_P, _T], *given: _P.args, **named: _P.kwargs) -> _T:
    """What reads all of a namespace takes seconds where there is much: not on a thread that other calls wait for."""
    worker = Worker("rating", max_waiting=1)
    try:
        return await worker.run(work, *given, **named)
    finally:
        await worker.close()


def _archived(record: Record, namespace: str) -> list[str]:
    return [one.id for one, _ in record.export_episodes(namespace) if one.archived_seq]


def _rated(record: Record, namespace: str, now: int) -> list[Retained]:
    keepings: dict[str, Keeping] = {}

    def told() -> Iterator[tuple[Episode, list[StoredConcept]]]:
        # Page by page, and no vectors are kept; all has been read when the first rating looks at how it is kept.
        episodes = record.export_episodes(namespace)
        while page := list(islice(episodes, PAGE)):
            keepings.update(record.keepings(namespace, [episode.id for episode, _ in page]))
            yield from page

    return retained(told(), keepings, now)


def _order(one: Retained) -> tuple[float, str]:
    return one.retention, one.episode.id


def _response(moved: Moved, chosen: Sequence[Retained]) -> pb.ArchiveResponse:
    return pb.ArchiveResponse(
        episodes=len(moved.episode_ids),
        concepts=moved.concepts,
        seq=moved.seq,
        retained=[
            pb.Retained(episode=wire.episode_to(one.episode), retention=one.retention) for one in chosen[:MAX_LISTED]
        ],
    )


def _checked_ids(ids: Sequence[str]) -> list[str]:
    _check_count(len(ids), 1)
    return list(dict.fromkeys(ids))


def _check_count(count: int, least: int, field: str = "episode_ids") -> None:
    if not least <= count <= MAX_IDS:
        raise InvalidArgument(f"{field} holds {count}; give {least} to {MAX_IDS}", field=field, reason="BAD_BATCH")


def _expiry_from(value: int) -> Expiry:
    if value not in (0, *Expiry):
        raise InvalidArgument(f"expiry {value} is none of this version's; archive or delete", field="expiry")
    return Expiry(value or Expiry.ARCHIVE)


def _keeping_to(keeping: Keeping) -> pb.Keeping:
    message = pb.Keeping(
        episode_id=keeping.episode_id,
        holds=keeping.holds,
        expiry=pb.Expiry.ValueType(keeping.expiry),
        uses=keeping.uses,
    )
    if keeping.expires_at is not None:
        wire.set_timestamp(message.expires_at, keeping.expires_at)
    if keeping.used_at is not None:
        wire.set_timestamp(message.used_at, keeping.used_at)
    return message


__all__ = ["KeepingCalls", "checked_request_id"]
