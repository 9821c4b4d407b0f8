"""What has to be added to take a Fact write back, or to put something else in its place. Pure functions over versions.

Nothing is overwritten, so a write is undone by versions that come right after it in the order in which versions count,
(told_at, seq): they have its `told_at`, since nobody has said anything new, and later numbers. After them, what is
believed of the statement is what was believed before the write, and all that was told later counts as it did. An answer
as of an earlier commit still has the write.

Pieces are what stands of a statement at one point of that order: its assertions, cut by the retractions after them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from core.clock import EARLIEST, LATEST
from core.errors import FailedPrecondition
from core.nouns import AsOf, Entity, Fact, Interval, NewFact
from memory.temporal import Policies, holding, known

_LAST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time for which an assertion stands."""

    start: int | None
    end: int | None
    of: Fact


def pieces(versions: Iterable[Fact]) -> list[Piece]:
    """What stands after all of these versions of one statement."""
    stand: list[Piece] = []
    for fact in known(versions, AsOf()):
        if fact.retracted:
            stand = [left for one in stand if (left := _until(one, fact.valid.start)) is not None]
        else:
            stand.append(Piece(fact.valid.start, fact.valid.end, fact))
    return stand


def undo(fact: Fact, rivals: Sequence[Fact], policies: Policies) -> list[NewFact]:
    """The versions that undo one. `rivals` are all versions of its subject and relation, it among them.

    Raises FailedPrecondition: NOTHING_TO_UNDO where it has no effect (any more), CANNOT_UNDO where the policy of its
    relation weighs by when things were told, and what stood before would then weigh more than it did.
    """
    same = [one for one in known(rivals, AsOf()) if one.statement == fact.statement]
    until = [one for one in same if (one.told_at, one.seq) <= (fact.told_at, _LAST)]
    before = pieces(one for one in until if one.id != fact.id)
    if _spans(before) == _spans(pieces(until)):
        raise FailedPrecondition(
            f"the Fact {fact.id} changes nothing of what was believed when it was told: it was undone already, or said "
            "what was said before; there is nothing to undo",
            reason="NOTHING_TO_UNDO",
            field="fact_id",
        )
    first = fact.valid.start
    added = [] if fact.retracted else [_as_told(fact, Interval(first), fact.told_at, retracted=True)]
    added += again(before, first, fact.told_at)
    _check(fact, rivals, added, policies)
    return added


def again(stood: Iterable[Piece], start: int | None, told_at: int) -> list[NewFact]:
    """Assertions of what stood from `start` on, which a retraction from there takes back."""
    found = []
    for one in stood:
        begin = one.start if start is None or (one.start is not None and one.start >= start) else start
        if one.end is None or begin is None or begin < one.end:
            said = one.of.valid
            whole = (begin, one.end) == (said.start, said.end)
            valid = said if whole else Interval(begin, one.end, said.precision, "", said.timezone)
            found.append(_as_told(one.of, valid, told_at))
    return found


def _until(one: Piece, start: int | None) -> Piece | None:
    """What is left of a piece before `start`."""
    if start is None or (one.start is not None and one.start >= start):
        return None
    return replace(one, end=start if one.end is None else min(one.end, start))


def _spans(stand: Iterable[Piece]) -> list[tuple[int, int]]:
    """The moments that are covered, as stretches that do not touch."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted((_bound(one.start, EARLIEST), _bound(one.end, LATEST + 1)) for one in stand):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], end))
        else:
            spans.append((start, end))
    return spans


def _bound(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _check(fact: Fact, rivals: Sequence[Fact], added: Sequence[NewFact], policies: Policies) -> None:
    """Whether with the added versions the same holds at every moment as without the one that is undone."""
    last = max(one.seq for one in rivals)
    made = [_as_stored(one, fact, last + place) for place, one in enumerate(added, 1)]
    without, undone = [one for one in rivals if one.id != fact.id], [*rivals, *made]
    bounds = {bound for one in undone for bound in (one.valid.start, one.valid.end) if bound is not None}
    for moment in sorted({EARLIEST, *bounds}):
        at = AsOf(valid_at=moment)
        wanted, got = ({one.statement for one in holding(some, at, policies)} for some in (without, undone))
        if wanted != got:
            raise FailedPrecondition(
                f"the relation {fact.relation!r} weighs Facts by when they were told, and what stood before the Fact "
                f"{fact.id} would weigh more than it did; assert what is right instead",
                reason="CANNOT_UNDO",
                field="fact_id",
            )


def _as_told(fact: Fact, valid: Interval, told_at: int, *, retracted: bool = False) -> NewFact:
    target = fact.object
    return NewFact(
        subject=fact.subject.name,
        relation=fact.relation,
        valid=valid,
        told_at=told_at,
        entity=target.name if isinstance(target, Entity) else None,
        literal=None if isinstance(target, Entity) else target,
        retracted=retracted,
        episode_id="" if retracted else fact.episode_id,
        trust=fact.trust,
    )


def _as_stored(told: NewFact, like: Fact, seq: int) -> Fact:
    """A version of the same statement as it will be, numbered after all others."""
    return replace(
        like,
        id=f"~{seq}",
        valid=told.valid,
        told_at=told.told_at,
        seq=seq,
        retracted=told.retracted,
        episode_id=told.episode_id,
        trust=told.trust,
    )
