"""What has reached its end is ended by the task, and a fault of a store only delays it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from core.clock import DAY, ManualClock
from core.errors import Unavailable
from core.ids import RandomIds
from core.nouns import Expired, Expiry, PerceivedConcept, PerceivedEpisode, Source, Space, Span, TimeToLive
from memory.record.sqlite import SqliteRecord
from services.memory import sweeper
from services.memory.sweeper import Sweeper
from services.runtime.worker import Worker

SPACE = Space("encoder", "1", 2)


def told(number: int) -> PerceivedEpisode:
    concept = PerceivedConcept(Span("x", 0, 1), np.array([1, 0], np.float32))
    return PerceivedEpisode(Source(), "x", 0, (concept,), conversation="c", position=number)


class Faulty(SqliteRecord):
    """Does not answer at first."""

    faults = 0

    def expire(self, namespace: str, now: int, limit: int) -> Expired:
        if self.faults:
            self.faults -= 1
            raise Unavailable("not now", reason="STORE_UNAVAILABLE")
        return super().expire(namespace, now, limit)


@pytest.mark.parametrize("faults", [0, 2])
async def test_what_is_over_is_ended_batch_after_batch(
    tmp_path: Path, faults: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "BATCH", 2)
    clock = ManualClock(1_700_000_000_000_000)
    record = Faulty(tmp_path / "r.db", clock, RandomIds(clock, seed=1))
    record.faults = faults
    record.create_namespace("a")
    record.create_namespace("b")
    kept = record.remember("a", SPACE, [told(number) for number in range(5)])
    record.remember("b", SPACE, [told(0)])
    record.set_expiry("a", [kept[0].episode_id], None)
    record.set_time_to_live("a", TimeToLive(1))
    record.set_time_to_live("b", TimeToLive(1, Expiry.DELETE))
    writes, ended = Worker("record-write"), asyncio.Event()
    record.remember("a", SPACE, [told(9)], request_id="long ago")
    clock.at += 8 * DAY
    task = Sweeper(record, writes, ended.set, clock, 0.01, request_keep_days=7)
    try:
        async with asyncio.timeout(10):
            while record.counts("a").archived_episodes < 6 or record.counts("b").episodes:
                await asyncio.sleep(0.01)
        assert ended.is_set()
        assert record.faults == 0
        assert record.remember("a", SPACE, [told(9)], request_id="long ago")[0].duplicate, "the request is forgotten"
    finally:
        await task.close()
        await writes.close()
        record.close()
