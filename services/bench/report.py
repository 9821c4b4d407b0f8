"""What every bench gives: one object of flat figures, with its seed, peers, settings and versions."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version

from services.cli import show


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one bench. Figures are named as the documentation names them."""

    bench: str
    seed: int
    figures: Mapping[str, float]
    peers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def show(self, *, as_json: bool) -> None:
        """Prints the object, or a table."""
        if as_json:
            print(json.dumps(asdict(self), ensure_ascii=False))
            return
        rows = [[name, f"{value:.3f}"] for name, value in self.figures.items()]
        show.table(f"bench {self.bench}, seed {self.seed}", ["figure", "value"], rows)
        for peer, figures in self.peers.items():
            show.table(peer, ["figure", "value"], [[name, f"{value:.3f}"] for name, value in figures.items()])


def versions(*packages: str) -> dict[str, str]:
    """What was measured, on what."""
    return {
        "sapience": version("sapience"),
        "python": platform.python_version(),
        "cores": str(len(os.sched_getaffinity(0))),
        **{package: version(package) for package in packages},
    }
