"""Calls of the memory service about Entities: who is mentioned, by whom, and which names mean the same."""

from __future__ import annotations

from datetime import datetime

from sapience import types, wire
from sapience.calls import Call
from sapience.calls.memory import SECONDS, new_request_id
from sapience.v1 import entities_pb2


def entities(
    *,
    as_of: datetime | types.AsOf | None = None,
    limit: int = 100,
    page_token: str = "",
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.EntityPage]:
    """The Entities that Episodes and Facts name, by name, merged as they were at `as_of`.

    `limit` is at most 1,000; `page_token` continues an earlier page.
    """
    request = wire.message(
        entities_pb2.ListEntitiesRequest,
        namespace=namespace,
        as_of=wire.as_of(as_of),
        limit=limit,
        page_token=page_token,
    )
    return Call("memory", "ListEntities", request, timeout, namespace is None, _read_entities)


def entity(
    name: str,
    *,
    as_of: datetime | types.AsOf | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.EntityDetails]:
    """One Entity by any of its names, with other names that may be its own. Raises NotFound."""
    request = wire.message(entities_pb2.GetEntityRequest, namespace=namespace, name=name, as_of=wire.as_of(as_of))
    return Call("memory", "GetEntity", request, timeout, namespace is None, _read_entity)


def mentions(
    name: str,
    *,
    as_of: datetime | types.AsOf | None = None,
    limit: int = 50,
    page_token: str = "",
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.MentionPage]:
    """The Episodes that mention an Entity, by any of its names, earliest first.

    `limit` is at most 500; `page_token` continues an earlier page.
    """
    request = wire.message(
        entities_pb2.MentionsRequest,
        namespace=namespace,
        name=name,
        as_of=wire.as_of(as_of),
        limit=limit,
        page_token=page_token,
    )
    return Call("memory", "Mentions", request, timeout, namespace is None, _read_mentions)


def merge_entities(
    kept: str,
    merged: str,
    *,
    reason: str = "",
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.EntityMerge]:
    """Says that two Entities are one, shown by the name of `kept`. Nothing is rewritten: `undo_merge` takes it back."""
    request = wire.message(
        entities_pb2.MergeEntitiesRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        kept=kept,
        merged=merged,
        reason=reason,
    )
    return Call("memory", "MergeEntities", request, timeout, namespace is None, _read_merge)


def undo_merge(
    merge_id: str,
    *,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.EntityMerge]:
    """Takes a merge back, from now on."""
    request = wire.message(
        entities_pb2.UndoMergeRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        merge_id=merge_id,
    )
    return Call("memory", "UndoMerge", request, timeout, namespace is None, _read_merge)


def merges(
    *,
    undone: bool = False,
    as_of: types.AsOf | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[list[types.EntityMerge]]:
    """The merges that count, oldest first; with `undone` also those that were taken back.

    Of `as_of` only `recorded_by` and `seq` have a place here.
    """
    request = wire.message(entities_pb2.ListMergesRequest, namespace=namespace, as_of=wire.as_of(as_of), undone=undone)
    return Call("memory", "ListMerges", request, timeout, namespace is None, _read_merges)


def _read_known(value: entities_pb2.KnownEntity) -> types.KnownEntity:
    entity = types.Entity(value.entity.id, value.entity.name)
    return types.KnownEntity(entity, tuple(value.aliases), value.kind, value.episodes, value.facts)


def _read_entities(response: entities_pb2.ListEntitiesResponse) -> types.EntityPage:
    known = tuple(map(_read_known, response.entities))
    return types.EntityPage(known, wire.read_as_of(response.as_of), response.next_page_token)


def _read_entity(response: entities_pb2.GetEntityResponse) -> types.EntityDetails:
    candidates = (types.AliasCandidate(one.name, one.reason, one.score) for one in response.candidates)
    return types.EntityDetails(_read_known(response.entity), tuple(candidates), wire.read_as_of(response.as_of))


def _read_mentions(response: entities_pb2.MentionsResponse) -> types.MentionPage:
    found = (
        types.Mention(wire.read_episode(one.episode), tuple((span.start_byte, span.end_byte) for span in one.spans))
        for one in response.mentions
    )
    return types.MentionPage(tuple(found), wire.read_as_of(response.as_of), response.next_page_token)


def _read_one_merge(value: entities_pb2.EntityMerge) -> types.EntityMerge:
    return types.EntityMerge(
        id=value.id,
        kept=types.Entity(value.kept.id, value.kept.name),
        merged=types.Entity(value.merged.id, value.merged.name),
        reason=value.reason,
        recorded_at=wire.read_moment(value, "recorded_at"),
        seq=value.seq,
        undone_seq=value.undone_seq,
    )


def _read_merge(response: entities_pb2.MergeEntitiesResponse | entities_pb2.UndoMergeResponse) -> types.EntityMerge:
    return _read_one_merge(response.merge)


def _read_merges(response: entities_pb2.ListMergesResponse) -> list[types.EntityMerge]:
    return [_read_one_merge(one) for one in response.merges]
