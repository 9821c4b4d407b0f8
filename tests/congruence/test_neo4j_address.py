"""What only a server can do: not be there."""

from __future__ import annotations

import pytest
from record_backends import (
    T0,
    refused,
)

from core.clock import ManualClock
from core.errors import FailedPrecondition, Unavailable
from core.ids import RandomIds
from memory.record.neo4j import Neo4jRecord


def test_a_server_that_is_not_there_is_unavailable() -> None:
    clock = ManualClock(T0)
    given = ("bolt://127.0.0.1:1", "neo4j", "secret", "", clock, RandomIds(clock, 1))
    error = refused(Unavailable, "STORE_UNAVAILABLE", Neo4jRecord, *given)
    assert "bolt://127.0.0.1:1" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize("address", ["", "localhost:7687", "http://localhost:7687"])
def test_an_address_of_no_server_is_refused(address: str) -> None:
    clock = ManualClock(T0)
    refused(FailedPrecondition, "STORE_ADDRESS", lambda: Neo4jRecord(address, "", "", "", clock, RandomIds(clock, 1)))
