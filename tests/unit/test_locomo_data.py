"""Conversations of LoCoMo's format, and the measure of recall on them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidArgument
from services.bench import locomo_data as data


def conversation() -> dict[str, Any]:
    def turn(key: str, text: str, **more: str) -> dict[str, str]:
        return {"dia_id": key, "speaker": "Ada", "text": text, **more}

    return {
        "session_2": [turn("D2:1", "We sold the boat.")],
        "session_2_date_time": "10:05 am on 3 June, 2023",
        "session_1": [turn("D1:1", "We bought a boat."), turn("D1:2", "Look.", blip_caption="a small boat")],
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "qa": [
            {"question": "What became of the boat?", "category": 1, "evidence": ["D1:1; D2:1"]},
            {"question": "Who knows?", "category": 3, "evidence": ["D9:9"]},
            {"question": "What is on the picture?", "category": 4, "evidence": ["D1:2", "D1:7"]},
        ],
    }


def test_turns_come_in_order_of_sessions_and_keep_it_by_their_time(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(conversation()))
    (read,) = data.load(tmp_path)
    assert [turn.id for turn in read.turns] == ["D1:1", "D1:2", "D2:1"]
    began = datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert [turn.told_at for turn in read.turns[:2]] == [began, began + timedelta(milliseconds=1)]
    assert read.turns[1].text == "Look.\na small boat"
    assert read.sessions(["D2:1", "D1:2", "D1:1"]) == [2, 1]


def test_a_question_keeps_the_evidence_that_exists_and_goes_without_any(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(conversation()))
    (read,) = data.load(tmp_path)
    assert [(one.category, set(one.evidence)) for one in read.questions] == [(1, {"D1:1", "D2:1"}), (4, {"D1:2"})]


def test_recall_is_the_share_of_the_evidence_among_the_first() -> None:
    assert data.recall_at(2, ["a", "b", "c"], {"b", "c"}) == 0.5
    assert data.recall_at(3, ["a", "b", "c"], {"b", "c"}) == 1
    assert data.recall_at(5, [], {"b"}) == 0


@pytest.mark.parametrize(
    "broken", ["[]", "{", '{"qa": 3}', '{"session_1": 4, "session_1_date_time": "1:56 pm on 8 May, 2023", "qa": []}']
)
def test_a_file_of_another_format_is_named(tmp_path: Path, broken: str) -> None:
    (tmp_path / "other.json").write_text(broken)
    with pytest.raises(InvalidArgument, match=r"other\.json"):
        data.load(tmp_path)


def test_a_folder_without_a_question_to_measure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(conversation() | {"qa": []}))
    with pytest.raises(InvalidArgument, match="no question that has an answer"):
        data.load(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no conversation"):
        data.load(tmp_path)
