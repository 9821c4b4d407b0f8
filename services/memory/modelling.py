"""The language model that Dreams ask, over gRPC: Generate of the reasoning service, from the thread of a Dream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError

import grpc
from sapience.v1 import concept_pb2, reasoning_pb2, reasoning_pb2_grpc

from core.errors import SapienceError, Unavailable
from memory.dreams.reading import GoOn, Turn
from services.runtime.client import Link

NEW_TOKENS = 320
"""Of one answer: some five Facts. What is cut off there is no JSON, and refused."""
ANSWER_S = 60.0
"""An answer that takes longer is cut off, too."""
LOAD_S = 600.0
"""Loading a model may take minutes."""
LOOK_S = 0.2
"""How often a waiting thread asks whether it may go on."""


class RemoteModel:
    """A `memory.dreams.reading.Model`. Made on the event loop that its calls run on; asked from other threads.

    A model that the service has not loaded is loaded once it is asked. Its answers are the likeliest ones, so the same
    Episode is read alike again.
    """

    def __init__(self, link: Link, address: str) -> None:
        self.name = address
        self._link = link
        self._stub = reasoning_pb2_grpc.ReasoningServiceStub(link.channel)
        self._loop = asyncio.get_running_loop()

    def answer(self, chat: Sequence[Turn], may_go_on: GoOn) -> str | None:
        """Blocks. Raises Unavailable (MODEL_UNAVAILABLE) where the service, or the model there, cannot be asked."""
        if not may_go_on():
            return None
        asked = asyncio.run_coroutine_threadsafe(self._answer(chat), self._loop)
        while True:
            try:
                return asked.result(timeout=LOOK_S)
            except TimeoutError:
                if not may_go_on():
                    asked.cancel()
                    return None
            except CancelledError:
                return None  # the process ends
            except grpc.aio.AioRpcError as error:
                raise self._unavailable(error) from error

    async def _answer(self, chat: Sequence[Turn]) -> str:
        try:
            return await self._generated(chat)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        await self._stub.LoadModel(reasoning_pb2.LoadModelRequest(model=self.name), **self._link.options(LOAD_S))
        return await self._generated(chat)

    async def _generated(self, chat: Sequence[Turn]) -> str:
        request = reasoning_pb2.GenerateRequest(
            model=self.name,
            chat=reasoning_pb2.Chat(
                messages=[reasoning_pb2.ChatMessage(role=role, content=content) for role, content in chat]
            ),
            budget=concept_pb2.Budget(new_tokens=NEW_TOKENS, wall_ms=round(ANSWER_S * 1e3)),
        )
        # The model ends by itself at `wall_ms`; the deadline is for a service that does not answer.
        said = self._stub.Generate(request, **self._link.options(2 * ANSWER_S))
        return "".join([response.text async for response in said])

    def _unavailable(self, error: grpc.aio.AioRpcError) -> SapienceError:
        return Unavailable(
            f"{self.name} was not asked: reasoning says {error.code().name}, {error.details()}",
            reason="MODEL_UNAVAILABLE",
        )
