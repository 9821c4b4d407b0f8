"""The real services around cores that compute nothing: what is left is the runtime.

Null are the encoder, the search over both stores, the language model, and what the cycle makes of them: the prompt and
the checks. Real are the servers, their hooks, the links between services, the servicers with every check of a request,
the hand-over to threads, the events and the Traces.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractContextManager, aclosing, nullcontext
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from pydantic import SecretStr
from sapience.v1 import concept_pb2
from sapience.v1.concept_pb2 import Tensor

from cognition.cycle import SUPPORT_METHOD, Cycle, Timer
from cognition.engine.base import LanguageModel, Piece, Request
from cognition.engine.null import NullLanguageModel
from cognition.events import (
    Answered,
    Checked,
    Event,
    Question,
    Recalled,
    Spent,
    StopReason,
    Verdict,
    Worded,
    Wording,
)
from core.clock import SystemClock
from core.dreams import Dream
from core.ids import RandomIds, concept_id
from core.models import ModelAddress
from core.nouns import Concept, Episode, Namespace, OutboxEntry, Source, Space, Span
from memory.fusion import Contribution
from memory.recall import RecallHit, RecallQuery, RecallResult
from perception.encoders.base import Encoder
from services import memory, perception, reasoning
from services.assembly import Links
from services.memory.encoders import RemoteEncoder
from services.perception.hosting import Hosted
from services.reasoning.links import RemoteMemory, RemotePerceiver
from services.reasoning.models import Models
from services.reasoning.thoughts import Thoughts
from services.reasoning.traces import Traces
from services.runtime import telemetry
from services.runtime.server import Server
from services.runtime.settings import load
from services.runtime.worker import Worker

PIECES = 5
HITS = 3
TEXT = "We rented the small boat for the last week of August and sailed it round the island."


class NullRecord:
    """A record that has one namespace and nothing in it. Only what a recall asks of a record is here."""

    backend = "null"

    def seq(self) -> int:
        return 1

    def namespaces(self) -> list[Namespace]:
        return []

    def space_of(self, namespace: str) -> Space | None:
        return perception.NullEncoder.space

    def speakers(self, namespace: str) -> dict[str, int]:
        return {"Ada": 1}

    def snapshot(self) -> AbstractContextManager[None]:
        return nullcontext()

    def dreams_at_work(self) -> list[Dream]:
        return []

    def outbox(self, limit: int) -> list[OutboxEntry]:
        return []

    def drop_answers(self, before: int, limit: int) -> int:
        return 0

    def close(self) -> None:
        """Nothing to let go of."""


class NullIndex:
    """An index that is never asked."""

    backend = "null"

    def ids(self, space: Space, namespace: str) -> Iterator[str]:
        return iter(())

    def close(self) -> None:
        """Nothing to let go of."""


class NullRecall:
    """Finds the same Episodes for every question."""

    def __init__(self) -> None:
        self._result = RecallResult(tuple(_hit(number) for number in range(HITS)), False, 1.0)

    def search(self, query: RecallQuery) -> RecallResult:
        return self._result


def _hit(number: int) -> RecallHit:
    episode_id = f"01890000-0000-7000-8000-{number:012d}"
    episode = Episode(episode_id, "bench", Source(name="bench"), "c", number, "Ada", TEXT, 0, "", 0, 1)
    concept = Concept(concept_id(episode_id, 0), episode_id, 0, Span(TEXT, 0, len(TEXT)))
    parts = (Contribution("dense", 0.9, 2.0), Contribution("sparse", 9.0, 2.0))
    return RecallHit(episode, concept, 4.0 - number, parts, 1.0)


class NullCycle(Cycle[Tensor]):
    """Perceives and recalls over the links like the real one, then says the same without thinking about it."""

    async def answer(
        self, question: Question, model: LanguageModel, draft_id: str, timer: Timer
    ) -> AsyncGenerator[Event, None]:
        """The events of an answer that a language model worded."""
        percept = await self._perceiver.perceive(question.text)
        found = await self._memory.recall(question, percept, HITS)
        timer.stage("recall")
        yield Recalled(question.text, found)
        yield Checked("support", True, 1.0, "null")
        async with aclosing(model.generate(Request(question.text, new_tokens=PIECES + 1))) as said:
            async for item in said:
                if isinstance(item, Piece):
                    yield Worded(draft_id, item.text)
        yield Checked("wording", True, 1.0, "null")
        yield Spent(PIECES, 1, 64, timer.seconds)
        yield Answered(
            TEXT,
            Verdict.ANSWERED,
            found.evidence,
            1.0,
            SUPPORT_METHOD,
            StopReason.DONE,
            Wording.LANGUAGE_MODEL,
        )


async def serve(pipe: Connection, token: str) -> None:
    """Serves perception, memory and reasoning as the local daemon does, and says where."""
    telemetry.configure_logging("error", "text")
    settings = load().model_copy(update={"listen": "127.0.0.1:0", "token": SecretStr(token)})
    server = Server(settings)
    address = f"127.0.0.1:{server.bind()}"
    links = Links(settings, here=address)
    clock = SystemClock()
    record: Any = NullRecord()
    index: Any = NullIndex()
    encoder: Hosted[Encoder] = Hosted(concept_pb2.MODEL_KIND_ENCODER, "null", perception.NullEncoder, Worker("encoder"))
    services = [
        perception.service(perception.Perception(perception.Models([encoder]))),
        memory.service(
            memory.Memory(
                record, index, RemoteEncoder(links.to("perception")), clock, timezone=None, recall=NullRecall()
            )
        ),
        reasoning.service(
            reasoning.Reasoning(
                NullCycle(RemotePerceiver(links.to("perception")), RemoteMemory(links.to("memory"))),
                Models("file:/null", partial(_null_model)),
                Traces(None, keep=1000),
                Thoughts(None, keep=1000),
                clock,
                RandomIds(clock),
            )
        ),
    ]
    await server.start(services)
    pipe.send(address)
    await server.run()
    await links.close()


def _null_model(address: ModelAddress) -> NullLanguageModel:
    return NullLanguageModel(PIECES, "the small boat round the island ")
