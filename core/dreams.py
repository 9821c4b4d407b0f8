"""A Dream and its changes, as plain dataclasses, and what a record keeps of them.

A Dream reads what a namespace was told and proposes changes. Each change says what it read, why, and what it would do:
actions that can all be taken back. A change that is approved is applied in one transaction, together with the mark that
it was and with what takes it back; so a process that is killed leaves no change half done.

What is kept of a proposal names Episodes, Concepts and Facts by id and holds none of their words: what is forgotten
must not live on in a diff. The words are read again when they are shown.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from core.clock import Micros
from core.nouns import Episode, Fact, PerceivedEpisode, Space, StoredConcept


class DreamKind(IntEnum):
    """What a Dream looks for. The numbers are those of the wire."""

    DUPLICATES = 1
    """Episodes that say what an earlier one of the same speaker says: the later copy is archived."""
    SUMMARIES = 2
    """What a speaker, an Entity, a topic or a month came to, in quotations."""
    CONTRADICTIONS = 3
    """Facts that disagree at one moment, and relations that behave like SINGLE: findings, which change nothing."""
    PROCEDURES = 4
    """Which questions were answered from evidence, by what they ask for."""
    STRENGTHENING = 5
    """Episodes that are cited together again and again: kept longer."""
    ALIASES = 6
    """Names that mean the same: their Entities are merged, which rewrites nothing."""
    FACTS = 7
    """Facts that a language model reads in what was told, where one is set up to."""


class DreamState(IntEnum):
    """How far a Dream is. The numbers are those of the wire."""

    READING = 1
    PROPOSED = 2
    """Its changes wait for approval."""
    APPROVED = 3
    """Its changes are being applied."""
    APPLIED = 4
    UNDOING = 5
    UNDONE = 6
    CANCELLED = 7
    """Given up; what it had applied by then stays until it is undone."""
    FAILED = 8
    """`message` says why; what it had applied by then stays until it is undone."""


AT_WORK = frozenset({DreamState.READING, DreamState.APPROVED, DreamState.UNDOING})
"""The states that go on by themselves, after a restart too."""


class ChangeState(IntEnum):
    """What became of one change. The numbers are those of the wire."""

    PROPOSED = 1
    APPROVED = 2
    DECLINED = 3
    APPLIED = 4
    SKIPPED = 5
    """Memory had changed since it was proposed: there was nothing left to do, or no longer a reason."""
    UNDONE = 6
    FOUND = 7
    """A finding: there is nothing to apply."""


class SummaryOf(IntEnum):
    """What a summary is about. The numbers are those of the wire."""

    SPEAKER = 1
    ENTITY = 2
    TOPIC = 3
    PERIOD = 4
    PROCEDURE = 5


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of an Episode's text in bytes: words that are named without being kept."""

    episode_id: str
    start_byte: int
    end_byte: int


@dataclass(frozen=True, slots=True)
class Write:
    """Remember a summary as an Episode of kind DREAM, derived from every Episode that it quotes."""

    of: SummaryOf
    quotes: tuple[str, ...]
    """The Concepts that it quotes, in the order of telling."""
    sources: tuple[str, ...]
    """Their Episodes, in the same order; the same one may come again."""
    name: Place | None = None
    """Where the Entity it is about is named."""
    figures: tuple[tuple[str, int], ...] = ()
    """Counts that its heading gives."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Archive an Episode."""

    episode_id: str


@dataclass(frozen=True, slots=True)
class AddUses:
    """Count an Episode as cited so many times more, the last time at `used_at`."""

    episode_id: str
    uses: int
    used_at: Micros


@dataclass(frozen=True, slots=True)
class Join:
    """Make two Entities one, shown by the name of `kept`. Both by their ids."""

    kept: str
    merged: str


@dataclass(frozen=True, slots=True)
class Assert:
    """Assert a Fact that an Episode states. Its names and words are places in that Episode.

    An empty stretch is the speaker. `named` says whether the object is an Entity, and not words.
    """

    fact_id: str
    subject: Place
    relation: str
    object: Place
    named: bool
    start: Micros | None
    end: Micros | None
    precision: int
    timezone: str
    trust: float
    rule: str


Action = Write | Archive | AddUses | Join | Assert


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change that a Dream would make, or, with no actions, something that it found."""

    kind: DreamKind
    reads: tuple[str, ...]
    """The Episodes that it rests on."""
    reason: str
    """One sentence for people; it holds none of their words."""
    score: float
    """From 0 to 1: how sure it is. The order within a kind."""
    actions: tuple[Action, ...] = ()
    facts: tuple[str, ...] = ()
    """The Facts that it rests on."""
    entities: tuple[str, ...] = ()
    """The Entities that it is about, the fuller name first."""


@dataclass(frozen=True, slots=True)
class Written:
    """Takes a `Write` back: delete the Episode."""

    episode_id: str


@dataclass(frozen=True, slots=True)
class Archived:
    """Takes an `Archive` back: thaw the Episode, if that archival is still the one that keeps it away."""

    episode_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class UsesAdded:
    """Takes an `AddUses` back: so many uses less, and the last one as it was, if none came since."""

    episode_id: str
    uses: int
    before: Micros | None
    after: Micros


@dataclass(frozen=True, slots=True)
class Joined:
    """Takes a `Join` back: undo the merge, if nobody has."""

    merge_id: str


@dataclass(frozen=True, slots=True)
class Asserted:
    """Takes an `Assert` back: add what undoes the Fact, so that what holds is as before."""

    fact_id: str


Inverse = Written | Archived | UsesAdded | Joined | Asserted


@dataclass(frozen=True, slots=True)
class Change:
    """A proposal of a Dream, and what became of it. `ordinal` counts from 1 within the Dream."""

    ordinal: int
    proposal: Proposal
    state: ChangeState
    inverse: tuple[Inverse, ...] = ()
    """What takes it back, in the order in which it is to be done; empty unless it is applied."""


@dataclass(frozen=True, slots=True)
class DreamBudget:
    """What a Dream may cost."""

    episodes: int = 20_000
    """How many Episodes it reads. Where there are more, the next Dream goes on from there."""
    changes: int = 500
    """How many changes it proposes; the surest of each kind first. Findings do not count."""
    seconds: float = 60.0
    """How long it may read and think. Changes that are approved are applied however long that takes."""
    readings: int = 16
    """How many Episodes a language model reads, where one is set up to; the next Dream goes on from there."""


@dataclass(frozen=True, slots=True)
class Dream:
    """One consolidation of a namespace."""

    id: str
    namespace: str
    kinds: tuple[DreamKind, ...]
    budget: DreamBudget
    automatic: bool
    """Whether its changes are applied without being asked for."""
    state: DreamState
    started_at: Micros
    ended_at: Micros | None = None
    """When it came to a state that does not go on by itself."""
    begin: tuple[int, str] = (0, "")
    """It reads Episodes after this (seq, id)."""
    end: tuple[int, str] = (0, "")
    """The last one that it read."""
    more: bool = False
    """Whether there were more than its budget allows."""
    episodes: int = 0
    """How many Episodes it read."""
    reader: str = ""
    """The language model that reads Episodes for Facts; empty while none has."""
    read_to: tuple[int, str] = (0, "")
    """The last Episode that it has read, in this Dream or in those before."""
    told: int = 0
    """How many Episodes the namespace had when it began."""
    message: str = ""
    """One line for people."""
    number: int = 0
    """Counts the Dreams of the namespace, from 1."""
    version: int = 0
    """Counts its states: a watcher resumes with the last one it saw."""
    total: int = 0
    """How many changes it has, findings left out."""
    done: int = 0
    """How many of them are settled."""


class DreamRecord(Protocol):
    """What a record keeps of Dreams. Each write is one transaction.

    Every method but `dreams_at_work` raises NotFound (NAMESPACE_NOT_FOUND); those that name a Dream raise NotFound
    (DREAM_NOT_FOUND).
    """

    def begin_dream(
        self, namespace: str, kinds: Sequence[DreamKind], budget: DreamBudget, automatic: bool, request_id: str = ""
    ) -> Dream:
        """A new Dream, READING, which goes on where the last one ran out of Episodes.

        Raises FailedPrecondition (DREAM_AT_WORK) while another one of the namespace is.
        """
        ...

    def propose(
        self,
        namespace: str,
        dream_id: str,
        proposals: Sequence[Proposal],
        *,
        end: tuple[int, str],
        episodes: int,
        more: bool,
        message: str = "",
        reader: str = "",
        read_to: tuple[int, str] = (0, ""),
    ) -> Dream:
        """What it found, and how far a `reader` has read, where one took part.

        PROPOSED, or APPROVED where it is automatic, or APPLIED where there is nothing to apply.
        """
        ...

    def approve_dream(self, namespace: str, dream_id: str, ordinals: Collection[int] = ()) -> Dream:
        """Approves these changes of a PROPOSED Dream and declines the others; no ordinals means all.

        Raises FailedPrecondition (DREAM_STATE), and NotFound (CHANGE_NOT_FOUND) for an ordinal that it has not.
        """
        ...

    def apply_change(
        self, namespace: str, dream_id: str, ordinal: int, space: Space | None, written: Sequence[PerceivedEpisode]
    ) -> Change:
        """Applies an APPROVED change of an APPROVED Dream, all of it or nothing; any other change is left as it is.

        `written` has one Episode for each `Write`, with the id and external id it is known by. A change whose sources
        are gone, or that would archive what is held, is SKIPPED. So is one that would do nothing.
        """
        ...

    def undo_change(self, namespace: str, dream_id: str, ordinal: int) -> Change:
        """Takes an APPLIED change of an UNDOING Dream back; any other change is left as it is."""
        ...

    def move_dream(
        self, namespace: str, dream_id: str, to: DreamState, *, among: Collection[DreamState], message: str = ""
    ) -> Dream:
        """Takes a Dream from one of the states to another. Raises FailedPrecondition (DREAM_STATE) from any other."""
        ...

    def dream(self, namespace: str, dream_id: str) -> Dream:
        """As it is now."""
        ...

    def dreams(self, namespace: str, limit: int, before: int = 0) -> list[Dream]:
        """The newest first; those with a lesser number than `before`, if one is given."""
        ...

    def dreams_at_work(self) -> list[Dream]:
        """Of the whole store, those in a state that goes on by itself; by id."""
        ...

    def changes(self, namespace: str, dream_id: str, states: Collection[ChangeState] = ()) -> list[Change]:
        """By ordinal; only those in one of the states, if any are given."""
        ...

    def changes_of_kind(
        self, namespace: str, kind: DreamKind, state: ChangeState = ChangeState.APPLIED
    ) -> list[Change]:
        """Those of any Dream that are in this state now."""
        ...

    def facts_by_id(self, namespace: str, ids: Sequence[str]) -> dict[str, Fact]:
        """Those of the versions that exist."""
        ...

    def sources_of(self, namespace: str, episode_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """For each Episode that was derived from others, their ids, ascending."""
        ...

    def episodes_after(
        self, namespace: str, after: tuple[int, str], limit: int
    ) -> list[tuple[Episode, list[StoredConcept]]]:
        """The first by (seq, id) after the one given, with their Concepts."""
        ...
