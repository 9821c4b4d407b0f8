"""Rerank: how well texts bear on a question."""

from __future__ import annotations

from typing import Any

import grpc
from sapience.v1 import perception_pb2 as pb

from core.errors import FailedPrecondition, InvalidArgument
from perception.rerankers.base import Reranker
from services import wire
from services.perception.hosting import Hosted

MAX_RERANKED = 1024
Context = grpc.aio.ServicerContext[Any, Any]


class RerankingCalls:
    """A question and texts into scores."""

    _reranker: Hosted[Reranker] | None

    async def Rerank(self, request: pb.RerankRequest, context: Context) -> pb.RerankResponse:
        """Scores one batch."""
        if self._reranker is None:
            raise FailedPrecondition(
                "this service has no reranker; set SAPIENCE_RERANKER to the address of a cross-encoder, or use a "
                "recipe that does not rerank",
                reason="NO_RERANKER",
            )
        wire.checked_text(request.question, "question", wire.MAX_QUERY_BYTES)
        texts = list(request.texts)
        if not 1 <= len(texts) <= MAX_RERANKED:
            raise InvalidArgument(
                f"texts holds {len(texts)}; give 1 to {MAX_RERANKED}", field="texts", reason="BAD_BATCH"
            )
        for number, text in enumerate(texts):
            wire.checked_text(text, f"texts[{number}]", wire.MAX_EPISODE_BYTES)
        reranker = await self._reranker.get()
        found = await self._reranker.worker.run(reranker.score, request.question, texts)
        return pb.RerankResponse(
            scores=[pb.TextScore(score=score) for score in found.scores.tolist()],
            truncated=found.truncated,
            model=self._reranker.address,
        )
