"""What Episodes mention and which Entities are one, once for both backends: extraction, merges, and reads by both.

That an Episode was read is kept with what was read in it, in one transaction: after a crash, what is not marked is
read again, and what is marked is there whole. Mentions and marks are derived from Episodes and are no commits; Facts
and merges are.
"""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from core.clock import Clock
from core.entities import Extracted, KnownEntity, Mention, Merge
from core.ids import Ids, normalised_name
from core.moving import Put
from core.nouns import AsOf, Entity, Episode, Fact, NewFact, RelationPolicy
from memory.record import rows
from memory.record.entity_steps import Tally
from memory.record.merging import NOTHING_MERGED, Merged
from memory.record.numbering import NumberedRecord, held_of, stored_answer
from memory.record.transaction import Commit, Held, Store, Transaction

_CACHED = 64
"""Merged namespaces that are kept put together, each as of one commit."""


class EntityRules(NumberedRecord, ABC):
    """The part of `core.ports.Record` that this module is about; each method does what the port says."""

    def __init__(self, store: Store, clock: Clock, ids: Ids) -> None:
        super().__init__(store, clock, ids)
        self._merged_lock = threading.Lock()
        self._merged: OrderedDict[tuple[int, int, int], Merged] = OrderedDict()

    # Extraction

    def unextracted(self, namespace: str, version: int, limit: int) -> list[Episode]:
        return self._store.read(lambda tx: tx.unextracted(held_of(tx, namespace), version, limit))

    def write_extracted(self, namespace: str, version: int, extracted: Sequence[Extracted]) -> int:
        for one in extracted:
            for fact in one.facts:
                rows.check_fact(fact)

        def work(tx: Transaction) -> int:
            held = held_of(tx, namespace)
            there = tx.ordinals(held, [one.episode_id for one in extracted])
            read = {one.episode_id: one for one in extracted if one.episode_id in there}
            tx.write_mentions(held, version, {key: one.mentions for key, one in read.items()})
            known = tx.fact_ids_taken([fact.id for one in read.values() for fact in one.facts])
            fresh = [fact for one in read.values() for fact in one.facts if fact.id not in known]
            if fresh:
                commit = self._set_missing(tx, held, list(read.values()))
                self._assert(tx, held, fresh, commit)
            return len(fresh)

        return self._store.write(work) if extracted else 0

    def extracted_seq(self, version: int, namespace: str | None = None) -> int:
        def work(tx: Transaction) -> int:
            first = tx.first_unextracted(None if namespace is None else held_of(tx, namespace), version)
            last = tx.last_commit()
            return (last.seq if last else 0) if first is None else first - 1

        return self._store.read(work)

    def _set_missing(self, tx: Transaction, held: Held, read: Sequence[Extracted]) -> Commit:
        """Gives relations that have no policy the extractor's; the number of the commit after that."""
        commit = self._next_commit(tx)
        wanted = {relation: policy for one in read for relation, policy in one.policies.items()}
        present = {one.relation for one in tx.policies(held, commit.seq)} if wanted else set()
        missing = sorted(wanted.keys() - present)
        if not missing:
            return commit
        tx.commit(commit)
        for relation in missing:
            tx.write_policy(held, RelationPolicy(relation, wanted[relation], commit.recorded_at, commit.seq))
        return Commit(commit.seq + 1, commit.recorded_at + 1)

    @abstractmethod
    def _assert(self, tx: Transaction, held: Held, facts: Sequence[NewFact], commit: Commit) -> list[Fact]:
        """Writes Facts that are not there yet, each with a commit of its own, in order from the one given."""

    # Merges

    def merge_entities(
        self, namespace: str, kept: str, merged: str, reason: str = "", request_id: str = "", *, make: bool = False
    ) -> Merge:
        asked = rows.digest(kept, merged, reason)

        def work(tx: Transaction) -> Merge:
            held = held_of(tx, namespace)
            stored = stored_answer(tx, held, request_id, "merge_entities", asked)
            if stored is not None:
                return _merge(tx, held, stored)
            first, second = (
                tx.make_entity(held, name) if make else _entity(tx, held, name, field)
                for name, field in ((kept, "kept"), (merged, "merged"))
            )
            whole = self._whole(tx, held, AsOf())
            shown = whole.shown(first)
            if shown.id == whole.shown(second).id:
                raise rows.already_merged(kept, merged, shown.name)
            commit = self._commit(tx)
            made = Merge(self._ids.new(), first, second, reason, commit.recorded_at, commit.seq)
            tx.write_merge(held, made)
            if request_id:
                tx.store_answer(held, request_id, "merge_entities", asked, made.id, commit.recorded_at)
            return made

        for name, field in ((kept, "kept"), (merged, "merged"), (reason, "reason")):
            rows.check_text(name, field)
        return self._store.write(work)

    def undo_merge(self, namespace: str, merge_id: str, request_id: str = "") -> Merge:
        asked = rows.digest(merge_id)

        def work(tx: Transaction) -> Merge:
            held = held_of(tx, namespace)
            stored = stored_answer(tx, held, request_id, "undo_merge", asked)
            if stored is not None:
                return _merge(tx, held, json.loads(stored))
            found = _merge(tx, held, merge_id)
            if found.undone_seq:
                raise rows.merge_undone(found.id, found.undone_seq)
            commit = self._commit(tx)
            tx.undo_merge(held, merge_id, commit.seq)
            if request_id:
                response = json.dumps(merge_id)
                tx.store_answer(held, request_id, "undo_merge", asked, response, commit.recorded_at)
            return _merge(tx, held, merge_id)

        return self._store.write(work)

    def merges(self, namespace: str, as_of: AsOf = AsOf(), *, undone: bool = False) -> list[Merge]:
        found = self._store.read(lambda tx: tx.merges(held_of(tx, namespace)))
        return [one for one in found if one.counts(as_of.seq) or (undone and one.seq <= as_of.seq)]

    def put_merges(self, namespace: str, merges: Sequence[Merge], *, whole: bool = True) -> Put:
        def work(tx: Transaction) -> Put:
            held = held_of(tx, namespace)
            here = {one.id: one for one in tx.merges(held)}
            fresh = [one for one in merges if one.id not in here]
            for one in fresh:
                kept, merged = (tx.make_entity(held, end.name) for end in (one.kept, one.merged))
                tx.write_merge(held, replace(one, kept=kept, merged=merged))
            if whole:
                gone = sorted(here.keys() - {one.id for one in merges})
                if gone:
                    tx.drop_merges(held, gone)
                for one in merges:
                    if one.id in here and here[one.id].undone_seq != one.undone_seq:
                        tx.undo_merge(held, one.id, one.undone_seq)
            return Put(merges=len(fresh), duplicates=len(merges) - len(fresh))

        return self._store.write(work)

    # Entities

    def names_of(self, namespace: str, name: str, as_of: AsOf = AsOf()) -> tuple[str, ...]:
        def work(tx: Transaction) -> tuple[str, ...]:
            held = held_of(tx, namespace)
            whole = self._whole(tx, held, as_of)
            found = tx.entity_named(held, name) if whole else None
            return (name,) if found is None else tuple(one.name for one in whole.group(found))

        return self._store.read(work)

    def entity_names(self, namespace: str, limit: int) -> list[str]:
        return [one.name for one in self._store.read(lambda tx: tx.entities_after(held_of(tx, namespace), "", limit))]

    def entities_by_id(self, namespace: str, ids: Sequence[str]) -> dict[str, Entity]:
        found = self._store.read(lambda tx: tx.entities_by_id(held_of(tx, namespace), ids))
        return {one.id: one for one in found}

    def entity(self, namespace: str, name: str, as_of: AsOf = AsOf()) -> KnownEntity:
        def work(tx: Transaction) -> KnownEntity:
            held = held_of(tx, namespace)
            group = self._whole(tx, held, as_of).group(_entity(tx, held, name))
            (tally,) = tx.tallies(held, [[one.id for one in group]], as_of)
            return _known(group, tally)

        return self._store.read(work)

    def entities(
        self, namespace: str, as_of: AsOf = AsOf(), limit: int = 100, after: str = ""
    ) -> tuple[list[KnownEntity], str]:
        def work(tx: Transaction) -> tuple[list[KnownEntity], str]:
            held = held_of(tx, namespace)
            whole = self._whole(tx, held, as_of)
            found: list[KnownEntity] = []
            place = after
            while True:
                page = tx.entities_after(held, place, limit + 1)
                groups = [whole.group(one) for one in page if whole.shown(one).id == one.id]
                tallies = tx.tallies(held, [[one.id for one in group] for group in groups], as_of)
                for group, tally in zip(groups, tallies, strict=True):
                    if tally.episodes or tally.facts:
                        if len(found) == limit:
                            return found, normalised_name(found[-1].entity.name)
                        found.append(_known(group, tally))
                if len(page) <= limit:
                    return found, ""
                place = normalised_name(page[-1].name)

        return self._store.read(work)

    def mentions(
        self, namespace: str, name: str, as_of: AsOf, limit: int, after: tuple[int, str] | None = None
    ) -> list[Mention]:
        def work(tx: Transaction) -> list[Mention]:
            held = held_of(tx, namespace)
            found = tx.entity_named(held, name)
            if found is None:
                return []
            group = self._whole(tx, held, as_of).group(found)
            return tx.mentioning(held, [one.id for one in group], as_of, limit, after)

        return self._store.read(work)

    def mentioned_in(self, namespace: str, episode_ids: Sequence[str], as_of: AsOf = AsOf()) -> dict[str, list[Entity]]:
        def work(tx: Transaction) -> dict[str, list[Entity]]:
            held = held_of(tx, namespace)
            whole = self._whole(tx, held, as_of)
            found: dict[str, dict[str, Entity]] = {}
            for episode_id, entity in tx.mentioned_in(held, episode_ids):
                shown = whole.shown(entity)
                found.setdefault(episode_id, {})[shown.id] = shown
            return {one: [entities[key] for key in sorted(entities)] for one, entities in found.items()}

        return self._store.read(work)

    def _whole(self, tx: Transaction, held: Held, as_of: AsOf) -> Merged:
        """What is merged as of a commit; put together once for each state of the merges."""
        if not held.merges:
            return NOTHING_MERGED
        key = (held.key, held.merges, min(as_of.seq, held.merged_seq))
        with self._merged_lock:
            cached = self._merged.get(key)
            if cached is not None:
                self._merged.move_to_end(key)
                return cached
        whole = Merged(tx.merges(held), as_of.seq)
        with self._merged_lock:
            self._merged[key] = whole
            while len(self._merged) > _CACHED:
                self._merged.popitem(last=False)
        return whole


def _entity(tx: Transaction, held: Held, name: str, field: str = "name") -> Entity:
    found = tx.entity_named(held, name)
    if found is None:
        raise rows.entity_not_found(held.name, name, field)
    return found


def _merge(tx: Transaction, held: Held, merge_id: str) -> Merge:
    for one in tx.merges(held):
        if one.id == merge_id:
            return one
    raise rows.merge_not_found(held.name, merge_id)


def _known(group: Sequence[Entity], tally: Tally) -> KnownEntity:
    kinds = sorted((-count, kind) for kind, count in tally.kinds.items() if kind)
    aliases = sorted(one.name for one in group[1:])
    return KnownEntity(group[0], tuple(aliases), kinds[0][1] if kinds else "", tally.episodes, tally.facts)
