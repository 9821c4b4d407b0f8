"""Dreams in the record, once for both backends: how one moves from state to state, and its changes with it.

A change is one transaction: what it does, the mark that it was done, what takes it back, and how far its Dream is. So
after a kill at any moment each change is done and marked, or neither; whoever goes on takes the next one that is not.
What a change does is in `dream_actions`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from core.dreams import (
    AT_WORK,
    Change,
    ChangeState,
    Dream,
    DreamBudget,
    DreamKind,
    DreamState,
    Inverse,
    Proposal,
)
from core.nouns import Episode, Fact, PerceivedEpisode, Space, StoredConcept
from memory.record import dream_rows, rows
from memory.record.dream_actions import DreamActions, still_right
from memory.record.numbering import held_of, stored_answer
from memory.record.transaction import Held, Transaction

_ALL = 2**62
_LOOKED_BACK = 20
"""How many of the last Dreams are looked at for where the next one begins."""


class DreamingRecord(DreamActions):
    """The part of `core.ports.Record` that is `core.dreams.DreamRecord`; each method does what that says."""

    def begin_dream(
        self, namespace: str, kinds: Sequence[DreamKind], budget: DreamBudget, automatic: bool, request_id: str = ""
    ) -> Dream:
        asked = rows.digest(
            [int(kind) for kind in kinds],
            *(budget.episodes, budget.changes, budget.seconds, budget.readings),
            int(automatic),
        )

        def work(tx: Transaction) -> Dream:
            held = held_of(tx, namespace)
            stored = stored_answer(tx, held, request_id, "dream", asked)
            if stored is not None:
                return _dream(tx, held, stored)
            _check_alone(tx, namespace)
            last = [dream_rows.dream_from(namespace, row) for row in tx.dream_rows(held, _LOOKED_BACK, _ALL)]
            # One that was undone or given up settles nothing about how far memory has been read.
            through = next((one for one in last if one.state in (DreamState.PROPOSED, DreamState.APPLIED)), None)
            begin = through.end if through is not None and through.more else (0, "")
            made = Dream(
                self._ids.new(), namespace, tuple(kinds), budget, automatic, DreamState.READING, self._clock.now(),
                begin=begin, end=begin, number=last[0].number + 1 if last else 1, version=1,
                told=held.episodes,
            )  # fmt: skip
            if through is not None:
                made = replace(made, reader=through.reader, read_to=through.read_to)
            tx.put_dream(held, dream_rows.dream_row(made))
            if request_id:
                tx.store_answer(held, request_id, "dream", asked, made.id, made.started_at)
            return made

        return self._store.write(work)

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
        def work(tx: Transaction) -> Dream:
            held = held_of(tx, namespace)
            dream = _dream(tx, held, dream_id)
            if dream.state is not DreamState.READING:
                raise dream_rows.wrong_state(dream, DreamState.PROPOSED)
            waiting = ChangeState.APPROVED if dream.automatic else ChangeState.PROPOSED
            changes = [
                Change(ordinal, one, waiting if one.actions else ChangeState.FOUND)
                for ordinal, one in enumerate(proposals, 1)
            ]
            total = sum(one.state is waiting for one in changes)
            state = DreamState.APPROVED if dream.automatic else DreamState.PROPOSED
            tx.add_changes(held, dream_id, [dream_rows.change_row(one) for one in changes])
            read = replace(dream, end=end, episodes=episodes, more=more, message=message, total=total)
            if reader:
                read = replace(read, reader=reader, read_to=read_to)
            return self._moved_to(tx, held, read, state if total else DreamState.APPLIED)

        return self._store.write(work)

    def approve_dream(self, namespace: str, dream_id: str, ordinals: Collection[int] = ()) -> Dream:
        wanted = frozenset(ordinals)

        def work(tx: Transaction) -> Dream:
            held = held_of(tx, namespace)
            dream = _dream(tx, held, dream_id)
            if dream.state is not DreamState.PROPOSED:
                raise dream_rows.wrong_state(dream, DreamState.APPROVED)
            waiting = _changes(tx, held, dream_id, {ChangeState.PROPOSED})
            unknown = wanted - {one.ordinal for one in waiting}
            if unknown:
                raise dream_rows.change_not_found(dream_id, min(unknown))
            _check_alone(tx, namespace)
            declined = 0
            for one in waiting:
                approved = not wanted or one.ordinal in wanted
                declined += not approved
                state = ChangeState.APPROVED if approved else ChangeState.DECLINED
                tx.set_change(held, dream_id, dream_rows.change_row(replace(one, state=state)))
            return self._moved_to(tx, held, replace(dream, done=declined), DreamState.APPROVED)

        return self._store.write(work)

    def apply_change(
        self, namespace: str, dream_id: str, ordinal: int, space: Space | None, written: Sequence[PerceivedEpisode]
    ) -> Change:
        packed = rows.pack(space, written) if space is not None else []

        def work(tx: Transaction) -> Change:
            held = held_of(tx, namespace)
            dream, change = _dream(tx, held, dream_id), _change(tx, held, dream_id, ordinal)
            if dream.state is not DreamState.APPROVED or change.state is not ChangeState.APPROVED:
                return change
            inverse: list[Inverse] = []
            if still_right(tx, held, change.proposal):
                waiting = list(packed)
                for action in change.proposal.actions:
                    inverse += self._done(tx, held, change.proposal, action, space, waiting)
            state = ChangeState.APPLIED if inverse else ChangeState.SKIPPED
            done = replace(change, state=state, inverse=tuple(reversed(inverse)))
            return self._settled(tx, held, dream, done, DreamState.APPLIED)

        return self._store.write(work)

    def undo_change(self, namespace: str, dream_id: str, ordinal: int) -> Change:
        def work(tx: Transaction) -> Change:
            held = held_of(tx, namespace)
            dream, change = _dream(tx, held, dream_id), _change(tx, held, dream_id, ordinal)
            if dream.state is not DreamState.UNDOING or change.state is not ChangeState.APPLIED:
                return change
            for inverse in change.inverse:
                self._undone(tx, held, inverse)
            back = replace(change, state=ChangeState.UNDONE, inverse=())
            return self._settled(tx, held, dream, back, DreamState.UNDONE)

        return self._store.write(work)

    def move_dream(
        self, namespace: str, dream_id: str, to: DreamState, *, among: Collection[DreamState], message: str = ""
    ) -> Dream:
        def work(tx: Transaction) -> Dream:
            held = held_of(tx, namespace)
            dream = _dream(tx, held, dream_id)
            if dream.state is to:
                return dream
            if dream.state not in among:
                raise dream_rows.wrong_state(dream, to)
            moved = replace(dream, message=message or dream.message)
            if to in AT_WORK:
                _check_alone(tx, namespace)
            if to is DreamState.UNDOING:
                applied = tx.change_rows(held, dream_id, {ChangeState.APPLIED})
                moved = replace(moved, total=len(applied), done=0)
                return self._moved_to(tx, held, moved, to if applied else DreamState.UNDONE)
            return self._moved_to(tx, held, moved, to)

        return self._store.write(work)

    def dream(self, namespace: str, dream_id: str) -> Dream:
        return self._store.read(lambda tx: _dream(tx, held_of(tx, namespace), dream_id))

    def dreams(self, namespace: str, limit: int, before: int = 0) -> list[Dream]:
        found = self._store.read(lambda tx: tx.dream_rows(held_of(tx, namespace), limit, before or _ALL))
        return [dream_rows.dream_from(namespace, row) for row in found]

    def dreams_at_work(self) -> list[Dream]:
        found = self._store.read(lambda tx: tx.dream_rows_in(AT_WORK))
        return [dream_rows.dream_from(namespace, row) for namespace, row in found]

    def changes(self, namespace: str, dream_id: str, states: Collection[ChangeState] = ()) -> list[Change]:
        def work(tx: Transaction) -> list[Change]:
            held = held_of(tx, namespace)
            _dream(tx, held, dream_id)
            return _changes(tx, held, dream_id, states)

        return self._store.read(work)

    def changes_of_kind(
        self, namespace: str, kind: DreamKind, state: ChangeState = ChangeState.APPLIED
    ) -> list[Change]:
        def work(tx: Transaction) -> list[dream_rows.ChangeRow]:
            return tx.change_rows_of_kind(held_of(tx, namespace), kind, state)

        return [dream_rows.change_from(row) for row in self._store.read(work)]

    def facts_by_id(self, namespace: str, ids: Sequence[str]) -> dict[str, Fact]:
        found = self._store.read(lambda tx: tx.facts_by_id(held_of(tx, namespace), ids))
        return {fact.id: fact for fact in found}

    def sources_of(self, namespace: str, episode_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        grouped: dict[str, list[str]] = {}
        for episode_id, source in self._store.read(lambda tx: tx.sources(held_of(tx, namespace), episode_ids)):
            grouped.setdefault(episode_id, []).append(source)
        return {episode_id: tuple(sources) for episode_id, sources in grouped.items()}

    def episodes_after(
        self, namespace: str, after: tuple[int, str], limit: int
    ) -> list[tuple[Episode, list[StoredConcept]]]:
        def work(tx: Transaction) -> list[tuple[Episode, list[StoredConcept]]]:
            held = held_of(tx, namespace)
            last = tx.last_commit()
            page = tx.episodes_after(held, after, last.seq if last else 0, limit)
            grouped: dict[str, list[StoredConcept]] = {episode.id: [] for episode in page}
            for one in tx.concepts_of(held, list(grouped)):
                grouped[one.concept.episode_id].append(one)
            return [(episode, grouped[episode.id]) for episode in page]

        return self._store.read(work)

    def _moved_to(self, tx: Transaction, held: Held, dream: Dream, state: DreamState) -> Dream:
        ended = None if state in AT_WORK or state is DreamState.PROPOSED else self._clock.now()
        moved = replace(dream, state=state, ended_at=ended, version=dream.version + 1)
        tx.put_dream(held, dream_rows.dream_row(moved))
        return moved

    def _settled(self, tx: Transaction, held: Held, dream: Dream, change: Change, end: DreamState) -> Change:
        """Marks a change, and its Dream with it: at the last one it comes to its end."""
        tx.set_change(held, dream.id, dream_rows.change_row(change))
        counted = replace(dream, done=dream.done + 1)
        self._moved_to(tx, held, counted, end if counted.done >= counted.total else dream.state)
        return change


def _dream(tx: Transaction, held: Held, dream_id: str) -> Dream:
    row = tx.dream_row(held, dream_id)
    if row is None:
        raise dream_rows.dream_not_found(held.name, dream_id)
    return dream_rows.dream_from(held.name, row)


def _check_alone(tx: Transaction, namespace: str) -> None:
    for name, row in tx.dream_rows_in(AT_WORK):
        if name == namespace:
            raise dream_rows.dream_at_work(dream_rows.dream_from(namespace, row))


def _change(tx: Transaction, held: Held, dream_id: str, ordinal: int) -> Change:
    row = tx.change_row(held, dream_id, ordinal)
    if row is None:
        raise dream_rows.change_not_found(dream_id, ordinal)
    return dream_rows.change_from(row)


def _changes(tx: Transaction, held: Held, dream_id: str, states: Collection[ChangeState]) -> list[Change]:
    return [dream_rows.change_from(row) for row in tx.change_rows(held, dream_id, states)]
