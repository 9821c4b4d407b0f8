"""Audio files into samples: any rate, any number of channels, as blocks of mono float32 at 16 kHz.

libsndfile decodes (soundfile, its wheel brings it): WAV, FLAC, OGG with Vorbis or Opus, MP3. A file is read block by
block, so that an hour takes no more memory than a minute. Channels are averaged. What it does not do: containers of
video, AAC, raw samples without a header.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from core.errors import InvalidArgument
from core.nouns import Float32

RATE = 16_000
"""Samples a second of everything above this module."""
BLOCK_S = 10.0
"""Seconds that are decoded at once."""
_RATES = (1_000, 384_000)
_MOST_CHANNELS = 32
_MOST_CHUNKS = 1_000
"""Of a WAV file before its samples: more are no sound, but somebody who wants us to be busy."""
_STREAMED = (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000)
"""Sizes that programs write who do not know how long a WAV file will be."""
_PAGE_HEAD, _MOST_PAGE = 27, 65_307
"""Bytes of an OGG page's head, which ends with how many segments it has, and of all of it at most."""
_ZEROS = 24
"""Zero crossings of the filter on each side of its middle."""
_BETA = 9.0
"""Of the Kaiser window: 90 dB of attenuation where the filter stops."""
_PASS = 0.95
"""The share of the band that is kept; the filter falls over the rest."""


class Resampler:
    """Samples of one rate as samples of another, block after block, by a polyphase windowed-sinc filter.

    The rates' ratio in lowest terms is up / down; a filter for the lower of both bands runs on the signal with up - 1
    zeros between its samples, and every down-th result is computed (Smith, "Digital Audio Resampling"; scipy.signal
    upfirdn). Blocks join without a seam: the result is that of the whole signal, with silence before and after it.
    """

    def __init__(self, rate: int, target: int = RATE) -> None:
        divisor = math.gcd(rate, target)
        self._up, self._down = target // divisor, rate // divisor
        widest = max(self._up, self._down)
        self._half = _ZEROS * widest
        places = np.arange(-self._half, self._half + 1) / widest
        window = np.kaiser(2 * self._half + 1, _BETA)
        taps = np.sinc(places * _PASS) * window
        self._taps = (taps * (self._up / taps.sum())).astype(np.float32)
        self._reach = -(-self._half // self._up)
        """Input samples on each side of a result that bear on it."""
        self._held = np.zeros(self._reach, np.float32)
        self._begin = -self._reach
        """The input sample that `_held` begins with."""
        self._next = 0
        """The next result."""
        self._taken = 0

    def push(self, block: Float32) -> Float32:
        """The results that this block completes."""
        if self._up == self._down:
            return block
        self._taken += len(block)
        self._held = np.concatenate([self._held, block])
        return self._results(((self._taken - self._reach - 1) * self._up) // self._down + 1)

    def finish(self) -> Float32:
        """The last results: those of the signal's end."""
        if self._up == self._down:
            return np.zeros(0, np.float32)
        self._held = np.concatenate([self._held, np.zeros(2 * self._reach + 1, np.float32)])
        return self._results(-(-self._taken * self._up // self._down))

    def _results(self, end: int) -> Float32:
        """Results from `_next` to `end`; lets go of the input that no later one needs."""
        count = end - self._next
        if count <= 0:
            return np.zeros(0, np.float32)
        from scipy.signal import upfirdn

        # A result at place p of the stretched signal is at p + half in what upfirdn gives of it. So that every down-th
        # is one of ours, zeros are put before.
        offset = self._next * self._down - self._begin * self._up + self._half
        skipped, lead = divmod(-offset % self._down + offset, self._down)[0], -offset % self._down
        whole = upfirdn(np.concatenate([np.zeros(lead, np.float32), self._taps]), self._held, self._up, self._down)
        results: Float32 = whole[skipped : skipped + count].astype(np.float32)
        self._next = end
        keep = (self._next * self._down) // self._up - self._reach
        if (gone := keep - self._begin) > 0:
            self._held = self._held[gone:]
            self._begin = keep
        return results


def duration_s(file: BinaryIO) -> float:
    """How long the audio is by its header; 0 where that does not say. Raises as `blocks`."""
    with _opened(file) as sound:
        return float(sound.frames / sound.samplerate) if 0 < sound.frames < 2**62 else 0.0


def blocks(file: BinaryIO) -> Iterator[Float32]:
    """The audio from its beginning, as blocks of mono samples at 16 kHz.

    Raises InvalidArgument (BAD_AUDIO) for what libsndfile cannot read, for a header that promises more than there is,
    and for samples that are no numbers.
    """
    with _opened(file) as sound:
        rate, promised, taken = int(sound.samplerate), int(sound.frames), 0
        resampler = Resampler(rate)
        while True:
            try:
                block = sound.read(int(BLOCK_S * rate), dtype="float32", always_2d=True)
            except Exception as error:  # libsndfile's own, whatever a broken file makes of it
                raise _broken(f"breaks off after {taken / rate:.1f} s ({error})") from error
            if not len(block):
                break
            taken += len(block)
            mono: Float32 = block.mean(axis=1, dtype=np.float32)
            if not np.isfinite(mono).all():
                raise _broken(f"holds samples that are no numbers, before {taken / rate:.1f} s")
            yield resampler.push(np.clip(mono, -8.0, 8.0))
        # Of a compressed file the length is often an estimate, and off by a frame of the codec or a few.
        if promised < 2**62 and taken < promised - rate:
            raise _broken(f"is cut off: its header promises {promised / rate:.1f} s, it has {taken / rate:.1f} s")
        yield resampler.finish()


def _opened(file: BinaryIO) -> Any:
    import soundfile

    size = file.seek(0, 2)
    _check_wav(file, size)
    _check_ogg(file, size)
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except Exception as error:  # LibsndfileError, whose text names the object we gave it, and what else a header makes
        raise _broken(f"cannot be decoded: {getattr(error, 'error_string', error)}") from error
    if not _RATES[0] <= sound.samplerate <= _RATES[1] or not 1 <= sound.channels <= _MOST_CHANNELS:
        told = f"{sound.channels} channels of {sound.samplerate} samples a second"
        sound.close()
        raise _broken(f"has {told}; 1 to {_MOST_CHANNELS} of {_RATES[0]} to {_RATES[1]} are heard")
    return sound


def _check_wav(file: BinaryIO, size: int) -> None:
    """Refuses a WAV file that is shorter than its header says: libsndfile takes what there is and tells nobody.

    A size of all ones is that of a file that was streamed, and means up to the end; one of 64 bits (RF64) stands in a
    chunk of its own.
    """
    file.seek(0)
    if file.read(4) not in (b"RIFF", b"RF64"):
        return
    file.seek(12)
    promised: int | None = None
    for _ in range(_MOST_CHUNKS):
        if len(head := file.read(8)) < 8:
            return
        length = int.from_bytes(head[4:], "little")
        begin = file.tell()
        if head[:4] == b"ds64":
            promised = int.from_bytes(file.read(16)[8:], "little")
        elif head[:4] == b"data":
            if promised is not None and length == _STREAMED[0]:
                length = promised
            if length not in _STREAMED and begin + length > size + 1:
                raise _broken(f"is cut off: its header promises {length} bytes of samples, it has {size - begin}")
            if not length and not _is_chunk(file.read(8), size - begin):
                raise _broken(f"was streamed: its header promises no samples, and {size - begin} bytes follow")
            return
        file.seek(begin + length + length % 2)
    raise _broken(f"has {_MOST_CHUNKS} chunks before its samples")


def _is_chunk(head: bytes, left: int) -> bool:
    """Whether these are the first bytes of a chunk, with so many bytes left for it, or nothing is left."""
    return not left or (
        len(head) == 8 and head[:4].rstrip().isalnum() and int.from_bytes(head[4:], "little") <= left - 8
    )


def _check_ogg(file: BinaryIO, size: int) -> None:
    """Refuses an OGG file whose last page is not whole (RFC 3533): libsndfile hears what there is and tells nobody.

    Whether that page says that it is the last is not asked: some programs that record voices never say so.
    """
    file.seek(0)
    if file.read(4) != b"OggS":
        return
    file.seek(max(0, size - 2 * _MOST_PAGE))
    end = file.read()
    page = end[end.rfind(b"OggS\0") :]
    segments = page[_PAGE_HEAD : _PAGE_HEAD + page[_PAGE_HEAD - 1]] if len(page) >= _PAGE_HEAD else b""
    if not segments or len(page) < _PAGE_HEAD + len(segments) + sum(segments):
        raise _broken("is cut off: its last page is not whole")


def _broken(what: str) -> InvalidArgument:
    return InvalidArgument(
        f"the audio {what}; check that the file plays and is whole, or convert it to WAV or FLAC",
        field="data",
        reason="BAD_AUDIO",
    )
