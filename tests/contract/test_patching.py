"""Patch over the wire, on the real daemon with the byte model that comes with Sapience, and the clients' method."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sapience
from grpc import StatusCode
from refusals import refusal, says
from sapience.v1 import concept_pb2
from sapience.v1 import perception_pb2 as pb

INVALID = StatusCode.INVALID_ARGUMENT
TEXT = (
    "We went up to the hut on Saturday. The path was steep, and Felix forgot the map again, so we asked a shepherd. "
    "He told us that the record is the truth, and that the index is derived from it: nobody had asked him that. "
) * 10
DATA = TEXT.encode()


@pytest.mark.parametrize("rule", [pb.PATCH_RULE_GLOBAL, pb.PATCH_RULE_MONOTONIC, pb.PATCH_RULE_COMBINED])
def test_bytes_are_cut_by_each_rule_as_it_is_calibrated(perception: Any, rule: pb.PatchRule) -> None:
    found = perception.Patch(pb.PatchRequest(data=DATA, rule=rule))
    assert sum(found.lengths) == len(DATA)
    assert 2 * len(found.lengths) == len(found.entropies)
    assert found.model == "models:byte-ngram"
    assert 2.5 < len(DATA) / len(found.lengths) < 8
    larger = perception.Patch(pb.PatchRequest(data=DATA, rule=rule, bytes_per_patch=8))
    assert len(larger.lengths) < len(found.lengths)
    fitted = perception.Patch(pb.PatchRequest(data=DATA, rule=rule, bytes_per_patch=5, fit=True))
    assert len(DATA) / len(fitted.lengths) == pytest.approx(5, rel=0.1)
    again = perception.Patch(pb.PatchRequest(
        data=DATA, rule=rule, entropy_threshold=fitted.entropy_threshold, rise_threshold=fitted.rise_threshold
    ))  # fmt: skip
    assert again.lengths == fitted.lengths


@pytest.mark.parametrize("data", [b"", bytes(range(256)), b"\xff\xfe\x80" * 50, b"a" * 1000], ids=len)
def test_any_bytes_are_cut_and_none_is_lost(perception: Any, data: bytes) -> None:
    found = perception.Patch(pb.PatchRequest(data=data, most_bytes=16))
    assert sum(found.lengths) == len(data)
    assert all(1 <= size <= 16 for size in found.lengths)


def test_a_mebibyte_in_the_smallest_patches_comes_back_in_one_message(perception: Any) -> None:
    data = bytes(1 << 20)
    found = perception.Patch(pb.PatchRequest(data=data, most_bytes=1))
    assert len(found.lengths) == len(data)


def test_the_model_is_listed(perception: Any) -> None:
    perception.Patch(pb.PatchRequest(data=DATA))
    listed = perception.ListModels(pb.PerceptionServiceListModelsRequest()).models
    model = next(one for one in listed if one.kind == concept_pb2.MODEL_KIND_PATCHER)
    assert (model.address, model.loaded, model.licence, model.device) == (
        "models:byte-ngram", True, "Apache-2.0", "cpu",
    )  # fmt: skip
    assert model.parameters > 100_000


def bad(field: str, reason: str, *words: str, **fields: Any) -> Any:
    request = pb.PatchRequest(**{"data": b"some bytes"} | fields)
    return pytest.param(request, field, reason, words, id=f"{field} {words[0][:30]}")


@pytest.mark.parametrize(("request_", "field", "reason", "words"), [
    bad("data", "TEXT_TOO_LONG", "1048577 bytes", "split it", data=bytes((1 << 20) + 1)),
    bad("rule", "INVALID_FIELD", "7", rule=7),
    bad("bytes_per_patch", "INVALID_FIELD", "nan", bytes_per_patch=float("nan")),
    bad("bytes_per_patch", "INVALID_FIELD", "-1.0", bytes_per_patch=-1),
    bad("bytes_per_patch", "INVALID_FIELD", "calibrated for 2 to 16", bytes_per_patch=100),
    bad("most_bytes", "INVALID_FIELD", "-1", "1 to 65536", most_bytes=-1),
    bad("most_bytes", "INVALID_FIELD", "65537", most_bytes=65_537),
    bad("entropy_threshold", "INVALID_FIELD", "inf", entropy_threshold=float("inf")),
    bad("entropy_threshold", "INVALID_FIELD", "fit", entropy_threshold=1, fit=True),
    bad("rise_threshold", "INVALID_FIELD", "not given", "combined", entropy_threshold=1, rule=pb.PATCH_RULE_COMBINED),
    bad("data", "INVALID_FIELD", "too few", "1,000", fit=True),
    bad("arrivals[1].end_byte", "INVALID_FIELD", "is 4", "above 4",
        arrivals=[pb.Arrival(end_byte=4), pb.Arrival(end_byte=4)]),
    bad("arrivals[0].end_byte", "INVALID_FIELD", "end at byte 4", arrivals=[pb.Arrival(end_byte=4)]),
])  # fmt: skip
def test_what_cannot_be_cut(
    perception: Any, request_: pb.PatchRequest, field: str, reason: str, words: tuple[str, ...]
) -> None:
    says(refusal(lambda: perception.Patch(request_)), INVALID, reason, field, *words)


def test_a_byte_model_that_is_not_there(perception: Any) -> None:
    refused = refusal(lambda: perception.Patch(pb.PatchRequest(data=b"a", model="models:other")))
    says(refused, StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "model", "models:other", "models:byte-ngram")


def test_the_client_gives_patches_with_their_times(daemon: Any) -> None:
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    arrivals = [(end, noon + timedelta(seconds=end)) for end in (30, 70, len(DATA))]
    with sapience.connect(daemon.address, daemon.token) as mind:
        found = mind.patch(DATA, rule="monotonic", bytes_per_patch=6, arrivals=arrivals)
        plain = mind.patch(DATA, rule=sapience.PatchRule.MONOTONIC, bytes_per_patch=6)
    assert b"".join(DATA[one.start : one.end] for one in found.patches) == DATA

    def came(byte: int) -> datetime:
        return next(time for end, time in arrivals if byte < end)

    assert all((one.began, one.ended) == (came(one.start), came(one.end - 1)) for one in found.patches)
    assert [(one.start, one.end) for one in plain.patches] == [(one.start, one.end) for one in found.patches]
    assert plain.patches[0].began is None


async def test_the_async_client_cuts_too(daemon: Any) -> None:
    async with sapience.aio.connect(daemon.address, daemon.token) as mind:
        found = await mind.patch(b"The record is the truth.")
    assert found.patches[-1].end == 24
