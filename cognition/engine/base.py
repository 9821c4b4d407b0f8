"""What every language model is to the rest: a prompt in, pieces of text out, and one account at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from core.errors import InvalidArgument

MAX_STOPS = 16
MAX_SEED = 2**64 - 1


class StopReason(StrEnum):
    """Why a generation ended."""

    DONE = "done"
    """The model ended its text, or a stop string came."""
    TOKENS = "tokens"
    """`new_tokens`, or what the context had left, was used up."""
    WALL = "wall"
    """The deadline passed."""


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: str
    """"system", "user" or "assistant"."""
    content: str


@dataclass(frozen=True, slots=True)
class Piece:
    """Text as it is decoded: whole characters, never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last item of every generation that was not cancelled and did not fail."""

    stop_reason: StopReason
    prompt_tokens: int
    new_tokens: int
    """Tokens drawn, the one that ended the text included."""
    reused_tokens: int = 0
    """Tokens of the prompt that were in the cache from the request before."""
    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0


Prompt = str | Sequence[Message]
"""A text to be continued as it is, or a chat that the model's own template turns into text."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest; the seed then does not matter."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise InvalidArgument(f"temperature is {self.temperature}; give 0 to 100", field="temperature")
        if not 0 < self.top_p <= 1:
            raise InvalidArgument(f"top_p is {self.top_p}; give more than 0 and at most 1", field="top_p")
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidArgument(f"seed is {self.seed}; give 0 to 2^64 - 1", field="seed")


class LanguageModel(ABC):
    """Generates text. All methods may be called from any event loop."""

    name: str
    context_tokens: int
    """Prompt and new tokens together."""
    device: str = ""
    """Where it computes, for example "cpu"."""
    parameters: int = 0
    """How many numbers it has learned."""

    @abstractmethod
    def generate(
        self,
        prompt: Prompt,
        *,
        new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int = 0,
        deadline_s: float | None = None,
        stop: Sequence[str] = (),
    ) -> AsyncGenerator[Piece | Finished, None]:
        """Yields Pieces, then one Finished.

        `deadline_s` counts from the first step of the iteration, waiting in the queue included. The text ends before
        the first of the `stop` strings. Closing the generator (`contextlib.aclosing`) or cancelling the task that
        iterates stops the model within one token. Raises InvalidArgument (an empty or over-long prompt, a
        parameter out of range), ResourceExhausted (ENGINE_BUSY) and Unavailable (ENGINE_CLOSED), all at the first
        step; whatever stops the model later is raised where it happens.
        """

    @abstractmethod
    def count_tokens(self, prompt: Prompt) -> int:
        """How many tokens a prompt takes, template included."""

    @abstractmethod
    def close(self) -> None:
        """Stops what runs, refuses what waits (Unavailable, ENGINE_CLOSED), and ends the thread."""


def check_request(prompt: Prompt, new_tokens: int, deadline_s: float | None, stop: Sequence[str]) -> None:
    """Raises InvalidArgument for what no model can do."""
    if not prompt:
        raise InvalidArgument("the prompt is empty; give at least one character or message", field="prompt")
    if not isinstance(prompt, str):
        for place, message in enumerate(prompt):
            if message.role not in ("system", "user", "assistant"):
                raise InvalidArgument(
                    f"message {place} has the role {message.role!r}; give system, user or assistant",
                    field=f"prompt[{place}].role",
                )
    if new_tokens < 1:
        raise InvalidArgument(f"new_tokens is {new_tokens}; give 1 or more", field="new_tokens")
    if deadline_s is not None and not deadline_s > 0:
        raise InvalidArgument(f"deadline_s is {deadline_s}; give more than 0 seconds", field="deadline_s")
    if len(stop) > MAX_STOPS or not all(stop):
        raise InvalidArgument(f"stop has {len(stop)} strings; give at most {MAX_STOPS}, none empty", field="stop")
