"""Tasks: every answer follows from its question, splits share nothing, and a broken file says where."""

import json
import re

import pytest

from cognition.latent.tasks import catalog
from cognition.latent.tasks.arithmetic import Arithmetic
from cognition.latent.tasks.base import SPLITS, same_answer
from cognition.latent.tasks.jsonl import JsonLines, read
from cognition.latent.tasks.prontoqa import ProntoQA
from core.errors import InvalidArgument, NotFound

SMALL = {"train": 300, "validation": 60, "test": 60}


def singular(word):
    return word.lower().removesuffix("es") if word.lower().endswith("puses") else word.lower()


def derived(question):
    """All that follows of who is asked about, by forward chaining over the sentences: (subject is, signs)."""
    rules, facts = [], set()
    body, _, asked = question.partition(" True or false: ")
    for sentence in re.findall(r"[^.]+", body):
        subject, said = re.fullmatch(r"\s*(.+?) (?:is|are) (.+)", sentence).groups()
        negated = said.startswith("not ")
        what = singular(re.sub(r"^(a|an) ", "", said.removeprefix("not ")))
        kind = singular(re.sub(r"^(Every|Each) ", "", subject))
        if subject.istitle() and not subject.startswith(("Every", "Each")) and not subject.endswith("puses"):
            facts.add((what, not negated))
        else:
            rules.append((kind, (what, not negated)))
    while new := {then for kind, then in rules if (kind, True) in facts} - facts:
        facts |= new
    said = re.fullmatch(r".+ is (not )?(.+)\.", asked)
    return facts, (said[2], said[1] is None)


@pytest.mark.parametrize("seed", [0, 1])
def test_answers_of_prontoqa_follow_by_forward_chaining(seed):
    for example in ProntoQA(seed=seed, **SMALL).examples("train"):
        facts, (what, sign) = derived(example.question)
        assert ((what, True) in facts) != ((what, False) in facts), example
        assert example.answer == str((what, sign) in facts), example


def test_steps_of_prontoqa_each_follow_from_one_rule_and_end_at_the_property():
    for example in ProntoQA(**SMALL).examples("test"):
        facts, (what, sign) = derived(example.question)
        said = [re.fullmatch(r"\w+ is (not )?(?:(?:a|an) )?(\w+)\.", step) for step in example.steps]
        told = [(one[2], one[1] is None) for one in said]
        assert set(told) <= facts
        assert told[-1] == (what, sign if example.answer == "True" else not sign)
        assert len(told) == example.details["hops"]


def test_prontoqa_is_balanced_and_has_all_hops():
    examples = ProntoQA(train=1000).examples("train")
    for negated in (True, False):
        group = [one for one in examples if (" is not " in one.question.partition("True or false")[2]) == negated]
        share = sum(one.answer == "True" for one in group) / len(group)
        assert 0.4 < share < 0.6
    assert {len(one.steps) for one in examples} == {1, 2, 3, 4, 5}


def evaluated(question):
    """The value of what is asked, by Python's own arithmetic."""
    *assignments, asked = question.split("; ")
    values = {}
    for line in assignments:
        name, _, term = line.partition(" = ")
        first, sign, second = term.split(" ")
        left, right = (values[one] if one in values else int(one) for one in (first, second))
        values[name] = {"+": left + right, "-": left - right, "*": left * right}[sign]
    return values[asked.removesuffix(" = ?")]


@pytest.mark.parametrize("task", [Arithmetic(**SMALL), Arithmetic(seed=3, steps=9, distractors=0, limit=20, **SMALL)])
def test_answers_of_arithmetic_are_what_the_chain_comes_to(task):
    for example in task.examples("train"):
        assert evaluated(example.question) == int(example.answer)
        for step in example.steps:
            left, sign, right, result = re.fullmatch(r"\w = (\d+) ([-+*]) (\d+) = (\d+)", step).groups()
            assert {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign] == int(
                result
            )
            assert int(result) <= task.limit
        assert example.steps[-1].endswith(f"= {example.answer}")


def test_a_name_may_be_followed_by_numbers():
    assert catalog.named("arithmetic:steps=3,limit=20", seed=7) == Arithmetic(seed=7, steps=3, limit=20)
    assert catalog.named("prontoqa") == ProntoQA()


@pytest.mark.parametrize("make", [ProntoQA, Arithmetic])
def test_splits_share_no_question_and_hang_on_the_seed_alone(make):
    task, again, other = make(**SMALL), make(**SMALL), make(seed=1, **SMALL)
    seen = [{one.question for one in task.examples(split)} for split in SPLITS]
    assert [len(one) for one in seen] == [300, 60, 60]
    assert not (seen[0] & seen[1])
    assert not (seen[0] & seen[2])
    assert not (seen[1] & seen[2])
    assert list(task.examples("test")) == list(again.examples("test"))
    assert list(task.examples("test")) != list(other.examples("test"))


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ProntoQA(hops=6), "hops"),
        (lambda: ProntoQA(train=0), "train"),
        (lambda: Arithmetic(steps=1), "steps"),
        (lambda: Arithmetic(limit=3), "limit"),
        (lambda: Arithmetic(distractors=-1), "distractors"),
        (lambda: catalog.named("sudoku"), "task"),
        (lambda: catalog.named("prontoqa:hips=3"), "task"),
        (lambda: catalog.named("arithmetic:steps=three"), "task"),
        (lambda: catalog.named("arithmetic:steps=1"), "steps"),
    ],
)
def test_settings_out_of_range_name_their_field(make, field):
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("expected", "generated", "same"),
    [
        ("1000", " 1,000 ", True),
        ("Tom is a wumpus.", "tom  is a wumpus", True),
        ("-3", "-3.", True),
        ("12", "1 2", False),
        ("True", "False", False),
        ("7", "7 apples", False),
    ],
)
def test_answers_that_count_as_the_same(expected, generated, same):
    assert same_answer(expected, generated) is same


def lines(path, rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


GOOD = {"question": "1 + 1?", "steps": ["1 + 1 = 2"], "answer": "2"}


def test_lines_and_lists_are_read_alike(tmp_path):
    rows = [GOOD, {"question": " Où ? ", "steps": "a\n\nb\n", "answer": 3, "edges": [[0, 1]]}]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(rows))
    found = read(lines(tmp_path / "lines.jsonl", [rows[0], "", rows[1]]))
    assert found == read(listed)
    assert found[1].question == "Où ?"
    assert found[1].steps == ("a", "b")
    assert found[1].answer == "3"
    assert found[1].details == {"edges": [[0, 1]]}


def test_a_line_may_hold_unicode_line_separators(tmp_path):
    path = tmp_path / "lines.jsonl"
    path.write_text(json.dumps({**GOOD, "question": "a\u2028b"}, ensure_ascii=False), encoding="utf-8")
    assert read(path)[0].question == "a\u2028b"


@pytest.mark.parametrize(
    ("row", "field", "says"),
    [
        ("{", "task", "line 2: no JSON"),
        ("[1]", "task", "line 2: a JSON list"),
        ({**GOOD, "question": 5}, "question", "line 2: question is 5"),
        ({"steps": [], "answer": "2"}, "question", "line 2: question is missing"),
        ({**GOOD, "steps": ["a", 2]}, "steps", "line 2: steps is"),
        ({**GOOD, "steps": None}, "steps", "line 2: steps is missing"),
        ({**GOOD, "answer": " "}, "answer", "line 2: answer is ' '"),
        ({**GOOD, "answer": True}, "answer", "line 2: answer is True"),
    ],
)
def test_a_broken_line_is_named_with_its_field(tmp_path, row, field, says):
    with pytest.raises(InvalidArgument, match=says) as caught:
        read(lines(tmp_path / "lines.jsonl", [GOOD, row]))
    assert caught.value.field == field


def test_files_that_are_none(tmp_path):
    with pytest.raises(NotFound):
        read(tmp_path / "none.jsonl")
    with pytest.raises(InvalidArgument, match="no example"):
        read(lines(tmp_path / "empty.jsonl", []))
    (tmp_path / "latin.jsonl").write_bytes(b'{}\n{"question": "\xe9"}')
    with pytest.raises(InvalidArgument, match="line 2: no UTF-8"):
        read(tmp_path / "latin.jsonl")
    (tmp_path / "object.json").write_text("{}")
    with pytest.raises(InvalidArgument, match="list of objects"):
        read(tmp_path / "object.json")


def test_what_a_file_holds_out_is_in_no_other_split(tmp_path):
    path = lines(tmp_path / "sums.jsonl", [{**GOOD, "question": f"{number}?"} for number in range(100)])
    task = JsonLines(path, seed=1)
    splits = [[one.question for one in task.examples(split)] for split in SPLITS]
    assert [len(split) for split in splits] == [90, 5, 5]
    assert len({question for split in splits for question in split}) == 100
    with pytest.raises(InvalidArgument, match="too few"):
        JsonLines(lines(tmp_path / "few.jsonl", [GOOD] * 5))


def test_splits_of_their_own_files_are_kept(tmp_path):
    paths = [lines(tmp_path / f"{split}.jsonl", [{**GOOD, "question": split}]) for split in SPLITS]
    task = JsonLines(*paths)
    assert [[one.question for one in task.examples(split)] for split in SPLITS] == [[split] for split in SPLITS]
    assert catalog.named(str(paths[0]), validation=paths[1], test=paths[2]).name == "train"
