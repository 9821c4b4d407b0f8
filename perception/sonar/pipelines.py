"""SONAR by its own library: sonar-space's pipelines as an encoder of texts, an encoder of speech and a decoder.

It needs the environment of this folder's pyproject.toml and uv.lock; elsewhere it raises MODEL_LIBRARY_MISSING. Models
are named as in the cards of sonar-space, or in cards of one's own (FAIRSEQ2_USER_ASSET_DIR), which then have to say
`sapience_space` and `sapience_licence`. fairseq2 downloads what it does not have, after the licence was accepted.

fairseq2 loads libsndfile from the system. The wheel `soundfile` brings the same library under the same name, so that
one is loaded before, and nothing has to be installed beside the environment.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument, NotFound, SapienceError, Unavailable
from core.models import ModelAddress
from core.nouns import Float32, Space
from perception import licences
from perception.decoders.base import Decoder
from perception.encoders.base import Encoded, Encoder, MultilingualEncoder
from perception.encoders.joining import MAX_CHARS, joined, pieces_of
from perception.encoders.sentence import Device, torch_device
from perception.encoders.speech import SpeechEncoder
from perception.sonar.catalogue import OFFICIAL, SAMPLE, SPACE, Kind, official
from perception.sonar.vocabulary import known_code

_FAMILIES: dict[str, Kind] = {
    "transformer_encoder": "text_encoder",
    "transformer_decoder": "text_decoder",
    "sonar_speech": "speech_encoder",
}
_RATE = 16_000
_MAX_SECONDS = 60.0
_BATCH = 8


@dataclass(frozen=True, slots=True)
class _Card:
    """What is known of a model before it is loaded."""

    name: str
    kind: Kind
    space: str
    space_version: str
    licence: str
    languages: tuple[str, ...]
    default_language: str


def encoder(
    address: ModelAddress, *, device: Device = "auto", threads: int | None = None, accepted: Set[str] = frozenset()
) -> Encoder:
    """Loads an encoder of texts or of speech: seconds, and minutes where it is downloaded first.

    Raises FailedPrecondition (MODEL_LIBRARY_MISSING, LICENCE_NOT_ACCEPTED, MODEL_LOAD_FAILED, DEVICE_UNAVAILABLE),
    NotFound (MODEL_NOT_FOUND) and Unavailable (MODEL_HUB_UNAVAILABLE).
    """
    card = _card(address, accepted)
    kind = SonarSpaceSpeechEncoder if card.kind == "speech_encoder" else SonarSpaceEncoder
    if card.kind == "text_decoder":
        raise FailedPrecondition(f"{address} is a decoder; name it in SAPIENCE_DECODERS", reason="MODEL_LOAD_FAILED")
    found: Encoder = _loaded(address, lambda: kind(card, torch_device(device), threads))
    return found


def decoder(
    address: ModelAddress, *, device: Device = "auto", threads: int | None = None, accepted: Set[str] = frozenset()
) -> Decoder:
    """Loads a decoder. As `encoder`."""
    card = _card(address, accepted)
    if card.kind != "text_decoder":
        raise FailedPrecondition(f"{address} is an encoder; name it in SAPIENCE_ENCODERS", reason="MODEL_LOAD_FAILED")
    found: Decoder = _loaded(address, lambda: SonarSpaceDecoder(card, torch_device(device), threads))
    return found


class _Model:
    """What all three share: a lock, since a pipeline computes for one caller at a time, and threads for each call."""

    def __init__(self, card: _Card, device: str, threads: int | None) -> None:
        self._lock = threading.Lock()
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) // 2)
        self._card = card
        self.device = device
        self.licence = card.licence
        self.set_threads()

    def set_threads(self) -> None:
        """For the calling thread: OpenMP keeps the number for each."""
        import torch

        torch.set_num_threads(self._threads)

    def code(self, language: str) -> str:
        """The code of a language that the model knows."""
        return known_code(language, self._card.languages, self._card.default_language)

    def named_space(self, dimensions: int) -> Space:
        """The space that the card names."""
        return Space(self._card.space, self._card.space_version, dimensions)


class SonarSpaceEncoder(_Model, MultilingualEncoder):
    """TextToEmbeddingModelPipeline. Longer texts as in `perception.encoders.sonar`."""

    def __init__(self, card: _Card, device: str, threads: int | None) -> None:
        import torch
        from sonar.inference_pipelines.text import TextToEmbeddingModelPipeline

        super().__init__(card, device, threads)
        self._pipeline = TextToEmbeddingModelPipeline(
            encoder=card.name, tokenizer=card.name, device=torch.device(device), dtype=torch.float32
        )
        self.parameters = _parameters(self._pipeline)
        own = self.own_vectors(SAMPLE, card.default_language)
        self.space = self.named_space(own.shape[1])
        self.mean_length = round(float(np.linalg.norm(own, axis=1).mean()), 6)
        self.max_tokens = 512

    @property
    def languages(self) -> Sequence[str]:
        """See MultilingualEncoder."""
        return self._card.languages

    def encode(self, texts: Sequence[str], *, query: bool = False, language: str = "") -> Encoded:
        """See MultilingualEncoder."""
        code = self.code(language)
        pieces, owners = pieces_of(texts, MAX_CHARS)
        if not pieces:
            return Encoded(np.empty((0, self.space.dimensions), np.float32), 0, np.empty(0, np.float32))
        with self._lock:
            self.set_threads()
            own = self.own_vectors(pieces, code)
        return joined(own, owners, len(texts), self.space)

    def own_vectors(self, texts: Sequence[str], code: str) -> Float32:
        """The vectors [texts, dimensions] as the pipeline gives them."""
        found: Float32 = self._pipeline.predict(list(texts), source_lang=code, batch_size=_BATCH).cpu().numpy()
        return found


class SonarSpaceDecoder(_Model, Decoder):
    """EmbeddingToTextModelPipeline, with its own beam search of five beams."""

    mean_length = 0.0

    def __init__(self, card: _Card, device: str, threads: int | None) -> None:
        import torch
        from sonar.inference_pipelines.text import EmbeddingToTextModelPipeline

        super().__init__(card, device, threads)
        self._pipeline = EmbeddingToTextModelPipeline(
            decoder=card.name, tokenizer=card.name, device=torch.device(device), dtype=torch.float32
        )
        self.parameters = _parameters(self._pipeline)
        self.space = self.named_space(int(self._pipeline.model.decoder.decoder_frontend.embed.weight.shape[1]))

    def decode(self, vectors: Float32, *, language: str = "") -> Sequence[str]:
        """See Decoder."""
        import torch

        code = self.code(language)
        with self._lock:
            self.set_threads()
            texts: list[str] = self._pipeline.predict(torch.from_numpy(vectors), target_lang=code, batch_size=_BATCH)
        return texts


class SonarSpaceSpeechEncoder(_Model, SpeechEncoder):
    """SpeechToEmbeddingModelPipeline, on audio that is brought to one channel of 16 kHz."""

    def __init__(self, card: _Card, device: str, threads: int | None) -> None:
        import torch
        from sonar.inference_pipelines.speech import SpeechToEmbeddingModelPipeline

        super().__init__(card, device, threads)
        self._pipeline = SpeechToEmbeddingModelPipeline(encoder=card.name, device=torch.device(device))
        self.parameters = _parameters(self._pipeline)
        with torch.inference_mode():
            silence = self._pipeline.predict([torch.zeros(1, _RATE)])
        self.space = self.named_space(int(silence.shape[1]))
        self.max_tokens = int(_MAX_SECONDS)

    def encode_media(self, files: Sequence[BinaryIO]) -> Encoded:
        """See SpeechEncoder."""
        waves = [_wave(file, place) for place, file in enumerate(files)]
        if not waves:
            return Encoded(np.empty((0, self.space.dimensions), np.float32), 0, np.empty(0, np.float32))
        with self._lock:
            self.set_threads()
            # One at a time: the fbank's padding would change a vector with what is beside it.
            own = np.concatenate([self._pipeline.predict([wave]).cpu().numpy() for wave in waves])
        return joined(own, np.arange(len(own)), len(own), self.space)


def _wave(file: BinaryIO, place: int) -> Any:
    """Audio as a tensor [1, samples] of 16 kHz."""
    import soundfile
    import torch
    from torchaudio.functional import resample

    field = f"media[{place}].data"
    file.seek(0)
    try:
        with soundfile.SoundFile(file) as audio:
            seconds = audio.frames / audio.samplerate
            if not 0 < seconds <= _MAX_SECONDS:
                raise InvalidArgument(
                    f"{field} lasts {seconds:.1f} s; SONAR hears sentences of up to {_MAX_SECONDS:.0f} s, cut it",
                    field=field,
                    reason="AUDIO_TOO_LONG" if seconds else "BAD_AUDIO",
                )
            samples = audio.read(dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.SoundFileError as error:
        raise InvalidArgument(
            f"{field} is no audio that can be read ({error}); give a whole WAV, FLAC, OGG or MP3 file",
            field=field,
            reason="BAD_AUDIO",
        ) from error
    wave = torch.from_numpy(samples)[None]
    return wave if audio.samplerate == _RATE else resample(wave, audio.samplerate, _RATE)


def _card(address: ModelAddress, accepted: Set[str]) -> _Card:
    """What the catalogue and the card say, once the licence is accepted: nothing was loaded or downloaded by then."""
    _library(address)
    from fairseq2.assets import get_asset_store

    known = OFFICIAL.get(address.name)
    if known is not None:
        licences.check(known.licence, accepted, address)
    card = get_asset_store().maybe_retrieve_card(address.name)
    if card is None:
        official(address.name)
        raise NotFound(f"{address}: sonar-space has no card of that name", reason="MODEL_NOT_FOUND")

    def said(name: str) -> Any:
        field = card.maybe_get_field(name)
        return None if field is None else field.value

    kind = _FAMILIES.get(str(said("model_family")))
    licence = known.licence if known else said("sapience_licence")
    space = SPACE.name if known else said("sapience_space")
    if kind is None or not licence or not space:
        raise FailedPrecondition(
            f"{address}: its card names no text encoder, text decoder or speech encoder of SONAR, or does not say "
            "sapience_space and sapience_licence; add them to the card",
            reason="MODEL_LOAD_FAILED",
        )
    licences.check(str(licence), accepted, address)
    tokens = (said("tokenizer_config") or {}).get("_set_", {})
    languages = tuple(tokens.get("langs", ()))
    return _Card(
        address.name, kind, str(space), SPACE.version, str(licence), languages, str(tokens.get("default_lang", ""))
    )


def _library(address: ModelAddress) -> None:
    """Imports fairseq2 and sonar-space, with the libsndfile of the wheel `soundfile` if it has one."""
    try:
        import _soundfile_data

        for library in sorted(Path(_soundfile_data.__file__).parent.glob("libsndfile*.so")):
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except ImportError:
        pass  # a wheel without the library: the system's is looked for next
    try:
        import fairseq2
        import sonar
    except (ImportError, OSError) as error:
        raise FailedPrecondition(
            f"{address} needs sonar-space and fairseq2, which do not load here ({error}); serve perception from the "
            "environment of perception/sonar (make sonar-environment; where libsndfile is missing, apt-get install "
            "libsndfile1), or convert the checkpoint (sapience models convert-sonar) and name file:FOLDER",
            reason="MODEL_LIBRARY_MISSING",
        ) from error
    del fairseq2, sonar


def _loaded(address: ModelAddress, load: Any) -> Any:
    from fairseq2.assets import AssetDownloadError

    try:
        return load()
    except SapienceError:
        raise
    except AssetDownloadError as error:
        raise Unavailable(
            f"{address}: could not be downloaded ({error}); check the network, or give a card with file:// paths",
            reason="MODEL_HUB_UNAVAILABLE",
        ) from error
    except Exception as error:  # whatever a broken checkpoint makes of the libraries below
        raise FailedPrecondition(
            f"{address} could not be loaded by sonar-space ({type(error).__name__}: {error}); get its files again",
            reason="MODEL_LOAD_FAILED",
        ) from error


def _parameters(pipeline: Any) -> int:
    return sum(int(weight.numel()) for weight in pipeline.model.parameters())
