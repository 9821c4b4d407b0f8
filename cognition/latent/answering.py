"""How well a model answers, by generation: with its thoughts, and with the two controls of them.

    with thoughts    as trained
    zero             nothing between the markers
    pause            the thoughts' places hold the token `<|latent|>`, and nothing is fed back

An answer is what follows the last `###`, and is right if the task says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cognition.latent.curriculum import ANSWER_SIGN, MARKED, Encoded, Mode, prompt_of
from cognition.latent.tasks.base import Example, Task
from cognition.latent.textmodel import TextModel
from cognition.latent.thinking import Thinker, clock, collate

Thoughts = Literal["trained", "zero", "pause"]


@dataclass(frozen=True, slots=True)
class Answers:
    """The result on some examples. Tokens and thoughts are means per example; seconds are `clock`'s, of all."""

    accuracy: float
    tokens: float
    thoughts: float
    seconds: float
    texts: tuple[str, ...]
    """What was generated, for reading."""


def answer_all(
    thinker: Thinker,
    text: TextModel,
    task: Task,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    mode: Mode,
    thoughts: Sequence[int],
    *,
    new_tokens: int,
    rows: int,
    device: str,
    use: Thoughts = "trained",
) -> Answers:
    """Answers examples, `rows` at a time, with so many thoughts each; none where the mode has none."""
    started = clock(device)
    if use == "zero":
        thoughts = [0] * len(examples)
    if use == "pause" and mode in MARKED:
        mode = "pause"
    model = thinker.decoder.model
    learning = model.training
    model.eval()
    # Rows of about one length together: less padding, the same answers.
    order = sorted(range(len(examples)), key=lambda index: len(encoded[index].question) + thoughts[index])
    texts, right, tokens = [""] * len(examples), 0, 0
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        prompts = [prompt_of(encoded[index].question, thoughts[index], mode, text.markers) for index in chosen]
        batch = collate(prompts, align="end", device=device)
        for index, drawn in zip(chosen, thinker.answer(batch, new_tokens, text.markers.stop), strict=True):
            tokens += len(drawn)
            texts[index] = text.decode(drawn)
            right += task.correct(examples[index], answer_in(texts[index]))
    model.train(learning)
    count = len(examples)
    shown = sum(thoughts) / count if mode in MARKED else 0.0
    return Answers(right / count, tokens / count, shown, clock(device) - started, tuple(texts))


def answer_in(generated: str) -> str:
    """What follows the last sign of an answer; all of the text where none does."""
    return generated.rsplit(ANSWER_SIGN, 1)[-1].strip()
