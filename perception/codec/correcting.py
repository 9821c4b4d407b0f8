"""Finds the sentence that a vector is of, where the decoder wrote one that is nearly it.

What was written is encoded again. A cosine of 1 says that it is the sentence itself. Else one piece after another is
changed, by what brings the cosine up most (matching pursuit, Mallat and Zhang 1993): a sum of codes is what the vector
is, so that all pieces of the vocabulary can be tried at a place at once. A vector that no sentence has, as concept
models foresee, is left as the decoder wrote it: that knows what the language allows, and the cosine does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from perception.codec.model import Network, padded, turned
from perception.codec.pieces import END, PAD

SAME = 0.999
"""A cosine from which two vectors are of one sentence: another one has less, by a piece at least."""
_HOPELESS, _HOPELESS_SHORT, _SHORT = 0.6, 0.3, 8
"""A cosine below which more is wrong than is changed here, and most vectors of concept models are; the same for so few
pieces that one of them is a large part of the vector."""
_ROUNDS = 4
_TRIED = 48


def corrected(network: Network, vectors: Tensor, written: Sequence[list[int]]) -> list[list[int]]:
    """The pieces of the sentences that vectors [batch, dimensions] of length 1 are of, without END.

    `written` are those that the decoder wrote; they stay where none are found near them.
    """
    places = network.shape.places
    written = [pieces[: places - 1] for pieces in written]  # END has a place, too
    cosines = (network.encode(padded(written, places).to(vectors.device)) * vectors).sum(1).tolist()
    return [
        _corrected(network, vector, pieces, cosine) if pieces and _hopeless(pieces) <= cosine < SAME else pieces
        for vector, pieces, cosine in zip(vectors, written, cosines, strict=True)
    ]


def _hopeless(pieces: list[int]) -> float:
    return _HOPELESS_SHORT if len(pieces) <= _SHORT else _HOPELESS


def _corrected(network: Network, vector: Tensor, pieces: list[int], cosine: float) -> list[int]:
    best = pieces
    for _ in range(_ROUNDS):
        changed = _changed(network, vector, best)
        cosines = network.encode(padded(changed, network.shape.places).to(vector.device)) @ vector
        at = int(cosines.argmax())
        if cosines[at].item() >= SAME:
            return changed[at]
        if cosines[at].item() <= cosine:
            break
        cosine, best = cosines[at].item(), changed[at]
    return pieces


def _changed(network: Network, vector: Tensor, pieces: list[int]) -> list[list[int]]:
    """Sentences with another piece at the place that fits least, with one left out, and that end earlier."""
    ended = padded([pieces], network.shape.places).to(vector.device)[0]
    written = network.bound(ended[None])[0]
    missing = vector * (written @ vector) - written
    gained = turned(missing.expand(len(pieces), -1), network.phases[: len(pieces)], -1.0) @ network.embed.weight.T
    gained -= gained.gather(1, ended[: len(pieces), None])
    place = int(gained.max(1).values.argmax())
    changed = [
        [*pieces[:place], one, *pieces[place + 1 :]] for one in _likeliest(network, vector, written, ended, place)
    ]
    if len(pieces) > 1:
        changed += [[*pieces[:at], *pieces[at + 1 :]] for at in range(len(pieces))]
    return changed + [pieces[:at] for at in range(1, len(pieces) - 1)]


def _likeliest(network: Network, vector: Tensor, written: Tensor, ended: Tensor, place: int) -> list[int]:
    """The pieces with which the cosine is highest, but for what a piece changes in its neighbours' codes."""
    words, phases = network.embed.weight, network.phases[place : place + 1]
    nothing = torch.zeros_like(words[0])
    before = words[ended[place - 1]] if place else nothing
    codes = network.codes(before.expand_as(words), words, words[ended[place + 1]].expand_as(words))
    others = turned(written[None], phases, -1.0)[0] - codes[ended[place]]
    asked = turned(vector[None], phases, -1.0)[0]
    lengths = (others.square().sum() + 2 * codes @ others + codes.square().sum(1)).sqrt()
    cosines = (asked @ others + codes @ asked) / lengths
    cosines[[PAD, END]] = -torch.inf
    found: list[int] = cosines.topk(min(_TRIED, len(words) - 2)).indices.tolist()
    return found
