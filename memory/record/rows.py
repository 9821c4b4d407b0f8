"""What both backends of the record do alike: what is a duplicate, how rows are packed, how retries are answered.

Pure functions over plain values. A row is any mapping from column names to values; both backends use the same names.
Vectors are little-endian float32 bytes; term ids little-endian uint32 bytes, their weights float32 bytes.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import lt
from typing import Any, Protocol

import numpy as np

from core.entities import Merge
from core.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, SapienceError
from core.ids import concept_id, normalised_name
from core.nouns import (
    Concept,
    ConceptColumns,
    Contradiction,
    Entity,
    Episode,
    Expiry,
    Fact,
    Float32,
    Forgotten,
    Interval,
    Keeping,
    NewFact,
    PerceivedEpisode,
    Precision,
    RelationPolicy,
    Remembered,
    SourceKind,
    Space,
    Span,
    Sparse,
    StoredConcept,
)
from core.windows import source_of
from memory.record.packing import packed_terms, packed_vectors

_COMPACT = json.JSONEncoder(separators=(",", ":"))


class Row(Protocol):
    """A row by column names: `sqlite3.Row`, `neo4j.Record`, a dict."""

    def __getitem__(self, column: str, /) -> Any:
        """The value of a column."""
        ...


@dataclass(frozen=True, slots=True)
class PackedConcept:
    """A Concept as it is stored, but for its Episode's id."""

    span: Span
    vector: bytes
    term_ids: bytes
    term_weights: bytes

    def columns(self) -> dict[str, int | str | bytes]:
        """What is stored of it, by column."""
        return {
            "start_byte": self.span.start_byte,
            "end_byte": self.span.end_byte,
            "language": self.span.language,
            "term_ids": self.term_ids,
            "term_weights": self.term_weights,
            "vector": self.vector,
        }

    def values(self) -> tuple[int | str | bytes, ...]:
        """The same, in the same order, without names."""
        span = self.span
        return (span.start_byte, span.end_byte, span.language, self.term_ids, self.term_weights, self.vector)


@dataclass(frozen=True, slots=True)
class PackedEpisode:
    """An Episode, checked and packed, with the digest that its duplicates share."""

    told: PerceivedEpisode
    identity: str
    concepts: tuple[PackedConcept, ...]

    def columns(self) -> dict[str, int | str]:
        """What is stored of it, by column."""
        return {
            "identity": self.identity,
            "kind": int(self.told.source.kind),
            "source_name": self.told.source.name,
            "conversation": self.told.conversation,
            "position": self.told.position,
            "speaker": self.told.speaker,
            "text": self.told.text,
            "told_at": self.told.told_at,
            "external_id": self.told.external_id,
        }

    def values(self) -> tuple[int | str, ...]:
        """The same, in the same order, without names."""
        told = self.told
        source = told.source
        return (
            *(self.identity, int(source.kind), source.name, told.conversation, told.position),
            *(told.speaker, told.text, told.told_at, told.external_id),
        )


@dataclass(frozen=True, slots=True)
class FreshEpisode:
    """An Episode that is to be written: its id, its place in the batch, and its Concepts' ids."""

    id: str
    ordinal: int
    packed: PackedEpisode
    concept_ids: tuple[str, ...]
    numbered: tuple[int, int] | None = None
    """The seq and time of its own commit, where that is not the one that writes it: it comes from a backup."""

    def made(self, recorded_at: int, seq: int) -> tuple[int, int]:
        """When it was recorded, and by which commit: the one given, unless it has its own."""
        return (recorded_at, seq) if self.numbered is None else (self.numbered[1], self.numbered[0])


def pack(space: Space, episodes: Sequence[PerceivedEpisode]) -> list[PackedEpisode]:
    """Checks a batch and packs it. Raises InvalidArgument with the field's path, before anything is written."""
    concepts = [concept for told in episodes for concept in told.concepts]
    vectors = packed_vectors(space.dimensions, [one.vector for one in concepts])
    terms = packed_terms([one.terms for one in concepts])
    # Where something is wrong with one of them, each is looked at, and the first at fault is named.
    ready = None if vectors is None or terms is None else zip(vectors, terms, strict=True)
    return [_packed_episode(space, told, f"episodes[{place}]", ready) for place, told in enumerate(episodes)]


def identity(told: PerceivedEpisode) -> str:
    """The digest (128 bits, hex) that the Episodes share which are duplicates of each other within a namespace."""
    name = told.source.name
    if told.external_id:
        return digest("external_id", name, told.external_id)
    return digest("text", name, told.conversation, told.position, told.speaker, told.told_at, told.text)


def digest(*parts: object) -> str:
    """A digest of a sequence of strings, numbers and None that no other sequence shares."""
    # The encoder makes itself ready for each list anew, which takes longer than to say a few strings and numbers.
    said = ",".join([repr(one) if type(one) is int else _COMPACT.encode(one) for one in parts])
    return blake2b(f"[{said}]".encode(), digest_size=16).hexdigest()


def sort_out(
    batch: Sequence[PackedEpisode],
    known: Mapping[str, tuple[str, int]],
    seq: int,
    new_id: Callable[[], str],
    deleted: Collection[int] = (),
    bring_back: bool = True,
) -> tuple[list[FreshEpisode], list[Remembered]]:
    """Tells the new Episodes of a batch from the duplicates, of the record and of each other.

    `known` maps the identities that the record has to (id, seq); `seq` is the commit that the new ones will belong to.
    `deleted` are the places of those that were deleted before: they are new only with `bring_back`.
    """
    seen = dict(known)
    fresh: list[FreshEpisode] = []
    answer: list[Remembered] = []
    brought: set[str] = set()
    for ordinal, packed in enumerate(batch):
        found = seen.get(packed.identity)
        if found is not None:
            answer.append(Remembered(*found, duplicate=True))
            continue
        if ordinal in deleted and not bring_back:
            answer.append(Remembered("", 0, deleted=True))
            continue
        episode_id = packed.told.id or new_id()
        if packed.told.id:
            if episode_id in brought:
                raise episode_id_taken(episode_id)
            brought.add(episode_id)
        concept_ids = tuple([concept_id(episode_id, ordinal) for ordinal in range(len(packed.concepts))])
        fresh.append(FreshEpisode(episode_id, ordinal, packed, concept_ids))
        seen[packed.identity] = (episode_id, seq)
        answer.append(Remembered(episode_id, seq, deleted=ordinal in deleted))
    return fresh, answer


def speaker_counts(fresh: Sequence[FreshEpisode]) -> Counter[str]:
    """How many Episodes each speaker has among these; the empty name is nobody."""
    return Counter(episode.packed.told.speaker for episode in fresh if episode.packed.told.speaker)


def dreamt_counts(fresh: Sequence[FreshEpisode]) -> int:
    """How many of their Concepts are of Episodes that Dreams wrote."""
    return sum(len(one.concept_ids) for one in fresh if one.packed.told.source.kind is SourceKind.DREAM)


def counted_terms(fresh: Sequence[FreshEpisode]) -> Iterator[bytes]:
    """The term ids of all their Concepts that statistics count: those that no Dream wrote."""
    for one in fresh:
        if one.packed.told.source.kind is not SourceKind.DREAM:
            yield from (concept.term_ids for concept in one.packed.concepts)


def term_counts(term_ids: Iterable[bytes]) -> dict[int, int]:
    """How many of these Concepts hold each term, by ascending term."""
    terms, counts = np.unique(np.frombuffer(b"".join(term_ids), "<u4"), return_counts=True)
    return dict(zip(terms.tolist(), counts.tolist(), strict=True))


def check_space(namespace: str, present: Space | None, given: Space) -> None:
    """Raises FailedPrecondition (SPACE_MISMATCH) where a namespace's vectors are in another space than those given."""
    if present is not None and present != given:
        raise FailedPrecondition(
            f"namespace {namespace!r} holds vectors of {present}, and these are of {given}; "
            "encode with that model, or use another namespace",
            reason="SPACE_MISMATCH",
        )


def check_selectors(episode_ids: Sequence[str], speaker: str, conversation: str) -> None:
    """Raises InvalidArgument where nothing says what to forget."""
    if not episode_ids and not speaker and not conversation:
        raise InvalidArgument(
            "nothing says what to forget; give episode_ids, a speaker or a conversation, or delete the namespace",
            field="episode_ids",
        )


def check_fact(fact: NewFact) -> None:
    """Raises InvalidArgument for a Fact without exactly one object, or with an interval that is empty."""
    if (fact.entity is None) == (fact.literal is None):
        raise InvalidArgument(
            f"a Fact has one object; entity is {fact.entity!r} and literal is {fact.literal!r}", field="object"
        )
    if fact.valid.start is not None and fact.valid.end is not None and fact.valid.start >= fact.valid.end:
        raise InvalidArgument(
            f"valid.end {fact.valid.end} is not after valid.start {fact.valid.start}", field="valid.end"
        )
    for field in ("subject", "relation", "entity", "literal"):
        check_text(getattr(fact, field) or "", field)


def check_text(text: str, field: str) -> bytes:
    """The text as UTF-8. Raises InvalidArgument for half a surrogate pair, which UTF-8 cannot hold."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{field} is no Unicode text at character {error.start}", field=field) from error


# Retries. The digest covers what the caller said and not what was made of it on the way, since a retry is made later
# and anew: a time filled in with "now" and a vector encoded in another batch may differ between the two.


def remember_digest(episodes: Sequence[PerceivedEpisode]) -> str:
    """The digest of a `remember`: all that the caller told but `told_at`."""
    return digest(
        *(
            (e.id, e.source.kind, e.source.name, e.conversation, e.position, e.speaker, e.text, e.external_id)
            + ((e.derived_from,) if e.derived_from else ())
            for e in episodes
        )
    )


def fact_digest(fact: NewFact) -> str:
    """The digest of an `assert_fact`: all but `told_at`, and "from then on" where the Fact is valid from `told_at`."""
    start = "told_at" if fact.valid.start == fact.told_at else fact.valid.start
    valid = (start, fact.valid.end, fact.valid.precision, fact.valid.original_text, fact.valid.timezone)
    said = (fact.id, fact.subject, fact.relation, fact.entity, fact.literal, fact.retracted)
    return digest(said, valid, fact.episode_id, fact.trust)


def remembered_json(answer: Sequence[Remembered]) -> str:
    """The answer of `remember`, as it is stored for a retry."""
    said = [(one.episode_id, one.seq, one.duplicate, one.deleted) for one in answer]
    return json.dumps(said, separators=(",", ":"))


def remembered_from(text: str) -> list[Remembered]:
    """What `remembered_json` wrote."""
    return [Remembered(*one) for one in json.loads(text)]


def forgotten_json(answer: Forgotten) -> str:
    """The answer of `forget`, as it is stored for a retry."""
    return json.dumps((answer.episodes, answer.concepts, answer.facts, answer.audit_id), separators=(",", ":"))


def forgotten_from(text: str) -> Forgotten:
    """What `forgotten_json` wrote."""
    return Forgotten(*json.loads(text))


def policy_json(answer: RelationPolicy) -> str:
    """The answer of `set_policy`, as it is stored for a retry."""
    return json.dumps((answer.relation, answer.policy, answer.recorded_at, answer.seq), separators=(",", ":"))


def policy_from_json(text: str) -> RelationPolicy:
    """What `policy_json` wrote."""
    relation, policy, recorded_at, seq = json.loads(text)
    return RelationPolicy(relation, Contradiction(policy), recorded_at, seq)


def replay(row: Row | None, request_id: str, kind: str, asked: str) -> str | None:
    """The stored answer to a request, if it was made before.

    Raises AlreadyExists (REQUEST_ID_REUSED) where the id stands for another request.
    """
    if row is None:
        return None
    if row["kind"] != kind or row["digest"] != asked:
        raise AlreadyExists(
            f"request_id {request_id!r} was used before, for another {row['kind']}; give each write an id of its own",
            reason="REQUEST_ID_REUSED",
            field="request_id",
        )
    return str(row["response"])


# Rows into nouns.


CONCEPT_COLUMNS = (
    "episode_id", "id", "ordinal", "start_byte", "end_byte", "language", "term_ids", "term_weights", "vector",
)  # fmt: skip
"""What `columns_from` reads."""


def space_from(row: Row) -> Space:
    """From columns space_name, space_version, dimensions."""
    return Space(row["space_name"], row["space_version"], row["dimensions"])


def episode_from(namespace: str, row: Row) -> Episode:
    """From the columns of an Episode."""
    return Episode(
        id=row["id"],
        namespace=namespace,
        source=source_of(row["kind"], row["source_name"]),
        conversation=row["conversation"],
        position=row["position"],
        speaker=row["speaker"],
        text=row["text"],
        told_at=row["told_at"],
        external_id=row["external_id"],
        recorded_at=row["recorded_at"],
        seq=row["seq"],
        archived_seq=row["archived_seq"],
    )


EPISODE_COLUMNS = (
    "id", "kind", "source_name", "conversation", "position", "speaker", "text", "told_at", "external_id",
    "recorded_at", "seq", "archived_seq",
)  # fmt: skip
"""What `EpisodeColumns` holds, in its order."""


def keeping_from(row: Row, holds: Sequence[str]) -> Keeping:
    """From the columns of an Episode, and its holds in any order."""
    return Keeping(
        row["id"], tuple(sorted(holds)), row["expires_at"], Expiry(row["expiry"]), row["uses"], row["used_at"]
    )


def concept_from(space: Space, row: Row) -> StoredConcept:
    """From the columns of a Concept, and `episode_id` and `text` of its Episode."""
    start, end = row["start_byte"], row["end_byte"]
    span = Span(row["text"].encode()[start:end].decode(), start, end, row["language"])
    return StoredConcept(
        Concept(row["id"], row["episode_id"], row["ordinal"], span),
        space,
        vector_from(row["vector"]),
        Sparse(
            tuple(np.frombuffer(row["term_ids"], "<u4").tolist()),
            tuple(np.frombuffer(row["term_weights"], "<f4").tolist()),
        ),
    )


def columns_from(space: Space | None, columns: Mapping[str, Sequence[Any]]) -> ConceptColumns:
    """From the columns of Concepts, and the `episode_id` of each, in the order of (episode_id, ordinal)."""
    count = len(columns["id"])
    entries = np.array([len(one) // 4 for one in columns["term_ids"]], np.int64)
    vectors = np.frombuffer(b"".join(columns["vector"]), "<f4")
    return ConceptColumns(
        episode_ids=tuple(columns["episode_id"]),
        ids=tuple(columns["id"]),
        ordinals=tuple(columns["ordinal"]),
        start_bytes=tuple(columns["start_byte"]),
        end_bytes=tuple(columns["end_byte"]),
        languages=tuple(columns["language"]),
        vectors=vectors.reshape(count, 0 if space is None else space.dimensions),
        term_rows=np.repeat(np.arange(count), entries),
        terms=np.frombuffer(b"".join(columns["term_ids"]), "<u4").astype(np.int64),
        term_weights=np.frombuffer(b"".join(columns["term_weights"]), "<f4"),
    )


def vector_from(packed: bytes) -> Float32:
    """A vector from its bytes; read-only."""
    return np.frombuffer(packed, "<f4")


def fact_from(row: Row) -> Fact:
    """From the columns of a Fact, and the ids and names of its subject and object."""
    target = row["literal"]
    return Fact(
        id=row["id"],
        subject=Entity(row["subject_id"], row["subject_name"]),
        relation=row["relation"],
        object=target if target is not None else Entity(row["object_id"], row["object_name"]),
        valid=Interval(
            row["valid_start"], row["valid_end"], Precision(row["precision"]), row["original_text"], row["timezone"]
        ),
        told_at=row["told_at"],
        recorded_at=row["recorded_at"],
        seq=row["seq"],
        retracted=bool(row["retracted"]),
        episode_id=row["episode_id"] or "",
        trust=row["trust"],
        rule=row["rule"] or "",
    )


def fact_made(fact_id: str, told: NewFact, recorded_at: int, seq: int, entities: Mapping[str, Entity]) -> Fact:
    """A Fact that was just written, as it would be read; `entities` are by normalised name."""
    return Fact(
        id=fact_id,
        subject=entities[normalised_name(told.subject)],
        relation=told.relation,
        object=entities[normalised_name(told.entity)] if told.entity is not None else told.literal or "",
        valid=told.valid,
        told_at=told.told_at,
        recorded_at=recorded_at,
        seq=seq,
        retracted=told.retracted,
        episode_id=told.episode_id,
        trust=float(told.trust),
        rule=told.rule,
    )


def merge_from(row: Row) -> Merge:
    """From the columns of a merge, and the ids and names of its two Entities."""
    kept, merged = Entity(row["kept_id"], row["kept_name"]), Entity(row["merged_id"], row["merged_name"])
    return Merge(row["id"], kept, merged, row["reason"], row["recorded_at"], row["seq"], row["undone_seq"])


def policy_from(row: Row) -> RelationPolicy:
    """From the columns of a relation's policy."""
    return RelationPolicy(row["relation"], Contradiction(row["policy"]), row["recorded_at"], row["seq"])


def retraction(fact: Fact, start: int | None, told_at: int) -> NewFact:
    """The version that takes the statement of `fact` back from `start` on."""
    target = fact.object
    return NewFact(
        subject=fact.subject.name,
        relation=fact.relation,
        valid=Interval(start),
        told_at=told_at,
        entity=target.name if isinstance(target, Entity) else None,
        literal=None if isinstance(target, Entity) else target,
        retracted=True,
    )


# Errors that both raise.


def namespace_not_found(name: str) -> SapienceError:
    """For a namespace that is not there."""
    return NotFound(
        f"there is no namespace {name!r}; create it first, for example with `sapience namespaces create {name}`",
        reason="NAMESPACE_NOT_FOUND",
        field="namespace",
    )


def namespace_exists(name: str) -> SapienceError:
    """For a namespace that is there already."""
    return AlreadyExists(f"there is a namespace {name!r} already", reason="NAMESPACE_EXISTS", field="namespace")


def episode_not_found(namespace: str, episode_id: str) -> SapienceError:
    """For an Episode that is not there."""
    return NotFound(
        f"there is no Episode {episode_id!r} in namespace {namespace!r}", reason="EPISODE_NOT_FOUND", field="episode_id"
    )


def fact_not_found(namespace: str, fact_id: str) -> SapienceError:
    """For a Fact that is not there, or no longer."""
    return NotFound(
        f"there is no Fact {fact_id!r} in namespace {namespace!r}; it may have been forgotten",
        reason="FACT_NOT_FOUND",
        field="fact_id",
    )


def entity_not_found(namespace: str, name: str, field: str) -> SapienceError:
    """For an Entity that nothing names, or no longer."""
    return NotFound(
        f"there is no Entity {name!r} in namespace {namespace!r}; Entities come with Facts and with what is told",
        reason="ENTITY_NOT_FOUND",
        field=field,
    )


def already_merged(kept: str, merged: str, shown: str) -> SapienceError:
    """For Entities that are one as it is."""
    return FailedPrecondition(
        f"{kept!r} and {merged!r} are one Entity already, shown as {shown!r}", reason="ALREADY_MERGED", field="merged"
    )


def merge_not_found(namespace: str, merge_id: str) -> SapienceError:
    """For a merge that is not there; it goes with its Entities."""
    return NotFound(
        f"there is no merge {merge_id!r} in namespace {namespace!r}; ListMerges shows those there are",
        reason="MERGE_NOT_FOUND",
        field="merge_id",
    )


def merge_undone(merge_id: str, seq: int) -> SapienceError:
    """For a merge that was taken back before."""
    return FailedPrecondition(
        f"merge {merge_id} was undone already, by commit {seq}", reason="MERGE_UNDONE", field="merge_id"
    )


def episode_held(episode_id: str, hold: str, done: str) -> SapienceError:
    """For an Episode under a legal hold that would be archived or deleted."""
    return FailedPrecondition(
        f"Episode {episode_id} is under the legal hold {hold!r} and is not {done}; release it first, with SetHold",
        reason="EPISODE_HELD",
        field="episode_ids",
    )


def episode_id_taken(episode_id: str) -> SapienceError:
    """For an Episode that brings the id of another one."""
    return AlreadyExists(
        f"the id {episode_id} belongs to another Episode of this store; import into another store, or without ids",
        reason="EPISODE_ID_TAKEN",
        field="episode_id",
    )


def fact_id_taken(fact_id: str) -> SapienceError:
    """For a Fact that brings the id of another one."""
    return AlreadyExists(
        f"the id {fact_id} belongs to another Fact of this store; import into another store, or without ids",
        reason="FACT_ID_TAKEN",
        field="id",
    )


def bad_backup(namespace: str, what: str) -> SapienceError:
    """For a backup that cannot be one of ours."""
    return FailedPrecondition(
        f"the backup of namespace {namespace!r} is broken: {what}; make another one", reason="BAD_BACKUP"
    )


def same_fact(present: Fact, given: NewFact, entity_id_of: Callable[[str], str]) -> bool:
    """Whether a Fact that brings an id is the one that has it already."""
    target = f"literal:{given.literal}" if given.entity is None else f"entity:{entity_id_of(given.entity)}"
    statement = (entity_id_of(given.subject), given.relation, target)
    said = (statement, given.valid, given.told_at, given.retracted)
    return said == (present.statement, present.valid, present.told_at, present.retracted)


def _packed_episode(
    space: Space, told: PerceivedEpisode, field: str, ready: Iterator[tuple[bytes, tuple[bytes, bytes]]] | None
) -> PackedEpisode:
    """`ready` gives the bytes of the next Concept's vector, term ids and weights, where they were packed before."""
    text = check_text(told.text, f"{field}.text")
    for name in (told.source.name, told.conversation, told.speaker, told.external_id, told.id):
        if not name.isascii():
            check_text(name, field)
    concepts = []
    for place, concept in enumerate(told.concepts):
        where = f"{field}.concepts[{place}]"
        span = concept.span
        if span.start_byte < 0 or text[span.start_byte : span.end_byte] != check_text(span.text, f"{where}.text"):
            raise InvalidArgument(
                f"{where}.text is not the bytes [{span.start_byte}, {span.end_byte}) of the Episode's text",
                field=f"{where}.text",
            )
        if ready is None:
            vector, terms = packed_vector(space, concept.vector, where), _packed_terms(concept.terms, where)
        else:
            vector, terms = next(ready)
        concepts.append(PackedConcept(span, vector, *terms))
    return PackedEpisode(told, identity(told), tuple(concepts))


def packed_vector(space: Space, vector: Float32, field: str) -> bytes:
    """Little-endian float32 bytes. Raises InvalidArgument where it is not of that size, or not finite."""
    if vector.shape != (space.dimensions,):
        raise InvalidArgument(
            f"{field}.vector has shape {vector.shape}, and {space} asks for ({space.dimensions},)",
            field=f"{field}.vector",
        )
    packed = np.ascontiguousarray(vector, "<f4")
    # A finite sum has finite parts; one that is not may have overflowed, and is looked at closely.
    if not math.isfinite(packed.sum()) and not np.isfinite(packed).all():
        raise InvalidArgument(f"{field}.vector holds NaN or infinity", field=f"{field}.vector")
    return packed.tobytes()


def _packed_terms(terms: Sparse, field: str) -> tuple[bytes, bytes]:
    ids, weights = terms.indices, terms.values
    ascending = not ids or (ids[0] >= 0 and ids[-1] < 1 << 32 and all(map(lt, ids, ids[1:])))
    if len(ids) != len(weights) or not ascending:
        raise InvalidArgument(
            f"{field}.terms must be ascending uint32 ids with one weight each", field=f"{field}.terms"
        )
    try:
        packed = struct.pack(f"<{len(weights)}f", *weights)
    except OverflowError:  # beyond float32
        packed = b""
    if (not packed and weights) or not all(map(math.isfinite, weights)):
        raise InvalidArgument(f"{field}.terms holds NaN or infinity", field=f"{field}.terms")
    return struct.pack(f"<{len(ids)}I", *ids), packed
