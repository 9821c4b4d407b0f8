"""Documents as vectors and pieces, as the trainers of concept models read them: each different sentence once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from core.nouns import Float32
from perception.codec.codec import ConceptCodec
from perception.lcm.documents import Document

Context = Literal["whole", "shuffled", "none"]
"""What a model sees before a Concept: what was said, the same in another order, or nothing of it (controls)."""


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
