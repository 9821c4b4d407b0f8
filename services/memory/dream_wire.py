"""Dreams and their changes as messages: what is kept by id is shown in words, read as they are now."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration
from sapience.v1 import dream_pb2 as pb

from core.dreams import AddUses, Archive, Assert, Change, Dream, DreamKind, Write
from core.nouns import Entity, Episode, Fact
from core.ports import Record
from memory.dreams.stating import stated
from memory.dreams.work import Dreaming
from services import wire

_Line = pb.DiffLine
_SHOWS_WHAT_IT_RESTS_ON = frozenset({DreamKind.DUPLICATES, DreamKind.STRENGTHENING, DreamKind.ALIASES, DreamKind.FACTS})
"""A summary quotes its sources, and a contradiction shows its Facts."""


def dream_to(dream: Dream) -> pb.Dream:
    """A Dream as a message."""
    wall = Duration()
    wall.FromMicroseconds(round(dream.budget.seconds * 1e6))
    message = pb.Dream(
        id=dream.id,
        namespace=dream.namespace,
        kinds=[pb.DreamKind.ValueType(kind) for kind in dream.kinds],
        budget=pb.DreamBudget(
            episodes=dream.budget.episodes, changes=dream.budget.changes, wall=wall, readings=dream.budget.readings
        ),
        automatic=dream.automatic,
        state=pb.DreamState.ValueType(dream.state),
        episodes=dream.episodes,
        total=dream.total,
        done=dream.done,
        message=dream.message,
        started_at=wire.timestamp(dream.started_at),
        version=dream.version,
        told=dream.told,
    )
    if dream.ended_at is not None:
        wire.set_timestamp(message.ended_at, dream.ended_at)
    return message


def change_to(record: Record, dreaming: Dreaming, namespace: str, change: Change) -> pb.DreamChange:
    """A change as a diff. What is gone by now has no line. Blocks: it reads the record."""
    proposal = change.proposal
    acted_on = {one.episode_id for one in proposal.actions if isinstance(one, Archive | AddUses)}
    wanted = {*proposal.reads, *acted_on}
    episodes = record.episodes(namespace, sorted(wanted))
    message = pb.DreamChange(
        ordinal=change.ordinal,
        kind=pb.DreamKind.ValueType(proposal.kind),
        state=pb.DreamChangeState.ValueType(change.state),
        reason=proposal.reason,
        score=proposal.score,
    )
    if proposal.facts:
        found = record.facts_by_id(namespace, proposal.facts)
        message.lines.extend(_fact_line(found[one]) for one in proposal.facts if one in found)
    if proposal.kind in _SHOWS_WHAT_IT_RESTS_ON:
        acted = {one.episode_id for one in proposal.actions if isinstance(one, Archive)}
        strengthened = proposal.kind is DreamKind.STRENGTHENING
        kept = [one for one in proposal.reads if one not in acted and not (strengthened and one == proposal.reads[0])]
        message.lines.extend(_line(_Line.SIGN_KEPT, episodes[one]) for one in kept if one in episodes)
    message.lines.extend(_action_lines(dreaming, namespace, change, episodes))
    if proposal.kind is DreamKind.ALIASES:
        message.lines.extend(_name_lines(record, namespace, change))
    return message


def _name_lines(record: Record, namespace: str, change: Change) -> list[pb.DiffLine]:
    """The two names of a merge; none where one of them is gone."""
    found = record.entities_by_id(namespace, change.proposal.entities)
    if len(found) < 2:
        return []
    kept, merged = (found[one].name for one in change.proposal.entities)
    return [
        pb.DiffLine(sign=_Line.SIGN_MERGED if change.proposal.actions else _Line.SIGN_KEPT, text=merged, same_as=kept)
    ]


def _action_lines(
    dreaming: Dreaming, namespace: str, change: Change, episodes: Mapping[str, Episode]
) -> list[pb.DiffLine]:
    words = iter(dreaming.words(namespace, change))
    lines = []
    for action in change.proposal.actions:
        match action:
            case Write():
                told = next(words)
                if told is not None:
                    at = wire.timestamp(told.told_at)
                    lines.append(pb.DiffLine(sign=_Line.SIGN_ADDED, episode_id=told.id, text=told.text, told_at=at))
            case Archive(episode_id) if episode_id in episodes:
                lines.append(_line(_Line.SIGN_ARCHIVED, episodes[episode_id]))
            case AddUses(episode_id, uses) if episode_id in episodes:
                line = _line(_Line.SIGN_STRENGTHENED, episodes[episode_id])
                line.uses = uses
                lines.append(line)
            case Assert() if action.subject.episode_id in episodes:
                lines.append(_stated_line(action, episodes[action.subject.episode_id]))
    return lines


def _line(sign: pb.DiffLine.Sign.ValueType, episode: Episode) -> pb.DiffLine:
    return pb.DiffLine(
        sign=sign,
        episode_id=episode.id,
        text=episode.text,
        speaker=episode.speaker,
        told_at=wire.timestamp(episode.told_at),
    )


def _stated_line(action: Assert, episode: Episode) -> pb.DiffLine:
    fact = stated(action, episode)
    target = fact.entity if fact.entity is not None else f"\u201c{fact.literal}\u201d"
    return pb.DiffLine(
        sign=_Line.SIGN_ADDED,
        fact_id=action.fact_id,
        text=f"{fact.subject} {fact.relation} {target}",
        told_at=wire.timestamp(fact.told_at),
    )


def _fact_line(fact: Fact) -> pb.DiffLine:
    target = fact.object.name if isinstance(fact.object, Entity) else f"\u201c{fact.object}\u201d"
    return pb.DiffLine(
        sign=_Line.SIGN_KEPT,
        fact_id=fact.id,
        text=f"{fact.subject.name} {fact.relation} {target}",
        told_at=wire.timestamp(fact.told_at),
    )
