"""Calls of the memory service that move a whole store, or mend what is derived from it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from sapience import types, wire
from sapience.calls import Streaming
from sapience.v1 import moving_pb2


def backup(
    *,
    namespaces: Iterable[str] = (),
    up_to_seq: int = 0,
    recorded_by: datetime | None = None,
    since_seq: int = 0,
    timeout: float | None = None,
) -> Streaming[moving_pb2.BackupPart]:
    """Streams all that the store holds, or these namespaces, each thing with its own number: what `restore` takes.

    It ends with commit `up_to_seq`, or with the last one at or before `recorded_by`, or now; it begins after
    `since_seq`, where an earlier backup ended. Each item is a message of `sapience.v1.moving_pb2`, the header first.
    """
    request = wire.message(
        moving_pb2.BackupRequest,
        namespaces=wire.words(namespaces, "namespaces"),
        since_seq=since_seq,
        up_to_seq=up_to_seq or None,
        recorded_by=wire.timestamp(recorded_by, "recorded_by"),
    )
    return Streaming("memory", "Backup", request, timeout, False, lambda response: response.part)


def restore_opening(header: moving_pb2.BackupHeader, up_to_seq: int, bring_back: bool) -> moving_pb2.RestoreRequest:
    """The first request of a restore."""
    return moving_pb2.RestoreRequest(
        begin=moving_pb2.RestoreBegin(header=header, up_to_seq=up_to_seq, bring_back=bring_back)
    )


def restore_part(part: moving_pb2.BackupPart) -> moving_pb2.RestoreRequest:
    """A later request of a restore."""
    return moving_pb2.RestoreRequest(part=part)


def rebuild_index(
    repair: types.IndexRepair | str = types.IndexRepair.MEND,
    *,
    namespace: str | None = None,
    timeout: float | None = None,
) -> Streaming[types.IndexState]:
    """Compares the index with the record and mends it ("mend"), writes it again ("rewrite"), or only looks ("check").

    Streams how far it has come, namespace by namespace; `namespace=""` means all of them. Recall goes on meanwhile.
    """
    request = wire.message(
        moving_pb2.RebuildIndexRequest,
        namespace=namespace,
        repair=wire.enum_value(types.IndexRepair, repair, "repair"),
    )
    read = partial(wire.read_plain, types.IndexState)
    return Streaming("memory", "RebuildIndex", request, timeout, namespace is None, read)
