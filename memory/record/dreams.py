"""Dreams in the record, once for both backends: how one moves from state to state, and how a change is done and undone.

A change is one transaction: what it does, the mark that it was done, what takes it back, and how far its Dream is. So
after a kill at any moment each change is done and marked, or neither; whoever goes on takes the next one that is not.
What a change archives or writes are commits like any other, with outbox entries that the index follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from core.dreams import (
    AT_WORK,
    Action,
    AddUses,
    Archive,
    Archived,
    Change,
    ChangeState,
    Dream,
    DreamBudget,
    DreamKind,
    DreamState,
    Inverse,
    Proposal,
    UsesAdded,
    Write,
    Written,
)
from core.nouns import Episode, Fact, OutboxEntry, PerceivedEpisode, Space, StoredConcept
from memory.record import dream_rows, rows
from memory.record.derived import link_sources, select_with_derived
from memory.record.keeping import KeepingRecord, check_holds
from memory.record.numbering import held_of, stored_answer
from memory.record.transaction import Held, Transaction

_ALL = 2**62
_LOOKED_BACK = 20
"""How many of the last Dreams are looked at for where the next one begins."""


class DreamingRecord(KeepingRecord):
    """The part of `core.ports.Record` that is `core.dreams.DreamRecord`; each method does what that says."""

    def begin_dream(
        self, namespace: str, kinds: Sequence[DreamKind], budget: DreamBudget, automatic: bool, request_id: str = ""
    ) -> Dream:
        asked = rows.digest(
            [int(kind) for kind in kinds], budget.episodes, budget.changes, budget.seconds, int(automatic)
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
            )  # fmt: skip
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
            if _still_right(tx, held, change.proposal):
                waiting = list(packed)
                for action in change.proposal.actions:
                    inverse += self._done(tx, held, action, space, waiting)
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

    def changes_applied(self, namespace: str, kind: DreamKind) -> list[Change]:
        def work(tx: Transaction) -> list[dream_rows.ChangeRow]:
            return tx.change_rows_of_kind(held_of(tx, namespace), kind, ChangeState.APPLIED)

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

    def _done(
        self, tx: Transaction, held: Held, action: Action, space: Space | None, waiting: list[rows.PackedEpisode]
    ) -> list[Inverse]:
        """Does one action; what takes it back, or nothing where nothing was left to do."""
        match action:
            case Write():
                return self._write(tx, held, space, waiting.pop(0)) if space is not None and waiting else []
            case Archive(episode_id):
                (episode,) = tx.episodes(held, [episode_id])
                if episode.archived_seq:
                    return []
                commit = self._commit(tx)
                tx.set_archived(held, [episode_id], commit.seq)
                self._index(tx, held, [episode_id], commit.seq, deleted=True)
                return [Archived(episode_id, commit.seq)]
            case AddUses(episode_id, uses, used_at):
                (kept,) = tx.keepings(held, [episode_id])
                tx.add_uses(held, {episode_id: (uses, used_at)})
                return [UsesAdded(episode_id, uses, kept.used_at, max(used_at, kept.used_at or used_at))]

    def _write(self, tx: Transaction, held: Held, space: Space, packed: rows.PackedEpisode) -> list[Inverse]:
        rows.check_space(held.name, held.space, space)
        commit = self._next_commit(tx)
        fresh, _ = rows.sort_out([packed], tx.known(held, [packed.identity]), commit.seq, self._ids.new)
        if not fresh or tx.taken([fresh[0].id]):
            return []
        tx.commit(commit)
        tx.write_episodes(held, space, fresh, commit)
        link_sources(tx, held, fresh)
        tx.outbox_add(OutboxEntry(commit.seq, held.name, space, fresh[0].concept_ids, False, commit.seq))
        return [Written(fresh[0].id)]

    def _undone(self, tx: Transaction, held: Held, inverse: Inverse) -> None:
        """Takes one action back. What is gone by now, or was changed again since, is left as it is."""
        found = tx.episodes(held, [inverse.episode_id])
        if not found:
            return
        match inverse:
            case Written(episode_id):
                going = select_with_derived(tx, held, [episode_id])
                check_holds(tx, held, going.episodes, "deleted")
                commit = self._commit(tx)
                tx.delete(held, going)
                if going.concepts and held.space is not None:
                    tx.outbox_add(OutboxEntry(commit.seq, held.name, held.space, going.concepts, True, commit.seq))
            case Archived(episode_id, seq):
                if found[0].archived_seq == seq:
                    commit = self._commit(tx)
                    tx.set_archived(held, [episode_id], 0)
                    self._index(tx, held, [episode_id], commit.seq, deleted=False)
            case UsesAdded(episode_id, uses, before, after):
                (kept,) = tx.keepings(held, [episode_id])
                tx.set_uses(
                    held, episode_id, max(0, kept.uses - uses), before if kept.used_at == after else kept.used_at
                )

    def _index(self, tx: Transaction, held: Held, episode_ids: Sequence[str], seq: int, *, deleted: bool) -> None:
        concepts = tx.select(held, episode_ids, "", "").concepts
        if concepts and held.space is not None:
            tx.outbox_add(OutboxEntry(seq, held.name, held.space, concepts, deleted, seq))


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


def _still_right(tx: Transaction, held: Held, proposal: Proposal) -> bool:
    """Whether all that it rests on is there, and nothing that it would archive is under a hold."""
    named = {one.episode_id for one in proposal.actions if not isinstance(one, Write)}
    wanted = {*proposal.reads, *named}
    present: Mapping[str, Episode] = {one.id: one for one in tx.episodes(held, sorted(wanted))}
    archived = [one.episode_id for one in proposal.actions if isinstance(one, Archive)]
    return wanted <= present.keys() and not (archived and tx.first_hold(held, archived))
