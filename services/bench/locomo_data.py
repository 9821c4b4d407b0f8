"""Conversations in the format of LoCoMo (Maharana et al., ACL 2024), and how well a ranking finds the evidence.

A folder holds one JSON file for each conversation: `session_N` lists of turns (`dia_id`, `speaker`, `text`, and for a
shared image its `blip_caption`), `session_N_date_time`, and `qa`, questions with the ids of the turns that answer them
and a category. A question whose evidence names no turn of the conversation is left out. The times have no zone, and are
taken as UTC.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from core.errors import InvalidArgument

MULTI_HOP, TEMPORAL, OPEN_DOMAIN, SINGLE_HOP, ADVERSARIAL = 1, 2, 3, 4, 5
"""Categories. An adversarial question is put to the wrong person: its evidence is the turn that it distorts."""
ANSWERABLE = frozenset({MULTI_HOP, TEMPORAL, OPEN_DOMAIN, SINGLE_HOP})

_SESSION = re.compile(r"session_(\d+)")
_TURN = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True, slots=True)
class Turn:
    """What one speaker said at once, an image's caption on a line of its own. `number` counts within the session."""

    id: str
    session: int
    number: int
    speaker: str
    text: str
    told_at: datetime
    """The turns of a session have one time; a millisecond for each keeps their order."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the ids of the turns that answer it, one at least."""

    text: str
    category: int
    evidence: frozenset[str]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order, and what is asked about them."""

    name: str
    turns: tuple[Turn, ...]
    questions: tuple[Question, ...]

    def sessions(self, ids: Collection[str]) -> list[int]:
        """The sessions that hold these turns, each once, in the order of the ids."""
        held = {turn.id: turn.session for turn in self.turns}
        return list(dict.fromkeys(held[one] for one in ids))


def load(folder: Path) -> list[Conversation]:
    """Every conversation of a folder, by name. Raises InvalidArgument (field "data") where a file is not one."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InvalidArgument(f"{folder} holds no conversation: give a folder of JSON files", field="data")
    conversations = [_read(file) for file in files]
    if not any(one.category in ANSWERABLE for conversation in conversations for one in conversation.questions):
        raise InvalidArgument(
            f"{folder} asks no question that has an answer, so there is nothing to measure", field="data"
        )
    return conversations


def recall_at(k: int, ranked: Sequence[Hashable], wanted: Collection[Hashable]) -> float:
    """The share of what is wanted that is among the first `k`."""
    return len(set(ranked[:k]) & set(wanted)) / len(wanted)


def _read(file: Path) -> Conversation:
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        numbers = sorted(int(match[1]) for key in raw if (match := _SESSION.fullmatch(key)))
        turns = tuple(turn for number in numbers for turn in _session(raw, number))
        known = {turn.id for turn in turns}
        asked = (
            Question(str(one["question"]), int(one["category"]), frozenset(_evidence(one)) & known) for one in raw["qa"]
        )
        return Conversation(file.stem, turns, tuple(question for question in asked if question.evidence))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidArgument(
            f"{file} is no conversation of LoCoMo's format ({type(error).__name__}: {error})", field="data"
        ) from error


def _session(raw: dict[str, object], session: int) -> list[Turn]:
    began = datetime.strptime(str(raw[f"session_{session}_date_time"]), "%I:%M %p on %d %B, %Y").replace(tzinfo=UTC)
    turns = raw[f"session_{session}"]
    if not isinstance(turns, list):
        raise TypeError(f"session_{session} is no list")
    return [
        Turn(
            turn["dia_id"],
            session,
            number,
            turn["speaker"],
            "\n".join(part for part in (turn["text"], turn.get("blip_caption")) if part),
            began + timedelta(milliseconds=number),
        )
        for number, turn in enumerate(turns)
    ]


def _evidence(question: dict[str, object]) -> list[str]:
    named = question.get("evidence") or []
    if not isinstance(named, list):
        raise TypeError("evidence is no list")
    return [f"D{int(session)}:{int(turn)}" for session, turn in _TURN.findall(" ".join(map(str, named)))]
