"""Choosing the true next sentence among others: the task that concept models are compared by.

A choice is a story cut somewhere, the sentence that came next, and distractors from other stories of the same kind with
the same people, town and things, so that no name gives them away. Several of them may be plausible, as in natural text:
nobody can be right every time. Scores of the candidates come from a model in one of these ways:

    cosine      to the predicted vector; of a two-tower model to the mean of several draws
    words       the log-likelihood of a candidate's pieces by the codec's decoder, given the predicted vector
    denoising   of a two-tower model: minus the squared error of x0, over some times, from the noised candidate
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from core.nouns import Float64
from perception.codec.codec import ConceptCodec
from perception.codec.model import padded
from perception.lcm import END_OF_TEXT, diffusion
from perception.lcm.ending import Asked
from perception.lcm.foreseeing import ConceptModel, denoiser
from perception.lcm.names import Context
from perception.lcm.stories import Stories

CANDIDATES = 64
SCORES = ("cosine", "words", "denoising")
DRAWS = 8
_TIMES = (30, 50, 65, 80, 90)
_NOISES = 2


@dataclass(frozen=True, slots=True)
class Choice:
    """One question: what came before, the candidates, and which of them came next."""

    before: tuple[str, ...]
    candidates: tuple[str, ...]
    truth: int


def choices(count: int, seed: int) -> list[Choice]:
    """So many questions, of a story each. The seed is one of its own kind: no training draws its stories from it."""
    stories, source = Stories(9_000_011 + seed), random.Random(f"choices {seed}")
    found: list[Choice] = []
    while len(found) < count:
        story = stories.draw()
        cut = source.randrange(2, len(story.sentences) - 1) if len(story.sentences) > 3 else 0
        if not cut:
            continue
        truth = story.sentences[cut]
        others: dict[str, None] = {}
        for _ in range(200):
            others |= dict.fromkeys(stories.draw(story.cast).sentences)
            others.pop(truth, None)
            others.pop(END_OF_TEXT, None)
            if len(others) >= 2 * CANDIDATES:
                break
        if len(others) < CANDIDATES - 1:
            continue
        candidates = [truth, *source.sample(list(others), CANDIDATES - 1)]
        source.shuffle(candidates)
        found.append(Choice(story.sentences[:cut], tuple(candidates), candidates.index(truth)))
    return found


def seen(choice: Choice, context: Context, number: int) -> tuple[str, ...]:
    """What a model may see of what came before; for "none" one sentence that says nothing of it."""
    if context == "none":
        return (END_OF_TEXT,)
    if context == "shuffled":
        return tuple(random.Random(number).sample(choice.before, len(choice.before)))
    return choice.before


def scores(model: ConceptModel, codec: ConceptCodec, choice: Choice, *, context: Context = "whole", number: int = 0
           ) -> dict[str, Float64]:  # fmt: skip
    """The score of each candidate in every way that the model has."""
    concepts = codec.encode(seen(choice, context, number)).vectors
    candidates = torch.from_numpy(codec.encode(choice.candidates).vectors)
    rows = torch.from_numpy(model.normaliser.normalised(concepts[-model.places :]).astype(np.float32))[None]
    found: dict[str, Float64] = {}
    with torch.inference_mode():
        if model.network.shape.method == "two-tower":
            drawn = model.drawn(rows, DRAWS, Asked(seed=number))
            expected = normalize(normalize(drawn, dim=-1).mean(0), dim=-1)
            found["denoising"] = _denoising(model, rows, candidates, number)
        else:
            expected = torch.from_numpy(model.predict(concepts))
        found["cosine"] = cosine_similarity(candidates, expected[None]).double().numpy()
        found["words"] = words(codec, expected, choice.candidates)
    return found


def words(codec: ConceptCodec, vector: Tensor, texts: Sequence[str]) -> Float64:
    """The log-likelihood in nats of texts by the codec's decoder, given one unit vector [dimensions]."""
    pieces = padded([codec.pieces.numbers(text) for text in texts], codec.network.shape.places)
    said: Float64 = -codec.network(vector.expand(len(texts), -1), pieces).sum(1).double().numpy()
    return said


def _denoising(model: ConceptModel, rows: Tensor, candidates: Tensor, number: int) -> Float64:
    clean = torch.from_numpy(model.normaliser.normalised(candidates.numpy()).astype(np.float32))
    source = torch.Generator().manual_seed(number)
    denoise, share = denoiser(model.network, rows), diffusion.signal()
    errors = torch.zeros(len(clean), dtype=torch.float64)
    for time in _TIMES:
        for _ in range(_NOISES):
            noise = torch.randn(1, clean.shape[1], generator=source).expand_as(clean)  # the same for all candidates
            times = torch.full((len(clean),), time)
            said, _ = denoise(diffusion.noised(clean, noise, times, share), times)
            errors += (said - clean).square().mean(1).double()
    scored: Float64 = -errors.numpy()
    return scored


def accuracy(found: Sequence[Float64], asked: Sequence[Choice]) -> float:
    """The share of questions whose true sentence has the highest score; one that shares it counts as wrong."""
    right = 0
    for scored, choice in zip(found, asked, strict=True):
        best = scored.max()
        right += bool(scored[choice.truth] == best and (scored == best).sum() == 1)
    return right / len(asked)
