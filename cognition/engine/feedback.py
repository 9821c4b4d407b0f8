"""What a latent step feeds back: from the last hidden row of a Thought to its next row of input.

Modes are data (`cognition.engine.base.Mode`), and this is the one place that knows what they compute. `rows_for` works
on the rows of one step, of Thoughts that may think each in its own way.

A fed-back row has no reason to be as long as the embeddings that a model was trained on, and over many steps lengths
drift. So every length is measured, and where a request asks for it a row is scaled into a range (`Thinking.least_norm`,
`most_norm`), in units of the mean length of the model's embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cognition.engine.architecture import DecoderConfig
from cognition.engine.base import Capabilities, Mode, StopRule, Thinking
from cognition.engine.decoder import Decoder
from core.errors import InvalidArgument


def capabilities(config: DecoderConfig, *, words: bool = True) -> Capabilities:
    """What a decoder can do. `words` says whether its tokens are text, so that text can be constrained."""
    latent = config.latent
    modes = {Mode.NONE, Mode.HIDDEN, Mode.SOFT, Mode.JACOBI}
    if config.projection:
        modes.add(Mode.PROJECTED)
    if latent.pause_token is not None:
        modes.add(Mode.PAUSE)
    if config.recurrence is not None:
        modes.add(Mode.RECURRENT)
    rules = {StopRule.FIXED, StopRule.ENTROPY} | ({StopRule.LEARNED} if config.halt else set())
    default = Thinking()
    if latent.mode is not Mode.NONE and latent.steps:
        adaptive = config.halt and latent.threshold is not None
        default = Thinking(
            mode=latent.mode,
            steps=latent.steps,
            rounds=latent.rounds,
            rule=StopRule.LEARNED if adaptive else StopRule.FIXED,
            threshold=latent.threshold if adaptive and latent.threshold is not None else 0.5,
        )
    return Capabilities(
        modes=frozenset(modes),
        rules=frozenset(rules),
        constraints=words,
        logprobs=True,
        states=True,
        default=default,
    )


def check(thinking: Thinking, config: DecoderConfig, able: Capabilities, name: str) -> None:
    """Raises InvalidArgument for what a model cannot think."""
    if thinking.mode not in able.modes:
        raise InvalidArgument(
            f"{name} has no mode {thinking.mode.value}; it has {_listed(able.modes)}", field="thinking.mode"
        )
    if thinking.rule not in able.rules:
        raise InvalidArgument(
            f"{name} has no rule {thinking.rule.value}; it has {_listed(able.rules)}", field="thinking.rule"
        )
    at_once = (Mode.PAUSE, Mode.JACOBI, Mode.RECURRENT)
    if thinking.rule is not StopRule.FIXED and thinking.mode in at_once:
        raise InvalidArgument(
            f"the mode {thinking.mode.value} takes all its steps at once, and cannot stop early; leave the rule fixed",
            field="thinking.rule",
        )
    loop = config.recurrence
    if thinking.mode is Mode.RECURRENT and loop is not None and thinking.steps > loop.most:
        raise InvalidArgument(
            f"{thinking.steps} passes are asked for, and {name} takes at most {loop.most}", field="thinking.steps"
        )


def needs_logits(thinking: Thinking) -> bool:
    """Whether a latent step needs the next token's distribution."""
    return thinking.mode is Mode.SOFT or thinking.probe > 0 or thinking.rule is StopRule.ENTROPY


class Feedback:
    """The computation of one model's latent steps."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        # In float32 whatever the weights are in; a long vocabulary is measured in pieces.
        table = decoder.embedding
        lengths = torch.cat([table[at : at + 8192].float().norm(dim=-1) for at in range(0, table.shape[0], 8192)])
        self.typical_norm = float(lengths.mean())

    def rows_for(self, thinkings: Sequence[Thinking], hidden: Tensor, logits: Tensor) -> Tensor:
        """The next rows, shape [n, width], for hidden rows after the final norm, [n, width].

        `logits`, shape [n, vocabulary], are looked at for Thoughts in the mode `soft` only.
        """
        rows = hidden.clone()
        for mode in {thinking.mode for thinking in thinkings}:
            chosen = [row for row, thinking in enumerate(thinkings) if thinking.mode is mode]
            if mode is Mode.SOFT:
                for row in chosen:
                    rows[row] = self._soft(logits[row], thinkings[row])
            elif self._decoder.projection is not None and mode in (Mode.PROJECTED, Mode.JACOBI):
                rows[chosen] = self._decoder.projection(hidden[chosen])
        for row, thinking in enumerate(thinkings):
            if thinking.most_norm:
                rows[row] = self._guarded(rows[row], thinking)
        return rows

    def stops(self, thinking: Thinking, hidden: Tensor, logits: Tensor | None) -> bool:
        """Whether one Thought's rule says, after a latent step with this hidden row [width], that it is enough.

        For the rule `entropy` this is about the step alone; the caller counts `patience`.
        """
        if thinking.rule is StopRule.LEARNED:
            assert self._decoder.halt is not None
            weight, bias = self._decoder.halt
            return bool(torch.sigmoid(hidden @ weight[0] + bias[0]) >= thinking.threshold)
        if thinking.rule is StopRule.ENTROPY:
            assert logits is not None
            return bool(entropy(logits) < thinking.threshold)
        return False

    def _soft(self, logits: Tensor, thinking: Thinking) -> Tensor:
        """Soft Thinking (Zhang et al. 2025, arXiv 2505.15778, eq. 2): the expected embedding of the next token."""
        scaled = logits / thinking.temperature
        if thinking.top_k and thinking.top_k < scaled.shape[-1]:
            values, ids = scaled.topk(thinking.top_k)
            return values.softmax(dim=-1) @ self._decoder.embed(ids)
        weights = scaled.softmax(dim=-1)
        table = self._decoder.embedding
        return (weights.to(table.dtype) @ table).float()

    def _guarded(self, row: Tensor, thinking: Thinking) -> Tensor:
        length = row.norm()
        wanted = length.clamp(thinking.least_norm * self.typical_norm, thinking.most_norm * self.typical_norm)
        scale: Tensor = wanted / length.clamp_min(1e-12)
        return row * scale


def entropy(logits: Tensor) -> Tensor:
    """Of the distributions whose logits these are, shape [..., vocabulary], in nats."""
    spread: Tensor = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
    return spread


def _listed(values: frozenset[Mode] | frozenset[StopRule]) -> str:
    return ", ".join(sorted(value.value for value in values))
