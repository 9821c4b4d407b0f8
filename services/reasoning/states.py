"""Between Thoughts as the engine has them and as they are kept and sent: rows, and what a fork makes of them.

Rows that are vectors are put together into one Tensor, in the space "latent/MODEL"; on the way back each row without
tokens takes the next vector of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from sapience.v1 import concept_pb2
from sapience.v1 import reasoning_pb2 as pb

from cognition.engine.base import Row, ThoughtState
from core.errors import FailedPrecondition, InvalidArgument
from services import wire


def space_of(model: str) -> str:
    """The name of the space that a model's rows are in."""
    return f"latent/{model}"


def write_state(message: pb.Thought, state: ThoughtState) -> None:
    """Writes a Thought's rows into a message."""
    message.model = state.model
    for name, rows in (("prompt_rows", state.prompt), ("latent_rows", state.latent), ("suffix_rows", state.suffix)):
        getattr(message, name).extend(pb.ThoughtRow(token_ids=row.ids) for row in rows)
    vectors = [row.vector for row in (*state.prompt, *state.latent, *state.suffix) if row.vector]
    if vectors:
        message.latent.space = space_of(state.model)
        message.latent.dtype = concept_pb2.DTYPE_FLOAT32
        message.latent.shape.extend((len(vectors), len(vectors[0]) // 4))
        message.latent.data = b"".join(vectors)
    message.latent_steps = len(state.latent)
    message.new_tokens = len(state.tokens)
    message.tokens.extend(state.tokens)
    message.symbols.extend(state.symbols)
    message.allowed_tokens.extend(state.allowed)
    message.depth = state.depth


def read_state(message: pb.Thought) -> ThoughtState:
    """The Thought's rows, as `write_state` wrote them."""
    width = 4 * message.latent.shape[1] if message.latent.shape else 0
    vectors = iter(message.latent.data[at : at + width] for at in range(0, len(message.latent.data), width or 1))
    return ThoughtState(
        model=message.model,
        prompt=_rows(message.prompt_rows, vectors),
        latent=_rows(message.latent_rows, vectors),
        suffix=_rows(message.suffix_rows, vectors),
        tokens=tuple(message.tokens),
        symbols=tuple(message.symbols),
        allowed=tuple(message.allowed_tokens),
        depth=message.depth,
    )


def _rows(rows: Iterable[pb.ThoughtRow], vectors: Iterator[bytes]) -> tuple[Row, ...]:
    return tuple(Row(ids=tuple(row.token_ids)) if row.token_ids else Row(vector=next(vectors)) for row in rows)


def forked(state: ThoughtState, request: pb.GenerateRequest) -> ThoughtState:
    """What of a Thought a request goes on from: all of it, its beginning, or that with other vectors in it.

    Edits are counted by the Thought as it was kept. Steps between two edited ones stay as they are: whoever wants what
    would have followed edits one at a time.
    """
    kept = state.truncated(
        request.keep_latent_steps if request.HasField("keep_latent_steps") else None,
        request.keep_tokens if request.HasField("keep_tokens") else None,
    )
    if not request.edits:
        return kept
    if request.keep_tokens:
        raise InvalidArgument(
            f"keep_tokens is {request.keep_tokens}, and an edited thought keeps none: they followed from the old one",
            field="keep_tokens",
        )
    latent = list(kept.latent)
    for place, edit in enumerate(request.edits):
        field = f"edits[{place}]"
        if not 0 <= edit.step < len(latent):
            has = f"0 to {len(latent) - 1}" if latent else "none: it has no latent steps"
            raise InvalidArgument(f"{field}.step is {edit.step}; give {has}", field=f"{field}.step")
        vector = _vector(edit.vector, state.model, f"{field}.vector")
        size = len(latent[edit.step].vector)
        if not size:
            raise InvalidArgument(
                f"{field}.step is {edit.step}, which is a token and no vector: the mode fed none back",
                field=f"{field}.step",
            )
        if len(vector) != size:
            raise InvalidArgument(
                f"{field}.vector has {len(vector) // 4} numbers; the rows of {state.model} have {size // 4}",
                field=f"{field}.vector.shape",
                reason="BAD_TENSOR",
            )
        latent[edit.step] = Row(vector=vector)
    last = max(edit.step for edit in request.edits)
    return replace(kept, latent=tuple(latent[: last + 1]), tokens=())


def kept_steps(parent: pb.Thought, state: ThoughtState, edits: Sequence[pb.ThoughtEdit]) -> list[pb.ThoughtEvent]:
    """What was told of those latent steps that a fork keeps; of edited ones the norm is all that is known."""
    edited = {edit.step for edit in edits}
    told = {event.step: event for event in parent.steps}
    events = []
    for step, row in enumerate(state.latent):
        if step in edited or step not in told:
            norm = float(np.linalg.norm(np.frombuffer(row.vector, "<f4"))) if row.vector else 0.0
            events.append(pb.ThoughtEvent(step=step, norm=norm))
        else:
            events.append(told[step])
    return events


def _vector(tensor: concept_pb2.Tensor, model: str, field: str) -> bytes:
    """One row of the model's space, as float32."""
    if tensor.space != space_of(model):
        raise FailedPrecondition(
            f"{field} is in space {tensor.space!r}, and this thought's rows are in {space_of(model)!r}",
            reason="SPACE_MISMATCH",
            field=f"{field}.space",
        )
    return wire.vector_from(tensor, field).astype("<f4").tobytes()
