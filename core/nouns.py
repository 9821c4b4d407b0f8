"""The nouns of Sapience, as plain dataclasses: read this first.

Times are int64 microseconds UTC (`core.clock.Micros`). Everything here is immutable; a correction is a new version.
The protos in `protos/sapience/v1/concept.proto` say the same on the wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from core.clock import LATEST, Micros

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]


class SourceKind(IntEnum):
    """Who or what said something. The numbers are those of the wire."""

    TESTIMONY = 1
    DOCUMENT = 2
    SELF = 3
    SELF_PROMPT = 4
    DREAM = 5


EVIDENCE = frozenset({SourceKind.TESTIMONY, SourceKind.DOCUMENT})
"""The only kinds that may be cited: what we said ourselves proves nothing."""


class Precision(IntEnum):
    """How exactly a time is known."""

    EXACT = 1
    DAY = 2
    MONTH = 3
    YEAR = 4


@dataclass(frozen=True, slots=True)
class Space:
    """A vector space: vectors of two spaces are never compared."""

    name: str
    version: str
    dimensions: int

    def __str__(self) -> str:
        return f"{self.name}@{self.version}[{self.dimensions}]"


@dataclass(frozen=True, slots=True)
class Interval:
    """A half-open stretch of time in the world; None is an open end."""

    start: Micros | None = None
    end: Micros | None = None
    precision: Precision = Precision.EXACT
    original_text: str = ""
    timezone: str = ""

    def contains(self, at: Micros) -> bool:
        """Whether `at` is in [start, end)."""
        return (self.start is None or self.start <= at) and (self.end is None or at < self.end)


@dataclass(frozen=True, slots=True)
class AsOf:
    """The point in time a read answers for, resolved: every axis filled in.

    `valid_at` is about the world, `told_by` about what sources had said, `seq` about what this store had committed.
    """

    valid_at: Micros = LATEST
    told_by: Micros = LATEST
    seq: int = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Namespace:
    """A tenant."""

    name: str
    created_at: Micros


@dataclass(frozen=True, slots=True)
class Source:
    """Where an Episode comes from."""

    kind: SourceKind = SourceKind.TESTIMONY
    name: str = ""


@dataclass(frozen=True, slots=True)
class Episode:
    """Something told by one source at one time. Never edited."""

    id: str
    namespace: str
    source: Source
    conversation: str
    position: int
    speaker: str
    text: str
    told_at: Micros
    external_id: str
    recorded_at: Micros
    seq: int
    archived_seq: int = 0
    """The commit that archived it, 0 while it is not: no longer found, kept whole. It says nothing of what was told."""

    def archived(self, as_of: AsOf) -> bool:
        """Whether it had been archived by then."""
        return 0 < self.archived_seq <= as_of.seq


@dataclass(frozen=True, slots=True)
class Span:
    """A sentence-sized stretch of a text: `text` equals the bytes [start_byte, end_byte) of its UTF-8."""

    text: str
    start_byte: int
    end_byte: int
    language: str = ""


@dataclass(frozen=True, slots=True)
class Concept:
    """A sentence-sized unit of an Episode."""

    id: str
    episode_id: str
    ordinal: int
    span: Span


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector: term ids (uint32, ascending, unique) and their weights. The two have the same length."""

    indices: tuple[int, ...] = ()
    values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class PerceivedConcept:
    """A Concept on its way into the record: its words, its vector and its BM25 document weights."""

    span: Span
    vector: Float32
    """Shape [dimensions], unit length, in the Space of its Episode's batch."""
    terms: Sparse = Sparse()


@dataclass(frozen=True, slots=True)
class PerceivedEpisode:
    """An Episode on its way into the record. `id` is empty but for imports, which keep the id they bring."""

    source: Source
    text: str
    told_at: Micros
    concepts: tuple[PerceivedConcept, ...]
    conversation: str = ""
    position: int = 0
    speaker: str = ""
    external_id: str = ""
    id: str = ""
    derived_from: tuple[str, ...] = ()
    """The Episodes that it quotes or answers from: it is deleted with any of them."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What became of an Episode. For a duplicate, the id and seq of the one it repeats."""

    episode_id: str
    seq: int
    duplicate: bool = False
    deleted: bool = False
    """It had been deleted here. It is there again, or where that was not wanted nothing was written: no id then."""


@dataclass(frozen=True, slots=True)
class StoredConcept:
    """A Concept as the record keeps it, whole enough to index it again with no encoder."""

    concept: Concept
    space: Space
    vector: Float32
    terms: Sparse


@dataclass(frozen=True, slots=True, eq=False)
class ConceptColumns:
    """Concepts of many Episodes side by side, for arithmetic over all at once. All but the terms have `rows` entries.

    Rows are in the order of (episode id, ordinal), so those of one Episode follow one another.
    """

    episode_ids: tuple[str, ...]
    ids: tuple[str, ...]
    ordinals: tuple[int, ...]
    start_bytes: tuple[int, ...]
    end_bytes: tuple[int, ...]
    languages: tuple[str, ...]
    vectors: Float32
    """Shape [rows, dimensions], unit length."""
    term_rows: Int64
    """Shape [entries]: the row that each entry of `terms` is of, ascending."""
    terms: Int64
    """Shape [entries]: term ids, ascending and unique within a row."""
    term_weights: Float32
    """Shape [entries]."""

    def concept(self, row: int, episode_text: bytes) -> Concept:
        """One row as a noun; `episode_text` is the UTF-8 of its Episode's text."""
        start, end = self.start_bytes[row], self.end_bytes[row]
        span = Span(episode_text[start:end].decode(), start, end, self.languages[row])
        return Concept(self.ids[row], self.episode_ids[row], self.ordinals[row], span)


@dataclass(frozen=True, slots=True)
class Entity:
    """Someone or something that Episodes mention."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Fact:
    """One version of a statement in time. `retracted` versions take the statement back from `valid.start` on."""

    id: str
    subject: Entity
    relation: str
    object: Entity | str
    valid: Interval
    told_at: Micros
    recorded_at: Micros
    seq: int
    retracted: bool = False
    episode_id: str = ""
    trust: float = 1.0
    rule: str = ""
    """The rule that read it in the Episode; empty where it was told as a Fact."""

    @property
    def statement(self) -> tuple[str, str, str]:
        """What is claimed, whenever: versions of one statement share it."""
        target = f"entity:{self.object.id}" if isinstance(self.object, Entity) else f"literal:{self.object}"
        return (self.subject.id, self.relation, target)


class Contradiction(IntEnum):
    """What a relation says of several Facts with the same subject. The numbers are those of the wire."""

    MANY = 1
    """Each statement holds by itself: "knows", "likes"."""
    SINGLE = 2
    """One object at any moment: "lives_in", "works_at"."""
    SET = 3
    """What one source told at one time is the whole set: "children", "members"."""


@dataclass(frozen=True, slots=True)
class RelationPolicy:
    """One version of a relation's contradiction policy: it counts from its commit on, until a later one."""

    relation: str
    policy: Contradiction
    recorded_at: Micros
    seq: int


@dataclass(frozen=True, slots=True)
class NewFact:
    """A version of a Fact to be written: names, not ids. `id` is empty but for imports."""

    subject: str
    relation: str
    valid: Interval
    told_at: Micros
    entity: str | None = None
    literal: str | None = None
    retracted: bool = False
    episode_id: str = ""
    trust: float = 1.0
    id: str = ""
    rule: str = ""


@dataclass(frozen=True, slots=True)
class EpisodeFilter:
    """Which Episodes a read may see. Empty fields allow all; `told` is half-open."""

    speakers: tuple[str, ...] = ()
    kinds: tuple[SourceKind, ...] = (SourceKind.TESTIMONY, SourceKind.DOCUMENT)
    conversations: tuple[str, ...] = ()
    told: Interval = Interval()

    def allows(self, episode: Episode, as_of: AsOf) -> bool:
        """Whether the Episode passes the filter and had been told and committed by then."""
        return (
            (not self.speakers or episode.speaker in self.speakers)
            and (not self.kinds or episode.source.kind in self.kinds)
            and (not self.conversations or episode.conversation in self.conversations)
            and self.told.contains(episode.told_at)
            and episode.told_at <= min(as_of.told_by, as_of.valid_at)
            and episode.seq <= as_of.seq
        )


@dataclass(frozen=True, slots=True)
class IndexPoint:
    """A Concept as the index keeps it: vectors, and what filters read."""

    concept_id: str
    episode_id: str
    namespace: str
    vector: Float32
    terms: Sparse
    told_at: Micros
    seq: int
    kind: SourceKind
    speaker: str
    conversation: str


@dataclass(frozen=True, slots=True)
class ScoredConcept:
    """A Concept that a search found: a cosine for dense search, a sum of products for sparse."""

    concept_id: str
    episode_id: str
    score: float


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """A change of the record that the index has yet to take, in the order of commits."""

    position: int
    namespace: str
    space: Space
    concept_ids: tuple[str, ...]
    """The Concepts that were written or deleted; empty with `deleted` set: the whole namespace was deleted."""
    deleted: bool
    seq: int


@dataclass(frozen=True, slots=True)
class TermStatistics:
    """What IDF is made of: how many Concepts a namespace has, and how many hold each term."""

    concepts: int
    document_frequency: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a deletion took, or would take."""

    episodes: int
    concepts: int
    facts: int
    audit_id: str = ""


class Expiry(IntEnum):
    """What becomes of an Episode whose time is over. The numbers are those of the wire."""

    ARCHIVE = 1
    DELETE = 2


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long an Episode is kept, and what it was used for: the store's own business, as `recorded_at` is."""

    episode_id: str
    holds: tuple[str, ...] = ()
    """The legal holds it is under, by name: while there is one, it is neither archived nor deleted."""
    expires_at: Micros | None = None
    expiry: Expiry = Expiry.ARCHIVE
    uses: int = 0
    """How often it was cited."""
    used_at: Micros | None = None
    """When it was cited last."""


@dataclass(frozen=True, slots=True)
class TimeToLive:
    """How long a namespace keeps an Episode that has no end of its own, counted from `recorded_at`."""

    microseconds: Micros
    expiry: Expiry = Expiry.ARCHIVE


@dataclass(frozen=True, slots=True)
class Moved:
    """What an archival or a thaw changed: the Episodes that were not so already."""

    episode_ids: tuple[str, ...]
    concepts: int
    seq: int
    """The commit; 0 where nothing changed."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What reached its end: how many Episodes were archived, and how many deleted."""

    archived: int = 0
    deleted: int = 0


@dataclass(frozen=True, slots=True)
class RecordCounts:
    """What the record holds, of one namespace or of all. Archived Episodes count among the others."""

    episodes: int
    concepts: int
    entities: int
    facts: int
    seq: int
    outbox_pending: int
    archived_episodes: int = 0
    archived_concepts: int = 0
