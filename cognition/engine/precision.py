"""Which number format a CPU computes faster in, measured once and kept.

bfloat16 halves the memory that is read for each token and is much faster where the processor multiplies in it, and
much slower where that is emulated; no flag of the processor tells by how much. What is timed is what decoding and
prefill are made of: a matrix of weights times one row, and times 64.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from pathlib import Path
from typing import Literal

logger = logging.getLogger(__name__)

Precision = Literal["float32", "bfloat16"]

_SIZE = 2048
"""Rows and columns of the matrix: larger than a core's own cache, as a model's weights are."""
_ROUNDS = 8
_WORTH_IT = 0.8
"""float32 is the exact one, so bfloat16 must take less than this part of its time."""


def fastest_precision(cache_dir: Path) -> Precision:
    """Measures for some 100 ms at the first call on a machine, with torch's present number of threads.

    The choice is kept, since a choice that changed from start to start would change answers.
    """
    import torch

    setting = [platform.machine(), _processor(), torch.__version__, torch.get_num_threads(), os.cpu_count()]
    key = hashlib.sha256(json.dumps(setting).encode()).hexdigest()[:16]
    kept = cache_dir / "models" / f"precision-{key}.json"
    if kept.is_file():
        try:
            return "bfloat16" if json.loads(kept.read_text())["precision"] == "bfloat16" else "float32"
        except (ValueError, KeyError, TypeError) as error:
            logger.warning("%s is damaged (%s); measuring again", kept, error)
    seconds = _measure()
    chosen: Precision = "bfloat16" if seconds["bfloat16"] < _WORTH_IT * seconds["float32"] else "float32"
    logger.info("models compute in %s here; seconds measured: %s", chosen, seconds)
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        written = kept.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps({"precision": chosen, "seconds": seconds}))
        written.replace(kept)
    except OSError as error:
        logger.warning("%s could not be written (%s); the precision is measured at every start", kept, error)
    return chosen


def _measure() -> dict[str, float]:
    """Seconds for each format: the least of some rounds, taken in turn, since what else runs here only adds."""
    import torch

    weights = {name: torch.randn(_SIZE, _SIZE).to(getattr(torch, name)) for name in ("float32", "bfloat16")}
    least = dict.fromkeys(weights, 0.0)
    with torch.inference_mode():
        for rows in (1, 64):
            best = dict.fromkeys(weights, float("inf"))
            for _ in range(_ROUNDS):
                for name, weight in weights.items():
                    inputs = torch.ones(rows, _SIZE, dtype=weight.dtype)
                    started = time.perf_counter()
                    torch.nn.functional.linear(inputs, weight)
                    best[name] = min(best[name], time.perf_counter() - started)
            for name in weights:
                least[name] += best[name]
    return least


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
