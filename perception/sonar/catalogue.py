"""What official SONAR models there are: their names in sonar-space 0.5.0, what they do, and their licences.

The licences are those of LICENSE.md in sonar-space. It names 21 speech encoders as MIT, and the text encoder, the text
decoders and the other speech encoders as CC-BY-NC-4.0. The English speech encoder it does not name at all; that one
counts as CC-BY-NC-4.0 here. The addresses of the text models' files are those of its cards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from core.errors import NotFound
from core.nouns import Space

Kind = Literal["text_encoder", "text_decoder", "speech_encoder"]

NON_COMMERCIAL = "CC-BY-NC-4.0"
SPACE = Space("sonar", "1", 1024)
"""The space of all of them: speech encoders were trained into that of the text encoder."""

SAMPLE = (
    "The library opens at nine in the morning.",
    "Her brother moved to the coast last spring.",
    "We could not find the key to the garden gate.",
    "Three ships left the harbour before the storm.",
    "Please send me the report when it is finished.",
    "The children had never seen so much snow.",
    "Prices of wheat rose by a tenth within a month.",
    "He plays the violin, but not very well.",
)
"""Sentences whose vectors say how long vectors of the space usually are."""

_FILES = "https://dl.fbaipublicfiles.com/SONAR"
PIECES_URL = f"{_FILES}/sentencepiece.source.256000.model"
"""Where the SentencePiece model of all text models is."""

_MIT_SPEECH = "arb cat cym dan deu est fin fra ind ita kor nld pes por ron spa swe swh tgl tur uzn".split()
_OTHER_SPEECH = (
    "eng asm bel ben bos bul ces cmn guj heb hin hrv jpn kan lao lit lvs mal mar mkd mlt npi ory pan pol rus slk slv "
    "snd srp tam tel tha ukr urd vie yue".split()
)


@dataclass(frozen=True, slots=True)
class Official:
    """An official model."""

    name: str
    kind: Kind
    licence: str
    """An SPDX identifier."""
    language: str = ""
    """What a speech encoder hears, by ISO 639-3."""
    url: str = ""
    """Where its checkpoint is, for the models that can be converted."""


OFFICIAL = {
    one.name: one
    for one in [
        Official("text_sonar_basic_encoder", "text_encoder", NON_COMMERCIAL, url=f"{_FILES}/sonar_text_encoder.pt"),
        Official("text_sonar_basic_decoder", "text_decoder", NON_COMMERCIAL, url=f"{_FILES}/sonar_text_decoder.pt"),
        Official("text_sonar_finetuned_decoder", "text_decoder", NON_COMMERCIAL, url=f"{_FILES}/finetuned_decoder.pt"),
        *(Official(f"sonar_speech_encoder_{code}", "speech_encoder", "MIT", code) for code in _MIT_SPEECH),
        *(Official(f"sonar_speech_encoder_{code}", "speech_encoder", NON_COMMERCIAL, code) for code in _OTHER_SPEECH),
    ]
}
"""All of them, by name."""


def official(name: str) -> Official:
    """One of them. Raises NotFound (MODEL_NOT_FOUND)."""
    found = OFFICIAL.get(name)
    if found is None:
        text = ", ".join(one.name for one in OFFICIAL.values() if one.kind != "speech_encoder")
        raise NotFound(
            f"SONAR has no model {name!r}, but {text}, and sonar_speech_encoder_LANGUAGE", reason="MODEL_NOT_FOUND"
        )
    return found
