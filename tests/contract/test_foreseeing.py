"""Predict, Continue and Decode by the models that come with Sapience, over the wire."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sapience
from grpc import StatusCode
from refusals import async_refusal, refusal, says
from sapience.v1 import concept_pb2, perception_pb2, perception_pb2_grpc
from servers import serving

from services import assembly

pytest.importorskip("torch")

CODEC, MODEL = "models:concept-codec", "models:concept-lcm"
BEFORE = ["Nora wanted to buy a red bicycle.", "The bicycle cost 60 euros.", "Nora saved 20 euros every week."]


@pytest.fixture(scope="module")
def client(daemon: Any) -> Iterator[sapience.Client]:
    with sapience.connect(daemon.address, daemon.token) as connected:
        yield connected


def test_a_concept_is_foreseen_with_its_words_and_their_round_trip(client: sapience.Client, perception: Any) -> None:
    foreseen = client.predict(BEFORE)
    assert foreseen.text.endswith(".")
    assert -1 <= foreseen.round_trip <= 1 + 1e-6
    assert foreseen.vector.space == "concept-codec"
    # The words are those of Decode, and the round trip is that of Encode.
    decoded = perception.Decode(perception_pb2.DecodeRequest(vectors=_tensor(foreseen.vector)))
    assert (list(decoded.texts), decoded.model) == ([foreseen.text], CODEC)
    assert decoded.round_trip[0] == pytest.approx(foreseen.round_trip, abs=1e-5)
    # By vectors instead of texts it is the same Concept.
    vectors = client.encode(BEFORE, model=CODEC)
    again = client.predict(vectors)
    assert again.text == foreseen.text
    assert np.allclose(again.vector.rows(), foreseen.vector.rows(), atol=1e-5)
    listed = perception.ListModels(perception_pb2.PerceptionServiceListModelsRequest())
    kinds = {(one.address, one.kind): one for one in listed.models}
    assert kinds[MODEL, concept_pb2.MODEL_KIND_CONCEPT_MODEL].loaded
    assert kinds[CODEC, concept_pb2.MODEL_KIND_DECODER].parameters > 1_000_000


def test_a_text_goes_on_until_it_ends_and_the_seed_repeats_it(client: sapience.Client, perception: Any) -> None:
    first = list(client.continue_text(BEFORE, most=4, seed=3))
    again = list(client.continue_text(BEFORE, most=4, seed=3))
    assert first == again
    *concepts, end = first
    assert len(concepts) <= 4
    assert all(isinstance(one, sapience.Foreseen) for one in concepts)
    assert isinstance(end, sapience.ContinuationEnd)
    assert (end.reason is sapience.ContinueReason.LENGTH) == (len(concepts) == 4)
    # A cosine that every Concept reaches ends the text at once.
    ended = list(client.continue_text(["End of text.", "End of text."], most=4, stop_cosine=1e-9))
    assert ended[-1].reason in (sapience.ContinueReason.OF_TEXT, sapience.ContinueReason.REPEATED)  # type: ignore[union-attr]


def test_what_cannot_be_foreseen_is_refused_with_the_field(client: sapience.Client, perception: Any) -> None:
    vectors = _tensor(client.encode(BEFORE))  # MiniLM's space
    cases: list[tuple[dict[str, Any], StatusCode, str, str]] = [
        ({}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "texts"),
        ({"texts": [""]}, StatusCode.INVALID_ARGUMENT, "EMPTY_TEXT", "texts[0]"),
        ({"texts": ["a"] * 257}, StatusCode.INVALID_ARGUMENT, "BAD_BATCH", "texts"),
        ({"texts": BEFORE, "context": vectors}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "texts"),
        ({"texts": BEFORE, "guidance": float("nan")}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "guidance"),
        ({"texts": BEFORE, "steps": 101}, StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", "steps"),
        ({"texts": BEFORE, "model": "models:none"}, StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", "model"),
        ({"context": vectors}, StatusCode.FAILED_PRECONDITION, "SPACE_MISMATCH", "context"),
    ]  # fmt: skip
    for fields, code, reason, field in cases:
        request = perception_pb2.PredictRequest(**fields)
        says(refusal(partial(perception.Predict, request)), code, reason, field)
    with pytest.raises(sapience.InvalidArgument, match="most_concepts"):
        _ = list(client.continue_text(BEFORE, most=129))


async def test_a_service_without_models_says_which_setting_names_them(tmp_path: Path) -> None:
    def make(settings: Any, address: str) -> list[Any]:
        return [assembly.build("perception", settings, assembly.Links(settings, here=address))]

    async with serving(tmp_path, make, codec="", concept_models="") as served:
        stub = perception_pb2_grpc.PerceptionServiceStub(served.channel)
        refused = await async_refusal(stub.Predict(perception_pb2.PredictRequest(texts=BEFORE)))
        says(refused, StatusCode.FAILED_PRECONDITION, "NO_CONCEPT_MODEL", "", "SAPIENCE_CONCEPT_MODELS")


def _tensor(value: sapience.Tensor) -> concept_pb2.Tensor:
    return concept_pb2.Tensor(
        space=value.space,
        space_version=value.space_version,
        dtype=concept_pb2.DTYPE_FLOAT32,
        shape=value.shape,
        data=value.data,
    )
