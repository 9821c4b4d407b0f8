"""An encoder that computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from core.nouns import Space
from perception.encoders.base import Encoded, Encoder


class NullEncoder(Encoder):
    """Gives every text the same vector at once: for measuring the runtime around it, never for use."""

    space = Space("null", "1", 8)

    def encode(self, texts: Sequence[str], *, query: bool = False) -> Encoded:
        """One row for each text."""
        return Encoded(np.full((len(texts), 8), 8**-0.5, dtype=np.float32), 0)
