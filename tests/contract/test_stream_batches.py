"""RememberStream with many Episodes in a message: acknowledged one by one, refused one by one, bounded."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from refusals import episode, read, refusal, says, stats
from sapience.v1 import memory_pb2 as pb

NOON = Timestamp(seconds=1_700_000_000)


def batch(seq: int, *texts: str, namespace: str = "") -> pb.RememberStreamRequest:
    told = [episode(text, told_at=NOON) for text in texts]
    return pb.RememberStreamRequest(namespace=namespace, client_seq=seq, episodes=told)


def test_a_batch_is_acknowledged_at_once_and_a_bad_one_of_it_is_refused_alone(memory: Any, namespace: str) -> None:
    requests = [
        batch(10, "It rained.", " ", "It snowed.", namespace=namespace),
        pb.RememberStreamRequest(client_seq=13, episode=episode("It hailed.")),
        batch(14, "It rained."),
    ]
    first, single, last = memory.RememberStream(iter(requests))
    assert [one.client_seq for one in (first, single, last)] == [10, 13, 14]
    assert [one.WhichOneof("outcome") for one in first.outcomes] == ["remembered", "error", "remembered"]
    assert first.WhichOneof("outcome") is None
    refused = read(first.outcomes[1].error)
    says(refused, StatusCode.INVALID_ARGUMENT, "EMPTY_TEXT", "episodes[1].text")
    assert single.HasField("remembered")
    assert not single.outcomes
    (again,) = last.outcomes
    assert again.remembered.duplicate
    assert again.remembered.episode_id == first.outcomes[0].remembered.episode_id
    assert stats(memory, namespace).episodes == 3


@pytest.mark.parametrize(
    ("request_", "reason", "field"),
    [
        (batch(1, *["Rain."] * 1025), "BAD_BATCH", "episodes"),
        (
            pb.RememberStreamRequest(episode=episode("Rain."), episodes=[episode("Rain.")]),
            "INVALID_FIELD",
            "episode",
        ),
    ],
    ids=["too many", "both"],
)
def test_what_a_request_may_hold(
    memory: Any, namespace: str, request_: pb.RememberStreamRequest, reason: str, field: str
) -> None:
    asked = pb.RememberStreamRequest()
    asked.CopyFrom(request_)
    asked.namespace = namespace
    refused = refusal(lambda: list(memory.RememberStream(iter([asked]))))
    says(refused, StatusCode.INVALID_ARGUMENT, reason, field)
    assert stats(memory, namespace).episodes == 0
