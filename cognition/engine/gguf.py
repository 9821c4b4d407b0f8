"""GGUF files, converted once to the Hugging Face layout and kept.

Reading a GGUF file means unpacking its quantised weights, some 20 s for 135M parameters. So it happens once: weights
(float32, which holds every quantised value exactly), tokenizer and chat template are written to a folder of the cache,
named after the file's content. A folder that exists is whole: it is written elsewhere on the same disk, synced, and
renamed; a file lock keeps two processes from doing the same work.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import FailedPrecondition
from core.loading import alone
from core.models import fingerprint

logger = logging.getLogger(__name__)


def converted(gguf: Path, cache_dir: Path) -> Path:
    """The folder with the converted model; converts it first if need be.

    Raises FailedPrecondition (MODEL_LOAD_FAILED) for a file that transformers cannot read, and (MODEL_CACHE_UNUSABLE)
    when the cache cannot be written.
    """
    models = cache_dir / "models"
    folder = models / f"{gguf.stem}-{fingerprint([gguf])}"
    if folder.is_dir():
        return folder
    try:
        models.mkdir(parents=True, exist_ok=True)
        with _locked(models / f"{folder.name}.lock"):
            if not folder.is_dir():
                _convert(gguf, folder)
    except OSError as error:
        raise FailedPrecondition(
            f"the weights of {gguf.name} could not be kept in {models} ({error}); it must be writable, with about "
            f"{gguf.stat().st_size * 6 >> 20} MiB free",
            reason="MODEL_CACHE_UNUSABLE",
        ) from error
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits for the lock of the whole machine; it goes with the process that holds it, however that ends."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert(gguf: Path, folder: Path) -> None:
    logger.info("converting %s once, which takes some 20 s for each 100 million parameters", gguf.name)
    started = time.monotonic()
    # What a process left behind that was killed here; we hold the lock, so nobody is writing it.
    for left in folder.parent.glob(f".{folder.name}.*"):
        shutil.rmtree(left)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(gguf, work)
        for file in work.iterdir():
            _sync(file)
        _sync(work)
        work.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    logger.info("converted %s in %.1f s", gguf.name, time.monotonic() - started)


def _write(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
        model: Any = alone(
            AutoModelForCausalLM.from_pretrained,
            gguf.parent,
            gguf_file=gguf.name,
            dtype=torch.float32,
            local_files_only=True,
        )
    except OSError:
        raise
    except Exception as error:  # whatever an unknown architecture or a cut file makes of the libraries below
        raise FailedPrecondition(
            f"{gguf} could not be read as a language model ({error}); check that it is whole and that transformers "
            "supports its architecture",
            reason="MODEL_LOAD_FAILED",
        ) from error
    # The weights are unpacked, but the model still says that they are quantised and then refuses to be saved.
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
