"""The calls that correct Facts: CorrectFact, UndoFact."""

from __future__ import annotations

from functools import partial
from typing import Any

import grpc
from sapience.v1 import moving_pb2 as pb

from core.clock import Clock
from core.errors import InvalidArgument
from core.ports import Record
from services import wire
from services.memory import facts
from services.memory.keeping import checked_request_id
from services.runtime.worker import Worker

Context = grpc.aio.ServicerContext[Any, Any]


class CorrectingCalls:
    """A part of the memory service, which brings what these calls work with."""

    _record: Record
    _clock: Clock
    _writes: Worker

    async def CorrectFact(self, request: pb.CorrectFactRequest, context: Context) -> pb.CorrectFactResponse:
        """A retraction and an assertion. `from` is a Python keyword, so the field is read by name."""
        namespace = wire.checked_namespace(request.namespace)
        entity = request.entity if request.HasField("entity") else None
        literal = request.literal if request.HasField("literal") else None
        if entity is not None:
            wire.checked_text(entity, "entity", facts.MAX_NAME)
        elif literal is not None:
            wire.checked_text(literal, "literal", facts.MAX_LITERAL)
        else:
            raise InvalidArgument("nothing says what is right: give entity or literal", field="object")
        start = wire.micros(getattr(request, "from"), "from") if request.HasField("from") else None
        told = None
        if request.HasField("told_at"):
            told = wire.told_at(request.told_at, self._clock.now(), "told_at")
        retraction, assertion, *kept = await self._writes.run(
            self._record.correct_fact,
            namespace,
            request.fact_id,
            entity=entity,
            literal=literal,
            start=start,
            told_at=told,
            request_id=checked_request_id(request.request_id),
        )
        return pb.CorrectFactResponse(
            retraction=wire.fact_to(retraction),
            assertion=wire.fact_to(assertion),
            kept=[wire.fact_to(one) for one in kept],
        )

    async def UndoFact(self, request: pb.UndoFactRequest, context: Context) -> pb.UndoFactResponse:
        """By id or by commit."""
        namespace = wire.checked_namespace(request.namespace)
        undo = partial(self._record.undo_fact, namespace, request_id=checked_request_id(request.request_id))
        match request.WhichOneof("write"):
            case "fact_id" if request.fact_id:
                added = await self._writes.run(undo, fact_id=request.fact_id)
            case "seq" if request.seq > 0:
                added = await self._writes.run(undo, seq=request.seq)
            case _:
                raise InvalidArgument(
                    "nothing says which write is undone: give fact_id, or seq from 1 on", field="fact_id"
                )
        return pb.UndoFactResponse(facts=[wire.fact_to(one) for one in added])
