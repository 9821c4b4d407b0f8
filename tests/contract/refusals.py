"""How a call was refused: its status and the details that the contract promises."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode
from sapience.v1 import concept_pb2, memory_pb2
from settling import settled

DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Refusal:
    """One refused call, or one refused item of a stream."""

    code: StatusCode
    message: str
    reason: str = ""
    domain: str = ""
    field: str = ""
    retry_after_s: float = 0.0


def refusal(call: Callable[[], Any]) -> Refusal:
    """Makes a call, reads its stream to the end where it has one, and tells how it was refused."""
    with pytest.raises(grpc.RpcError) as caught:
        _read_to_the_end(call())
    return told(caught.value)


def _read_to_the_end(answer: Any) -> None:
    if isinstance(answer, Iterable):
        list(answer)


async def async_refusal(call: Awaitable[Any]) -> Refusal:
    """The same for a call on the event loop."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return told(caught.value)


def told(error: Any) -> Refusal:
    """Reads an error of a call."""
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS:
            status = status_pb2.Status.FromString(value)
            assert status.code == error.code().value[0], "the rich status says another code"
            assert status.message == error.details(), "the rich status says another message"
            return read(status)
    return Refusal(error.code(), error.details())


def read(status: status_pb2.Status) -> Refusal:
    """Reads a rich status."""
    code = next(code for code in StatusCode if code.value[0] == status.code)
    about = error_details_pb2.ErrorInfo()
    wrong = error_details_pb2.BadRequest()
    again = error_details_pb2.RetryInfo()
    for detail in status.details:
        assert any(detail.Unpack(kind) for kind in (about, wrong, again)), f"an unknown detail: {detail.type_url}"
    for violation in wrong.field_violations:
        assert violation.description == status.message
        assert violation.reason == about.reason
    field = wrong.field_violations[0].field if wrong.field_violations else ""
    return Refusal(
        code, status.message, about.reason, about.domain, field, again.retry_delay.ToTimedelta().total_seconds()
    )


def says(refused: Refusal, code: StatusCode, reason: str, field: str, *words: str) -> None:
    """Holds a refusal to the contract: code, reason, field, and a message with the value at fault and the mend."""
    assert (refused.code, refused.reason, refused.field) == (code, reason, field), refused
    assert refused.domain == "sapience"
    for word in words:
        assert word in refused.message, refused


def stats(memory: Any, namespace: str = "") -> memory_pb2.StatsResponse:
    """What a namespace holds. `seq` is of the whole store, so two equal ones mean that nothing at all was committed.

    Waits until what was told before is read for what it states: that commits too.
    """
    counts = settled(memory, namespace)
    counts.indexed = counts.outbox_pending = 0  # the index follows in its own time
    return counts


def episode(text: str, **fields: Any) -> memory_pb2.NewEpisode:
    """An Episode to be remembered."""
    return memory_pb2.NewEpisode(text=text, **fields)


def remembered(memory: Any, namespace: str, *episodes: memory_pb2.NewEpisode) -> list[str]:
    """Remembers, and returns the ids."""
    answer = memory.Remember(memory_pb2.RememberRequest(namespace=namespace, episodes=episodes))
    return [one.episode_id for one in answer.remembered]


def tensor(space: str, version: str, vectors: Any, dtype: str = "<f4") -> concept_pb2.Tensor:
    """A Tensor of a numpy batch."""
    kind = concept_pb2.DTYPE_FLOAT16 if dtype == "<f2" else concept_pb2.DTYPE_FLOAT32
    return concept_pb2.Tensor(
        space=space, space_version=version, dtype=kind, shape=vectors.shape, data=vectors.astype(dtype).tobytes()
    )
