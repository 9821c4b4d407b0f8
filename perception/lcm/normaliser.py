"""Scales each dimension of vectors by its median and interquartile range (LCM, arXiv 2412.08821, section 2.4.1).

The code that came with the paper asks scikit-learn's RobustScaler for the quantiles (0.25, 0.75), which are percentages
there: it divides by the range between the quarter of a per cent and three quarters of one, far out in a tail. On a
dimension with a long tail that is another scale than that of most of its values, by a factor of ten or so. Here they
are the quartiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from core.errors import InvalidArgument
from core.nouns import Float32

LOW, HIGH = 0.25, 0.75
_LEAST = 1e-6


@dataclass(frozen=True, slots=True)
class Normaliser:
    """What is taken away from each dimension, and what it is divided by. Both [dimensions]."""

    centre: Float32
    scale: Float32

    @classmethod
    def of(cls, vectors: Float32) -> Normaliser:
        """Fitted to vectors [rows, dimensions]. A dimension that does not vary is only centred.

        The range is divided by that of a normal distribution, so that one of standard deviation s is scaled by 1 / s.
        """
        if vectors.ndim != 2 or len(vectors) < 2:
            raise InvalidArgument(f"vectors have shape {list(vectors.shape)}; give two rows or more", field="vectors")
        low, centre, high = np.quantile(vectors, (LOW, 0.5, HIGH), axis=0)
        scale = (high - low) / 1.3489795
        return cls(centre.astype(np.float32), np.where(scale < _LEAST, 1.0, scale).astype(np.float32))

    def normalised(self, vectors: Float32) -> Float32:
        """Vectors [..., dimensions] with most values of each dimension around 0 and of size 1."""
        scaled: Float32 = (vectors - self.centre) / self.scale
        return scaled

    def restored(self, vectors: Float32) -> Float32:
        """What `normalised` was given."""
        restored: Float32 = vectors * self.scale + self.centre
        return restored
