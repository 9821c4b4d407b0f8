"""The task that reads Episodes: it follows the record, survives its own faults, and can be paused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from core.clock import ManualClock
from core.errors import Unavailable
from core.ids import RandomIds
from core.nouns import PerceivedEpisode, Source, Space
from memory.ingest.extract import VERSION
from memory.record.sqlite import SqliteRecord
from services.memory import extractor as module
from services.memory.extractor import Extractor

T0 = 1_700_000_000_000_000
SPACE = Space("encoder", "1", 4)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[SqliteRecord]:
    clock = ManualClock(T0)
    made = SqliteRecord(tmp_path / "record.sqlite", clock, RandomIds(clock, seed=1))
    made.create_namespace("a")
    yield made
    made.close()


def tell(record: SqliteRecord, *texts: str) -> None:
    episodes = [PerceivedEpisode(Source(), text, T0, (), speaker="Nora", external_id=text) for text in texts]
    record.remember("a", SPACE, episodes)


async def settled(record: SqliteRecord) -> None:
    async with asyncio.timeout(20):
        while record.unextracted("a", VERSION, 1):
            await asyncio.sleep(0.01)


async def test_it_reads_what_was_there_before_and_what_comes(record: SqliteRecord) -> None:
    tell(record, "I live in Rome.")
    changed = 0

    def count() -> None:
        nonlocal changed
        changed += 1

    reader = Extractor(record, count, "Europe/Rome")
    await settled(record)
    tell(record, *(f"I visited Oslo on {day} May 2021." for day in range(1, 29)))
    reader.wake()
    await settled(record)
    async with asyncio.timeout(20):
        while changed < 2:  # it is told a moment after the record has them
            await asyncio.sleep(0.01)
    await reader.close()
    assert len(record.facts("a")) == 29
    assert {one.valid.timezone for one in record.facts("a", "Oslo")} == {"Europe/Rome"}


async def test_nothing_is_read_while_it_is_paused(record: SqliteRecord) -> None:
    reader = Extractor(record, lambda: None, "UTC")
    async with reader.paused():
        tell(record, "I live in Rome.")
        reader.wake()
        await asyncio.sleep(0.3)
        assert record.facts("a") == []
    await settled(record)
    await reader.close()
    assert len(record.facts("a")) == 1


async def test_an_episode_that_the_rules_fail_on_is_logged_and_passed_over(
    record: SqliteRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module.extract

    def fragile(episode, timezone):  # type: ignore[no-untyped-def]
        if "bad" in episode.text:
            raise ValueError("no such luck")
        return real(episode, timezone)

    monkeypatch.setattr(module, "extract", fragile)
    monkeypatch.setattr(module, "log", structlog.get_logger())
    tell(record, "I live in Rome.", "I live in bad Oslo.", "I live in Bonn.")
    with capture_logs() as logs:
        reader = Extractor(record, lambda: None, "UTC")
        await settled(record)
        await reader.close()
    assert len(record.facts("a")) == 2
    assert [one["episode"] for one in logs if one["log_level"] == "error"]


async def test_a_store_that_is_down_is_tried_again(record: SqliteRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    tell(record, "I live in Rome.")
    real, failures = record.unextracted, iter([Unavailable("down", reason="STORE_UNAVAILABLE"), ValueError("a fault")])

    def flaky(namespace, version, limit):  # type: ignore[no-untyped-def]
        for failure in failures:
            raise failure
        return real(namespace, version, limit)

    monkeypatch.setattr(record, "unextracted", flaky)
    reader = Extractor(record, lambda: None, "UTC")
    async with asyncio.timeout(20):
        while not record.facts("a"):
            await asyncio.sleep(0.05)
    await reader.close()
