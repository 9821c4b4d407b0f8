"""Calls of the memory service: namespaces, Episodes and the store itself."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial

from sapience import types, wire
from sapience.calls import Call, Streaming
from sapience.errors import AlreadyExists, Internal, SapienceError
from sapience.v1 import memory_pb2

SECONDS = 30.0
"""How long a call of memory may take unless its `timeout` says otherwise."""
LONG = 120.0
"""The same for a call that may read or move all that a namespace holds."""


def new_request_id() -> str:
    """An id for one write: a retry of it under the same id is answered, not done twice."""
    return str(uuid.uuid4())


def namespaces(*, timeout: float | None = SECONDS) -> Call[list[types.Namespace]]:
    """The namespaces, by name."""
    return Call(
        "memory",
        "ListNamespaces",
        memory_pb2.ListNamespacesRequest(),
        timeout,
        default_namespace=False,
        read=lambda response: [wire.read_namespace(item) for item in response.namespaces],
    )


def create_namespace(name: str, *, exist_ok: bool = False, timeout: float | None = SECONDS) -> Call[bool]:
    """Creates a namespace: 1 to 64 of a-z, 0-9, "-", "_" and ".", beginning with a letter or a digit.

    Returns True; with `exist_ok`, False where there is one of that name. Raises AlreadyExists without it.
    """

    def recover(error: SapienceError) -> bool:
        if exist_ok and isinstance(error, AlreadyExists):
            return False
        raise error

    return Call(
        "memory",
        "CreateNamespace",
        wire.message(memory_pb2.CreateNamespaceRequest, namespace=name),
        timeout,
        default_namespace=False,
        read=lambda response: True,
        recover=recover,
    )


def delete_namespace(name: str, *, timeout: float | None = SECONDS) -> Call[int]:
    """Deletes a namespace with all that is in it. Returns how many Episodes went with it."""
    return Call(
        "memory",
        "DeleteNamespace",
        wire.message(memory_pb2.DeleteNamespaceRequest, namespace=name),
        timeout,
        default_namespace=False,
        read=lambda response: response.episodes,
    )


def remember(
    text: str,
    *,
    speaker: str = "",
    told_at: datetime | None = None,
    conversation: str = "",
    position: int = 0,
    source: str = "",
    kind: types.SourceKind | str = types.SourceKind.TESTIMONY,
    external_id: str = "",
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.Remembered]:
    """Remembers one Episode: `text` (1 byte to 64 KiB of UTF-8) as `speaker` said it at `told_at` (None: now).

    Returns once the record has it, durably. `position` is its place in `conversation`, from 0; `source` and `kind` say
    where it comes from; `external_id` is your own id for it. The same Episode told again is recognised:
    `duplicate` is True and nothing is written. `request_id` is random unless given; with your own, a retry by
    another process is recognised too.
    """
    episode = types.NewEpisode(text, speaker, told_at, conversation, position, source, kind, external_id)
    request = wire.message(
        memory_pb2.RememberRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        episodes=[wire.new_episode(episode)],
    )
    return Call("memory", "Remember", request, timeout, namespace is None, _read_one)


def _read_one(response: memory_pb2.RememberResponse) -> types.Remembered:
    if len(response.remembered) != 1:
        raise Internal(f"memory acknowledged {len(response.remembered)} Episodes of the 1 it was sent")
    return wire.read_remembered(response.remembered[0])


def recall(
    text: str,
    *,
    limit: int = 10,
    as_of: datetime | types.AsOf | None = None,
    recipe: str = "",
    speakers: Iterable[str] = (),
    kinds: Iterable[types.SourceKind | str] = (),
    conversations: Iterable[str] = (),
    told_from: datetime | None = None,
    told_to: datetime | None = None,
    token_budget: int = 0,
    page_token: str = "",
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.RecallPage]:
    """Finds the Episodes that bear on `text` (1 byte to 8 KiB of UTF-8), best first.

    `as_of` a datetime means told by then and valid then. Found is only what one of `speakers` said, of `kinds` (none
    given: testimony and documents), from `conversations`, told from `told_from` up to but not including `told_to`.
    `limit` is at most 200. `token_budget` stops before the texts exceed so many tokens (UTF-8 bytes / 4); 0 means no
    limit. `page_token` continues an earlier page of the same query.
    """
    request = wire.message(
        memory_pb2.RecallRequest,
        namespace=namespace,
        text=text,
        recipe=recipe,
        as_of=wire.as_of(as_of),
        filter=wire.message(
            memory_pb2.RecallFilter,
            speakers=wire.words(speakers, "speakers"),
            source_kinds=[wire.enum_value(types.SourceKind, kind, "kinds") for kind in wire.words(kinds, "kinds")],
            conversations=wire.words(conversations, "conversations"),
            told=wire.stretch(told_from, told_to, "told"),
        ),
        limit=limit,
        page_token=page_token,
        token_budget=token_budget,
    )
    return Call("memory", "Recall", request, timeout, namespace is None, wire.read_recall)


def why_not(
    text: str,
    episode_id: str,
    *,
    limit: int = 10,
    as_of: datetime | types.AsOf | None = None,
    recipe: str = "",
    speakers: Iterable[str] = (),
    kinds: Iterable[types.SourceKind | str] = (),
    conversations: Iterable[str] = (),
    told_from: datetime | None = None,
    told_to: datetime | None = None,
    token_budget: int = 0,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.WhyNot]:
    """Says why an Episode is not on the first page of `recall` with the same arguments."""
    asked = recall(
        text,
        limit=limit,
        as_of=as_of,
        recipe=recipe,
        speakers=speakers,
        kinds=kinds,
        conversations=conversations,
        told_from=told_from,
        told_to=told_to,
        token_budget=token_budget,
        namespace=namespace,
        timeout=timeout,
    ).request
    assert isinstance(asked, memory_pb2.RecallRequest)
    request = wire.message(
        memory_pb2.WhyNotRequest,
        namespace=namespace,
        text=text,
        recipe=recipe,
        as_of=asked.as_of,
        filter=asked.filter,
        limit=limit,
        token_budget=token_budget,
        episode_id=episode_id,
    )
    return Call("memory", "WhyNot", request, timeout, namespace is None, wire.read_why_not)


def forget(
    *,
    episode_ids: Iterable[str] = (),
    speaker: str = "",
    conversation: str = "",
    dry_run: bool = False,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.Forgotten]:
    """Deletes Episodes and all that was derived from them. At least one selector is needed; several narrow one another.

    `dry_run` counts only. What stays is an audit record with no content.
    """
    request = wire.message(
        memory_pb2.ForgetRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        episode_ids=wire.words(episode_ids, "episode_ids"),
        speaker=speaker,
        conversation=conversation,
        dry_run=dry_run,
    )
    return Call("memory", "Forget", request, timeout, namespace is None, partial(wire.read_plain, types.Forgotten))


def archive(
    *,
    episode_ids: Iterable[str] = (),
    share: float | None = None,
    threshold: float | None = None,
    dry_run: bool = False,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = LONG,
) -> Call[types.Archived]:
    """Archives Episodes: recall no longer finds them, everything else answers as before. Give one of the three.

    `share`: the least retained, until that share (0 to 1) of the namespace is archived; `threshold`: all retained less
    than that. `dry_run` lists them and archives nothing. Raises FailedPrecondition for one under a legal hold.
    """
    request = wire.message(
        memory_pb2.ArchiveRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        episode_ids=wire.words(episode_ids, "episode_ids"),
        share=share,
        threshold=threshold,
        dry_run=dry_run,
    )
    return Call("memory", "Archive", request, timeout, namespace is None, wire.read_archived)


def thaw(
    *,
    episode_ids: Iterable[str] = (),
    all: bool = False,  # noqa: A002
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = LONG,
) -> Call[types.Thawed]:
    """Makes archived Episodes found again, as they were: these, or `all`."""
    request = wire.message(
        memory_pb2.ThawRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        episode_ids=wire.words(episode_ids, "episode_ids"),
        all=all,
    )
    return Call("memory", "Thaw", request, timeout, namespace is None, partial(wire.read_plain, types.Thawed))


def set_hold(
    hold: str,
    *,
    episode_ids: Iterable[str],
    release: bool = False,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[int]:
    """Puts Episodes under the legal hold of that name, or releases them from it. Returns how many were not so already.

    While one is held, by any name, it is neither archived nor deleted.
    """
    request = wire.message(
        memory_pb2.SetHoldRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        episode_ids=wire.words(episode_ids, "episode_ids"),
        hold=hold,
        release=release,
    )
    return Call("memory", "SetHold", request, timeout, namespace is None, lambda response: response.changed)


def set_expiry(
    expires_at: datetime | None,
    *,
    episode_ids: Iterable[str],
    expiry: types.Expiry | str = types.Expiry.ARCHIVE,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[int]:
    """Sets when Episodes end, and whether they are archived or deleted then; None leaves it to the namespace."""
    request = wire.message(
        memory_pb2.SetExpiryRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        episode_ids=wire.words(episode_ids, "episode_ids"),
        expires_at=wire.timestamp(expires_at, "expires_at"),
        expiry=wire.enum_value(types.Expiry, expiry, "expiry"),
    )
    return Call("memory", "SetExpiry", request, timeout, namespace is None, lambda response: response.episodes)


def set_time_to_live(
    time_to_live: timedelta | None,
    *,
    expiry: types.Expiry | str = types.Expiry.ARCHIVE,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[bool]:
    """Sets how long a namespace keeps what has no end of its own, from `recorded_at` on; None keeps it for good."""
    request = wire.message(
        memory_pb2.SetTimeToLiveRequest,
        namespace=namespace,
        time_to_live=time_to_live,
        expiry=wire.enum_value(types.Expiry, expiry, "expiry"),
    )
    return Call("memory", "SetTimeToLive", request, timeout, namespace is None, lambda response: True)


def keeping(
    episode_ids: Iterable[str], *, namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[list[types.Keeping]]:
    """How those of the Episodes are kept that exist: holds, ends, counts of use."""
    request = wire.message(
        memory_pb2.GetKeepingRequest, namespace=namespace, episode_ids=wire.words(episode_ids, "episode_ids")
    )

    def read(response: memory_pb2.GetKeepingResponse) -> list[types.Keeping]:
        return [wire.read_keeping(one) for one in response.keepings]

    return Call("memory", "GetKeeping", request, timeout, namespace is None, read)


def export(
    *, up_to_seq: int = 0, namespace: str | None = None, timeout: float | None = None
) -> Streaming[memory_pb2.MemoryRecord]:
    """Streams all that a namespace holds, vectors included, in the order of commits: what `import_` takes.

    `up_to_seq` stops at that commit; 0 means all there is. Each item is a message of `sapience.v1.memory_pb2`.
    """
    request = wire.message(memory_pb2.ExportRequest, namespace=namespace, up_to_seq=up_to_seq)
    return Streaming("memory", "Export", request, timeout, namespace is None, lambda response: response.record)


def import_opening(namespace: str, bring_back: bool = False) -> memory_pb2.ImportRequest:
    """The first request of an import: it names the namespace and holds nothing, so that an import may be empty."""
    return wire.message(memory_pb2.ImportRequest, namespace=namespace, bring_back=bring_back)


def import_record(record: memory_pb2.MemoryRecord) -> memory_pb2.ImportRequest:
    """A later request of an import."""
    return wire.message(memory_pb2.ImportRequest, record=record)


def stats(*, namespace: str | None = None, timeout: float | None = SECONDS) -> Call[types.Stats]:
    """Counts of a namespace, and how far its index is behind; `namespace=""` means the whole store."""
    request = wire.message(memory_pb2.StatsRequest, namespace=namespace)
    return Call("memory", "Stats", request, timeout, namespace is None, partial(wire.read_plain, types.Stats))
