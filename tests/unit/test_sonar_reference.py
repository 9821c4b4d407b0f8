"""SONAR by this environment's transformers against what fairseq2 gave on the same checkpoints, in its own environment.

`make test-sonar` makes the checkpoints and the reference there, and runs these tests here. In a run of its own there is
no reference, and this file says that it is skipped; what needs none is tested by test_sonar_folders.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from core.models import ModelAddress
from perception.decoders.sonar import SonarDecoder
from perception.encoders.sonar import SonarEncoder
from perception.sonar.converting import convert

pytest.importorskip("transformers")

HANDED = os.environ.get("SAPIENCE_SONAR_HANDED", "")
pytestmark = pytest.mark.skipif(not HANDED, reason="fairseq2's reference is made by `make test-sonar`, which runs this")
LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn")


@pytest.fixture(scope="module")
def reference():
    numbers = np.load(Path(HANDED) / "reference.npz")
    return json.loads((Path(HANDED) / "reference.json").read_text()) | {name: numbers[name] for name in numbers.files}


@pytest.fixture(scope="module", params=["converted there", "converted here"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as both versions of transformers write them."""
    if request.param == "converted there":
        return Path(HANDED) / "converted"
    out, tiny = tmp_path_factory.mktemp("here"), Path(HANDED) / "tiny"
    convert(
        out, pieces=tiny / "pieces.model", encoder=tiny / "encoder.pt", decoder=tiny / "decoder.pt",
        languages=LANGUAGES, space=("tiny", "1"), licence="CC0-1.0", heads=4, max_tokens=128,
    )  # fmt: skip
    return out


def address(folder: Path) -> ModelAddress:
    return ModelAddress("file", str(folder.resolve()))


def test_vectors_agree_with_fairseq2(folder, reference):
    found = SonarEncoder(address(folder / "encoder"), device="cpu", threads=1).encode(reference["lines"])
    own = found.vectors * found.lengths[:, None]
    np.testing.assert_allclose(own, reference["vectors"][: len(own)], atol=1e-5, rtol=0)


def test_logits_and_texts_agree_with_fairseq2(folder, reference):
    decoder = SonarDecoder(address(folder / "decoder"), device="cpu", threads=1)
    for at, tokens in enumerate(reference["tokens"]):
        logits = decoder.logits(reference["vectors"][at], tokens)
        np.testing.assert_allclose(logits, reference[f"logits{at}"], atol=1e-4, rtol=0)
    for code in LANGUAGES:
        assert list(decoder.decode(reference["vectors"], language=code)) == reference["texts"][code]
