"""What happens on the way from a question to an answer, as plain dataclasses. The protos say the same on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from cognition.engine.base import LatentStep, Sampling, Thinking
from core.clock import LATEST, Micros
from core.nouns import AsOf, Source, SourceKind, Span


class Verdict(IntEnum):
    """Whether it is an answer. The numbers are those of the wire."""

    ANSWERED = 1
    UNKNOWN = 2
    REFUTED = 3


class StopReason(IntEnum):
    """Why it ended. The numbers are those of the wire."""

    DONE = 1
    TOKENS = 2
    WALL = 3
    NO_EVIDENCE = 4


class Wording(IntEnum):
    """Who worded an answer. The numbers are those of the wire."""

    LANGUAGE_MODEL = 1
    EXTRACTIVE = 2


@dataclass(frozen=True, slots=True)
class Budget:
    """What one question may cost. `wall_s` is from the moment the question came."""

    new_tokens: int = 48
    context_tokens: int = 256
    wall_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Question:
    """A question, checked."""

    namespace: str
    text: str
    valid_at: Micros | None = None
    told_by: Micros | None = None
    recorded_by: Micros | None = None
    seq: int | None = None
    recipe: str = ""
    budget: Budget = Budget()
    max_citations: int = 3
    learn: bool = False
    request_id: str = ""
    conversation: str = ""
    sampling: Sampling = Sampling()
    thinking: Thinking | None = None
    """None thinks as the model was trained to: most models not at all."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """An Episode that recall found, as far as an answer needs it."""

    episode_id: str
    concept_id: str
    text: str
    """The whole Episode."""
    quote: Span
    """The Concept of it that matched best."""
    speaker: str
    source: Source
    told_at: Micros
    external_id: str
    score: float
    support: float
    """How likely it is that the Episode bears on the question, from 0 to 1."""
    channels: Mapping[str, float] = field(default_factory=dict)
    conversation: str = ""
    position: int = 0

    def beside(self, other: Evidence) -> bool:
        """Whether the two are turns of one exchange: said next to each other in one conversation."""
        return (
            self.source == other.source
            and self.source.kind is SourceKind.TESTIMONY
            and self.conversation == other.conversation != ""
            and abs(self.position - other.position) <= 1
        )


@dataclass(frozen=True, slots=True)
class Recollection:
    """What memory found."""

    evidence: tuple[Evidence, ...]
    recipe: str = "default"
    as_of: AsOf = AsOf(LATEST, LATEST)


@dataclass(frozen=True, slots=True)
class Recalled:
    """Memory was asked."""

    text: str
    found: Recollection


@dataclass(frozen=True, slots=True)
class Worded:
    """A piece of a draft."""

    draft_id: str
    text: str


@dataclass(frozen=True, slots=True)
class DraftRetracted:
    """A draft is not the answer after all."""

    draft_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """The evidence, or a draft, was checked."""

    name: str
    passed: bool
    score: float
    detail: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent so far."""

    new_tokens: int
    recalls: int
    context_tokens: int
    wall_s: float
    latent_steps: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer: the last event."""

    text: str
    verdict: Verdict
    citations: tuple[Evidence, ...]
    confidence: float
    confidence_method: str
    stop_reason: StopReason
    wording: Wording
    learned_episode_id: str = ""


Event = Recalled | LatentStep | Worded | DraftRetracted | Checked | Spent | Answered
