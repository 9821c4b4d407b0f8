"""What importing a package may bring in: drivers and torch are loaded when used, and only there."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "transformers", "sentence_transformers", "neo4j", "qdrant_client", "qdrant_edge")


@pytest.mark.parametrize(
    "module",
    [
        "core.ports",
        "core.models",
        "memory.recall",
        "memory.indexing",
        "memory.temporal",
        "memory.record",
        "memory.index",
        "perception.segment",
        "perception.segment.patcher",
        "perception.encoders",
        "cognition.cycle",
        "cognition.engine",
        "cognition.latent.settings",
        "cognition.latent.tasks.catalog",
        "services.assembly",
        "services.cli.main",
    ],
)
def test_importing_brings_in_no_driver_and_no_torch(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("module", ["core.ports", "memory.recall", "perception.segment", "cognition.cycle"])
def test_packages_below_services_know_no_grpc(module: str) -> None:
    code = f"import sys, {module}; print('grpc' in sys.modules, 'sapience' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False False"
