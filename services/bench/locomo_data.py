"""Conversations in the format of LoCoMo, and how a recall over them is scored.

A folder holds one JSON file for each conversation: `session_N`, a list of turns (`dia_id`, `speaker`, `text`, maybe
`blip_caption`), `session_N_date_time`, and `qa`, a list of questions with the turns that are their evidence (Maharana
et al. 2024, "Evaluating Very Long-Term Conversational Memory of LLM Agents"). No such data comes with this program.

    recall@k = mean over questions of |first k found and evidence| / |evidence|
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from core.clock import Micros, micros
from core.errors import InvalidArgument

ANSWERABLE = frozenset({1, 2, 3, 4})
"""The categories with an answer: multi-hop, temporal, open-domain, single-hop. 5 is adversarial."""
_SESSION = re.compile(r"session_(\d+)")
_EVIDENCE = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker said at one place of a session."""

    id: str
    session: int
    number: int
    speaker: str
    text: str
    """With the caption of the picture that was sent, if one was, on a line of its own."""
    told_at: Micros


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the turns that it takes to answer it: one at least, all of them of its conversation."""

    text: str
    category: int
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation between two people over many sessions."""

    name: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]


def conversations(folder: Path) -> list[Conversation]:
    """Those of a folder, by file name; questions whose evidence names no turn are left out.

    Raises InvalidArgument (field "data") for a folder with no such files.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InvalidArgument(
            f"{folder} has no *.json; give a folder of conversations in LoCoMo's format", field="data"
        )
    return [_conversation(file) for file in files]


def recall_at(found: Sequence[str], evidence: Collection[str], k: int) -> float:
    """The share of the evidence that is among the first k found."""
    return len(set(found[:k]) & set(evidence)) / len(evidence)


def _conversation(file: Path) -> Conversation:
    try:
        raw = json.loads(file.read_text())
        turns = tuple(turn for number in _sessions(raw) for turn in _turns(raw, number))
        known = {turn.id for turn in turns}
        questions = tuple(question for qa in raw["qa"] if (question := _question(qa, known)).evidence)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument(f"{file} is no conversation in LoCoMo's format: {error!r}", field="data") from error
    return Conversation(file.stem, turns, questions)


def _sessions(raw: dict[str, Any]) -> list[int]:
    return sorted(int(match[1]) for key in raw if (match := _SESSION.fullmatch(key)))


def _turns(raw: dict[str, Any], session: int) -> list[Turn]:
    clock = raw[f"session_{session}_date_time"].lower().replace(".", "")
    told_at = micros(datetime.strptime(clock, "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC))
    return [
        Turn(
            turn["dia_id"],
            session,
            number,
            turn["speaker"],
            "\n".join(part for part in (turn["text"], turn.get("blip_caption")) if part),
            told_at,
        )
        for number, turn in enumerate(raw[f"session_{session}"])
    ]


def _question(raw: dict[str, Any], known: Collection[str]) -> Question:
    named = _EVIDENCE.findall(" ".join(map(str, raw.get("evidence") or [])))
    evidence = frozenset(f"D{int(session)}:{int(number)}" for session, number in named)
    return Question(str(raw["question"]), int(raw["category"]), evidence.intersection(known))
