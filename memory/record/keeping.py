"""How long Episodes are kept, once for both backends: archive and thaw, legal holds, ends, counts of use.

None of it touches what was told. An archived Episode leaves the index and nothing else: its Concepts, vectors, Facts
and its share of the statistics stay, so a thaw is one outbox entry. An archival, a thaw and what an end brings are
commits; holds, ends and counts of use are not, since no read as of a time answers for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from core.nouns import (
    AsOf,
    Episode,
    Expired,
    Expiry,
    Forgotten,
    Keeping,
    Moved,
    OutboxEntry,
    StoredConcept,
    TimeToLive,
)
from memory.record import burying, rows
from memory.record.derived import free_to_delete, select_with_derived
from memory.record.numbering import NumberedRecord, held_of, stored_answer
from memory.record.transaction import Held, Transaction

_PAGE = 256


class KeepingRecord(NumberedRecord):
    """The part of `core.ports.Record` that this module is about; each method does what the port says."""

    def archive(self, namespace: str, episode_ids: Sequence[str], request_id: str = "", asked: str = "") -> Moved:
        return self._moved(namespace, episode_ids, request_id, asked, archive=True)

    def thaw(self, namespace: str, episode_ids: Sequence[str], request_id: str = "", asked: str = "") -> Moved:
        return self._moved(namespace, episode_ids, request_id, asked, archive=False)

    def archived_concepts(self, namespace: str, as_of: AsOf) -> Iterator[tuple[Episode, list[StoredConcept]]]:
        def last(tx: Transaction) -> int:
            held_of(tx, namespace)
            commit = tx.last_commit()
            return commit.seq if commit else 0

        return self._archived(namespace, min(as_of.seq, self._store.read(last)))

    def keepings(self, namespace: str, episode_ids: Sequence[str]) -> dict[str, Keeping]:
        found = self._store.read(lambda tx: tx.keepings(held_of(tx, namespace), episode_ids))
        return {one.episode_id: one for one in found}

    def set_hold(
        self, namespace: str, episode_ids: Sequence[str], hold: str, *, release: bool = False, request_id: str = ""
    ) -> int:
        rows.check_text(hold, "hold")
        asked = rows.digest(list(episode_ids), hold, release)

        def change(tx: Transaction, held: Held) -> int:
            return tx.set_hold(held, episode_ids, hold, release)

        return self._changed(namespace, episode_ids, request_id, "set_hold", asked, change)

    def set_expiry(
        self,
        namespace: str,
        episode_ids: Sequence[str],
        expires_at: int | None,
        expiry: Expiry = Expiry.ARCHIVE,
        request_id: str = "",
    ) -> int:
        asked = rows.digest(list(episode_ids), expires_at, expiry)

        def change(tx: Transaction, held: Held) -> int:
            tx.set_expiry(held, episode_ids, expires_at, expiry)
            return len(set(episode_ids))

        return self._changed(namespace, episode_ids, request_id, "set_expiry", asked, change)

    def set_time_to_live(self, namespace: str, given: TimeToLive | None) -> None:
        self._store.write(lambda tx: tx.set_time_to_live(held_of(tx, namespace), given))

    def time_to_live(self, namespace: str) -> TimeToLive | None:
        return self._store.read(lambda tx: tx.time_to_live(held_of(tx, namespace)))

    def expire(self, namespace: str, now: int, limit: int) -> Expired:
        """One commit, and one outbox entry, for what is archived and what is deleted together."""

        def due(tx: Transaction) -> dict[str, Expiry]:
            held = held_of(tx, namespace)
            lived = tx.time_to_live(held)
            # Times of commits grow with seq: what was recorded by a time is what was committed by a seq.
            young = tx.seq_at(now - lived.microseconds) if lived else 0
            return tx.due(held, now, lived, young, limit)

        def work(tx: Transaction) -> Expired:
            held, ends = held_of(tx, namespace), due(tx)
            if not ends:
                return Expired()
            archived = sorted(one for one, expiry in ends.items() if expiry is Expiry.ARCHIVE)
            deleted = free_to_delete(tx, held, sorted(ends.keys() - set(archived)))
            if not archived and not deleted:
                return Expired()
            commit = self._commit(tx)
            concepts = tx.select(held, archived, "", "").concepts if archived else ()
            tx.set_archived(held, archived, commit.seq)
            if deleted:
                going = select_with_derived(tx, held, deleted)
                burying.bury(tx, held, going, commit)
                tx.delete(held, going)
                gone = Forgotten(len(going.episodes), len(going.concepts), len(going.facts), self._ids.new())
                tx.audit(namespace, gone, commit)
                concepts += going.concepts
            if concepts and held.space is not None:
                tx.outbox_add(OutboxEntry(commit.seq, namespace, held.space, concepts, True, commit.seq))
            return Expired(len(archived), len(deleted))

        if not self._store.read(due):  # most sweeps find nothing: they take no turn among the writers
            return Expired()
        ended = self._store.write(work)
        if ended.deleted:
            self._store.scrub()
        return ended

    def add_uses(self, namespace: str, uses: Mapping[str, tuple[int, int]]) -> None:
        self._store.write(lambda tx: tx.add_uses(held_of(tx, namespace), uses))

    def drop_answers(self, before: int, limit: int) -> int:
        return self._store.write(lambda tx: tx.drop_answers(before, limit))

    def _moved(
        self, namespace: str, episode_ids: Sequence[str], request_id: str, chosen_by: str, *, archive: bool
    ) -> Moved:
        kind = "archive" if archive else "thaw"
        asked = rows.digest("chosen", chosen_by) if chosen_by else rows.digest(list(episode_ids))

        def work(tx: Transaction) -> Moved:
            held = held_of(tx, namespace)
            stored = stored_answer(tx, held, request_id, kind, asked)
            if stored is not None:
                ids, concepts, seq = json.loads(stored)
                return Moved(tuple(ids), concepts, seq)
            found = _all_of(tx, held, episode_ids)
            wanted = sorted(one.id for one in found if bool(one.archived_seq) != archive)
            if archive:
                check_holds(tx, held, wanted, "archived")
            going = tx.select(held, wanted, "", "").concepts if wanted else ()
            commit = self._next_commit(tx)
            if wanted:
                tx.commit(commit)
                tx.set_archived(held, wanted, commit.seq if archive else 0)
                if going and held.space is not None:
                    tx.outbox_add(OutboxEntry(commit.seq, namespace, held.space, going, archive, commit.seq))
            moved = Moved(tuple(wanted), len(going), commit.seq if wanted else 0)
            if request_id:
                response = json.dumps((wanted, moved.concepts, moved.seq), separators=(",", ":"))
                tx.store_answer(held, request_id, kind, asked, response, commit.recorded_at)
            return moved

        return self._store.write(work)

    def _changed(
        self,
        namespace: str,
        episode_ids: Sequence[str],
        request_id: str,
        kind: str,
        asked: str,
        change: Callable[[Transaction, Held], int],
    ) -> int:
        """A write that is no commit, answered once for each request_id."""

        def work(tx: Transaction) -> int:
            held = held_of(tx, namespace)
            stored = stored_answer(tx, held, request_id, kind, asked)
            if stored is not None:
                return int(stored)
            _all_of(tx, held, episode_ids)
            count = change(tx, held)
            if request_id:
                tx.store_answer(held, request_id, kind, asked, str(count), self._clock.now())
            return count

        return self._store.write(work)

    def _archived(self, namespace: str, seq: int) -> Iterator[tuple[Episode, list[StoredConcept]]]:
        def page_after(after: tuple[int, str]) -> list[tuple[Episode, list[StoredConcept]]]:
            def work(tx: Transaction) -> list[tuple[Episode, list[StoredConcept]]]:
                held = held_of(tx, namespace)
                page = tx.archived_after(held, after, seq, _PAGE)
                grouped: dict[str, list[StoredConcept]] = {episode.id: [] for episode in page}
                for one in tx.concepts_of(held, list(grouped)):
                    grouped[one.concept.episode_id].append(one)
                return [(episode, grouped[episode.id]) for episode in page]

            return self._store.read(work)

        after = (seq + 1, "")
        while page := page_after(after):
            yield from page
            after = (page[-1][0].archived_seq, page[-1][0].id)


def check_holds(tx: Transaction, held: Held, episode_ids: Sequence[str] | None, done: str) -> None:
    """Raises FailedPrecondition (EPISODE_HELD) where one of these, or of all where None, is under a legal hold."""
    if episode_ids is not None and not episode_ids:
        return
    found = tx.first_hold(held, episode_ids)
    if found is not None:
        raise rows.episode_held(*found, done)


def _all_of(tx: Transaction, held: Held, episode_ids: Sequence[str]) -> list[Episode]:
    found = tx.episodes(held, episode_ids)
    missing = sorted(set(episode_ids) - {one.id for one in found})
    if missing:
        raise rows.episode_not_found(held.name, missing[0])
    return found
