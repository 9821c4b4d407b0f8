"""Waiting for what follows a write by itself: what Episodes mention and state is read after they are acknowledged."""

from __future__ import annotations

import time
from typing import Any

from sapience.v1 import memory_pb2 as pb

LONGEST_S = 60.0


def settled(memory: Any, namespace: str = "") -> pb.StatsResponse:
    """The counts once every Episode has been read; of the whole store where no namespace is given."""
    until = time.monotonic() + LONGEST_S
    while True:
        counts: pb.StatsResponse = memory.Stats(pb.StatsRequest(namespace=namespace))
        if counts.extracted_seq >= counts.seq:
            return counts
        assert time.monotonic() < until, f"extraction stands at {counts.extracted_seq} of {counts.seq}"
        time.sleep(0.02)


def indexed(memory: Any) -> None:
    """Returns once the index has taken every write: on a busy machine that may be later than a recall waits for."""
    until = time.monotonic() + LONGEST_S
    while pending := memory.Stats(pb.StatsRequest()).outbox_pending:
        assert time.monotonic() < until, f"{pending} changes wait for the index"
        time.sleep(0.02)
