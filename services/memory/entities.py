"""The calls about Entities: who is there, who mentions them, and which of them are one."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import grpc
from sapience.v1 import concept_pb2
from sapience.v1 import entities_pb2 as pb

from core.clock import EARLIEST, LATEST
from core.entities import KnownEntity, Merge
from core.errors import InvalidArgument
from core.ids import normalised_name
from core.nouns import AsOf
from core.ports import Record
from memory.ingest.aliases import of_name
from services import wire
from services.memory.facts import MAX_NAME
from services.memory.keeping import checked_request_id
from services.runtime.worker import Worker

MAX_REASON = 1 << 10
MAX_CANDIDATES = 20
MOST_NAMES = 20_000
"""Names that are looked through for those that may mean the same."""

Context = grpc.aio.ServicerContext[Any, Any]


class EntityCalls:
    """A part of the memory service, which brings what these calls work with."""

    _record: Record
    _reads: Worker
    _writes: Worker

    async def ListEntities(self, request: pb.ListEntitiesRequest, context: Context) -> pb.ListEntitiesResponse:
        """By name, a page at a time."""
        namespace = wire.checked_namespace(request.namespace)
        limit = wire.checked_limit(request.limit, "limit", 100, 1000)
        key = _key(request)
        seq, place = wire.read_page_token(request.page_token, key) if request.page_token else (None, "")
        if not isinstance(place, str):
            raise _damaged()
        as_of = await self._as_of(request.as_of, seq)
        found, after = await self._reads.run(self._record.entities, namespace, as_of, limit, place)
        return pb.ListEntitiesResponse(
            entities=[known_to(one) for one in found],
            next_page_token=wire.page_token(key, as_of.seq, after) if after else "",
            as_of=wire.as_of_to(as_of),
        )

    async def GetEntity(self, request: pb.GetEntityRequest, context: Context) -> pb.GetEntityResponse:
        """One, and what else it may be called."""
        namespace = wire.checked_namespace(request.namespace)
        name = wire.checked_text(request.name, "name", MAX_NAME)
        as_of = await self._as_of(request.as_of)

        def look() -> pb.GetEntityResponse:
            known = self._record.entity(namespace, name, as_of)
            names = self._record.entity_names(namespace, MOST_NAMES)
            return pb.GetEntityResponse(
                entity=known_to(known), candidates=_candidates(known, names), as_of=wire.as_of_to(as_of)
            )

        return await self._reads.run(look)

    async def Mentions(self, request: pb.MentionsRequest, context: Context) -> pb.MentionsResponse:
        """Earliest first, a page at a time."""
        namespace = wire.checked_namespace(request.namespace)
        name = wire.checked_text(request.name, "name", MAX_NAME)
        limit = wire.checked_limit(request.limit, "limit", 50, 500)
        key, seq, after = _key(request), None, None
        if request.page_token:
            seq, place = wire.read_page_token(request.page_token, key)
            match place:
                case [int(at), str(last)] if EARLIEST <= at <= LATEST:
                    after = (at, last)
                case _:
                    raise _damaged()
        as_of = await self._as_of(request.as_of, seq)
        found = await self._reads.run(self._record.mentions, namespace, name, as_of, limit + 1, after)
        response = pb.MentionsResponse(as_of=wire.as_of_to(as_of))
        for one in found[:limit]:
            spans = [pb.ByteSpan(start_byte=start, end_byte=end) for start, end in one.spans]
            response.mentions.add(episode=wire.episode_to(one.episode), spans=spans)
        if len(found) > limit:
            end = found[limit - 1].episode
            response.next_page_token = wire.page_token(key, as_of.seq, [end.told_at, end.id])
        return response

    async def MergeEntities(self, request: pb.MergeEntitiesRequest, context: Context) -> pb.MergeEntitiesResponse:
        """From this commit on."""
        namespace = wire.checked_namespace(request.namespace)
        request_id = checked_request_id(request.request_id)
        kept, merged, reason = read_merge(request.kept, request.merged, request.reason)
        made = await self._writes.run(self._record.merge_entities, namespace, kept, merged, reason, request_id)
        return pb.MergeEntitiesResponse(merge=merge_to(made))

    async def UndoMerge(self, request: pb.UndoMergeRequest, context: Context) -> pb.UndoMergeResponse:
        """From this commit on."""
        namespace = wire.checked_namespace(request.namespace)
        request_id = checked_request_id(request.request_id)
        merge_id = wire.checked_text(request.merge_id, "merge_id", MAX_NAME)
        undone = await self._writes.run(self._record.undo_merge, namespace, merge_id, request_id)
        return pb.UndoMergeResponse(merge=merge_to(undone))

    async def ListMerges(self, request: pb.ListMergesRequest, context: Context) -> pb.ListMergesResponse:
        """As of a commit."""
        namespace = wire.checked_namespace(request.namespace)
        for axis in ("valid_at", "told_by"):
            if request.as_of.HasField(axis):
                raise InvalidArgument(
                    f"merges are made by commits, no source tells them: leave {axis} out", field=f"as_of.{axis}"
                )
        as_of = await self._as_of(request.as_of)
        undone = request.undone
        found = await self._reads.run(lambda: self._record.merges(namespace, as_of, undone=undone))
        return pb.ListMergesResponse(merges=[merge_to(one) for one in found], as_of=wire.as_of_to(as_of))

    async def _as_of(self, message: concept_pb2.AsOf, seq: int | None = None) -> AsOf:
        raise NotImplementedError  # of the service that this is a part of


def read_merge(kept: str, merged: str, reason: str, path: str = "") -> tuple[str, str, str]:
    """Two names and a reason, checked."""
    wire.checked_text(kept, f"{path}kept", MAX_NAME)
    wire.checked_text(merged, f"{path}merged", MAX_NAME)
    if len(reason.encode()) > MAX_REASON:
        raise InvalidArgument(
            f"{path}reason has {len(reason.encode())} bytes; at most {MAX_REASON} are taken", field=f"{path}reason"
        )
    return kept, merged, reason


def known_to(known: KnownEntity) -> pb.KnownEntity:
    """An Entity as a message."""
    return pb.KnownEntity(
        entity=concept_pb2.Entity(id=known.entity.id, name=known.entity.name),
        aliases=known.aliases,
        kind=known.kind,
        episodes=known.episodes,
        facts=known.facts,
    )


def merge_to(merge: Merge) -> pb.EntityMerge:
    """A merge as a message."""
    return pb.EntityMerge(
        id=merge.id,
        kept=concept_pb2.Entity(id=merge.kept.id, name=merge.kept.name),
        merged=concept_pb2.Entity(id=merge.merged.id, name=merge.merged.name),
        reason=merge.reason,
        recorded_at=wire.timestamp(merge.recorded_at),
        seq=merge.seq,
        undone_seq=merge.undone_seq,
    )


def _candidates(known: KnownEntity, names: list[str]) -> list[pb.AliasCandidate]:
    """By any of the Entity's names: the best for each other name."""
    ours = {normalised_name(name) for name in (known.entity.name, *known.aliases)}
    found: dict[str, pb.AliasCandidate] = {}
    for name in (known.entity.name, *known.aliases):
        for one in of_name(name, names):
            other = one.alias if normalised_name(one.name) == normalised_name(name) else one.name
            present = found.get(other)
            if normalised_name(other) not in ours and (present is None or present.score < one.score):
                found[other] = pb.AliasCandidate(name=other, reason=one.reason, score=one.score)
    return sorted(found.values(), key=lambda one: (-one.score, one.name))[:MAX_CANDIDATES]


def _key(request: pb.ListEntitiesRequest | pb.MentionsRequest) -> bytes:
    """What a page token is bound to: the request but for the token."""
    bare = deepcopy(request)
    bare.page_token = ""
    return bare.SerializeToString(deterministic=True)


def _damaged() -> InvalidArgument:
    return InvalidArgument("page_token is damaged; begin again without one", field="page_token")
