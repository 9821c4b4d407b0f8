"""The parts of a backup between the wire and the nouns.

Numbers, times and vectors go through bit by bit: what comes from a backup is put back as it was, and not checked like
something new. A part that cannot be one of ours raises InvalidArgument (BAD_BACKUP), with the place it came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import TypeVar

import numpy as np
from sapience.v1 import moving_pb2 as pb

from core.entities import Merge
from core.errors import InvalidArgument
from core.ids import concept_id
from core.moving import Audit, CommitTime, Kept, StoredEpisode, StoredNamespace, Tombstone
from core.nouns import (
    Concept,
    Contradiction,
    Entity,
    Episode,
    Expiry,
    Fact,
    Float32,
    Interval,
    Keeping,
    Precision,
    RelationPolicy,
    Source,
    SourceKind,
    Space,
    Span,
    Sparse,
    StoredConcept,
    TimeToLive,
)
from services import wire
from services.memory import entities, holding

FORMAT = 1
_MANY = 1000
"""Commits or digests on one line."""

_T = TypeVar("_T")


def bad_backup(what: str, field: str = "part") -> InvalidArgument:
    """For a part that is none of ours."""
    return InvalidArgument(f"{what}; the backup is broken, take another one", field=field, reason="BAD_BACKUP")


def batches_of(items: Iterable[_T], most: int = _MANY) -> Iterator[list[_T]]:
    """Lists of at most so many."""
    iterator = iter(items)
    while batch := list(islice(iterator, most)):
        yield batch


# Out


def namespace_to(one: StoredNamespace) -> pb.BackupNamespace:
    """A tenant as a message."""
    message = pb.BackupNamespace(name=one.name, made_seq=one.made_seq, created_at=wire.timestamp(one.created_at))
    if one.space is not None:
        message.space, message.space_version, message.dimensions = (
            one.space.name,
            one.space.version,
            one.space.dimensions,
        )
    if one.lived is not None:
        message.time_to_live.FromMicroseconds(one.lived.microseconds)
        message.deletes = one.lived.expiry is Expiry.DELETE
    return message


def commits_to(commits: Iterable[CommitTime]) -> Iterator[pb.BackupPart]:
    """Commits as messages of many each."""
    for batch in batches_of(commits):
        listed = pb.BackupCommits(seqs=[one.seq for one in batch], recorded_at=[one.recorded_at for one in batch])
        yield pb.BackupPart(commits=listed)


def episode_to(stored: StoredEpisode) -> pb.BackupPart:
    """An Episode as a message."""
    message = pb.BackupEpisode(
        episode=wire.episode_to(stored.episode),
        ordinal=stored.ordinal,
        kept=_kept_to(stored.keeping),
        derived_from=stored.derived_from,
    )
    for one in stored.concepts:
        span = one.concept.span
        message.concepts.add(
            start_byte=span.start_byte,
            end_byte=span.end_byte,
            language=span.language,
            term_ids=np.array(one.terms.indices, "<u4").tobytes(),
            term_weights=np.array(one.terms.values, "<f4").tobytes(),
        )
    if stored.concepts:
        vectors = np.stack([one.vector for one in stored.concepts])
        message.vectors.CopyFrom(wire.tensor_to(vectors, stored.concepts[0].space))
    return pb.BackupPart(episode=message)


def fact_to(namespace: str, fact: Fact) -> pb.BackupPart:
    """A version of a Fact as a message."""
    return pb.BackupPart(fact=pb.BackupFact(namespace=namespace, fact=wire.fact_to(fact)))


def policy_to(namespace: str, policy: RelationPolicy) -> pb.BackupPart:
    """A version of a policy as a message."""
    return pb.BackupPart(policy=pb.BackupPolicy(namespace=namespace, policy=holding.policy_to(policy)))


def merge_to(namespace: str, merge: Merge) -> pb.BackupPart:
    """A merge of Entities as a message."""
    return pb.BackupPart(merge=pb.BackupMerge(namespace=namespace, merge=entities.merge_to(merge)))


def keeping_to(namespace: str, kept: Kept) -> pb.BackupPart:
    """How an Episode is kept, as a message."""
    return pb.BackupPart(
        keeping=pb.BackupKeeping(
            namespace=namespace,
            episode_id=kept.keeping.episode_id,
            archived_seq=kept.archived_seq,
            kept=_kept_to(kept.keeping),
        )
    )


def audit_to(one: Audit) -> pb.BackupPart:
    """An audit as a message."""
    return pb.BackupPart(
        audit=pb.BackupAudit(
            audit_id=one.audit_id,
            namespace=one.namespace,
            recorded_at=wire.timestamp(one.recorded_at),
            seq=one.seq,
            episodes=one.episodes,
            concepts=one.concepts,
            facts=one.facts,
        )
    )


def tombstones_to(tombstones: Iterable[Tombstone]) -> Iterator[pb.BackupPart]:
    """Tombstones, which come by namespace and kind, as messages of many each."""
    for (namespace, kind), of_it in groupby(tombstones, lambda one: (one.namespace, one.kind)):
        for batch in batches_of(of_it):
            yield pb.BackupPart(
                tombstones=pb.BackupTombstones(
                    namespace=namespace,
                    kind=kind,
                    digests=[one.digest for one in batch],
                    seqs=[one.seq for one in batch],
                )
            )


def _kept_to(keeping: Keeping) -> pb.BackupKept | None:
    if keeping == Keeping(keeping.episode_id):
        return None
    message = pb.BackupKept(holds=keeping.holds, deletes=keeping.expiry is Expiry.DELETE, uses=keeping.uses)
    if keeping.expires_at is not None:
        wire.set_timestamp(message.expires_at, keeping.expires_at)
    if keeping.used_at is not None:
        wire.set_timestamp(message.used_at, keeping.used_at)
    return message


# In


def namespace_from(message: pb.BackupNamespace) -> StoredNamespace:
    """A tenant from a message."""
    lived = None
    if message.HasField("time_to_live"):
        lived = TimeToLive(message.time_to_live.ToMicroseconds(), Expiry.DELETE if message.deletes else Expiry.ARCHIVE)
    space = Space(message.space, message.space_version, message.dimensions) if message.space else None
    return StoredNamespace(
        wire.checked_namespace(message.name),
        message.made_seq,
        wire.micros(message.created_at, "header.namespaces.created_at"),
        space,
        lived,
    )


def commits_from(message: pb.BackupCommits) -> list[CommitTime]:
    """Commits from a message."""
    if len(message.seqs) != len(message.recorded_at):
        raise bad_backup("a list of commits has numbers without times")
    return [CommitTime(*one) for one in zip(message.seqs, message.recorded_at, strict=True)]


def episode_from(message: pb.BackupEpisode) -> StoredEpisode:
    """An Episode from a message."""
    one, key = message.episode, message.episode.id
    episode = Episode(
        id=key,
        namespace=one.namespace,
        source=Source(SourceKind(one.source.kind), one.source.name),
        conversation=one.conversation,
        position=one.position,
        speaker=one.speaker,
        text=one.text,
        told_at=wire.micros(one.told_at, f"{key} told_at"),
        external_id=one.external_id,
        recorded_at=wire.micros(one.recorded_at, f"{key} recorded_at"),
        seq=one.seq,
        archived_seq=one.archived_seq,
    )
    text = one.text.encode()
    vectors, space = _vectors_from(message)
    concepts = []
    for ordinal, part in enumerate(message.concepts):
        words = text[part.start_byte : part.end_byte]
        span = Span(words.decode(), part.start_byte, part.end_byte, part.language)
        terms = Sparse(
            tuple(np.frombuffer(part.term_ids, "<u4").tolist()), tuple(np.frombuffer(part.term_weights, "<f4").tolist())
        )
        concept = Concept(concept_id(key, ordinal), key, ordinal, span)
        concepts.append(StoredConcept(concept, space, vectors[ordinal], terms))
    kept = _kept_from(key, message.kept)
    return StoredEpisode(episode, message.ordinal, tuple(concepts), kept, tuple(message.derived_from))


def _vectors_from(message: pb.BackupEpisode) -> tuple[Float32, Space]:
    """Not brought to length 1 again: they are what the record held."""
    tensor, count = message.vectors, len(message.concepts)
    dimensions = tensor.shape[1] if len(tensor.shape) == 2 else 0
    if count and (tuple(tensor.shape) != (count, dimensions) or len(tensor.data) != count * dimensions * 4):
        raise bad_backup(f"Episode {message.episode.id} has {count} Concepts and vectors {list(tensor.shape)}")
    vectors = np.frombuffer(tensor.data, "<f4").reshape(count, dimensions)
    return vectors, Space(tensor.space, tensor.space_version, dimensions)


def fact_from(message: pb.BackupFact) -> tuple[str, Fact]:
    """A version of a Fact from a message, with its tenant."""
    one = message.fact
    start, end = (
        wire.micros(getattr(one.valid, side), f"{one.id} valid.{side}") if one.valid.HasField(side) else None
        for side in ("start", "end")
    )
    valid = Interval(start, end, Precision(one.valid.precision), one.valid.original_text, one.valid.timezone)
    return message.namespace, Fact(
        id=one.id,
        subject=Entity(one.subject.id, one.subject.name),
        relation=one.relation,
        object=Entity(one.entity.id, one.entity.name) if one.HasField("entity") else one.literal,
        valid=valid,
        told_at=wire.micros(one.told_at, f"{one.id} told_at"),
        recorded_at=wire.micros(one.recorded_at, f"{one.id} recorded_at"),
        seq=one.seq,
        retracted=one.retracted,
        episode_id=one.episode_id,
        trust=one.trust,
        rule=one.rule,
    )


def policy_from(message: pb.BackupPolicy) -> tuple[str, RelationPolicy]:
    """A version of a policy from a message, with its tenant."""
    one = message.policy
    at = wire.micros(one.recorded_at, f"{one.relation} recorded_at")
    return message.namespace, RelationPolicy(one.relation, Contradiction(one.policy), at, one.seq)


def merge_from(message: pb.BackupMerge) -> tuple[str, Merge]:
    """A merge of Entities from a message, with its tenant."""
    one = message.merge
    kept, merged = Entity(one.kept.id, one.kept.name), Entity(one.merged.id, one.merged.name)
    at = wire.micros(one.recorded_at, f"{one.id} recorded_at")
    return message.namespace, Merge(one.id, kept, merged, one.reason, at, one.seq, one.undone_seq)


def keeping_from(message: pb.BackupKeeping) -> tuple[str, Kept]:
    """How an Episode is kept, from a message, with its tenant."""
    return message.namespace, Kept(_kept_from(message.episode_id, message.kept), message.archived_seq)


def audit_from(message: pb.BackupAudit) -> Audit:
    """An audit from a message."""
    at = wire.micros(message.recorded_at, f"{message.audit_id} recorded_at")
    counted = (message.episodes, message.concepts, message.facts)
    return Audit(message.audit_id, message.namespace, at, message.seq, *counted)


def tombstones_from(message: pb.BackupTombstones) -> list[Tombstone]:
    """Tombstones from a message."""
    if len(message.digests) != len(message.seqs):
        raise bad_backup("a list of tombstones has digests without commits")
    pairs = zip(message.digests, message.seqs, strict=True)
    return [Tombstone(message.namespace, message.kind, digest, seq) for digest, seq in pairs]


def _kept_from(episode_id: str, message: pb.BackupKept) -> Keeping:
    return Keeping(
        episode_id,
        tuple(message.holds),
        wire.micros(message.expires_at, "expires_at") if message.HasField("expires_at") else None,
        Expiry.DELETE if message.deletes else Expiry.ARCHIVE,
        message.uses,
        wire.micros(message.used_at, "used_at") if message.HasField("used_at") else None,
    )
