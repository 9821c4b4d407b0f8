"""What Dreams bring: recall@10 over long conversations before and after one, without and with its summaries' votes.

The real parts: segments, vectors, the SQLite record, the Edge index, `memory.dreams` with every kind, and
`memory.recall`. A Dream is automatic; then a second one, and the first is undone. No language model takes part.

    recall_10_before, multihop_10_before     with the default recipe, in points: all questions that have an answer, and
                                             those of the category multi-hop
    recall_10_after, multihop_10_after       the same after the Dream, with the default recipe
    recall_10_votes, multihop_10_votes       after the Dream, with the recipe "dreams": summaries vote for their sources
    multihop_gain                            multihop_10_votes - multihop_10_before, mean over questions
    multihop_gain_low, multihop_gain_high    its 95% interval, by paired bootstrap over the questions
    raised                                   1 where that interval is above 0: then votes are worth being the default
    changes_first, changes_second            changes that the first Dream made, and the second: 0
    undo_exact                               share of the conversations where all is as it was after undoing: 1
    read_s, apply_s                          seconds that a Dream read and thought, and applied, mean of a conversation
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from core.dreams import DreamBudget, DreamKind, DreamState
from core.models import ModelAddress
from core.nouns import Float64
from memory.dreams.work import Dreaming
from perception.encoders.base import Encoder
from perception.encoders.sentence import SentenceEncoder
from services.bench import locomo_data
from services.bench.locomo_data import ANSWERABLE, MULTI_HOP, Conversation
from services.bench.report import Report, versions
from services.bench.told import ToldConversation
from services.cli import show
from services.runtime.settings import load

VOTING = "dreams"
"""The recipe that lets summaries vote."""
RESAMPLES = 10_000


def run(data: Path, seed: int) -> Report:
    """Measures on every conversation of a folder."""
    settings = load()
    told = locomo_data.load(data)
    address = ModelAddress.parse(settings.encoder, field="SAPIENCE_ENCODER")
    encoder = SentenceEncoder(address, device=settings.device, threads=settings.threads or None)
    rows: dict[str, list[float]] = {}
    for conversation in track(told, "dreaming", console=show.err, transient=True):
        for name, values in _measure(conversation, encoder).items():
            rows.setdefault(name, []).extend(values)
    scores = {name: 100 * np.array(rows[name]) for name in ("before", "after", "votes")}
    multi_hop = np.array(rows["category"]) == MULTI_HOP
    figures = {f"recall_10_{name}": float(values.mean()) for name, values in scores.items()}
    if multi_hop.any():
        figures |= {f"multihop_10_{name}": float(values[multi_hop].mean()) for name, values in scores.items()}
        gain = (scores["votes"] - scores["before"])[multi_hop]
        low, high = interval(gain, seed)
        figures |= {
            "multihop_gain": float(gain.mean()),
            "multihop_gain_low": low,
            "multihop_gain_high": high,
            "raised": float(low > 0),
        }
    figures |= {name: float(np.sum(rows[name])) for name in ("changes_first", "changes_second")}
    figures |= {name: float(np.mean(rows[name])) for name in ("undo_exact", "read_s", "apply_s")}
    asked = {"questions": len(multi_hop), "multihop_questions": int(multi_hop.sum())}
    return Report(
        "dream",
        seed,
        figures,
        settings={"conversations": len(told), **asked, "resamples": RESAMPLES, "recipe": VOTING},
        versions=versions("torch", "qdrant-edge-py"),
    )


def interval(gains: Float64, seed: int) -> tuple[float, float]:
    """The 95% interval of the mean gain: the questions are drawn, each with both of its scores."""
    drawn = np.random.default_rng(seed).integers(0, len(gains), (RESAMPLES, len(gains)))
    low, high = np.percentile(gains[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def _measure(conversation: Conversation, encoder: Encoder) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder, ToldConversation(Path(folder), encoder, conversation) as memory:
        asked = memory.encoded([one for one in conversation.questions if one.category in ANSWERABLE])
        before, found_before = _everything(memory), memory.scores(asked)
        first, read_s, apply_s = _dream(memory)
        memory.drain()
        after, votes = memory.scores(asked), memory.scores(asked, VOTING)
        second, _, _ = _dream(memory)
        _undo(memory, first)
        return {
            "category": [one.question.category for one in asked],
            "before": found_before,
            "after": after,
            "votes": votes,
            "changes_first": [memory.record.dream(memory.name, first).total],
            "changes_second": [memory.record.dream(memory.name, second).total],
            "undo_exact": [float(_everything(memory) == before)],
            "read_s": [read_s],
            "apply_s": [apply_s],
        }


def _dream(memory: ToldConversation) -> tuple[str, float, float]:
    """An automatic Dream of every kind; its id, and the seconds of reading and of applying."""
    dreaming = Dreaming(memory.record)
    begun = memory.record.begin_dream(memory.name, list(DreamKind), DreamBudget(), automatic=True)
    started = time.perf_counter()
    dreaming.step(memory.name, begun.id)
    read = time.perf_counter()
    dreaming.run(memory.name, begun.id)
    return begun.id, read - started, time.perf_counter() - read


def _undo(memory: ToldConversation, dream_id: str) -> None:
    memory.record.move_dream(memory.name, dream_id, DreamState.UNDOING, among={DreamState.APPLIED})
    Dreaming(memory.record).run(memory.name, dream_id)


def _everything(memory: ToldConversation) -> Sequence[Any]:
    """All that the namespace holds, to the byte, and how it is kept."""
    told = [
        (episode, [(one.concept, one.terms, one.vector.tobytes()) for one in concepts])
        for episode, concepts in memory.record.export_episodes(memory.name)
    ]
    ids = [episode.id for episode, _ in told]
    return told, memory.record.keepings(memory.name, ids), memory.record.sources_of(memory.name, ids)
