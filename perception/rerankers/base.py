"""What every reranker is: a question and texts in, one score for each text out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from core.nouns import Float64


@dataclass(frozen=True, slots=True)
class Reranked:
    """The scores of a batch of texts, in its order."""

    scores: Float64
    """Shape [texts]: higher bears more on the question. Comparable within one model only, and not probabilities."""
    truncated: int
    """How many of the texts did not fit beside the question, so that their ends were not read."""


class Reranker(ABC):
    """Scores texts against a question. A text's score does not depend on what else is in its batch (to 1e-4)."""

    max_tokens: int
    """How much of question and text together is read."""

    @abstractmethod
    def score(self, question: str, texts: Sequence[str]) -> Reranked:
        """Scores texts. Raises InvalidArgument for a blank question or text; blocks while it computes."""
