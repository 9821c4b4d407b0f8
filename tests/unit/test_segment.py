"""Sentence segmentation: what holds for every text, and what single rules do."""

import gc
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidArgument
from perception.segment import MAX_CHARS, segment

# Texts dense in what the rules look at, beside arbitrary Unicode.
PHRASES = ["Dr.", "U.S.", "...", "```", "- ", "\r\n", "x" * 50]
MARKS = st.sampled_from([*".!?…。！？।\"'”»)]*_ \t\n\r\u0085\u2028\u00a0\u200d\u0301😀#-1aAéß你", *PHRASES])
TEXTS = st.text() | st.lists(MARKS).map("".join)


def texts(text: str, **options: int) -> list[str]:
    return [span.text for span in segment(text, **options)]


@settings(max_examples=500)
@given(TEXTS, st.sampled_from([16, 40, MAX_CHARS]))
def test_spans_cover_all_but_white_space_once_in_order(text, max_chars):
    data = text.encode()
    spans = segment(text, max_chars=max_chars)
    end = 0
    for span in spans:
        assert end <= span.start_byte < span.end_byte
        assert data[end : span.start_byte].decode().strip() == ""
        assert data[span.start_byte : span.end_byte].decode() == span.text
        assert span.text.strip() == span.text != ""
        assert len(span.text) <= max_chars
        end = span.end_byte
    assert data[end:].decode().strip() == ""
    assert segment(text, max_chars=max_chars) == spans


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        '"',
        ".",
        '"a. ',
        "a.\n\n",
        "« . ",
        "word ",
        "Dr. ",
        "x. (",
        "\n",
        ". ",
        "a\n",
        "…",
        "A. ",
        "你好。",
        "\u0301",
        "1. ",
        "a" * 45 + "\n",
        " " * 99 + "a",
        "\u00a0»",
    ],
)
def test_time_is_linear_in_the_length(pattern):
    def seconds(size: int) -> float:
        text = (pattern * size)[:size]
        taken = []
        for _ in range(3):  # the least of three: what else the machine does only adds
            started = time.process_time()
            segment(text)
            taken.append(time.process_time() - started)
        return min(taken)

    # The collector's time grows with all that the other tests left alive, not with the text.
    gc.collect()
    gc.disable()
    try:
        # 8 times the text; a quadratic rule would take 64 times as long.
        assert seconds(1 << 18) < 24 * max(seconds(1 << 15), 0.01)
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "sentences",
    [
        [
            "Dr. Smith met J. K. Rowling at 3.5 p.m. in the U.S.",
            "It rained... or not.",
            "See https://a.b/c?e=1.",
            "Done.",
        ],
        ["I moved to the U.S. last year.", "He lives in the U.S.", "She left.", "The U.S. Army came."],
        ['"Stop!" he said.', 'He said "Go home." and left.', "(See p. 5.)", "Next."],
        ["Mr. and Mrs. Brown, e.g. the ones from St. Louis, paid $3.50.", "ok then."],
        ["i am here.", "are you?", "yes!!", "see u"],
        ["1. First thing.", "2. Second thing."],
        ["Am 3. Mai kam Dr. Müller z.B. nach Berlin.", "Er blieb."],
        ["M. Dupont est là.", "« Oui ! » dit-il.", "Bien."],
        ["¿Cómo estás?", "¡Bien!", "Gracias."],
        ["यह एक वाक्य है।", "दूसरा वाक्य।"],
        ["كيف حالك؟", "أنا بخير."],
        ["Version 2.0.1 is out.", "Call foo.bar() now.", "Read file.txt first."],
        ["She has a Ph.D. in maths.", "No. 5 is good.", "It's no.", "We go at 5 p.m.", "Then home."],
        ["He is 42.", "Bob is 43.", "That was in 2019.", "He left."],
        ["Wait... what?!", "OK"],
        ["Hi **there.**", "It is *so.*", "Good"],
        ["Он родился в 1990 г. в Москве, т.е. давно.", "Потом уехал."],
    ],
)
def test_sentences(sentences):
    assert texts(" ".join(sentences)) == sentences


def test_scripts_without_spaces():
    assert texts("你好。今天天气好！「是的。」他说。") == ["你好。", "今天天气好！", "「是的。」", "他说。"]


def test_lines_list_items_and_headings_are_apart():
    text = "# Plan for June\nFirst line\nsecond line\n\n- buy milk. Then rest\n- call Ann\n1) go\n> quoted"
    assert texts(text) == [
        "# Plan for June",
        "First line",
        "second line",
        "- buy milk.",
        "Then rest",
        "- call Ann",
        "1) go",
        "> quoted",
    ]


def test_a_wrapped_paragraph_is_one_block():
    text = (
        "This is a paragraph that was wrapped by an\neditor, so that its line ends say nothing about\nits sentences. "
        "Here is the second one.\n\nA new paragraph"
    )
    assert texts(text) == [
        "This is a paragraph that was wrapped by an\neditor, so that its line ends say nothing about\nits sentences.",
        "Here is the second one.",
        "A new paragraph",
    ]


def test_a_long_sentence_is_cut_after_a_clause_or_else_a_word_or_else_anywhere():
    assert texts("one two three four, five six seven eight", max_chars=24) == [
        "one two three four,",
        "five six seven eight",
    ]
    assert texts("aaaa " * 8, max_chars=16) == ["aaaa aaaa aaaa"] * 2 + ["aaaa aaaa"]
    assert texts("a" * 40, max_chars=16) == ["a" * 16, "a" * 16, "a" * 8]
    assert texts("a" * 15 + "e\u0301" + "a" * 4, max_chars=16) == ["a" * 15, "e\u0301aaaa"]


@pytest.mark.parametrize("text", ["", " \n\t\u00a0 "])
def test_blank_text_has_no_spans(text):
    assert segment(text) == []


def test_bad_input_is_told():
    with pytest.raises(InvalidArgument, match="character 4 of the text is a lone surrogate"):
        segment("One \ud800 two")
    with pytest.raises(InvalidArgument, match="at least 16"):
        segment("x", max_chars=15)
