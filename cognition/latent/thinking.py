"""One training step, or one batch of answers, through thoughts: each column of a batch is computed once.

Rows of a batch are shifted so that their first thoughts stand in one column. A first pass computes all columns before
it and keeps keys and values; each thought is a pass of one column, whose input is the output of the one before; a last
pass computes the rest. Logits are computed where a token is learnt, and nowhere else. Loss and gradient are those of
`cognition.latent.oracle`, which computes n + 1 whole prefixes for the same n thoughts.

A row may have fewer thoughts than another, or none: in the columns of thoughts it then goes on with its tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cognition.latent.cached import KeptKeys, Visible
from cognition.latent.curriculum import Row
from cognition.latent.deferred import WeightGradients
from cognition.latent.layers import Decoder

Feedback = Callable[[Tensor], Tensor]
"""Hidden states after the final norm to the inputs of the next column, both [..., width]."""

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one length, padded on the left to align thoughts, and on the right with what is not learnt."""

    tokens: Tensor
    """Token ids, [rows, columns]."""
    thoughts: Tensor
    """True where the input is the last output instead of the token, [rows, columns]."""
    labels: Tensor
    """The tokens that are learnt, `IGNORED` elsewhere, [rows, columns]."""
    padding: Tensor | None
    """Columns of padding on the left, [rows]; None where no row has any."""
    first: int
    end: int
    """Thoughts are in columns first to end; equal where there are none."""
    read_from: int
    """The first column whose output is needed."""
    learnt: int
    """How many tokens are learnt."""

    @property
    def positions(self) -> Tensor:
        """The position of each column in its row, [rows, columns]; 0 in the padding."""
        columns = torch.arange(self.tokens.shape[1], device=self.tokens.device).expand_as(self.tokens)
        return columns if self.padding is None else (columns - self.padding[:, None]).clamp(min=0)


def collate(rows: Sequence[Row], *, align: str = "thoughts", device: str | torch.device = "cpu") -> Batch:
    """A batch of rows, aligned at their first thoughts, or at their ends (to generate behind them).

    Rows without thoughts are aligned at the place of theirs if others have some, and at the left if none have.
    """
    thinks = any(row.fed_back for row in rows)
    anchors = [len(row.tokens) if align == "end" else row.thoughts_at if thinks else 0 for row in rows]
    padding = [max(anchors) - anchor for anchor in anchors]
    columns = max(before + len(row.tokens) for before, row in zip(padding, rows, strict=True))
    tokens = torch.zeros(len(rows), columns, dtype=torch.long)
    labels = torch.full_like(tokens, IGNORED)
    thoughts = torch.zeros(len(rows), columns, dtype=torch.bool)
    starts, ends, reads = [], [], []
    for number, (before, row) in enumerate(zip(padding, rows, strict=True)):
        ids = torch.tensor(row.tokens, dtype=torch.long)
        tokens[number, before : before + len(ids)] = ids
        labels[number, before + row.learnt_from : before + len(ids)] = ids[row.learnt_from :]
        reads.append(before + row.learnt_from - 1)
        if row.fed_back:
            start = before + row.thoughts_at
            thoughts[number, start : start + row.fed_back] = True
            starts.append(start)
            ends.append(start + row.fed_back)
    return Batch(
        tokens.to(device),
        thoughts.to(device),
        labels.to(device),
        torch.tensor(padding, device=device) if any(padding) else None,
        min(starts, default=0),
        max(ends, default=0),
        min(reads),
        int((labels != IGNORED).sum()),
    )


class Thinker:
    """A decoder that thinks: its feedback, and the precision that it computes in."""

    def __init__(self, decoder: Decoder, feedback: Feedback, *, bfloat16: bool = False) -> None:
        self.decoder = decoder
        self.feedback = feedback
        self._bfloat16 = bfloat16

    def loss(self, batch: Batch) -> Tensor:
        """The summed negative log-likelihood of the tokens that are learnt."""
        with self._precision(batch):
            inputs = batch.tokens.shape[1] - 1  # the last column predicts nothing
            outputs = list(self._passes(batch, inputs, batch.read_from, self._keep(batch, inputs)))
            hidden = torch.cat(outputs, dim=1)[:, -(inputs - batch.read_from) :]
            labels = batch.labels[:, batch.read_from + 1 :]
            learnt = labels != IGNORED
            logits = self.decoder.head(hidden[learnt])
            return cross_entropy(logits.float() if self._bfloat16 else logits, labels[learnt], reduction="sum")

    def learn(self, batch: Batch, divisor: float) -> float:
        """Adds the gradient of loss / divisor to the parameters; returns the summed loss."""
        with WeightGradients().gathered(self.decoder.body):
            loss = self.loss(batch)
            (loss / divisor).backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    @torch.no_grad()
    def answer(self, batch: Batch, new_tokens: int, stop: int) -> list[list[int]]:
        """Greedy tokens behind each row of a batch that is aligned at its end; `stop` ends a row and is left out."""
        columns = batch.tokens.shape[1]
        with self._precision(batch):
            kept = self.decoder.keep(columns + new_tokens)
            visible = Visible(batch.padding, batch.tokens.device)
            *_, hidden = self._passes(batch, columns, columns - 1, kept)
            following = batch.positions[:, -1:]
            going = torch.ones(len(batch.tokens), dtype=torch.bool, device=batch.tokens.device)
            drawn: list[Tensor] = []
            for column in range(columns, columns + new_tokens):
                token = self.decoder.head(hidden[:, -1]).argmax(-1)
                token = torch.where(going, token, stop)
                going = going & (token != stop)
                drawn.append(token)
                if column == columns + new_tokens - 1 or not going.any():
                    break
                following = following + 1
                row = self.decoder.embedding(token)[:, None]
                hidden = self.decoder.forward(row, following, visible, start=column, kept=kept)
        tokens = torch.stack(drawn, dim=1).tolist()
        return [row[: row.index(stop)] if stop in row else row for row in tokens]

    def _keep(self, batch: Batch, columns: int) -> list[KeptKeys] | None:
        return self.decoder.keep(columns) if batch.first < batch.end else None

    def _passes(self, batch: Batch, columns: int, read_from: int, kept: Sequence[KeptKeys] | None) -> Iterator[Tensor]:
        """Outputs of the passes over the first `columns`, in order: at least those from column `read_from` on."""
        decoder, positions = self.decoder, batch.positions
        visible = Visible(batch.padding, batch.tokens.device)
        if batch.first == batch.end:
            rows = decoder.embedding(batch.tokens[:, :columns])
            yield decoder.forward(rows, positions[:, :columns], visible, kept=kept, read=columns - max(read_from, 0))
            return
        # One look-up for all tokens that are inputs, so that autograd makes one gradient of the table.
        lengths = (batch.first, batch.end - batch.first, columns - batch.end)
        before, among, after = decoder.embedding(batch.tokens[:, :columns]).split(lengths, dim=1)
        output = decoder.forward(
            before, positions[:, : batch.first], visible, kept=kept, read=batch.first - min(read_from, batch.first - 1)
        )
        yield output
        for column in range(batch.first, batch.end):
            row = self.feedback(output[:, -1:]).to(before.dtype)
            is_thought = batch.thoughts[:, column]
            if not all(is_thought.tolist()):
                row = torch.where(is_thought[:, None, None], row, among[:, column - batch.first, None])
            end = column + 1
            if column == batch.end - 1:  # the last thought and what follows it are one pass
                row, end = torch.cat([row, after], dim=1), columns
            output = decoder.forward(
                row,
                positions[:, column:end],
                visible,
                start=column,
                kept=kept,
                read=end - max(column, min(read_from, end - 1)),
            )
            yield output

    def _precision(self, batch: Batch) -> AbstractContextManager[object]:
        if not self._bfloat16:
            return nullcontext()
        return torch.autocast(batch.tokens.device.type, dtype=torch.bfloat16)


def clock(device: str) -> float:
    """Seconds as budgets count them: of a thread's work on a CPU, whatever else runs there; else of the wall."""
    return time.perf_counter() if device == "cuda" else time.process_time() / torch.get_num_threads()
