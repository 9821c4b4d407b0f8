"""Long work as Runs, whatever it is: so far Dreams."""

from __future__ import annotations

from sapience.v1 import concept_pb2, dream_pb2, memory_pb2, memory_pb2_grpc

from services.runtime.client import Link

CALL_S = 5.0

_STATES = {
    dream_pb2.DREAM_STATE_READING: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_PROPOSED: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_APPROVED: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_APPLIED: concept_pb2.RUN_STATE_SUCCEEDED,
    dream_pb2.DREAM_STATE_UNDOING: concept_pb2.RUN_STATE_RUNNING,
    dream_pb2.DREAM_STATE_UNDONE: concept_pb2.RUN_STATE_SUCCEEDED,
    dream_pb2.DREAM_STATE_CANCELLED: concept_pb2.RUN_STATE_CANCELLED,
    dream_pb2.DREAM_STATE_FAILED: concept_pb2.RUN_STATE_FAILED,
}


def run_of(dream: dream_pb2.Dream) -> concept_pb2.Run:
    """A Dream as a Run; one that waits for approval has not ended."""
    state = dream_pb2.DreamState.Name(dream.state).removeprefix("DREAM_STATE_").lower()
    run = concept_pb2.Run(
        id=dream.id,
        kind="dream",
        state=_STATES.get(dream.state, concept_pb2.RUN_STATE_UNSPECIFIED),
        done=dream.done,
        total=dream.total,
        message=f"{state}: {dream.message}" if dream.message else state,
        started_at=dream.started_at,
    )
    if dream.HasField("ended_at"):
        run.ended_at.CopyFrom(dream.ended_at)
    return run


async def newest(memory: memory_pb2_grpc.MemoryServiceAsyncStub, link: Link, limit: int) -> list[concept_pb2.Run]:
    """The newest of all namespaces, one call for each. Raises what memory refuses or cannot do."""
    known = await memory.ListNamespaces(memory_pb2.ListNamespacesRequest(), **link.options(CALL_S))
    dreams: list[dream_pb2.Dream] = []
    for namespace in known.namespaces:
        request = dream_pb2.ListDreamsRequest(namespace=namespace.name, limit=limit)
        dreams += (await memory.ListDreams(request, **link.options(CALL_S))).dreams
    newest_first = sorted(dreams, key=lambda dream: dream.started_at.ToNanoseconds(), reverse=True)
    return [run_of(dream) for dream in newest_first[:limit]]
