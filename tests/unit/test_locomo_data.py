"""Conversations in LoCoMo's format are read as they are, and what is none is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.clock import micros
from core.errors import InvalidArgument
from services.bench.locomo_data import Question, conversations, recall_at

RAW: dict[str, Any] = {
    "speaker_a": "Ada",
    "session_10_date_time": "1:05 pm on 3 May, 2023",
    "session_10": [{"dia_id": "D10:1", "speaker": "Ada", "text": "Later."}],
    "session_2_date_time": "11:59 a.m. on 28 February, 2023",
    "session_2": [
        {"dia_id": "D2:1", "speaker": "Ada", "text": "Look!", "blip_caption": "a photo of a boat"},
        {"dia_id": "D2:2", "speaker": "Bob", "text": "Nice."},
    ],
    "session_3_date_time": "a session without turns",
    "qa": [
        {"question": "What did Ada show?", "category": 4, "evidence": ["D2:1; D10:01", "D:2:2"]},
        {"question": "Nothing to find", "category": 1, "evidence": ["D9:9"]},
        {"question": "No evidence", "category": 5},
    ],
}


def test_a_conversation_is_read_in_the_order_of_its_sessions(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(RAW))
    (read,) = conversations(tmp_path)
    assert read.name == "x"
    assert [(turn.id, turn.session, turn.number) for turn in read.turns] == [
        ("D2:1", 2, 0), ("D2:2", 2, 1), ("D10:1", 10, 0),
    ]  # fmt: skip
    assert read.turns[0].text == "Look!\na photo of a boat"
    assert read.turns[0].told_at == micros(datetime(2023, 2, 28, 11, 59, tzinfo=UTC))
    assert read.turns[2].told_at == micros(datetime(2023, 5, 3, 13, 5, tzinfo=UTC))
    assert read.questions == (Question("What did Ada show?", 4, frozenset({"D2:1", "D10:1", "D2:2"})),)


def test_recall_is_the_share_of_the_evidence_among_the_first() -> None:
    evidence = {"a", "b", "c", "d"}
    assert recall_at(["x", "a", "b", "c"], evidence, 3) == 0.5
    assert recall_at([], evidence, 3) == 0
    assert recall_at(["a", "a", "b"], evidence, 2) == 0.25


@pytest.mark.parametrize("text", ["no json", "[]", '{"qa": 1}', '{"session_1": [], "qa": []}'])
def test_what_is_no_conversation_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InvalidArgument, match=r"x\.json"):
        conversations(tmp_path)


def test_a_folder_without_conversations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"no \*\.json"):
        conversations(tmp_path)
