"""The command line, as its user has it: real commands, the daemon they start, and the default models."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from processes import PATIENCE_S, SAPIENCE, Sapience, eventually, stopped_afterwards

SAMPLE = Path(__file__).parents[1] / "bench" / "data" / "sample"
PERCEIVED = Path(__file__).parents[1] / "data"
NO_MODELS = {"SAPIENCE_ENCODER": "file:/nowhere", "SAPIENCE_LANGUAGE_MODEL": "file:/nowhere"}
"""For what needs none: such a daemon starts in a second."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sapience(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sapience]:
    """The command line on a folder whose daemon the first command starts. What it logs tells every call."""
    one = Sapience(tmp_path_factory.mktemp("cli"), {"SAPIENCE_LOG_LEVEL": "debug"})
    with stopped_afterwards(one):
        one.ok("up")
        yield one


@pytest.fixture(scope="module")
def moved(sapience: Sapience) -> str:
    """A namespace in which a fact changes: Nora moves from Leipzig to Bremen."""
    sapience.ok("namespaces", "create", "moved")
    told = {"2024-01-05": "I live in Leipzig, near the park.", "2024-09-01": "I live in Bremen now, by the river."}
    for day, text in told.items():
        sapience.ok("remember", text, "-n", "moved", "--speaker", "Nora", "--time", f"{day}T09:00:00Z")
    sapience.ok("remember", "The tram was late again.", "-n", "moved", "--speaker", "Felix", "--time", "2024-02-02")
    eventually("both moves are read", lambda: sapience.ok("export", "-n", "moved").out.count('"fact"') == 2)
    return "moved"


def held(sapience: Sapience, namespace: str) -> dict[str, int]:
    """How many Episodes of each kind a namespace holds."""
    kinds: dict[str, int] = {}
    for line in sapience.ok("export", "-n", namespace).json_lines:
        if "episode" not in line:  # what was read in Episodes is exported too
            continue
        kind = line["episode"]["episode"]["source"]["kind"]
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def answer(sapience: Sapience, namespace: str, question: str, *options: str) -> dict[str, object]:
    """The answer to a question, which nothing is learned from."""
    return sapience.ok("ask", question, "-n", namespace, "--json", "--no-learn", *options).json_lines[-1]


# ---- who is mentioned ----


def test_names_are_listed_merged_and_told_apart_again(sapience):
    sapience.ok("namespaces", "create", "named")
    for text in ("My sister Melanie moved to Bremen.", "Mel loves hiking, said Mel."):
        sapience.ok("remember", text, "-n", "named", "--speaker", "Nora", "--time", "2024-01-05T09:00:00Z")

    def names() -> list[str]:
        return [one["entity"]["name"] for one in sapience.ok("entities", "-n", "named", "--json").json]

    eventually("what was told is read", lambda: names() == ["Bremen", "Mel", "Melanie", "Nora"])
    shown = sapience.ok("entities", "mel", "-n", "named").out
    assert "may be Melanie" in shown
    assert "Mel loves hiking, said Mel." in shown
    said = sapience.ok("merge", "Melanie", "Mel", "-n", "named", "--reason", "her short name").out
    assert said.startswith("Mel is Melanie")
    assert names() == ["Bremen", "Melanie", "Nora"]
    (merge,) = sapience.ok("entities", "--merges", "-n", "named", "--json").json
    assert (merge["kept"]["name"], merge["merged"]["name"], merge["reason"]) == ("Melanie", "Mel", "her short name")
    assert "two again" in sapience.ok("unmerge", merge["id"], "-n", "named").out
    assert names() == ["Bremen", "Mel", "Melanie", "Nora"]
    assert "undone by" in sapience.ok("entities", "--merges", "-n", "named").out


# ---- what changed ----


def test_changes_tell_what_was_learnt_from_what_happened(sapience, tmp_path):
    sapience.ok("namespaces", "create", "changed")
    assert "single" in sapience.ok("policies", "lives_in", "single", "-n", "changed").out
    facts = [
        {"relation": "lives_in", "entity": {"name": "Leipzig"}, "told_at": "2020-05-01T00:00:00Z"},
        {"relation": "lives_in", "entity": {"name": "Bremen"}, "told_at": "2024-05-01T00:00:00Z"},
        {"relation": "likes", "literal": "tea", "told_at": "2024-06-01T00:00:00Z"},
    ]
    for number, fact in enumerate(facts):
        since = "2019-01-01T00:00:00Z" if fact["relation"] == "likes" else fact["told_at"]
        fact |= {"id": f"changed-{number}", "subject": {"name": "Nora"}, "trust": 1, "valid": {"start": since}}
    file = tmp_path / "facts.jsonl"
    file.write_text("".join(json.dumps({"fact": fact}) + "\n" for fact in facts))
    sapience.ok("restore", file, "-n", "changed")

    shown = sapience.ok(
        "changes", "--from", "2023-01-01", "--to", "2025-01-01", "--entity", "Nora", "-n", "changed"
    ).out
    signs = [line.strip()[:30] for line in shown.splitlines() if line.strip()[0] in "+-"]
    assert [" ".join(line.split()[:4]) for line in signs] == [
        "+ Nora likes “tea”", "- Nora lives_in Leipzig", "+ Nora lives_in Bremen",
    ]  # fmt: skip
    (told,) = sapience.ok("changes", "--from", "2025-01-01", "-n", "changed", "--json").json_lines
    assert (told["belief"]["gained_total"], told["world"]["gained_total"]) == (0, 0)
    (audit,) = sapience.ok("changes", "--from", "2025-01-01", "--recorded", "-n", "changed", "--json").json_lines
    assert audit["belief"]["gained_total"] == 2, "this store knew nothing then"
    (policy,) = sapience.ok("policies", "-n", "changed", "--json").json_lines[0]
    assert (policy["relation"], policy["policy"]) == ("lives_in", "single")
    assert "many, single or set" in sapience("policies", "lives_in", "-n", "changed").err


# ---- remember and recall ----


def test_what_is_told_twice_is_recognised(sapience):
    sapience.ok("namespaces", "create", "twice")
    told = ("remember", "The spare key is with Priya", "-n", "twice", "--speaker", "Nora", "--time", "2024-05-01")
    first = re.fullmatch(r"remembered as ([0-9a-f-]{36})\n", sapience.ok(*told).out)
    assert first
    assert sapience.ok(*told).out == f"known already as {first[1]}\n"
    assert sapience.ok(*told, "--json").json["duplicate"] is True


def test_recall_finds_what_bears_on_a_text_and_says_why(sapience, moved):
    hits = sapience.ok("recall", "Where is Nora's flat?", "-n", moved, "--json", "--limit", "2").json
    assert len(hits) == 2
    assert hits[0]["episode"]["text"] == "I live in Bremen now, by the river."
    assert hits[0]["episode"]["speaker"] == "Nora"
    assert hits[0]["episode"]["told_at"] == "2024-09-01T09:00:00+00:00"
    assert {channel["channel"] for channel in hits[0]["channels"]} >= {"dense", "sparse"}
    shown = sapience.ok("recall", "Where is Nora's flat?", "-n", moved, "--limit", "1").out
    assert re.match(r"  1 +\d+\.\d\d  Nora 2024-09-01 09:00  I live in Bremen now, by the river\.\n", shown)
    (only,) = sapience.ok("recall", "Where is the flat?", "-n", moved, "--json", "--speaker", "Felix").json
    assert only["episode"]["speaker"] == "Felix"


# ---- ask ----


def test_an_answer_shows_where_it_comes_from(sapience, moved):
    shown = sapience.ok("ask", "Where does Nora live?", "-n", moved, "--no-learn").out
    assert re.search(r"^  1 command line · Nora · 2024-0[19]-0[15] 09:00 · [01]\.\d\d$", shown, re.MULTILINE), shown
    assert "“I live in Bremen now, by the river.”" in shown
    last = shown.splitlines()[-1]
    assert re.search(r"answered · confidence 0\.\d\d \(\S+\) · worded by \w+ · trace [0-9a-f-]{36}$", last), last


def test_events_come_one_a_line_and_the_answer_last(sapience, moved):
    events = sapience.ok("ask", "Where does Nora live?", "-n", moved, "--json", "--no-learn").json_lines
    assert [event["seq"] for event in events] == list(range(len(events)))
    assert len({event["trace_id"] for event in events}) == 1
    kinds = [event["event"] for event in events]
    assert kinds[0] == "recalled"
    assert kinds.count("answer") == 1
    assert kinds[-1] == "answer"
    for citation in events[-1]["citations"]:
        assert len(citation["quote"].encode()) == citation["end_byte"] - citation["start_byte"]
        assert (citation["source"], citation["kind"]) == ("command line", "testimony")
        assert citation["speaker"] in ("Nora", "Felix")
        assert citation["told_at"].startswith("2024-")


def test_as_of_answers_what_was_told_by_then(sapience, moved):
    def cited(*options: str) -> list[str]:
        return [one["quote"] for one in answer(sapience, moved, "Where does Nora live?", *options)["citations"]]

    then = answer(sapience, moved, "Where does Nora live?", "--as-of", "2024-06-01")
    now = answer(sapience, moved, "Where does Nora live?")
    assert "Leipzig" in then["text"]
    assert "Bremen" not in json.dumps(then, ensure_ascii=False)
    assert "Bremen" in json.dumps(now, ensure_ascii=False)
    assert then["text"] != now["text"]
    assert cited("--as-of", "2024-01-04") == []
    assert "I live in Leipzig, near the park." in cited("--as-of", "2024-01-05"), "a date means its end"
    assert cited("--as-of", "2024-01-05T08:59:59Z") == []


def test_what_nothing_supports_is_not_known(sapience, moved):
    unknown = answer(sapience, moved, "Which volcano did the astronauts photograph?")
    assert (unknown["verdict"], unknown["citations"]) == ("unknown", [])


def test_learning_keeps_the_exchange_as_our_own_and_never_cites_it(sapience, moved):
    before = held(sapience, moved)
    answer(sapience, moved, "Who lives in Bremen?")
    assert held(sapience, moved) == before, "--no-learn changed memory"

    learned = sapience.ok("ask", "Who lives in Bremen?", "-n", moved, "--json").json_lines[-1]["learned_episode_id"]
    assert held(sapience, moved) == before | {"SOURCE_KIND_SELF": before.get("SOURCE_KIND_SELF", 0) + 1}
    again = answer(sapience, moved, "Who lives in Bremen?")
    assert again["citations"]
    assert all(one["kind"] == "testimony" and one["episode_id"] != learned for one in again["citations"])
    hits = sapience.ok("recall", "Who lives in Bremen?", "-n", moved, "--json").json
    assert learned not in [hit["episode"]["id"] for hit in hits]


def test_a_trace_tells_everything_that_led_to_an_answer(sapience, moved):
    events = sapience.ok("ask", "Where does Nora live?", "-n", moved, "--json", "--no-learn").json_lines
    trace = sapience.ok("trace", events[-1]["trace_id"], "-n", moved, "--json").json
    assert (trace["id"], trace["namespace"]) == (events[-1]["trace_id"], moved)
    assert trace["text"] == "Where does Nora live?"
    kept = trace["events"][-1]  # its pieces of a draft are joined, so events have other numbers
    assert {name: value for name, value in kept.items() if name != "seq"} == {
        name: value for name, value in events[-1].items() if name != "seq"
    }
    assert trace["events"][0]["hits"] == events[0]["hits"]
    assert {"perceive", "recall"} <= trace["timings_ms"].keys()
    shown = sapience.ok("trace", events[-1]["trace_id"], "-n", moved).out
    assert shown.startswith("Where does Nora live?")
    assert "hits with recipe default" in shown


def test_a_second_ask_starts_nothing_again(sapience, moved):
    daemon = sapience.daemon()
    sapience.ok("ask", "Where does Nora live?", "-n", moved, "--no-learn")
    assert sapience.daemon() == daemon
    log = sapience.log()
    assert sum(line["event"] == "serving" for line in log) == 1
    ready = [line["service"] for line in log if line["event"] == "health" and line["serving"]]
    assert sorted(ready) == sorted(set(ready)), "a service came up twice"


def test_ctrl_c_stops_the_answer_on_the_server_too(sapience, moved, slow_language_model):
    before = held(sapience, moved)
    asking = sapience.start("ask", "Where does Nora live?", "-n", moved, "--json", "--model", slow_language_model)
    assert asking.stdout
    for line in asking.stdout:
        if json.loads(line)["event"] == "token":
            break
    asking.send_signal(signal.SIGINT)
    out, err = asking.communicate(timeout=PATIENCE_S)
    assert asking.returncode == 130, err
    assert "Traceback" not in err
    assert '"event": "answer"' not in out

    def codes() -> list[str]:
        calls = [line for line in sapience.log() if line["event"] == "call"]
        return [line["code"] for line in calls if line["method"].endswith("/Reason")]

    eventually("the server ends the call", lambda: codes()[-1] == "CANCELLED", within_s=30)
    assert held(sapience, moved) == before, "an exchange that was stopped was learned"
    assert answer(sapience, moved, "Where does Nora live?")["verdict"] == "answered"


def test_chat_remembers_and_answers(sapience):
    sapience.ok("namespaces", "create", "chat")
    shown = sapience.ok("chat", "-n", "chat", given="!My violin is at the luthier's.\nWhere is the violin?\n\n").out
    assert re.search(r"remembered [0-9a-f-]{36}", shown)
    assert "“My violin is at the luthier's.”" in shown
    assert held(sapience, "chat") == {"SOURCE_KIND_TESTIMONY": 1, "SOURCE_KIND_SELF": 1}


# ---- files ----


def test_every_format_is_imported_and_recognised_when_it_comes_again(sapience, tmp_path):
    sapience.ok("namespaces", "create", "files")
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Priya,\n\nthe boat is sold. Ä ß 🛶\n\nYours, Nora\n")
    files = [SAMPLE / "conversation.jsonl", SAMPLE / "notes.md", SAMPLE / "messages.json", letter]
    rows = sapience.ok("import", *files, "-n", "files", "--json").json
    assert [row["file"] for row in rows] == list(map(str, files))
    assert [row["remembered"] for row in rows] == [216, 14, 10, 3]
    assert all(row["duplicates"] == 0 and row["refused"] == [] for row in rows)

    again = sapience.ok("import", *files, "-n", "files", "--json").json
    assert [(row["remembered"], row["duplicates"]) for row in again] == [(0, row["remembered"]) for row in rows]
    with letter.open("a") as file:
        file.write("\nP.S. Keep the oars.\n")
    told = sapience.ok("import", letter, "-n", "files")
    assert told.err.endswith("letter.txt: 1 remembered, 3 known already, 0 refused\n")
    assert held(sapience, "files") == {"SOURCE_KIND_TESTIMONY": 226, "SOURCE_KIND_DOCUMENT": 18}

    cited = answer(sapience, "files", "What does Nora's cat look like?")["citations"]
    assert "t040" in [one["external_id"] for one in cited]
    assert {"conversation.jsonl"} <= {one["source"] for one in cited}


def test_a_folder_of_recordings_and_images_is_heard_and_read(sapience, tmp_path):
    pytest.importorskip("soundfile")
    sapience.ok("namespaces", "create", "senses")
    folder = tmp_path / "kept"
    (folder / "inside").mkdir(parents=True)
    (folder / "talk.ogg").write_bytes((PERCEIVED / "spoken.ogg").read_bytes())
    (folder / "inside" / "card.png").write_bytes((PERCEIVED / "written.png").read_bytes())
    (folder / "note.txt").write_text("The oars are in the shed.\n")
    (folder / "broken.png").write_bytes((PERCEIVED / "written.png").read_bytes()[:2000])
    (folder / "unknown.bin").write_bytes(b"none")
    told = ("import", folder, "-n", "senses", "--time", "2026-03-01", "--json")
    done = sapience(*told)
    assert done.status == 1, "one file was refused"
    rows = {Path(row["file"]).name: row for row in done.json}
    assert list(rows) == ["broken.png", "card.png", "note.txt", "talk.ogg"]
    assert [row["remembered"] for row in rows.values()] == [0, 1, 1, 2]
    assert "broken.png is not perceived: the image cannot be decoded" in rows["broken.png"]["failed"]
    again = {Path(row["file"]).name: row for row in sapience(*told).json}
    assert [(row["remembered"], row["duplicates"]) for row in again.values()] == [(0, 0), (0, 1), (0, 1), (0, 2)]

    (hit, *_) = sapience.ok("recall", "Where does the grandmother live?", "-n", "senses", "--json").json
    episode = hit["episode"]
    assert "London" in episode["text"]
    assert (episode["source"], episode["kind"]) == ("talk.ogg", "document")
    assert episode["told_at"].startswith("2026-03-01")


def test_a_turn_that_cannot_be_kept_is_refused_alone_and_named(sapience, tmp_path):
    sapience.ok("namespaces", "create", "alone")
    chat = tmp_path / "chat.jsonl"
    chat.write_text('{"text": "One"}\n{"text": "Two", "time": "9000-01-01"}\n{"text": "Three"}\n')
    done = sapience.ok("import", chat, "-n", "alone")
    assert "chat.jsonl: 2 remembered, 0 known already, 1 refused\n  2: " in done.err
    assert "nothing is told in the future" in done.err


def test_an_export_is_restored_into_another_namespace(sapience, moved, tmp_path):
    for name in ("restored", "piped"):
        sapience.ok("namespaces", "create", name)
    file = tmp_path / "moved.jsonl"
    sapience.ok("export", file, "-n", moved)
    assert [path.name for path in tmp_path.iterdir()] == ["moved.jsonl"]
    assert file.read_text() == sapience.ok("export", "-n", moved).out

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    count = len(lines)
    assert [sum(kind in line for line in lines) for kind in ("episode", "fact", "policy")] == [count - 3, 2, 1]
    told = sapience.ok("restore", file, "-n", "restored").out
    assert told == f"{count - 3} Episodes, 2 Facts, 1 policies, 0 there already\n"
    told = sapience.ok("restore", file, "-n", "restored").out
    assert told == f"0 Episodes, 0 Facts, {count} there already\n"
    assert told_of(sapience, "restored") == told_of(sapience, moved)
    cited = answer(sapience, "restored", "Where does Nora live?")["citations"]
    assert "I live in Bremen now, by the river." in [one["quote"] for one in cited]


def told_of(sapience: Sapience, namespace: str) -> list[dict[str, object]]:
    """What an export tells, without what every store has of its own."""
    records = [line["episode"] for line in sapience.ok("export", "-n", namespace).json_lines if "episode" in line]
    texts = {record["episode"]["id"]: record["episode"]["text"] for record in records}
    for record in records:
        for own in ("id", "namespace", "recorded_at", "seq"):
            record["episode"].pop(own)
        if "derived_from" in record:
            record["derived_from"] = sorted(texts[known] for known in record["derived_from"])
        for concept in record["concepts"]:
            concept.pop("id")
            concept.pop("episode_id")
    return sorted(records, key=lambda record: json.dumps(record, sort_keys=True))


# ---- forget and namespaces ----


def test_forget_says_how_much_and_asks_first(sapience):
    sapience.ok("namespaces", "create", "gone")
    for text, speaker in (("I said this.", "Ada"), ("And this.", "Ada"), ("I said that.", "Grace")):
        sapience.ok("remember", text, "-n", "gone", "--speaker", speaker)
    asked = sapience.ok("forget", "-n", "gone", "--speaker", "Ada", given="n\n")
    assert asked.out.startswith("2 Episodes, 2 Concepts, 0 Facts\nDelete them for good?")
    assert held(sapience, "gone") == {"SOURCE_KIND_TESTIMONY": 3}
    sapience.ok("forget", "-n", "gone", "--speaker", "Ada", given="y\n")
    (left,) = sapience.ok("export", "-n", "gone").json_lines
    assert left["episode"]["episode"]["speaker"] == "Grace"
    done = sapience.ok("forget", left["episode"]["episode"]["id"], "-n", "gone", "--yes")
    assert re.search(r"^deleted; the audit record is \S+$", done.out, re.MULTILINE)
    assert held(sapience, "gone") == {}
    assert sapience.ok("recall", "what was said", "-n", "gone", "--json").json == []


def test_what_is_archived_is_listed_first_then_not_found_and_thawed(sapience):
    sapience.ok("namespaces", "create", "attic")
    ids = {}
    for text in ("Hi there", "The boat is called Windflower", "Clara bought the old piano"):
        kept = sapience.ok("remember", text, "-n", "attic", "--json").json
        ids[text] = kept["episode_id"]

    def found():
        return {hit["episode"]["text"] for hit in sapience.ok("recall", "the boat", "-n", "attic", "--json").json}

    listed = sapience.ok("archive", "--share", "0.34", "--dry-run", "-n", "attic").out
    assert re.match(r"^0\.\d{3}  me .* Hi there\n", listed)
    assert listed.endswith("1 Episodes would be archived\n")
    assert found() == set(ids)
    sapience.ok("hold", "case 12", ids["Hi there"], "-n", "attic")
    assert sapience.ok("archive", "--threshold", "0", "-n", "attic").out == "0 Episodes are now archived\n"
    refused = sapience("archive", ids["Hi there"], "-n", "attic")
    assert refused.status == 1
    assert "'case 12'" in refused.err
    assert sapience.ok("hold", "case 12", ids["Hi there"], "--release", "-n", "attic").out.startswith("1 Episodes rel")
    done = sapience.ok("archive", "--share", "0.34", "-n", "attic", "--json").json
    assert [one["episode"]["id"] for one in done["retained"]] == [ids["Hi there"]]
    assert found() == set(ids) - {"Hi there"}
    assert sapience.ok("thaw", "--all", "-n", "attic").out == "1 Episodes are found again\n"
    assert found() == set(ids)


def test_namespaces_are_created_listed_and_deleted(sapience):
    sapience.ok("namespaces", "create", "short-lived")
    sapience.ok("remember", "Hello", "-n", "short-lived")
    names = [one["name"] for one in sapience.ok("namespaces", "list", "--json").json]
    assert "short-lived" in names
    assert names == sorted(names)
    assert "short-lived" in sapience.ok("namespaces", "list").out
    assert "Delete short-lived" in sapience.ok("namespaces", "delete", "short-lived", given="n\n").out
    assert sapience.ok("namespaces", "delete", "short-lived", "--yes").out == "deleted short-lived and its 1 Episodes\n"
    assert "short-lived" not in sapience.ok("namespaces", "list").out


# ---- what goes wrong ----


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["ask", ""], "text is empty"),
        (["ask", "x" * 9000], "text has 9000 bytes; at most 8192"),
        (["remember", " \n"], r"text is empty"),
        (["ask", "x", "-n", "nowhere"], "there is no namespace 'nowhere'"),
        (["remember", "x", "-n", "nowhere"], "there is no namespace 'nowhere'"),
        (["remember", "x", "--time", "9000-01-01"], "nothing is told in the future"),
        (["recall", "x", "--recipe", "wild"], "no recipe 'wild'; one of default, reranked"),
        (["ask", "x", "--model", "gpt"], "'gpt' is no model address; write wheel:NAME"),
        (["ask", "x", "--model", "file:/nowhere"], "file:/nowhere: /nowhere is not there"),
        (["trace", "nothing"], "no trace 'nothing'"),
        (["namespaces", "create", "Bad Name"], "'Bad Name' is not a namespace"),
        (["namespaces", "create", "default"], "default"),
        (["namespaces", "delete", "nowhere", "--yes"], "there is no namespace 'nowhere'"),
        (["import", "missing.txt"], "missing.txt cannot be read: No such file or directory"),
        (["import", "latin.txt"], r"latin.txt is not UTF-8: byte 3 \(line 1\) is 0xe9"),
        (["import", "half.jsonl"], "half.jsonl line 1 is no JSON"),
        (["import", "film.mp4"], r"has the ending '\.mp4'; \.txt"),
        (["import", "picture.png"], "picture.png is not perceived: the file begins with"),
        (["import", "silent.wav"], "silent.wav is empty"),
        (["restore", "missing.jsonl"], "missing.jsonl: No such file or directory"),
        (["restore", "half.jsonl"], "half.jsonl line 1: "),
        (["restore", "latin.txt"], "latin.txt line 1: "),
        (["export", "missing/out.jsonl"], "No such file or directory"),
        (["export", "out.jsonl", "-n", "nowhere"], "there is no namespace 'nowhere'"),
        (["bench", "sample", "--data", "missing"], "missing has no questions.jsonl"),
        (["serve", "wild"], "no service 'wild'; one of perception"),
        (["demo", "--data", "missing"], "missing has no questions.jsonl"),
    ],
)
def test_an_error_is_one_clear_line_and_status_1(sapience, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    Path("latin.txt").write_bytes("Café".encode("latin-1"))
    Path("half.jsonl").write_text('{"text": "half')
    Path("picture.png").write_bytes(b"\x89PNG")
    Path("film.mp4").write_bytes(b"ftyp")
    Path("silent.wav").touch()
    before = sorted(tmp_path.iterdir())
    done = sapience(*arguments)
    assert (done.status, done.out) == (1, ""), done
    assert re.fullmatch(rf"sapience: [^\n]*{says}[^\n]*\n", done.err), done.err
    assert sorted(tmp_path.iterdir()) == before, "something half made was left"


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "x", "--as-of", "2024-13-01"],
        ["ask", "x", "--wrong"],
        ["ask", "x", "--citations", "0"],
        ["ask"],
        ["remember", "x", "--time", "yesterday"],
        ["recall", "x", "--limit", "1000"],
        ["forget"],
        ["wild"],
    ],
)
def test_a_wrong_command_line_is_told_from_other_errors_by_status_2(sapience, arguments):
    done = sapience(*arguments)
    assert (done.status, done.out) == (2, "")
    assert "Traceback" not in done.err
    assert "Error" in done.err


@pytest.mark.parametrize(
    "settings",
    [
        {"SAPIENCE_ENCODER": "wheel:no-such-wheel", "SAPIENCE_LANGUAGE_MODEL": "file:/nowhere"},
        {"SAPIENCE_LANGUAGE_MODEL": "wheel:no-such-wheel"},
    ],
)
def test_a_model_that_cannot_be_loaded_is_told_at_once(tmp_path, settings):
    with stopped_afterwards(Sapience(tmp_path, settings)) as sapience:
        done = sapience("ask", "x")
        assert done.status == 1
        assert "no distribution named 'no-such-wheel' is installed; install it" in done.err.splitlines()[-1]
        assert "Traceback" not in done.err


# ---- the daemon ----


def test_two_first_commands_at_once_start_one_daemon(tmp_path):
    with stopped_afterwards(Sapience(tmp_path, NO_MODELS)) as sapience:
        both = [sapience.start("namespaces", "create", name) for name in ("one", "two")]
        for command in both:
            out, err = command.communicate(timeout=PATIENCE_S)
            assert command.returncode == 0, err
        assert sum(line["event"] == "serving" for line in sapience.log()) == 1
        names = [one["name"] for one in sapience.ok("namespaces", "list", "--json").json]
        assert {"one", "two"} <= set(names)


def test_status_starts_nothing_and_down_stops_what_runs(tmp_path):
    with stopped_afterwards(Sapience(tmp_path, NO_MODELS)) as sapience:
        done = sapience("status")
        assert (done.status, done.out) == (3, "no daemon is running; `sapience up` starts it\n")
        assert sapience("status", "--json").json == {"running": False}
        assert sapience.ok("down").out == "no daemon was running\n"
        assert list(tmp_path.iterdir()) == []

        sapience.ok("namespaces", "list")
        assert sapience.ok("status", "--json").json["running"] is True
        assert sapience.ok("down").out == "stopped\n"
        assert sapience("status").status == 3
        assert not (tmp_path / "daemon.json").exists()
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600


def test_up_and_status_of_a_daemon_that_serves(sapience):
    assert sapience.ok("up").out == f"serving at {sapience.daemon()['address']}\n"
    state = sapience.ok("status", "--json").json
    assert {one["name"]: one["serving"] for one in state["status"]["services"]} == {
        "memory": True,
        "perception": True,
        "reasoning": True,
    }
    assert re.search(r"^memory +yes ", sapience.ok("status").out, re.MULTILINE)


def test_a_daemon_that_was_killed_is_noticed_and_another_started(tmp_path):
    with stopped_afterwards(Sapience(tmp_path, NO_MODELS)) as sapience:
        sapience.ok("namespaces", "create", "kept")
        killed = sapience.daemon()["pid"]
        os.kill(killed, signal.SIGKILL)
        eventually("it is gone", lambda: sapience("status").status == 3)
        assert "kept" in sapience.ok("namespaces", "list").out
        assert sapience.daemon()["pid"] != killed


def test_the_daemon_stops_by_itself_when_idle(tmp_path):
    sapience = Sapience(tmp_path, NO_MODELS | {"SAPIENCE_IDLE_S": "10"})
    sapience.ok("namespaces", "create", "kept")
    eventually("it has stopped", lambda: not (tmp_path / "daemon.json").exists(), within_s=60)
    eventually("its log says so", lambda: [line["event"] for line in sapience.log()][-1] == "stopped", within_s=60)
    assert "idle" in [line["event"] for line in sapience.log()]
    with stopped_afterwards(sapience):
        assert "kept" in sapience.ok("namespaces", "list").out


def test_a_daemon_that_cannot_start_says_why(tmp_path):
    (tmp_path / "record.sqlite").write_bytes(b"this is no database, and never was" * 100)
    done = Sapience(tmp_path, NO_MODELS)("namespaces", "list")
    assert done.status == 1
    assert "record.sqlite" in done.err
    assert "Traceback" not in done.err


# ---- doctor ----


def test_the_doctor_finds_nothing_wrong_with_a_good_set_up(sapience):
    done = sapience.ok("doctor")
    assert "✗" not in done.out
    for what in ("python", "packages", "data folder", "token", "encoder", "language model", "record", "daemon"):
        assert f"✓ {what}: " in done.out


def test_the_doctor_names_what_is_wrong_and_the_mend(tmp_path):
    (tmp_path / "token").write_text("secret")
    (tmp_path / "token").chmod(0o644)
    (tmp_path / "file").write_text("")
    sapience = Sapience(tmp_path, {"SAPIENCE_CACHE_DIR": str(tmp_path / "file" / "cache")})
    done = sapience("doctor", SAPIENCE_ENCODER="wheel:no-such-wheel", SAPIENCE_LANGUAGE_MODEL="gpt")
    assert done.status == 1
    out = done.out.replace("\n    ", " | ")
    assert f"✗ token: {tmp_path}/token has mode 0644 | others can read it: chmod 600 {tmp_path}/token" in out
    assert re.search(r"✗ cache folder: .* is a file \| set SAPIENCE_CACHE_DIR to a folder that can be", out)
    assert re.search(r"✗ encoder: .*no-such-wheel.* \| set SAPIENCE_ENCODER to a model that is there", out)
    assert re.search(r"✗ language model: 'gpt' is no model address.* \| set SAPIENCE_LANGUAGE_MODEL", out)
    assert out.count("✗") == 4


def test_the_doctor_says_what_is_wrong_with_settings(tmp_path):
    done = Sapience(tmp_path)("doctor", SAPIENCE_DEVICE="toaster", SAPIENCE_IDLE_S="-1")
    assert done.status == 1
    assert "SAPIENCE_DEVICE" in done.err
    assert "SAPIENCE_IDLE_S" in done.err
    assert "Traceback" not in done.err


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(sapience, moved):
    line = f"{SAPIENCE} export -n moved | head -c 10 >/dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], env=sapience.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    assert done.stderr == ""
