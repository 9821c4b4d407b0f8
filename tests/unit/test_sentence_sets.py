"""Sentences with boundaries that are hard to find, in 22 languages: what the rules are right about stays right."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perception.segment import segment

FILE = Path(__file__).resolve().parents[1] / "bench" / "data" / "languages" / "boundaries.jsonl"
SETS = [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("split", "least"), [("tuned_on", 0.95), ("held_out", 0.55)])
def test_texts_whose_every_boundary_is_found(split: str, least: float) -> None:
    texts = [one for one in SETS if one["split"] == split]
    assert sum(len(one["sentences"]) for one in texts) >= 75
    right = 0
    for one in texts:
        between = "" if one["language"] in ("zh", "ja") else " "
        right += [span.text for span in segment(between.join(one["sentences"]))] == one["sentences"]
    assert right >= least * len(texts)


@pytest.mark.parametrize(
    "sentences",
    [
        ["Kaiser Wilhelm II. war der letzte.", "Er ging ins Exil."],
        ["Sie bringt Brot, Käse usw. mit.", "Danke!"],
        ["i left it.", "then i slept."],
        ["Τον ξέρεις;", "Ναι!"],
        ["Write a; then b; and stop.", "Go."],
        ["彼は「行きます。」と言った。", "本当ですか？"],
        ["—¿Vienes? —preguntó Ana.", "—No —dijo él."],
        ["Virginia and V. Woolf met P. Jansen.", "They talked."],
        ["Նա եկավ երեկ։", "Դու նրան գիտե՞ս։"],
    ],
)
def test_single_rules(sentences: list[str]) -> None:
    between = "" if sentences[0].startswith("彼") else " "
    assert [span.text for span in segment(between.join(sentences))] == sentences
