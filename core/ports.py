"""The ports: what the packages ask of stores and models. Two backends of each store, proven equal by one suite.

Store methods are synchronous and thread-safe; a service calls them on threads it owns, never on its event loop. They
raise `core.errors` only: a driver's error becomes Unavailable (the store does not answer) or FailedPrecondition.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from core.dreams import DreamRecord
from core.entities import EntityRecord
from core.migrations import MigrationRecord
from core.moving import MovableRecord
from core.nouns import (
    AsOf,
    ConceptColumns,
    Contradiction,
    Episode,
    EpisodeFilter,
    Expired,
    Expiry,
    Fact,
    Float32,
    Forgotten,
    IndexPoint,
    Keeping,
    Moved,
    Namespace,
    NewFact,
    OutboxEntry,
    PerceivedEpisode,
    RecordCounts,
    RelationPolicy,
    Remembered,
    ScoredConcept,
    Space,
    Sparse,
    StoredConcept,
    TermStatistics,
    TimeToLive,
)
from core.windows import Windows


class Record(MovableRecord, DreamRecord, EntityRecord, MigrationRecord, Protocol):
    """The truth: Episodes, Concepts with their vectors, Entities, Facts, and the outbox the index is fed from.

    Every write is one transaction, durable when it returns. `seq` counts commits of the whole store, without gaps
    seen by readers. Every method but `create_namespace` raises NotFound (NAMESPACE_NOT_FOUND) for a namespace that
    is not there, before anything else.
    """

    backend: str

    def create_namespace(self, name: str) -> Namespace:
        """Raises AlreadyExists (NAMESPACE_EXISTS)."""
        ...

    def namespaces(self) -> list[Namespace]:
        """All of them, by name."""
        ...

    def delete_namespace(self, name: str) -> int:
        """Deletes all that is in it, writes one outbox entry per space, and returns how many Episodes went."""
        ...

    def remember(
        self,
        namespace: str,
        space: Space,
        episodes: Sequence[PerceivedEpisode],
        request_id: str = "",
        *,
        bring_back: bool = True,
    ) -> list[Remembered]:
        """Writes all Episodes in one transaction, with their Concepts, term statistics and one outbox entry.

        A duplicate is an Episode with the same (source name, external_id), or without an external_id the same
        (source name, conversation, position, speaker, told_at, text); also within the batch. It writes nothing.
        A `request_id` seen before with the same episodes returns the stored answer; with others it raises
        AlreadyExists (REQUEST_ID_REUSED). A second space in one namespace raises FailedPrecondition
        (SPACE_MISMATCH). One that is derived from an Episode that is not there raises NotFound (EPISODE_NOT_FOUND).
        What was deleted here before, by its id or its words, says so in its answer; it is written again, or with
        `bring_back` False is not.
        """
        ...

    def known(self, namespace: str, episodes: Sequence[PerceivedEpisode]) -> list[Remembered | None]:
        """For each Episode what `remember` would say if it is a duplicate of one in the record, else None.

        Reads only; their Concepts do not count. Spares encoding what is there already.
        """
        ...

    def space_of(self, namespace: str) -> Space | None:
        """The space that the namespace's vectors are in; None while it has none."""
        ...

    def episodes(self, namespace: str, ids: Sequence[str]) -> dict[str, Episode]:
        """Those of the ids that exist."""
        ...

    def snapshot(self) -> AbstractContextManager[None]:
        """Within it all reads of this thread see the same commits, as far as the store can.

        On Neo4j, which has no snapshots, each sees what is committed when it runs.
        """
        ...

    def window(self, namespace: str, episode_ids: Sequence[str], radius: int) -> Windows:
        """For each id, the Episodes of the same source name and conversation within `radius` places, by place.

        Places are counted in the order of (position, seq), so gaps in positions do not hide a neighbour. The Episode
        itself is in its list. One with an empty conversation is alone.
        """
        ...

    def concepts(self, namespace: str, ids: Sequence[str]) -> dict[str, StoredConcept]:
        """Those of the Concept ids that exist, with vectors and term weights."""
        ...

    def concepts_of(self, namespace: str, episode_ids: Sequence[str]) -> dict[str, list[StoredConcept]]:
        """For each Episode that exists, its Concepts in order."""
        ...

    def columns_of(self, namespace: str, episode_ids: Sequence[str]) -> ConceptColumns:
        """The same Concepts side by side, for a search that judges many: several times faster than one by one."""
        ...

    def speakers(self, namespace: str) -> dict[str, int]:
        """Every speaker's name but the empty one, and how many Episodes they have."""
        ...

    def term_statistics(self, namespace: str, terms: Sequence[int]) -> TermStatistics:
        """How many Concepts the namespace has, and how many hold each of these terms (0 is left out)."""
        ...

    def assert_fact(self, namespace: str, fact: NewFact, request_id: str = "") -> Fact:
        """Adds one version. Entities are made as needed, one for each normalised name.

        Raises NotFound (EPISODE_NOT_FOUND) for an `episode_id` that is not there.
        """
        ...

    def assert_facts(
        self, namespace: str, facts: Sequence[NewFact], *, unless_deleted: Collection[str] = ()
    ) -> list[Fact]:
        """As `assert_fact` for one after the other, each with a seq of its own, in one transaction: all or none.

        Raises FailedPrecondition (FACT_DELETED) where a Fact of an id in `unless_deleted` was deleted here.
        """
        ...

    def retract_fact(
        self, namespace: str, fact_id: str, start: int | None, told_at: int | None, request_id: str = ""
    ) -> Fact:
        """Adds a retracting version of the statement of that Fact from `start` on (None: it never held).

        Raises NotFound (FACT_NOT_FOUND).
        """
        ...

    def correct_fact(
        self,
        namespace: str,
        fact_id: str,
        *,
        entity: str | None = None,
        literal: str | None = None,
        start: int | None = None,
        told_at: int | None = None,
        request_id: str = "",
    ) -> list[Fact]:
        """Takes a statement back and says another object in its place, in one transaction.

        From `start` on, or for as long as that Fact was said to hold. Returns the retraction, the assertion, and what
        had to be said again. Raises NotFound (FACT_NOT_FOUND), FailedPrecondition (CANNOT_CORRECT).
        """
        ...

    def undo_fact(self, namespace: str, *, fact_id: str = "", seq: int = 0, request_id: str = "") -> list[Fact]:
        """Adds the versions with which the one of that id, or of that commit, counts no more (see `memory.undoing`).

        Raises NotFound (FACT_NOT_FOUND), FailedPrecondition (NOTHING_TO_UNDO, CANNOT_UNDO).
        """
        ...

    def facts(
        self,
        namespace: str,
        entity: str | None = None,
        relation: str = "",
        as_of: AsOf = AsOf(),
        contended: Collection[str] = (),
        *,
        merged: bool = True,
    ) -> list[Fact]:
        """Every version told and committed by then (not looking at `valid_at`), by seq.

        Between Entities as they are merged as of `as_of.seq`; without `merged`, as they were told.

        `entity` is a name: only Facts with it as subject or object. Where their relation is in `contended`, also all
        others of the same subject and relation: what their relation's policy weighs them against.
        """
        ...

    def around(
        self, namespace: str, entity: str, as_of: AsOf, contended: Collection[str] = (), limit: int = 1000
    ) -> list[Fact]:
        """The Facts with that Entity as subject or object that hold as of then, each relation as MANY has it; by id.

        At most `limit`, and none whose relation is in `contended`. It takes no longer for an Entity with many Facts
        than for one with a few, where a backend can help it.
        """
        ...

    def set_policy(self, namespace: str, relation: str, policy: Contradiction, request_id: str = "") -> RelationPolicy:
        """Adds a version of the relation's policy; one that says what the last one says is no commit."""
        ...

    def policies(self, namespace: str, as_of: AsOf = AsOf()) -> list[RelationPolicy]:
        """For each relation that was given a policy by `as_of.seq`, the last version by then; by relation."""
        ...

    def timeline(
        self, namespace: str, where: EpisodeFilter, as_of: AsOf, limit: int, after: tuple[int, str] | None = None
    ) -> list[Episode]:
        """Episodes by (told_at, id), those after the key given, at most `limit`."""
        ...

    def forget(
        self,
        namespace: str,
        *,
        episode_ids: Sequence[str] = (),
        speaker: str = "",
        conversation: str = "",
        dry_run: bool = False,
        request_id: str = "",
    ) -> Forgotten:
        """Deletes the Episodes that all given selectors select, their Concepts, term counts and Facts.

        What was derived from them goes with them. Leaves an audit row with a random id, counts and the time, and no
        content. At least one selector is given.
        Raises FailedPrecondition (EPISODE_HELD) where one of them is under a legal hold, and then deletes none;
        `delete_namespace` does as well.
        """
        ...

    def archive(self, namespace: str, episode_ids: Sequence[str], request_id: str = "", asked: str = "") -> Moved:
        """Takes Episodes out of the index and keeps them whole; those that are archived already stay so.

        One transaction with one outbox entry. They still count in all statistics: IDF is of what the namespace was
        told, so the ranking of the others does not move, and a thaw has nothing to undo. `asked` says what the ids
        were chosen by, where they were: a retry is known by that, since it would choose others. Raises NotFound
        (EPISODE_NOT_FOUND), FailedPrecondition (EPISODE_HELD).
        """
        ...

    def thaw(self, namespace: str, episode_ids: Sequence[str], request_id: str = "", asked: str = "") -> Moved:
        """Puts archived Episodes into the index again, as they were, with no encoder. Raises NotFound."""
        ...

    def archived_concepts(self, namespace: str, as_of: AsOf) -> Iterator[tuple[Episode, list[StoredConcept]]]:
        """Archived Episodes that were committed, but not archived, by `as_of.seq`, by (archived_seq, id).

        What a strict as-of read looks through in place of the index, which no longer has them.
        """
        ...

    def keepings(self, namespace: str, episode_ids: Sequence[str]) -> dict[str, Keeping]:
        """How those of the Episodes are kept that exist."""
        ...

    def set_hold(
        self, namespace: str, episode_ids: Sequence[str], hold: str, *, release: bool = False, request_id: str = ""
    ) -> int:
        """Puts Episodes under a legal hold of that name, or releases them from it; returns how many changed.

        Raises NotFound (EPISODE_NOT_FOUND), and then changes none.
        """
        ...

    def set_expiry(
        self,
        namespace: str,
        episode_ids: Sequence[str],
        expires_at: int | None,
        expiry: Expiry = Expiry.ARCHIVE,
        request_id: str = "",
    ) -> int:
        """Sets when Episodes end, and how; None leaves it to the namespace. Returns how many there are.

        Raises NotFound (EPISODE_NOT_FOUND), and then changes none.
        """
        ...

    def set_time_to_live(self, namespace: str, given: TimeToLive | None) -> None:
        """Sets how long a namespace keeps what has no end of its own; None means for good."""
        ...

    def time_to_live(self, namespace: str) -> TimeToLive | None:
        """What was set."""
        ...

    def expire(self, namespace: str, now: int, limit: int) -> Expired:
        """Archives or deletes Episodes whose end is at or before `now`, at most so many, but those under a hold."""
        ...

    def add_uses(self, namespace: str, uses: Mapping[str, tuple[int, int]]) -> None:
        """Counts citations: for each Episode how many came, and the time of the last. Unknown ids count nothing.

        Makes no commit: a count says nothing of what was told.
        """
        ...

    def drop_answers(self, before: int, limit: int) -> int:
        """Drops what was answered before a time to requests with an id, at most so many; returns how many.

        A retry of such a request that comes later is a new request. Of all namespaces; no commit.
        """
        ...

    def export_episodes(self, namespace: str, up_to_seq: int = 0) -> Iterator[tuple[Episode, list[StoredConcept]]]:
        """All Episodes by (seq, id), with their Concepts; `up_to_seq` 0 means all."""
        ...

    def concept_ids(self, namespace: str) -> Iterator[str]:
        """Every Concept id but those of archived Episodes, ascending: what the index must hold."""
        ...

    def outbox(self, limit: int) -> list[OutboxEntry]:
        """The first entries that the index has not taken, in the order of commits."""
        ...

    def outbox_done(self, position: int) -> None:
        """Drops the entries up to and with this position: the index has them, durably."""
        ...

    def seq(self) -> int:
        """The last commit."""
        ...

    def seq_at(self, recorded_by: int) -> int:
        """The last commit at or before a time (microseconds); 0 if there was none."""
        ...

    def counts(self, namespace: str | None = None) -> RecordCounts:
        """Counts of one namespace, or of the whole store."""
        ...

    def close(self) -> None:
        """Lets go of files and connections. Calls after it raise Unavailable."""
        ...


class Index(Protocol):
    """Dense and sparse vectors of Concepts, derived from the record. Each space has a collection of its own.

    Writes are idempotent and durable when they return. Searches see the namespace given and nothing else; results are
    by descending score, ties by Concept id.
    """

    backend: str

    def upsert(self, space: Space, points: Sequence[IndexPoint]) -> None:
        """Writes points, replacing those of the same Concept id."""
        ...

    def delete(self, space: Space, namespace: str, concept_ids: Sequence[str]) -> None:
        """Deletes points; those that are not there are no error."""
        ...

    def drop_namespace(self, space: Space, namespace: str) -> None:
        """Deletes every point of a namespace."""
        ...

    def search_dense(
        self, space: Space, namespace: str, vector: Float32, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        """The nearest by cosine."""
        ...

    def search_sparse(
        self, space: Space, namespace: str, terms: Sparse, limit: int, where: EpisodeFilter, as_of: AsOf
    ) -> list[ScoredConcept]:
        """The highest sum of products of weights; what shares no term is not found."""
        ...

    def count(self, space: Space, namespace: str | None = None) -> int:
        """How many points there are, exactly."""
        ...

    def ids(self, space: Space, namespace: str) -> Iterator[str]:
        """Every Concept id of a namespace, ascending."""
        ...

    def warm(self, space: Space, namespace: str) -> None:
        """Makes ready what searches of a namespace use, where they would do without and take longer. May take long."""
        ...

    def optimize(self, space: Space) -> bool:
        """Tidies up what is due; returns whether anything was done. May take long."""
        ...

    def close(self) -> None:
        """Flushes and lets go of files and connections."""
        ...
