"""Between Python values and messages of the contract. Pure: nothing is sent here.

What cannot be a message at all (a naive datetime, text that is no Unicode, a number out of range, a word that is none
of an enum's) is refused as an InvalidArgument that names the field. Everything else is the service's to judge. A
message from a newer service is read as far as it is known: an unknown enum value is `unspecified`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from sapience import dreams, migrations, patches, senses, types
from sapience.errors import Internal, InvalidArgument
from sapience.v1 import (
    concept_pb2,
    dream_pb2,
    memory_pb2,
    migration_pb2,
    moving_pb2,
    perception_pb2,
    reasoning_pb2,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

M = TypeVar("M", bound=Message)
E = TypeVar("E", bound=StrEnum)
D = TypeVar("D", bound="DataclassInstance")

_ENUMS: dict[type[StrEnum], tuple[Any, str]] = {
    types.Expiry: (memory_pb2.Expiry, "EXPIRY_"),
    types.IndexRepair: (moving_pb2.IndexRepair, "INDEX_REPAIR_"),
    types.SourceKind: (concept_pb2.SourceKind, "SOURCE_KIND_"),
    types.ContradictionPolicy: (concept_pb2.ContradictionPolicy, "CONTRADICTION_POLICY_"),
    types.Precision: (concept_pb2.Precision, "PRECISION_"),
    types.Verdict: (reasoning_pb2.Verdict, "VERDICT_"),
    types.StopReason: (reasoning_pb2.StopReason, "STOP_REASON_"),
    types.Wording: (reasoning_pb2.Wording, "WORDING_"),
    dreams.DreamKind: (dream_pb2.DreamKind, "DREAM_KIND_"),
    dreams.DreamState: (dream_pb2.DreamState, "DREAM_STATE_"),
    dreams.DreamChangeState: (dream_pb2.DreamChangeState, "DREAM_CHANGE_STATE_"),
    migrations.MigrationState: (migration_pb2.MigrationState, "MIGRATION_STATE_"),
    dreams.Sign: (dream_pb2.DiffLine.Sign, "SIGN_"),
    types.ThinkingMode: (concept_pb2.ThinkingMode, "THINKING_MODE_"),
    types.StopRule: (concept_pb2.StopRule, "STOP_RULE_"),
    types.ContinueReason: (perception_pb2.ContinueEnd, "CONTINUE_END_"),
    types.ModelKind: (concept_pb2.ModelKind, "MODEL_KIND_"),
    patches.PatchRule: (perception_pb2.PatchRule, "PATCH_RULE_"),
    senses.Modality: (concept_pb2.Modality, "MODALITY_"),
    types.WhyNotReason: (memory_pb2.WhyNotReason, "WHY_NOT_REASON_"),
}
"""Each enum's own wrapper in the contract, and the prefix its names carry there."""


# ---- into messages ----


def message(kind: type[M], /, **fields: Any) -> M:
    """A message with these fields; None leaves one unset. Raises InvalidArgument for a value that it cannot hold."""
    try:
        return kind(**fields)
    except (TypeError, ValueError) as error:
        name = next((name for name, value in fields.items() if not _fits(kind, name, value)), "")
        value = repr(fields.get(name))
        shown = value if len(value) <= 80 else f"{value[:77]}..."
        raise InvalidArgument(
            f"{name}: {shown} cannot be sent ({error})", reason="INVALID_FIELD", field=name
        ) from error


def _fits(kind: type[Message], name: str, value: Any) -> bool:
    try:
        kind(**{name: value})
    except (TypeError, ValueError):
        return False
    return True


def timestamp(value: datetime | None, field: str) -> Timestamp | None:
    """A time for the wire. Raises InvalidArgument for one with no timezone: its moment is not known."""
    if value is None:
        return None
    if not isinstance(value, datetime):
        mend = ": give its hour and timezone too" if isinstance(value, date) else ""
        raise InvalidArgument(f"{field}: {value!r} is not a datetime{mend}", reason="INVALID_FIELD", field=field)
    if value.utcoffset() is None:
        raise InvalidArgument(
            f"{field}: {value!r} has no timezone; write .replace(tzinfo=datetime.UTC), or .astimezone() for local time",
            reason="NAIVE_DATETIME",
            field=field,
        )
    result = Timestamp()
    try:
        result.FromDatetime(value)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(
            f"{field}: {value!r} is not a time in UTC that can be sent ({error}): years 1 to 9999 can",
            reason="INVALID_FIELD",
            field=field,
        ) from error
    return result


def enum_value(kind: type[StrEnum], word: str, field: str) -> int:
    """The number of an enum's word. Raises InvalidArgument for a word that is none of its."""
    wrapper, prefix = _ENUMS[kind]
    try:
        return int(wrapper.Value(prefix + kind(word).name))
    except ValueError:
        raise InvalidArgument(
            f"{field}: {word!r} is none of {', '.join(one for one in kind if one != 'unspecified')}",
            reason="INVALID_FIELD",
            field=field,
        ) from None


def words(value: Iterable[str], field: str) -> list[str]:
    """Several strings. Raises InvalidArgument for a single one, which Python would take apart into its letters."""
    if isinstance(value, str):
        raise InvalidArgument(
            f"{field}: {value!r} is one string; give a list of them: [{value!r}]", reason="INVALID_FIELD", field=field
        )
    return list(value)


def as_of(value: datetime | types.AsOf | None, field: str = "as_of") -> concept_pb2.AsOf | None:
    """The point in time of a read. A datetime means told by then and valid then."""
    if value is None:
        return None
    if not isinstance(value, types.AsOf):
        value = types.AsOf(valid_at=value, told_by=value)
    if value.recorded_by is not None and value.seq is not None:
        raise InvalidArgument(
            f"{field}: recorded_by and seq are two ways to say the same; give one of them",
            reason="INVALID_FIELD",
            field=field,
        )
    return message(
        concept_pb2.AsOf,
        valid_at=timestamp(value.valid_at, f"{field}.valid_at"),
        told_by=timestamp(value.told_by, f"{field}.told_by"),
        recorded_by=timestamp(value.recorded_by, f"{field}.recorded_by"),
        seq=value.seq,
    )


def belief(value: datetime | types.AsOf | None) -> concept_pb2.AsOf | None:
    """The point in time of a read that has no `valid_at`: there a datetime means told by then."""
    return as_of(value if value is None or isinstance(value, types.AsOf) else types.AsOf(told_by=value))


def interval(value: types.Interval | None, field: str) -> concept_pb2.Interval | None:
    """A stretch of time for the wire; None stays unset."""
    if value is None:
        return None
    return message(
        concept_pb2.Interval,
        start=timestamp(value.start, f"{field}.start"),
        end=timestamp(value.end, f"{field}.end"),
        precision=enum_value(types.Precision, value.precision, f"{field}.precision"),
        original_text=value.original_text,
        timezone=value.timezone,
    )


def stretch(start: datetime | None, end: datetime | None, field: str) -> concept_pb2.Interval | None:
    """The interval between two times; None where both are open."""
    return None if start is None and end is None else interval(types.Interval(start, end), field)


def new_episode(value: types.NewEpisode) -> memory_pb2.NewEpisode:
    """An Episode to be remembered."""
    kind = enum_value(types.SourceKind, value.kind, "kind")
    return message(
        memory_pb2.NewEpisode,
        source=message(concept_pb2.Source, kind=kind, name=value.source),
        conversation=value.conversation,
        position=value.position,
        speaker=value.speaker,
        text=value.text,
        told_at=timestamp(value.told_at, "told_at"),
        external_id=value.external_id,
    )


def budget(value: types.Budget | None) -> concept_pb2.Budget | None:
    """A limit for the wire; None leaves every field to the service."""
    if value is None:
        return None
    names = concept_pb2.Budget.DESCRIPTOR.fields_by_name
    return message(concept_pb2.Budget, **{name: getattr(value, name) for name in names})


def thinking(value: types.Thinking | None) -> concept_pb2.Thinking | None:
    """How a model thinks, for the wire; None leaves it to the model."""
    if value is None:
        return None
    given = {field.name: getattr(value, field.name) for field in fields(value)}
    given["mode"] = enum_value(types.ThinkingMode, value.mode, "thinking.mode")
    given["rule"] = enum_value(types.StopRule, value.rule, "thinking.rule")
    return message(concept_pb2.Thinking, **given)


def tensor(value: types.Tensor, field: str) -> concept_pb2.Tensor:
    """Numbers with a shape, for the wire."""
    try:
        dtype = concept_pb2.Dtype.Value(f"DTYPE_{value.dtype.upper()}")
    except ValueError:
        raise InvalidArgument(
            f"{field}.dtype is {value.dtype!r}; give float32 or float16", reason="INVALID_FIELD", field=f"{field}.dtype"
        ) from None
    return message(
        concept_pb2.Tensor,
        space=value.space,
        space_version=value.space_version,
        dtype=dtype,
        shape=value.shape,
        data=value.data,
    )


# ---- out of messages ----


def read_time(owner: Message, field: str) -> datetime | None:
    """A time field of a message, in UTC; None where it is unset."""
    if not owner.HasField(field):
        return None
    stamp: Timestamp = getattr(owner, field)
    return stamp.ToDatetime(tzinfo=UTC)


def read_moment(owner: Message, field: str) -> datetime:
    """A time field that is always set. Raises Internal where it is not: 1970 would be a lie."""
    time = read_time(owner, field)
    if time is None:
        raise Internal(f"the service sent a {owner.DESCRIPTOR.name} without its {field}")
    return time


def read_enum(kind: type[E], value: int) -> E:
    """The word of an enum's number; `unspecified` for a number of a newer contract."""
    wrapper, prefix = _ENUMS[kind]
    try:
        return kind[wrapper.Name(value).removeprefix(prefix)]
    except (ValueError, KeyError):
        return kind["UNSPECIFIED"]


def read_as_of(value: concept_pb2.AsOf) -> types.AsOf:
    """What a read answered for."""
    return types.AsOf(
        valid_at=read_time(value, "valid_at"),
        told_by=read_time(value, "told_by"),
        recorded_by=read_time(value, "recorded_by"),
        seq=value.seq if value.HasField("seq") else None,
    )


def read_episode(value: concept_pb2.Episode) -> types.Episode:
    """An Episode as it is kept."""
    return types.Episode(
        id=value.id,
        namespace=value.namespace,
        source=value.source.name,
        kind=read_enum(types.SourceKind, value.source.kind),
        conversation=value.conversation,
        position=value.position,
        speaker=value.speaker,
        text=value.text,
        told_at=read_moment(value, "told_at"),
        external_id=value.external_id,
        recorded_at=read_moment(value, "recorded_at"),
        seq=value.seq,
        archived_seq=value.archived_seq,
    )


def read_archived(value: memory_pb2.ArchiveResponse) -> types.Archived:
    """What Archive did, or would do."""
    retained = (
        types.Retained(read_episode(one.episode), one.retention if one.HasField("retention") else None)
        for one in value.retained
    )
    return types.Archived(value.episodes, value.concepts, value.seq, tuple(retained))


def read_keeping(value: memory_pb2.Keeping) -> types.Keeping:
    """How one Episode is kept."""
    return types.Keeping(
        episode_id=value.episode_id,
        holds=tuple(value.holds),
        expires_at=read_time(value, "expires_at"),
        expiry=read_enum(types.Expiry, value.expiry),
        uses=value.uses,
        used_at=read_time(value, "used_at"),
    )


def read_namespace(value: concept_pb2.Namespace) -> types.Namespace:
    """A tenant."""
    return types.Namespace(name=value.name, created_at=read_moment(value, "created_at"))


def read_remembered(value: memory_pb2.Remembered) -> types.Remembered:
    """What became of an Episode."""
    return types.Remembered(value.episode_id, value.seq, value.duplicate, value.deleted)


def read_hit(value: memory_pb2.Hit) -> types.Hit:
    """An Episode that was found."""
    concept = value.concept
    return types.Hit(
        episode=read_episode(value.episode),
        concept=types.Concept(
            id=concept.id,
            episode_id=concept.episode_id,
            ordinal=concept.ordinal,
            text=concept.text,
            start_byte=concept.start_byte,
            end_byte=concept.end_byte,
        ),
        score=value.score,
        channels=tuple(types.ChannelScore(score.channel, score.raw, score.fused) for score in value.channels),
        coverage=value.coverage,
        support=value.support,
    )


def read_recall(value: memory_pb2.RecallResponse) -> types.RecallPage:
    """A page of hits."""
    return types.RecallPage(
        hits=tuple(map(read_hit, value.hits)),
        as_of=read_as_of(value.as_of),
        next_page_token=value.next_page_token,
        recipe=value.recipe,
        dense_text=value.dense_text,
        known_terms=value.known_terms,
    )


def read_why_not(value: memory_pb2.WhyNotResponse) -> types.WhyNot:
    """Why an Episode is not found."""
    return types.WhyNot(
        reason=read_enum(types.WhyNotReason, value.reason),
        message=value.message,
        rank=value.rank,
        candidates=value.candidates,
        hit=read_hit(value.hit) if value.HasField("hit") else None,
        last=read_hit(value.last) if value.HasField("last") else None,
        as_of=read_as_of(value.as_of),
    )


def read_fact(value: concept_pb2.Fact) -> types.Fact:
    """One version of a statement."""
    valid = value.valid
    entity = value.WhichOneof("object") == "entity"
    return types.Fact(
        id=value.id,
        subject=types.Entity(value.subject.id, value.subject.name),
        relation=value.relation,
        object=types.Entity(value.entity.id, value.entity.name) if entity else value.literal,
        valid=types.Interval(
            start=read_time(valid, "start"),
            end=read_time(valid, "end"),
            precision=read_enum(types.Precision, valid.precision),
            original_text=valid.original_text,
            timezone=valid.timezone,
        ),
        told_at=read_moment(value, "told_at"),
        recorded_at=read_moment(value, "recorded_at"),
        seq=value.seq,
        retracted=value.retracted,
        episode_id=value.episode_id,
        trust=value.trust,
        rule=value.rule,
    )


def read_paths(value: memory_pb2.PathsResponse) -> types.Paths:
    """Ways from one Entity to another."""
    found = tuple(tuple(map(read_fact, path.facts)) for path in value.paths)
    return types.Paths(found, read_as_of(value.as_of), value.truncated)


def read_changes(value: memory_pb2.ChangesResponse) -> types.Changes:
    """What changed between two points in time."""
    belief, world = (
        types.Difference(
            tuple(map(read_fact, one.gained)), tuple(map(read_fact, one.lost)), one.gained_total, one.lost_total
        )
        for one in (value.belief, value.world)
    )
    return types.Changes(belief, world, read_as_of(value.before), read_as_of(value.after))


def read_policy(value: concept_pb2.RelationPolicy) -> types.RelationPolicy:
    """One version of a relation's policy."""
    return types.RelationPolicy(
        relation=value.relation,
        policy=read_enum(types.ContradictionPolicy, value.policy),
        recorded_at=read_moment(value, "recorded_at"),
        seq=value.seq,
    )


def read_model(value: concept_pb2.Model) -> types.Model:
    """A model that a service has."""
    return types.Model(
        address=value.address,
        kind=read_enum(types.ModelKind, value.kind),
        loaded=value.loaded,
        space=value.space,
        space_version=value.space_version,
        dimensions=value.dimensions,
        device=value.device,
        parameters=value.parameters,
        modes=tuple(read_enum(types.ThinkingMode, mode) for mode in value.modes),
        default_mode=read_enum(types.ThinkingMode, value.default_mode),
        default_latent_steps=value.default_latent_steps,
        precision=value.precision,
        memory_bytes=value.memory_bytes,
        context_tokens=value.context_tokens,
    )


def read_tensor(value: concept_pb2.Tensor) -> types.Tensor:
    """Numbers with a shape."""
    dtype = concept_pb2.Dtype.Name(value.dtype).removeprefix("DTYPE_").lower()
    return types.Tensor(value.space, value.space_version, dtype, tuple(value.shape), value.data)


def read_timeline(value: memory_pb2.TimelineResponse) -> types.TimelinePage:
    """A page of the timeline. An entry of a kind that only a newer contract has is left out."""
    entries = []
    for entry in value.entries:
        time = read_moment(entry, "time")
        match entry.WhichOneof("entry"):
            case "episode":
                entries.append(types.TimelineEntry(time, read_episode(entry.episode)))
            case "fact":
                entries.append(types.TimelineEntry(time, read_fact(entry.fact)))
    return types.TimelinePage(tuple(entries), read_as_of(value.as_of), value.next_page_token)


def read_plain(kind: type[D], value: Message) -> D:
    """A dataclass whose fields are those of a message, all of them plain numbers, strings or truth values."""
    return kind(**{field.name: getattr(value, field.name) for field in fields(kind)})
