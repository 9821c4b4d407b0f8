"""A language model on a thread of its own: requests wait in a short queue and are computed one after another.

This is how models run that only transformers computes; those that `cognition.engine.decoder` computes run in
`cognition.engine.engine`, together and with latent steps.

Admission (`generate`, on the caller's event loop), the queue, and execution (`_Generation`, on the model's thread)
share only a `_Call`. Text goes back to the loop as it is decoded; the loop never waits for the model, and the model
never waits for a reader: what a request may still produce is bounded by its `new_tokens`.

The cache of keys and values of the last request is kept. A prompt that begins with the same tokens, such as the same
system prompt or a chat that goes on, computes only the rest.

What it does not do: it computes one request at a time, in the order in which they came.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator
from typing import Any

from cognition.engine.base import (
    Finished,
    Item,
    LanguageModel,
    Mode,
    Piece,
    Prompt,
    Request,
    StopReason,
    ThoughtState,
)
from cognition.engine.delivery import Mailbox
from cognition.engine.model import CausalModel
from cognition.engine.sampler import draw
from cognition.engine.text import IncrementalDecoder, StopStrings
from core.errors import InvalidArgument, ResourceExhausted, Unavailable

logger = logging.getLogger(__name__)

PREFILL_CHUNK = 256
"""Prompt tokens computed between two looks at cancellation and deadline."""


class _Call(Mailbox):
    """One generation, shared by the caller's loop and the model's thread."""

    def __init__(self, asked: Request, prompt: Prompt) -> None:
        super().__init__(asked.deadline_s)
        self.asked, self.prompt = asked, prompt


class SequentialModel(LanguageModel):
    """Owns a loaded model and the one thread that computes with it."""

    def __init__(self, model: CausalModel, *, waiting: int = 16) -> None:
        """Starts the thread. `waiting` requests may stand behind the running one."""
        self.name = model.name
        self.context_tokens = model.context_tokens
        self.device = model.device
        self.parameters = model.parameters
        self._model = model
        self._most_waiting = waiting
        self._wake = threading.Condition()
        self._waiting: deque[_Call] = deque()
        self._running: _Call | None = None
        self._closed = False
        self._cache = _PrefixCache(model)
        self._thread = threading.Thread(target=self._serve, name=f"model {self.name}", daemon=True)
        self._thread.start()

    async def generate(self, request: Request) -> AsyncGenerator[Item, None]:
        """See LanguageModel."""
        call = _Call(request, self._plain(request))
        self._admit(call)
        try:
            while True:
                outcome = await call.next()
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
                if isinstance(outcome, Finished):
                    return
        finally:
            self._cancel(call)

    def count_tokens(self, prompt: Prompt) -> int:
        """See LanguageModel. Takes the calling thread some microseconds for each word."""
        return len(self._model.tokenizer.encode(prompt))

    def close(self) -> None:
        """See LanguageModel. Waits for the thread, which ends after the step it is in: not on an event loop."""
        with self._wake:
            self._closed = True
            if self._running is not None:
                self._running.cancelled.set()
            self._wake.notify_all()
        self._thread.join()

    def _plain(self, request: Request) -> Prompt:
        """The prompt of a request that asks for nothing but text. Raises InvalidArgument for more."""
        asked = {
            "thinking.mode": request.thinking is not None and request.thinking.mode is not Mode.NONE,
            "constraint": request.constraint is not None,
            "logprobs": request.logprobs is not None,
            "keep": request.keep,
            "min_new_tokens": request.min_new_tokens != 0,
            "sampling.top_k": request.sampling.top_k != 0,
            "sampling.min_p": request.sampling.min_p != 0,
        }
        for field_name, wanted in asked.items():
            if wanted:
                raise _beyond(self.name, field_name)
        if isinstance(request.prompt, ThoughtState):
            raise _beyond(self.name, "prompt")
        return request.prompt

    def _admit(self, request: _Call) -> None:
        with self._wake:
            if self._closed:
                raise _closed(self.name)
            # The running one counts, so that what the thread has yet to take is not mistaken for a queue.
            if len(self._waiting) + (self._running is not None) > self._most_waiting:
                raise ResourceExhausted(
                    f"{len(self._waiting)} requests already wait for the language model {self.name}; try again, or "
                    "raise the limit of waiting requests",
                    reason="ENGINE_BUSY",
                    retry_after_s=1.0,
                )
            self._waiting.append(request)
            self._wake.notify_all()

    def _cancel(self, request: _Call) -> None:
        request.cancelled.set()
        with self._wake:
            if request in self._waiting:
                self._waiting.remove(request)

    def _serve(self) -> None:
        import torch

        torch.set_num_threads(self._model.threads)
        while (request := self._take()) is not None:
            end: Finished | Exception | None
            try:
                with torch.inference_mode():
                    end = _Generation(self._model, self._cache, request).run()
            except Exception as error:
                # A request may fail for reasons of its own (out of memory, a fault in a kernel); the next may not.
                if not isinstance(error, InvalidArgument):
                    logger.exception("a generation of %s failed", self.name)
                    self._cache.clear()
                end = error
            # Before the end is told: who has read it may ask again, and must not meet its own request.
            with self._wake:
                self._running = None
                if self._closed and end is None:
                    end = _closed(self.name)
            if end is not None:
                request.send(end)
        with self._wake:
            while self._waiting:
                self._waiting.popleft().send(_closed(self.name))

    def _take(self) -> _Call | None:
        """Waits for the next request; None once closed."""
        with self._wake:
            while not self._waiting and not self._closed:
                self._wake.wait()
            if self._closed:
                return None
            self._running = self._waiting.popleft()
            return self._running


def _beyond(name: str, asked: str) -> InvalidArgument:
    return InvalidArgument(
        f"{name} has an architecture that only transformers computes, and takes no {asked}; GPT-2 and the Llama family "
        "take it",
        field=asked,
    )


def _closed(name: str) -> Unavailable:
    return Unavailable(f"the language model {name} is being unloaded; try again", reason="ENGINE_CLOSED")


class _PrefixCache:
    """Keys and values of the last request, and the tokens they are of."""

    def __init__(self, model: CausalModel) -> None:
        self._model = model
        self._tokens: list[int] = []
        self._state: Any = None

    def clear(self) -> None:
        self._tokens, self._state = [], None

    def take(self, ids: list[int]) -> tuple[Any, int]:
        """The state for the longest common beginning with `ids`, and its length, less than that of `ids`.

        The last token is always left to compute, since its logits are not kept. Takes the state out.
        """
        tokens, state = self._tokens, self._state
        self.clear()
        most = min(len(tokens), len(ids) - 1)
        common = next((at for at in range(most) if tokens[at] != ids[at]), most)
        if state is None or common == 0 or not self._model.cropped(state, len(tokens), common):
            return None, 0
        return state, common

    def put(self, tokens: list[int], state: Any) -> None:
        """Keeps a state that holds exactly these tokens."""
        self._tokens, self._state = tokens, state


class _Stopped(Exception):
    """The request was cancelled or is late: unwinds to `_Generation.run`. Never leaves this module."""


class _Generation:
    """One request on the model's thread: prefill in chunks, then token by token."""

    def __init__(self, model: CausalModel, cache: _PrefixCache, request: _Call) -> None:
        self._model = model
        self._cache = cache
        self._request = request
        self._state: Any = None
        self._computed: list[int] = []
        """The tokens that `_state` holds."""
        self._prompt_tokens = self._reused = self._drawn = 0
        self._started = time.monotonic()
        self._prefilled: float | None = None

    def run(self) -> Finished | None:
        """Sends the pieces and returns the account; None for a request that was cancelled."""
        stops = StopStrings(self._request.asked.stop)
        try:
            self._check()
            reason = self._generate(stops)
        except _Stopped:
            reason = StopReason.WALL
        # An error leaves the state in doubt, so only here is it kept.
        if self._state is not None:
            self._cache.put(self._computed, self._state)
        if self._request.cancelled.is_set():
            return None
        if text := stops.flush():
            self._request.send(Piece(text))
        return self._account(reason)

    def _generate(self, stops: StopStrings) -> StopReason:
        request, model = self._request, self._model
        ids = model.tokenizer.encode(request.prompt)
        self._prompt_tokens = len(ids)
        if not ids or len(ids) >= model.context_tokens:
            raise InvalidArgument(
                f"the prompt has {len(ids)} tokens, and {model.name} takes 1 to {model.context_tokens - 1}, so that "
                "one can follow; " + ("shorten it" if ids else "give a text"),
                field="prompt",
            )
        budget = min(request.asked.new_tokens, model.context_tokens - len(ids))
        logits = self._prefill(ids)
        self._prefilled = time.monotonic()
        decoder = IncrementalDecoder(model.tokenizer.decode)
        while True:
            token = draw(logits, request.asked.sampling, self._drawn)
            self._drawn += 1
            if token in model.end_tokens:
                return StopReason.DONE
            if text := stops.add(decoder.add(token)):
                request.send(Piece(text))
            if stops.reached:
                return StopReason.DONE
            if self._drawn >= budget:
                return StopReason.TOKENS
            self._check()
            logits = self._step([token])

    def _prefill(self, ids: list[int]) -> Any:
        """Logits after the prompt, shape [vocabulary]."""
        self._state, self._reused = self._cache.take(ids)
        self._computed = ids[: self._reused]
        logits = None
        for start in range(self._reused, len(ids), PREFILL_CHUNK):
            self._check()
            logits = self._step(ids[start : start + PREFILL_CHUNK])
        return logits

    def _step(self, ids: list[int]) -> Any:
        """Computes tokens on top of the state; the logits of the last, shape [vocabulary]."""
        logits, self._state = self._model.step(ids, self._state)
        self._computed.extend(ids)
        return logits

    def _check(self) -> None:
        if self._request.cancelled.is_set() or self._request.is_late():
            raise _Stopped

    def _account(self, reason: StopReason) -> Finished:
        now = time.monotonic()
        prefilled = self._prefilled or now
        return Finished(
            stop_reason=reason,
            prompt_tokens=self._prompt_tokens,
            new_tokens=self._drawn,
            reused_tokens=self._reused,
            queued_s=self._started - self._request.submitted,
            prefill_s=prefilled - self._started,
            decode_s=now - prefilled,
        )
