"""Patch: bytes into patches that are easy to foresee once begun."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import grpc
import numpy as np
from sapience.v1 import perception_pb2 as pb

from core.errors import FailedPrecondition, InvalidArgument, NotFound
from perception.segment.patcher import Patcher
from perception.segment.patches import LIMIT, MOST_BYTES, Cut, Rule, Thresholds, patch
from services.perception.hosting import Hosted

MAX_BYTES = 1 << 20
MAX_ARRIVALS = 65_536
Context = grpc.aio.ServicerContext[Any, Any]

_RULES = {
    pb.PATCH_RULE_UNSPECIFIED: Rule.GLOBAL,
    pb.PATCH_RULE_GLOBAL: Rule.GLOBAL,
    pb.PATCH_RULE_MONOTONIC: Rule.MONOTONIC,
    pb.PATCH_RULE_COMBINED: Rule.COMBINED,
}


class PatchingCalls:
    """What cuts bytes."""

    _patcher: Hosted[Patcher] | None

    async def Patch(self, request: pb.PatchRequest, context: Context) -> pb.PatchResponse:
        """Cuts on the byte model's thread."""
        hosted = self._patcher
        if hosted is None:
            raise FailedPrecondition(
                "this service has no byte model; set SAPIENCE_BYTE_MODEL, for example to models:byte-ngram",
                reason="NO_PATCHER",
            )
        if request.model not in ("", hosted.address):
            raise NotFound(
                f"no byte model {request.model!r} is here, but {hosted.address!r} (SAPIENCE_BYTE_MODEL)",
                reason="MODEL_NOT_FOUND",
                field="model",
            )
        rule = _checked(request)
        response: pb.PatchResponse = await hosted.run(partial(_patched, request=request, rule=rule))
        response.model = hosted.address
        return response


def _checked(request: pb.PatchRequest) -> Rule:
    """Everything that can be told without the model."""
    if len(request.data) > MAX_BYTES:
        raise InvalidArgument(
            f"data has {len(request.data)} bytes; the most is {MAX_BYTES}: split it",
            field="data",
            reason="TEXT_TOO_LONG",
        )
    rule = _RULES.get(request.rule)
    if rule is None:
        raise InvalidArgument(f"rule is {request.rule}, which is none; see PatchRule", field="rule")
    if not math.isfinite(request.bytes_per_patch) or request.bytes_per_patch < 0:
        raise InvalidArgument(
            f"bytes_per_patch is {request.bytes_per_patch}; give a mean in bytes, or 0 for 4.5", field="bytes_per_patch"
        )
    if not 0 <= request.most_bytes <= LIMIT:
        raise InvalidArgument(
            f"most_bytes is {request.most_bytes}; give 1 to {LIMIT}, or 0 for {MOST_BYTES}", field="most_bytes"
        )
    needed = {Rule.GLOBAL: ("entropy",), Rule.MONOTONIC: ("rise",), Rule.COMBINED: ("entropy", "rise")}[rule]
    for name in ("entropy", "rise"):
        field = f"{name}_threshold"
        if not request.HasField(field):  # type: ignore[arg-type]  # one of two names
            continue
        if not math.isfinite(value := getattr(request, field)):
            raise InvalidArgument(f"{field} is {value}; give a number of nats", field=field)
        if request.fit or request.bytes_per_patch:
            raise InvalidArgument(
                f"{field} is given, and so is {'fit' if request.fit else 'bytes_per_patch'}, which looks for it; give "
                "one of the two",
                field=field,
            )
    if _own_thresholds(request) and not all(request.HasField(f"{name}_threshold") for name in needed):  # type: ignore[arg-type]
        missing = next(f"{name}_threshold" for name in needed if not request.HasField(f"{name}_threshold"))  # type: ignore[arg-type]
        raise InvalidArgument(f"{missing} is not given, and the {rule} rule looks at it; give it", field=missing)
    _check_arrivals(request)
    return rule


def _own_thresholds(request: pb.PatchRequest) -> bool:
    return request.HasField("entropy_threshold") or request.HasField("rise_threshold")


def _check_arrivals(request: pb.PatchRequest) -> None:
    if len(request.arrivals) > MAX_ARRIVALS:
        raise InvalidArgument(
            f"arrivals holds {len(request.arrivals)}; give at most {MAX_ARRIVALS}", field="arrivals", reason="BAD_BATCH"
        )
    before = 0
    for number, one in enumerate(request.arrivals):
        field = f"arrivals[{number}].end_byte"
        if not before < one.end_byte <= len(request.data):
            raise InvalidArgument(
                f"{field} is {one.end_byte}; it has to be above {before}, and at most the {len(request.data)} bytes "
                "there are",
                field=field,
            )
        before = one.end_byte
    if request.arrivals and before != len(request.data):
        raise InvalidArgument(
            f"arrivals end at byte {before}, and data at {len(request.data)}; the last one has to end with the bytes",
            field=f"arrivals[{len(request.arrivals) - 1}].end_byte",
        )


def _patched(patcher: Patcher, request: pb.PatchRequest, rule: Rule) -> pb.PatchResponse:
    """Cuts, and writes the answer; on the model's thread, since a message of a million patches takes its time too."""
    most = request.most_bytes or MOST_BYTES
    if request.fit:
        how, found = patcher.fit(request.data, rule, mean=request.bytes_per_patch, most_bytes=most)
    else:
        if _own_thresholds(request):
            how = Cut(rule, Thresholds(request.entropy_threshold, request.rise_threshold), most)
        else:
            how = patcher.cut_for(rule, mean=request.bytes_per_patch, most_bytes=most)
        found = patch(patcher.model, request.data, how)
    response = pb.PatchResponse(
        lengths=np.diff(found.ends, prepend=0).tolist(),
        entropies=found.entropies.astype("<f2").tobytes(),
        entropy_threshold=how.thresholds.entropy,
        rise_threshold=how.thresholds.rise,
    )
    if request.arrivals:
        came = np.array([one.end_byte for one in request.arrivals])
        response.began.extend(np.searchsorted(came, found.starts, side="right").tolist())
        response.ended.extend(np.searchsorted(came, found.ends - 1, side="right").tolist())
    return response
