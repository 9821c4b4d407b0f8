"""The memory service's RPCs. Stores work on threads; every write is acknowledged when the record has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import grpc
from sapience.v1 import concept_pb2, memory_pb2_grpc
from sapience.v1 import memory_pb2 as pb

from core.clock import LATEST, Clock, Micros
from core.errors import FailedPrecondition, InvalidArgument, SapienceError
from core.nouns import AsOf, Fact, PerceivedEpisode, Remembered, Space
from core.ports import Index, Record
from memory.dreams.reading import Model
from memory.ingest.extract import VERSION
from memory.recall import Recall
from services import wire
from services.memory import explaining, facts, holding, recalling
from services.memory.backups import BackupCalls
from services.memory.correcting import CorrectingCalls
from services.memory.drainer import Drainer
from services.memory.dreamer import Dreamer
from services.memory.dreaming import DreamCalls
from services.memory.entities import EntityCalls, merge_to
from services.memory.extractor import Extractor
from services.memory.keeping import KeepingCalls, checked_request_id
from services.memory.migrating import Encoders, MigrationCalls
from services.memory.migrator import Migrator
from services.memory.moving import Importer
from services.memory.perceiving import Checked, as_told, check, perceive
from services.memory.reranking import Judge, NoJudge
from services.memory.streaming import (
    BATCH,
    EPISODES,
    Item,
    acknowledge,
    ahead,
    batches,
    check_all,
    episodes_in,
    items_of,
)
from services.memory.sweeper import Sweeper
from services.runtime.server import Service
from services.runtime.worker import Worker

NAME = "sapience.v1.MemoryService"
MAX_EPISODES = 1024

_T = TypeVar("_T")
_OTHER_SPACE = ("SPACE_MISMATCH", "ENCODER_NOT_LOADED")

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Perceived:
    """Episodes that are ready to be written: what became of each, None for those at `fresh`, which are `episodes`."""

    known: list[Remembered | None]
    fresh: list[int]
    episodes: list[PerceivedEpisode]
    space: Space | None


@dataclass(slots=True)
class _StreamBatch:
    """Requests of a stream, and what was made of their Episodes, by place; `perceived` None where spaces differ."""

    requests: list[pb.RememberStreamRequest]
    items: list[Item]
    checked: dict[int, Checked]
    refused: dict[int, SapienceError]
    perceived: _Perceived | None = None


class Memory(
    EntityCalls,
    KeepingCalls,
    BackupCalls,
    CorrectingCalls,
    DreamCalls,
    MigrationCalls,
    memory_pb2_grpc.MemoryServiceServicer,
):
    """Serves one record and one index. Owns both, and closes them."""

    def __init__(
        self,
        record: Record,
        index: Index,
        encoder: Encoders,
        clock: Clock,
        *,
        index_wait_s: float = 2.0,
        sweep_s: float = 60.0,
        judge: Judge | None = None,
        request_keep_days: float = 7.0,
        timezone: str | None = "UTC",
        recall: recalling.Search | None = None,
        model: Model | None = None,
    ) -> None:
        """Dates in Episodes are those of `timezone`; without one, Episodes are not read for what they say.

        `model` reads Episodes in Dreams, and `judge` scores for recipes that rerank. `recall` stands in for the search,
        to measure what is around it.
        """
        self._record = record
        self._index = index
        self._encoder = encoder
        self._judge = judge or NoJudge()
        self._clock = clock
        self._index_wait_s = index_wait_s
        self._recall: recalling.Search = recall or Recall(record, index)
        self._writes = Worker("record-write")
        self._reads = Worker("record-read", threads=4)
        self._drainer = Drainer(record, index)
        self._extractor = None if timezone is None else Extractor(record, self._drainer.wake, timezone)
        self._model = model
        self._dreamer = Dreamer(record, self._written, model, timezone or "UTC")
        self._migrator = Migrator(record, index, encoder, self._drainer, self._drainer.wake)
        self._sweeper = Sweeper(record, self._writes, self._drainer.wake, clock, sweep_s, request_keep_days)

    async def ready(self) -> bool:
        """Whether the record answers and the index has caught up once."""
        if not self._drainer.started:
            return False
        await self._reads.run(self._record.seq)
        return True

    async def close(self) -> None:
        """Ends the threads, then closes the stores."""
        await self._sweeper.close()
        await self._migrator.close()
        await self._dreamer.close()
        if self._extractor is not None:
            await self._extractor.close()
        await self._drainer.close()
        await self._writes.close()
        await self._reads.close()
        await asyncio.to_thread(self._index.close)
        await asyncio.to_thread(self._record.close)

    # Namespaces

    async def CreateNamespace(self, request: pb.CreateNamespaceRequest, context: Context) -> pb.CreateNamespaceResponse:
        """Creates a tenant."""
        name = wire.checked_namespace(request.namespace)
        made = await self._writes.run(self._record.create_namespace, name)
        return pb.CreateNamespaceResponse(namespace=wire.namespace_to(made))

    async def ListNamespaces(self, request: pb.ListNamespacesRequest, context: Context) -> pb.ListNamespacesResponse:
        """All tenants."""
        known = await self._reads.run(self._record.namespaces)
        return pb.ListNamespacesResponse(namespaces=[wire.namespace_to(one) for one in known])

    async def DeleteNamespace(self, request: pb.DeleteNamespaceRequest, context: Context) -> pb.DeleteNamespaceResponse:
        """Deletes a tenant with all it has."""
        name = wire.checked_namespace(request.namespace)
        episodes = await self._writes.run(self._record.delete_namespace, name)
        self._drainer.wake()
        return pb.DeleteNamespaceResponse(episodes=episodes)

    # Episodes

    async def Remember(self, request: pb.RememberRequest, context: Context) -> pb.RememberResponse:
        """One transaction."""
        namespace = wire.checked_namespace(request.namespace)
        if not 1 <= len(request.episodes) <= MAX_EPISODES:
            raise InvalidArgument(
                f"episodes holds {len(request.episodes)}; give 1 to {MAX_EPISODES}",
                field="episodes",
                reason="BAD_BATCH",
            )
        now = self._clock.now()
        checked = [check(episode, f"episodes[{n}]", now) for n, episode in enumerate(request.episodes)]
        return pb.RememberResponse(
            remembered=await self._remember(namespace, checked, checked_request_id(request.request_id))
        )

    async def RememberStream(
        self, request_iterator: AsyncIterator[pb.RememberStreamRequest], context: Context
    ) -> AsyncIterator[pb.RememberStreamResponse]:
        """Whatever waits, up to a batch, is one transaction; one bad Episode is refused alone.

        While a batch is written, the next one is checked and perceived: a write waits for the disk, and more.
        """
        namespace = ""

        async def prepare(requests: list[pb.RememberStreamRequest]) -> _StreamBatch:
            nonlocal namespace
            namespace = await self._stream_namespace(namespace, [item.namespace for item in requests])
            return await self._stream_batch(namespace, requests)

        async with (
            aclosing(batches(request_iterator, EPISODES, episodes_in)) as incoming,
            aclosing(ahead(incoming, prepare)) as ready,
        ):
            async for batch in ready:
                kept = await self._remember_some(namespace, batch) if batch.checked else {}
                for response in acknowledge(batch.requests, kept, batch.refused):
                    yield response

    async def _stream_batch(self, namespace: str, requests: list[pb.RememberStreamRequest]) -> _StreamBatch:
        items = items_of(requests)
        checked, refused = await self._reads.run(check_all, items, self._clock.now())
        batch = _StreamBatch(requests, items, checked, refused)
        if checked:
            paths = [items[place].path for place in checked]
            try:
                batch.perceived = await self._perceived(namespace, list(checked.values()), paths.__getitem__)
            except FailedPrecondition as error:
                if error.reason not in _OTHER_SPACE:
                    raise
        return batch

    async def _remember_some(self, namespace: str, batch: _StreamBatch) -> dict[int, pb.Remembered]:
        """All in one transaction; or, where vectors of two spaces are among them, each in one of its own."""
        if batch.perceived is not None:
            try:
                return dict(zip(batch.checked, await self._write(namespace, batch.perceived), strict=True))
            except FailedPrecondition as error:
                if error.reason != "SPACE_MISMATCH":
                    raise
        kept: dict[int, pb.Remembered] = {}
        for place, one in batch.checked.items():
            try:
                (kept[place],) = await self._remember(namespace, [one], path=partial(_path, batch.items[place]))
            except FailedPrecondition as error:
                batch.refused[place] = error
        return kept

    async def _remember(
        self,
        namespace: str,
        checked: list[Checked],
        request_id: str = "",
        path: Callable[[int], str] = lambda number: f"episodes[{number}]",
        bring_back: bool = True,
    ) -> list[pb.Remembered]:
        perceived = await self._perceived(namespace, checked, path, request_id)
        try:
            return await self._write(namespace, perceived, request_id, bring_back)
        except FailedPrecondition as error:
            if error.reason != "SPACE_MISMATCH":
                raise
        # The namespace has got another space since it was looked at, by a migration or by the first who told it
        # something: what was encoded is encoded again, and what came with vectors is refused where it is looked at.
        perceived = await self._perceived(namespace, checked, path, request_id)
        return await self._write(namespace, perceived, request_id, bring_back)

    async def _perceived(
        self, namespace: str, checked: list[Checked], path: Callable[[int], str], request_id: str = ""
    ) -> _Perceived:
        await self._migrator.admit(namespace)
        # A request with an id is compared whole with the one it may repeat; else only what is new is encoded. Where
        # nothing has to be, the record tells what is new when it writes.
        encode = not request_id and any(one.vectors is None for one in checked)

        def look() -> tuple[Space | None, list[Remembered | None]]:
            told = [as_told(one) for one in checked] if encode else []
            return self._record.space_of(namespace), self._record.known(namespace, told)

        held, known = await self._reads.run(look)
        known = known or [None] * len(checked)
        fresh = [place for place, one in enumerate(known) if one is None]
        if not fresh:
            return _Perceived(known, fresh, [], held)
        new = [checked[place] for place in fresh]
        episodes, space = await perceive(new, self._encoder, lambda number: path(fresh[number]), held, self._reads)
        return _Perceived(known, fresh, episodes, space)

    async def _write(
        self, namespace: str, given: _Perceived, request_id: str = "", bring_back: bool = True
    ) -> list[pb.Remembered]:
        known = given.known
        if given.fresh and given.space is not None:
            kept = await self._writes.run(
                self._record.remember, namespace, given.space, given.episodes, request_id, bring_back=bring_back
            )
            self._written()
            for place, one in zip(given.fresh, kept, strict=True):
                known[place] = one
        return [
            pb.Remembered(episode_id=one.episode_id, seq=one.seq, duplicate=one.duplicate, deleted=one.deleted)
            for one in known
            if one is not None
        ]

    async def Recall(self, request: pb.RecallRequest, context: Context) -> pb.RecallResponse:
        """Finds what bears on a text."""
        query = recalling.read(request)

        def at_once() -> recalling.Scope | pb.RecallResponse:
            # One visit to a thread is enough where the index is up to date and the vector is there.
            with self._record.snapshot():
                scope = recalling.look(self._record, query, self._resolved(request.as_of, query.seq))
                vector = recalling.ready_vector(query, scope)
                if self._drainer.indexed < scope.as_of.seq or vector is None or query.recipe.rerank:
                    return scope
                response = recalling.found(self._recall, query, scope, vector)
            # Outside of the snapshot, which would not see it: a switch may have taken the old index away meanwhile.
            return response if self._record.space_of(query.namespace) == scope.space else scope

        scope = await self._reads.run(at_once)
        if isinstance(scope, pb.RecallResponse):
            return scope

        async def ask() -> pb.RecallResponse:
            asked = await self._indexed(await self._reads.run(self._look, query, request.as_of))
            return await recalling.answer(self._recall, self._encoder, self._judge, self._reads, query, asked)

        async def first() -> pb.RecallResponse:
            asked = await self._indexed(scope)
            return await recalling.answer(self._recall, self._encoder, self._judge, self._reads, query, asked)

        return await self._in_one_space(query.namespace, scope.space, first, ask)

    def _look(self, query: recalling.Query, as_of: concept_pb2.AsOf) -> recalling.Scope:
        return recalling.look(self._record, query, self._resolved(as_of, query.seq))

    async def _in_one_space(
        self,
        namespace: str,
        space: Space | None,
        first: Callable[[], Awaitable[_T]],
        again: Callable[[], Awaitable[_T]],
    ) -> _T:
        """What `first` answers, or `again` where the namespace moved to another space while `first` looked.

        What was read then may be of both, and may have failed for that.
        """
        try:
            answer = await first()
        except Exception:
            if await self._reads.run(self._record.space_of, namespace) == space:
                raise
            return await again()
        if await self._reads.run(self._record.space_of, namespace) == space:
            return answer
        return await again()

    async def WhyNot(self, request: pb.WhyNotRequest, context: Context) -> pb.WhyNotResponse:
        """Why an Episode is not found."""
        query, episode_id = explaining.read(request)

        scope = await self._reads.run(self._look, query, request.as_of)
        stores = (self._record, self._index, self._encoder, self._reads)

        async def first() -> pb.WhyNotResponse:
            return await explaining.explain(*stores, query, await self._indexed(scope), episode_id)

        async def again() -> pb.WhyNotResponse:
            asked = await self._indexed(await self._reads.run(self._look, query, request.as_of))
            return await explaining.explain(*stores, query, asked, episode_id)

        return await self._in_one_space(query.namespace, scope.space, first, again)

    async def Timeline(self, request: pb.TimelineRequest, context: Context) -> pb.TimelineResponse:
        """Episodes and Facts, earliest first."""
        query = facts.read_timeline(request)
        as_of = await self._as_of(request.as_of, seq=query.seq)
        return await self._reads.run(facts.timeline, self._record, query, as_of)

    async def Forget(self, request: pb.ForgetRequest, context: Context) -> pb.ForgetResponse:
        """Deletes for good."""
        namespace = wire.checked_namespace(request.namespace)
        if not (request.episode_ids or request.speaker or request.conversation):
            raise InvalidArgument(
                "nothing is selected: give episode_ids, speaker or conversation",
                field="episode_ids",
                reason="NO_SELECTOR",
            )
        gone = await self._writes.run(
            self._record.forget,
            namespace,
            episode_ids=list(request.episode_ids),
            speaker=request.speaker,
            conversation=request.conversation,
            dry_run=request.dry_run,
            request_id=checked_request_id(request.request_id),
        )
        self._drainer.wake()
        if not request.dry_run:
            # What is forgotten must not be found by the next recall.
            await self._catch_up(await self._reads.run(self._record.seq))
        return pb.ForgetResponse(
            episodes=gone.episodes, concepts=gone.concepts, facts=gone.facts, audit_id=gone.audit_id
        )

    # Facts

    async def AssertFact(self, request: pb.AssertFactRequest, context: Context) -> pb.AssertFactResponse:
        """Adds a version."""
        namespace = wire.checked_namespace(request.namespace)
        fact = facts.read_new(request, self._clock.now())
        kept = await self._writes.run(self._record.assert_fact, namespace, fact, checked_request_id(request.request_id))
        return pb.AssertFactResponse(fact=wire.fact_to(kept))

    async def RetractFact(self, request: pb.RetractFactRequest, context: Context) -> pb.RetractFactResponse:
        """Adds a version that takes back. `from` is a Python keyword, so the field is read by name."""
        namespace = wire.checked_namespace(request.namespace)
        start = wire.micros(getattr(request, "from"), "from") if request.HasField("from") else None
        told = wire.told_at(request.told_at if request.HasField("told_at") else None, self._clock.now(), "told_at")
        kept = await self._writes.run(
            self._record.retract_fact,
            namespace,
            request.fact_id,
            start,
            told,
            checked_request_id(request.request_id),
        )
        return pb.RetractFactResponse(fact=wire.fact_to(kept))

    async def FactHistory(self, request: pb.FactHistoryRequest, context: Context) -> pb.FactHistoryResponse:
        """Every version."""
        namespace = wire.checked_namespace(request.namespace)
        subject = wire.checked_text(request.subject, "subject", facts.MAX_NAME)
        if request.as_of.HasField("valid_at"):
            raise InvalidArgument("a history spans all times in the world: leave valid_at out", field="as_of.valid_at")
        as_of = await self._as_of(request.as_of)

        def versions_of() -> list[Fact]:
            shown = self._record.names_of(namespace, subject, as_of)[0]
            found = self._record.facts(namespace, subject, request.relation, as_of)
            return [fact for fact in found if facts.same_name(fact.subject.name, shown)]

        versions = await self._reads.run(versions_of)
        return pb.FactHistoryResponse(facts=[wire.fact_to(one) for one in versions], as_of=wire.as_of_to(as_of))

    async def Neighbours(self, request: pb.NeighboursRequest, context: Context) -> pb.NeighboursResponse:
        """The Facts around an Entity."""
        query = holding.read_neighbours(request)
        as_of = await self._as_of(request.as_of)
        return await self._reads.run(holding.neighbours, self._record, query, as_of)

    async def Paths(self, request: pb.PathsRequest, context: Context) -> pb.PathsResponse:
        """The ways between two Entities."""
        query = holding.read_paths(request)
        as_of = await self._as_of(request.as_of)
        return await self._reads.run(holding.paths, self._record, query, as_of)

    async def Changes(self, request: pb.ChangesRequest, context: Context) -> pb.ChangesResponse:
        """What changed between two points in time."""
        query = holding.read_changes(request)

        def compared() -> pb.ChangesResponse:
            now = self._clock.now()  # one for both, so that what is left open is the same moment
            before = self._resolved(request.before, None, "before", now)
            after = self._resolved(request.after, None, "after", now)
            return holding.changes(self._record, query, before, after)

        return await self._reads.run(compared)

    async def SetRelationPolicy(
        self, request: pb.SetRelationPolicyRequest, context: Context
    ) -> pb.SetRelationPolicyResponse:
        """Adds a version of a policy."""
        namespace = wire.checked_namespace(request.namespace)
        relation, policy = holding.read_policy(request.relation, request.policy)
        request_id = checked_request_id(request.request_id)
        kept = await self._writes.run(self._record.set_policy, namespace, relation, policy, request_id)
        return pb.SetRelationPolicyResponse(policy=holding.policy_to(kept))

    async def ListRelationPolicies(
        self, request: pb.ListRelationPoliciesRequest, context: Context
    ) -> pb.ListRelationPoliciesResponse:
        """The policies as of a commit."""
        namespace = holding.read_policies(request)
        as_of = await self._as_of(request.as_of)
        return await self._reads.run(holding.policies, self._record, namespace, as_of)

    # Movement

    async def Export(self, request: pb.ExportRequest, context: Context) -> AsyncIterator[pb.ExportResponse]:
        """Streams from a thread of its own, a slice at a time."""
        namespace = wire.checked_namespace(request.namespace)
        if request.up_to_seq < 0:
            raise InvalidArgument(
                f"up_to_seq is {request.up_to_seq}; commits count from 1, and 0 means all", field="up_to_seq"
            )
        worker = Worker("export", max_waiting=1)
        try:
            up_to = request.up_to_seq or await worker.run(self._record.seq)
            episodes = await worker.run(self._record.export_episodes, namespace, up_to)
            while part := await worker.run(lambda: list(islice(episodes, 64))):
                sources = await worker.run(self._record.sources_of, namespace, [episode.id for episode, _ in part])
                for episode, concepts in part:
                    record = pb.MemoryRecord(episode=wire.stored_to(episode, concepts))
                    record.episode.derived_from.extend(sources.get(episode.id, ()))
                    yield pb.ExportResponse(record=record)
            for policy in await worker.run(self._record.stored_policies, namespace, 0, up_to):
                yield pb.ExportResponse(record=pb.MemoryRecord(policy=holding.policy_to(policy)))
            for fact in await worker.run(self._record.facts, namespace, as_of=AsOf(seq=up_to), merged=False):
                yield pb.ExportResponse(record=pb.MemoryRecord(fact=wire.fact_to(fact)))
            for merge in await worker.run(self._record.merges, namespace, AsOf(seq=up_to)):
                yield pb.ExportResponse(record=pb.MemoryRecord(merge=merge_to(merge)))
        finally:
            await worker.close()

    async def Import(self, request_iterator: AsyncIterator[pb.ImportRequest], context: Context) -> pb.ImportResponse:
        """Batches of Episodes, then Facts; what was written before a failure stays, and a rerun finds it there."""
        namespace = ""
        importer: Importer | None = None
        async with self._unread(), aclosing(batches(request_iterator, BATCH)) as incoming:
            async for batch in incoming:
                namespace = await self._stream_namespace(namespace, [item.namespace for item in batch])
                if importer is None:
                    importer = Importer(namespace, self._record, self._writes, self._imported)
                importer.bring_back |= any(item.bring_back for item in batch)
                await importer.take([item.record for item in batch], self._clock.now())
        if importer is None:
            raise InvalidArgument("the first message names no namespace", field="namespace", reason="BAD_NAMESPACE")
        return importer.result

    def _written(self) -> None:
        """Says that Episodes were written: they are indexed, and read for what they say."""
        self._drainer.wake()
        if self._extractor is not None:
            self._extractor.wake()

    def _unread(self) -> AbstractAsyncContextManager[None]:
        return nullcontext() if self._extractor is None else self._extractor.paused()

    async def _imported(self, namespace: str, episodes: list[Checked], bring_back: bool) -> list[pb.Remembered]:
        return await self._remember(namespace, episodes, path=lambda _: "record.episode", bring_back=bring_back)

    async def Stats(self, request: pb.StatsRequest, context: Context) -> pb.StatsResponse:
        """Counts."""
        namespace = wire.checked_namespace(request.namespace) if request.namespace else None

        def count() -> pb.StatsResponse:
            # First, for it may grow meanwhile: who reads that all is extracted reads counts that hold all of it.
            extracted_seq = self._record.extracted_seq(VERSION, namespace)
            held = self._record.counts(namespace)
            names = [namespace] if namespace else [known.name for known in self._record.namespaces()]
            spaces = [(name, self._record.space_of(name)) for name in names]
            return pb.StatsResponse(
                episodes=held.episodes,
                concepts=held.concepts,
                entities=held.entities,
                facts=held.facts,
                seq=held.seq,
                indexed=sum(self._index.count(space, name) for name, space in spaces if space is not None),
                outbox_pending=held.outbox_pending,
                record_backend=self._record.backend,
                index_backend=self._index.backend,
                archived=held.archived_episodes,
                extracted_seq=extracted_seq,
            )

        return await self._reads.run(count)

    async def _stream_namespace(self, known: str, given: list[str]) -> str:
        """The namespace of a stream: the first message names one that exists, and no later one may name another."""
        first = not known
        for name in given:
            if name and known and name != known:
                raise InvalidArgument(
                    f"the stream began with namespace {known!r} and goes on with {name!r}; open one for each",
                    field="namespace",
                )
            if not known:
                known = wire.checked_namespace(name)
        if first:
            await self._reads.run(self._record.space_of, known)
        return known

    # Time

    async def _as_of(self, message: concept_pb2.AsOf, seq: int | None = None) -> AsOf:
        return await self._reads.run(self._resolved, message, seq)

    def _resolved(
        self, message: concept_pb2.AsOf, seq: int | None, path: str = "as_of", now: Micros | None = None
    ) -> AsOf:
        """Fills in every axis: now in the world, all that was told, all that was committed. Reads the record.

        `seq` is the commit that a page token holds on to, `path` where in the request the message is.
        """
        valid_at = wire.micros(message.valid_at, f"{path}.valid_at") if message.HasField("valid_at") else now
        told_by = wire.micros(message.told_by, f"{path}.told_by") if message.HasField("told_by") else LATEST
        axis = message.WhichOneof("recorded")
        if axis == "recorded_by":
            seq = self._record.seq_at(wire.micros(message.recorded_by, f"{path}.recorded_by"))
        elif seq is None:
            seq = self._record.seq()
        if axis == "seq":
            if message.seq < 0:
                raise InvalidArgument(f"{path}.seq is {message.seq}; commits count from 1", field=f"{path}.seq")
            seq = min(seq, message.seq)
        return AsOf(self._clock.now() if valid_at is None else valid_at, told_by, seq)

    async def _indexed(self, scope: recalling.Scope) -> recalling.Scope:
        """Waits for the index. Where it is still busy with a large import, the scope is the commits that it has."""
        if await self._catch_up(scope.as_of.seq):
            return scope
        return replace(scope, as_of=replace(scope.as_of, seq=self._drainer.indexed))

    async def _catch_up(self, seq: int) -> bool:
        return await self._drainer.reach(seq, self._index_wait_s)


def _path(item: Item, _: int) -> str:
    return item.path


def service(servicer: Memory) -> Service:
    """The service as a server takes it."""
    return Service(
        NAME,
        lambda server: memory_pb2_grpc.add_MemoryServiceServicer_to_server(servicer, server),
        servicer.ready,
        servicer.close,
    )
