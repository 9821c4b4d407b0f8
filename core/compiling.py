"""C sources of ours, compiled once for the processor that they run on: an option, never a need.

What has none falls back to what it does without: no compiler and a failed compilation are told in the log, not raised.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from core.processor import processor

logger = logging.getLogger(__name__)

_COMPILE_S = 120


def library(source: Path, flags: tuple[str, ...], cache_dir: Path) -> Path | None:
    """The shared library of a source, kept under `cache_dir`; None where it cannot be compiled.

    OpenMP is used where the compiler has it. Another source, other flags or another processor make another library.
    """
    told = hashlib.sha256(source.read_bytes() + " ".join(flags).encode() + processor().encode()).hexdigest()[:16]
    made = cache_dir / "native" / f"{source.parent.name}-{told}.so"
    try:
        return made if made.is_file() or _compiled(source, flags, made) else None
    except OSError as error:
        logger.warning("%s cannot be compiled and is not used: %s", source.name, error)
        return None


def _compiled(source: Path, flags: tuple[str, ...], library: Path) -> bool:
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        logger.info("no C compiler is here: %s is not used", source.name)
        return False
    library.parent.mkdir(parents=True, exist_ok=True)
    descriptor, made = tempfile.mkstemp(dir=library.parent, suffix=".so")
    os.close(descriptor)
    try:
        for threads in (["-fopenmp"], []):
            command = [compiler, *flags, "-shared", "-fPIC", *threads, str(source), "-o", made, "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_S, check=False)
            if done.returncode == 0:
                os.replace(made, library)
                return True
        logger.info("%s does not compile here and is not used: %s", source, done.stderr[-500:])
    except subprocess.TimeoutExpired:
        logger.info("%s took more than %d s to compile and is not used", source, _COMPILE_S)
    finally:
        Path(made).unlink(missing_ok=True)
    return False
