"""Calls of an encoder put together: what arrives while it computes is its next batch.

Three parts. Admission counts the bytes that wait, refuses more than a bound, and answers what was encoded before from a
cache by content. Batching takes texts from all calls in turn, a share of each, until a batch is full; so a call with
one text is not behind one with a thousand. Execution computes a batch at a time on the encoder's own thread.

An idle encoder waits for as many calls as its last batches had, but no longer than a part of what a batch takes and
than a moment (`_PATIENCE_S`); a lone caller is served at once. A call that is cancelled takes its texts out of what
waits. Vectors do not depend on the batch (to 1e-5), as `Encoder` says.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from core.errors import ResourceExhausted, Unavailable
from core.nouns import Float32, Space
from perception.encoders.base import Encoded, Encoder, MultilingualEncoder
from services.perception.hosting import Hosted

BATCH_BYTES = 16 << 10
"""Of text in a batch: some hundred sentences. Larger ones are no faster, and make others wait."""
WAITING_BYTES = 16 << 20
_SHARE = 8
"""Texts of one call that are taken in turn."""
_PATIENCE_S, _PATIENCE = 0.002, 0.25
"""Seconds at most, and as a part of the time of the last batch."""


class Cache:
    """Vectors by the content of their texts, the least recently used dropped first. For one event loop."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held: OrderedDict[bytes, tuple[Float32, bool, float]] = OrderedDict()
        self._bytes = 0

    def get(self, key: bytes) -> tuple[Float32, bool, float] | None:
        """A vector, whether its text was cut, and its length before it was brought to 1."""
        found = self._held.get(key)
        if found is not None:
            self._held.move_to_end(key)
        return found

    def put(self, key: bytes, vector: Float32, truncated: bool, length: float) -> None:
        """Keeps a vector, and drops others until there is room."""
        if key in self._held or self._most <= 0:
            return
        self._held[key] = (vector.copy(), truncated, length)  # a row alone, not the batch that it is part of
        self._bytes += _cost(vector)
        while self._bytes > self._most:
            self._bytes -= _cost(self._held.popitem(last=False)[1][0])

    @property
    def nbytes(self) -> int:
        """What it holds."""
        return self._bytes


def _cost(vector: Float32) -> int:
    return vector.nbytes + 200  # the key, and what a dictionary and an array take for themselves


def content_key(space: Space, language: str, text: str) -> bytes:
    """What a text's vector is kept under."""
    return hashlib.blake2b(f"{space.name}\0{space.version}\0{language}\0{text}".encode(), digest_size=20).digest()


@dataclass(eq=False, slots=True)
class _Call:
    """A call's texts that are not encoded yet."""

    texts: list[str]
    language: str
    done: asyncio.Future[None]
    rows: list[tuple[Float32, bool, float] | None]
    waiting: deque[int]
    """Places of texts that are in no batch yet."""
    left: int
    """How many have no vector yet."""


@dataclass(slots=True)
class _Batch:
    language: str
    pieces: list[tuple[_Call, int]] = field(default_factory=list)
    size: int = 0


class Batcher:
    """One encoder's calls. Made on the running event loop; `close` ends its task."""

    def __init__(
        self,
        hosted: Hosted[Encoder],
        *,
        cache_bytes: int = 0,
        batch_bytes: int = BATCH_BYTES,
        waiting_bytes: int = WAITING_BYTES,
    ) -> None:
        self._hosted = hosted
        self._cache = Cache(cache_bytes)
        self._batch_bytes, self._most = batch_bytes, waiting_bytes
        self._calls: deque[_Call] = deque()
        self._bytes = 0
        """Of texts that wait, bounded by `waiting_bytes`."""
        self._usual = 1
        """Calls that the last batches were made of."""
        self._took_s = 0.0
        """What the last batch took."""
        self._busy = False
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.batches: deque[int] = deque(maxlen=10_000)
        """How many texts the last batches had."""

    async def encode(self, texts: Sequence[str], language: str = "") -> tuple[Encoded, int]:
        """The vectors of some texts, and how many came from the cache.

        Raises ResourceExhausted (BUSY) where too much waits, what the encoder raises, and why it could not be loaded.
        """
        encoder = await self._hosted.get()
        keys = [content_key(encoder.space, language, text) for text in texts]
        rows = [self._cache.get(key) for key in keys]
        missing = [place for place, row in enumerate(rows) if row is None]
        if missing:
            await self._computed(list(texts), language, rows, missing)
            for place in missing:
                row = rows[place]
                assert row is not None
                self._cache.put(keys[place], *row)
        found = [row for row in rows if row is not None]
        vectors = np.stack([vector for vector, _, _ in found])
        cut = [one for _, one, _ in found]
        lengths = None
        if isinstance(encoder, MultilingualEncoder):
            lengths = np.array([length for _, _, length in found], np.float32)
        return Encoded(vectors, sum(cut), lengths, cut), len(texts) - len(missing)

    async def close(self) -> None:
        """Ends the task; calls that wait are told so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for call in self._calls:
            if not call.done.done():
                call.done.set_exception(_stopping())
        self._calls.clear()

    async def _computed(
        self, texts: list[str], language: str, rows: list[tuple[Float32, bool, float] | None], missing: list[int]
    ) -> None:
        size = sum(len(texts[place].encode()) for place in missing)
        if self._bytes and self._bytes + size > self._most:
            raise ResourceExhausted(
                f"{self._bytes} bytes of text wait for the encoder {self._hosted.address}", reason="BUSY",
                retry_after_s=0.5,
            )  # fmt: skip
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._serve(), name=f"batches of {self._hosted.address}")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        call = _Call(texts, language, future, rows, deque(missing), len(missing))
        if self._usual == 1 and not self._busy and not self._calls and size <= self._batch_bytes:
            # Nobody else is here: no other task is woken for it.
            batch = _Batch(language, [(call, place) for place in missing], size)
            call.waiting.clear()
            await self._execute(await self._hosted.get(), batch)
            await future
            return
        self._calls.append(call)
        self._bytes += size
        self._arrived.set()
        try:
            await future
        finally:
            # Cancelled or not, what is in no batch waits no more, and nobody holds its texts.
            self._bytes -= sum(len(texts[place].encode()) for place in call.waiting)
            call.waiting.clear()
            if call in self._calls:
                self._calls.remove(call)

    async def _serve(self) -> None:
        encoder = await self._hosted.get()
        while True:
            await self._gathered()
            batch = self._next()
            if not batch.pieces:
                continue
            try:
                await self._execute(encoder, batch)
            except asyncio.CancelledError:
                self._fail(batch, _stopping())
                raise

    async def _gathered(self) -> None:
        """Returns when a batch is worth computing."""
        while not self._calls or self._busy:
            self._arrived.clear()
            await self._arrived.wait()
        until = asyncio.get_running_loop().time() + min(_PATIENCE_S, _PATIENCE * self._took_s)
        while len(self._calls) < self._usual and self._bytes < self._batch_bytes:
            left = until - asyncio.get_running_loop().time()
            if left <= 0:
                break
            self._arrived.clear()
            try:
                async with asyncio.timeout(left):
                    await self._arrived.wait()
            except TimeoutError:
                break

    def _next(self) -> _Batch:
        """Takes texts of all calls in turn, of one language, as many as a batch holds."""
        batch = _Batch(self._calls[0].language)
        others: list[_Call] = []
        served: set[int] = set()
        while self._calls and batch.size < self._batch_bytes:
            call = self._calls.popleft()
            if not call.waiting:
                continue  # cancelled, or all of it is being computed
            if call.language != batch.language:
                others.append(call)
                continue
            served.add(id(call))
            for _ in range(min(_SHARE, len(call.waiting))):
                place = call.waiting.popleft()
                size = len(call.texts[place].encode())
                self._bytes -= size
                batch.size += size
                batch.pieces.append((call, place))
                if batch.size >= self._batch_bytes:
                    break
            if call.waiting:
                self._calls.append(call)
        self._calls.extendleft(reversed(others))
        # Half of what was usual is forgotten with each batch that had fewer.
        self._usual = max(len(served), (self._usual + len(served)) // 2, 1)
        return batch

    async def _execute(self, encoder: Encoder, batch: _Batch) -> None:
        texts = [call.texts[place] for call, place in batch.pieces]
        self.batches.append(len(texts))
        work = partial(encoder.encode, texts)
        if isinstance(encoder, MultilingualEncoder):
            work = partial(encoder.encode, texts, language=batch.language)
        self._busy, began = True, time.perf_counter()
        try:
            encoded = await self._hosted.worker.run(work)
        except Exception as error:
            self._fail(batch, error)
            return
        finally:
            self._busy, self._took_s = False, time.perf_counter() - began
            if self._calls:
                self._arrived.set()
        cut = encoded.cut if encoded.cut is not None else [False] * len(texts)
        for at, (call, place) in enumerate(batch.pieces):
            length = 1.0 if encoded.lengths is None else float(encoded.lengths[at])
            call.rows[place] = (encoded.vectors[at], bool(cut[at]), length)
            call.left -= 1
            if call.left == 0 and not call.done.done():
                call.done.set_result(None)

    def _fail(self, batch: _Batch, error: Exception) -> None:
        for call, _ in batch.pieces:
            if not call.done.done():
                call.done.set_exception(error)


def _stopping() -> Unavailable:
    return Unavailable("perception is stopping", reason="STOPPING", retry_after_s=1.0)
