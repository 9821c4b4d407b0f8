"""A record on each backend for every test that asks for one: empty, with two namespaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from record_backends import PLACES, Bench, Place

from core.ports import Record


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Where a record may be opened; it holds nothing."""
    made: Place = request.param(tmp_path)
    made.clear()
    return made


@pytest.fixture
def bench(place: Place) -> Iterator[Bench]:
    """A record with its clock, and with the namespaces "a" and "b"."""
    made = Bench(place)
    made.record.create_namespace("a")
    made.record.create_namespace("b")
    yield made
    made.record.close()


@pytest.fixture
def record(bench: Bench) -> Record:
    """The record of `bench`."""
    return bench.record
