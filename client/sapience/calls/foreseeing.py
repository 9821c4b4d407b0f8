"""Calls that foresee: the Concept that a concept model expects after others, or several one after another."""

from __future__ import annotations

from collections.abc import Iterable

from sapience import types, wire
from sapience.calls import Call, Streaming
from sapience.calls.thinking import THINKING_SECONDS
from sapience.errors import InvalidArgument
from sapience.v1 import perception_pb2

Before = Iterable[str] | types.Tensor


def predict(
    before: Before,
    *,
    model: str = "",
    seed: int = 0,
    guidance: float = 0.0,
    steps: int = 0,
    timeout: float | None = THINKING_SECONDS,
) -> Call[types.Foreseen]:
    """The sentence that a concept model expects after others: its vector, the words for it, and how well they fit.

    `before` is sentences, oldest first and at most 256, or their vectors in the space of the model (`encode` with its
    codec gives them). `seed`, `guidance` and `steps` are for models that draw; 0 means the model's own.
    """
    request = _request(before, model, seed, guidance, steps)
    return Call("perception", "Predict", request, timeout, False, lambda response: _read(response.concept))


def continue_text(
    before: Before,
    *,
    most: int = 0,
    stop_cosine: float = 0.0,
    model: str = "",
    seed: int = 0,
    guidance: float = 0.0,
    steps: int = 0,
    timeout: float | None = THINKING_SECONDS,
) -> Streaming[types.Foreseen | types.ContinuationEnd]:
    """The sentences that a concept model expects one after another, and at last why it ended.

    At most `most` of them (1 to 128; 0 means 16). The text ends where a Concept's cosine to the one that means the end
    of a text is at least `stop_cosine` (0 means 0.9), and where it begins to repeat itself. See `predict` for the rest.
    """
    request = wire.message(
        perception_pb2.ContinueRequest,
        most_concepts=most,
        stop_cosine=stop_cosine,
        **{"from": _request(before, model, seed, guidance, steps)},
    )
    return Streaming("perception", "Continue", request, timeout, False, _read_step)


def _request(before: Before, model: str, seed: int, guidance: float, steps: int) -> perception_pb2.PredictRequest:
    if isinstance(before, str):
        raise InvalidArgument("before is one text; give a list of sentences", reason="INVALID_FIELD", field="before")
    given = (
        {"context": wire.tensor(before, "before")}
        if isinstance(before, types.Tensor)
        else {"texts": wire.words(before, "before")}
    )
    return wire.message(
        perception_pb2.PredictRequest, model=model, seed=seed, guidance=guidance, steps=steps, **given
    )  # fmt: skip


def _read(value: perception_pb2.PredictedConcept) -> types.Foreseen:
    return types.Foreseen(wire.read_tensor(value.vector), value.text, value.round_trip)


def _read_step(response: perception_pb2.ContinueResponse) -> types.Foreseen | types.ContinuationEnd | None:
    if response.HasField("concept"):
        return _read(response.concept)
    if not response.end:
        return None
    return types.ContinuationEnd(wire.read_enum(types.ContinueReason, response.end))
