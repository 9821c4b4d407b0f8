"""Corrections of Facts and their undoing, once for both backends: several versions in one transaction, nothing changed.

What has to be added is in `memory.undoing`.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence

from core.errors import FailedPrecondition, InvalidArgument, NotFound, SapienceError
from core.ids import entity_id
from core.nouns import AsOf, Fact, Interval, NewFact
from memory import undoing
from memory.record import rows
from memory.record.numbering import NumberedRecord, held_of, stored_answer
from memory.record.transaction import Commit, Held, Transaction

_LAST = 2**63 - 1


class CorrectingRecord(NumberedRecord):
    """The part of `core.ports.Record` about corrections; each method does what the port says."""

    @abstractmethod
    def _assert(self, tx: Transaction, held: Held, facts: Sequence[NewFact], commit: Commit) -> list[Fact]:
        """Writes versions, each with a commit of its own."""

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
        self._check_namespace(namespace)
        asked = rows.digest(fact_id, entity, literal, start, told_at)

        def made(tx: Transaction, held: Held, commit: Commit) -> list[NewFact]:
            found = tx.facts_by_id(held, [fact_id])
            if not found:
                raise rows.fact_not_found(namespace, fact_id)
            wrong = found[0]
            begin = wrong.valid.start if start is None else start
            _check_correctable(wrong, begin)
            at = commit.recorded_at if told_at is None else told_at
            right = NewFact(
                subject=wrong.subject.name,
                relation=wrong.relation,
                valid=Interval(begin, wrong.valid.end, wrong.valid.precision, "", wrong.valid.timezone),
                told_at=at,
                entity=entity,
                literal=literal,
            )
            rows.check_fact(right)
            if _object(held, right) == wrong.statement[2]:
                raise InvalidArgument(
                    f"the Fact {fact_id} has that object already; give the one that is right", field="object"
                )
            same = [one for one in self._rivals(tx, held, wrong) if one.statement == wrong.statement]
            # A retraction takes back all from its start on: what was said of the time after the wrong one stays.
            stood = undoing.pieces(one for one in same if one.told_at <= at)
            kept = undoing.again(stood, wrong.valid.end, at) if wrong.valid.end is not None else []
            return [rows.retraction(wrong, begin, at), right, *kept]

        return self._added(namespace, request_id, "correct_fact", asked, made)

    def undo_fact(self, namespace: str, *, fact_id: str = "", seq: int = 0, request_id: str = "") -> list[Fact]:
        self._check_namespace(namespace)
        asked = rows.digest(fact_id, seq)

        def made(tx: Transaction, held: Held, commit: Commit) -> list[NewFact]:
            found = tx.facts_after(held, seq - 1, seq, 1) if seq else tx.facts_by_id(held, [fact_id])
            if not found:
                raise _no_fact_of(namespace, seq) if seq else rows.fact_not_found(namespace, fact_id)
            policies = {one.relation: one.policy for one in tx.policies(held, _LAST)}
            return undoing.undo(found[0], self._rivals(tx, held, found[0]), policies)

        return self._added(namespace, request_id, "undo_fact", asked, made)

    def _rivals(self, tx: Transaction, held: Held, fact: Fact) -> list[Fact]:
        """All versions of its subject and relation."""
        around = tx.facts(held, fact.subject.name, fact.relation, AsOf(), ())
        return [one for one in around if one.subject.id == fact.subject.id]

    def _added(
        self,
        namespace: str,
        request_id: str,
        kind: str,
        asked: str,
        made: Callable[[Transaction, Held, Commit], list[NewFact]],
    ) -> list[Fact]:
        """Adds versions in one transaction, answered once for each request_id."""

        def work(tx: Transaction) -> list[Fact]:
            held = held_of(tx, namespace)
            stored = stored_answer(tx, held, request_id, kind, asked)
            if stored is not None:
                ids = json.loads(stored)
                kept = {one.id: one for one in tx.facts_by_id(held, ids)}
                missing = [one for one in ids if one not in kept]
                if missing:
                    raise rows.fact_not_found(namespace, missing[0])
                return [kept[one] for one in ids]
            commit = self._next_commit(tx)
            written = self._assert(tx, held, made(tx, held, commit), commit)
            if request_id:
                response = json.dumps([one.id for one in written])
                tx.store_answer(held, request_id, kind, asked, response, written[0].recorded_at)
            return written

        return self._store.write(work)


def _check_correctable(wrong: Fact, begin: int | None) -> None:
    if wrong.retracted:
        raise FailedPrecondition(
            f"the Fact {wrong.id} takes a statement back and says nothing that could be corrected; undo it, or name "
            "the Fact that it took back",
            reason="CANNOT_CORRECT",
            field="fact_id",
        )
    start, end = wrong.valid.start, wrong.valid.end
    early = begin is not None and start is not None and begin < start
    if early or (begin is not None and end is not None and begin >= end):
        raise InvalidArgument(
            f"from {begin} is not within the time from {start} to {end} that the Fact {wrong.id} speaks of; "
            "give a time in it, or none",
            field="from",
        )


def _object(held: Held, fact: NewFact) -> str:
    """The object as a statement names it."""
    return f"literal:{fact.literal}" if fact.entity is None else f"entity:{entity_id(held.name, fact.entity)}"


def _no_fact_of(namespace: str, seq: int) -> SapienceError:
    return NotFound(
        f"commit {seq} added no Fact to namespace {namespace!r}: it wrote something else, or in another namespace; "
        "`sapience facts SUBJECT --history` lists the commits of Facts",
        reason="FACT_NOT_FOUND",
        field="seq",
    )
