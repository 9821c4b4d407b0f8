"""What goes into a call and what comes out of it, as frozen dataclasses.

The words are those of the contract (`protos/sapience/v1`), which says more of each field. Times are aware datetimes, in
UTC where the service sends them. Enums are lower-case strings: `answer.verdict == "answered"`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from sapience.dreams import Consolidation


class SourceKind(StrEnum):
    """Who or what said something. Only TESTIMONY and DOCUMENT are ever cited as evidence."""

    UNSPECIFIED = "unspecified"
    TESTIMONY = "testimony"
    DOCUMENT = "document"
    SELF = "self"
    SELF_PROMPT = "self_prompt"
    DREAM = "dream"


class Precision(StrEnum):
    """How exactly a time is known."""

    UNSPECIFIED = "unspecified"
    EXACT = "exact"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"


class ContradictionPolicy(StrEnum):
    """What a relation says of several Facts with one subject: each may hold, one does, or one telling as a whole."""

    UNSPECIFIED = "unspecified"
    MANY = "many"
    SINGLE = "single"
    SET = "set"


class Verdict(StrEnum):
    """Whether an Answer is one."""

    UNSPECIFIED = "unspecified"
    ANSWERED = "answered"
    UNKNOWN = "unknown"
    REFUTED = "refuted"


class StopReason(StrEnum):
    """Why an answer ended: complete, out of tokens or time, or nothing supported one."""

    UNSPECIFIED = "unspecified"
    DONE = "done"
    TOKENS = "tokens"
    WALL = "wall"
    NO_EVIDENCE = "no_evidence"


class Wording(StrEnum):
    """Who worded an answer: the language model, or the evidence itself, quoted."""

    UNSPECIFIED = "unspecified"
    LANGUAGE_MODEL = "language_model"
    EXTRACTIVE = "extractive"


class ThinkingMode(StrEnum):
    """What a latent step feeds back as the next row of input; `soft` needs no training, `pause` feeds nothing back."""

    UNSPECIFIED = "unspecified"
    NONE = "none"
    HIDDEN = "hidden"
    PROJECTED = "projected"
    SOFT = "soft"
    JACOBI = "jacobi"
    PAUSE = "pause"
    RECURRENT = "recurrent"


class StopRule(StrEnum):
    """When latent steps end before their budget does: never, by the next token's entropy, or by the model's word."""

    UNSPECIFIED = "unspecified"
    FIXED = "fixed"
    ENTROPY = "entropy"
    LEARNED = "learned"


class ModelKind(StrEnum):
    """What a model does."""

    UNSPECIFIED = "unspecified"
    ENCODER = "encoder"
    DECODER = "decoder"
    LANGUAGE_MODEL = "language_model"
    RERANKER = "reranker"
    CONCEPT_MODEL = "concept_model"
    TRANSCRIBER = "transcriber"
    READER = "reader"
    PATCHER = "patcher"


class ContinueReason(StrEnum):
    """Why a continuation ended: the model said so, it was long enough, or it began to repeat itself."""

    UNSPECIFIED = "unspecified"
    OF_TEXT = "of_text"
    LENGTH = "length"
    REPEATED = "repeated"


# ---- what goes in ----


@dataclass(frozen=True, slots=True)
class NewEpisode:
    """Something told, to be remembered. `told_at` None means now; a naive datetime is refused."""

    text: str
    speaker: str = ""
    told_at: datetime | None = None
    conversation: str = ""
    position: int = 0
    source: str = ""
    kind: SourceKind | str = SourceKind.TESTIMONY
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class AsOf:
    """The point in time that a read answers for; a field that is None is open.

    `valid_at`: what held in the world then. `told_by`: what its source had said by then. `recorded_by`, or the commit
    number `seq`: what this store had committed by then, for audit; only one of these two.
    """

    valid_at: datetime | None = None
    told_by: datetime | None = None
    recorded_by: datetime | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Interval:
    """A stretch of time in the world, from `start` up to but not including `end`; None is an open end."""

    start: datetime | None = None
    end: datetime | None = None
    precision: Precision | str = Precision.UNSPECIFIED
    original_text: str = ""
    timezone: str = ""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit on what one question may cost; 0 means the service's default for that field."""

    latent_steps: int = 0
    new_tokens: int = 0
    recalls: int = 0
    self_prompts: int = 0
    context_tokens: int = 0
    wall_ms: int = 0


@dataclass(frozen=True, slots=True)
class Thinking:
    """How a model thinks before its first token; `Budget.latent_steps` says for how long.

    What is not given is the model's own where it is of the same mode, else the default of the contract. `probe` is how
    many nearest tokens are told of each step; `least_norm` and `most_norm` bound the length of what is fed back, in
    multiples of a token's mean length.
    """

    mode: ThinkingMode | str = ThinkingMode.UNSPECIFIED
    rule: StopRule | str = StopRule.UNSPECIFIED
    threshold: float | None = None
    patience: int = 0
    temperature: float = 0.0
    top_k: int = 0
    rounds: int = 0
    least_norm: float = 0.0
    most_norm: float = 0.0
    probe: int = 0


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of a chat; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


_CODES = {"float32": "f", "float16": "e"}
"""Number types as `struct` calls them."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers with a shape, outermost extent first. `data` is little-endian, in C order."""

    space: str
    space_version: str
    dtype: str
    shape: tuple[int, ...]
    data: bytes = field(repr=False)

    def rows(self) -> list[tuple[float, ...]]:
        """The rows of a matrix, as Python floats."""
        width = self.shape[-1]
        return list(struct.iter_unpack(f"<{width}{_CODES[self.dtype]}", self.data)) if width else []

    def vector(self, values: Sequence[float]) -> Tensor:
        """One vector in the same space, as float32."""
        data = struct.pack(f"<{len(values)}f", *values)
        return Tensor(self.space, self.space_version, "float32", (len(values),), data)


# ---- memory ----


@dataclass(frozen=True, slots=True)
class Namespace:
    """A tenant: every memory belongs to exactly one."""

    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Remembered:
    """An Episode is in the record, durably. `duplicate`: it was there already, and `episode_id` is that one's.

    `deleted`: it had been deleted before, and is there again.
    """

    episode_id: str
    seq: int
    duplicate: bool
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Episode:
    """Something told by one source at one time. `source` is that source's name."""

    id: str
    namespace: str
    source: str
    kind: SourceKind
    conversation: str
    position: int
    speaker: str
    text: str
    told_at: datetime
    external_id: str
    recorded_at: datetime
    seq: int
    archived_seq: int = 0
    """The commit that archived it; 0 while it is not."""


@dataclass(frozen=True, slots=True)
class Concept:
    """A sentence-sized unit: the bytes [start_byte, end_byte) of its Episode's UTF-8 text."""

    id: str
    episode_id: str
    ordinal: int
    text: str
    start_byte: int
    end_byte: int


@dataclass(frozen=True, slots=True)
class ChannelScore:
    """One channel's part in a Hit: as it measured it, and its contribution to the fused score."""

    channel: str
    raw: float
    fused: float


@dataclass(frozen=True, slots=True)
class Hit:
    """An Episode that was found, and why. `score` compares within one page only, `support` between any two."""

    episode: Episode
    concept: Concept
    score: float
    channels: tuple[ChannelScore, ...]
    coverage: float
    support: float


class WhyNotReason(StrEnum):
    """What keeps an Episode from being found."""

    UNSPECIFIED = "unspecified"
    FOUND = "found"
    NOT_THERE = "not_there"
    TOLD_LATER = "told_later"
    FILTERED = "filtered"
    ARCHIVED = "archived"
    NOT_SEARCHED = "not_searched"
    RANKED_BELOW = "ranked_below"
    OVER_BUDGET = "over_budget"


@dataclass(frozen=True, slots=True)
class WhyNot:
    """Why an Episode is not on the first page of a recall: `message` says it in a sentence.

    `rank` is its place among all `candidates`, had a search brought it in, 0 where it was not judged; `hit` is how it
    is judged then, and `last` the last hit of the page.
    """

    reason: WhyNotReason
    message: str
    rank: int
    candidates: int
    hit: Hit | None
    last: Hit | None
    as_of: AsOf


@dataclass(frozen=True, slots=True)
class RecallPage:
    """Hits, best first: iterate it. `next_page_token` is "" after the last page."""

    hits: tuple[Hit, ...]
    as_of: AsOf
    next_page_token: str
    recipe: str
    dense_text: str
    known_terms: float

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, slots=True)
class Entity:
    """Someone or something that Episodes mention."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One version of a statement in time; `object` is an Entity or a plain value."""

    id: str
    subject: Entity
    relation: str
    object: Entity | str
    valid: Interval
    told_at: datetime
    recorded_at: datetime
    seq: int
    retracted: bool
    episode_id: str
    trust: float
    rule: str = ""
    """The rule that read it in the Episode; "" where it was told as a Fact."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Ways from one Entity to another, shortest first: iterate it. `truncated`: there may be more."""

    paths: tuple[tuple[Fact, ...], ...]
    as_of: AsOf
    truncated: bool

    def __iter__(self) -> Iterator[tuple[Fact, ...]]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, slots=True)
class Difference:
    """What holds in a second answer and not in a first (`gained`), and the other way round; totals know no limit."""

    gained: tuple[Fact, ...]
    lost: tuple[Fact, ...]
    gained_total: int
    lost_total: int


@dataclass(frozen=True, slots=True)
class Changes:
    """From `before` to `after`: first what is said of `before.valid_at` (`belief`), then the time itself (`world`)."""

    belief: Difference
    world: Difference
    before: AsOf
    after: AsOf


@dataclass(frozen=True, slots=True)
class RelationPolicy:
    """One version of a relation's policy, which counts from its commit on."""

    relation: str
    policy: ContradictionPolicy
    recorded_at: datetime
    seq: int


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """Something told (an Episode) or something that began to hold (a Fact), at `time`."""

    time: datetime
    entry: Episode | Fact


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """Entries, earliest first: iterate it. `next_page_token` is "" after the last page."""

    entries: tuple[TimelineEntry, ...]
    as_of: AsOf
    next_page_token: str

    def __iter__(self) -> Iterator[TimelineEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much was deleted, or would be; `audit_id` is "" for a dry run."""

    episodes: int
    concepts: int
    facts: int
    audit_id: str


class Expiry(StrEnum):
    """What becomes of an Episode at its end."""

    UNSPECIFIED = "unspecified"
    ARCHIVE = "archive"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a correction added: what takes the wrong back, what is right, and what had to be said again."""

    retraction: Fact
    assertion: Fact
    kept: tuple[Fact, ...] = ()


class IndexRepair(StrEnum):
    """What is done where the index differs from the record."""

    UNSPECIFIED = "unspecified"
    CHECK = "check"
    MEND = "mend"
    REWRITE = "rewrite"


@dataclass(frozen=True, slots=True)
class IndexState:
    """How a namespace's index differed from the record, and how many points were written so far."""

    namespace: str
    concepts: int
    """Concepts that the index should hold."""
    written: int
    missing: int
    foreign: int
    done: bool


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore did. `exact`: everything has the number and the time it had; else it was an import."""

    exact: bool
    seq: int
    episodes: int
    facts: int
    policies: int
    duplicates: int
    deleted: int
    """Things that were left out, because they were deleted later."""
    replayed: int
    """Episodes and Facts that were there still, and were deleted again."""
    indexed: int
    merges: int = 0


@dataclass(frozen=True, slots=True)
class Retained:
    """An Episode and how well it is retained, from 0 to 1; None where nothing was rated."""

    episode: Episode
    retention: float | None


@dataclass(frozen=True, slots=True)
class Archived:
    """How much was archived, or would be, and the first 1,000 of it, least retained first. `seq` is 0 for a dry run."""

    episodes: int
    concepts: int
    seq: int
    retained: tuple[Retained, ...]


@dataclass(frozen=True, slots=True)
class Thawed:
    """How much is found again. `seq` is 0 where nothing changed."""

    episodes: int
    concepts: int
    seq: int


@dataclass(frozen=True, slots=True)
class Keeping:
    """How an Episode is kept: its legal holds, its end, and how often it was cited."""

    episode_id: str
    holds: tuple[str, ...]
    expires_at: datetime | None
    expiry: Expiry
    uses: int
    used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import wrote, what was there already, and what was left out because it had been deleted here."""

    episodes: int
    facts: int
    duplicates: int
    policies: int = 0
    deleted: int = 0
    merges: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of a namespace or of the whole store, and how far the index is behind the record (`outbox_pending`)."""

    episodes: int
    concepts: int
    entities: int
    facts: int
    seq: int
    indexed: int
    outbox_pending: int
    record_backend: str
    index_backend: str
    archived: int = 0
    extracted_seq: int = 0
    """The last commit up to which every Episode was read for what it mentions and states."""


# ---- Entities ----


@dataclass(frozen=True, slots=True)
class KnownEntity:
    """Someone or something that Episodes mention: its other names, its kind ("" if unknown), how often it is named."""

    entity: Entity
    aliases: tuple[str, ...]
    kind: str
    episodes: int
    facts: int


@dataclass(frozen=True, slots=True)
class AliasCandidate:
    """Another name that may mean the same, why, and how sure that is, from 0 to 1."""

    name: str
    reason: str
    score: float


@dataclass(frozen=True, slots=True)
class EntityDetails:
    """An Entity with the names that may be its own but were not merged with it, most likely first."""

    known: KnownEntity
    candidates: tuple[AliasCandidate, ...]
    as_of: AsOf


@dataclass(frozen=True, slots=True)
class EntityPage:
    """Entities by name: iterate it. `next_page_token` is "" after the last page."""

    entities: tuple[KnownEntity, ...]
    as_of: AsOf
    next_page_token: str

    def __iter__(self) -> Iterator[KnownEntity]:
        return iter(self.entities)

    def __len__(self) -> int:
        return len(self.entities)


@dataclass(frozen=True, slots=True)
class Mention:
    """An Episode that mentions an Entity, and the bytes of its text where; none where the Entity is its speaker."""

    episode: Episode
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class MentionPage:
    """Mentions, earliest first: iterate it. `next_page_token` is "" after the last page."""

    mentions: tuple[Mention, ...]
    as_of: AsOf
    next_page_token: str

    def __iter__(self) -> Iterator[Mention]:
        return iter(self.mentions)

    def __len__(self) -> int:
        return len(self.mentions)


@dataclass(frozen=True, slots=True)
class EntityMerge:
    """That two Entities are one, from the commit `seq` on until `undone_seq` (0 while it counts)."""

    id: str
    kept: Entity
    merged: Entity
    reason: str
    recorded_at: datetime
    seq: int
    undone_seq: int


# ---- reasoning ----


@dataclass(frozen=True, slots=True)
class Event:
    """One step on the way to an answer. `seq` counts from 0 without gaps; `trace_id` names the Trace they make."""

    seq: int
    trace_id: str
    time: datetime


@dataclass(frozen=True, slots=True)
class TracedHit:
    """A hit as the Trace keeps it; `channels` gives each channel's raw score."""

    episode_id: str
    concept_id: str
    score: float
    channels: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Recalled(Event):
    """Memory was asked."""

    text: str
    hits: tuple[TracedHit, ...]
    recipe: str
    as_of: AsOf


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that might be or was drawn, with its log-probability in nats."""

    token: int
    text: str
    logprob: float


@dataclass(frozen=True, slots=True)
class LatentStep(Event):
    """A latent step was taken on the way to an answer; the fields are those of Step."""

    step: int
    norm: float
    entropy: float | None = None
    nearest: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Token(Event):
    """A piece of a draft was worded. A draft is not the answer yet: it may be retracted."""

    draft_id: str
    text: str


@dataclass(frozen=True, slots=True)
class DraftRetracted(Event):
    """What was worded under `draft_id` is not the answer after all."""

    draft_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Check(Event):
    """The evidence was checked; `score` is what was measured, from 0 to 1."""

    name: str
    passed: bool
    score: float
    detail: str


@dataclass(frozen=True, slots=True)
class Usage(Event):
    """What was spent so far, field by field as in Budget."""

    latent_steps: int
    new_tokens: int
    recalls: int
    self_prompts: int
    context_tokens: int
    wall_ms: int


@dataclass(frozen=True, slots=True)
class Citation:
    """A piece of evidence: `quote` is the bytes [start_byte, end_byte) of the Episode's UTF-8 text."""

    episode_id: str
    concept_id: str
    quote: str
    start_byte: int
    end_byte: int
    speaker: str
    source: str
    kind: SourceKind
    told_at: datetime
    support: float
    external_id: str


@dataclass(frozen=True, slots=True)
class Answer(Event):
    """What is answered: the last event. Where `verdict` is "unknown" there are no citations."""

    text: str
    verdict: Verdict
    citations: tuple[Citation, ...]
    confidence: float
    confidence_method: str
    stop_reason: StopReason
    wording: Wording
    learned_episode_id: str


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that led to an answer. `timings_ms` gives milliseconds by stage."""

    id: str
    namespace: str
    text: str
    asked_at: datetime
    events: tuple[Event, ...]
    timings_ms: Mapping[str, float]
    model: str


@dataclass(frozen=True, slots=True)
class Step:
    """A latent step, from 0. `norm` is the length of what was fed back, `entropy` that of the next token, in nats.

    `nearest` are the likeliest tokens were the model to speak here, as many as `Thinking.probe`.
    """

    step: int
    norm: float
    entropy: float | None = None
    nearest: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class DrawnToken:
    """A token that was drawn, and the likeliest ones in its place."""

    token: Candidate
    alternatives: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """The next piece of text; `tokens` are those it comes from, where log-probabilities were asked for."""

    text: str
    tokens: tuple[DrawnToken, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a Thought, and what it took. `thought_id` is "" where it is not kept.

    `confidence` is the geometric mean of the drawn tokens' probabilities, None where nothing tells it.
    """

    stop_reason: StopReason
    latent_steps: int
    new_tokens: int
    prompt_tokens: int
    wall_ms: int
    thought_id: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Thought:
    """A Thought that was kept: prompt, latent steps, tokens. `thoughts` lists them without rows, vectors and steps.

    Rows are the ids of their tokens; one without any is a vector, the next of `latent`.
    """

    id: str
    parent_id: str
    namespace: str
    model: str
    created_at: datetime
    mode: ThinkingMode
    prompt: str
    text: str
    latent_steps: int
    new_tokens: int
    stop_reason: StopReason
    confidence: float | None
    prompt_rows: tuple[tuple[int, ...], ...]
    latent_rows: tuple[tuple[int, ...], ...]
    suffix_rows: tuple[tuple[int, ...], ...]
    latent: Tensor | None
    tokens: tuple[int, ...]
    symbols: tuple[str, ...]
    allowed_tokens: tuple[int, ...]
    depth: int
    steps: tuple[Step, ...]

    def vector(self, step: int) -> Tensor:
        """What latent step `step`, from 0, fed back. Raises IndexError for a step that it has not, or that is a token.

        A Thought of `thoughts` has none: `get_thought` brings them.
        """
        if not 0 <= step < len(self.latent_rows) or self.latent_rows[step] or self.latent is None:
            raise IndexError(f"thought {self.id} has no vector for step {step}")
        place = [*self.prompt_rows, *self.latent_rows[:step]].count(())
        width = self.latent.shape[-1] * struct.calcsize(_CODES[self.latent.dtype])
        return replace(
            self.latent, shape=self.latent.shape[-1:], data=self.latent.data[place * width : (place + 1) * width]
        )


# ---- the system ----


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a service has or can load. `dimensions` is 0 for language models, `device` "" while not loaded.

    Of language models, once loaded: `modes` in which they think, what they do where nothing is asked for, and the
    bytes that weights and cache take (0 where that is not known).
    """

    address: str
    kind: ModelKind
    loaded: bool
    space: str
    space_version: str
    dimensions: int
    device: str
    parameters: int
    modes: tuple[ThinkingMode, ...] = ()
    default_mode: ThinkingMode = ThinkingMode.UNSPECIFIED
    default_latent_steps: int = 0
    precision: str = ""
    memory_bytes: int = 0
    context_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """The words for a vector, by `model`. `round_trip` is the cosine between the vector and that of the words.

    It is None where the service has no encoder of that space.
    """

    text: str
    round_trip: float | None
    model: str


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A Concept that was foreseen: its vector [1, dimensions], and `text`, the words for it ("" where none has them).

    `round_trip` is the cosine between the vector and that of the words: low where the words are not to be believed.
    """

    vector: Tensor
    text: str
    round_trip: float


@dataclass(frozen=True, slots=True)
class ContinuationEnd:
    """The last item of a continuation."""

    reason: ContinueReason


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service as the controller last saw it; `detail` says what is wrong, "" while nothing is."""

    name: str
    serving: bool
    latency_ms: float
    detail: str
    checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """Whether each service answers. `paused`: the controller does not act on its own."""

    services: tuple[ServiceStatus, ...]
    paused: bool
    cycles: int
    started_at: datetime | None
    consolidation: Consolidation
