"""Taking in what Export gave, into this namespace or another, of this store or another.

Ids are kept where they are free. In a store that has the same Episodes in another namespace they are not: then the
Episodes get new ids, Facts get ids derived from theirs, and Facts point to the Episodes' new ids. Either way a second
import of the same records writes nothing. A policy is one more version here; it takes the place of what counted before.
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

Remember = Callable[[str, list[Checked]], Awaitable[list[pb.Remembered]]]


class Importer:
    """One import. `result` counts what was done so far."""

    def __init__(self, namespace: str, record: Record, writes: Worker, remember: Remember) -> None:
        self.result = pb.ImportResponse()
        self._namespace = namespace
        self._record = record
        self._writes = writes
        self._remember = remember
        self._ids_are_taken = False
        self._renamed: dict[str, str] = {}
        """The Episodes' new ids by those they came with, where the two differ."""

    async def take(self, records: Sequence[pb.MemoryRecord], now: Micros) -> None:
        """Writes the Episodes of a batch in one transaction, then its policies and Facts, one by one."""
        stored = [one.episode for one in records if one.HasField("episode")]
        checked = [facts.check_stored(one, "record.episode", now) for one in stored]
        if checked:
            for episode, kept in zip(checked, await self._episodes(checked), strict=True):
                self.result.duplicates += kept.duplicate
                self.result.episodes += not kept.duplicate
                if episode.id and kept.episode_id != episode.id:
                    self._renamed[episode.id] = kept.episode_id
        for one in records:
            if one.HasField("policy"):
                relation, policy = holding.read_policy(one.policy.relation, one.policy.policy, "record.policy.")
                written = await self._writes.run(self._set_once, relation, policy)
                self.result.duplicates += not written
                self.result.policies += written
            elif one.HasField("fact"):
                fact = facts.read_stored(one.fact, "record.fact", now)
                fact = replace(fact, episode_id=self._renamed.get(fact.episode_id, fact.episode_id))
                written = await self._writes.run(self._write_once, fact)
                self.result.duplicates += not written
                self.result.facts += written
            elif one.HasField("merge"):
                merge = one.merge
                given = read_merge(merge.kept.name, merge.merged.name, merge.reason, "record.merge.")
                written = await self._writes.run(self._merge_once, *given)
                self.result.duplicates += not written
                self.result.merges += written

    async def _episodes(self, checked: list[Checked]) -> list[pb.Remembered]:
        if not self._ids_are_taken:
            try:
                return await self._remember(self._namespace, checked)
            except AlreadyExists as error:
                if error.reason != "EPISODE_ID_TAKEN":
                    raise
                self._ids_are_taken = True
        return await self._remember(self._namespace, [replace(one, id="") for one in checked])

    def _set_once(self, relation: str, policy: Contradiction) -> bool:
        """False where that policy counts already."""
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
        """False where that version is there already."""
        if fact.rule and fact.episode_id in self._renamed.values():
            # What was read in an Episode has the id that reading the Episode here gives it.
            fact = replace(fact, id=fact_id(fact.episode_id, fact.rule, fact))
        derived = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._namespace}/{fact.id}")) if fact.id else ""
        present = {known.id for known in self._record.facts(self._namespace, fact.subject, fact.relation)}
        if present & {fact.id, derived}:
            return False
        try:
            self._record.assert_fact(self._namespace, fact)
        except AlreadyExists as error:
            if error.reason != "FACT_ID_TAKEN":
                raise
            self._record.assert_fact(self._namespace, replace(fact, id=derived))
        return True
