"""What a Neo4j server did for each statement of the record: its operators, and how much of the store they touched.

A statement runs as it is, with PROFILE before it, in the transaction that issued it. So what is judged is the plan that
the server chose for these very parameters at that moment, and the rows that it really read.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, LiteralString, cast

import neo4j
import pytest

from memory.record.transaction import Transaction

SCANS = re.compile(r"Scan$|Scan\(")
"""AllNodesScan, NodeByLabelScan, NodeIndexScan, DirectedRelationshipTypeScan and all of their kin."""
_PREFIX_ONLY = re.compile(r"WHERE namespace = \S+(?: AND \w+ IS NOT NULL)+(?:, cache\[.*)?$")


def members(protocol: type) -> frozenset[str]:
    """What a protocol asks for, with those that it is made of."""
    made_of = [one for one in protocol.__mro__ if one.__module__ not in ("builtins", "typing")]
    return frozenset(name for one in made_of for name in vars(one) if not name.startswith("_"))


_STEPS = members(Transaction)


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a plan, and what it did."""

    kind: str
    details: str
    hits: int
    children: tuple[Operator, ...]

    def all(self) -> Iterator[Operator]:
        """It and everything below."""
        yield self
        for child in self.children:
            yield from child.all()

    def faults(self) -> Iterator[str]:
        """What of the plan reads more than what was asked for."""
        for one in self.all():
            if SCANS.search(one.kind):
                yield f"{one.kind} {one.details}"
            elif "IndexSeek" in one.kind and _PREFIX_ONLY.search(one.details):
                yield f"a whole namespace: {one.kind} {one.details}"
            elif one.kind == "CartesianProduct" and not all(map(_finds_at_most_one, one.children)):
                yield "CartesianProduct of sides that are not found by a unique index"


def _finds_at_most_one(operator: Operator) -> bool:
    leaves = [one for one in operator.all() if not one.children]
    return all("Unique" in one.kind or one.kind == "Argument" for one in leaves)


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that ran: the call of the record that it served, the step of its transaction, its text, its plan."""

    call: str
    step: str
    query: str
    plan: Operator

    @property
    def hits(self) -> int:
        """How many records of the store it touched."""
        return sum(one.hits for one in self.plan.all())


class Profiler:
    """Catches what managed transactions run while it `watches`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._call: str | None = None
        self.caught: list[Statement] = []
        bare = neo4j.ManagedTransaction.run

        def run(
            tx: neo4j.ManagedTransaction, query: str, parameters: Mapping[str, Any] | None = None
        ) -> neo4j.Result | _Read:
            if self._call is None:
                return bare(tx, cast(LiteralString, query), dict(parameters or {}))
            result = bare(tx, cast(LiteralString, f"PROFILE {query}"), dict(parameters or {}))
            rows = list(result)
            summary = result.consume()
            assert summary.profile is not None
            plan = _operator(summary.profile)
            self.caught.append(Statement(self._call, _step(sys._getframe(1)), " ".join(query.split()), plan))
            return _Read(rows, summary)

        monkeypatch.setattr(neo4j.ManagedTransaction, "run", run)

    @contextmanager
    def watches(self, call: str) -> Iterator[None]:
        """Catches what runs within, as the work of that call."""
        self._call = call
        try:
            yield
        finally:
            self._call = None


class _Read:
    """A result that was read to its end already."""

    def __init__(self, rows: Sequence[neo4j.Record], summary: neo4j.ResultSummary) -> None:
        self._rows = rows
        self._summary = summary

    def __iter__(self) -> Iterator[neo4j.Record]:
        return iter(self._rows)

    def keys(self) -> list[str]:
        return self._rows[0].keys() if self._rows else []

    def consume(self) -> neo4j.ResultSummary:
        return self._summary


def _step(frame: FrameType | None) -> str:
    """The step of `Transaction` that runs, or "lock" where the statement is the store's own."""
    while frame is not None:
        if "/memory/record/neo4j/" in frame.f_code.co_filename and frame.f_code.co_name in _STEPS:
            return frame.f_code.co_name
        frame = frame.f_back
    return "lock"


def _operator(profile: Mapping[str, Any]) -> Operator:
    arguments = profile.get("args", {})
    return Operator(
        kind=profile["operatorType"].split("@")[0],
        details=str(arguments.get("Details", "")),
        hits=int(arguments.get("DbHits", 0)),
        children=tuple(_operator(child) for child in profile.get("children", ())),
    )
