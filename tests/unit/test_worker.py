"""The threads that blocking work runs on: bounded, in order, and with nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator

import pytest

from core.errors import ResourceExhausted, Unavailable
from services.runtime.worker import Worker


class Gate:
    """Work that begins, says so, and ends when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ran = 0

    def __call__(self, value: int = 0) -> int:
        self.begun.set()
        assert self.may_end.wait(30), "nobody opened the gate"
        self.ran += 1
        return value


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    made = Worker("test", threads=1, max_waiting=2)
    yield made
    await made.close()


async def begun(gate: Gate) -> None:
    assert await asyncio.to_thread(gate.begun.wait, 30)


async def test_work_runs_on_a_thread_of_its_name_and_gives_its_result(worker: Worker) -> None:
    names = [await worker.run(lambda: threading.current_thread().name) for _ in range(3)]
    assert len(set(names)) == 1
    assert names[0].startswith("test")
    assert await worker.run(divmod, 7, 2) == (3, 1)
    assert await worker.run(int, "ff", base=16) == 255


async def test_what_work_raises_is_raised(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    assert await worker.run(lambda: 1) == 1, "the thread lives on"


async def test_no_more_waits_than_was_said(worker: Worker) -> None:
    gate = Gate()
    tasks = [asyncio.create_task(worker.run(gate, value)) for value in range(3)]
    await begun(gate)
    with pytest.raises(ResourceExhausted, match="test has 3 pieces of work") as caught:
        await worker.run(gate)
    assert (caught.value.reason, caught.value.retry_after_s) == ("BUSY", 0.5)
    gate.may_end.set()
    assert await asyncio.gather(*tasks) == [0, 1, 2]
    assert await worker.run(gate, 7) == 7, "there is room again"
    assert gate.ran == 4, "what was refused did not run"


async def test_work_that_waits_is_dropped_when_its_caller_goes(worker: Worker) -> None:
    gate, dropped = Gate(), Gate()
    dropped.may_end.set()
    running = asyncio.create_task(worker.run(gate, 1))
    await begun(gate)
    waiting = asyncio.create_task(worker.run(dropped, 2))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.may_end.set()
    assert await running == 1
    assert await worker.run(lambda: 3) == 3
    assert dropped.ran == 0


async def test_work_that_runs_is_finished_though_its_caller_goes(worker: Worker) -> None:
    gate = Gate()
    running = asyncio.create_task(worker.run(gate))
    await begun(gate)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    gate.may_end.set()
    await worker.run(lambda: None)
    assert gate.ran == 1


async def test_cancelled_work_gives_its_place_back(worker: Worker) -> None:
    for _ in range(10):
        gate = Gate()
        tasks = [asyncio.create_task(worker.run(gate)) for _ in range(3)]
        await begun(gate)
        for task in tasks:
            task.cancel()
        gate.may_end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(worker)


async def eventually(worker: Worker) -> None:
    """Runs something as soon as there is room: places are given back when the thread comes by, not before."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await worker.run(lambda: None)
            except ResourceExhausted:
                await asyncio.sleep(0.001)


async def test_who_leaves_frees_the_place_though_the_thread_is_busy(worker: Worker) -> None:
    gate = Gate()
    running = asyncio.create_task(worker.run(gate, 1))
    await begun(gate)
    for _ in range(50):
        held = bytearray(10)
        kept = weakref.ref(holder := Holder(held))
        leaving = [asyncio.create_task(worker.run(holder)) for _ in range(2)]
        await asyncio.sleep(0)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        del holder, leaving, task
        await asyncio.sleep(0)  # the step that they woke holds them to its end
        gc.collect()
        assert kept() is None, "what nobody waits for is not kept"
        assert worker._queue.qsize() <= 8
    stays = asyncio.create_task(worker.run(lambda: 2))
    last = asyncio.create_task(worker.run(lambda: 3))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await worker.run(lambda: 4)
    gate.may_end.set()
    assert await asyncio.gather(running, stays, last) == [1, 2, 3]
    assert worker._held == 0


class Holder:
    """Work that holds something."""

    def __init__(self, held: bytearray) -> None:
        self.held = held

    def __call__(self) -> int:
        return len(self.held)


async def test_threads_work_side_by_side() -> None:
    worker = Worker("pair", threads=2, max_waiting=0)
    meeting = threading.Barrier(2)
    await asyncio.gather(worker.run(meeting.wait, 30), worker.run(meeting.wait, 30))
    await worker.close()


async def test_closing_drops_what_waits_and_lets_what_runs_end() -> None:
    worker = Worker("closing", max_waiting=2)
    gate, dropped = Gate(), Gate()
    running = asyncio.create_task(worker.run(gate, 1))
    await begun(gate)
    waiting = asyncio.create_task(worker.run(dropped))
    await asyncio.sleep(0)
    closing = asyncio.create_task(worker.close())
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(Unavailable, match="closing is stopping") as caught:
        await worker.run(gate)
    assert caught.value.reason == "STOPPING"
    gate.may_end.set()
    await closing
    assert await running == 1
    assert dropped.ran == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("closing")]


async def test_a_thousand_callers_are_each_answered() -> None:
    worker = Worker("many", threads=4, max_waiting=1000)
    answers = await asyncio.gather(*(worker.run(lambda value=value: value * value) for value in range(1000)))
    assert answers == [value * value for value in range(1000)]
    await worker.close()
