"""Batches out of a stream: whatever has come while earlier ones were made ready and written, and what they bring."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sapience.v1 import memory_pb2 as pb

from core.clock import Micros
from core.errors import InvalidArgument, SapienceError
from services import wire
from services.memory.perceiving import Checked, check
from services.runtime.errors import to_status

T = TypeVar("T")
U = TypeVar("U")

BATCH = 256
"""Records of an import in one transaction."""
EPISODES = 1024
"""Episodes of a stream in one transaction: the more, the fewer pages are written and synced for each."""
MOST_IN_A_REQUEST = 1024


async def batches(
    items: AsyncIterator[T], most: int, weight: Callable[[T], int] = lambda item: 1
) -> AsyncGenerator[list[T], None]:
    """Lists of items that weigh `most` together, or less where no more have come; one that weighs more is alone.

    Items of the weight `most`, and one more, wait; beyond that the sender is held back by flow control.
    """
    queue: asyncio.Queue[T | None] = asyncio.Queue()  # `room` bounds it
    room = asyncio.Event()
    room.set()
    waiting = 0

    async def read() -> None:
        nonlocal waiting
        async for item in items:
            await room.wait()
            waiting += weight(item)
            if waiting >= most:
                room.clear()
            queue.put_nowait(item)
        queue.put_nowait(None)

    reader = asyncio.create_task(read(), name="stream reader")
    try:
        ended = False
        held: T | None = None
        while not ended:
            batch: list[T] = []
            heavy = 0
            item = await _next(queue, reader) if held is None else held
            held = None
            while item is not None:
                if batch and heavy + weight(item) > most:
                    held = item
                    break
                batch.append(item)
                heavy += weight(item)
                if heavy >= most or queue.empty():
                    break
                item = queue.get_nowait()
            else:
                ended = True
            waiting -= heavy
            if waiting < most:
                room.set()
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


async def ahead(items: AsyncIterator[T], prepare: Callable[[T], Awaitable[U]]) -> AsyncGenerator[U, None]:
    """Each item as `prepare` makes it, in order; the next one is made while the caller is at work on the one before.

    What taking or preparing an item raises is raised where the item would have come, after all before it.
    """
    rest = aiter(items)

    async def make() -> tuple[U] | None:
        try:
            item = await anext(rest)
        except StopAsyncIteration:
            return None
        return (await prepare(item),)

    coming = asyncio.create_task(make(), name="next of a stream")
    try:
        while (made := await coming) is not None:
            coming = asyncio.create_task(make(), name="next of a stream")
            yield made[0]
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Item:
    """One Episode of a stream, and the field it came in."""

    episode: pb.NewEpisode
    path: str


def episodes_in(request: pb.RememberStreamRequest) -> int:
    """How many Episodes a request brings: what it weighs."""
    return len(request.episodes) or 1


def items_of(requests: Sequence[pb.RememberStreamRequest]) -> list[Item]:
    """The Episodes of these requests, in order. Raises InvalidArgument for a request with too many, or with both."""
    items = []
    for request in requests:
        if len(request.episodes) > MOST_IN_A_REQUEST:
            raise InvalidArgument(
                f"episodes holds {len(request.episodes)}; give at most {MOST_IN_A_REQUEST}",
                field="episodes",
                reason="BAD_BATCH",
            )
        if not request.episodes:
            items.append(Item(request.episode, "episode"))
            continue
        if request.HasField("episode"):
            raise InvalidArgument("the request has both episode and episodes; give one of them", field="episode")
        items += [Item(episode, f"episodes[{place}]") for place, episode in enumerate(request.episodes)]
    return items


def check_all(items: Sequence[Item], now: Micros) -> tuple[dict[int, Checked], dict[int, SapienceError]]:
    """Those that pass every check, and why the others do not, by place. Takes some 20 microseconds for each."""
    ready = wire.unit_vectors_from([item.episode.vectors for item in items])
    checked: dict[int, Checked] = {}
    refused: dict[int, SapienceError] = {}
    for place, item in enumerate(items):
        try:
            checked[place] = check(item.episode, item.path, now, ready[place])
        except SapienceError as error:
            refused[place] = error
    return checked, refused


def acknowledge(
    requests: Sequence[pb.RememberStreamRequest],
    kept: Mapping[int, pb.Remembered],
    refused: Mapping[int, SapienceError],
) -> Iterator[pb.RememberStreamResponse]:
    """One acknowledgement for each request, in order; the places are those of `items_of`."""
    place = 0
    for request in requests:
        response = pb.RememberStreamResponse(client_seq=request.client_seq)
        for _ in range(episodes_in(request)):
            outcome = response.outcomes.add() if request.episodes else response
            if place in kept:
                outcome.remembered.CopyFrom(kept[place])
            else:
                outcome.error.CopyFrom(to_status(refused[place]))
            place += 1
        yield response
