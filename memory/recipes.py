"""How a recall searches and fuses, as data: a recipe is a name and a few numbers, never a branch in the code.

The weights of "default" were chosen on the five development conversations of LoCoMo (Maharana et al., ACL 2024), with
MiniLM's vectors; `sapience bench locomo` measures them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from core.errors import InvalidArgument
from memory.expected import asks_for_several


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to recall. A weight of 0 switches a channel off, and what it would have searched is not searched."""

    name: str
    fusion: str = "zscore"
    """"zscore" or "rrf": see `memory.fusion`."""
    candidates: int = 30
    """How many Concepts each of the two searches brings in: with the turns beside them, all that can be found."""
    dense: float = 1.0
    """Weight of the cosine with the query's vector."""
    sparse: float = 1.0
    """Weight of BM25."""
    carry: float = 0.7
    """How much of a term's weight in the turn before an Episode counts for the Episode; needs a window."""
    window: int = 1
    """How many turns to each side of an Episode speak for it; 0 for none."""
    neighbours: float = 0.5
    """Weight of the best of them: turns explain one another, whichever comes first."""
    reply: float = 0.3
    """Weight of replying to a question that matches: a reply seldom repeats the words of its question."""
    speaker: float = 1.0
    """Weight of being said by someone whom the query names."""
    statement: float = 0.6
    """Weight of stating rather than asking: a question repeats the words that an answer has to hold."""
    length: float = 0.0
    """Weight of saying much; salience weighs the words as well."""
    salience: float = 0.6
    """Weight of saying much that few others say, and first: an answer is rather there than in "Wow, great!"."""
    uses: bool = False
    """Whether being cited before counts as salient; asks the record of each candidate."""
    expected: float = 0.6
    """Weight of holding a time, an amount or a name, where the query asks for one."""
    time: float = 1.5
    """Weight of being told in, or near, a period that the query names: "in May 2023" (`memory.when`)."""
    dates_said: bool = False
    """Whether a date that an Episode names counts as well as when it was told; each candidate is read for it."""
    graph: float = 0.0
    """Weight of what hangs together with the first candidates and with whom the query names (`memory.graph`)."""
    feedback: float = 0.4
    """Weight of the words that the first hits share (pseudo-relevance feedback)."""
    conversation: float = 0.3
    """Weight of standing in a conversation that matches elsewhere as well."""
    summary: float = 0.0
    """Weight of being quoted by a summary that matches (`memory.votes`); `sapience bench dream` says what it brings."""
    apart: float = 0.3
    """What a hit loses for each turn beside it that is ranked above."""
    spread: float = 0.0
    """What a hit loses for each hit of its conversation that is ranked above."""
    mmr: float = 0.0
    """What a hit loses for being like one that is ranked above: all of it for a cosine of 1, nothing for 0. Where it is
    not 0, it stands in the place of `apart` and `spread`."""
    strip_names: bool = True
    """Whether speakers' names are taken out of the query before it is encoded."""
    rerank: float = 0.0
    """Weight of a cross-encoder that reads the query and each of the first hits together; 0 for none.

    It says how much the z-scores of its scores count beside the z-scores of the fused ones."""
    rerank_depth: int = 40
    """How many of the first hits it reads. Those after them stay in their order."""
    several: Recipe | None = None
    """The recipe instead, for a query that asks for several things: their evidence is spread."""

    def suited(self, query: str) -> Recipe:
        """The recipe for a query of this form."""
        return self.several if self.several and asks_for_several(query) else self


# What the searches find and nothing more, to see what the rest adds; and so deeper, as no turns beside are brought in.
_SEARCHED = Recipe(
    "", candidates=60, window=0, speaker=0, statement=0, salience=0, expected=0, time=0, feedback=0, conversation=0,
    apart=0,
)  # fmt: skip

# For questions that ask for several things. Many turns hold a part of the answer, in words of their own: the vector
# counts more, and the turns beside less.
_SEVERAL = Recipe("default", dense=1.5, sparse=0.7, neighbours=0.4, speaker=1.5, spread=0.1)
_DEFAULT = Recipe("default", several=_SEVERAL)
# What reads more of the record, and finds no more in conversations: for memories of many names, Facts and dates.
_THOROUGH: Mapping[str, Any] = {"graph": 0.5, "dates_said": True, "uses": True}

RECIPES = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            _DEFAULT,
            replace(_DEFAULT, name="reranked", rerank=1.5, several=replace(_SEVERAL, rerank=1.5)),
            replace(_DEFAULT, name="graph", **_THOROUGH, several=replace(_SEVERAL, **_THOROUGH)),
            # For a store with many copies of one thing, and small budgets: no hit says what one before it said.
            replace(_DEFAULT, name="diverse", mmr=2.0, several=replace(_SEVERAL, mmr=2.0)),
            replace(_SEARCHED, name="dense", sparse=0),
            replace(_SEARCHED, name="sparse", dense=0),
            replace(_SEARCHED, name="rrf", fusion="rrf"),
            replace(_DEFAULT, name="dreams", summary=0.2, several=replace(_SEVERAL, summary=0.2)),
        )
    }
)


def recipe_named(name: str) -> Recipe:
    """The recipe of that name; empty means "default". Raises InvalidArgument (field "recipe") for an unknown one."""
    if (recipe := RECIPES.get(name or "default")) is None:
        raise InvalidArgument(f"no recipe {name!r}; one of {', '.join(RECIPES)}", field="recipe")
    return recipe
