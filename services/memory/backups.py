"""The calls that move a whole store: Backup, Restore, RebuildIndex."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from functools import partial
from itertools import islice
from typing import Any

import grpc
from sapience.v1 import memory_pb2
from sapience.v1 import moving_pb2 as pb

from core.clock import Clock
from core.errors import FailedPrecondition, InvalidArgument, NotFound, Unavailable
from core.moving import CommitTime
from core.nouns import AsOf
from core.ports import Index, Record
from memory.rebuilding import Rebuild
from services import wire
from services.memory import parts
from services.memory.drainer import Drainer
from services.memory.moving import Importer
from services.memory.perceiving import Checked
from services.memory.restoring import Restorer
from services.memory.streaming import BATCH, batches
from services.runtime.worker import Worker

PAGE = 64

Context = grpc.aio.ServicerContext[Any, Any]


class BackupCalls:
    """A part of the memory service, which brings what these calls work with."""

    _record: Record
    _index: Index
    _clock: Clock
    _reads: Worker
    _writes: Worker
    _drainer: Drainer

    @abstractmethod
    async def _imported(self, namespace: str, episodes: list[Checked], bring_back: bool) -> list[memory_pb2.Remembered]:
        """Writes Episodes as Import does."""

    @abstractmethod
    def _unread(self) -> AbstractAsyncContextManager[None]:
        """While it is open, no Episode is read for what it says."""

    async def Backup(self, request: pb.BackupRequest, context: Context) -> AsyncIterator[pb.BackupResponse]:
        """Streams from a thread of its own, a slice at a time."""
        names = [wire.checked_namespace(one) for one in request.namespaces]
        if request.since_seq < 0 or request.up_to_seq < 0:
            raise InvalidArgument(
                f"since_seq is {request.since_seq} and up_to_seq {request.up_to_seq}; commits count from 1",
                field="since_seq" if request.since_seq < 0 else "up_to_seq",
            )
        worker = Worker("backup", max_waiting=1)
        try:
            header = await worker.run(self._header, request, names)
            yield pb.BackupResponse(part=pb.BackupPart(header=header))
            stream = _parts(self._record, header)
            while some := await worker.run(lambda: list(islice(stream, PAGE))):
                for part in some:
                    yield pb.BackupResponse(part=part)
            await worker.run(self._check_unmoved, header)
        finally:
            await worker.close()

    def _header(self, request: pb.BackupRequest, names: Sequence[str]) -> pb.BackupHeader:
        last = self._record.seq()
        match request.WhichOneof("until"):
            case "recorded_by":
                last = self._record.seq_at(wire.micros(request.recorded_by, "recorded_by"))
            case "up_to_seq":
                last = min(last, request.up_to_seq) if request.up_to_seq else last
        known = {one.name: one for one in self._record.stored_namespaces()}
        missing = sorted(set(names) - known.keys())
        if missing:
            raise NotFound(
                f"there is no namespace {missing[0]!r}; `sapience namespaces list` lists them",
                reason="NAMESPACE_NOT_FOUND",
                field="namespaces",
            )
        header = pb.BackupHeader(
            format=parts.FORMAT,
            up_to_seq=last,
            whole=not names,
            namespaces=[
                parts.namespace_to(known[name]) for name in sorted(names or known) if known[name].made_seq <= last
            ],
            record_backend=self._record.backend,
        )
        if last:
            header.up_to_recorded_at.CopyFrom(wire.timestamp(_commit(self._record, last, "up_to_seq").recorded_at))
        if request.since_seq:
            since = _commit(self._record, request.since_seq, "since_seq")
            if since.seq > last:
                raise InvalidArgument(
                    f"since_seq is {since.seq}, and the backup ends with commit {last}", field="since_seq"
                )
            for name in (one.name for one in header.namespaces):
                if moved := self._record.switched_after(name, since.seq):
                    raise FailedPrecondition(
                        f"commit {moved} moved namespace {name!r} to another vector space, after since_seq "
                        f"{since.seq}: what follows would not fit what came before; make a whole backup",
                        reason="MIGRATED_SINCE",
                        field="since_seq",
                    )
            header.since_seq = since.seq
            header.since_recorded_at.CopyFrom(wire.timestamp(since.recorded_at))
        return header

    def _check_unmoved(self, header: pb.BackupHeader) -> None:
        """Refuses a backup whose Episodes may be in two spaces, since a namespace was switched while it was read."""
        for one in header.namespaces:
            stored = parts.namespace_from(one)
            try:
                space = self._record.space_of(stored.name)
            except NotFound:
                continue  # deleted meanwhile
            if stored.space is not None and space != stored.space:
                raise Unavailable(
                    f"namespace {stored.name!r} moved to another vector space meanwhile; begin the backup again",
                    reason="MIGRATED_MEANWHILE",
                )

    async def Restore(self, request_iterator: AsyncIterator[pb.RestoreRequest], context: Context) -> pb.RestoreResponse:
        """Takes part after part; then the index is compared with what the record has.

        What the Episodes say comes with them as Facts: read meanwhile, it would take numbers that are the backup's.
        """
        restorer: Restorer | None = None
        try:
            async with self._unread(), aclosing(batches(request_iterator, BATCH)) as incoming:
                async for batch in incoming:
                    if restorer is None:
                        if not batch[0].HasField("begin"):
                            raise InvalidArgument("the first message says nothing of what is restored", field="begin")
                        restorer = Restorer(batch[0].begin, self._record, self._writes, self._clock, self._new_importer)
                        batch = batch[1:]
                    await restorer.take([one.part for one in batch])
                if restorer is None:
                    raise InvalidArgument("the first message says nothing of what is restored", field="begin")
                await restorer.finish()
        except ValueError as error:  # a text that is no UTF-8, numbers of a wrong length, a kind that is none
            raise parts.bad_backup(f"a part cannot be read: {error}") from error
        finally:
            self._drainer.wake()
        put = restorer.put
        for space, name in put.dropped:
            await self._drainer.aside(partial(self._index.drop_namespace, space, name))
        indexed = 0
        for name in [one.name for one in await self._reads.run(self._record.namespaces)]:
            rebuild = Rebuild(self._record, self._index, name, rewrite=False)
            while await self._drainer.aside(rebuild.step):
                pass
            indexed += rebuild.progress.written
        return pb.RestoreResponse(
            exact=restorer.exact,
            seq=await self._reads.run(self._record.seq),
            episodes=put.episodes,
            facts=put.facts,
            policies=put.policies,
            duplicates=put.duplicates,
            deleted=put.deleted,
            replayed=put.replayed,
            indexed=indexed,
            merges=put.merges,
        )

    def _new_importer(self, namespace: str) -> Importer:
        return Importer(namespace, self._record, self._writes, self._imported)

    async def RebuildIndex(
        self, request: pb.RebuildIndexRequest, context: Context
    ) -> AsyncIterator[pb.RebuildIndexResponse]:
        """One tenant after the other, in pieces: what is written meanwhile is indexed in between."""
        if request.repair not in pb.IndexRepair.values():
            raise InvalidArgument(f"repair {request.repair} is none of this version's", field="repair")
        if request.namespace:
            names = [wire.checked_namespace(request.namespace)]
        else:
            names = [one.name for one in await self._reads.run(self._record.namespaces)]
        for name in names:
            rebuild = Rebuild(
                self._record,
                self._index,
                name,
                rewrite=request.repair == pb.INDEX_REPAIR_REWRITE,
                check=request.repair == pb.INDEX_REPAIR_CHECK,
            )
            try:
                more = True
                while more:
                    more = await self._drainer.aside(rebuild.step)
                    yield _progress(name, rebuild, done=not more)
            except NotFound:
                if request.namespace:
                    raise
                continue  # deleted since it was listed


def _progress(name: str, rebuild: Rebuild, *, done: bool) -> pb.RebuildIndexResponse:
    now = rebuild.progress
    return pb.RebuildIndexResponse(
        namespace=name,
        concepts=now.concepts,
        written=now.written,
        missing=now.missing,
        foreign=now.foreign,
        done=done,
    )


def _commit(record: Record, seq: int, field: str) -> CommitTime:
    found = record.commit_by(seq)
    if found is None or found.seq != seq:
        raise InvalidArgument(f"{field} is {seq}, and this store has no such commit", field=field)
    return found


def _parts(record: Record, header: pb.BackupHeader) -> Iterator[pb.BackupPart]:
    """All but the header. Deletions come last: what was deleted while the rest was read is among them."""
    after, up_to = header.since_seq, header.up_to_seq
    names = [one.name for one in header.namespaces]
    named: set[int] = {up_to, *(one.made_seq for one in header.namespaces)}
    for name in names:
        for part in _of_namespace(record, name, after, up_to):
            named |= _commits_named(part)
            yield part
    audits = [one for one in record.audits(after, up_to) if header.whole or one.namespace in names]
    commits = record.commits(after, up_to)
    if not header.whole:
        named |= {one.seq for one in audits}
        commits = (one for one in commits if one.seq in named)
    yield from parts.commits_to(commits)
    yield from map(parts.audit_to, audits)
    buried = record.tombstones(after)
    yield from parts.tombstones_to(one for one in buried if header.whole or one.namespace in names)


def _of_namespace(record: Record, name: str, after: int, up_to: int) -> Iterator[pb.BackupPart]:
    try:
        yield from map(parts.episode_to, record.stored_episodes(name, after, up_to))
        yield from (parts.fact_to(name, one) for one in record.stored_facts(name, after, up_to))
        yield from (parts.policy_to(name, one) for one in record.stored_policies(name, after, up_to))
        for merge in record.merges(name, AsOf(seq=up_to), undone=True):
            yield parts.merge_to(name, merge)
        if after:
            yield from (parts.keeping_to(name, one) for one in record.kept(name, after))
    except NotFound:
        return  # deleted meanwhile: its tombstones say so


def _commits_named(part: pb.BackupPart) -> set[int]:
    match part.WhichOneof("part"):
        case "episode":
            return {part.episode.episode.seq, part.episode.episode.archived_seq}
        case "fact":
            return {part.fact.fact.seq}
        case "policy":
            return {part.policy.policy.seq}
        case "merge":
            return {part.merge.merge.seq, part.merge.merge.undone_seq}
        case "keeping":
            return {part.keeping.archived_seq}
    return set()
