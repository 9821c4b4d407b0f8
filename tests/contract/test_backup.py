"""Backup, Restore and RebuildIndex over the wire, by way of files: the memory service alone, which needs no model here.

What a record does with the parts, on both backends and after random histories, is in `tests/congruence/test_backups`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sapience
from google.protobuf import json_format
from sapience.v1 import memory_pb2 as pb
from servers import CLOSED_PORT, serving

from core.clock import ManualClock, to_datetime
from core.errors import SapienceError
from core.ids import RandomIds
from core.nouns import (
    Contradiction,
    Expiry,
    Interval,
    NewFact,
    PerceivedConcept,
    PerceivedEpisode,
    Source,
    SourceKind,
    Space,
    Span,
    Sparse,
    TimeToLive,
)
from core.ports import Record
from memory.index.edge import EdgeIndex
from memory.record.sqlite import SqliteRecord
from services import memory
from services.cli import backups
from services.memory.encoders import RemoteEncoder
from services.runtime.client import Link

SPACE = Space("encoder", "1", 4)
T0 = 1_700_000_000_000_000


def told(text: str, position: int = 0, given_id: str = "") -> PerceivedEpisode:
    """An Episode of one Concept."""
    vector = np.array([1, position, 2, 0], np.float32)
    span = Span(text, 0, len(text.encode()), "en")
    concept = PerceivedConcept(span, vector / np.linalg.norm(vector), Sparse((1, 7 + position), (0.5, 1.25)))
    return PerceivedEpisode(Source(name="chat"), text, T0 + position, (concept,), "c", position, "Ann", id=given_id)


def fill(record: Record) -> None:
    """Something of every kind."""
    record.create_namespace("a")
    record.create_namespace("b")
    first, second, third = (
        one.episode_id
        for one in record.remember("a", SPACE, [told("One — ünïcode.", 0), told("Two.", 1), told("3.", 2)])
    )
    record.remember("b", SPACE, [told("Another tenant's.", 3)])
    for policy in (Contradiction.SINGLE, Contradiction.SET):
        record.set_policy("a", "lives_in", policy)
    fact = NewFact("Ann", "lives_in", Interval(T0, T0 + 5), T0, entity="Paris", episode_id=second, trust=0.3)
    record.assert_facts("a", [fact, replace(fact, entity=None, literal="a boat", valid=Interval())])
    record.set_hold("a", [first], "case 12")
    record.set_expiry("a", [second], T0 * 2, Expiry.DELETE)
    record.set_time_to_live("b", TimeToLive(10**15, Expiry.ARCHIVE))
    record.add_uses("a", {first: (2, T0)})
    record.archive("a", [third])
    record.remember("a", SPACE, [told("To be deleted.", 4, "gone")])
    record.forget("a", episode_ids=["gone"])


class WatchedIndex(EdgeIndex):
    """Says when it is warmed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.warmed = threading.Event()

    def warm(self, space: Space, namespace: str) -> None:
        super().warm(space, namespace)
        self.warmed.set()


class Store:
    """A memory service on a folder, with a client that blocks."""

    def __init__(self, client: sapience.Client, record: Record, index: WatchedIndex) -> None:
        self.client = client
        self.record = record
        self.index = index

    async def backup(self, target: Path, since: Path | None = None, **selected: Any) -> backups.Manifest:
        return await asyncio.to_thread(backups.make, self.client, target, since, **selected)

    async def restore(self, *files: Path, up_to: int = 0, bring_back: bool = False) -> sapience.RestoreResult:
        return await asyncio.to_thread(backups.restore, self.client, backups.Chain(files), up_to, bring_back)

    async def exported(self, namespace: str) -> list[bytes]:
        def lines() -> list[bytes]:
            return [one.SerializeToString(deterministic=True) for one in self.client.export(namespace=namespace)]

        return await asyncio.to_thread(lines)

    async def rebuilt(self, repair: str) -> dict[str, sapience.IndexState]:
        def last() -> dict[str, sapience.IndexState]:
            return {one.namespace: one for one in self.client.rebuild_index(repair, namespace="")}

        return await asyncio.to_thread(last)


@asynccontextmanager
async def store(folder: Path, seed: int, fill: Callable[[Record], None] | None = None) -> AsyncIterator[Store]:
    clock = ManualClock(T0 + seed * 10**9)
    record = SqliteRecord(folder / "record.sqlite", clock, RandomIds(clock, seed))
    if fill is not None:
        fill(record)
    index = WatchedIndex(folder / "index")
    encoder = Link(f"127.0.0.1:{CLOSED_PORT}", "", 1 << 20)

    def make(*_: Any) -> list[Any]:
        return [memory.service(memory.Memory(record, index, RemoteEncoder(encoder), clock, sweep_s=3600))]

    async with serving(folder, make) as served:
        with sapience.connect(addresses={"memory": served.address}, token="none", create=False) as client:
            yield Store(client, record, index)
    await encoder.close()


def names(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


@contextmanager
def refused(reason: str) -> Iterator[list[str]]:
    """The message of the error, with its reason."""
    said: list[str] = []
    with pytest.raises((sapience.SapienceError, SapienceError)) as caught:
        yield said
    assert caught.value.reason == reason, caught.value
    said.append(str(caught.value))


async def test_a_restored_store_exports_and_backs_up_the_same_bytes_and_answers_as_of_each_commit(
    tmp_path: Path,
) -> None:
    async with store(tmp_path / "1", 1, fill) as first, store(tmp_path / "2", 2) as second:
        made = await first.backup(tmp_path / "backup")
        done = await second.restore(tmp_path / "backup")
        assert (done.exact, done.seq, done.episodes, done.facts, done.policies) == (True, first.record.seq(), 4, 2, 2)
        assert (done.duplicates, done.deleted, done.replayed) == (0, 0, 0)
        for name in ("a", "b"):
            assert await second.exported(name) == await first.exported(name)
        again = await second.backup(tmp_path / "again")
        assert again == made
        for file in made.files:
            assert (tmp_path / "again" / file.name).read_bytes() == (tmp_path / "backup" / file.name).read_bytes()
        for seq in range(1, done.seq + 1):
            at = sapience.AsOf(seq=seq)
            for ask in (
                lambda c: c.relation_policies(as_of=at, namespace="a"),  # noqa: B023
                lambda c: c.fact_history("Ann", as_of=at, namespace="a"),  # noqa: B023
                lambda c: c.timeline(as_of=at, namespace="a").entries,  # noqa: B023
            ):
                assert await asyncio.to_thread(ask, second.client) == await asyncio.to_thread(ask, first.client)
        recorded = to_datetime(first.record.commit_by(4).recorded_at)  # type: ignore[union-attr]
        for each in (first, second):
            found = await asyncio.to_thread(
                each.client.fact_history, "Ann", as_of=sapience.AsOf(recorded_by=recorded), namespace="a"
            )
            assert found == []
        assert {name: one.concepts for name, one in (await second.rebuilt("check")).items()} == {"a": 2, "b": 1}
        assert done.indexed == 3
        twice = await second.restore(tmp_path / "backup")
        assert (twice.exact, twice.episodes, twice.facts, twice.policies, twice.duplicates) == (True, 0, 0, 0, 8)


async def test_a_zip_is_one_file_and_the_same(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first, store(tmp_path / "2", 2) as second:
        await first.backup(tmp_path / "backup.zip")
        assert (tmp_path / "backup.zip").is_file()
        assert (await second.restore(tmp_path / "backup.zip")).exact
        assert await second.exported("a") == await first.exported("a")
        await second.backup(tmp_path / "again.zip")
        assert (tmp_path / "again.zip").read_bytes() == (tmp_path / "backup.zip").read_bytes()
    assert names(tmp_path) == ["1", "2", "again.zip", "backup.zip"]


async def test_a_chain_restores_any_point_in_time_and_what_was_deleted_later_stays_deleted(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first:
        await first.backup(tmp_path / "monday")
        middle = first.record.seq()
        (kept, gone) = first.record.remember("a", SPACE, [told("Kept.", 5), told("Gone.", 6)])
        at = first.record.seq()
        recorded = to_datetime(first.record.commit_by(at).recorded_at)  # type: ignore[union-attr]
        first.record.remember("a", SPACE, [told("Too late.", 7)])
        await first.backup(tmp_path / "tuesday", tmp_path / "monday")
        (one, *_) = [e.id for e, _ in first.record.export_episodes("a") if e.text == "Two."]
        first.record.forget("a", episode_ids=[gone.episode_id, one])
        made = await first.backup(tmp_path / "wednesday", tmp_path / "tuesday")
        assert made.counts["tombstones"] == 4, "two Episodes and two Facts"
        assert "episode" not in made.counts
        chain = backups.Chain(tmp_path / day for day in ("wednesday", "monday", "tuesday"))
        assert chain.seq_at(recorded) == at
        async with store(tmp_path / "2", 2) as second:
            done = await second.restore(*(tmp_path / day for day in ("monday", "tuesday", "wednesday")), up_to=at)
            assert (done.exact, done.seq, done.deleted) == (True, at, 4)
            texts = [e.text for e, _ in second.record.export_episodes("a")]
            assert texts == ["One — ünïcode.", "3.", "Kept."]
            assert second.record.episodes("a", [kept.episode_id]) == first.record.episodes("a", [kept.episode_id])
        async with store(tmp_path / "3", 3) as third:
            await third.restore(tmp_path / "monday")
            assert third.record.seq() == middle
            with refused("BACKUP_NOT_NEXT"):
                await third.restore(tmp_path / "wednesday")
            await third.restore(tmp_path / "tuesday")
            done = await third.restore(tmp_path / "wednesday")
            assert (done.exact, done.replayed) == (True, 4)
            assert await third.exported("a") == await first.exported("a")
            check = await third.rebuilt("check")
            assert [(c.missing, c.foreign) for c in check.values()] == [(0, 0), (0, 0)]


async def test_a_restore_into_the_store_itself_brings_back_what_was_deleted_only_if_asked(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first:
        await first.backup(tmp_path / "backup")
        (two, *_) = [e for e, _ in first.record.export_episodes("a") if e.text == "Two."]
        first.record.forget("a", episode_ids=[two.id])
        done = await first.restore(tmp_path / "backup")
        assert (done.exact, done.episodes, done.deleted) == (True, 0, 3)
        assert two.id not in first.record.episodes("a", [two.id])
        done = await first.restore(tmp_path / "backup", bring_back=True)
        assert (done.episodes, done.facts, done.indexed) == (1, 2, 1)
        assert first.record.episodes("a", [two.id]) == {two.id: two}


async def test_a_namespace_that_was_deleted_since_does_not_come_back(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first:
        await first.backup(tmp_path / "backup")
        first.record.delete_namespace("b")
        done = await first.restore(tmp_path / "backup")
        assert done.deleted == 1
        assert [one.name for one in first.record.namespaces()] == ["a"]


async def test_a_store_with_a_history_of_its_own_takes_it_as_an_import(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first, store(tmp_path / "2", 2) as second:
        second.record.create_namespace("mine")
        second.record.remember("mine", SPACE, [told("Mine.", 9)])
        before = list(second.record.export_episodes("mine"))
        await first.backup(tmp_path / "backup")
        done = await second.restore(tmp_path / "backup")
        assert (done.exact, done.episodes, done.facts, done.policies) == (False, 4, 2, 2)
        assert str(list(second.record.export_episodes("mine"))) == str(before)
        ids = [e.id for e, _ in first.record.export_episodes("a")]
        theirs, ours = (each.record.episodes("a", ids) for each in (first, second))
        assert ours.keys() == theirs.keys()
        assert [one.told_at for one in ours.values()] == [one.told_at for one in theirs.values()]
        assert all(ours[one].seq != theirs[one].seq for one in ids)
        assert bool(ours[ids[2]].archived_seq)
        assert second.record.keepings("a", ids) == first.record.keepings("a", ids)
        twice = await second.restore(tmp_path / "backup")
        assert (twice.episodes, twice.facts, twice.duplicates) == (0, 0, 8)
        assert second.record.keepings("a", ids) == first.record.keepings("a", ids)


async def test_a_backup_of_one_tenant_says_nothing_of_another(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first, store(tmp_path / "2", 2) as second:
        made = await first.backup(tmp_path / "backup", namespaces=["b"])
        assert not made.header.whole
        assert made.counts == {"commits": 3, "episode": 1}, "the tenant, its Episode, and where the backup ends"
        done = await second.restore(tmp_path / "backup")
        assert done.exact
        assert [one.name for one in second.record.namespaces()] == ["b"]
        assert await second.exported("b") == await first.exported("b")
        with refused("NAMESPACE_NOT_FOUND"):
            await first.backup(tmp_path / "other", namespaces=["nobody"])
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("harm", ["flipped", "cut", "missing", "no manifest", "another format"])
async def test_a_broken_backup_is_refused_whole(tmp_path: Path, harm: str) -> None:
    async with store(tmp_path / "1", 1, fill) as first, store(tmp_path / "2", 2) as second:
        await first.backup(tmp_path / "backup")
        file = tmp_path / "backup" / "records-00001.jsonl"
        data = file.read_bytes()
        if harm == "flipped":
            file.write_bytes(data.replace(b"Two.", b"Too."))
        elif harm == "cut":
            file.write_bytes(data[:-40])
        elif harm == "missing":
            file.unlink()
        elif harm == "no manifest":
            (tmp_path / "backup" / "manifest.json").unlink()
        else:
            manifest = tmp_path / "backup" / "manifest.json"
            whole = json.loads(manifest.read_text())
            whole["header"]["format"] = 2
            manifest.write_text(json.dumps(whole))
        with refused("BAD_BACKUP"):
            await second.restore(tmp_path / "backup")
        assert second.record.seq() == 0


async def test_nothing_is_overwritten_and_nothing_left_half(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first:
        await first.backup(tmp_path / "backup")
        with refused("BACKUP_EXISTS"):
            await first.backup(tmp_path / "backup")
        with refused("INVALID_FIELD"):
            await asyncio.to_thread(backups.write, tmp_path / "half", first.client.backup(since_seq=10**6))
    assert names(tmp_path) == ["1", "backup"]


async def test_a_restore_that_was_broken_off_is_done_again_from_its_beginning(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first, store(tmp_path / "2", 2) as second:
        await first.backup(tmp_path / "backup")
        chain = backups.Chain([tmp_path / "backup"])
        parts = list(chain.parts())
        for end in range(len(parts)):

            def half(end: int = end) -> Iterator[Any]:
                yield from parts[:end]
                raise ConnectionError("broken off")

            with pytest.raises(ConnectionError):
                await asyncio.to_thread(second.client.restore, chain.header, half())
        assert (await second.restore(tmp_path / "backup")).exact
        for name in ("a", "b"):
            assert await second.exported(name) == await first.exported(name)
        await second.backup(tmp_path / "again")
        for file in (tmp_path / "backup").iterdir():
            assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


async def test_the_index_is_compared_mended_and_written_again_from_the_record(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first:
        check = await first.rebuilt("check")
        assert {name: (c.concepts, c.missing, c.foreign) for name, c in check.items()} == {
            "a": (2, 0, 0), "b": (1, 0, 0),
        }  # fmt: skip
        # As it starts the service mends the index by itself; then it warms it, and that is all.
        assert await asyncio.to_thread(first.index.warmed.wait, 60)
        lost = next(iter(first.record.concept_ids("a")))
        first.index.delete(SPACE, "a", [lost])
        check = await first.rebuilt("check")
        assert (check["a"].missing, check["a"].written) == (1, 0)
        mended = await first.rebuilt("mend")
        assert (mended["a"].missing, mended["a"].written, mended["b"].written) == (1, 1, 0)
        assert (await first.rebuilt("check"))["a"].missing == 0
        assert {name: c.written for name, c in (await first.rebuilt("rewrite")).items()} == {"a": 2, "b": 1}
        stats = await asyncio.to_thread(first.client.stats, namespace="a")
        assert stats.indexed == 2


async def test_an_import_says_what_was_deleted_here_and_brings_it_back_only_if_asked(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill) as first:
        lines = [json_format.Parse(json_format.MessageToJson(one), pb.MemoryRecord())
                 for one in await asyncio.to_thread(lambda: list(first.client.export(namespace="a")))]  # fmt: skip
        (two, *_) = [e.id for e, _ in first.record.export_episodes("a") if e.text == "Two."]
        first.record.forget("a", episode_ids=[two])
        for _ in range(2):
            done = await asyncio.to_thread(first.client.import_, lines, namespace="a")
            assert (done.episodes, done.facts, done.deleted) == (0, 0, 3)
        done = await asyncio.to_thread(lambda: first.client.import_(lines, namespace="a", bring_back=True))
        assert (done.episodes, done.facts, done.deleted) == (1, 2, 0)
        assert list(first.record.episodes("a", [two])) == [two]


def fill_named(record: Record) -> None:
    """Entities that were merged, one of them no longer, and an Episode that was derived from another."""
    fill(record)
    likes = NewFact("Mel", "likes", Interval(), T0, entity="Rome")
    record.assert_facts("a", [likes, replace(likes, subject="Melanie", entity="tea"), replace(likes, subject="Tom")])
    record.merge_entities("a", "Melanie", "Mel", "a short form")
    record.undo_merge("a", record.merge_entities("a", "Melanie", "Tom").id)
    (source, *_) = [one.id for one, _ in record.export_episodes("a") if one.text == "3."]
    summary = replace(told("Of three.", 8), source=Source(SourceKind.DREAM, "dream"), derived_from=(source,))
    record.remember("a", SPACE, [summary])


def merged(store: Store, seq: int = 0) -> list[tuple[str, str, str, bool]]:
    at = sapience.AsOf(seq=seq) if seq else None
    found = store.client.merges(as_of=at, undone=True, namespace="a")
    return [(one.kept.name, one.merged.name, one.reason, bool(one.undone_seq)) for one in found]


async def test_merges_and_what_was_derived_are_restored_into_their_place(tmp_path: Path) -> None:
    async with store(tmp_path / "1", 1, fill_named) as first, store(tmp_path / "2", 2) as second:
        made = await first.backup(tmp_path / "backup")
        done = await second.restore(tmp_path / "backup")
        assert (done.exact, done.merges, made.counts["merge"]) == (True, 2, 2)
        assert await second.exported("a") == await first.exported("a")
        for seq in range(1, done.seq + 1):
            at = sapience.AsOf(seq=seq)
            for ask in (
                lambda c: c.merges(as_of=at, undone=True, namespace="a"),  # noqa: B023
                lambda c: c.neighbours("Mel", as_of=at, namespace="a"),  # noqa: B023
                lambda c: c.neighbours("Tom", as_of=at, namespace="a"),  # noqa: B023
            ):
                assert await asyncio.to_thread(ask, second.client) == await asyncio.to_thread(ask, first.client)
        undone = [one for one in first.record.merges("a", undone=True) if one.undone_seq]
        async with store(tmp_path / "3", 3) as third:
            await third.restore(tmp_path / "backup", up_to=undone[0].seq)
            assert await asyncio.to_thread(merged, third) == [
                ("Melanie", "Mel", "a short form", False), ("Melanie", "Tom", "", False),
            ]  # fmt: skip
        twice = await second.restore(tmp_path / "backup")
        assert (twice.exact, twice.merges) == (True, 0)


async def test_merges_that_count_and_what_was_derived_are_taken_into_another_history(tmp_path: Path) -> None:
    def other(record: Record) -> None:
        record.create_namespace("a")
        record.remember("a", SPACE, [told("Here before.", 9)])

    async with store(tmp_path / "1", 1, fill_named) as first, store(tmp_path / "2", 2, other) as second:
        await first.backup(tmp_path / "backup")
        done = await second.restore(tmp_path / "backup")
        assert (done.exact, done.merges) == (False, 1)
        assert await asyncio.to_thread(merged, second) == [("Melanie", "Mel", "a short form", False)]
        texts = {one.text: one.id for one, _ in second.record.export_episodes("a")}
        assert second.record.sources_of("a", [texts["Of three."]]) == {texts["Of three."]: (texts["3."],)}
