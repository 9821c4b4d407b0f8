"""The curriculum: which steps of a chain of thought are text in an epoch, and what stands where the others were.

Coconut (Hao et al. 2024, arXiv 2412.06769, section 3): in stage k the first k steps are taken out and k * c thoughts
put in; after the last such stage all steps go and the thoughts stay. The loss falls on what follows the thoughts. With
a small probability an example is drawn at a random stage, so that earlier ones are not forgotten.

    coconut      thoughts are hidden states fed back as they are
    projected    thoughts are hidden states sent through a learned projection (CODI, Shen et al. 2025, arXiv 2502.21074;
                 its architecture, not its distillation)
    pause        the control: the same places hold one learned token, and nothing is fed back
    no-thoughts  the control that only takes steps out (as iCoT, Deng et al. 2024, arXiv 2405.14838, by steps)
    cot          all steps as text
    no-cot       no steps, no thoughts

All of it is pure: an epoch, an example's place and a seed give a plan, and a plan gives tokens and labels. Nothing here
knows torch or a model.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from cognition.latent.tasks.base import Example
from core.errors import InvalidArgument

Mode = Literal["coconut", "projected", "pause", "no-thoughts", "cot", "no-cot"]
MODES: tuple[Mode, ...] = ("coconut", "projected", "pause", "no-thoughts", "cot", "no-cot")
Reset = Literal["none", "stage", "epoch"]
RESETS: tuple[Reset, ...] = ("none", "stage", "epoch")

STAGED: frozenset[Mode] = frozenset(("coconut", "projected", "pause", "no-thoughts"))
FED_BACK: frozenset[Mode] = frozenset(("coconut", "projected"))
MARKED: frozenset[Mode] = frozenset(("coconut", "projected", "pause"))
"""Modes that go through stages; whose thoughts are hidden states; that put markers around thoughts."""

ANSWER_SIGN = "###"
"""Stands before the answer, as in the files and checkpoints of the Coconut code."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one example: the first `skipped` steps go, `thoughts` thoughts come."""

    skipped: int
    thoughts: int


@dataclass(frozen=True, slots=True)
class Curriculum:
    """Stages over epochs. The defaults are the paper's for ProsQA.

    Stage 0 keeps all steps; stages 1 to `stages` take out one more each; stage `stages` + 1 takes out all. Raises
    InvalidArgument naming the field for a value out of range.
    """

    mode: Mode = "coconut"
    stages: int = 6
    thoughts_per_step: int = 1
    first_epochs: int = 5
    epochs_per_stage: int = 5
    epochs: int = 50
    mixing: float = 0.05
    pad_to_most: bool = True
    """In the last stage, give every example the thoughts of the longest; else only as many as its steps ask for."""
    reset: Reset = "epoch"

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidArgument(f"mode {self.mode!r} is none of {', '.join(MODES)}", field="mode")
        if self.reset not in RESETS:
            raise InvalidArgument(f"reset {self.reset!r} is none of {', '.join(RESETS)}", field="reset")
        for name, least in (
            ("stages", 0), ("thoughts_per_step", 1), ("first_epochs", 0), ("epochs_per_stage", 1), ("epochs", 1),
        ):  # fmt: skip
            if getattr(self, name) < least:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; the least is {least}", field=name)
        if not 0 <= self.mixing <= 1:
            raise InvalidArgument(f"mixing is {self.mixing}; it is a probability, from 0 to 1", field="mixing")

    @property
    def last_stage(self) -> int:
        """The stage in which no step is left; 0 for the modes without stages."""
        return self.stages + 1 if self.mode in STAGED else 0

    def stage(self, epoch: int) -> int:
        """The stage of an epoch, both from 0."""
        if self.mode not in STAGED or epoch < self.first_epochs:
            return 0
        return min(self.last_stage, 1 + (epoch - self.first_epochs) // self.epochs_per_stage)

    def resets(self, epoch: int) -> bool:
        """Whether the optimiser begins anew with this epoch. It does with the first, whatever is set."""
        if epoch == 0 or self.reset == "epoch":
            return True
        return self.reset == "stage" and self.stage(epoch) != self.stage(epoch - 1)

    def plan(self, steps: int, stage: int) -> Plan:
        """What becomes of an example of so many steps in a stage."""
        if self.mode == "cot":
            return Plan(0, 0)
        if self.mode == "no-cot":
            return Plan(steps, 0)
        if stage > self.stages:
            slots = self.stages if self.pad_to_most else min(steps, self.stages)
            skipped = steps
        else:
            slots, skipped = stage, min(steps, stage)
        return Plan(skipped, slots * self.thoughts_per_step if self.mode in MARKED else 0)

    def drawn_plan(self, steps: int, epoch: int, index: int, seed: int) -> Plan:
        """The plan of the example at a place of the training split in an epoch: of its stage, or mixed in.

        A stage that is mixed in is drawn from 0 to the number of the example's steps. The draw hangs on epoch, place
        and seed alone, so that a resumed run draws the same.
        """
        stage = self.stage(epoch)
        if self.mode in STAGED and self.mixing:
            draw = random.Random(f"{seed} {epoch} {index}")
            if draw.random() < self.mixing:
                stage = min(draw.randint(0, steps), self.last_stage)
        return self.plan(steps, stage)


@dataclass(frozen=True, slots=True)
class Markers:
    """The token ids that thoughts are written with, and the one that ends an answer."""

    start: int
    latent: int
    end: int
    stop: int


@dataclass(frozen=True, slots=True)
class Encoded:
    """An example as token ids: each step ends with a new line, the answer begins with `ANSWER_SIGN`."""

    question: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]
    answer: tuple[int, ...]


def encode(examples: Sequence[Example], tokenize: Callable[[list[str]], Sequence[Sequence[int]]]) -> list[Encoded]:
    """Token ids of the examples' parts, each tokenised by itself, since the steps before a part may be gone.

    `tokenize` takes many texts at once.
    """
    ids = iter(tokenize([part for example in examples for part in parts_of(example)]))
    return [
        Encoded(tuple(next(ids)), tuple(tuple(next(ids)) for _ in example.steps), tuple(next(ids)))
        for example in examples
    ]


def parts_of(example: Example) -> list[str]:
    """The texts of an example as a model reads them: question, steps, answer. Joined, they are its chain of thought."""
    return [f"{example.question}\n", *(f"{step}\n" for step in example.steps), f"{ANSWER_SIGN} {example.answer}"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row to learn: `tokens`, of which those from `learnt_from` on are learnt.

    `fed_back` of them from `thoughts_at` on are thoughts: their input is the hidden state before, whatever the token.
    """

    tokens: tuple[int, ...]
    thoughts_at: int
    fed_back: int
    learnt_from: int


def prompt_of(question: Sequence[int], thoughts: int, mode: Mode, markers: Markers) -> Row:
    """The row that an answer is generated behind; nothing of it is learnt."""
    if mode not in MARKED:
        tokens = tuple(question)
        return Row(tokens, len(tokens), 0, len(tokens))
    tokens = (*question, markers.start, *[markers.latent] * thoughts, markers.end)
    return Row(tokens, len(question) + 1, thoughts if mode in FED_BACK else 0, len(tokens))


def row_of(encoded: Encoded, plan: Plan, mode: Mode, markers: Markers) -> Row:
    """The row of an example under a plan: question, thoughts, the steps that are left, the answer, the stop token."""
    prompt = prompt_of(encoded.question, plan.thoughts, mode, markers)
    left = [token for step in encoded.steps[plan.skipped :] for token in step]
    tokens = (*prompt.tokens, *left, *encoded.answer, markers.stop)
    return Row(tokens, prompt.thoughts_at, prompt.fed_back, prompt.learnt_from)
