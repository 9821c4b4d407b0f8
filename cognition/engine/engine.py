"""The latent engine: many Thoughts of one model, thinking, reading and speaking in the same steps.

Three objects. Admission (`generate`, on the caller's event loop) checks, encodes and queues. The scheduler
(`cognition.engine.scheduler`) says whose rows come next. Execution (`cognition.engine.runner`) computes them, on the
one thread that the model owns. What a step brings is handed back with one call for each event loop; no loop ever waits
for the model.

With `overlap` a step is launched before the tokens of the one before were read, so that a GPU never waits for Python.
A Thought whose end shows only then has had one row too many, which is thrown away: tokens are the same.

What it does not do: it serves one model on one device.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

import torch

from cognition.engine.admission import Admission
from cognition.engine.base import (
    Candidate,
    Item,
    LanguageModel,
    LatentStep,
    Mode,
    Piece,
    Prompt,
    Request,
    StopReason,
    ThoughtState,
)
from cognition.engine.delivery import Mailbox, Outcome, deliver
from cognition.engine.model import DecoderModel
from cognition.engine.runner import ReadThought, ReadToken, Runner, Step
from cognition.engine.scheduler import Entry, Ledger, Limits, schedule
from cognition.engine.thought import Thought, Vector
from core.errors import FailedPrecondition, ResourceExhausted, Unavailable

logger = logging.getLogger(__name__)

PREFILL_CHUNK = 256
"""Rows of one prompt computed in a step, beside those who think and speak."""
_SHORT = 2000
"""Characters of a text that is read where it is asked for."""
_HAND_OVER_S = 0.004
"""Steps of small models are shorter than that; what they bring is handed over together, since waking a loop costs as
much as such a step. Ends, and whatever comes after a pause, are never kept back."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What an engine has done and holds, to watch it by."""

    running: int
    waiting: int
    steps: int
    rows: int
    tokens: int
    latent_steps: int
    preempted: int
    reused: int
    """Rows that were not computed, since a slot had them."""


class Engine(LanguageModel):
    """Owns a loaded model, its cache, and the one thread that computes with it."""

    def __init__(
        self,
        model: DecoderModel,
        *,
        waiting: int = 64,
        chunk: int = PREFILL_CHUNK,
        overlap: bool | None = None,
        graphs: bool | None = None,
    ) -> None:
        """Starts the thread. `waiting` Thoughts may stand behind those that compute.

        `overlap` launches a step before the last one was read, and `graphs` computes steps of single rows in fixed
        shapes, on a GPU as CUDA graphs; None does so where the device is a GPU.
        """
        self.name = model.name
        self.context_tokens = model.context_tokens
        self.device = model.device
        self.parameters = model.decoder.parameters
        self.precision = model.precision
        self.memory_bytes = model.memory_bytes
        self._admission = Admission(model, most_steps=chunk)
        self.capabilities = self._admission.capabilities
        self._model = model
        self._runner = Runner(model.decoder, model.new_cache(), model.end_tokens, graphs=graphs)
        self._limits = Limits(slots=model.slots, rows=chunk + model.slots, chunk=chunk)
        self._overlap = model.device != "cpu" if overlap is None else overlap
        self._most = model.slots + waiting
        self._wake = threading.Condition()
        self._arrived: deque[Thought] = deque()
        self._live = 0
        """Thoughts that were admitted and have not ended."""
        self._arrivals = 0
        self._closed = False
        # From here on only the thread's.
        self._waiting: list[Thought] = []
        self._running: list[Thought] = []
        self._ledger = Ledger()
        self._outbox: list[tuple[Mailbox, Outcome]] = []
        self._urgent, self._flushed = False, 0.0
        self._counts = dict.fromkeys(("steps", "rows", "tokens", "latent_steps", "preempted", "reused"), 0)
        self._thread = threading.Thread(target=self._serve, name=f"model {self.name}", daemon=True)
        self._thread.start()

    # Admission, on the caller's loop

    async def generate(self, request: Request) -> AsyncGenerator[Item, None]:
        """See LanguageModel."""
        mailbox = Mailbox(request.deadline_s)
        self._enter()
        try:
            if _is_short(request):
                thought = self._admission.thought(request, mailbox)
            else:  # reading takes a while, which the loop does not have
                thought = await asyncio.to_thread(self._admission.thought, request, mailbox)
            self._submit(thought)
        except BaseException:
            self._leave(None)
            raise
        try:
            while True:
                outcome = await mailbox.next()
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
                if not isinstance(outcome, LatentStep | Piece):
                    return
        finally:
            mailbox.cancelled.set()
            # Whoever asks next is not to be refused for one that is leaving, however long its last step takes.
            self._leave(thought)

    def count_tokens(self, prompt: Prompt) -> int:
        """See LanguageModel. Takes the calling thread some microseconds for each word."""
        return self._admission.count_tokens(prompt)

    def text_of(self, state: ThoughtState) -> str:
        """See LanguageModel."""
        return self._admission.text_of(state)

    def close(self) -> None:
        """See LanguageModel. Waits for the thread, which ends after the step it is in: not on an event loop."""
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        self._thread.join()

    def stats(self) -> Stats:
        """Counts since the start, and what is held now."""
        return Stats(running=len(self._running), waiting=len(self._waiting) + len(self._arrived), **self._counts)

    def _enter(self) -> None:
        with self._wake:
            if self._closed:
                raise _closed(self.name)
            if self._live >= self._most:
                raise ResourceExhausted(
                    f"{self._live} Thoughts compute or wait in the language model {self.name} already; try again, or "
                    "raise the limit of waiting ones",
                    reason="ENGINE_BUSY",
                    retry_after_s=1.0,
                )
            self._live += 1

    def _leave(self, thought: Thought | None) -> None:
        """Gives a place back: once for each Thought, whether its caller leaves first or it ends first."""
        with self._wake:
            if thought is None or thought.counted:
                self._live -= 1
            if thought is not None:
                thought.counted = False

    def _submit(self, thought: Thought) -> None:
        with self._wake:
            if self._closed:
                raise _closed(self.name)
            self._arrivals += 1
            thought.id = self._arrivals
            self._arrived.append(thought)
            self._wake.notify_all()

    # Execution, on the model's thread

    def _serve(self) -> None:
        torch.set_num_threads(self._model.threads)
        launched: Step | None = None
        with torch.inference_mode():
            while self._collect(block=not (self._waiting or self._running or launched)):
                self._drop()
                step = self._step()
                if self._overlap:
                    launched, step = step, launched
                if step is not None:
                    self._read(step)
                self._flush()
        for thought in (*self._running, *self._waiting):
            self._fail(thought, _closed(self.name))
        with self._wake:
            for thought in self._arrived:
                self._tell(thought, _closed(self.name))
            self._arrived.clear()
        self._flush()

    def _collect(self, *, block: bool) -> bool:
        """Takes what has arrived; where there is nothing else to do, waits for it. False once closed."""
        if block and (left := self._runner.slots.owners()):
            logger.error("slots %s of %s are owned by nobody at work", sorted(left), self.name)
            for owner in left.values():
                assert isinstance(owner, Thought)
                self._runner.release(owner)
        with self._wake:
            while block and not self._arrived and not self._closed:
                self._wake.wait()
            self._waiting += self._arrived
            self._arrived.clear()
            return not self._closed

    def _drop(self) -> None:
        """Ends what nobody waits for any more, and what is late."""
        for thought in (*self._running, *self._waiting):
            if thought.mailbox.cancelled.is_set():
                self._end(thought)
            elif thought.mailbox.is_late():
                self._finish(thought, StopReason.WALL)

    def _step(self) -> Step | None:
        """Plans and launches one step; None where nothing can be computed."""
        self._ledger.keep([one.request.share for one in (*self._running, *self._waiting)])
        by_id = {one.id: one for one in (*self._running, *self._waiting)}
        plan = schedule(_entries(self._running), _entries(self._waiting), self._limits, self._ledger.served)
        for number in plan.preempted:
            self._preempt(by_id[number])
        for number in plan.admitted:
            self._admit(by_id[number])
        if plan.admitted:
            # How many of their rows are there already is known now.
            plan = schedule(_entries(self._running), (), self._limits, self._ledger.served)
        work = [(by_id[number], count) for number, count in plan.work]
        if not work:
            return None
        try:
            step = self._runner.run(work)
        except Exception as error:
            # A Thought may fail for reasons of its own (out of memory, a fault in a kernel); the others go on.
            logger.exception("a step of %s failed", self.name)
            for thought, _ in work:
                self._runner.release(thought, broken=True)
                self._fail(thought, error)
            return None
        for thought, count in work:
            self._ledger.note(thought.request.share, count)
        self._counts["steps"] += 1
        self._counts["rows"] += step.rows
        return step

    def _admit(self, thought: Thought) -> None:
        self._runner.admit(thought)
        self._waiting.remove(thought)
        self._running.append(thought)
        if thought.started is None:
            thought.started = time.monotonic()
            thought.reused = thought.computed
        self._counts["reused"] += thought.computed

    def _preempt(self, thought: Thought) -> None:
        self._runner.release(thought)
        self._running.remove(thought)
        self._waiting.append(thought)
        self._counts["preempted"] += 1

    def _read(self, step: Step) -> None:
        """What a step brought goes to those it is for. One that has ended since gets nothing."""
        thoughts, tokens = step.read()
        now = time.monotonic()
        for thought in step.outcomes:
            if thought.prefilled is None:
                thought.prefilled = now
        for thinking in thoughts:
            if self._sound(thinking.thought, thinking.norm):
                self._tell_step(thinking)
        for spoken in tokens:
            if self._sound(spoken.thought, spoken.logprob):
                self._tell_token(spoken)

    def _sound(self, thought: Thought, value: float) -> bool:
        """Whether a Thought goes on; one whose numbers are not finite fails here."""
        if thought.ended or math.isfinite(value):
            return not thought.ended
        self._runner.release(thought, broken=True)
        self._fail(thought, _not_finite(self.name, self.precision))
        return False

    def _tell_step(self, read: ReadThought) -> None:
        thought = read.thought
        if thought.thinking.mode is Mode.JACOBI:
            return  # its rounds have only begun; the steps are told when they stand
        nearest = self._candidates(thought, read.likeliest)
        self._tell(thought, LatentStep(thought.told, read.norm, read.entropy, nearest))
        thought.told += 1
        self._counts["latent_steps"] += 1

    def _tell_token(self, read: ReadToken) -> None:
        thought = read.thought
        self._tell_rest(thought)
        alternatives = self._candidates(thought, read.likeliest)
        piece, reason = thought.read(read.token, read.logprob, alternatives, self._model.end_tokens)
        self._counts["tokens"] += 1
        if piece is not None:
            self._tell(thought, piece)
        if reason is not None:
            self._finish(thought, reason)
        else:
            thought.held = False

    def _tell_rest(self, thought: Thought) -> None:
        """Latent steps that were taken all at once: pauses, and those of Jacobi rounds."""
        first = thought.latent_start + thought.before
        while thought.told < thought.latents - thought.before:
            row = thought.rows[first + thought.told]
            norm = float(row.tensor.norm()) if isinstance(row, Vector) else self._runner.norm_of(row)
            self._tell(thought, LatentStep(thought.told, norm))
            thought.told += 1
            self._counts["latent_steps"] += 1

    def _candidates(self, thought: Thought, likeliest: Sequence[tuple[int, float]]) -> tuple[Candidate, ...]:
        texts = self._model.encoder.pieces(token for token, _ in likeliest)
        if symbols := thought.prompt.symbols:
            texts = [symbols[token] or text for (token, _), text in zip(likeliest, texts, strict=True)]
        return tuple(Candidate(token, text, logprob) for (token, logprob), text in zip(likeliest, texts, strict=True))

    def _finish(self, thought: Thought, reason: StopReason) -> None:
        if text := thought.flush():
            self._tell(thought, Piece(text))
        self._tell(thought, thought.finished(reason, str(self._model.address)))
        self._end(thought)

    def _fail(self, thought: Thought, error: Exception) -> None:
        self._tell(thought, error)
        self._end(thought)

    def _end(self, thought: Thought) -> None:
        """Takes a Thought out, whatever it was at."""
        thought.ended = True
        self._runner.release(thought)
        for some in (self._running, self._waiting):
            if thought in some:
                some.remove(thought)
        self._leave(thought)

    def _tell(self, thought: Thought, outcome: Outcome) -> None:
        self._outbox.append((thought.mailbox, outcome))
        self._urgent = self._urgent or not isinstance(outcome, LatentStep | Piece)

    def _flush(self) -> None:
        now = time.monotonic()
        if self._outbox and (self._urgent or now - self._flushed >= _HAND_OVER_S):
            deliver(self._outbox)
            self._outbox, self._urgent, self._flushed = [], False, now


def _is_short(request: Request) -> bool:
    """Whether a request is read in less than a millisecond: then those who ask first are served first."""
    return isinstance(request.prompt, str) and len(request.prompt) <= _SHORT and request.constraint is None


def _entries(thoughts: Sequence[Thought]) -> list[Entry]:
    return [
        Entry(
            id=one.id,
            waiting=one.waiting,
            priority=one.request.priority,
            share=one.request.share,
            arrival=one.id,
            indivisible=one.indivisible,
        )
        for one in thoughts
    ]


def _closed(name: str) -> Unavailable:
    return Unavailable(f"the language model {name} is being unloaded; try again", reason="ENGINE_CLOSED")


def _not_finite(name: str, precision: str) -> FailedPrecondition:
    return FailedPrecondition(
        f"{name} came to numbers that are not finite, in {precision}; a thought may have grown without bound (give "
        "thinking.most_norm), or the model needs float32",
        reason="NOT_FINITE",
    )
