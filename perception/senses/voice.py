"""Where somebody speaks: audio into windows of speech, by Silero's voice detector.

The detector (Silero VAD 6, MIT, the ONNX file in the wheel silero-vad) gives every 32 ms a probability of speech.
A window begins a little before it and ends where nobody has spoken for a while, or where it would be longer than a
transcriber takes: then in the longest pause of its second half. So silence and noise reach no transcriber, which would
make up words for them, and memory does not grow with the length of the audio. It tells no speakers apart.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import FailedPrecondition
from core.nouns import Float32
from perception.senses.audio import RATE
from perception.senses.weights import Weights

DETECTOR = Weights(
    "silero-vad",
    "silero_vad/data/silero_vad_16k_sequence.onnx",
    "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
    "MIT",
)

FRAME = 512
"""Samples of a frame: what the detector takes at once at 16 kHz."""
_CONTEXT = 64
"""Samples of the frame before that it takes with it."""


@dataclass(frozen=True, slots=True)
class Windows:
    """What a window of speech is."""

    begins: float = 0.5
    """The probability from which somebody speaks; Silero's default."""
    ends: float = 0.35
    """The probability below which nobody does any more; Silero's default."""
    pause_s: float = 2.0
    """So long a silence ends a window."""
    pad_s: float = 0.4
    """What is kept before and after speech: words begin softly."""
    most_s: float = 28.0
    """The longest window; Whisper takes 30 s."""
    least_s: float = 0.1
    """Less speech than this is a click."""


@dataclass(frozen=True, slots=True)
class Window:
    """Samples in which somebody speaks."""

    samples: Float32
    """At 16 kHz."""
    start_s: float
    """When it begins in the audio."""
    follows: bool
    """Whether it goes on where the one before was cut, with no pause."""


class VoiceDetector:
    """The detector, in the memory of this process. What it remembers of one audio is in `_Listening`, not in it."""

    licence = DETECTOR.licence

    def __init__(self) -> None:
        """Loads it: a few tens of milliseconds. Raises what `Weights.path` raises."""
        self._session = onnx_session(str(DETECTOR.path()), 1)

    def windows(self, blocks: Iterable[Float32], wanted: Windows = Windows()) -> Iterator[Window]:
        """The windows of speech in some audio, in order."""
        cutter = _Cutter(wanted)
        listening = _Listening(self._session)
        rest = np.zeros(0, np.float32)
        for block in blocks:
            rest = np.concatenate([rest, block])
            whole = len(rest) - len(rest) % FRAME
            yield from _cut(cutter, listening, rest[:whole])
            rest = rest[whole:]
        if len(rest):
            yield from _cut(cutter, listening, np.concatenate([rest, np.zeros(FRAME - len(rest), np.float32)]))
        yield from cutter.finish()


def _cut(cutter: _Cutter, listening: _Listening, samples: Float32) -> Iterator[Window]:
    frames = samples.reshape(-1, FRAME)
    for frame, probability in zip(frames, listening.probabilities(frames), strict=True):
        yield from cutter.push(frame, probability)


class _Listening:
    """The detector at work on one audio: its recurrent state, and the last samples of the frame before."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._hidden = self._cell = np.zeros((1, 1, 128), np.float32)
        self._last = np.zeros(_CONTEXT, np.float32)

    def probabilities(self, frames: Float32) -> list[float]:
        """Of speech in each of the next frames [frames, 512]."""
        if not len(frames):
            return []
        ends = np.concatenate([self._last[None], frames[:-1, -_CONTEXT:]])
        given = {"input": np.concatenate([ends, frames], axis=1), "h": self._hidden, "c": self._cell}
        told, self._hidden, self._cell = self._session.run(None, given)
        self._last = frames[-1, -_CONTEXT:]
        found: list[float] = told.tolist()
        return found


class _Cutter:
    """Frames with their probabilities into windows."""

    def __init__(self, wanted: Windows) -> None:
        per_second = RATE / FRAME
        self._wanted = wanted
        self._pad = round(wanted.pad_s * per_second)
        self._pause = round(wanted.pause_s * per_second)
        self._most = int(wanted.most_s * per_second)
        self._least = wanted.least_s * per_second
        self._before: deque[Float32] = deque(maxlen=self._pad)
        """The last frames in which nobody spoke."""
        self._frames: list[Float32] = []
        """Those of the window, from its beginning."""
        self._probabilities: list[float] = []
        self._speaking = False
        self._silent = 0
        """How many frames nobody has spoken for."""
        self._spoken = 0
        self._at = 0
        """The next frame."""
        self._follows = False

    def push(self, frame: Float32, probability: float) -> Iterator[Window]:
        self._at += 1
        if not self._frames:
            if probability < self._wanted.begins:
                self._before.append(frame)
                return
            self._frames = list(self._before)
            self._probabilities = [0.0] * len(self._before)
            self._before.clear()
            self._speaking, self._silent, self._spoken, self._follows = True, 0, 0, False
        self._frames.append(frame)
        self._probabilities.append(probability)
        if probability >= self._wanted.begins or (self._speaking and probability >= self._wanted.ends):
            self._speaking, self._silent = True, 0
            self._spoken += 1
        else:
            self._speaking = False
            self._silent += 1
        if self._silent >= self._pause:
            yield from self._end()
        elif len(self._frames) >= self._most:
            yield from self._cut()

    def finish(self) -> Iterator[Window]:
        """The last window, where the audio ends in speech."""
        if self._frames:
            yield from self._end()

    def _end(self) -> Iterator[Window]:
        """The window up to a little after its last speech; what comes after is before the next one."""
        end = len(self._frames) - max(self._silent - self._pad, 0)
        yield from self._made(end)
        self._before.extend(self._frames[end:])
        self._frames, self._probabilities = [], []

    def _cut(self) -> Iterator[Window]:
        """The window up to the middle of the longest pause of its second half, else where speech is least likely."""
        end = _quietest(self._probabilities, len(self._frames) // 2, self._wanted.ends)
        rest, probabilities = self._frames[end:], self._probabilities[end:]
        yield from self._made(end)
        self._frames, self._probabilities = rest, probabilities
        self._spoken = sum(one >= self._wanted.begins for one in probabilities)
        self._follows = True
        if not self._spoken and not self._speaking:
            self._before.extend(self._frames)
            self._frames, self._probabilities, self._follows = [], [], False

    def _made(self, end: int) -> Iterator[Window]:
        if self._spoken >= self._least and end > 0:
            start = self._at - len(self._frames)
            yield Window(np.concatenate(self._frames[:end]), start * FRAME / RATE, self._follows)


def _quietest(probabilities: list[float], begin: int, ends: float) -> int:
    """Where to cut: the middle of the longest run below `ends` from `begin` on, else the least of a few neighbours."""
    best, length, run = 0, 0, 0
    for place in range(begin, len(probabilities)):
        run = run + 1 if probabilities[place] < ends else 0
        if run > length:
            best, length = place - run // 2 + 1, run
    if length:
        return best
    smooth = np.convolve(probabilities, np.ones(5) / 5, mode="same")
    return begin + int(smooth[begin:-2].argmin())


def onnx_session(path: str, threads: int) -> Any:
    """An ONNX file on the CPU, with so many threads. Raises FailedPrecondition (MODEL_LOAD_FAILED)."""
    try:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever a broken file makes of onnxruntime, and its absence
        raise FailedPrecondition(
            f"{path} cannot be loaded by onnxruntime ({type(error).__name__}: {error}); install sapience[senses] again",
            reason="MODEL_LOAD_FAILED",
        ) from error
    return session
