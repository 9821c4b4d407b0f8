"""Batches out of a stream: whatever has come while the last batch was written, up to a limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from typing import TypeVar

from sapience.v1 import memory_pb2 as pb

from core.errors import SapienceError
from services.runtime.errors import to_status

T = TypeVar("T")

BATCH = 256


async def batches(items: AsyncIterator[T], most: int) -> AsyncGenerator[list[T], None]:
    """Lists of 1 to `most` items. At most `most` wait; beyond that the sender is held back by flow control."""
    queue: asyncio.Queue[T | None] = asyncio.Queue(most)

    async def read() -> None:
        async for item in items:
            await queue.put(item)
        await queue.put(None)

    reader = asyncio.create_task(read(), name="stream reader")
    try:
        ended = False
        while not ended:
            batch: list[T] = []
            item = await _next(queue, reader)
            while True:
                if item is None:
                    ended = True
                    break
                batch.append(item)
                if len(batch) == most or queue.empty():
                    break
                item = queue.get_nowait()
            if batch:
                yield batch
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)


async def _next(queue: asyncio.Queue[T | None], reader: asyncio.Task[None]) -> T | None:
    """The next item; raises what ended the reader, so that a broken stream is not taken for one that ended."""
    waiting = asyncio.ensure_future(queue.get())
    try:
        await asyncio.wait({waiting, reader}, return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done() and reader.done():
            reader.result()
        return await waiting
    finally:
        waiting.cancel()


def acknowledge(
    batch: Sequence[pb.RememberStreamRequest],
    kept: Mapping[int, pb.Remembered],
    refused: Mapping[int, SapienceError],
) -> Iterator[pb.RememberStreamResponse]:
    """One acknowledgement for each item of a batch, in order."""
    for place, item in enumerate(batch):
        if place in kept:
            yield pb.RememberStreamResponse(client_seq=item.client_seq, remembered=kept[place])
        else:
            yield pb.RememberStreamResponse(client_seq=item.client_seq, error=to_status(refused[place]))
