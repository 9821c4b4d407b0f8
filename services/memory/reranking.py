"""Recall with a cross-encoder: the first hits of a fused ranking, put in order by a model that reads them.

The model is perception's; memory holds none. A recipe says how many hits it reads and how much it counts (see
`memory.recipes`). Hits after these stay in their order, so that a page is the same whether or not pages were read
before it.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from sapience.v1 import perception_pb2, perception_pb2_grpc

from core.errors import FailedPrecondition
from core.nouns import Float64
from memory.fusion import Contribution, zscore
from memory.recall import BYTES_PER_TOKEN, RecallHit, RecallQuery, RecallResult
from services.runtime.client import Link


class Judge(Protocol):
    """Whatever scores texts against a question: the perception service, here."""

    async def scores(self, question: str, texts: Sequence[str]) -> Float64:
        """Shape [texts]. Raises FailedPrecondition (NO_RERANKER) where there is none."""
        ...


class NoJudge:
    """Stands where nothing reranks."""

    async def scores(self, question: str, texts: Sequence[str]) -> Float64:
        """Raises FailedPrecondition (NO_RERANKER)."""
        raise FailedPrecondition(
            "nothing reranks here; use a recipe that does not rerank", reason="NO_RERANKER", field="recipe"
        )


class RemoteReranker:
    """The perception service, over gRPC."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._stub = perception_pb2_grpc.PerceptionServiceStub(link.channel)

    async def scores(self, question: str, texts: Sequence[str]) -> Float64:
        """One call."""
        request = perception_pb2.RerankRequest(question=question, texts=texts)
        response = await self._stub.Rerank(request, **self._link.options())
        return np.array([one.score for one in response.scores])


async def search(
    run: Callable[[RecallQuery], Awaitable[RecallResult]], judge: Judge, query: RecallQuery, weight: float, depth: int
) -> RecallResult:
    """One page of the ranking whose first `depth` hits are reranked. `run` searches, without blocking.

    Read in blocks, the first of which holds all that is reranked.
    """
    block = max(depth, query.limit)
    first, last = query.offset // block, (query.offset + query.limit - 1) // block
    hits: list[RecallHit] = []
    result = RecallResult()
    for number in range(first, last + 1):
        asked = replace(query, limit=block, offset=number * block, token_budget=0)
        result = await run(asked)
        found = list(result.hits)
        head = found[:depth] if number == 0 else []
        hits += await _reranked(judge, query.text, head, weight) if head else []
        hits += [_scored(hit, _after(hit.score, weight, depth)) for hit in found[len(head) :]]
        if not result.has_more:
            break
    place = query.offset - first * block
    page = _affordable(hits[place : place + query.limit], query.token_budget)
    return replace(result, hits=tuple(page), has_more=result.has_more or place + len(page) < len(hits))


async def _reranked(judge: Judge, text: str, hits: list[RecallHit], weight: float) -> list[RecallHit]:
    """The hits in their new order."""
    raw = await judge.scores(text, [hit.episode.text for hit in hits])
    before = zscore(np.array([hit.score for hit in hits]))
    judged = weight * zscore(raw)
    order = np.argsort(-(before + judged), kind="stable").tolist()
    return [
        _scored(hits[place], float(before[place]), Contribution("rerank", float(raw[place]), float(judged[place])))
        for place in order
    ]


def _after(score: float, weight: float, depth: int) -> float:
    """A score below that of every hit that was read, which rises with `score`: a z-score is above -sqrt(depth)."""
    return -(1 + weight) * math.sqrt(depth) - float(np.logaddexp(0, -score))


def _scored(hit: RecallHit, base: float, *more: Contribution) -> RecallHit:
    """The hit with a score of `base` and `more`. What its other parts come to differently is "shift"."""
    parts = (*hit.channels, Contribution("shift", hit.score, base - hit.score), *more)
    return replace(hit, channels=parts, score=math.fsum(part.fused for part in parts))


def _affordable(hits: Sequence[RecallHit], tokens: int) -> list[RecallHit]:
    left = tokens * BYTES_PER_TOKEN if tokens else math.inf
    page = []
    for hit in hits:
        left -= len(hit.episode.text.encode())
        if left < 0:
            break
        page.append(hit)
    return page
