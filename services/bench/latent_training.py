"""What a training step through thoughts costs, beside the reference's algorithm, with the same loss and gradient.

A GPT-2 of 2 layers, width 256 and a vocabulary of 1,000 learns 64 tokens behind a prompt of 200 and 6 thoughts. Both
sides compute on the same weights in float32 on one thread; what is compared are CPU seconds of forward and backward
pass together, in rounds that take turns, by the median of the rounds' ratios.

    train_speedup              the paper's recurrence with nothing saved (`oracle_loss`) / the trainer's step
    train_speedup_over_cached  the same against `oracle_loss(cached=True)`, which keeps keys and values from pass to
                               pass with gradient, as the published code does in training
    train_difference           the greatest relative difference of loss and gradient, in float32
    train_difference_double    the same, in float64, of the first batch

Figures of a batch of b rows end in `_b`; those without are the least speed-up and the greatest difference of all.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cognition.latent.thinking import Thinker

PROMPT, THOUGHTS, ANSWER = 200, 6, 64
LAYERS, WIDTH, HEADS, VOCABULARY = 2, 256, 4, 1000
BATCHES = (1, 4, 16)
ROUNDS = {1: 15, 4: 9, 16: 5}


def train_speedup(seed: int, batches: Sequence[int] = BATCHES, rounds: int | None = None) -> dict[str, float]:
    """The figures above. Seconds for small batches, half a minute with 16 rows."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        figures: dict[str, float] = {}
        for rows in batches:
            steps = _Steps(seed, rows)
            figures[f"train_difference_{rows}"] = steps.difference(torch.float32)
            if rows == batches[0]:
                figures["train_difference_double"] = steps.difference(torch.float64)
            whole, cached, own = _seconds([steps.reference, steps.cached, steps.own], rounds or ROUNDS.get(rows, 5))
            figures[f"train_ms_{rows}"] = 1000 * statistics.median(own)
            figures[f"train_reference_ms_{rows}"] = 1000 * statistics.median(whole)
            figures[f"train_cached_ms_{rows}"] = 1000 * statistics.median(cached)
            figures[f"train_speedup_{rows}"] = _ratio(whole, own)
            figures[f"train_speedup_over_cached_{rows}"] = _ratio(cached, own)
    finally:
        torch.set_num_threads(threads)
    for name, worst in (("train_speedup", min), ("train_speedup_over_cached", min), ("train_difference", max)):
        figures[name] = worst(figures[f"{name}_{rows}"] for rows in batches)
    return figures


class _Steps:
    """One batch, and the three ways to its gradient."""

    def __init__(self, seed: int, rows: int) -> None:
        import torch
        from transformers import GPT2Config, GPT2LMHeadModel

        from cognition.latent.curriculum import Row
        from cognition.latent.thinking import collate

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._model = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=VOCABULARY,
                    n_positions=512,
                    n_embd=WIDTH,
                    n_layer=LAYERS,
                    n_head=HEADS,
                    resid_pdrop=0.0,
                    embd_pdrop=0.0,
                    attn_pdrop=0.0,
                    bos_token_id=None,
                    eos_token_id=None,
                )
            )
            self._tokens = torch.randint(0, VOCABULARY, (rows, PROMPT + THOUGHTS + ANSWER))
        learnt_from = PROMPT + THOUGHTS
        self._latents = torch.zeros_like(self._tokens, dtype=torch.bool)
        self._latents[:, PROMPT:learnt_from] = True
        self._labels = self._tokens.clone()
        self._labels[:, :learnt_from] = -100
        self._batch = collate([Row(tuple(ids), PROMPT, THOUGHTS, learnt_from) for ids in self._tokens.tolist()])
        self._own = self._thinker(deepcopy(self._model))

    def reference(self) -> float:
        """The plain algorithm's step."""
        return self._oracle(self._model, cached=False)

    def cached(self) -> float:
        """The same with keys and values kept."""
        return self._oracle(self._model, cached=True)

    def own(self) -> float:
        """The trainer's step."""
        self._own.decoder.model.zero_grad(set_to_none=True)
        return self._own.learn(self._batch, self._batch.learnt) / self._batch.learnt

    def difference(self, kind: Any) -> float:
        """Of loss and gradient, relative to the reference's loss and to the length of its gradient of each tensor."""
        reference, model = deepcopy(self._model).to(kind), deepcopy(self._model).to(kind)
        loss = self._oracle(reference, cached=False)
        own = self._thinker(model).learn(self._batch, self._batch.learnt) / self._batch.learnt
        differences = [abs(own - loss) / abs(loss)]
        for one, other in zip(reference.parameters(), model.parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            differences.append(float((one.grad - other.grad).norm() / one.grad.norm()))
        return max(differences)

    def _oracle(self, model: Any, *, cached: bool) -> float:
        from cognition.latent.oracle import oracle_loss

        model.zero_grad(set_to_none=True)
        loss = oracle_loss(model, self._tokens, self._latents, self._labels, cached=cached)
        loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    @staticmethod
    def _thinker(model: Any) -> Thinker:
        from cognition.latent.layers import decoder_of
        from cognition.latent.oracle import unchanged
        from cognition.latent.thinking import Thinker

        return Thinker(decoder_of(model), unchanged)


def _seconds(ways: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """CPU seconds of each way in each round; all take a turn before the first that counts."""
    taken: list[list[float]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for place, way in enumerate(ways):
            started = time.process_time()
            way()
            if number:
                taken[place].append(time.process_time() - started)
    return taken


def _ratio(others: Sequence[float], own: Sequence[float]) -> float:
    return statistics.median(other / mine for other, mine in zip(others, own, strict=True))
