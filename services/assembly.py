"""Puts services together from settings: the only place where a store, a model or a transport is chosen."""

from __future__ import annotations

from functools import partial

from cognition.cycle import Cycle
from cognition.engine.base import LanguageModel
from core.clock import SystemClock
from core.errors import FailedPrecondition
from core.ids import RandomIds
from core.models import ModelAddress
from core.ports import Index, Record
from services.runtime.client import Link
from services.runtime.names import SERVICES
from services.runtime.server import Service
from services.runtime.settings import Settings


class Links:
    """Channels to the other services, one for each, made on first use."""

    def __init__(self, settings: Settings, here: str = "") -> None:
        """`here` is the address of services in this process: it stands for every address that no setting gives."""
        self._settings = settings
        self._here = here
        self._made: dict[str, Link] = {}

    def to(self, name: str) -> Link:
        """The link to a service. Raises FailedPrecondition (NO_ADDRESS) where nothing says where it is."""
        address = getattr(self._settings, f"{name}_address") or self._here
        if not address:
            raise FailedPrecondition(
                f"nothing says where {name} is: set SAPIENCE_{name.upper()}_ADDRESS, for example dns:///{name}:50051",
                reason="NO_ADDRESS",
            )
        if name not in self._made:
            self._made[name] = Link(address, self._settings.token_text, self._settings.max_message_bytes)
        return self._made[name]

    async def close(self) -> None:
        """Closes every channel."""
        for link in self._made.values():
            await link.close()


def build(name: str, settings: Settings, links: Links) -> Service:
    """One service, by name. Has to be called on the running event loop."""
    return {
        "perception": _perception,
        "memory": _memory,
        "reasoning": _reasoning,
        "controller": _controller,
    }[name](settings, links)


def open_record(settings: Settings) -> Record:
    """The record that the settings name."""
    clock = SystemClock()
    if settings.record == "sqlite":
        from memory.record.sqlite import SqliteRecord

        settings.data_dir.mkdir(parents=True, exist_ok=True)
        return SqliteRecord(settings.data_dir / "record.sqlite", clock, RandomIds(clock))
    from memory.record.neo4j import Neo4jRecord

    if settings.neo4j_password is None:
        raise FailedPrecondition("Neo4j keeps the record: set SAPIENCE_NEO4J_PASSWORD", reason="BAD_SETTINGS")
    return Neo4jRecord(
        settings.neo4j_url,
        settings.neo4j_user,
        settings.neo4j_password.get_secret_value(),
        settings.neo4j_database,
        clock,
        RandomIds(clock),
    )


def open_index(settings: Settings) -> Index:
    """The index that the settings name."""
    if settings.index == "edge":
        from memory.index.edge import EdgeIndex

        return EdgeIndex(settings.data_dir / "index", exact=False, optimize_every=settings.optimize_every)
    from memory.index.qdrant import QdrantIndex

    key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    return QdrantIndex.connect(settings.qdrant_url, api_key=key, grpc_port=settings.qdrant_grpc_port)


def _perception(settings: Settings, links: Links) -> Service:
    from services import perception
    from services.perception.assembly import models

    return perception.service(perception.Perception(models(settings), cache_bytes=settings.encoding_cache_mb << 20))


def _memory(settings: Settings, links: Links) -> Service:
    from services import memory
    from services.memory.encoders import RemoteEncoder
    from services.memory.modelling import RemoteModel
    from services.memory.reranking import RemoteReranker

    model = None
    if settings.dream_extractor:
        named = ModelAddress.parse(settings.dream_extractor, field="SAPIENCE_DREAM_EXTRACTOR")
        model = RemoteModel(links.to("reasoning"), str(named))
    return memory.service(
        memory.Memory(
            open_record(settings),
            open_index(settings),
            RemoteEncoder(links.to("perception")),
            SystemClock(),
            index_wait_s=settings.index_wait_s,
            sweep_s=settings.sweep_s,
            judge=RemoteReranker(links.to("perception")),
            request_keep_days=settings.request_keep_days,
            timezone=settings.timezone if settings.extract else None,
            model=model,
        )
    )


def _reasoning(settings: Settings, links: Links) -> Service:
    from services import reasoning
    from services.reasoning.forgotten import ForgottenEpisodes
    from services.reasoning.links import RemoteMemory, RemotePerceiver
    from services.reasoning.models import Models
    from services.reasoning.thoughts import Thoughts
    from services.reasoning.traces import Traces
    from services.reasoning.uses import Uses

    clock = SystemClock()
    traces = Traces(settings.data_dir / "traces.sqlite", settings.trace_keep)
    thoughts = Thoughts(settings.data_dir / "thoughts.sqlite", settings.thought_keep)
    return reasoning.service(
        reasoning.Reasoning(
            Cycle(RemotePerceiver(links.to("perception")), RemoteMemory(links.to("memory"))),
            Models(settings.language_model, partial(_language_model, settings), settings.model_addresses),
            traces,
            thoughts,
            clock,
            RandomIds(clock),
            Uses(links.to("memory")),
            ForgottenEpisodes(links.to("memory"), traces, thoughts),
        )
    )


def _controller(settings: Settings, links: Links) -> Service:
    from services import controller
    from services.consolidating import Rules

    rules = Rules(settings.dream, settings.dream_idle_s, settings.dream_after, settings.dream_budget_s)
    return controller.service(controller.Controller({name: links.to(name) for name in SERVICES[:3]}, rules=rules))


def _language_model(settings: Settings, address: ModelAddress) -> LanguageModel:
    from cognition.engine.loading import loaded

    return loaded(address, cache_dir=settings.cache_dir, device=settings.device, threads=settings.threads or None)
