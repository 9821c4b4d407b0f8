"""Texts that are longer than an encoder of sentences reads well: cut into pieces, whose vectors are averaged.

SONAR was trained on sentences, and its vectors lose words above some 250 characters. A longer text is cut into pieces,
as `perception.segment` cuts, and its vector is the mean of the pieces' unit vectors, at length 1. Every word is in it
and nothing is truncated, but no decoder gives such a text back: who wants it back cuts it before.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.nouns import Float32, Int64, Space
from perception.encoders.base import Encoded, check_texts, lengths_of
from perception.segment import segment

MAX_CHARS = 250
"""The longest text that SONAR encodes in one piece, in characters."""


def pieces_of(texts: Sequence[str], max_chars: int) -> tuple[list[str], Int64]:
    """The texts in pieces of at most `max_chars`, and the place of the text that each is of.

    A text that is short enough stays as it is. Raises InvalidArgument for a blank one.
    """
    pieces: list[str] = []
    owners: list[int] = []
    check_texts(texts)
    for place, text in enumerate(texts):
        cut = [text] if len(text) <= max_chars else [one.text for one in segment(text, max_chars=max_chars)]
        pieces += cut
        owners += [place] * len(cut)
    return pieces, np.array(owners, np.int64)


def joined(own: Float32, owners: Int64, texts: int, space: Space) -> Encoded:
    """The texts' vectors at length 1: the mean of the unit vectors of their pieces, and the pieces' mean length.

    `own` are the pieces' vectors, `owners` the texts that they are of. Raises FailedPrecondition
    (MODEL_OUTPUT_INVALID).
    """
    precise, lengths = own.astype(np.float64), lengths_of(own, space)
    counts = np.bincount(owners, minlength=texts)
    means = np.zeros((texts, own.shape[1]))
    np.add.at(means, owners, precise / lengths[:, None])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    usual = np.bincount(owners, lengths, minlength=texts) / counts
    return Encoded(means.astype(np.float32), 0, usual.astype(np.float32))
