"""Exports of other systems, in small samples written here: what is taken, with which times and ids, and what is not."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidArgument
from services.cli import peers
from services.cli.peers import Reading

DEFAULT = datetime(2020, 1, 1, tzinfo=UTC)


def node(key: str, parent: str | None, children: list[str], message: dict[str, Any] | None) -> dict[str, Any]:
    return {"id": key, "parent": parent, "children": children, "message": message}


def message(key: str, role: str, *parts: Any, at: float | None = None, **more: Any) -> dict[str, Any]:
    content = {"content_type": more.pop("kind", "text"), "parts": list(parts)}
    return {"id": key, "author": {"role": role}, "create_time": at, "content": content, **more}


def conversation(**changed: Any) -> dict[str, Any]:
    """A question, two answers to it of which the second is shown, and a picture."""
    mapping = {
        "root": node("root", None, ["sys"], None),
        "sys": node("sys", "root", ["q"], message("m0", "system", "Be helpful.")),
        "q": node("q", "sys", ["a1", "a2"], message("m1", "user", "Where do herons nest?", at=1.7e9)),
        "a1": node("a1", "q", [], message("m2", "assistant", "On roofs.", at=1.7e9 + 1)),
        "a2": node("a2", "q", ["t"], message("m3", "assistant", "In trees.", at=1.7e9 + 2)),
        "t": node("t", "a2", ["p"], message("m4", "tool", "search", kind="code")),
        "p": node(
            "p", "t", [],
            message("m5", "user", {"content_type": "image_asset_pointer"}, "Like here?", kind="multimodal_text"),
        ),
    }  # fmt: skip
    return {"conversation_id": "c1", "create_time": 1.7e9, "mapping": mapping, "current_node": "p"} | changed


def read(tmp_path: Path, whole: Any, name: str = "export.json") -> Reading:
    path = tmp_path / name
    path.write_text(json.dumps(whole))
    return peers.read(path, DEFAULT)


# ChatGPT


def test_chatgpts_shown_branch_is_taken_and_the_rest_is_counted(tmp_path: Path) -> None:
    reading = read(tmp_path, [conversation()])
    said = [(one.speaker, one.text, one.external_id) for one in reading.episodes]
    assert said == [
        ("user", "Where do herons nest?", "m1"), ("assistant", "In trees.", "m3"), ("user", "Like here?", "m5"),
    ]  # fmt: skip
    assert [one.told_at for one in reading.episodes] == [
        datetime.fromtimestamp(at, UTC) for at in (1.7e9, 1.7e9 + 2, 1.7e9 + 2)
    ]
    assert {(one.conversation, one.source, one.kind) for one in reading.episodes} == {("c1", "chatgpt", "testimony")}
    assert [one.position for one in reading.episodes] == sorted(one.position for one in reading.episodes)
    assert reading.skipped == {
        "messages of branches that are not shown": 1, "messages of system": 1, "messages of tool": 1,
        "pictures, sounds and files": 1,
    }  # fmt: skip


def test_chatgpts_zip_is_the_same_whatever_its_name(tmp_path: Path) -> None:
    path = tmp_path / "any.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("chat.html", "<p>")
        archive.writestr("x/conversations.json", json.dumps([conversation()]))
    assert peers.read(path, DEFAULT).episodes == read(tmp_path, [conversation()]).episodes
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "")
    with pytest.raises(InvalidArgument, match=r"no conversations\.json"):
        peers.read(tmp_path / "other.zip")
    (tmp_path / "none.zip").write_bytes(b"PK no")
    with pytest.raises(InvalidArgument, match="cannot be read"):
        peers.read(tmp_path / "none.zip")


def test_a_zip_that_is_damaged_anywhere_says_so_or_is_read(tmp_path: Path) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps([conversation()]))
    refused = 0
    for place in range(0, len(whole.getvalue()), 7):
        data = bytearray(whole.getvalue())
        data[place] ^= 0xFF
        (tmp_path / "bad.zip").write_bytes(data)
        try:
            peers.read(tmp_path / "bad.zip", DEFAULT)
        except InvalidArgument:
            refused += 1
    assert refused


def test_chatgpts_branch_without_a_current_node_is_that_of_the_last_answers(tmp_path: Path) -> None:
    reading = read(tmp_path, [conversation(current_node=None)])
    assert [one.text for one in reading.episodes][1:] == ["In trees.", "Like here?"]


def test_a_tree_that_goes_round_in_a_ring_ends(tmp_path: Path) -> None:
    ring = {"a": node("a", "b", ["b"], message("1", "user", "One.")), "b": node("b", "a", ["a"], None)}
    assert [one.text for one in read(tmp_path, [conversation(mapping=ring, current_node="a")]).episodes] == ["One."]


def test_what_is_hidden_or_meant_for_a_tool_is_not_taken(tmp_path: Path) -> None:
    hidden = message("1", "user", "secret", metadata={"is_visually_hidden_from_conversation": True})
    call = message("2", "assistant", "query", recipient="browser")
    mapping = {"a": node("a", None, ["b"], hidden), "b": node("b", "a", [], call)}
    reading = read(tmp_path, [conversation(mapping=mapping, current_node="b")])
    assert reading.episodes == []
    assert sum(reading.skipped.values()) == 2


def test_a_conversation_without_messages_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="conversation 2 has no"):
        read(tmp_path, [conversation(), {"title": "x"}])


# mem0

MEMORY = {
    "id": "7", "memory": "Likes herons", "user_id": "nora", "metadata": {"mood": "calm"},
    "created_at": "2024-01-01T08:00:00-08:00", "updated_at": "2024-02-01T00:00:00Z",
}  # fmt: skip


@pytest.mark.parametrize("shape", [lambda m: {"results": m}, lambda m: {"memories": m}, lambda m: m])
def test_mem0s_memories_are_taken_in_every_shape(tmp_path: Path, shape: Any) -> None:
    reading = read(tmp_path, shape([MEMORY]))
    (one,) = reading.episodes
    assert (one.text, one.speaker, one.source, one.kind) == ("Likes herons", "nora", "mem0", "document")
    assert one.told_at == datetime(2024, 2, 1, tzinfo=UTC)
    assert reading.skipped == {"metadata of memories": 1}


def test_a_memory_that_was_written_over_is_another_and_one_that_was_not_is_the_same(tmp_path: Path) -> None:
    first, same, other = (
        read(tmp_path, [MEMORY | changed]).episodes[0].external_id
        for changed in ({}, {"updated_at": None}, {"memory": "Likes cranes"})
    )
    assert first == same != other


def test_a_history_gives_each_version_at_its_time(tmp_path: Path) -> None:
    history = [
        {"id": "h1", "event": "ADD", "new_memory": "Likes birds", "created_at": "2024-01-01T00:00:00Z"},
        {"id": "h2", "event": "UPDATE", "new_memory": "Likes herons", "updated_at": "2024-02-01T00:00:00Z"},
        {"id": "h3", "event": "DELETE", "old_memory": "Likes herons", "new_memory": None},
    ]
    reading = read(tmp_path, {"results": [MEMORY | {"history": history, "metadata": None}]})
    assert [(one.text, one.external_id, one.told_at.month) for one in reading.episodes] == [
        ("Likes birds", "h1", 1), ("Likes herons", "h2", 2),
    ]  # fmt: skip
    assert reading.skipped == {"deletions in the history of memories": 1}


def test_mem0s_relations_become_facts(tmp_path: Path) -> None:
    relations = [
        {"source": "nora", "relationship": "livesIn", "destination": "bremen"}, {"source": "nora"},
    ]  # fmt: skip
    reading = read(tmp_path, {"results": [MEMORY], "relations": relations})
    (told,) = reading.facts
    assert (told.fact.subject.name, told.fact.relation, told.fact.entity.name) == ("nora", "lives_in", "bremen")
    assert reading.facts == read(tmp_path, {"results": [MEMORY], "relations": relations}).facts
    assert reading.skipped["relations without two ends and a name"] == 1


# Graphiti


def graph(*edges: dict[str, Any], episodes: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    nodes = [{"uuid": "n1", "name": "Nora", "summary": "A biologist."}, {"uuid": "n2", "name": "Bremen"}]
    return {"episodes": episodes or [], "nodes": nodes, "edges": list(edges)}


EDGE = {
    "uuid": "e1", "name": "LIVES_IN", "fact": "Nora lives in Bremen.", "source_node_uuid": "n1",
    "target_node_uuid": "n2", "episodes": ["p1"], "valid_at": "2023-01-01T00:00:00Z", "invalid_at": None,
    "created_at": "2023-02-01T00:00:00Z", "expired_at": None,
}  # fmt: skip
EPISODE = {
    "uuid": "p1", "content": "I live in Bremen.", "source": "message", "valid_at": "2023-01-15T00:00:00Z",
    "created_at": "2023-02-01T00:00:00Z", "group_id": "g",
}  # fmt: skip


def test_an_edge_is_a_fact_in_both_axes_with_its_episode_as_evidence(tmp_path: Path) -> None:
    reading = read(tmp_path, graph(EDGE, episodes=[EPISODE]))
    (episode,) = reading.episodes
    assert (episode.text, episode.told_at.day, episode.kind, episode.external_id) == (
        "I live in Bremen.", 15, "testimony", "p1",
    )  # fmt: skip
    (told,) = reading.facts
    fact = told.fact
    assert (fact.id, fact.subject.name, fact.relation, fact.entity.name) == ("e1", "Nora", "lives_in", "Bremen")
    assert fact.valid.start.ToDatetime() == datetime(2023, 1, 1)
    assert fact.told_at.ToDatetime() == datetime(2023, 2, 1)
    assert not fact.valid.HasField("end")
    assert told.evidence == 0
    assert told.record("ours").fact.episode_id == "ours"
    assert reading.skipped == {"sentences of edges": 1, "summaries of nodes": 1}


def test_an_end_that_was_learnt_later_is_told_then(tmp_path: Path) -> None:
    late = EDGE | {"invalid_at": "2024-05-01T00:00:00Z", "expired_at": "2024-06-01T00:00:00Z"}
    told, ended = (one.fact for one in read(tmp_path, graph(late)).facts)
    assert not told.valid.HasField("end"), "as of 2023 nobody knew of an end"
    assert (ended.retracted, ended.relation) == (True, "lives_in")
    assert ended.valid.start.ToDatetime() == datetime(2024, 5, 1)
    assert ended.told_at.ToDatetime() == datetime(2024, 6, 1)
    assert ended.id not in ("", told.id)
    never = read(tmp_path, graph(EDGE | {"expired_at": "2024-06-01T00:00:00Z"})).facts[1].fact
    assert not never.valid.HasField("start")
    known = read(tmp_path, graph(EDGE | {"invalid_at": "2024-05-01T00:00:00Z"})).facts
    assert [one.fact.valid.end.ToDatetime() for one in known] == [datetime(2024, 5, 1)]


def test_without_its_episode_the_sentence_of_an_edge_is_the_evidence(tmp_path: Path) -> None:
    reading = read(tmp_path, graph(EDGE))
    assert [(one.text, one.kind, one.external_id) for one in reading.episodes] == [
        ("Nora lives in Bremen.", "document", "e1")
    ]
    assert reading.facts[0].evidence == 0


def test_edges_that_say_nothing_whole_are_counted(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        graph(
            EDGE | {"target_node_uuid": "nobody"}, EDGE | {"name": "!"}, EDGE | {"invalid_at": "2022-01-01T00:00:00Z"},
            episodes=[{"uuid": "p2", "content": " "}],
        ),
    )  # fmt: skip
    assert (reading.facts, reading.episodes) == ([], [])
    assert reading.skipped == {
        "edges without a uuid, a name and two nodes": 2, "edges that end before they begin": 1,
        "summaries of nodes": 1, "episodes without content": 1,
    }  # fmt: skip


def test_a_time_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="edge 1 has the time 'soon'"):
        read(tmp_path, graph(EDGE | {"created_at": "soon"}))


def test_what_is_of_no_other_system_is_read_as_before(tmp_path: Path) -> None:
    reading = read(tmp_path, {"messages": [{"role": "user", "content": "Hi."}]})
    assert [one.text for one in reading.episodes] == ["Hi."]
    assert (reading.facts, reading.skipped) == ([], {})
