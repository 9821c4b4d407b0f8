"""What every language model is to the rest: a prompt in, thoughts and pieces of text out, and one account at the end.

A Thought is one sequence in the engine: a prompt, latent steps, tokens. What asks for one is a `Request`, plain data
that is checked when it is made; what comes back is a stream of `LatentStep` and `Piece`, and one `Finished`. A finished
Thought can be kept as a `ThoughtState`: its rows in order, each the ids of tokens or a vector. From that alone it is
resumed, forked or edited, on any machine that has the same model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from core.errors import InvalidArgument

MAX_STOPS = 16
MAX_SEED = 2**64 - 1
MAX_LATENT_STEPS = 1024
MAX_PROBE = 32
"""Nearest tokens told of each latent step, at most."""
MAX_LOGPROBS = 20


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


Prompt = str | Sequence[Message]
"""A text to be continued as it is, or a chat that the model's own template turns into text."""


class Mode(StrEnum):
    """What a latent step feeds back as the next row of input."""

    NONE = "none"
    """No latent steps."""
    HIDDEN = "hidden"
    """The last hidden state after the final norm (Coconut, arXiv 2412.06769)."""
    PROJECTED = "projected"
    """That state through the model's learned projection (CODI, arXiv 2502.21074)."""
    SOFT = "soft"
    """The mean of the token embeddings under the next token's distribution (Soft Thinking, arXiv 2505.15778): of any
    model, untrained."""
    JACOBI = "jacobi"
    """All latent steps at once, improved together in a few rounds (PCCoT, arXiv 2506.18582)."""
    PAUSE = "pause"
    """The embedding of one and the same token (pause tokens, arXiv 2310.02226): the control that feeds nothing back."""
    RECURRENT = "recurrent"
    """No rows at all: the model's recurrent block is passed more often (Huginn, arXiv 2502.05171)."""


class StopRule(StrEnum):
    """When latent steps end before their budget does."""

    FIXED = "fixed"
    """They do not."""
    ENTROPY = "entropy"
    """When the next token's distribution has had less than `threshold` nats of entropy for `patience` steps running
    (the cold stop of Soft Thinking)."""
    LEARNED = "learned"
    """When the model's own halting head says so with a probability of `threshold` or more."""


def _within(name: str, value: int | float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidArgument(f"{name} is {value}; give {least} to {most}", field=name)


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a Thought thinks before its first token. The defaults of a model are in its config, `latent`."""

    mode: Mode = Mode.NONE
    steps: int = 0
    """Latent steps at most."""
    rule: StopRule = StopRule.FIXED
    threshold: float = 0.5
    patience: int = 1
    temperature: float = 1.0
    """Of the distribution that `soft` averages under."""
    top_k: int = 0
    """How many tokens `soft` averages over; 0 means all."""
    rounds: int = 3
    """Rounds of `jacobi`."""
    least_norm: float = 0.0
    most_norm: float = 0.0
    """A row that is fed back is scaled into this range of Euclidean lengths, as multiples of the mean length of the
    model's token embeddings; 0 for the upper end leaves rows as they are. Guards against the drift of norms."""
    probe: int = 0
    """How many nearest tokens are told of each step."""

    def __post_init__(self) -> None:
        _within("steps", self.steps, 0, MAX_LATENT_STEPS)
        if (self.mode is Mode.NONE) != (self.steps == 0):
            raise InvalidArgument(
                f"mode is {self.mode.value} with {self.steps} latent steps; give a mode and 1 step or more, or neither",
                field="thinking.steps",
            )
        _within("patience", self.patience, 1, MAX_LATENT_STEPS)
        _within("top_k", self.top_k, 0, 2**31 - 1)
        _within("rounds", self.rounds, 1, 64)
        _within("probe", self.probe, 0, MAX_PROBE)
        if self.rule is StopRule.LEARNED:
            _within("threshold", self.threshold, 0, 1)
        if self.rule is StopRule.ENTROPY:
            _within("threshold", self.threshold, 0, 1e6)
        if not 0 < self.temperature <= 100:
            raise InvalidArgument(
                f"thinking.temperature is {self.temperature}; give more than 0 and at most 100",
                field="thinking.temperature",
            )
        if not 0 <= self.least_norm <= (self.most_norm or 1e6) <= 1e6:
            raise InvalidArgument(
                f"thinking.least_norm is {self.least_norm} and most_norm {self.most_norm}; give 0 <= least <= most",
                field="thinking.least_norm",
            )


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. Temperature 0 takes the likeliest; the rest then does not matter."""

    temperature: float = 0.0
    top_p: float = 1.0
    """Only the likeliest tokens that together reach this probability."""
    seed: int = 0
    top_k: int = 0
    """Only so many of the likeliest; 0 means all."""
    min_p: float = 0.0
    """Only tokens with at least this part of the likeliest one's probability (arXiv 2407.01082)."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise InvalidArgument(f"temperature is {self.temperature}; give 0 to 100", field="temperature")
        if not 0 < self.top_p <= 1:
            raise InvalidArgument(f"top_p is {self.top_p}; give more than 0 and at most 1", field="top_p")
        if not 0 <= self.seed <= MAX_SEED:
            raise InvalidArgument(f"seed is {self.seed}; give 0 to 2^64 - 1", field="seed")
        if not 0 <= self.top_k <= 2**31 - 1:
            raise InvalidArgument(f"top_k is {self.top_k}; give 0 or more", field="top_k")
        if not 0 <= self.min_p <= 1:
            raise InvalidArgument(f"min_p is {self.min_p}; give 0 to 1", field="min_p")


class ConstraintKind(StrEnum):
    """In what language a constraint is written."""

    JSON_SCHEMA = "json_schema"
    REGEX = "regex"
    GRAMMAR = "grammar"
    """A context-free grammar in Lark's syntax."""


@dataclass(frozen=True, slots=True)
class Constraint:
    """What the text after the thoughts has to be."""

    kind: ConstraintKind
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """One row of input: the ids of tokens, whose embeddings are added up (mostly a single one), or a vector."""

    ids: tuple[int, ...] = ()
    vector: bytes = b""
    """float32, little-endian; its shape is [hidden size]. Empty where there are ids."""

    def __post_init__(self) -> None:
        if bool(self.ids) == bool(self.vector):
            raise InvalidArgument("a row needs either the ids of tokens or a vector", field="rows")


@dataclass(frozen=True, slots=True)
class ThoughtState:
    """A Thought as it can be kept: prompt, latent steps and tokens, as rows in order. Plain data."""

    model: str
    """The address of the model whose rows these are."""
    prompt: tuple[Row, ...]
    latent: tuple[Row, ...] = ()
    suffix: tuple[Row, ...] = ()
    """What the model is always given between its thoughts and its text, such as the token that ends thinking."""
    tokens: tuple[int, ...] = ()
    """What was drawn, the token that ended the text left out."""
    symbols: tuple[str, ...] = ()
    """What the tokens of a model of symbols stand for in this Thought, by token id; empty for models of text."""
    allowed: tuple[int, ...] = ()
    """The only tokens that can be drawn; empty where all can."""
    depth: int = 0
    """Passes of the recurrent block that the mode `recurrent` asked for; 0 means the model's own."""

    def truncated(self, latent_steps: int | None = None, tokens: int | None = None) -> ThoughtState:
        """The state as it was after so many latent steps and tokens; None leaves all. Fewer steps leave no tokens."""
        state = self
        if latent_steps is not None:
            _within("keep_latent_steps", latent_steps, 0, len(self.latent))
            kept = self.tokens if latent_steps == len(self.latent) else ()
            state = replace(state, latent=self.latent[:latent_steps], tokens=kept)
        if tokens is not None:
            _within("keep_tokens", tokens, 0, len(state.tokens))
            state = replace(state, tokens=state.tokens[:tokens])
        return state

    def edited(self, step: int, vector: bytes) -> ThoughtState:
        """The state with another vector for latent step `step` (from 0), and nothing after it: it followed from the
        old one.
        """
        _within("edits.step", step, 0, len(self.latent) - 1)
        if len(vector) != len(self.latent[step].vector):
            raise InvalidArgument(
                f"the vector for latent step {step} has {len(vector)} bytes; the model's rows have "
                f"{len(self.latent[step].vector)} (float32)",
                field="edits.vector",
            )
        return replace(self, latent=(*self.latent[:step], Row(vector=vector)), tokens=())


def check_request(
    prompt: Prompt | ThoughtState, new_tokens: int, deadline_s: float | None, stop: Sequence[str]
) -> None:
    """Raises InvalidArgument for what no model can do."""
    if not prompt:
        raise InvalidArgument("the prompt is empty; give at least one character or message", field="prompt")
    if not isinstance(prompt, str | ThoughtState):
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


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a language model. Checked when made: InvalidArgument names the field."""

    prompt: Prompt | ThoughtState
    """A state is continued: its rows are the input, and thoughts and tokens follow them."""
    new_tokens: int = 256
    thinking: Thinking | None = None
    """None thinks as the model was trained to (`Capabilities.default`): most models not at all."""
    sampling: Sampling = Sampling()
    deadline_s: float | None = None
    """Seconds from the first step of the iteration, waiting in the queue included."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these."""
    constraint: Constraint | None = None
    logprobs: int | None = None
    """None tells no log-probabilities; 0 those of the drawn tokens; more, those of so many likeliest besides."""
    min_new_tokens: int = 0
    """No token that ends the text is drawn before so many others."""
    keep: bool = False
    """Whether `Finished` has the state."""
    priority: int = 0
    """Higher is served first; of equal ones, those whose `share` has had least."""
    share: str = ""
    """Whose share of the engine it uses: a namespace."""

    def __post_init__(self) -> None:
        check_request(self.prompt, self.new_tokens, self.deadline_s, self.stop)
        if self.logprobs is not None:
            _within("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        _within("priority", self.priority, -100, 100)
        _within("min_new_tokens", self.min_new_tokens, 0, self.new_tokens)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token with its log-probability, in nats."""

    token: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class LatentStep:
    """One latent step was taken."""

    step: int
    """From 0."""
    norm: float
    """The Euclidean length of the row that is fed back."""
    entropy: float | None = None
    """Of the next token's distribution at this step, in nats; None where nothing asked for that distribution: a probe,
    the rule `entropy` or the mode `soft`."""
    nearest: tuple[Candidate, ...] = ()
    """The likeliest tokens were the model to speak here (the logit lens), as many as `Thinking.probe`."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Text as it is decoded: whole characters, never empty where no log-probabilities were asked for."""

    text: str
    tokens: tuple[Candidate, ...] = ()
    """The drawn tokens it comes from, where log-probabilities were asked for."""
    alternatives: tuple[tuple[Candidate, ...], ...] = ()
    """For each of them the likeliest ones, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last item of every generation that was not cancelled and did not fail."""

    stop_reason: StopReason
    prompt_tokens: int
    new_tokens: int
    """Tokens drawn, the one that ended the text included."""
    reused_tokens: int = 0
    """Rows of the prompt that were in the cache already, from this request or another."""
    queued_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    latent_steps: int = 0
    confidence: float | None = None
    """The geometric mean of the drawn tokens' probabilities; None where none was drawn or the model tells none."""
    state: ThoughtState | None = None


Item = LatentStep | Piece | Finished


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model can do beyond plain text."""

    modes: frozenset[Mode] = frozenset({Mode.NONE})
    rules: frozenset[StopRule] = frozenset({StopRule.FIXED})
    constraints: bool = False
    logprobs: bool = False
    states: bool = False
    default: Thinking = field(default_factory=Thinking)
    """How the model was trained to think."""


class LanguageModel(ABC):
    """Generates text. All methods may be called from any event loop."""

    name: str
    context_tokens: int
    """Prompt, latent steps and new tokens together."""
    device: str = ""
    """Where it computes, for example "cpu"."""
    parameters: int = 0
    """How many numbers it has learned."""
    precision: str = ""
    """What its weights are kept in, for example "bfloat16"."""
    memory_bytes: int = 0
    """What weights and cache take together."""
    capabilities: Capabilities = Capabilities()

    @abstractmethod
    def generate(self, request: Request) -> AsyncGenerator[Item, None]:
        """Yields LatentSteps and Pieces, then one Finished.

        Closing the generator (`contextlib.aclosing`) or cancelling the task that iterates stops the Thought within one
        step. Raises InvalidArgument (an over-long prompt, a mode that the model does not have), ResourceExhausted
        (ENGINE_BUSY) and Unavailable (ENGINE_CLOSED), all at the first step; whatever stops the model later is
        raised where it happens.
        """

    @abstractmethod
    def count_tokens(self, prompt: Prompt) -> int:
        """How many tokens a prompt takes, template included."""

    def text_of(self, state: ThoughtState) -> str:
        """What the tokens of a Thought say. Raises InvalidArgument where the model keeps no Thoughts."""
        raise InvalidArgument(f"{self.name} keeps no thoughts", field="prompt")

    @abstractmethod
    def close(self) -> None:
        """Stops what runs, refuses what waits (Unavailable, ENGINE_CLOSED), and ends the thread."""
