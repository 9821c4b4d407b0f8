"""ProsQA: which of two kinds is Tom, if he is one of these and every one of these is one of those?

A task of planning over graphs (Coconut, arXiv 2412.06769, section 4.1), in three forms: a `Graph` of
`cognition.latent.tasks.prosqa_graphs`, a `Question` in the format of the official files, and text. All turn into one
another. `ProsQA` makes the task by a seed; `read` takes an official file.

    {"question", "answer", "steps", "idx_to_symbol", "edges", "root", "target", "neg_target"}

Words are drawn at random for every question, and sentences and ids shuffled, so that neither a word, nor a place, nor a
number says where in the graph a node lies. `steps` is one shortest path, sentence by sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from cognition.latent.tasks.base import SPLITS, Example, Split, same_answer
from cognition.latent.tasks.prosqa_graphs import Edge, Graph, GraphSampler, Pairing, children, distances, names_of
from core.errors import InvalidArgument, NotFound

NAMES = (
    "Ada Ben Clara Dina Emil Frida Gus Hana Ivo Jana Karl Lena Milo Nora Otto Paula Quinn Rosa Sven Tilda Uwe Vera "
    "Willa Xaver Yara Zeno"
).split()
KINDS = (
    "bimpus blorpus brempus chimpus clompus crumpus dalpus drimpus dwempus elpus fampus flimpus frompus galpus "
    "glempus gnorpus grelpus gwimpus halpus hompus impus jolpus jumpus kalpus klimpus krompus lalpus lirpus malpus "
    "mempus nalpus nimpus olpus plimpus prampus quelpus ralpus rilpus sculpus shimpus skempus slorpus snimpus spelpus "
    "stampus swimpus talpus thrumpus tilpus tralpus twempus umpus valpus vrompus walpus whimpus yalpus yelpus zalpus "
    "zilpus"
).split()

_MOST_BYTES = 1 << 30
_FACT = re.compile(r"^(?:Every |Each )?(\w+) is an? (\w+)$")
_ASKED = re.compile(r"^Is (\w+) an? (\w+) or (?:an? )?(\w+)$")


@dataclass(frozen=True, slots=True)
class Question:
    """One item: the graph, the words for its nodes, and the order in which it is told.

    `target_first` says which candidate the question names first. The graph's edges are in the order of the sentences.
    """

    graph: Graph
    symbols: tuple[str, ...]
    target_first: bool = True

    @property
    def text(self) -> str:
        """All facts, and what is asked."""
        graph, words = self.graph, self.symbols
        first, second = (graph.target, graph.neg_target) if self.target_first else (graph.neg_target, graph.target)
        facts = [fact(words[source], words[end]) for source, end in graph.edges]
        return " ".join([*facts, f"Is {words[graph.root]} a {words[first]} or {words[second]}?"])

    @property
    def answer(self) -> str:
        """Such as "Tom is a lempus."."""
        return fact(self.symbols[self.graph.root], self.symbols[self.graph.target])

    @property
    def steps(self) -> tuple[str, ...]:
        """The sentences of a shortest path from the root to the target."""
        return tuple(fact(self.symbols[one], self.symbols[other]) for one, other in pairwise(path(self.graph)))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a text says: a graph whose answer is open. `candidates` are in the order in which they are named."""

    symbols: tuple[str, ...]
    edges: tuple[Edge, ...]
    root: int
    candidates: tuple[int, int]


def fact(one: str, other: str) -> str:
    """The sentence of an edge: names are written with a capital."""
    return f"{one} is a {other}." if one[0].isupper() else f"Every {one} is a {other}."


def path(graph: Graph) -> list[int]:
    """The nodes of a shortest path from the root to the target; of several, the one by the lowest ids."""
    above: list[list[int]] = [[] for _ in range(graph.nodes)]
    for source, end in graph.edges:
        above[end].append(source)
    found = distances(children(graph.nodes, graph.edges), [graph.root])
    nodes = [graph.target]
    while nodes[-1] != graph.root:
        nodes.append(min(node for node in above[nodes[-1]] if found[node] == found[nodes[-1]] - 1))
    return nodes[::-1]


def worded(graph: Graph, rng: np.random.Generator) -> Question:
    """A graph with words for its nodes, its ids and edges shuffled."""
    place = rng.permutation(graph.nodes)
    edges = [(int(place[source]), int(place[end])) for source, end in graph.edges]
    order = rng.permutation(len(edges))
    named = {int(place[node]) for node in names_of(graph.nodes, graph.edges)}
    people, kinds = rng.permutation(len(NAMES)), rng.permutation(len(KINDS))
    if len(named) > len(people) or graph.nodes - len(named) > len(kinds):
        raise InvalidArgument(
            f"{graph.nodes} nodes need more words than there are: {len(NAMES)} names and {len(KINDS)} kinds",
            field="graph",
        )
    shuffled = Graph(
        graph.nodes,
        tuple(edges[at] for at in order),
        int(place[graph.root]),
        int(place[graph.target]),
        int(place[graph.neg_target]),
        graph.hops,
    )
    next_name, next_kind = iter(people), iter(kinds)
    symbols = tuple(NAMES[next(next_name)] if node in named else KINDS[next(next_kind)] for node in range(graph.nodes))
    return Question(shuffled, symbols, bool(rng.integers(2)))


def parsed(text: str) -> Asked:
    """The graph that a text tells of. InvalidArgument quotes a sentence that is none of its kind."""
    sentences = [one for part in text.split("?") for one in map(str.strip, part.split(".")) if one]
    if not sentences or (asked := _ASKED.match(sentences[-1])) is None:
        told = sentences[-1] if sentences else ""
        raise InvalidArgument(
            f"the text ends in {told[:80]!r}; end it in a question such as “Is Tom a lempus or scrompus?”",
            field="prompt",
        )
    places: dict[str, int] = {}
    edges: dict[Edge, None] = {}
    for sentence in sentences[:-1]:
        match = _FACT.match(sentence)
        if match is None:
            raise InvalidArgument(
                f"{sentence[:80]!r} is no fact of a graph; write facts as “Tom is a terpus.” and “Every terpus is a "
                "brimpus.”",
                field="prompt",
            )
        one, other = (places.setdefault(word, len(places)) for word in match.groups())
        edges[one, other] = None
    root, *candidates = asked.groups()
    for word in (root, *candidates):
        if word not in places:
            raise InvalidArgument(f"the question asks about {word!r}, of which no fact is told", field="prompt")
    first, second = (places[word] for word in candidates)
    if first == second:
        raise InvalidArgument(f"both candidates are {candidates[0]!r}; name two", field="prompt")
    return Asked(tuple(places), tuple(edges), places[root], (first, second))


def read(file: Path) -> list[Question]:
    """The items of an official file.

    Raises NotFound, and InvalidArgument naming the item and what is wrong with it: a field that is missing, an id that
    is none, a target that the root does not reach, or another candidate that it does.
    """
    if not file.is_file():
        raise NotFound(f"{file} is no file", reason="FILE_NOT_FOUND", field="data")
    if file.stat().st_size > _MOST_BYTES:
        raise InvalidArgument(f"{file} has more than {_MOST_BYTES} bytes", field="data")
    try:
        items = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidArgument(f"{file} is no JSON: {error}", field="data") from None
    if not isinstance(items, list) or not items:
        raise InvalidArgument(f"{file} holds no list of questions in the format of ProsQA", field="data")
    return [_question(item, f"[{number}]") for number, item in enumerate(items)]


def write(file: Path, questions: Iterable[Question]) -> None:
    """Writes items in the format of the official files."""
    file.write_text(json.dumps([as_item(one) for one in questions], ensure_ascii=False) + "\n", encoding="utf-8")


def as_item(question: Question) -> dict[str, Any]:
    """An item of an official file."""
    graph = question.graph
    return {
        "question": question.text,
        "answer": question.answer,
        "steps": list(question.steps),
        "idx_to_symbol": list(question.symbols),
        "edges": [list(edge) for edge in graph.edges],
        "root": graph.root,
        "target": graph.target,
        "neg_target": graph.neg_target,
    }


def _question(item: Any, where: str) -> Question:
    try:
        symbols = tuple(str(word) for word in item["idx_to_symbol"])
        edges = tuple((int(source), int(end)) for source, end in item["edges"])
        root, target, other = (int(item[name]) for name in ("root", "target", "neg_target"))
        text = str(item.get("question", ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidArgument(
            f"item {where} is not in the format of ProsQA ({type(error).__name__}: {error})", field=f"data{where}"
        ) from None
    nodes = len(symbols)
    wrong = [
        node for node in (root, target, other, *(node for edge in edges for node in edge)) if node not in range(nodes)
    ]
    if wrong:
        raise InvalidArgument(f"item {where} has no node {wrong[0]}; it has {nodes}", field=f"data{where}")
    found = distances(children(nodes, edges), [root])
    if found[target] < 1 or found[other] >= 0:
        fault = "does not reach its target" if found[target] < 1 else "reaches both candidates"
        raise InvalidArgument(f"the root of item {where} {fault}", field=f"data{where}")
    first = re.search(r"is \w+ an? (\w+) or", text, re.IGNORECASE)
    return Question(
        Graph(nodes, edges, root, target, other, found[target]), symbols, first is None or first[1] == symbols[target]
    )


@dataclass(frozen=True, slots=True)
class ProsQA:
    """The task, made by a seed in the official distribution (see Task). `details` of an example is its `Question`."""

    seed: int = 0
    train: int = 17_886
    validation: int = 300
    test: int = 500
    hops: tuple[int, int] = (3, 6)
    pairing: Pairing = Pairing.OFFICIAL

    @property
    def name(self) -> str:
        """See Task."""
        return "prosqa"

    def examples(self, split: Split) -> Sequence[Example]:
        """See Task. Drawn from a generator of the split's own; two splits that share a question are unheard of."""
        rng = np.random.default_rng([self.seed, SPLITS.index(split)])
        sampler = GraphSampler(rng, hops=self.hops, pairing=self.pairing)
        questions = (worded(sampler.draw(), rng) for _ in range(getattr(self, split)))
        return [Example(one.text, one.steps, one.answer, details=one) for one in questions]

    def correct(self, example: Example, generated: str) -> bool:
        """See Task."""
        return same_answer(example.answer, generated)
