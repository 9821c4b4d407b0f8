"""Taking in what Export gave, into this namespace or another, of this store or another.

Ids are kept where they are free. In a store that has the same Episodes in another namespace they are not: then the
Episodes get new ids, Facts get ids derived from theirs, and Facts point to the Episodes' new ids. Either way a second
import of the same records writes nothing. What was deleted here since is counted and left out, with the Facts that it
was the evidence of, unless `bring_back` asks for it. Policies come with all their
versions, in order: those that are not here already are added after those that are.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from sapience.v1 import memory_pb2 as pb

from core.clock import Micros
from core.errors import AlreadyExists, FailedPrecondition
from core.nouns import Contradiction, NewFact
from core.ports import Record
from memory.ingest.extract import fact_id
from services.memory import facts, holding
from services.memory.entities import read_merge
from services.memory.perceiving import Checked
from services.runtime.worker import Worker

_LAST = 2**63 - 1

Remember = Callable[[str, list[Checked], bool], Awaitable[list[pb.Remembered]]]
"""Namespace, Episodes, and whether what was deleted here is brought back."""


class Importer:
    """One import. `result` counts what was done so far."""

    def __init__(self, namespace: str, record: Record, writes: Worker, remember: Remember) -> None:
        self.result = pb.ImportResponse()
        self.bring_back = False
        self._namespace = namespace
        self._record = record
        self._writes = writes
        self._remember = remember
        self._ids_are_taken = False
        self._renamed: dict[str, str] = {}
        """The Episodes' new ids by those they came with, where the two differ."""
        self._histories: dict[str, list[Contradiction]] = {}
        """Of each relation the versions that were here before, but for those that the import has passed."""
        self._left_out: set[str] = set()
        """The ids that Episodes came with which were deleted here, and so were not written."""

    async def take(self, records: Sequence[pb.MemoryRecord], now: Micros) -> dict[str, str]:
        """Writes the Episodes of a batch in one transaction, then its policies and Facts, one by one.

        Returns the ids of the Episodes that were written, by those that they came with.
        """
        written_as: dict[str, str] = {}
        stored = [one.episode for one in records if one.HasField("episode")]
        checked = [facts.check_stored(one, "record.episode", now) for one in stored]
        if checked:
            for episode, kept in zip(checked, await self._episodes(checked), strict=True):
                left_out = not kept.episode_id
                self.result.duplicates += kept.duplicate
                self.result.deleted += left_out
                self.result.episodes += not (kept.duplicate or left_out)
                if left_out:
                    self._left_out.add(episode.id)
                elif not kept.duplicate:
                    written_as[episode.id] = kept.episode_id
                if not left_out and episode.id and kept.episode_id != episode.id:
                    self._renamed[episode.id] = kept.episode_id
        for one in records:
            if one.HasField("policy"):
                relation, policy = holding.read_policy(one.policy.relation, one.policy.policy, "record.policy.")
                written = await self._writes.run(self._set_once, relation, policy)
                self.result.duplicates += not written
                self.result.policies += written
            elif one.HasField("fact"):
                fact = facts.read_stored(one.fact, "record.fact", now)
                if fact.episode_id and fact.episode_id in self._left_out:
                    self.result.deleted += 1
                    continue
                fact = replace(fact, episode_id=self._renamed.get(fact.episode_id, fact.episode_id))
                try:
                    written = await self._writes.run(self._write_once, fact)
                except FailedPrecondition as error:
                    if error.reason != "FACT_DELETED":
                        raise
                    self.result.deleted += 1
                    continue
                self.result.duplicates += not written
                self.result.facts += written
            elif one.HasField("merge"):
                merge = one.merge
                given = read_merge(merge.kept.name, merge.merged.name, merge.reason, "record.merge.")
                written = await self._writes.run(self._merge_once, *given)
                self.result.duplicates += not written
                self.result.merges += written
        return written_as

    async def _episodes(self, checked: list[Checked]) -> list[pb.Remembered]:
        if not self._ids_are_taken:
            try:
                return await self._remember(self._namespace, checked, self.bring_back)
            except AlreadyExists as error:
                if error.reason != "EPISODE_ID_TAKEN":
                    raise
                self._ids_are_taken = True
        # One that was derived from others of this batch names them by the ids that they get now.
        kept: dict[int, pb.Remembered] = {}
        for derived in (False, True):
            part = {place: one for place, one in enumerate(checked) if bool(one.message.derived_from) is derived}
            if part:
                told = await self._remember(
                    self._namespace, [self._anew(one) for one in part.values()], self.bring_back
                )
                kept |= zip(part, told, strict=True)
                self._renamed |= {checked[place].id: one.episode_id for place, one in kept.items() if checked[place].id}
        return [kept[place] for place in range(len(checked))]

    def _anew(self, one: Checked) -> Checked:
        message = pb.NewEpisode()
        message.CopyFrom(one.message)
        message.derived_from[:] = [self._renamed.get(source, source) for source in one.message.derived_from]
        return replace(one, id="", message=message)

    def _set_once(self, relation: str, policy: Contradiction) -> bool:
        """False where that version is there already, after those of its relation that came before it."""
        if relation not in self._histories:
            known = self._record.stored_policies(self._namespace, 0, _LAST)
            self._histories[relation] = [one.policy for one in known if one.relation == relation]
        left = self._histories[relation]
        if policy in left:
            del left[: left.index(policy) + 1]
            return False
        left.clear()
        before = {one.relation: one.policy for one in self._record.policies(self._namespace)}
        return self._record.set_policy(self._namespace, relation, policy).policy is not before.get(relation)

    def _merge_once(self, kept: str, merged: str, reason: str) -> bool:
        """False where the two are one already. Entities may be missing: what mentions them is read later."""
        try:
            self._record.merge_entities(self._namespace, kept, merged, reason, make=True)
        except FailedPrecondition as error:
            if error.reason != "ALREADY_MERGED":
                raise
            return False
        return True

    def _write_once(self, fact: NewFact) -> bool:
        """False where that version is there already. Raises FailedPrecondition (FACT_DELETED)."""
        given = fact.id
        if fact.rule and fact.episode_id in self._renamed.values():
            # What was read in an Episode has the id that reading the Episode here gives it.
            fact = replace(fact, id=fact_id(fact.episode_id, fact.rule, fact))
        derived = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._namespace}/{fact.id}")) if fact.id else ""
        present = {known.id for known in self._record.facts(self._namespace, fact.subject, fact.relation)}
        if present & {fact.id, derived}:
            return False
        ids = () if self.bring_back else (given, fact.id, derived)
        try:
            self._record.assert_facts(self._namespace, [fact], unless_deleted=ids)
        except AlreadyExists as error:
            if error.reason != "FACT_ID_TAKEN":
                raise
            self._record.assert_facts(self._namespace, [replace(fact, id=derived)], unless_deleted=ids)
        return True
