"""Facts and timelines between the wire and the record."""

from __future__ import annotations

import heapq
import re
from dataclasses import dataclass, replace

from sapience.v1 import concept_pb2
from sapience.v1 import memory_pb2 as pb

from core.clock import EARLIEST, LATEST, Micros
from core.errors import InvalidArgument
from core.ids import normalised_name
from core.nouns import AsOf, Episode, EpisodeFilter, Fact, Interval, NewFact, SourceKind
from core.ports import Record
from services import wire
from services.memory.perceiving import Checked, check

MAX_NAME = 256
MAX_LITERAL = 8 << 10
RELATION = re.compile(r"[a-z][a-z0-9_]{0,63}")


def same_name(one: str, other: str) -> bool:
    """Whether two names mean the same Entity."""
    return normalised_name(one) == normalised_name(other)


def read_new(request: pb.AssertFactRequest, now: Micros) -> NewFact:
    """A Fact to be asserted, checked."""
    told_at = wire.told_at(request.told_at if request.HasField("told_at") else None, now, "told_at")
    valid = wire.interval_from(request.valid, "valid") if request.HasField("valid") else Interval(start=told_at)
    trust = request.trust if request.HasField("trust") else 1.0
    return _checked(
        NewFact(
            subject=request.subject,
            relation=request.relation,
            valid=valid,
            told_at=told_at,
            entity=request.entity if request.HasField("entity") else None,
            literal=request.literal if request.HasField("literal") else None,
            episode_id=request.episode_id,
            trust=trust,
        ),
        "",
    )


def read_stored(fact: concept_pb2.Fact, path: str, now: Micros) -> NewFact:
    """A version of a Fact from an export, checked; it keeps its id and its time of telling."""
    return _checked(
        NewFact(
            subject=fact.subject.name,
            relation=fact.relation,
            valid=wire.interval_from(fact.valid, f"{path}.valid"),
            told_at=wire.told_at(fact.told_at if fact.HasField("told_at") else None, now, f"{path}.told_at"),
            entity=fact.entity.name if fact.HasField("entity") else None,
            literal=fact.literal if fact.HasField("literal") else None,
            retracted=fact.retracted,
            episode_id=fact.episode_id,
            trust=fact.trust,
            id=fact.id,
            rule=fact.rule,
        ),
        f"{path}.",
    )


def checked_relation(relation: str, field: str) -> str:
    """The relation, if it can be one."""
    if not RELATION.fullmatch(relation):
        raise InvalidArgument(f"{field} is {relation[:80]!r}; use snake_case, for example lives_in", field=field)
    return relation


def _checked(fact: NewFact, path: str) -> NewFact:
    wire.checked_text(fact.subject, f"{path}subject", MAX_NAME)
    if len(fact.rule.encode()) > MAX_NAME:
        raise InvalidArgument(f"{path}rule has more than {MAX_NAME} bytes", field=f"{path}rule")
    checked_relation(fact.relation, f"{path}relation")
    if fact.entity is not None:
        wire.checked_text(fact.entity, f"{path}entity", MAX_NAME)
    elif fact.literal is not None:
        wire.checked_text(fact.literal, f"{path}literal", MAX_LITERAL)
    else:
        raise InvalidArgument(f"the Fact has no object: give {path}entity or {path}literal", field=f"{path}object")
    if not 0 <= fact.trust <= 1:
        raise InvalidArgument(f"{path}trust is {fact.trust}; give 0 to 1", field=f"{path}trust")
    return fact


def check_stored(stored: pb.EpisodeRecord, path: str, now: Micros) -> Checked:
    """An Episode from an export, checked like a new one; it keeps its id."""
    episode = stored.episode
    message = pb.NewEpisode(
        source=episode.source,
        conversation=episode.conversation,
        position=episode.position,
        speaker=episode.speaker,
        text=episode.text,
        told_at=episode.told_at,
        external_id=episode.external_id,
        concepts=stored.concepts,
        derived_from=stored.derived_from,
    )
    if stored.HasField("vectors"):
        message.vectors.CopyFrom(stored.vectors)
    return replace(check(message, path, now), id=episode.id)


@dataclass(frozen=True, slots=True)
class TimelineQuery:
    """A Timeline request, checked. `seq` and `after` come from a page token."""

    namespace: str
    entity: str
    within: Interval
    limit: int
    key: bytes
    seq: int | None
    after: tuple[int, str] | None


def read_timeline(request: pb.TimelineRequest) -> TimelineQuery:
    """Checks a Timeline request."""
    namespace = wire.checked_namespace(request.namespace)
    bare = pb.TimelineRequest()
    bare.CopyFrom(request)
    bare.page_token = ""
    key = bare.SerializeToString(deterministic=True)
    seq, after = None, None
    if request.page_token:
        seq, place = wire.read_page_token(request.page_token, key)
        match place:
            case [int(at), str(last)] if EARLIEST <= at <= LATEST:
                after = (at, last)
            case _:
                raise InvalidArgument("page_token is damaged; begin again without one", field="page_token")
    return TimelineQuery(
        namespace,
        request.entity,
        wire.interval_from(request.within, "within"),
        wire.checked_limit(request.limit, "limit", 50, 500),
        key,
        seq,
        after,
    )


def timeline(record: Record, query: TimelineQuery, as_of: AsOf) -> pb.TimelineResponse:
    """Episodes by when they were told, Facts by when they began to hold, merged; ties by id.

    It lists what was told and does not weigh it: a Fact that was taken back later, or lost against
    another one, is there.
    """
    names = record.names_of(query.namespace, query.entity, as_of) if query.entity else ()
    where = EpisodeFilter(
        speakers=tuple({query.entity, *names}) if query.entity else (), kinds=tuple(SourceKind), told=query.within
    )
    told_by_then = replace(as_of, valid_at=LATEST)
    episodes = record.timeline(query.namespace, where, told_by_then, query.limit + 1, query.after)
    facts = [
        (fact.valid.start if fact.valid.start is not None else EARLIEST, fact.id, fact)
        for fact in record.facts(query.namespace, query.entity or None, as_of=as_of)
        if not fact.retracted
    ]
    dated: list[tuple[int, str, Episode | Fact]] = [(one.told_at, one.id, one) for one in episodes]
    dated += [
        entry for entry in facts if query.within.contains(entry[0]) and (query.after is None or entry[:2] > query.after)
    ]
    page = heapq.nsmallest(query.limit + 1, dated, key=lambda entry: entry[:2])
    more = len(page) > query.limit
    page = page[: query.limit]
    response = pb.TimelineResponse(as_of=wire.as_of_to(as_of))
    for at, _, entry in page:
        if isinstance(entry, Fact):
            response.entries.add(time=wire.timestamp(at), fact=wire.fact_to(entry))
        else:
            response.entries.add(time=wire.timestamp(at), episode=wire.episode_to(entry))
    if more:
        response.next_page_token = wire.page_token(query.key, as_of.seq, list(page[-1][:2]))
    return response
