"""WhyNot between the wire and `memory.why_not`: a Recall that is asked about one Episode it did not find."""

from __future__ import annotations

from sapience.v1 import memory_pb2 as pb

from core.ports import Index, Record
from memory.recall import Recall
from memory.support import support
from memory.why_not import WhyNot, why_not
from services import wire
from services.memory import recalling
from services.memory.perceiving import Encoder
from services.runtime.worker import Worker


def read(request: pb.WhyNotRequest) -> tuple[recalling.Query, str]:
    """Checks a request: the Recall that it speaks of, and the Episode."""
    episode_id = wire.checked_text(request.episode_id, "episode_id", wire.MAX_QUERY_BYTES)
    recall = pb.RecallRequest(
        namespace=request.namespace,
        text=request.text,
        recipe=request.recipe,
        limit=request.limit,
        token_budget=request.token_budget,
    )
    for field in ("vector", "as_of", "filter"):
        if request.HasField(field):
            getattr(recall, field).CopyFrom(getattr(request, field))
    return recalling.read(recall), episode_id


async def explain(
    record: Record,
    index: Index,
    encoder: Encoder,
    reads: Worker,
    query: recalling.Query,
    scope: recalling.Scope,
    episode_id: str,
) -> pb.WhyNotResponse:
    """Judges the Episode as if a search had found it."""
    response = pb.WhyNotResponse()
    wire.set_as_of(response.as_of, scope.as_of)
    if scope.space is None:
        response.reason = pb.WHY_NOT_REASON_NOT_THERE
        response.message = f"namespace {query.namespace!r} has no Episodes"
        return response
    wanted = recalling.wanted(query, scope, scope.space, await recalling.vector_for(encoder, query, scope))

    def explained() -> WhyNot:
        return why_not(record, Recall(record, index), wanted, episode_id)

    found = await reads.run(explained)
    response.reason = pb.WhyNotReason.ValueType(int(found.kept))
    response.message, response.rank, response.candidates = found.message, found.rank, found.candidates
    if found.hit is not None:
        recalling.fill_hit(response.hit, found.hit, support(found.hit, found.page))
    if found.page.hits:
        last = found.page.hits[-1]
        recalling.fill_hit(response.last, last, support(last, found.page))
    return response
