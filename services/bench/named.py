"""The benches by name, imported when one is run: they bring models and stores with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.errors import InvalidArgument
from services.bench.report import Report


def run_named(
    name: str,
    *,
    as_json: bool,
    seed: int,
    data: Path | None = None,
    seconds: float | None = None,
    histories: int = 10_000,
    neo4j: str = "",
    n: int = 10_000,
    kills: int = 100,
    recipe: str = "",
    requests: int = 32,
    batch: int = 16,
    threads: int = 0,
    rounds: int = 3,
    peers: bool = True,
    fresh: int = 1000,
    retrain: bool = False,
    seeds: int = 3,
    train_seconds: float = 330.0,
) -> int:
    """Runs a bench by name; returns the status to exit with."""
    from services.bench import (
        bitemporal,
        dream,
        engine,
        forget,
        kill,
        latent,
        locomo,
        memory,
        prosqa,
        rpc,
        sample,
        soak,
    )

    benches: dict[str, Callable[[], Report]] = {
        "bitemporal": lambda: bitemporal.run(seed, histories, neo4j),
        "dream": lambda: dream.run(_needed(data, name), seed),
        "engine": lambda: engine.run(seed, requests, batch, threads, rounds, peers),
        "forget": lambda: forget.run(_needed(data, name), seed),
        "kill": lambda: kill.run(seed, kills),
        "latent": lambda: latent.run(seed),
        "locomo": lambda: locomo.run(_needed(data, name), seed, recipe),
        "memory": lambda: memory.run(seed, n, neo4j),
        "prosqa": lambda: prosqa.run(
            _needed(data, name), seed, fresh=fresh, retrain=retrain, seeds=seeds, train_seconds=train_seconds
        ),
        "rpc": lambda: rpc.run(seed, 3.0 if seconds is None else seconds),
        "sample": lambda: sample.run(_needed(data, name), seed),
        "soak": lambda: soak.run(seed, 1800.0 if seconds is None else seconds),
    }
    if name not in benches:
        raise InvalidArgument(f"no bench {name!r}; one of {', '.join(benches)}", field="name")
    benches[name]().show(as_json=as_json)
    return 0


def _needed(data: Path | None, name: str) -> Path:
    if data is None:
        raise InvalidArgument(f"bench {name} reads data: give --data FOLDER", field="data")
    return data
