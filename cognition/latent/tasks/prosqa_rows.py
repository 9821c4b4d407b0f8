"""Graphs as rows of symbols, for models that read no text.

A row is the ids of a few tokens, whose embeddings are added up (`cognition.engine`): an edge is one row, whatever its
place among the others. Nodes get symbols by chance, a new draw for every question, so that a symbol means nothing but
"the same node". The tokens, for S symbols:

    0 S…  SOURCE, TARGET    of an edge           EDGE  SOURCE+a  TARGET+b
    2 S…  ROOT              where to begin       START  ROOT+r
    3 S…  GOAL              what is looked for   GOALS  GOAL+x  GOAL+y
    4 S…  CANDIDATE         what to choose from  ANSWER  CANDIDATE+x  CANDIDATE+y
    5 S…  NODE              what is said: a node
    6 S…  EDGE, GOALS, START, ANSWER, PAUSE

The prompt is the edges, the goals and the root. Then come latent steps, and after them always the row of ANSWER, whose
next token is a node. No torch here.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cognition.latent.tasks.prosqa import Asked, fact, parsed
from core.errors import InvalidArgument

ROLES = 6
TYPES = 5

Row = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The ids of all tokens for a number of symbols, which is the most nodes that a graph may have."""

    symbols: int

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return ROLES * self.symbols + TYPES

    @property
    def source(self) -> int:
        """The first of the sources; those of the other roles and the types follow as the module says."""
        return 0

    @property
    def target(self) -> int:
        """See the module."""
        return self.symbols

    @property
    def root(self) -> int:
        """See the module."""
        return 2 * self.symbols

    @property
    def goal(self) -> int:
        """See the module."""
        return 3 * self.symbols

    @property
    def candidate(self) -> int:
        """See the module."""
        return 4 * self.symbols

    @property
    def node(self) -> int:
        """See the module."""
        return 5 * self.symbols

    @property
    def edge_type(self) -> int:
        """See the module."""
        return ROLES * self.symbols

    @property
    def goals_type(self) -> int:
        """See the module."""
        return ROLES * self.symbols + 1

    @property
    def start_type(self) -> int:
        """See the module."""
        return ROLES * self.symbols + 2

    @property
    def answer_type(self) -> int:
        """See the module."""
        return ROLES * self.symbols + 3

    @property
    def pause(self) -> int:
        """The token whose embedding stands for a thought in the control that feeds nothing back."""
        return ROLES * self.symbols + 4


@dataclass(frozen=True, slots=True)
class EncodedGraph:
    """A question as rows, and how to read what comes of it."""

    rows: tuple[Row, ...]
    """The prompt."""
    answer_row: Row
    """What always follows the thoughts."""
    allowed: tuple[int, int]
    """The tokens of the two candidates, in the order of the question."""
    symbols: tuple[str, ...]
    """What every token of the vocabulary stands for: the node's word, "" for a symbol that is not in use."""
    name: str
    """The word of the root."""

    def answer(self, token: int) -> str:
        """The sentence that a token says: "Tom is a lempus."."""
        word = self.symbols[token] if 0 <= token < len(self.symbols) else ""
        return fact(self.name, word) if word else ""


class GraphTokenizer:
    """Encodes questions for a model with so many symbols."""

    def __init__(self, symbols: int) -> None:
        self.vocabulary = Vocabulary(symbols)

    def encode(self, question: str | Asked) -> EncodedGraph:
        """A question as text, or parsed. InvalidArgument for what is none, and for more nodes than symbols.

        Which node gets which symbol depends on the words alone: the same text gives the same rows.
        """
        asked = parsed(question) if isinstance(question, str) else question
        vocabulary = self.vocabulary
        if len(asked.symbols) > vocabulary.symbols:
            raise InvalidArgument(
                f"the graph has {len(asked.symbols)} nodes; the model takes {vocabulary.symbols} at most",
                field="prompt",
            )
        place = [int(at) for at in np.random.default_rng(_seed(asked.symbols)).permutation(vocabulary.symbols)]
        first, second = (place[node] for node in asked.candidates)
        edges = [
            (vocabulary.edge_type, vocabulary.source + place[one], vocabulary.target + place[other])
            for one, other in asked.edges
        ]
        goals = (vocabulary.goals_type, vocabulary.goal + first, vocabulary.goal + second)
        start = (vocabulary.start_type, vocabulary.root + place[asked.root])
        words = [""] * vocabulary.size
        for node, word in enumerate(asked.symbols):
            for role in range(ROLES):
                words[role * vocabulary.symbols + place[node]] = word
        return EncodedGraph(
            rows=(*edges, goals, start),
            answer_row=(vocabulary.answer_type, vocabulary.candidate + first, vocabulary.candidate + second),
            allowed=(vocabulary.node + first, vocabulary.node + second),
            symbols=tuple(words),
            name=asked.symbols[asked.root],
        )

    def graph(self, rows: Sequence[Row]) -> Asked:
        """The graph that the rows of a prompt say, with the numbers of its symbols as words."""
        vocabulary, places = self.vocabulary, dict[int, int]()

        def node(token: int) -> int:
            return places.setdefault(token % vocabulary.symbols, len(places))

        edges = tuple((node(row[1]), node(row[2])) for row in rows if row[0] == vocabulary.edge_type)
        (goals,) = [row for row in rows if row[0] == vocabulary.goals_type]
        (start,) = [row for row in rows if row[0] == vocabulary.start_type]
        root, candidates = node(start[1]), (node(goals[1]), node(goals[2]))
        return Asked(tuple(map(str, places)), edges, root, candidates)


def _seed(words: Sequence[str]) -> int:
    return zlib.crc32(" ".join(words).encode())
