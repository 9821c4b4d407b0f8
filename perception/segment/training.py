"""A byte model from texts: what it learns from, what it is calibrated on, and how it does on the rest.

Texts are cut into blocks at line ends, and the blocks are dealt out by chance: seven tenths are learnt from, the others
calibrate and measure, half of them each. Blocks of one text are in all three, so the figures are those of more text of
that kind. Where texts to calibrate on are given, all others are learnt from, and one half of these calibrates.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidArgument
from perception.segment.calibrating import MEAN, Calibration, bytes_per_patch, calibrate
from perception.segment.counting import ORDER, Counted
from perception.segment.ngram import NgramModel
from perception.segment.patches import Cut, Rule

MOST_CONTEXTS = 250_000
"""Of a model unless asked otherwise: 1.6 MB at order 6."""
MOST_BYTES = 32 << 20
"""Of texts, so that they fit into memory: it takes some 100 times as much to learn from them."""
BLOCK = 512
"""Bytes of a block, and the rest of its line, which may have as many again."""


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with its calibration in `model.config`, and its figures on text that it has not seen."""

    model: NgramModel
    figures: dict[str, float]


def train(
    texts: Sequence[bytes],
    *,
    calibrate_on: Sequence[bytes] = (),
    order: int = ORDER,
    most_contexts: int = MOST_CONTEXTS,
    seed: int = 0,
    config: dict[str, Any] | None = None,
) -> Trained:
    """Learns a model and calibrates it.

    Raises InvalidArgument (field `texts`) for less than some 10 KB of text, or more than 32 MiB, and what `Counted`
    raises.
    """
    if calibrate_on:
        _bounded(texts)
        learnt = list(texts)
        calibrating, measuring = dealt(calibrate_on, seed, (0.5, 0.5))
    else:
        learnt, calibrating, measuring = dealt(texts, seed, (0.7, 0.15, 0.15))
    counted = Counted(learnt, order)
    figures = {"bits_per_byte": counted.bits_per_byte(measuring)}
    model = counted.table(most_contexts=most_contexts)
    return _calibrated(model, calibrating, measuring, figures, {**(config or {}), "seed": seed})


def recalibrate(model: NgramModel, texts: Sequence[bytes], *, seed: int = 0) -> Trained:
    """The same model with thresholds for other texts: one half calibrates, the other measures.

    Raises InvalidArgument as `train` does.
    """
    calibrating, measuring = dealt(texts, seed, (0.5, 0.5))
    return _calibrated(model, calibrating, measuring, {}, {**model.config, "seed": seed})


def dealt(texts: Sequence[bytes], seed: int, shares: Sequence[float]) -> list[list[bytes]]:
    """Blocks of texts by chance in parts, each with at least its share of the bytes but the last.

    Raises InvalidArgument where a part would have less than 1,000 bytes, or the whole has more than 32 MiB.
    """
    size = _bounded(texts)
    blocks = [block for text in texts for block in _blocks(text)]
    random.Random(seed).shuffle(blocks)
    parts: list[list[bytes]] = [[] for _ in shares]
    part, given = 0, 0
    for block in blocks:
        parts[part].append(block)
        given += len(block)
        if part + 1 < len(parts) and given >= size * sum(shares[: part + 1]):
            part += 1
    if min(sum(map(len, one)) for one in parts) < 1000:
        raise InvalidArgument(
            f"the texts have {size} bytes, too few to learn, calibrate and measure with; give at least 10,000",
            field="texts",
        )
    return parts


def _bounded(texts: Sequence[bytes]) -> int:
    size = sum(map(len, texts))
    if size > MOST_BYTES:
        raise InvalidArgument(f"the texts have {size} bytes; give at most {MOST_BYTES}", field="texts")
    return size


def _blocks(text: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + BLOCK, start + 2 * BLOCK) + 1 or start + 2 * BLOCK
        yield text[start:end]
        start = end


def _calibrated(
    model: NgramModel,
    calibrating: Sequence[bytes],
    measuring: Sequence[bytes],
    figures: dict[str, float],
    config: dict[str, Any],
) -> Trained:
    calibration: Calibration = calibrate(model.entropies_of(calibrating))
    corpus = model.entropies_of(measuring)
    for rule in Rule:
        if any(mean == MEAN for mean, _ in calibration.points[rule]):
            how = Cut(rule, calibration.thresholds(rule))
            figures[f"bytes_per_patch_{rule}"] = bytes_per_patch(corpus, how)
    made = NgramModel(
        model.contexts, model.steps, config={**config, "calibration": calibration.to_json()}, address=model.address
    )
    return Trained(made, figures)
