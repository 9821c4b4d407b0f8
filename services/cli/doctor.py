"""`sapience doctor`: what is wrong with a set-up, and how to mend it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import sapience

from core.errors import SapienceError
from core.models import ModelAddress, locate
from services.cli import local, show
from services.runtime.settings import Settings, load

FREE_BYTES = 1 << 30
CONNECT_S = 3.0
SPACES_S = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `mend` says what to do where it is not well."""

    what: str
    well: bool
    detail: str
    mend: str = ""


def examine() -> bool:
    """Prints every finding; returns whether anything is wrong."""
    try:
        settings = load()
    except SapienceError as error:
        show.err.print(f"[red]✗[/red] settings: {show.escape(error.message)}")
        return True
    ill = False
    for finding in findings(settings):
        ill = ill or not finding.well
        mark = "[green]✓[/green]" if finding.well else "[red]✗[/red]"
        show.out.print(f"{mark} {finding.what}: {show.escape(finding.detail)}")
        if not finding.well:
            show.out.print(f"    {show.escape(finding.mend)}", style="bold")
    return ill


def findings(settings: Settings) -> Iterator[Finding]:
    """Looks at one thing after another; changes nothing."""
    yield _python()
    yield _packages()
    yield _folder("data folder", settings.data_dir, "SAPIENCE_DATA_DIR")
    yield _folder("cache folder", settings.cache_dir, "SAPIENCE_CACHE_DIR")
    yield _token(settings.data_dir)
    yield _model("encoder", settings.encoder, "SAPIENCE_ENCODER")
    yield _model("language model", settings.language_model, "SAPIENCE_LANGUAGE_MODEL")
    yield _device(settings.device)
    if settings.record == "sqlite":
        yield _record(settings.data_dir / "record.sqlite")
    else:
        yield _reachable("neo4j", settings.neo4j_url, 7687, "SAPIENCE_NEO4J_URL")
    if settings.index == "qdrant":
        yield _reachable("qdrant", settings.qdrant_url, settings.qdrant_grpc_port, "SAPIENCE_QDRANT_URL")
    yield _daemon(settings.data_dir)
    if local.running(settings.data_dir) is not None:
        yield _spaces(settings)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding("python", sys.version_info >= (3, 11), version, "Python 3.11 or newer is needed")


def _packages() -> Finding:
    needed = {"torch": "reasoning", "sentence_transformers": "perception", "qdrant_edge": "memory", "gguf": "reasoning"}
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    return Finding(
        "packages",
        not missing,
        f"missing: {', '.join(missing)}" if missing else "all that local services need are installed",
        "install them: uv sync --extra all, or make environment",
    )


def _folder(what: str, path: Path, variable: str) -> Finding:
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    mend = f"set {variable} to a folder that can be, or mend its owner"
    if not nearest.is_dir():
        return Finding(what, False, f"{path} cannot be made: {nearest} is a file", mend)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(what, False, f"{path} cannot be written", mend)
    free = shutil.disk_usage(nearest).free
    return Finding(
        what,
        free >= FREE_BYTES,
        f"{path}, {free / 2**30:.1f} GiB free",
        f"free some space, or set {variable} elsewhere",
    )


def _token(data_dir: Path) -> Finding:
    path = data_dir / "token"
    if not path.exists():
        return Finding("token", True, "none yet; the first command makes one")
    mode = stat.S_IMODE(path.stat().st_mode)
    return Finding("token", not mode & 0o077, f"{path} has mode {mode:04o}", f"others can read it: chmod 600 {path}")


def _model(what: str, address: str, variable: str) -> Finding:
    def look() -> str:
        parsed = ModelAddress.parse(address, field=variable)
        if parsed.scheme == "hf":
            return (
                f"{address}, fetched from the Hugging Face Hub when a service starts, unless it is in the Hub's cache"
            )
        return f"{address} at {locate(parsed)}"

    return _tried(what, look, f"set {variable} to a model that is there")


def _device(device: str) -> Finding:
    def look() -> str:
        import torch

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise SapienceError(f"{device} is asked for, and torch {torch.__version__} finds no GPU", reason="NO_GPU")
        found = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} CPU cores"
        return f"{device}: {found}"

    return _tried("device", look, "set SAPIENCE_DEVICE=cpu, or install the GPU's driver")


def _record(path: Path) -> Finding:
    def look() -> str:
        if not path.exists():
            return "none yet"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            raise SapienceError(f"{path}: {error}", reason="BAD_RECORD") from error
        finally:
            database.close()
        if verdict != "ok":
            raise SapienceError(f"{path}: {verdict}", reason="BAD_RECORD")
        return f"{path}, {path.stat().st_size / 2**20:.1f} MiB, sound, {_schema(path)}"

    return _tried(
        "record", look, "open it with the version that wrote it, or restore a backup: sapience restore BACKUP"
    )


def _schema(path: Path) -> str:
    """The version of the record's tables, and what a start would make of them."""
    from memory.record.sqlite import file
    from memory.record.sqlite.schema import MIGRATIONS

    version, known = file.schema_version(path), len(MIGRATIONS)
    if version > known:
        raise SapienceError(
            f"{path} has schema version {version}, and this program knows {known}", reason="SCHEMA_TOO_NEW"
        )
    if version in (0, known):  # 0 is a file with nothing in it yet
        return f"schema {version}"
    copy = file.before_migration(path, known).name
    return f"schema {version}: the next start copies it to {copy} and brings it to {known}"


def _reachable(what: str, url: str, port: int, variable: str) -> Finding:
    parts = urlsplit(url)
    where = (parts.hostname or url, parts.port or port)

    def look() -> str:
        try:
            socket.create_connection(where, CONNECT_S).close()
        except OSError as error:
            raise SapienceError(f"{where[0]}:{where[1]}: {error}", reason="UNREACHABLE") from error
        return f"{where[0]}:{where[1]} answers"

    return _tried(what, look, f"start it, or set {variable} to where it is")


def _daemon(data_dir: Path) -> Finding:
    about = local.running(data_dir)
    if about is None:
        return Finding("daemon", True, "not running; the first command starts it")
    return Finding("daemon", True, f"serving at {about['address']} as process {about['pid']}")


def _spaces(settings: Settings) -> Finding:
    """Whether an encoder is loaded for the vectors of every namespace; asked of the daemon, which knows both."""

    def look() -> str:
        try:
            with local.connect(settings, "default", lambda _: None) as connected:
                found = connected.spaces(timeout=SPACES_S)
        except sapience.SapienceError as error:
            raise SapienceError(f"the daemon does not say: {error}", reason="UNREACHABLE") from error
        lost = [f"{one.namespace} ({one.space.name} {one.space.version})" for one in found if not one.model]
        if lost:
            raise SapienceError(f"no loaded encoder has the space of: {', '.join(lost)}", reason="ENCODER_NOT_LOADED")
        return f"namespaces with vectors: {len(found)}, each with an encoder that is loaded"

    return _tried(
        "spaces",
        look,
        "encode them anew: sapience migrate NAMESPACE; or name their encoder in SAPIENCE_ENCODERS and start the daemon "
        "again",
    )


def _tried(what: str, look: Callable[[], str], mend: str) -> Finding:
    try:
        return Finding(what, True, look())
    except SapienceError as error:
        return Finding(what, False, error.message, mend)
