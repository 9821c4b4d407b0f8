"""What the changes of Dreams do to the record, each action with what takes it back; once for both backends.

Everything is done within the transaction that it is given. What an action archives, writes or merges are commits like
any other, with outbox entries that the index follows. What is gone by the time it is done, or was changed by somebody
else, is left as it is, and so is what is gone or changed by the time it is undone.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.dreams import (
    Action,
    AddUses,
    Archive,
    Archived,
    Assert,
    Asserted,
    Inverse,
    Join,
    Joined,
    Proposal,
    UsesAdded,
    Write,
    Written,
)
from core.entities import Merge
from core.errors import FailedPrecondition
from core.nouns import AsOf, OutboxEntry, Space
from memory import undoing
from memory.dreams.stating import stated
from memory.record import rows
from memory.record.correcting import CorrectingRecord
from memory.record.derived import link_sources, select_with_derived
from memory.record.entities import EntityRules
from memory.record.keeping import KeepingRecord, check_holds
from memory.record.transaction import Held, Transaction

_LAST = 2**63 - 1


class DreamActions(KeepingRecord, EntityRules, CorrectingRecord):
    """The part of the record that does what Dreams propose."""

    def _done(
        self,
        tx: Transaction,
        held: Held,
        proposal: Proposal,
        action: Action,
        space: Space | None,
        waiting: list[rows.PackedEpisode],
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
            case Join():
                return self._join(tx, held, action, f"a Dream: {proposal.reason}")
            case Assert():
                if tx.fact_ids_taken([action.fact_id]):
                    return []
                (episode,) = tx.episodes(held, [action.subject.episode_id])
                self._assert(tx, held, [stated(action, episode)], self._next_commit(tx))
                return [Asserted(action.fact_id)]

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

    def _join(self, tx: Transaction, held: Held, join: Join, reason: str) -> list[Inverse]:
        """A merge, unless there is none to make, or somebody took back the same one since it was proposed."""
        found = {one.id: one for one in tx.entities_by_id(held, [join.kept, join.merged])}
        if len(found) < 2:
            return []
        kept, merged = found[join.kept], found[join.merged]
        whole, pair = self._whole(tx, held, AsOf()), {join.kept, join.merged}
        if whole.shown(kept).id == whole.shown(merged).id:
            return []
        if any(one.undone_seq and {one.kept.id, one.merged.id} == pair for one in tx.merges(held)):
            return []
        commit = self._commit(tx)
        made = Merge(self._ids.new(), kept, merged, reason, commit.recorded_at, commit.seq)
        tx.write_merge(held, made)
        return [Joined(made.id)]

    def _undone(self, tx: Transaction, held: Held, inverse: Inverse) -> None:
        """Takes one action back."""
        match inverse:
            case Joined(merge_id):
                if any(one.id == merge_id and not one.undone_seq for one in tx.merges(held)):
                    tx.undo_merge(held, merge_id, self._commit(tx).seq)
            case Asserted(fact_id):
                self._undo_assert(tx, held, fact_id)
            case Written() | Archived() | UsesAdded():
                self._undone_of_episode(tx, held, inverse)

    def _undo_assert(self, tx: Transaction, held: Held, fact_id: str) -> None:
        found = tx.facts_by_id(held, [fact_id])
        if not found:
            return
        policies = {one.relation: one.policy for one in tx.policies(held, _LAST)}
        try:
            added = undoing.undo(found[0], self._rivals(tx, held, found[0]), policies)
        except FailedPrecondition:
            return  # it is undone already, or somebody else has said the same since: it rests on that by now
        self._assert(tx, held, added, self._next_commit(tx))

    def _undone_of_episode(self, tx: Transaction, held: Held, inverse: Written | Archived | UsesAdded) -> None:
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


def still_right(tx: Transaction, held: Held, proposal: Proposal) -> bool:
    """Whether all that it rests on is there, and nothing that it would archive is under a hold."""
    named = {one.episode_id for one in proposal.actions if isinstance(one, Archive | AddUses)}
    stating = {one.subject.episode_id for one in proposal.actions if isinstance(one, Assert)}
    wanted = {*proposal.reads, *named, *stating}
    present = {one.id for one in tx.episodes(held, sorted(wanted))}
    archived = [one.episode_id for one in proposal.actions if isinstance(one, Archive)]
    return wanted <= present and not (archived and tx.first_hold(held, archived))
