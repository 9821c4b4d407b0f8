"""Which decoder is behind an address: the scheme, or what its folder holds, says it.

Imports no torch; loading one does.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Literal

from core.errors import FailedPrecondition
from core.models import ModelAddress, locate
from perception.codec import is_codec
from perception.decoders.base import Decoder
from perception.sonar.folder import is_sonar


def loaded(
    address: ModelAddress,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int | None = None,
    accepted: Set[str] = frozenset(),
) -> Decoder:
    """Loads a decoder: seconds, so call it on a thread. `accepted` are the licences that bar a use and are accepted.

    Raises what `core.models.locate` raises, and FailedPrecondition (MODEL_LOAD_FAILED, LICENCE_NOT_ACCEPTED,
    DEVICE_UNAVAILABLE).
    """
    if address.scheme == "sonar":
        from perception.sonar import pipelines

        return pipelines.decoder(address, device=device, threads=threads, accepted=accepted)
    folder = locate(address)
    if is_sonar(folder, "decoder"):
        from perception.decoders.sonar import SonarDecoder

        return SonarDecoder(address, device=device, threads=threads, accepted=accepted)
    if is_codec(folder):
        from perception.codec.codec import ConceptCodec

        return ConceptCodec(address, device=device, threads=threads)
    raise FailedPrecondition(
        f"{address}: {folder} holds no decoder that is known here; name the folder of one", reason="MODEL_LOAD_FAILED"
    )
