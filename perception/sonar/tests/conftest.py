"""Tiny checkpoints, made and trained once for a run. SAPIENCE_SONAR_HANDED names a folder that keeps them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

STEPS = 250


@pytest.fixture(scope="session")
def handed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the checkpoints and what fairseq2 made of them are left for the tests of the other environment."""
    named = os.environ.get("SAPIENCE_SONAR_HANDED")
    folder = Path(named) if named else tmp_path_factory.mktemp("handed")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def tiny(handed: Path):
    from perception.sonar.pipelines import _library  # libsndfile of the wheel, before fairseq2 asks for it

    _library("the tests")
    import tiny as making

    os.environ["FAIRSEQ2_USER_ASSET_DIR"] = str(handed / "tiny" / "assets")
    made = making.make(handed / "tiny")
    first = making.train(made, 1)
    assert making.train(made, STEPS) < first / 1.5
    return made
