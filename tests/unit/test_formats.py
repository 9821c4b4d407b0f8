"""What `sapience import` reads: every format gives the Episodes it holds, and a broken file is refused by the place."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sapience import NewEpisode

from core.errors import InvalidArgument
from services import wire
from services.cli import formats

SAMPLE = Path(__file__).parents[1] / "bench" / "data" / "sample"
SPRING = datetime(2026, 3, 1, tzinfo=UTC)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def texts(episodes: list[NewEpisode]) -> list[str]:
    return [episode.text for episode in episodes]


def fault(path: Path) -> str:
    """Why a file is refused. Every refusal names the file."""
    with pytest.raises(InvalidArgument) as caught:
        formats.read(path)
    assert (caught.value.field, caught.value.reason) == (str(path), "BAD_FILE")
    assert caught.value.message.startswith(str(path))
    return caught.value.message.removeprefix(str(path)).strip()


class TestText:
    def test_paragraphs_are_parted_by_empty_lines_however_lines_end(self, tmp_path):
        path = written(tmp_path, "a.txt", "One.\r\nStill one.\r\n \t\r\n\r\nTwo.\n\n\n   Three, set in.\n")
        assert texts(formats.read(path)) == ["One.\nStill one.", "Two.", "   Three, set in."]

    def test_a_document_says_where_it_comes_from(self, tmp_path):
        episodes = formats.read(written(tmp_path, "a.txt", "One.\n\nTwo."), SPRING)
        assert [(e.source, e.conversation, e.position, e.kind, e.speaker) for e in episodes] == [
            ("a.txt", "a.txt", 0, "document", ""),
            ("a.txt", "a.txt", 1, "document", ""),
        ]
        assert {e.told_at for e in episodes} == {SPRING}

    def test_it_was_told_when_the_file_was_last_changed_unless_said_otherwise(self, tmp_path):
        path = written(tmp_path, "a.txt", "One.")
        os.utime(path, (0, 86_400))
        assert formats.read(path)[0].told_at == datetime(1970, 1, 2, tzinfo=UTC)

    def test_an_edited_document_keeps_the_ids_of_what_stayed(self, tmp_path):
        path = written(tmp_path, "a.txt", "One.\n\nTwo.\n\nOne.")
        before = {e.external_id: e.text for e in formats.read(path)}
        assert len(before) == 3, "what is said twice is two Episodes"
        written(tmp_path, "a.txt", "New.\n\nOne.\n\nTwo, edited.\n\nOne.")
        after = {e.external_id: e.text for e in formats.read(path)}
        assert sorted(after[i] for i in before.keys() & after.keys()) == ["One.", "One."]

    def test_a_long_paragraph_is_parted_at_sentences_and_loses_no_word(self, tmp_path):
        sentences = [f"Sentence {number} says é." for number in range(8_000)]
        parts = texts(formats.read(written(tmp_path, "a.txt", " ".join(sentences))))
        assert len(parts) > 1
        assert all(part.endswith("é.") and len(part.encode()) <= formats.MOST_BYTES for part in parts)
        assert " ".join(parts) == " ".join(sentences)

    def test_one_endless_word_is_parted_too(self, tmp_path):
        word = "é" * formats.MOST_BYTES
        assert "".join(texts(formats.read(written(tmp_path, "a.txt", word)))) == word

    def test_a_byte_order_mark_is_no_text(self, tmp_path):
        assert texts(formats.read(written(tmp_path, "a.TXT", b"\xef\xbb\xbfOne."))) == ["One."]


class TestMarkdown:
    def test_each_block_is_told_with_its_heading_and_each_list_item_alone(self, tmp_path):
        page = "Before.\n\n# Juno #\n- Feed her.\n- Brush\n  her.\n\n1. First\n2) Second\n\n## Bins\nOn Tuesdays.\n"
        assert texts(formats.read(written(tmp_path, "a.md", page))) == [
            "Before.",
            "Juno: - Feed her.",
            "Juno: - Brush\n  her.",
            "Juno: 1. First",
            "Juno: 2) Second",
            "Bins: On Tuesdays.",
        ]

    def test_a_heading_with_nothing_under_it_is_told_alone(self, tmp_path):
        page = "# Call Bob on Friday\n\n# Pay the rent\n\n# Trip\nTo Oslo.\n## Done ##\n"
        assert texts(formats.read(written(tmp_path, "a.md", page))) == [
            "Call Bob on Friday",
            "Pay the rent",
            "Trip: To Oslo.",
            "Done",
        ]

    def test_code_in_a_fence_is_one_block(self, tmp_path):
        page = "# Start\nRun:\n```sh\n# first\nmake\n\n- no item\n```\nThen wait.\n\n~~~\n# open\n```\n"
        assert texts(formats.read(written(tmp_path, "a.md", page))) == [
            "Start: Run:\n```sh\n# first\nmake\n\n- no item\n```\nThen wait.",
            "Start: ~~~\n# open\n```",
        ]

    def test_the_sample_page_is_read(self):
        episodes = formats.read(SAMPLE / "notes.md")
        assert any(text.startswith("Plum cake: 3. Lay 1.5 kg of plums") for text in texts(episodes))


class TestChat:
    def test_turns_are_read_with_speaker_time_and_id(self, tmp_path):
        lines = [
            {"speaker": "Ada", "text": "One.", "time": "2026-03-01T10:00:00+02:00", "id": 7},
            {"text": "Two.", "time": 1_772_323_200, "conversation": "other"},
            {"speaker": None, "text": "Three.", "time": "2026-03-01"},
        ]
        path = written(tmp_path, "chat.jsonl", "\n\n".join(map(json.dumps, lines)) + "\r\n")
        one, two, three = formats.read(path, SPRING)
        assert (one.speaker, one.text, one.external_id, one.kind) == ("Ada", "One.", "7", "testimony")
        assert one.told_at == datetime(2026, 3, 1, 8, tzinfo=UTC)
        assert (one.source, one.conversation, one.position) == ("chat.jsonl", "chat", 0)
        assert (two.told_at, two.conversation, two.position) == (SPRING, "other", 2)
        assert (three.told_at, three.speaker, three.external_id) == (SPRING, "", "")

    def test_the_sample_conversation_is_read_whole(self):
        episodes = formats.read(SAMPLE / "conversation.jsonl")
        assert [e.external_id for e in episodes] == [f"t{number:03}" for number in range(1, 217)]
        assert episodes[0].told_at == datetime(2024, 1, 20, 10, 12, tzinfo=timezone(timedelta(hours=1)))

    @pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b"])
    def test_what_only_looks_like_the_end_of_a_line_is_part_of_the_text(self, tmp_path, character):
        line = json.dumps({"text": f"One{character}two"}, ensure_ascii=False)
        assert texts(formats.read(written(tmp_path, "a.jsonl", line))) == [f"One{character}two"]

    def test_whole_conversations_may_stand_one_a_line(self, tmp_path):
        lines = [{"messages": [{"role": "user", "content": f"Hello {n}"}]} for n in range(2)]
        episodes = formats.read(written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, lines))))
        assert [(e.conversation, e.text) for e in episodes] == [("a/1", "Hello 0"), ("a/2", "Hello 1")]

    @pytest.mark.parametrize(
        ("line", "what"),
        [
            ('{"text": "Two', "line 2 is no JSON: Unterminated string starting at (column 10)"),
            ("[]", "line 2 is no turn"),
            ("3", "line 2 is no turn"),
            ('{"speaker": "Ada"}', "line 2 is no turn"),
            ('{"text": 5}', "line 2 is no turn"),
            ('{"text": " "}', 'line 2 has an empty "text"'),
            ('{"text": "Two", "time": "yesterday"}', "line 2 has the time 'yesterday'"),
            ('{"text": "Two", "time": true}', "line 2 has the time True"),
            ('{"text": "Two", "time": NaN}', "line 2 has the time nan"),
            ('{"text": "Two", "time": 1e300}', "line 2 has the time 1e+300"),
            ('{"text": "Two", "time": "0001-01-01T00:00:00+14:00"}', "line 2 has the time '0001-"),
            (r'{"text": "half: \ud83d"}', r"line 2 holds half a character: \ud83d"),
            ("[" * 100_000, "line 2 is no JSON that can be read"),
            ("9" * 5_000, "line 2 is no JSON that can be read"),
            ('{"messages": []}', 'line 2 has no "messages" list'),
            ('{"messages": [{"role": "user"}, {}]}', 'line 2, message 2 has no "role"'),
        ],
    )
    def test_a_broken_line_is_named_and_the_file_refused_whole(self, tmp_path, line, what):
        path = written(tmp_path, "chat.jsonl", f'{{"text": "One"}}\n{line}\n{{"text": "Three"}}\n')
        assert fault(path).startswith(what)

    def test_both_halves_of_a_character_make_one(self, tmp_path):
        assert texts(formats.read(written(tmp_path, "a.jsonl", r'{"text": "\ud83d\ude00"}'))) == ["😀"]


class TestMessages:
    def test_messages_are_read_and_calls_of_tools_left_out(self, tmp_path):
        whole = {
            "id": "trip",
            "messages": [
                {"role": "user", "name": "Nora", "content": "Where?", "time": "2026-03-01T00:00:00Z", "id": "m1"},
                {"role": "assistant", "content": None, "tool_calls": []},
                {"role": "assistant", "content": [{"type": "text", "text": "To"}, {"type": "image_url"}]},
            ],
        }
        one, two = formats.read(written(tmp_path, "a.json", json.dumps(whole)))
        assert (one.speaker, one.text, one.told_at, one.external_id) == ("Nora", "Where?", SPRING, "m1")
        assert (one.conversation, one.position, one.kind) == ("trip", 0, "testimony")
        assert (two.speaker, two.text, two.position) == ("assistant", "To", 2)

    @pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"messages": m}, lambda m: [{"messages": m}]])
    def test_a_bare_list_one_conversation_and_a_list_of_them_are_the_same(self, tmp_path, wrap):
        messages = [{"role": "user", "content": "Hello"}]
        (one,) = formats.read(written(tmp_path, "a.json", json.dumps(wrap(messages))))
        assert (one.conversation, one.text) == ("a", "Hello")

    def test_several_conversations_are_told_apart(self, tmp_path):
        several = [{"messages": [{"role": "user", "content": "Hello"}]}] * 2
        episodes = formats.read(written(tmp_path, "a.json", json.dumps(several)))
        assert [e.conversation for e in episodes] == ["a/1", "a/2"]

    def test_the_sample_messages_are_read(self):
        assert len(formats.read(SAMPLE / "messages.json")) == 10

    @pytest.mark.parametrize(
        ("content", "what"),
        [
            ('{\n  "messages": [\n', "the file is no JSON: Expecting value (line 3, column 1)"),
            ("[1, 2]", 'conversation 1, message 1 has no "role"'),
            ('"messages"', 'conversation 1 has no "messages" list'),
            ('["messages"]', 'conversation 1, message 1 has no "role"'),
            ("{}", 'conversation 1 has no "messages" list'),
            ('[{"messages": [{"role": "user", "content": "x"}]}, 5]', 'conversation 2 has no "messages" list'),
            ('[{"role": "user", "content": 5}]', 'conversation 1, message 1 has a "content"'),
            ('[{"role": "user", "content": [{"type": "text", "text": {}}, {"type": "text", "text": 1}]}]', "conver"),
            ('[{"role": "user", "content": "x", "time": "soon"}]', "conversation 1, message 1 has the time 'soon'"),
        ],
    )
    def test_what_is_broken_is_named(self, tmp_path, content, what):
        assert fault(written(tmp_path, "a.json", content)).startswith(what)


class TestAnyFile:
    def test_a_file_that_is_not_there_is_refused(self, tmp_path):
        assert fault(tmp_path / "missing.txt") == "cannot be read: No such file or directory"

    def test_a_folder_is_refused(self, tmp_path):
        (tmp_path / "folder.md").mkdir()
        assert fault(tmp_path / "folder.md") == "cannot be read: Is a directory"

    def test_an_unknown_ending_is_refused_with_those_that_are_read(self, tmp_path):
        assert fault(written(tmp_path, "a.docx", "x")).startswith("has the ending '.docx'; .txt, .md, .jsonl, .json")
        assert fault(written(tmp_path, "README", "x")).startswith("has the ending '(none)'")

    @pytest.mark.parametrize("content", ["", " \n\t\n", b"\xef\xbb\xbf"])
    def test_an_empty_file_is_refused(self, tmp_path, content):
        assert fault(written(tmp_path, "a.txt", content)) == "is empty"

    def test_broken_utf8_is_refused_with_its_place_and_a_way_to_mend_it(self, tmp_path):
        path = written(tmp_path, "a.txt", "One.\nCafé\n".encode("latin-1"))
        assert fault(path) == (
            "is not UTF-8: byte 8 (line 2) is 0xe9; `iconv -f WINDOWS-1252 -t UTF-8 a.txt` converts a common encoding"
        )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
near_messages = st.fixed_dictionaries(
    {},
    optional={
        "role": st.sampled_from(["user", "assistant"]) | json_values,
        "content": st.text() | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": json_values})),
        "name": json_values,
        "time": st.integers() | st.floats() | st.text() | st.datetimes().map(str),
        "id": json_values,
    },
)
near_turns = st.fixed_dictionaries(
    {"text": st.text(min_size=1)},
    optional={"speaker": json_values, "time": json_values, "conversation": json_values, "id": json_values},
)
near_conversations = st.fixed_dictionaries({"messages": st.lists(near_messages | json_values, max_size=4)})


def read_or_refused(path: Path) -> list[NewEpisode]:
    refused = None
    try:
        episodes = formats.read(path)
    except InvalidArgument as error:
        refused, episodes = error, []
    if refused is not None:
        assert refused.field == str(path)
        assert re.match(rf"{re.escape(str(path))} \S", refused.message)
    for episode in episodes:
        wire.checked_text(episode.text, "text", wire.MAX_EPISODE_BYTES)
        assert episode.told_at is not None
        assert episode.told_at.tzinfo is not None
        for words in (episode.speaker, episode.conversation, episode.external_id, episode.source):
            words.encode()
    return episodes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@settings(max_examples=60, deadline=None)
@given(content=st.binary() | st.text().map(str.encode), ending=st.sampled_from(["txt", "md", "jsonl", "json"]))
def test_any_bytes_are_read_or_refused(folder, content, ending):
    read_or_refused(written(folder, f"any.{ending}", content))


@settings(max_examples=200, deadline=None)
@given(value=json_values | near_conversations | st.lists(near_messages) | st.lists(near_conversations | json_values))
def test_any_json_is_read_or_refused(folder, value):
    read_or_refused(written(folder, "any.json", json.dumps(value)))


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(near_turns | near_conversations | json_values, min_size=1, max_size=5))
def test_any_lines_of_json_are_read_or_refused(folder, lines):
    episodes = read_or_refused(written(folder, "any.jsonl", "\n".join(map(json.dumps, lines))))
    places = [(episode.conversation, episode.position) for episode in episodes]
    turns = [one for one in lines if isinstance(one, dict) and "conversation" not in one and "messages" not in one]
    if len(turns) == len(lines):
        assert len(set(places)) == len(places)


@settings(max_examples=100, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("ab é.#-*1)\n\r \t"), max_size=400), ending=st.sampled_from(["txt", "md"]))
def test_a_document_keeps_every_letter_in_order(folder, text, ending):
    path = written(folder, f"any.{ending}", text)
    kept = "".join(texts(read_or_refused(path)))
    if ending == "txt":
        assert re.sub(r"\s", "", kept) == re.sub(r"\s", "", text)
    else:  # headings come again with each block under them, and marks of headings go
        assert set(re.findall(r"[abé]", kept)) <= set(re.findall(r"[abé]", text))
