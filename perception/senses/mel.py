"""What Whisper hears: the logarithm of a mel spectrogram (Radford et al. 2022, arXiv 2212.04356, section 2.2).

The same numbers as WhisperFeatureExtractor of transformers to 1e-4, which a test holds, without importing it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from core.nouns import Float32, Float64
from perception.senses.audio import RATE

WINDOW_S = 30
"""Seconds that Whisper takes at once; what is shorter is filled up with silence."""
HOP = 160
"""Samples from one frame to the next: 10 ms."""
_FFT = 400
"""Samples of a frame: 25 ms."""


def log_mel(samples: Float32, bands: int = 80) -> Float32:
    """Shape [bands, 3000] of at most 30 s at 16 kHz."""
    count = WINDOW_S * RATE
    padded = np.zeros(count, np.float32)
    padded[: min(len(samples), count)] = samples[:count]
    wide = np.pad(padded, _FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(wide, _FFT)[:-1:HOP]
    window = np.hanning(_FFT + 1)[:-1].astype(np.float32)
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    mel = np.log10(np.maximum(_filters(bands) @ power.T, 1e-10))
    result: Float32 = ((np.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0).astype(np.float32)
    return result


@lru_cache(maxsize=4)
def _filters(bands: int) -> Float64:
    """Triangles on Slaney's mel scale, each of unit area: shape [bands, 201]."""
    edges = _hertz(np.linspace(0.0, _mel_of_8000(), bands + 2))
    bins = np.linspace(0, RATE / 2, _FFT // 2 + 1)
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    area: Float64 = 2.0 / (edges[2:] - edges[:-2])
    filters: Float64 = np.maximum(0.0, np.minimum(rising, falling)) * area[:, None]
    return filters


def _mel_of_8000() -> float:
    return float(15.0 + np.log(8.0) * 27.0 / np.log(6.4))


def _hertz(mel: Float64) -> Float64:
    """Linear up to 1 kHz (15 mel), then logarithmic."""
    hertz: Float64 = np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp(np.log(6.4) / 27.0 * (mel - 15.0)))
    return hertz
