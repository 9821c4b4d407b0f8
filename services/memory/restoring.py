"""Taking backups: with their own numbers where the store's history is theirs, else as an import.

Which of the two it is, the commits say. Where the last commit of the store is one of the backups', with the same time
to the microsecond, or the last of the backups' is one of the store's, both have one history: then the numbers are the
same, and what is missing is put in its place. An empty store has none yet, and takes theirs. A store with another
history numbers what it takes itself.

Whichever it is, what a later backup says was deleted is left out of an earlier one, and what was deleted here stays so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TypeVar

from sapience.v1 import memory_pb2
from sapience.v1 import moving_pb2 as pb

from core.clock import Clock
from core.entities import Merge
from core.errors import FailedPrecondition
from core.moving import CommitTime, Kept, Put, StoredEpisode
from core.ports import Record
from memory.record.tombstones import Buried, Mark, episode_mark, fact_mark
from services import wire
from services.memory import entities, holding, parts
from services.memory.moving import Importer
from services.runtime.worker import Worker

OWN_ANYWAY = "default"
"""The tenant that every client makes where there is none: a store with it and nothing else is as good as empty."""
_LAST = 2**63 - 1

_KINDS = ("header", "episode", "fact", "policy", "merge", "keeping", "audit", "tombstones")

T = TypeVar("T")


class Restorer:
    """One restore. `put` counts what was done so far, `exact` is known once the commits have been read."""

    def __init__(
        self,
        begin: pb.RestoreBegin,
        record: Record,
        writes: Worker,
        clock: Clock,
        importer: Callable[[str], Importer],
    ) -> None:
        """`importer` makes one for a namespace."""
        header = begin.header
        if header.format != parts.FORMAT:
            raise parts.bad_backup(
                f"the backup has format {header.format}, and this program reads {parts.FORMAT}", "begin.header.format"
            )
        self.put = Put()
        self.exact = False
        self._bring_back = begin.bring_back
        self._up_to = min(begin.up_to_seq or _LAST, header.up_to_seq)
        self._whole = header.whole
        self._since: CommitTime | None = None
        if header.since_seq:
            at = wire.micros(header.since_recorded_at, "begin.header.since_recorded_at")
            self._since = CommitTime(header.since_seq, at)
        stored = (parts.namespace_from(one) for one in header.namespaces)
        self._namespaces = [one for one in stored if one.made_seq <= self._up_to]
        self._record = record
        self._writes = writes
        self._clock = clock
        self._make_importer = importer
        self._commits: list[CommitTime] = []
        self._decided = False
        self._ahead = False
        self._skipped: set[str] = set()
        """Namespaces that were deleted here since the backup."""
        self._replayed = False
        self._importers: dict[str, Importer] = {}
        self._written_as: dict[tuple[str, str], str] = {}
        self._kept: dict[tuple[str, str], Kept] = {}
        self._merges: dict[str, list[Merge]] = {}
        """Of the last backup, which has all of them."""
        self._gone: set[tuple[str, Mark]] = set()

    async def take(self, batch: Sequence[pb.BackupPart]) -> None:
        """Takes parts in the order of a restore: commits; audits and tombstones; the rest."""
        for kind, run in groupby(batch, lambda one: one.WhichOneof("part")):
            await self._take(kind or "", list(run))

    async def finish(self) -> None:
        """What can only be done when all is there."""
        await self._decide()
        await self._replay()
        for (namespace, came_as), kept in self._kept.items():
            if (namespace, came_as) in self._written_as:
                episode_id = self._written_as[namespace, came_as]
                await self._writes.run(_keep_imported, self._record, namespace, episode_id, kept)
        await self._put_merges()
        for importer in self._importers.values():
            done = importer.result
            self.put += Put(done.episodes, done.facts, done.policies, done.merges, done.duplicates, done.deleted)

    async def _take(self, kind: str, run: list[pb.BackupPart]) -> None:
        if kind == "commits":
            if self._decided:
                raise parts.bad_backup("commits come after what they number")
            found = (one for part in run for one in parts.commits_from(part.commits))
            self._commits += [one for one in found if one.seq <= self._up_to]
            return
        if kind not in _KINDS:
            raise parts.bad_backup("it has a part of a kind that this program does not know")
        await self._decide()
        if kind in ("audit", "tombstones"):
            await self._deletions(kind, run)
            return
        await self._replay()
        if kind == "header":
            for part in run:
                await self._next_backup(part.header.since_seq)
        elif kind == "merge":
            self._collect_merges(run)
        elif self.exact:
            self.put += await self._writes.run(self._put, kind, run)
        else:
            await self._import(kind, run)

    async def _decide(self) -> None:
        if not self._decided:
            self._decided = True
            self.exact = await self._writes.run(self._prepare)

    def _prepare(self) -> bool:
        """Whether the numbers of the backups are kept; if so, they and the namespaces are there when it returns."""
        known = {one.name for one in self._namespaces} | {OWN_ANYWAY}
        empty = self._since is None and self._record.clear_blank(known)
        if not empty and not self._same_history():
            if self._since is not None:
                raise FailedPrecondition(
                    f"the backup goes on from commit {self._since.seq}, where this store is not; "
                    "restore the one that it was made since first, or give both",
                    reason="BACKUP_NOT_NEXT",
                )
            return False
        last = self._record.commit_by(_LAST)
        self._ahead = last is not None and last.seq > self._up_to
        if self._ahead and not self._bring_back:
            here = {one.name for one in self._record.namespaces()}
            self._skipped = {one.name for one in self._namespaces} - here
        wanted = [one for one in self._namespaces if one.name not in self._skipped]
        # Before the commits: a store that has those has the namespaces too, wherever the restore is broken off.
        self.put += self._record.put_namespaces(wanted, self._up_to, whole=self._whole)
        for commits in parts.batches_of(self._commits, 10_000):
            self._record.put_commits(commits)
        return True

    def _same_history(self) -> bool:
        commits = [*([self._since] if self._since else []), *self._commits]
        here = self._record.commit_by(_LAST)
        if here is None or not commits:
            return False
        if here.seq < commits[-1].seq:
            return here in commits
        return self._record.commit_by(commits[-1].seq) == commits[-1]

    async def _deletions(self, kind: str, run: list[pb.BackupPart]) -> None:
        if kind == "audit":
            audits = [one for one in (parts.audit_from(part.audit) for part in run) if one.seq <= self._up_to]
            if self.exact:
                await self._writes.run(self._record.put_audits, audits)
            return
        found = [one for part in run for one in parts.tombstones_from(part.tombstones)]
        if self._bring_back:
            return
        if self.exact:
            await self._writes.run(self._record.put_tombstones, found, self._up_to)
        else:
            self._gone |= {(one.namespace, (Buried(one.kind), one.digest)) for one in found}

    async def _replay(self) -> None:
        if self.exact and not self._replayed and not self._bring_back:
            self._replayed = True
            self.put += await self._writes.run(self._record.replay_deletions)

    async def _next_backup(self, since: int) -> None:
        """What follows says how all that came before it is kept by now."""
        if since and self.exact and not self._ahead:
            for one in self._namespaces:
                await self._writes.run(self._record.reset_kept, one.name, since)
        self._kept.clear()
        self._merges.clear()

    def _collect_merges(self, run: list[pb.BackupPart]) -> None:
        """As they were at the point in time that is restored."""
        for namespace, one in (parts.merge_from(part.merge) for part in run):
            if one.seq <= self._up_to:
                then = replace(one, undone_seq=0) if one.undone_seq > self._up_to else one
                self._merges.setdefault(namespace, []).append(then)

    async def _put_merges(self) -> None:
        """Last, since they make the Entities that they need: those that what was restored names are there by then.

        A store that is ahead has what became of them since.
        """
        if not self.exact:
            for namespace, merges in self._merges.items():
                importer = await self._importer(namespace)
                counting = [one for one in merges if not one.undone_seq]
                records = [memory_pb2.MemoryRecord(merge=entities.merge_to(one)) for one in counting]
                await importer.take(records, self._clock.now())
        elif not self._ahead or self._bring_back:
            for name in [one.name for one in self._namespaces if one.name not in self._skipped]:
                put = partial(self._record.put_merges, name, self._merges.get(name, []), whole=not self._ahead)
                self.put += await self._writes.run(put)

    # Into the place it had

    def _put(self, kind: str, run: list[pb.BackupPart]) -> Put:
        """On the thread that writes: reading the parts takes as long as writing them."""
        record, back = self._record, self._bring_back
        if kind == "episode":
            episodes = [self._as_of_then(parts.episode_from(part.episode)) for part in run]
            return self._by_namespace(
                [(one.episode.namespace, one) for one in episodes if one.episode.seq <= self._up_to],
                lambda namespace, some: record.put_episodes(namespace, some, bring_back=back),
            )
        if kind == "fact":
            facts = [parts.fact_from(part.fact) for part in run]
            return self._by_namespace(
                [(namespace, fact) for namespace, fact in facts if fact.seq <= self._up_to],
                lambda namespace, some: record.put_facts(namespace, some, bring_back=back),
            )
        if kind == "policy":
            policies = [parts.policy_from(part.policy) for part in run]
            return self._by_namespace(
                [(namespace, one) for namespace, one in policies if one.seq <= self._up_to], record.put_policies
            )
        if kind == "keeping" and not self._ahead:
            kept = [parts.keeping_from(part.keeping) for part in run]
            return self._by_namespace([(namespace, self._kept_then(one)) for namespace, one in kept], self._put_kept)
        return Put()

    def _by_namespace(self, items: list[tuple[str, T]], put: Callable[[str, list[T]], Put]) -> Put:
        done = Put()
        for namespace, run in groupby(items, lambda one: one[0]):
            some = [one for _, one in run]
            if namespace in self._skipped:
                done.deleted += len(some)
            else:
                done += put(namespace, some)
        return done

    def _put_kept(self, namespace: str, kept: list[Kept]) -> Put:
        self._record.put_kept(namespace, kept)
        return Put()

    def _as_of_then(self, one: StoredEpisode) -> StoredEpisode:
        """What was archived after the point in time that is restored was not archived then."""
        late = one.episode.archived_seq > self._up_to
        return replace(one, episode=replace(one.episode, archived_seq=0)) if late else one

    def _kept_then(self, one: Kept) -> Kept:
        return replace(one, archived_seq=0) if one.archived_seq > self._up_to else one

    # Into a store with a history of its own

    async def _import(self, kind: str, run: list[pb.BackupPart]) -> None:
        if kind == "keeping":
            for part in run:
                namespace, kept = parts.keeping_from(part.keeping)
                self._kept[namespace, kept.keeping.episode_id] = self._kept_then(kept)
            return
        records = await self._writes.run(lambda: [one for part in run for one in self._as_records(kind, part)])
        for namespace, some in groupby(records, lambda one: one[0]):
            importer = await self._importer(namespace)
            written = await importer.take([record for _, record in some], self._clock.now())
            self._written_as |= {(namespace, came_as): written[came_as] for came_as in written}

    def _as_records(self, kind: str, part: pb.BackupPart) -> list[tuple[str, memory_pb2.MemoryRecord]]:
        if kind == "episode":
            stored = self._as_of_then(parts.episode_from(part.episode))
            episode = stored.episode
            if episode.seq > self._up_to or self._is_gone(episode.namespace, episode_mark(episode.id)):
                return []
            self._kept[episode.namespace, episode.id] = Kept(stored.keeping, episode.archived_seq)
            whole = wire.stored_to(episode, list(stored.concepts))
            whole.derived_from.extend(stored.derived_from)
            return [(episode.namespace, memory_pb2.MemoryRecord(episode=whole))]
        if kind == "fact":
            namespace, fact = parts.fact_from(part.fact)
            if fact.seq > self._up_to or self._is_gone(namespace, fact_mark(fact.id)):
                return []
            return [(namespace, memory_pb2.MemoryRecord(fact=part.fact.fact))]
        namespace, policy = parts.policy_from(part.policy)
        if policy.seq > self._up_to:
            return []
        return [(namespace, memory_pb2.MemoryRecord(policy=holding.policy_to(policy)))]

    def _is_gone(self, namespace: str, mark: Mark) -> bool:
        gone = (namespace, mark) in self._gone
        self.put.deleted += gone
        return gone

    async def _importer(self, namespace: str) -> Importer:
        if namespace not in self._importers:
            if namespace not in {one.name for one in await self._writes.run(self._record.namespaces)}:
                await self._writes.run(self._record.create_namespace, wire.checked_namespace(namespace))
            self._importers[namespace] = importer = self._make_importer(namespace)
            importer.bring_back = self._bring_back
        return self._importers[namespace]


def _keep_imported(record: Record, namespace: str, episode_id: str, kept: Kept) -> None:
    """Keeps a new Episode of this store as its original was kept."""
    keeping = kept.keeping
    if keeping.expires_at is not None:
        record.set_expiry(namespace, [episode_id], keeping.expires_at, keeping.expiry)
    if keeping.used_at is not None:
        record.add_uses(namespace, {episode_id: (keeping.uses, keeping.used_at)})
    if kept.archived_seq:
        record.archive(namespace, [episode_id])
    for hold in keeping.holds:
        record.set_hold(namespace, [episode_id], hold)
