"""The reference that the trainer and the engine are held to: Coconut (Hao et al. 2024, arXiv 2412.06769), plainly.

Written from the paper's section 3: a continuous thought is the last hidden state, after the final norm, fed back as
the next input embedding; n thoughts take n + 1 forward passes; generation begins after the last thought. Every pass
computes its whole prefix anew through a transformers model with no cache, so that nothing can be wrong but the model
itself. No tensor is altered in place.

What it costs is part of what it is for, since speed is measured against it:

    oracle_generate   a row at a time; every thought and every token recomputes the whole prefix; logits are computed
                      for all its positions. That is how the published code generates: it takes one row, drops the cache
                      after the thoughts, and calls the model on all embeddings for every token.
    oracle_loss       all rows at once, padded; each of the n + 1 passes recomputes the whole prefix, with gradient, and
                      computes logits for all its positions. It is the paper's recurrence with nothing saved.
    oracle_loss(cached=True)
                      keeps keys and values from pass to pass, as the paper says one can and the published code does in
                      training; each pass still computes logits for all of its positions, and the loss runs over all of
                      them with the unlabelled ones ignored, as there. A speed-up over this one is a speed-up over the
                      published code; the one over `cached=False` is the gain over the plain algorithm.

Not kept of the published code: its tokenizer calls, its lists of embeddings for each position, distributed training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

Feedback = Callable[[Tensor], Tensor]
"""Last hidden states to the next inputs, both [..., width]."""

IGNORED = -100
"""The label of a position that is not learnt."""


def unchanged(hidden: Tensor) -> Tensor:
    """Coconut's feedback: the hidden state is the next input as it is."""
    return hidden


@torch.no_grad()
def oracle_generate(
    model: Any,
    prompt: Tensor,
    thoughts: int,
    new_tokens: int,
    *,
    feedback: Feedback = unchanged,
    after: Sequence[int] = (),
) -> list[int]:
    """Greedy tokens for one row: prompt rows, shape [1, n, width] or [n, width], `thoughts` thoughts, then tokens.

    `after` are tokens put behind the thoughts, such as the marker that ends them. Ends after `new_tokens`; no token
    stops it, so that lengths compare.
    """
    rows = prompt.reshape(1, -1, prompt.shape[-1])
    for _ in range(thoughts):
        hidden, _ = _pass(model, rows)
        rows = torch.cat([rows, feedback(hidden[:, -1:])], dim=1)
    embedding = model.get_input_embeddings()
    if after:
        rows = torch.cat([rows, embedding(torch.tensor([list(after)], device=rows.device))], dim=1)
    tokens: list[int] = []
    for _ in range(new_tokens):
        _, logits = _pass(model, rows)
        token = logits[:, -1].argmax(-1)
        tokens.append(int(token))
        rows = torch.cat([rows, embedding(token)[:, None]], dim=1)
    return tokens


def oracle_loss(
    model: Any, tokens: Tensor, latents: Tensor, labels: Tensor, *, feedback: Feedback = unchanged, cached: bool = False
) -> Tensor:
    """The mean negative log-likelihood of the labelled tokens, with the gradient through every thought.

    `tokens`, `latents` and `labels` have shape [rows, length]: token ids; True where the input is the thought before
    instead of the token; the tokens again where they are learnt, `IGNORED` elsewhere (not shifted: the model's output
    at i is held against the label at i + 1). Rows are right-padded with anything unlabelled. With `cached`, thoughts
    have to be at the same positions in all rows, since a pass ends where the next thought begins.
    """
    embeds = model.get_input_embeddings()(tokens)
    if cached:
        logits = _cached_logits(model, embeds, latents, feedback)
    else:
        for position in latents.any(0).nonzero().flatten().tolist():
            hidden, _ = _pass(model, embeds[:, :position])
            thought = feedback(hidden[:, -1])
            replaced = torch.where(latents[:, position, None], thought, embeds[:, position])
            embeds = torch.cat([embeds[:, :position], replaced[:, None], embeds[:, position + 1 :]], dim=1)
        _, logits = _pass(model, embeds)
    return cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)


def _pass(model: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states after the final norm, and the logits of all positions."""
    output = model(inputs_embeds=rows, use_cache=False, output_hidden_states=True)
    return output.hidden_states[-1], output.logits


def _cached_logits(model: Any, embeds: Tensor, latents: Tensor, feedback: Feedback) -> Tensor:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    positions = latents.any(0).nonzero().flatten().tolist()
    logits, start, thought = [], 0, None
    for end in [*positions, embeds.shape[1]]:
        rows = embeds[:, start:end]
        if thought is not None:
            first = torch.where(latents[:, start, None], thought, rows[:, 0])
            rows = torch.cat([first[:, None], rows[:, 1:]], dim=1)
        output = model(inputs_embeds=rows, past_key_values=cache, use_cache=True, output_hidden_states=True)
        logits.append(output.logits)
        thought, start = feedback(output.hidden_states[-1][:, -1]), end
    return torch.cat(logits, dim=1)
