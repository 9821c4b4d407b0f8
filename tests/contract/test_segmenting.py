"""Segment over the wire: the language of each Concept."""

from __future__ import annotations

from typing import Any

from sapience.v1 import perception_pb2 as pb


def test_each_concept_has_the_language_of_its_words(perception: Any) -> None:
    text = "The train was late again this morning. Mein Bruder arbeitet im Krankenhaus. OK. 彼女はお茶だけ飲みます。"
    found = perception.Segment(pb.SegmentRequest(text=text)).concepts
    assert [(one.text[:4], one.language) for one in found] == [
        ("The ", "en"), ("Mein", "de"), ("OK.", ""), ("彼女はお", "ja"),
    ]  # fmt: skip


def test_a_language_that_is_given_is_kept_in_its_usual_form(perception: Any) -> None:
    text = "The train was late. OK."
    for given, kept in (("pt-br", "pt-BR"), ("deu_Latn", "de"), ("zh-hant", "zh-Hant")):
        found = perception.Segment(pb.SegmentRequest(text=text, language=given)).concepts
        assert [one.language for one in found] == [kept, kept]
