"""One Thought at work: its rows, how far they are computed, and what comes next.

A Thought is a list of rows that only grows: prompt, latent steps, what always stands between thoughts and text, tokens.
Some of its rows are computed, that is, their keys and values are in the cache; the rest waits. When nothing waits, the
last hidden row decides what is added: a thought (`Want.THINK`), all rows of a Jacobi round (`Want.ROUND`), or a token
(`Want.SPEAK`). Losing the slot loses nothing but time: all rows are here, and are computed again.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from cognition.engine.base import (
    Candidate,
    Finished,
    Mode,
    Piece,
    Request,
    Row,
    StopReason,
    StopRule,
    Thinking,
    ThoughtState,
)
from cognition.engine.constraint import Matcher
from cognition.engine.delivery import Mailbox
from cognition.engine.text import IncrementalDecoder, StopStrings
from core.errors import InvalidArgument


class Vector:
    """A row that was thought: a tensor, shape [width], float32. Equal to rows of the same bytes."""

    __slots__ = ("_bytes", "tensor")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self._bytes: bytes | None = None

    @classmethod
    def of(cls, data: bytes, device: torch.device) -> Vector:
        """From float32 numbers, little-endian."""
        return cls(torch.from_numpy(np.frombuffer(data, "<f4").copy()).to(device))

    @property
    def bytes(self) -> bytes:
        """The numbers, little-endian. Waits for the device."""
        if self._bytes is None:
            self._bytes = self.tensor.cpu().numpy().astype("<f4").tobytes()
        return self._bytes

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Vector) and self.bytes == other.bytes)


class Draw:
    """A token that was drawn on the device and has not been read yet: `tokens[place]`."""

    __slots__ = ("place", "tokens", "value")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, tokens: Tensor, place: int) -> None:
        self.tokens, self.place = tokens, place
        self.value: int | None = None

    def __eq__(self, other: object) -> bool:
        return self is other or (self.value is not None and self.value == other)


Input = int | tuple[int, ...] | Vector | Draw
"""A row: a token, a sum of tokens, a vector, or a token not read yet."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as a model takes it."""

    rows: list[Input]
    suffix: tuple[Input, ...]
    """What always follows the thoughts."""
    decode: Callable[[list[int]], str]
    symbols: tuple[str, ...] = ()
    allowed: tuple[int, ...] = ()
    most_tokens: int | None = None
    """How many tokens an answer has, where it is always as many."""


class Want(enum.Enum):
    """What the last hidden row of a Thought is for."""

    THINK = enum.auto()
    ROUND = enum.auto()
    SPEAK = enum.auto()


@dataclass(eq=False, slots=True)
class Thought:
    """See the module. Used by the engine's thread alone, but for the mailbox."""

    id: int
    request: Request
    mailbox: Mailbox
    prompt: Encoded
    thinking: Thinking
    capacity: int
    pause_token: int | None = None
    width: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rows: list[Input] = field(default_factory=list)
    computed: int = 0
    """Rows whose keys and values are in the slot."""
    slot: int | None = None
    latent_start: int = 0
    """Where the thoughts begin among the rows."""
    latents: int = 0
    """Latent steps there are, those of a continued state included."""
    drawn: int = 0
    """Tokens drawn, whether read or not."""
    count: int = 0
    """Tokens read, one that ended the text included."""
    tokens: list[int] = field(default_factory=list)
    """Those that were read, without one that ended the text."""
    logprob: float = 0.0
    """The sum over the drawn tokens."""
    held: bool = False
    """Whether the next row depends on a token that was not read yet."""
    matcher: Matcher | None = None
    ended: bool = False
    counted: bool = True
    """Whether it takes one of the places that an engine has, for those that compute and those that wait."""
    reused: int = 0
    started: float | None = None
    prefilled: float | None = None
    told: int = 0
    """Latent steps that the caller was told of."""
    _rounds_left: int = 0
    _round_start: int = -1
    """Where the rows of the rounds begin; -1 before the first."""
    _calm: int = 0
    """Latent steps running for which the rule said enough."""
    _thinks: bool = False
    _suffixed: bool = False
    _decoder: IncrementalDecoder = field(init=False)
    _stops: StopStrings = field(init=False)

    def __post_init__(self) -> None:
        self._stops = StopStrings(self.request.stop)

    # What it is made of

    def begin(self, state: ThoughtState | None) -> None:
        """Lays out the rows that are known: of a prompt, or of a state that is continued."""
        self._decoder = IncrementalDecoder(self.prompt.decode)
        self.rows = list(self.prompt.rows)
        self.latent_start = len(self.rows)
        thinking = self.thinking
        if state is not None:
            self.rows += [self.input_of(row) for row in state.latent]
            self.latents = len(state.latent)
        if thinking.mode is Mode.PAUSE:
            assert self.pause_token is not None
            self.rows += [self.pause_token] * thinking.steps
            self.latents += thinking.steps
        self._thinks = thinking.mode not in (Mode.NONE, Mode.PAUSE, Mode.RECURRENT)
        self._rounds_left = thinking.rounds if thinking.mode is Mode.JACOBI else 0
        if not self._thinks:
            self._append_suffix()
        if state is not None:
            self.rows += state.tokens
            for token in state.tokens:
                self._decoder.add(token)

    def input_of(self, row: Row) -> Input:
        """A row of a state, as the engine has it."""
        if row.ids:
            return row.ids[0] if len(row.ids) == 1 else row.ids
        if len(row.vector) != 4 * self.width:
            raise InvalidArgument(
                f"a vector has {len(row.vector)} bytes; the rows of this model have {4 * self.width} (float32)",
                field="prompt",
            )
        return Vector.of(row.vector, self.device)

    @property
    def depth(self) -> int:
        """Passes of the recurrent block; 0 means as the model was made."""
        if self.thinking.mode is Mode.RECURRENT:
            return self.thinking.steps
        state = self.request.prompt
        return state.depth if isinstance(state, ThoughtState) else 0

    @property
    def rows_at_most(self) -> int:
        """How many rows it can come to, were it to draw one token."""
        more = self.thinking.steps if self._thinks else 0
        return len(self.rows) + more + (0 if self._suffixed else len(self.prompt.suffix))

    @property
    def budget(self) -> int:
        """How many tokens it may draw."""
        most = self.prompt.most_tokens or self.request.new_tokens
        state = self.request.prompt
        if self.prompt.most_tokens and isinstance(state, ThoughtState):
            most = max(0, most - len(state.tokens))
        return min(self.request.new_tokens, most, self.drawn + self.capacity - len(self.rows))

    # What it waits for

    @property
    def waiting(self) -> int:
        """Rows that can be computed now."""
        if self.held or self.ended:
            return 0
        if self._in_rounds:
            return (self.firm if self.computed < self.firm else len(self.rows)) - self.computed
        # The last row goes by itself, as it does where all before it is in the cache already: formats of matrices
        # differ with the number of rows, and what is drawn is not to differ with what was asked before.
        left = len(self.rows) - self.computed
        return left - 1 if left > 1 else left

    @property
    def firm(self) -> int:
        """How many of its rows stay as they are: those before a round that goes on, else all."""
        return self._round_start if self._in_rounds else len(self.rows)

    @property
    def indivisible(self) -> bool:
        """Whether what waits is a round, whose rows are computed together."""
        return self._in_rounds and self.computed >= self.firm

    @property
    def _in_rounds(self) -> bool:
        return self._rounds_left > 0 and self._round_start >= 0

    def want(self) -> Want:
        """What the hidden row is for that is computed when nothing waits."""
        if self._in_rounds:
            return Want.ROUND
        return Want.THINK if self._thinks else Want.SPEAK

    # What a step brings

    def think(self, row: Tensor) -> None:
        """Adds a latent step; after the last, what always follows."""
        if self.thinking.mode is Mode.JACOBI:
            self._begin_rounds(row)
            return
        self.rows.append(Vector(row))
        self.latents += 1
        if self.latents - self.before >= self.thinking.steps:
            self._end_thinking()

    @property
    def may_stop(self) -> bool:
        """Whether its rule is asked at the hidden row of the last latent step."""
        adaptive = self.thinking.rule is not StopRule.FIXED
        return adaptive and self._thinks and self.latents > self.before

    def enough(self, says_so: bool) -> bool:
        """Ends the thoughts if the rule has said so often enough running."""
        self._calm = self._calm + 1 if says_so else 0
        if self._calm < self.thinking.patience:
            return False
        self._end_thinking()
        return True

    @property
    def before(self) -> int:
        """Latent steps of a state that is continued."""
        state = self.request.prompt
        return len(state.latent) if isinstance(state, ThoughtState) else 0

    def _begin_rounds(self, first: Tensor) -> None:
        self._round_start = len(self.rows)
        count = self.thinking.steps
        blank: Input = self.pause_token if self.pause_token is not None else Vector(torch.zeros_like(first))
        self.rows += [Vector(first), *([blank] * (count - 1))]
        self.latents += count

    def round(self, rows: Tensor) -> None:
        """A Jacobi round was computed: `rows`, shape [steps, width], are what each would feed to the next one."""
        self._rounds_left -= 1
        if self._rounds_left:
            start = self._round_start
            self.rows[start + 1 : start + len(rows)] = [Vector(row) for row in rows[:-1]]
            # The first row stands already; what is computed of the others is not of these rows.
            self.computed = start
        else:
            self._end_thinking()

    def _end_thinking(self) -> None:
        self._thinks = False
        self._append_suffix()

    def _append_suffix(self) -> None:
        if not self._suffixed:
            self.rows += self.prompt.suffix
            self._suffixed = True

    def drew(self, draw: Input) -> None:
        """A token was drawn, and is its next row."""
        self.rows.append(draw)
        self.drawn += 1

    def read(
        self, token: int, logprob: float, alternatives: tuple[Candidate, ...], ends: frozenset[int]
    ) -> tuple[Piece | None, StopReason | None]:
        """A drawn token has been read: the text that comes of it, and whether it was the last."""
        self.logprob += logprob
        self.rows[len(self.rows) - self.drawn + self.count] = token
        self.count += 1
        if token in ends:
            return None, StopReason.DONE
        self.tokens.append(token)
        complete = self.matcher is not None and self.matcher.take(token)
        text = self._decoder.add(token)
        piece = self._stops.add(text)
        told: Piece | None = None
        if self.request.logprobs is not None:
            told = Piece(piece, (Candidate(token, text, logprob),), (alternatives,))
        elif piece:
            told = Piece(piece)
        if self._stops.reached or complete:
            return told, StopReason.DONE
        fixed = self.prompt.most_tokens is not None and len(self.tokens) >= self.prompt.most_tokens
        if fixed:
            return told, StopReason.DONE
        if self.count >= self.request.new_tokens or len(self.rows) >= self.capacity:
            return told, StopReason.TOKENS
        return told, None

    def flush(self) -> str:
        """Text that was held back, for it might have been the beginning of a stop string."""
        return self._stops.flush()

    def finished(self, reason: StopReason, model: str) -> Finished:
        """The account."""
        now = time.monotonic()
        started = self.started or now
        prefilled = self.prefilled or now
        return Finished(
            stop_reason=reason,
            prompt_tokens=len(self.prompt.rows),
            new_tokens=self.count,
            reused_tokens=self.reused,
            queued_s=started - self.mailbox.submitted,
            prefill_s=prefilled - started,
            decode_s=now - prefilled,
            latent_steps=self.latents - self.before + (self.thinking.steps if self.depth else 0),
            confidence=float(np.exp(self.logprob / self.count)) if self.count else None,
            state=self.state(model) if self.request.keep else None,
        )

    def state(self, model: str) -> ThoughtState:
        """The Thought as it can be kept: what was read, and no token that ends the text."""
        before = self.request.prompt
        told = before.tokens if isinstance(before, ThoughtState) else ()
        latent = self.rows[self.latent_start : self.latent_start + self.latents]
        return ThoughtState(
            model=model,
            prompt=tuple(_row(one) for one in self.prompt.rows),
            latent=tuple(_row(one) for one in latent),
            suffix=tuple(_row(one) for one in self.prompt.suffix),
            tokens=(*told, *self.tokens),
            symbols=self.prompt.symbols,
            allowed=self.prompt.allowed,
            depth=self.depth,
        )


def _row(one: Input) -> Row:
    if isinstance(one, Vector):
        return Row(vector=one.bytes)
    if isinstance(one, Draw):
        raise ValueError("a token that was not read is no part of a state")
    return Row(ids=one if isinstance(one, tuple) else (one,))
