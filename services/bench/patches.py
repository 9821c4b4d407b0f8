"""What patches cost and how they come out: thresholds calibrated on one half of a text, figures of the other half.

The text is dealt out in blocks by the seed. The byte model is that of the settings (`SAPIENCE_BYTE_MODEL`), on one
thread.

    bytes_per_patch            mean bytes of a patch on the half held out, global rule; wanted are 4.5
    bytes_per_patch_RULE       the same of each rule
    us_per_byte                microseconds a byte, entropies and cutting, of held-out text repeated to 1 MiB
    us_per_byte_stream         the same where it comes in pieces of 256 bytes
    lossless                   1 where every patch put together is what was cut, of all that follows
    batch_differences          streams whose patches differ beside others, or in pieces: 0
    entropy_at_start           mean entropy of first bytes, in nats, global rule; of all bytes `entropy`

What has to be lossless: the text, random bytes, all 256 values, half a character, 10 MB of one line; each rule.

Peers: transformers' BltPatcher with random weights (272 thousand, as a trained one would take as long), and two ways
to cut that look at no entropies: every so many bytes, and after spaces. They say what entropy their patches begin with.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.errors import InvalidArgument
from core.models import ModelAddress
from perception.segment import patcher
from perception.segment.calibrating import MEAN, bytes_per_patch, calibrate
from perception.segment.entropy import ByteModel, Float32
from perception.segment.patches import Cut, PatchStream, Rule, patch, patch_all
from perception.segment.training import dealt
from services.bench.report import Report, versions
from services.runtime.settings import load

TIMED_BYTES = 1 << 20
PEER_BYTES = 8192
PIECE = 256
REPEATS = 3


def run(files: Sequence[Path], seed: int) -> Report:
    """Measures on the text of some files. Raises InvalidArgument where they have less than some 2 KB."""
    settings = load()
    if not settings.byte_model:
        raise InvalidArgument("SAPIENCE_BYTE_MODEL is empty; name a byte model", field="SAPIENCE_BYTE_MODEL")
    address = ModelAddress.parse(settings.byte_model, field="SAPIENCE_BYTE_MODEL")
    model = patcher.load(address, device="cpu", threads=1).model
    known, held_out = dealt([file.read_bytes() for file in files], seed, (0.5, 0.5))
    calibration = calibrate(model.entropies_of(known))
    corpus = model.entropies_of(held_out)
    cuts = {rule: Cut(rule, calibration.thresholds(rule, MEAN)) for rule in Rule}
    means = {rule: bytes_per_patch(corpus, how) for rule, how in cuts.items()}

    text = b"".join(held_out)
    timed = (text * (TIMED_BYTES // len(text) + 1))[:TIMED_BYTES]
    first = cuts[Rule.GLOBAL]
    per_byte = _us(lambda: patch(model, timed, first), len(timed))
    whole, entropies = patch(model, text, first), model.entropies(text)
    peer_us = _blt_us(timed[:PEER_BYTES])
    figures = {
        "bytes_per_patch": means[Rule.GLOBAL],
        **{f"bytes_per_patch_{rule}": mean for rule, mean in means.items()},
        "us_per_byte": per_byte,
        "us_per_byte_stream": _us(lambda: _streamed(model, timed, first), len(timed)),
        "lossless": float(_lossless(model, text, cuts, seed)),
        "batch_differences": float(sum(_differences(model, held_out, how) for how in cuts.values())),
        "entropy": float(entropies.mean()),
        "entropy_at_start": float(whole.entropies.mean()),
        "blt_over_ngram": peer_us / per_byte,
    }
    peers = {
        "BltPatcher of transformers, 272 thousand random weights": {"us_per_byte": peer_us},
        "every 4 or 5 bytes": _at(np.arange(0, len(text), 9)[:, None] + [0, 4], entropies),
        "after spaces": _at(1 + np.flatnonzero(np.frombuffer(text, np.uint8) == ord(" ")), entropies),
    }
    return Report(
        "patches",
        seed,
        figures,
        peers,
        {"byte_model": settings.byte_model, "bytes": sum(map(len, known)) + len(text), "wanted": MEAN},
        versions("numpy", "transformers"),
    )


def _us(work: Callable[[], object], size: int) -> float:
    """Microseconds a byte of processor time, the least of a few runs: what else the machine does only adds."""
    taken = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken) / size * 1e6


def _streamed(model: ByteModel, data: bytes, how: Cut) -> list[bytes]:
    stream: PatchStream[int] = PatchStream(model, how)
    found = []
    for start in range(0, len(data), PIECE):
        found += stream.feed(data[start : start + PIECE], start)
    return [one.data for one in found + stream.end()]


def _lossless(model: ByteModel, text: bytes, cuts: dict[Rule, Cut], seed: int) -> bool:
    line = b"ten megabytes of one line "
    streams = [
        text, random.Random(seed).randbytes(100_000), bytes(range(256)), "語".encode()[:2], b"",
        (line * (10_000_000 // len(line) + 1))[:10_000_000],
    ]  # fmt: skip
    return all(b"".join(patch(model, data, how).of(data)) == data for data in streams for how in cuts.values())


def _differences(model: ByteModel, streams: Sequence[bytes], how: Cut) -> int:
    alone = [list(patch(model, data, how).of(data)) for data in streams]
    beside = [list(found.of(data)) for found, data in zip(patch_all(model, streams, how), streams, strict=True)]
    pieces = [_streamed(model, data, how) for data in streams]
    return sum(one != other or one != third for one, other, third in zip(alone, beside, pieces, strict=True))


def _at(starts: npt.NDArray[Any], entropies: Float32) -> dict[str, float]:
    """What patches that begin at these bytes, and at the first, are like."""
    places = np.unique(np.append(starts.reshape(-1), 0))
    places = places[places < len(entropies)]
    return {"bytes_per_patch": len(entropies) / len(places), "entropy_at_start": float(entropies[places].mean())}


def _blt_us(data: bytes) -> float:
    """What transformers' patcher takes for a byte, in windows of 512 with a batch of 1, on one thread."""
    import torch
    from transformers.models.blt.configuration_blt import BltPatcherConfig
    from transformers.models.blt.modeling_blt import BltPatcher

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = BltPatcherConfig(hidden_size=96, num_hidden_layers=2, num_attention_heads=4, intermediate_size=256)
    model: Any = BltPatcher(config)
    model.eval()
    rows = torch.tensor([[4 + byte for byte in data]]).reshape(-1, 512)

    def work() -> None:
        with torch.inference_mode():
            for row in rows:
                model(input_ids=row[None], patch_size=1, threshold=1.335)

    work()
    return _us(work, len(data))
