"""The models of a perception service, from settings. Only the default encoder and the reranker load at the start."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, TypeVar, cast

from sapience.v1 import concept_pb2

from core.models import ModelAddress
from services.perception.hosting import Hosted
from services.perception.service import Models
from services.runtime.settings import Settings
from services.runtime.worker import Worker

if TYPE_CHECKING:
    from perception.codec.codec import ConceptCodec
    from perception.decoders.base import Decoder
    from perception.encoders.base import Encoder
    from perception.lcm.foreseeing import ConceptModel

M = TypeVar("M")


def models(settings: Settings) -> Models:
    """Every model that the settings name. Has to be called on the running event loop.

    Raises InvalidArgument that names the setting for an address that is none.
    """
    hosting = _Hosting(settings)
    found = Models(encoders=[hosting.encoder(settings.encoder, "SAPIENCE_ENCODER", lazy=False)])
    found.encoders.extend(hosting.encoder(one, "SAPIENCE_ENCODERS") for one in settings.encoder_addresses)
    found.decoders.extend(map(hosting.decoder, settings.decoder_addresses))
    hosting.add_reranker(found)
    hosting.add_patcher(found)
    hosting.add_senses(found)
    hosting.add_concept_models(found)
    return found


class _Hosting:
    """Imports the module of a model when that is named.

    What brings torch is imported where it is loaded, on the model's own thread: it takes seconds, and here is the loop.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = settings.threads or None

    def encoder(self, address: str, setting: str, *, lazy: bool = True) -> Hosted[Encoder]:
        from perception.encoders.loading import loaded

        load = partial(
            loaded,
            device=self._settings.device,
            threads=self._threads,
            accepted=self._settings.accepted_licences,
            cache_dir=self._settings.cache_dir,
        )
        return _hosted(concept_pb2.MODEL_KIND_ENCODER, address, setting, load, Worker("encoder", 1, 256), lazy=lazy)

    def decoder(self, address: str) -> Hosted[Decoder]:
        from perception.decoders.loading import loaded

        load = partial(
            loaded, device=self._settings.device, threads=self._threads, accepted=self._settings.accepted_licences
        )
        return _hosted(concept_pb2.MODEL_KIND_DECODER, address, "SAPIENCE_DECODERS", load, Worker("decoder", 1, 64))

    def add_reranker(self, found: Models) -> None:
        if not (address := self._settings.reranker):
            return
        from perception.rerankers.cross_encoder import CrossEncoderReranker

        load = partial(CrossEncoderReranker, device=self._settings.device, threads=self._threads)
        worker = Worker("reranker", 1, 64)
        found.reranker = _hosted(
            concept_pb2.MODEL_KIND_RERANKER, address, "SAPIENCE_RERANKER", load, worker, lazy=False
        )

    def add_patcher(self, found: Models) -> None:
        if not (address := self._settings.byte_model):
            return
        from perception.segment import patcher

        load = partial(patcher.load, device=self._settings.device, threads=self._threads)
        worker = Worker("patcher", 1, 64)
        found.patcher = _hosted(concept_pb2.MODEL_KIND_PATCHER, address, "SAPIENCE_BYTE_MODEL", load, worker)

    def add_senses(self, found: Models) -> None:
        settings = self._settings
        if address := settings.transcriber:
            from perception.senses.transcriber import Cascade

            load = partial(Cascade, device=settings.device, threads=self._threads)
            worker = Worker("transcriber", 1, 8)
            kind = concept_pb2.MODEL_KIND_TRANSCRIBER
            found.transcriber = _hosted(kind, address, "SAPIENCE_TRANSCRIBER", load, worker)
        if address := settings.reader:
            from perception.senses.reader import OcrReader

            reads = partial(OcrReader, threads=self._threads)
            worker = Worker("reader", 1, 8)
            found.reader = _hosted(concept_pb2.MODEL_KIND_READER, address, "SAPIENCE_READER", reads, worker)
        if address := settings.image_encoder:
            from perception.encoders.image import ClipEncoder

            sees = partial(ClipEncoder, device=settings.device, threads=self._threads)
            worker = Worker("image encoder", 1, 16)
            kind = concept_pb2.MODEL_KIND_ENCODER
            found.image_encoder = _hosted(kind, address, "SAPIENCE_IMAGE_ENCODER", sees, worker)
            found.encoders.append(cast("Hosted[Encoder]", found.image_encoder))

    def add_concept_models(self, found: Models) -> None:
        """Concept models and their codec, which is an encoder and a decoder on one thread."""
        settings, threads = self._settings, self._threads

        @cache
        def load(address: ModelAddress) -> ConceptCodec:
            from perception.codec.codec import ConceptCodec

            return ConceptCodec(address, device=settings.device, threads=threads)

        def foresees(address: ModelAddress) -> ConceptModel:
            from perception.lcm.foreseeing import ConceptModel

            return ConceptModel(address, threads=threads)

        if address := settings.codec:
            worker = Worker("codec", 1, 256)
            found.encoders.append(_hosted(concept_pb2.MODEL_KIND_ENCODER, address, "SAPIENCE_CODEC", load, worker))
            found.decoders.append(_hosted(concept_pb2.MODEL_KIND_DECODER, address, "SAPIENCE_CODEC", load, worker))
        for address in settings.concept_model_addresses:
            worker = Worker("concept model", 1, 64)
            kind = concept_pb2.MODEL_KIND_CONCEPT_MODEL
            found.concept_models.append(_hosted(kind, address, "SAPIENCE_CONCEPT_MODELS", foresees, worker))


def _hosted(
    kind: concept_pb2.ModelKind.ValueType,
    address: str,
    setting: str,
    load: Callable[[ModelAddress], M],
    worker: Worker,
    *,
    lazy: bool = True,
) -> Hosted[M]:
    return Hosted(kind, address, partial(load, ModelAddress.parse(address, field=setting)), worker, lazy=lazy)
