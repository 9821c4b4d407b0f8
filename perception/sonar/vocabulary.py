"""SONAR's tokens, as rows of the embeddings in the order of Hugging Face's M2M100 and NLLB.

    0 to 3          <s>, <pad>, </s>, <unk>
    then            the pieces of the SentencePiece model from its fourth on, each at its own number plus one
    then            a token for each language
    then            three that mark where training data came from, never used here

fairseq2 has the same rows but for the first four: <pad>, <unk>, <s>, </s>. Texts are cut by the SentencePiece library
with SONAR's own model, so that every token is the one that SONAR was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.errors import InvalidArgument
from perception.segment.languages import FLORES_CODES, flores_code

BOS, PAD, EOS, UNK = 0, 1, 2, 3
FAIRSEQ2_ROWS = (2, 0, 3, 1)
"""Which rows of fairseq2 the first four are."""
DATA_MARKS = 3
_PIECE_UNK, _FIRST_PIECE = 0, 3


class Vocabulary:
    """A SentencePiece model and languages. Safe to use from several threads."""

    def __init__(self, path: Path, languages: Sequence[str], default: str) -> None:
        """Loads the SentencePiece model. Raises OSError or RuntimeError for a file that is none."""
        from sentencepiece import SentencePieceProcessor

        self._pieces = SentencePieceProcessor(model_file=str(path))
        self._languages = {code: self._pieces.get_piece_size() + 1 + at for at, code in enumerate(languages)}
        self.default = default

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes of the languages."""
        return tuple(self._languages)

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self._pieces.get_piece_size() + 1 + len(self._languages) + DATA_MARKS

    def language(self, asked: str, field: str = "language") -> int:
        """The token of a language, by BCP 47 or by its code; the default one for an empty text.

        Raises InvalidArgument (BAD_LANGUAGE, UNKNOWN_LANGUAGE) naming `field`.
        """
        return self._languages[known_code(asked, self.languages, self.default, field)]

    def source(self, text: str, language: int) -> list[int]:
        """The tokens that an encoder reads: the language, the text, the end."""
        pieces = self._pieces.encode(text)
        return [language, *(UNK if piece == _PIECE_UNK else piece + 1 for piece in pieces), EOS]

    def text(self, tokens: Sequence[int]) -> str:
        """What a decoder wrote, without the tokens that are no words."""
        last = self._pieces.get_piece_size()
        pieces = [_PIECE_UNK if token == UNK else token - 1 for token in tokens if UNK <= token <= last]
        return str(self._pieces.decode(pieces))


def known_code(asked: str, languages: Sequence[str], default: str, field: str = "language") -> str:
    """The code among `languages` that is meant by a BCP 47 tag or a code; the default one by an empty text.

    Raises InvalidArgument (BAD_LANGUAGE, UNKNOWN_LANGUAGE) naming `field`.
    """
    code = asked if asked in languages else flores_code(asked, field=field) if asked else default
    if code not in languages:
        known = ", ".join(languages) if len(languages) < 9 else f"{len(languages)} others"
        raise InvalidArgument(
            f"{field} is {asked!r}, which this model was not trained on; it knows {known}",
            field=field,
            reason="UNKNOWN_LANGUAGE",
        )
    return code


ALL_LANGUAGES = FLORES_CODES
"""The languages of the official models, in the order of their tokens."""
