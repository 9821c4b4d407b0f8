"""Documents as vectors and pieces, as the trainers of concept models read them: each different sentence once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.nouns import Float32
from perception.codec.codec import ConceptCodec
from perception.lcm.documents import Document
from perception.lcm.names import Context

_NEAREST, _LOOKED_AMONG = 64, 32_768
"""Sentences that are kept as near ones of another, and among how many they are looked for: all would take minutes."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents, filled up with zeros."""

    concepts: Tensor
    """Unit vectors [batch, places, dimensions]."""
    rows: Tensor
    """Which sentence each is, [batch, places]; -1 where there is none."""

    @property
    def after(self) -> Tensor:
        """Whether Concept j + 1 of document i is there to be foreseen, [batch, places - 1]."""
        return self.rows[:, 1:] >= 0


class Encoded:
    """Documents whose sentences were encoded by a codec."""

    def __init__(self, documents: Sequence[Document], codec: ConceptCodec) -> None:
        """Encodes every different sentence: milliseconds for ten."""
        numbers: dict[str, int] = {}
        self.documents = [[numbers.setdefault(one, len(numbers)) for one in document] for document in documents]
        self.sentences = list(numbers)
        self.vectors: Float32 = codec.encode(self.sentences).vectors
        self.pieces = [codec.pieces.numbers(one) for one in self.sentences]
        self._nearest: dict[int, Tensor] = {}

    def nearest(self, rows: Tensor) -> Tensor:
        """For each of some sentences [rows] the numbers of up to 64 that are nearest to it, itself not among them.

        They are looked for among the first 32,768 sentences, once for each.
        """
        among = torch.from_numpy(self.vectors[:_LOOKED_AMONG])
        if new := sorted(set(rows.tolist()) - self._nearest.keys()):
            near = torch.from_numpy(self.vectors[new]) @ among.T
            for place, row in enumerate(new):
                if row < len(among):
                    near[place, row] = -torch.inf
            found = near.topk(min(_NEAREST, len(among) - 1), dim=1).indices
            self._nearest.update(zip(new, found, strict=True))
        return torch.stack([self._nearest[row] for row in rows.tolist()])

    def batches(self, size: int, source: random.Random, context: Context = "whole") -> list[Batch]:
        """All documents once, in an order that is drawn; those of a like length together."""
        order = list(range(len(self.documents)))
        source.shuffle(order)
        groups = [order[at : at + 8 * size] for at in range(0, len(order), 8 * size)]
        batches: list[Batch] = []
        for group in groups:
            group.sort(key=lambda row: len(self.documents[row]))
            some = [group[at : at + size] for at in range(0, len(group), size)]
            source.shuffle(some)
            batches += [self.batch([self.documents[row] for row in rows]) for rows in some]
        return batches

    def batch(self, documents: Sequence[Sequence[int]]) -> Batch:
        """Some documents, as the numbers of their sentences."""
        longest = max(map(len, documents))
        rows = np.full((len(documents), longest), -1)
        for place, document in enumerate(documents):
            rows[place, : len(document)] = document
        vectors = np.where(rows[..., None] >= 0, self.vectors[rows], 0).astype(np.float32)
        return Batch(torch.from_numpy(vectors), torch.from_numpy(rows))
