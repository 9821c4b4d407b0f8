"""Who computes in `sapience bench engine`: this engine, Hugging Face generate, and llama.cpp's server.

Each takes the same requests, token ids in and so many tokens out, greedily, with no end of text before that. Ours
admits all at once and batches as it goes. Hugging Face has no batching of its own in generate: requests go in groups,
padded on the left to the longest prompt, until the longest output is done. llama.cpp's server has as many slots as the
batch, and a client for each.
"""

from __future__ import annotations

import asyncio
import json
import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from cognition.engine.base import Finished, Piece, Request, Row, ThoughtState
from cognition.engine.decoder import Batch, Chunk
from cognition.engine.engine import Engine
from cognition.engine.model import DecoderModel
from core.errors import Unavailable

CONTEXT = 1024


@dataclass(frozen=True, slots=True)
class Load:
    """One request: a prompt, and how many tokens to say."""

    prompt: tuple[int, ...]
    tokens: int


@dataclass(slots=True)
class Turn:
    """What a peer took for some requests."""

    tokens: int
    seconds: float = 0.0
    processor_s: float = 0.0
    firsts: list[float] = field(default_factory=list)
    """Seconds from the start of the turn to each request's first token, waiting for a place included."""
    gaps: list[float] = field(default_factory=list)
    """Seconds between the tokens of a request, as they come."""

    def came(self, times: Sequence[float]) -> None:
        """Takes the times at which a request's tokens came."""
        self.firsts.append(times[0])
        self.gaps += [later - earlier for earlier, later in pairwise(times)]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a peer makes of windows of text: the nats of each token after the first, and the likeliest in its place."""

    nats: list[float]
    likeliest: list[int]


class Peer(ABC):
    """One that computes. `batch` at once in `together`, one after another in `alone`."""

    @abstractmethod
    def together(self, loads: Sequence[Load]) -> Turn:
        """All requests, as many at once as the batch is large."""

    @abstractmethod
    def alone(self, loads: Sequence[Load]) -> Turn:
        """One request after another."""

    @abstractmethod
    def read(self, windows: Sequence[Sequence[int]]) -> Reading:
        """Reads texts by itself, as it would decode them."""

    def close(self) -> None:  # noqa: B027  (most hold nothing)
        """Lets go of what it holds."""


class Clock:
    """Wall and processor time of a turn."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn

    def __enter__(self) -> Clock:
        self._began, self._processor = time.perf_counter(), time.process_time()
        return self

    def now(self) -> float:
        """Seconds since the start of the turn."""
        return time.perf_counter() - self._began

    def __exit__(self, *_: object) -> None:
        self.turn.seconds, self.turn.processor_s = self.now(), time.process_time() - self._processor


class Ours(Peer):
    """This engine, with a model that was loaded in some precision."""

    def __init__(self, model: DecoderModel, batch: int) -> None:
        self.model = model
        self._engine = Engine(model, waiting=4 * batch)
        self.precision = model.precision

    def together(self, loads: Sequence[Load]) -> Turn:
        """See Peer."""
        turn = Turn(sum(load.tokens for load in loads))

        async def all_at_once(clock: Clock) -> None:
            await asyncio.gather(*(self._one(load, clock) for load in loads))

        with Clock(turn) as clock:
            asyncio.run(all_at_once(clock))
        return turn

    def alone(self, loads: Sequence[Load]) -> Turn:
        """See Peer."""
        turn = Turn(sum(load.tokens for load in loads))

        async def in_turn(clock: Clock) -> None:
            for load in loads:
                await self._one(load, clock, clock.now())

        with Clock(turn) as clock:
            asyncio.run(in_turn(clock))
        return turn

    async def _one(self, load: Load, clock: Clock, began: float = 0.0) -> None:
        state = ThoughtState(str(self.model.address), tuple(Row(ids=(token,)) for token in load.prompt))
        request = Request(state, new_tokens=load.tokens, min_new_tokens=load.tokens, logprobs=0)
        times: list[float] = []
        async for item in self._engine.generate(request):
            if isinstance(item, Piece):
                times += [clock.now() - began] * len(item.tokens)
            elif isinstance(item, Finished) and item.new_tokens != load.tokens:
                raise AssertionError(f"{item.new_tokens} tokens instead of {load.tokens}")
        clock.turn.came(times)

    def read(self, windows: Sequence[Sequence[int]]) -> Reading:
        """Row by row where few rows have a format of their own, since that is what decoding computes in."""
        model = self.model
        rows = 1 if model.precision == "quantised" else 256
        cache = model.new_cache()
        found = []
        with torch.inference_mode():
            for window in windows:
                for start in range(0, len(window), rows):
                    ids = torch.tensor(window[start : start + rows], device=model.device)
                    batch = Batch([Chunk(0, start, len(ids))], model.decoder.config, model.decoder.device)
                    inputs, select = model.decoder.embed(ids), torch.arange(len(ids), device=model.device)
                    found.append(model.decoder.logits(model.decoder.forward(inputs, batch, cache, select)).cpu())
        return _reading(torch.cat(found).view(len(windows), -1, model.decoder.config.vocabulary), windows)

    def close(self) -> None:
        """See Peer."""
        self._engine.close()


class HuggingFace(Peer):
    """`generate` of transformers, with its own cache."""

    def __init__(self, folder: Path, precision: str, batch: int, threads: int, device: str = "cpu") -> None:
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        module: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, precision))
        self._module = module.eval().requires_grad_(False).to(device)
        self._device = device
        self._batch, self._threads = batch, threads

    def together(self, loads: Sequence[Load]) -> Turn:
        """See Peer."""
        turn = Turn(sum(load.tokens for load in loads))
        torch.set_num_threads(self._threads)
        with Clock(turn) as clock:
            for first in range(0, len(loads), self._batch):
                self._group(loads[first : first + self._batch], clock, 0.0)
        return turn

    def alone(self, loads: Sequence[Load]) -> Turn:
        """See Peer."""
        turn = Turn(sum(load.tokens for load in loads))
        torch.set_num_threads(self._threads)
        with Clock(turn) as clock:
            for load in loads:
                self._group([load], clock, clock.now())
        return turn

    def _group(self, loads: Sequence[Load], clock: Clock, began: float) -> None:
        longest = max(len(load.prompt) for load in loads)
        ids = torch.zeros(len(loads), longest, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, load in enumerate(loads):
            ids[row, longest - len(load.prompt) :] = torch.tensor(load.prompt)
            mask[row, longest - len(load.prompt) :] = 1
        times: list[float] = []
        most = max(load.tokens for load in loads)
        with torch.inference_mode():
            self._module.generate(
                ids.to(self._device), attention_mask=mask.to(self._device), do_sample=False, min_new_tokens=most,
                max_new_tokens=most, pad_token_id=0, streamer=_Times(times, clock, began),
            )  # fmt: skip
        # The streamer is told of the prompt first.
        for load in loads:
            clock.turn.came(times[1 : 1 + load.tokens])

    def read(self, windows: Sequence[Sequence[int]]) -> Reading:
        """See Peer."""
        with torch.inference_mode():
            return _reading(self._module(torch.tensor(windows, device=self._device)).logits.float().cpu(), windows)


class _Times:
    """A streamer of transformers that notes when tokens come."""

    def __init__(self, times: list[float], clock: Clock, began: float) -> None:
        self._times, self._clock, self._began = times, clock, began

    def put(self, _: Any) -> None:
        self._times.append(self._clock.now() - self._began)

    def end(self) -> None:
        """Nothing is left to tell."""


class LlamaServer(Peer):
    """llama.cpp's server, in this process, spoken to over HTTP on loopback as its clients do."""

    def __init__(self, gguf: Path, slots: int, threads: int) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise Unavailable(
                "xllamacpp is not installed: pip install 'sapience[bench]'", reason="PEER_MISSING"
            ) from error
        told = xllamacpp.CommonParams()
        told.model.path = str(gguf)
        told.n_parallel, told.n_ctx = slots, slots * CONTEXT
        told.cpuparams.n_threads = told.cpuparams_batch.n_threads = threads
        told.hostnames, told.port, told.verbosity = ["127.0.0.1"], 0, 0
        self._server: Any = xllamacpp.Server(told)
        self._host = self._server.listening_address.split("//")[1]
        self._slots = slots

    def together(self, loads: Sequence[Load]) -> Turn:
        """See Peer."""
        turn = Turn(sum(load.tokens for load in loads))
        waiting: queue.SimpleQueue[Load] = queue.SimpleQueue()
        for load in loads:
            waiting.put(load)

        def client(clock: Clock) -> None:
            while True:
                try:
                    load = waiting.get_nowait()
                except queue.Empty:
                    return
                self._one(load, clock, 0.0)

        with ThreadPoolExecutor(self._slots) as pool, Clock(turn) as clock:
            for done in [pool.submit(client, clock) for _ in range(self._slots)]:
                done.result()
        return turn

    def alone(self, loads: Sequence[Load]) -> Turn:
        """See Peer."""
        turn = Turn(sum(load.tokens for load in loads))
        with Clock(turn) as clock:
            for load in loads:
                self._one(load, clock, clock.now())
        return turn

    def _one(self, load: Load, clock: Clock, began: float) -> None:
        asked = {"n_predict": load.tokens, "ignore_eos": True, "temperature": 0, "stream": True, "cache_prompt": False}
        connection = HTTPConnection(self._host)
        try:
            response = _post(connection, {"prompt": load.prompt, **asked})
            times, last = [], b""
            for line in response:
                if line.startswith(b"data: "):
                    times.append(clock.now() - began)
                    last = line[6:]
        finally:
            connection.close()
        if (told := json.loads(last).get("tokens_predicted")) != load.tokens:
            raise AssertionError(f"{told} tokens instead of {load.tokens}: {last[:200]!r}")
        clock.turn.came(times[: load.tokens])

    def read(self, windows: Sequence[Sequence[int]]) -> Reading:
        """Token by token: each is made the only choice, and the server says how likely it had been before that."""
        nats, likeliest = [], []
        connection = HTTPConnection(self._host)
        for window in windows:
            for at in range(1, len(window)):
                asked = {"n_predict": 1, "n_probs": 1, "cache_prompt": True, "temperature": 0}
                forced = {"prompt": list(window[:at]), "logit_bias": [[window[at], 1000.0]], **asked}
                told = json.loads(_post(connection, forced).read())["completion_probabilities"][0]
                if told["id"] != window[at]:
                    raise AssertionError(f"token {told['id']} instead of {window[at]}")
                nats.append(-told["logprob"])
                likeliest.append(told["top_logprobs"][0]["id"])
        connection.close()
        return Reading(nats, likeliest)


def _post(connection: HTTPConnection, body: dict[str, Any]) -> Any:
    connection.request("POST", "/completion", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise Unavailable(
            f"llama.cpp's server answered {response.status}: {response.read()[:300]!r}", reason="PEER_FAILED"
        )
    return response


def _reading(logits: torch.Tensor, windows: Sequence[Sequence[int]]) -> Reading:
    """From logits, shape [windows, tokens, vocabulary]."""
    targets = torch.tensor(windows)[:, 1:]
    chances = logits[:, :-1].log_softmax(dim=-1)
    nats = -chances.gather(2, targets[..., None])
    return Reading(nats.flatten().tolist(), chances.argmax(dim=-1).flatten().tolist())
