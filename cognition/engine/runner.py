"""Computes one planned step: rows in, thoughts and tokens out. Decides nothing about whose turn it is.

A step gathers the waiting rows of the Thoughts in a plan, passes them through the decoder at once, and adds to each
Thought whose rows are all computed what its last hidden row is for: the next latent step, a round of them, or a token.
Nothing is read back from the device for that, so the next step can be launched before this one's tokens are known;
`Step.read` brings them. Only what has to know before it goes on waits: a rule that may end the thoughts, and a
constraint, whose Thought is held until its token is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cognition.engine import feedback as thinking
from cognition.engine import sampler
from cognition.engine.base import StopRule
from cognition.engine.cache import Key, KeyValueCache, Slots
from cognition.engine.decoder import Batch, Chunk, Decoder
from cognition.engine.feedback import Feedback
from cognition.engine.graphs import Graphs
from cognition.engine.thought import Draw, Input, Thought, Vector, Want


@dataclass(slots=True)
class _Spoken:
    """Tokens drawn in a step, and whose they are."""

    thoughts: list[Thought]
    drawn: sampler.Drawn
    likeliest: tuple[Tensor, Tensor] | None
    """Log-probabilities and ids, shape [rows, n], where some asked for them."""


@dataclass(slots=True)
class _Thought:
    """Latent steps taken in a step, and whose they are."""

    thoughts: list[Thought]
    norms: Tensor
    entropies: Tensor | None
    likeliest: tuple[Tensor, Tensor] | None
    asked: list[bool]
    """Whether the distribution was looked at, by Thought."""


@dataclass(frozen=True, slots=True)
class ReadToken:
    """A token that a Thought drew."""

    thought: Thought
    token: int
    logprob: float
    likeliest: tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class ReadThought:
    """A latent step that a Thought took."""

    thought: Thought
    norm: float
    entropy: float | None
    likeliest: tuple[tuple[int, float], ...]


@dataclass(slots=True)
class Step:
    """What one step brought, on the device."""

    outcomes: list[Thought]
    """Whose rows were all computed."""
    spoken: _Spoken | None = None
    thought: _Thought | None = None
    rows: int = 0
    """How many were computed."""
    draws: list[Draw] = field(default_factory=list)

    def read(self) -> tuple[list[ReadThought], list[ReadToken]]:
        """Latent steps and tokens. Waits for the device.

        A length or a log-probability that is not finite says that the hidden row was not.
        """
        thoughts, tokens = [], []
        if (told := self.thought) is not None:
            norms = told.norms.tolist()
            entropies = [None] * len(norms) if told.entropies is None else told.entropies.tolist()
            nearest = _rows(told.likeliest, len(norms))
            for at, one in enumerate(told.thoughts):
                asked = told.asked[at]
                count = one.thinking.probe
                thoughts.append(ReadThought(one, norms[at], entropies[at] if asked else None, nearest[at][:count]))
        if (spoken := self.spoken) is not None:
            ids, logprobs = spoken.drawn.tokens.tolist(), spoken.drawn.logprobs.tolist()
            likeliest = _rows(spoken.likeliest, len(ids))
            for at, one in enumerate(spoken.thoughts):
                count = one.request.logprobs or 0
                tokens.append(ReadToken(one, ids[at], logprobs[at], likeliest[at][:count]))
            for draw, token in zip(self.draws, ids, strict=True):
                draw.value = token
        return thoughts, tokens


def _rows(likeliest: tuple[Tensor, Tensor] | None, count: int) -> list[tuple[tuple[int, float], ...]]:
    if likeliest is None:
        return [()] * count
    values, ids = likeliest[0].tolist(), likeliest[1].tolist()
    return [tuple(zip(row, logprobs, strict=True)) for row, logprobs in zip(ids, values, strict=True)]


class Runner:
    """A decoder with its cache. One thread at a time."""

    def __init__(
        self, decoder: Decoder, cache: KeyValueCache, ends: frozenset[int], *, graphs: bool | None = None
    ) -> None:
        """`ends` are the tokens that end a text. `graphs` None computes in graphs where the device is a GPU."""
        self._decoder = decoder
        self._cache = cache
        self._feedback = Feedback(decoder)
        self._ends = torch.tensor(sorted(ends), dtype=torch.int64, device=decoder.device)
        self._graphs = None
        if decoder.device.type == "cuda" if graphs is None else graphs:
            self._graphs = Graphs(decoder, cache)
        self.slots = Slots(cache)

    @property
    def typical_norm(self) -> float:
        """The mean length of the model's token embeddings."""
        return self._feedback.typical_norm

    def norm_of(self, row: Input) -> float:
        """The length of a row. Waits for the device."""
        return float(self._embedded([row])[0].norm())

    def admit(self, thought: Thought) -> None:
        """Gives a Thought a slot, with the rows that are there already. LookupError where none is free."""
        thought.slot, held = self.slots.take(thought, _keys(thought.rows), thought.depth)
        thought.computed = min(held, thought.firm)

    def release(self, thought: Thought, *, broken: bool = False) -> None:
        """Takes the slot from a Thought; its rows have to be computed again, should it go on."""
        if thought.slot is not None:
            if broken:
                self.slots.forget(thought.slot)
                self._cache.clear(thought.slot)
            self.slots.leave(thought.slot)
        thought.slot, thought.computed = None, 0

    def run(self, work: Sequence[tuple[Thought, int]]) -> Step:
        """Computes so many waiting rows of each Thought, which has to hold a slot."""
        hidden, outcomes, rounds = self._forward(work)
        step = Step(outcomes, rows=sum(count for _, count in work))
        for thought, rows in rounds:
            fed = self._feedback.rows_for([thought.thinking] * len(rows), rows, rows)
            thought.round(fed)
        if outcomes:
            self._after(step, hidden)
        return step

    def _forward(
        self, work: Sequence[tuple[Thought, int]]
    ) -> tuple[Tensor, list[Thought], list[tuple[Thought, Tensor]]]:
        """Hidden rows of the Thoughts whose rows are all computed now, those Thoughts, and the rows of rounds."""
        parts, outcomes, rounds = [], [], []
        for depth in sorted({thought.depth for thought, _ in work}):
            ordered = sorted(
                ((one, count) for one, count in work if one.depth == depth),
                key=lambda item: (item[1] > 1, item[0].slot),
            )
            chunks, inputs, whose = [], [], []
            select: list[int] = []
            at = 0
            for thought, count in ordered:
                assert thought.slot is not None
                start = thought.computed
                rows = thought.rows[start : start + count]
                chunks.append(Chunk(thought.slot, start, count))
                inputs += rows
                if start + count == len(thought.rows):
                    in_round = thought.want() is Want.ROUND
                    select += range(at if in_round else at + count - 1, at + count)
                    whose.append((thought, count if in_round else 0))
                thought.computed += count
                self.slots.computed(thought.slot, _keys(rows), start)
                at += count
            hidden = self._computed(inputs, chunks, select, depth)
            at, last = 0, []
            for thought, count in whose:
                if count:
                    rounds.append((thought, hidden[at : at + count]))
                # A Thought in a round speaks from its last row, if this was the last round.
                at += count or 1
                last.append(at - 1)
                outcomes.append(thought)
            if rounds:
                hidden = hidden[last]
            parts.append(hidden)
        return parts[0] if len(parts) == 1 else torch.cat(parts), outcomes, rounds

    def _computed(self, inputs: Sequence[Input], chunks: Sequence[Chunk], select: list[int], depth: int) -> Tensor:
        """Hidden rows after the final norm at `select`, shape [len(select), width]."""
        rows = self._embedded(inputs)
        if self._graphs is not None and depth == 0 and len(select) == len(chunks) == len(inputs):
            return self._graphs.step(rows, chunks)
        batch = Batch(chunks, self._decoder.config, self._decoder.device)
        chosen = None
        if len(select) < len(inputs):
            chosen = torch.tensor(select, dtype=torch.int64, device=self._decoder.device)
        return self._decoder.forward(rows, batch, self._cache, chosen, depth)

    def _embedded(self, inputs: Sequence[Input]) -> Tensor:
        """Rows of input, shape [n, width]."""
        decoder = self._decoder
        if len(inputs) == 1 and isinstance(inputs[0], Vector):
            return inputs[0].tensor[None]
        ids = torch.tensor([one if isinstance(one, int) else 0 for one in inputs], device=decoder.device)
        draws = [(at, one) for at, one in enumerate(inputs) if isinstance(one, Draw)]
        if draws:
            # Those of one step are in one tensor: gathered together, with no kernel for each.
            for tokens in {id(one.tokens): one.tokens for _, one in draws}.values():
                some = [(at, one.place) for at, one in draws if one.tokens is tokens]
                places, sources = torch.tensor(some, device=decoder.device).unbind(dim=1)
                ids[places] = tokens[sources]
        rows = decoder.embed(ids)
        for at, one in enumerate(inputs):
            if isinstance(one, Vector):
                rows[at] = one.tensor
            elif isinstance(one, tuple):
                rows[at] = decoder.embed(torch.tensor(one, device=decoder.device)).sum(dim=0)
        return rows

    def _after(self, step: Step, hidden: Tensor) -> None:
        """Adds to each Thought what its hidden row is for."""
        thoughts = step.outcomes
        wants = [None if one.waiting else one.want() for one in thoughts]
        # A learned rule needs no distribution, and may turn a latent step into a token: it comes first.
        for at, one in enumerate(thoughts):
            if wants[at] is Want.THINK and one.may_stop and one.thinking.rule is StopRule.LEARNED:
                wants[at] = self._asked(one, hidden[at], None)
        looked = [
            at
            for at, one in enumerate(thoughts)
            if wants[at] is Want.SPEAK or (wants[at] is Want.THINK and thinking.needs_logits(one.thinking))
        ]
        place = {at: row for row, at in enumerate(looked)}
        logits = self._decoder.logits(hidden if len(looked) == len(thoughts) else hidden[looked]) if looked else None
        for at, one in enumerate(thoughts):
            if wants[at] is Want.THINK and one.may_stop and one.thinking.rule is StopRule.ENTROPY:
                assert logits is not None
                wants[at] = self._asked(one, hidden[at], logits[place[at]])
        thinkers = [at for at, want in enumerate(wants) if want is Want.THINK]
        if thinkers:
            self._think(step, thinkers, hidden, logits, place)
        speakers = [at for at, want in enumerate(wants) if want is Want.SPEAK]
        if speakers:
            assert logits is not None
            whole = len(speakers) == len(looked)
            self._speak(
                step, [thoughts[at] for at in speakers], logits if whole else logits[[place[at] for at in speakers]]
            )

    def _asked(self, thought: Thought, hidden: Tensor, logits: Tensor | None) -> Want | None:
        """What is wanted once a rule was asked: another latent step, or what comes after the thoughts."""
        if not thought.enough(self._feedback.stops(thought.thinking, hidden, logits)):
            return Want.THINK
        return None if thought.waiting else Want.SPEAK

    def _think(
        self, step: Step, thinkers: list[int], hidden: Tensor, logits: Tensor | None, place: dict[int, int]
    ) -> None:
        thoughts = [step.outcomes[at] for at in thinkers]
        asked = [at in place for at in thinkers]
        # Rows that need no distribution are given any: nothing of it is looked at.
        seen = hidden[thinkers] if logits is None else logits[[place.get(at, 0) for at in thinkers]]
        rows = self._feedback.rows_for([one.thinking for one in thoughts], hidden[thinkers], seen)
        entropies, likeliest = None, None
        if any(asked):
            entropies = thinking.entropy(seen)
            most = max(one.thinking.probe for one in thoughts)
            likeliest = _likeliest(seen, most) if most else None
        step.thought = _Thought(thoughts, rows.norm(dim=-1), entropies, likeliest, asked)
        for one, row in zip(thoughts, rows, strict=True):
            one.think(row)

    def _speak(self, step: Step, thoughts: list[Thought], logits: Tensor) -> None:
        asked = [one.request.logprobs or 0 for one in thoughts]
        likeliest = _likeliest(logits, max(asked)) if any(asked) else None
        logits = self._bounded(thoughts, logits)
        drawn = sampler.sample(
            logits,
            [one.request.sampling for one in thoughts],
            [one.drawn + _already(one) for one in thoughts],
        )
        step.spoken = _Spoken(thoughts, drawn, likeliest)
        for at, one in enumerate(thoughts):
            draw = Draw(drawn.tokens, at)
            step.draws.append(draw)
            one.drew(draw)
            one.held = one.matcher is not None or one.drawn >= one.budget

    def _bounded(self, thoughts: list[Thought], logits: Tensor) -> Tensor:
        """Logits with what may not be drawn at minus infinity."""
        for at, one in enumerate(thoughts):
            early = one.drawn < one.request.min_new_tokens and len(self._ends)
            if not (early or one.matcher or one.prompt.allowed):
                continue
            row = logits[at].clone()
            if early:
                row[self._ends] = -torch.inf
            if one.matcher is not None:
                row[~one.matcher.allowed().to(row.device)] = -torch.inf
            if one.prompt.allowed:
                kept = torch.tensor(one.prompt.allowed, device=row.device)
                row = torch.full_like(row, -torch.inf).index_copy(0, kept, row[kept])
            logits[at] = row
        return logits


def _likeliest(logits: Tensor, count: int) -> tuple[Tensor, Tensor]:
    values, ids = logits.topk(min(count, logits.shape[-1]), dim=-1)
    return values - logits.logsumexp(dim=-1, keepdim=True), ids


def _already(thought: Thought) -> int:
    """Tokens of a state that is continued: its draws go on where they were."""
    state = thought.request.prompt
    return len(getattr(state, "tokens", ()))


def _keys(rows: Sequence[Input]) -> list[Key]:
    return list(rows)
