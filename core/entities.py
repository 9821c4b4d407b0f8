"""The nouns around Entities: what an Episode mentions, which Entities were merged, and what the record says of them.

Kept apart from `core.nouns` for their number; `core.ports.Record` includes what is asked here of a record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.clock import Micros
from core.nouns import AsOf, Contradiction, Entity, Episode, NewFact


@dataclass(frozen=True, slots=True)
class NewMention:
    """That a text names an Entity at the bytes [start_byte, end_byte). Its speaker is mentioned by an empty stretch.

    `kind` is "person", "animal", "place", "organisation", "thing", or empty where nothing says it.
    """

    name: str
    start_byte: int = 0
    end_byte: int = 0
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What an extractor read in one Episode. `facts` bring their ids; `policies` count where a relation has none."""

    episode_id: str
    mentions: tuple[NewMention, ...] = ()
    facts: tuple[NewFact, ...] = ()
    policies: Mapping[str, Contradiction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Merge:
    """That two Entities are one, from a commit on, until it was undone by a later one (`undone_seq`, else 0)."""

    id: str
    kept: Entity
    merged: Entity
    reason: str
    recorded_at: Micros
    seq: int
    undone_seq: int = 0

    def counts(self, seq: int) -> bool:
        """Whether it was made and not yet undone as of a commit."""
        return self.seq <= seq and not 0 < self.undone_seq <= seq


@dataclass(frozen=True, slots=True)
class KnownEntity:
    """An Entity as of a point in time: its other names, its kind as most mentions say it, how often it is named.

    `episodes` mention it, by any of its names; `facts` are versions of Facts with it as an end.
    """

    entity: Entity
    aliases: tuple[str, ...]
    kind: str
    episodes: int
    facts: int


@dataclass(frozen=True, slots=True)
class Mention:
    """An Episode that mentions an Entity, and the bytes of its text where; none where its speaker is the Entity."""

    episode: Episode
    spans: tuple[tuple[int, int], ...]


class EntityRecord(Protocol):
    """The part of `core.ports.Record` about Entities.

    A merge rewrites nothing: Facts and mentions keep the names they were told with, and reads put merged Entities
    together as of their `seq`. So undoing a merge leaves what would be there without it, and what an old commit is
    asked for is told apart as it was then.
    """

    def unextracted(self, namespace: str, version: int, limit: int) -> list[Episode]:
        """Episodes that no extractor of this version or a later one has read, by (version that did, commit)."""
        ...

    def write_extracted(self, namespace: str, version: int, extracted: Sequence[Extracted]) -> int:
        """Keeps what was read in Episodes, and that it was, in one transaction. Returns how many Facts are new.

        Facts that are there already, by id, and Episodes that are there no longer are passed over; mentions of an
        earlier reading are replaced. Facts of an earlier reading stay: they were believed.
        """
        ...

    def extracted_seq(self, version: int, namespace: str | None = None) -> int:
        """The last commit before which every Episode was read by this version, in one namespace or in all."""
        ...

    def merge_entities(
        self, namespace: str, kept: str, merged: str, reason: str = "", request_id: str = "", *, make: bool = False
    ) -> Merge:
        """Makes two Entities one, by their names; it is shown by the name that `kept` is shown by.

        With `make`, Entities that are not there are made: an import brings merges before the mentions are read again.
        Raises NotFound (ENTITY_NOT_FOUND), FailedPrecondition (ALREADY_MERGED).
        """
        ...

    def undo_merge(self, namespace: str, merge_id: str, request_id: str = "") -> Merge:
        """Takes a merge back. Raises NotFound (MERGE_NOT_FOUND), FailedPrecondition (MERGE_UNDONE)."""
        ...

    def merges(self, namespace: str, as_of: AsOf = AsOf(), *, undone: bool = False) -> list[Merge]:
        """The merges that count as of `as_of.seq`, by seq; with `undone` also those that were taken back by then."""
        ...

    def names_of(self, namespace: str, name: str, as_of: AsOf = AsOf()) -> tuple[str, ...]:
        """All names of the Entity of a name as of then, the one it is shown by first; the name itself where none is."""
        ...

    def entity_names(self, namespace: str, limit: int) -> list[str]:
        """The names of Entities, each merged one by itself, by normalised name: at most so many."""
        ...

    def entities_by_id(self, namespace: str, ids: Sequence[str]) -> dict[str, Entity]:
        """Those of the Entities that exist, each merged one by itself."""
        ...

    def entity(self, namespace: str, name: str, as_of: AsOf = AsOf()) -> KnownEntity:
        """The Entity of a name. Raises NotFound (ENTITY_NOT_FOUND)."""
        ...

    def entities(
        self, namespace: str, as_of: AsOf = AsOf(), limit: int = 100, after: str = ""
    ) -> tuple[list[KnownEntity], str]:
        """Entities that something named by then, by normalised name, each once, after the name given.

        Returns the name after which the next page begins; empty after the last.
        """
        ...

    def mentions(
        self, namespace: str, name: str, as_of: AsOf, limit: int, after: tuple[int, str] | None = None
    ) -> list[Mention]:
        """Episodes told and committed by then that mention the Entity of a name, by (told_at, id), after the key given.

        None where there is no such Entity.
        """
        ...

    def mentioned_in(self, namespace: str, episode_ids: Sequence[str], as_of: AsOf = AsOf()) -> dict[str, list[Entity]]:
        """For each of the Episodes that mention any, the Entities, each once, by id; as they are merged as of then."""
        ...
