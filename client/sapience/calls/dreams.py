"""Calls of the memory service about Dreams."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from google.protobuf.duration_pb2 import Duration

from sapience import dreams as types
from sapience import wire
from sapience.calls import Call, Streaming
from sapience.calls.memory import LONG, SECONDS, new_request_id
from sapience.v1 import dream_pb2 as pb


def dream(
    *,
    kinds: Iterable[types.DreamKind | str] = (),
    automatic: bool = False,
    budget: types.DreamBudget | None = None,
    request_id: str | None = None,
    namespace: str | None = None,
    timeout: float | None = SECONDS,
) -> Call[str]:
    """Begins to consolidate memories; no `kinds` means every kind. Returns the Dream's id at once.

    It reads and proposes changes, which `get_dream` shows and `approve_dream` applies; `automatic` applies them without
    asking. Raises FailedPrecondition while another Dream of the namespace is at work.
    """
    request = wire.message(
        pb.DreamRequest,
        namespace=namespace,
        request_id=request_id or new_request_id(),
        kinds=[wire.enum_value(types.DreamKind, kind, "kinds") for kind in wire.words(kinds, "kinds")],
        budget=_budget(budget),
        automatic=automatic,
    )
    return Call("memory", "Dream", request, timeout, namespace is None, lambda response: str(response.run.id))


def get_dream(
    dream_id: str, *, after: int = 0, limit: int = 100, namespace: str | None = None, timeout: float | None = LONG
) -> Call[types.DreamDiff]:
    """A Dream with its changes as a diff: those after the ordinal `after`, at most `limit` (at most 1,000)."""
    request = wire.message(pb.GetDreamRequest, namespace=namespace, dream_id=dream_id, after=after, limit=limit)
    return Call("memory", "GetDream", request, timeout, namespace is None, _read_diff)


def dreams(
    *, limit: int = 50, namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[list[types.Dream]]:
    """The last Dreams of a namespace, newest first, at most 1,000."""
    request = wire.message(pb.ListDreamsRequest, namespace=namespace, limit=limit)

    def read(response: pb.ListDreamsResponse) -> list[types.Dream]:
        return [read_dream(one) for one in response.dreams]

    return Call("memory", "ListDreams", request, timeout, namespace is None, read)


def watch_dream(
    dream_id: str, *, after_version: int = 0, namespace: str | None = None, timeout: float | None = None
) -> Streaming[types.Dream]:
    """Streams a Dream as it goes on, until it waits for approval or has ended.

    `after_version` resumes after the last `version` that was seen.
    """
    request = wire.message(pb.WatchDreamRequest, namespace=namespace, dream_id=dream_id, after_version=after_version)
    return Streaming("memory", "WatchDream", request, timeout, namespace is None, _read_moved)


def approve_dream(
    dream_id: str, *, changes: Iterable[int] = (), namespace: str | None = None, timeout: float | None = SECONDS
) -> Call[types.Dream]:
    """Lets a Dream apply these changes, by ordinal, and declines the others; none given means all. Returns at once."""
    request = wire.message(pb.ApproveDreamRequest, namespace=namespace, dream_id=dream_id, changes=list(changes))
    return Call("memory", "ApproveDream", request, timeout, namespace is None, _read_moved)


def undo_dream(dream_id: str, *, namespace: str | None = None, timeout: float | None = SECONDS) -> Call[types.Dream]:
    """Begins to take back all that a Dream changed, and returns at once; `watch_dream` says when it is done."""
    request = wire.message(pb.UndoDreamRequest, namespace=namespace, dream_id=dream_id)
    return Call("memory", "UndoDream", request, timeout, namespace is None, _read_moved)


def cancel_dream(dream_id: str, *, namespace: str | None = None, timeout: float | None = SECONDS) -> Call[types.Dream]:
    """Gives a Dream up. What it had applied stays, until it is undone."""
    request = wire.message(pb.CancelDreamRequest, namespace=namespace, dream_id=dream_id)
    return Call("memory", "CancelDream", request, timeout, namespace is None, _read_moved)


def _budget(value: types.DreamBudget | None) -> pb.DreamBudget | None:
    if value is None:
        return None
    wall = None
    if value.wall is not None:
        wall = Duration()
        wall.FromTimedelta(value.wall)
    return wire.message(
        pb.DreamBudget, episodes=value.episodes, changes=value.changes, wall=wall, readings=value.readings
    )


def read_dream(value: pb.Dream) -> types.Dream:
    """A Dream as it is kept."""
    return types.Dream(
        id=value.id,
        namespace=value.namespace,
        kinds=tuple(wire.read_enum(types.DreamKind, kind) for kind in value.kinds),
        automatic=value.automatic,
        state=wire.read_enum(types.DreamState, value.state),
        episodes=value.episodes,
        total=value.total,
        done=value.done,
        message=value.message,
        started_at=wire.read_moment(value, "started_at"),
        ended_at=wire.read_time(value, "ended_at"),
        version=value.version,
    )


def _read_moved(response: Any) -> types.Dream:
    return read_dream(response.dream)


def _read_diff(response: pb.GetDreamResponse) -> types.DreamDiff:
    return types.DreamDiff(
        read_dream(response.dream),
        tuple(
            types.DreamChange(
                ordinal=change.ordinal,
                kind=wire.read_enum(types.DreamKind, change.kind),
                state=wire.read_enum(types.DreamChangeState, change.state),
                reason=change.reason,
                score=change.score,
                lines=tuple(_read_line(line) for line in change.lines),
            )
            for change in response.changes
        ),
        response.more,
    )


def _read_line(line: pb.DiffLine) -> types.DiffLine:
    return types.DiffLine(
        sign=wire.read_enum(types.Sign, line.sign),
        episode_id=line.episode_id,
        fact_id=line.fact_id,
        text=line.text,
        speaker=line.speaker,
        told_at=wire.read_time(line, "told_at"),
        uses=line.uses,
        same_as=line.same_as,
    )
