"""What forgetting costs: recall@10 over long conversations with all turns at hand, and with a share of them archived.

The real parts: segments, vectors, the SQLite record, the Edge index, and `memory.recall` with the default recipe. Turns
are archived and thawed as the service does it, one share after another, so the run also shows that a thaw brings
everything back. No language model takes part.

    recall_10_full       recall@10 with every turn at hand, in points, mean over the questions that have an answer
    cost_30, cost_50     points lost with 30% or 50% of the turns archived that `memory.forget` chooses
    cost_random_50       points lost with a random half archived, mean over `DRAWS` draws
    random_over_chosen   cost_random_50 / cost_50
    thawed_difference    points that recall@10 with all turns thawed differs by: 0

What is chosen depends on the age of a turn, so the choice is made as if on the day of the last one. The constants of
`memory.forget` were set on five LoCoMo conversations, by leaving one out: figures on those say how well they fit, and
figures on others what they are worth.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
from rich.progress import track

from core.models import ModelAddress
from memory.forget import choose, retained
from perception.encoders.base import Encoder
from perception.encoders.sentence import SentenceEncoder
from services.bench import locomo_data
from services.bench.locomo_data import ANSWERABLE, Conversation
from services.bench.report import Report, versions
from services.bench.told import Asked, ToldConversation
from services.cli import show
from services.runtime.settings import load

DRAWS = 5
SHARES = (0.3, 0.5)


def run(data: Path, seed: int) -> Report:
    """Measures on every conversation of a folder."""
    settings = load()
    told = locomo_data.load(data)
    address = ModelAddress.parse(settings.encoder, field="SAPIENCE_ENCODER")
    encoder = SentenceEncoder(address, device=settings.device, threads=settings.threads or None)
    scores: dict[str, list[float]] = {}
    for conversation in track(told, "forgetting", console=show.err, transient=True):
        for name, values in _measure(conversation, encoder, seed).items():
            scores.setdefault(name, []).extend(values)
    points = {name: 100 * float(np.mean(values)) for name, values in scores.items()}
    full = points["full"]
    drawn = [full - points[f"random {draw}"] for draw in range(DRAWS)]
    lost, at_random = full - points["0.5"], float(np.mean(drawn))
    figures = {
        "recall_10_full": full,
        "cost_30": full - points["0.3"],
        "cost_50": lost,
        "cost_random_50": at_random,
        "random_over_chosen": at_random / lost if lost > 0 else float("inf"),
        "thawed_difference": abs(points["thawed"] - full),
    }
    return Report(
        "forget",
        seed,
        figures,
        {"a random half": {"least": min(drawn), "most": max(drawn)}},
        {"conversations": len(told), "questions": len(scores["full"]), "draws": DRAWS},
        versions("torch", "qdrant-edge-py"),
    )


def _measure(conversation: Conversation, encoder: Encoder, seed: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder, Archivable(Path(folder), encoder, conversation) as memory:
        asked = memory.encoded([one for one in conversation.questions if one.category in ANSWERABLE])
        scores = {"full": memory.scores(asked)}
        for share in SHARES:
            scores[str(share)] = memory.scores_without(memory.chosen(share), asked)
        for draw in range(DRAWS):
            lot = random.Random(f"{seed}/{draw}/{conversation.name}")
            gone = lot.sample(sorted(memory.turns), len(memory.turns) // 2)
            scores[f"random {draw}"] = memory.scores_without(gone, asked)
        scores["thawed"] = memory.scores(asked)
        return scores


class Archivable(ToldConversation):
    """One that is asked with some of its turns archived."""

    def chosen(self, share: float) -> list[str]:
        """What `memory.forget` would archive."""
        rated = retained(self.record.export_episodes(self.name), {}, self.now)
        return [one.episode.id for one in choose(rated, share=share)]

    def scores_without(self, gone: Collection[str], asked: Iterable[Asked]) -> list[float]:
        """Archives these, asks, and thaws them."""
        ids = sorted(gone)
        self.record.archive(self.name, ids)
        self.drain()
        scores = self.scores(asked)
        self.record.thaw(self.name, ids)
        self.drain()
        return scores
