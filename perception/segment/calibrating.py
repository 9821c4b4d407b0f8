"""Which thresholds give patches of a wanted mean length on a corpus.

A corpus is a list of streams with their entropies. For each rule and some wanted means, thresholds are found by
bisection, with patches counted as they are cut; between those means, thresholds are read off a straight line. The
combined rule has two: both are the same quantile, one of the entropies and one of their rises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument
from perception.segment.entropy import MOST_ENTROPY, Float32
from perception.segment.patches import MOST_BYTES, Cut, Rule, Thresholds, cut

MEAN = 4.5
"""Bytes of a patch, on average, unless asked otherwise: what BLT takes."""
MEANS = (2.0, 2.5, 3.0, 3.5, 4.0, 4.25, 4.5, 4.75, 5.0, 5.5, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0)
"""The means for which thresholds are kept."""
_HALVINGS = 30


@dataclass(frozen=True, slots=True)
class Calibration:
    """Thresholds by rule and mean."""

    points: Mapping[Rule, Sequence[tuple[float, Thresholds]]]
    """For each rule, wanted means in rising order with their thresholds."""

    def thresholds(self, rule: Rule, mean: float = MEAN) -> Thresholds:
        """For patches of `mean` bytes on average.

        Raises InvalidArgument (field `bytes_per_patch`) for a mean that is beyond those that were measured, and
        FailedPrecondition (NOT_CALIBRATED) where there are none for that rule.
        """
        points = self.points.get(rule, ())
        if not points:
            raise FailedPrecondition(
                f"the byte model has no thresholds for the {rule} rule; give them with the request, or let them be "
                "fitted to its bytes",
                reason="NOT_CALIBRATED",
            )
        means = [one for one, _ in points]
        if not means[0] <= mean <= means[-1]:
            raise InvalidArgument(
                f"bytes_per_patch is {mean}; the {rule} rule of this model is calibrated for {means[0]:g} to "
                f"{means[-1]:g}",
                field="bytes_per_patch",
            )
        entropies, rises = ([getattr(one, name) for _, one in points] for name in ("entropy", "rise"))
        return Thresholds(float(np.interp(mean, means, entropies)), float(np.interp(mean, means, rises)))

    def to_json(self) -> dict[str, list[list[float]]]:
        """For `config.json`: [mean, entropy, rise] by rule."""
        return {
            rule.value: [[mean, round(one.entropy, 6), round(one.rise, 6)] for mean, one in points]
            for rule, points in self.points.items()
        }

    @classmethod
    def from_json(cls, value: Any) -> Calibration:
        """Raises FailedPrecondition (MODEL_LOAD_FAILED) for what `to_json` did not make."""
        try:
            return cls(
                {
                    Rule(rule): [(float(mean), Thresholds(float(high), float(rise))) for mean, high, rise in points]
                    for rule, points in value.items()
                }
            )
        except (AttributeError, TypeError, ValueError) as error:
            raise FailedPrecondition(
                f"the calibration of a byte model is damaged ({error}); make another with `sapience train patches`",
                reason="MODEL_LOAD_FAILED",
            ) from error


def calibrate(corpus: Sequence[Float32]) -> Calibration:
    """Measures on the entropies of a corpus. Means that a rule cannot reach there are left out.

    Raises InvalidArgument for a corpus of fewer than 1,000 bytes: no mean of patches could be told from it.
    """
    _enough(corpus)
    found: dict[Rule, list[tuple[float, Thresholds]]] = {}
    for rule in Rule:
        points = ((mean, _fitted(corpus, rule, mean, MOST_BYTES)) for mean in MEANS)
        found[rule] = [(mean, one) for mean, one in points if one is not None]
    return Calibration(found)


def fitted(corpus: Sequence[Float32], rule: Rule, mean: float, most_bytes: int = MOST_BYTES) -> Thresholds:
    """The thresholds that give this corpus itself patches of `mean` bytes on average.

    Raises InvalidArgument where the corpus is too short, or no thresholds come within a tenth of the mean.
    """
    _enough(corpus)
    one = _fitted(corpus, rule, mean, most_bytes)
    if one is None:
        raise InvalidArgument(
            f"no thresholds of the {rule} rule give these bytes patches of {mean:g} bytes; give another mean",
            field="bytes_per_patch",
        )
    return one


def bytes_per_patch(corpus: Sequence[Float32], how: Cut) -> float:
    """The mean length of the patches of a corpus."""
    return sum(map(len, corpus)) / max(sum(len(cut(one, how)) for one in corpus), 1)


def _enough(corpus: Sequence[Float32]) -> None:
    size = sum(map(len, corpus))
    if size < 1000:
        raise InvalidArgument(f"{size} bytes are too few to calibrate on; give at least 1,000", field="data")


def _fitted(corpus: Sequence[Float32], rule: Rule, mean: float, most_bytes: int) -> Thresholds | None:
    """Bisects a number from 0 (small patches) to 1 (large ones); None where that comes to no such mean."""
    at = _scale(corpus, rule)
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if bytes_per_patch(corpus, Cut(rule, at(middle), most_bytes)) < mean:
            low = middle
        else:
            high = middle
    found = [at(end) for end in (low, high)]
    means = [bytes_per_patch(corpus, Cut(rule, one, most_bytes)) for one in found]
    best = min((0, 1), key=lambda end: abs(means[end] - mean))
    return found[best] if abs(means[best] - mean) <= mean / 10 else None


def _scale(corpus: Sequence[Float32], rule: Rule) -> Callable[[float], Thresholds]:
    """From a number to thresholds that rise with it."""
    if rule is Rule.GLOBAL:
        return lambda share: Thresholds(entropy=share * MOST_ENTROPY)
    if rule is Rule.MONOTONIC:
        return lambda share: Thresholds(rise=(2 * share - 1) * MOST_ENTROPY)
    entropies = np.sort(np.concatenate(corpus))
    rises = np.sort(np.concatenate([np.diff(one) for one in corpus]))

    def quantiles(share: float) -> Thresholds:
        return Thresholds(*(float(np.interp(share * len(sorted_), np.arange(len(sorted_)), sorted_))
                            for sorted_ in (entropies, rises)))  # fmt: skip

    return quantiles
