"""The call of the perception service that cuts bytes into patches."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate, pairwise
from typing import Any

from sapience import wire
from sapience.calls import Call
from sapience.calls.memory import SECONDS
from sapience.patches import BytePatch, Patched, PatchRule
from sapience.v1 import perception_pb2 as pb


def patch(
    data: bytes,
    *,
    rule: PatchRule | str = PatchRule.GLOBAL,
    bytes_per_patch: float = 0.0,
    fit: bool = False,
    entropy_threshold: float | None = None,
    rise_threshold: float | None = None,
    most_bytes: int = 0,
    arrivals: Iterable[tuple[int, datetime]] = (),
    model: str = "",
    timeout: float | None = SECONDS,
) -> Call[Patched]:
    """Cuts bytes, at most 1 MiB, into patches that begin where the next byte is hard to foresee. Nothing is lost.

    `bytes_per_patch` is the mean that the model's thresholds are calibrated for (0: 4.5); `fit` looks for thresholds
    that give these bytes that mean; `entropy_threshold` and `rise_threshold`, in nats, are given in its place.
    `most_bytes` is the longest patch (0: 64). `arrivals` say when the bytes came: (first byte after a piece, its time).
    """
    came = list(arrivals)
    request = wire.message(
        pb.PatchRequest,
        data=data,
        rule=wire.enum_value(PatchRule, rule, "rule"),
        model=model,
        bytes_per_patch=bytes_per_patch,
        fit=fit,
        entropy_threshold=entropy_threshold,
        rise_threshold=rise_threshold,
        most_bytes=most_bytes,
        arrivals=[
            wire.message(pb.Arrival, end_byte=end, time=wire.timestamp(time, f"arrivals[{number}]"))
            for number, (end, time) in enumerate(came)
        ],
    )
    times = [time for _, time in came]
    return Call("perception", "Patch", request, timeout, False, lambda response: _read(response, times))


def _halves(data: bytes) -> tuple[float, ...]:
    """Numbers in half precision."""
    return struct.unpack(f"<{len(data) // 2}e", data)


def _read(response: pb.PatchResponse, times: Sequence[datetime]) -> Patched:
    bounds = pairwise(accumulate(response.lengths, initial=0))
    known: Iterable[tuple[Any, Any]] = ((None, None) for _ in response.lengths)
    if times:
        known = ((times[began], times[ended]) for began, ended in zip(response.began, response.ended, strict=True))
    return Patched(
        tuple(
            BytePatch(start, end, entropy, began, ended)
            for (start, end), entropy, (began, ended) in zip(bounds, _halves(response.entropies), known, strict=False)
        ),
        response.model,
        response.entropy_threshold,
        response.rise_threshold,
    )
