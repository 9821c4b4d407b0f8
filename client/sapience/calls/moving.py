"""Calls of the memory service that move a whole store, mend what is derived from it, or correct what was said."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial

from sapience import types, wire
from sapience.calls import Call, Streaming
from sapience.calls.memory import SECONDS, new_request_id
from sapience.errors import InvalidArgument
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


def correct_fact(
    fact_id: str,
    *,
    entity: str | None = None,
    literal: str | None = None,
    from_: datetime | None = None,
    told_at: datetime | None = None,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[types.Corrected]:
    """Takes the statement of a Fact back and says another object in its place, in one transaction.

    Exactly one of `entity` (by name) and `literal`. It counts from `from_` on (None: for as long as the wrong Fact was
    said to hold); `told_at` is when its source said so (None: now).
    """
    if (entity is None) == (literal is None):
        raise InvalidArgument(
            f"object: entity={entity!r} and literal={literal!r} were given; give exactly one of them",
            reason="INVALID_FIELD",
            field="object",
        )
    request = wire.message(
        moving_pb2.CorrectFactRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        fact_id=fact_id,
        entity=entity,
        literal=literal,
        told_at=wire.timestamp(told_at, "told_at"),
        **{"from": wire.timestamp(from_, "from")},
    )

    def read(response: moving_pb2.CorrectFactResponse) -> types.Corrected:
        kept = tuple(map(wire.read_fact, response.kept))
        return types.Corrected(wire.read_fact(response.retraction), wire.read_fact(response.assertion), kept)

    return Call("memory", "CorrectFact", request, timeout, namespace is None, read)


def undo_fact(
    fact_id: str = "",
    *,
    seq: int = 0,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[list[types.Fact]]:
    """Takes back that a version of a Fact was added: the one of that id, or of commit `seq`. Gives what was added.

    Nothing is overwritten: an answer as of an earlier commit still has it. Raises FailedPrecondition where it has no
    effect (any more).
    """
    request = wire.message(
        moving_pb2.UndoFactRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        fact_id=fact_id or None,
        seq=seq or None,
    )

    def read(response: moving_pb2.UndoFactResponse) -> list[types.Fact]:
        return [wire.read_fact(one) for one in response.facts]

    return Call("memory", "UndoFact", request, timeout, namespace is None, read)
