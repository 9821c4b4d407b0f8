"""The vocabulary of the codec: whole words with the space before them, digits and signs one by one, bytes for the rest.

Lossless: the pieces of a text, put together, are its bytes, whatever the text. A word that the vocabulary lacks is
spelt in bytes, so an unknown name costs as many pieces as it has letters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

END, PAD = 0, 1
"""The piece that ends a sentence, and the one that fills a batch up."""
_SPECIAL = 2
_PIECE = re.compile(r" ?[A-Za-z]+(?:'[a-z]+)?| ?[0-9]| ?[^\sA-Za-z0-9]|\s", re.ASCII)


class Pieces:
    """Texts to numbers of pieces, and back."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words` are the pieces above the bytes, in the order of their numbers."""
        self.words = tuple(words)
        self._numbers = {word: number + _SPECIAL + 256 for number, word in enumerate(self.words)}

    @classmethod
    def learnt(cls, texts: Iterable[str], *, least: int = 2) -> Pieces:
        """The pieces that occur in some texts at least so often, by number of occurrences and then by spelling."""
        counts = Counter(piece for text in texts for piece in _PIECE.findall(text) if len(piece.encode()) > 1)
        kept = [piece for piece, count in counts.items() if count >= least]
        return cls(sorted(kept, key=lambda piece: (-counts[piece], piece)))

    def __len__(self) -> int:
        return len(self.words) + _SPECIAL + 256

    def numbers(self, text: str) -> list[int]:
        """The pieces of a text, without the one that ends it."""
        found: list[int] = []
        for piece in _PIECE.findall(text):
            number = self._numbers.get(piece)
            if number is None:
                found += [byte + _SPECIAL for byte in piece.encode()]
            else:
                found.append(number)
        return found

    def text(self, numbers: Iterable[int]) -> str:
        """The text of pieces, up to the first that ends it. Bytes that are no UTF-8 become U+FFFD."""
        out = bytearray()
        for number in numbers:
            if number == END:
                break
            if number >= _SPECIAL + 256:
                out += self.words[number - _SPECIAL - 256].encode()
            elif number >= _SPECIAL:
                out.append(number - _SPECIAL)
        return out.decode(errors="replace")
