"""Predict and Continue: the Concepts that a concept model expects, and the words that its codec has for them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import structlog
from sapience.v1 import perception_pb2 as pb

from core.errors import FailedPrecondition, InvalidArgument, NotFound, SapienceError
from core.nouns import Float32
from perception.encoders.base import Encoder
from perception.lcm.ending import STOP_COSINE, Asked, End, Ending, end_of_text
from services import wire
from services.perception.decoding import DecodingCalls
from services.perception.hosting import Hosted

if TYPE_CHECKING:
    from perception.lcm.foreseeing import ConceptModel

log = structlog.get_logger()

MAX_CONTEXT = 256
MAX_CONCEPTS = 128
DEFAULT_CONCEPTS = 16
MAX_GUIDANCE = 20.0
MAX_STEPS = 100
Context = grpc.aio.ServicerContext[Any, Any]

_ENDS = {
    End.END_OF_TEXT: pb.CONTINUE_END_OF_TEXT,
    End.LENGTH: pb.CONTINUE_END_LENGTH,
    End.REPEATED: pb.CONTINUE_END_REPEATED,
}


class ForeseeingCalls(DecodingCalls):
    """What comes next. A call computes one Concept at a time, so that others take turns and a cancel ends it soon."""

    _concept_models: list[Hosted[ConceptModel]]

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        """The next Concept."""
        asked = _asked(request, "")
        hosted = self._concept_model_named(request.model, "")
        model = await hosted.get()
        before = await self._before(request, model, "")
        vector = await hosted.worker.run(model.predict, before, asked)
        concept, _ = await self._in_words(vector, model)
        return pb.PredictResponse(concept=concept, model=hosted.address)

    async def Continue(self, request: pb.ContinueRequest, context: Context) -> AsyncIterator[pb.ContinueResponse]:
        """The next Concepts. Each is foreseen from those before as its words have them, where it has words."""
        source = getattr(request, "from")
        asked = _asked(source, "from.")
        most, stop = request.most_concepts or DEFAULT_CONCEPTS, request.stop_cosine or STOP_COSINE
        if not 1 <= most <= MAX_CONCEPTS:
            raise InvalidArgument(f"most_concepts is {most}; give 1 to {MAX_CONCEPTS}", field="most_concepts")
        if not 0 < stop <= 1:
            raise InvalidArgument(f"stop_cosine is {stop}; give a number above 0, at most 1", field="stop_cosine")
        hosted = self._concept_model_named(source.model, "from.")
        model = await hosted.get()
        before = await self._before(source, model, "from.")
        encoder = await self._codec_of(model)
        ending = Ending(await encoder.worker.run(end_of_text, await encoder.get()), most, stop)
        for number in range(most):
            vector = await hosted.worker.run(model.predict, before, replace(asked, seed=asked.seed + number))
            concept, read = await self._in_words(vector, model)
            end = ending.told(vector, read)
            if end in (None, End.LENGTH):
                yield pb.ContinueResponse(concept=concept)
                before = np.concatenate([before, read[None]])[-model.places :]
            if end is not None:
                yield pb.ContinueResponse(end=_ENDS[end])
                return

    def _concept_model_named(self, address: str, path: str) -> Hosted[ConceptModel]:
        if not self._concept_models:
            raise FailedPrecondition(
                "this service has no concept model; set SAPIENCE_CONCEPT_MODELS to the address of one",
                reason="NO_CONCEPT_MODEL",
            )
        for hosted in self._concept_models:
            if address in ("", hosted.address):
                return hosted
        known = ", ".join(repr(one.address) for one in self._concept_models)
        raise NotFound(
            f"no concept model {address!r} is here, but {known} (SAPIENCE_CONCEPT_MODELS)",
            reason="MODEL_NOT_FOUND",
            field=f"{path}model",
        )

    async def _before(self, request: pb.PredictRequest, model: ConceptModel, path: str) -> Float32:
        """What came before, as unit vectors [concepts, dimensions] of the model's space."""
        space = model.space
        if request.HasField("context"):
            rows = request.context.shape[0] if request.context.shape else 0
            _check_count(rows, f"{path}context.shape")
            vectors, given = wire.tensor_from(request.context, rows, f"{path}context")
            if given != space:
                raise FailedPrecondition(
                    f"{path}context is in space {given}, but the concept model reads {space}; encode with its codec",
                    reason="SPACE_MISMATCH",
                    field=f"{path}context",
                )
            return vectors
        texts = list(request.texts)
        for number, text in enumerate(texts):
            wire.checked_text(text, f"{path}texts[{number}]", wire.MAX_TEXT_BYTES)
        hosted = await self._codec_of(model)
        encoder = await hosted.get()
        return (await hosted.worker.run(encoder.encode, texts)).vectors

    async def _codec_of(self, model: ConceptModel) -> Hosted[Encoder]:
        hosted = await self.encoder_of(model.space, likely=model.codec)
        if hosted is None:
            raise FailedPrecondition(
                f"no encoder of {model.space}, which the concept model reads, is here; set SAPIENCE_CODEC to the "
                "codec that it was trained over",
                reason="SPACE_MISMATCH",
            )
        return hosted

    async def _in_words(self, vector: Float32, model: ConceptModel) -> tuple[pb.PredictedConcept, Float32]:
        """A Concept with its words, and the vector that is read again from them: the same where there are none."""
        space = model.space
        message = pb.PredictedConcept(vector=wire.tensor_to(vector[None], space))
        try:
            hosted = await self.decoder_of(space, likely=model.codec)
        except SapienceError as error:
            log.warning("no words for a Concept", space=str(space), error=error.message)
            return message, vector
        decoder = await hosted.get()
        message.text = (await hosted.worker.run(decoder.decode, vector[None]))[0]
        encoder = await self.encoder_of(space, likely=model.codec)
        if encoder is None or not message.text.strip():
            return message, vector
        read = (await encoder.worker.run((await encoder.get()).encode, [message.text])).vectors[0]
        message.round_trip = float(read @ vector)
        return message, read


def _asked(request: pb.PredictRequest, path: str) -> Asked:
    """Checks what is cheap to check before any model is loaded."""
    given = request.HasField("context")
    if given == bool(request.texts):
        what = "both texts and context are" if given else "neither texts nor context is"
        raise InvalidArgument(f"{what} given; give one of them", field=f"{path}texts")
    if not given:
        _check_count(len(request.texts), f"{path}texts")
    if not (math.isfinite(request.guidance) and 0 <= request.guidance <= MAX_GUIDANCE):
        raise InvalidArgument(
            f"guidance is {request.guidance}; give 0 to {MAX_GUIDANCE:g}", field=f"{path}guidance"
        )  # fmt: skip
    if not 0 <= request.steps <= MAX_STEPS:
        raise InvalidArgument(f"steps is {request.steps}; give 0 to {MAX_STEPS}", field=f"{path}steps")
    return Asked(request.seed, request.guidance, request.steps)


def _check_count(count: int, field: str) -> None:
    if not 1 <= count <= MAX_CONTEXT:
        raise InvalidArgument(f"{field} holds {count}; give 1 to {MAX_CONTEXT}", field=field, reason="BAD_BATCH")
