"""Backups as files: a folder or a .zip of JSON Lines, with a manifest that says what they are and their digests.

    manifest.json         the header, how many things of each kind, and each file's bytes and SHA-256
    commits.jsonl         numbers and times of commits
    deletions.jsonl       what was deleted: audits, and digests of ids
    records-00001.jsonl   Episodes with their vectors, Facts, policies, and how things are kept

A line is a `BackupPart` of the contract. The same store up to the same commit gives the same bytes. A backup is there
whole or not at all: it is written beside its place and moved there when it is on the disk. Reading one begins with
comparing all digests.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import sapience
from google.protobuf import json_format
from sapience.v1 import moving_pb2 as pb

from core.clock import micros
from core.errors import AlreadyExists, FailedPrecondition, InvalidArgument
from services.cli.importing import progress

MANIFEST = "manifest.json"
COMMITS = "commits.jsonl"
DELETIONS = "deletions.jsonl"
MOST_BYTES = 64 << 20
"""A file of records is followed by another one when it has grown to this."""
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class File:
    """One file of a backup, as the manifest says it."""

    name: str
    sha256: str
    bytes: int
    parts: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup is of, and its files."""

    header: pb.BackupHeader
    counts: dict[str, int]
    files: tuple[File, ...]

    def to_json(self) -> str:
        """As it is written."""
        files = [{"name": f.name, "sha256": f.sha256, "bytes": f.bytes, "parts": f.parts} for f in self.files]
        header = json_format.MessageToDict(self.header, preserving_proto_field_name=True)
        whole = {"sapience_backup": self.header.format, "header": header, "counts": self.counts, "files": files}
        return json.dumps(whole, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, path: Path, text: bytes) -> Manifest:
        """What `to_json` wrote. Raises InvalidArgument for anything else."""
        try:
            whole = json.loads(text)
            header = json_format.ParseDict(whole["header"], pb.BackupHeader())
            files = tuple(File(**one) for one in whole["files"])
            return cls(header, whole["counts"], files)
        except (ValueError, KeyError, TypeError, json_format.ParseError) as error:
            raise broken(path, f"{MANIFEST} cannot be read: {error}") from error


def broken(path: Path, what: str) -> InvalidArgument:
    """For a backup that is damaged, or none."""
    return InvalidArgument(f"{path}: {what}; take another backup", field=str(path), reason="BAD_BACKUP")


# Out


class _Lines:
    """A file of parts that is being written, with its digest."""

    def __init__(self, folder: Path, name: str) -> None:
        self._name = name
        self._out = (folder / name).open("wb")
        self._digest = hashlib.sha256()
        self._parts = 0
        self.bytes = 0

    def add(self, part: pb.BackupPart) -> None:
        line = json_format.MessageToJson(part, indent=None, preserving_proto_field_name=True, sort_keys=True) + "\n"
        data = line.encode()
        self._out.write(data)
        self._digest.update(data)
        self._parts += 1
        self.bytes += len(data)

    def close(self) -> File:
        self._out.flush()
        os.fsync(self._out.fileno())
        self._out.close()
        return File(self._name, self._digest.hexdigest(), self.bytes, self._parts)


def write(target: Path, parts: Iterable[pb.BackupPart]) -> Manifest:
    """Writes a backup to a folder, or to one file where the name ends in .zip. Raises AlreadyExists."""
    if target.exists():
        raise AlreadyExists(f"{target} is there already; give the backup a name of its own", reason="BACKUP_EXISTS")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
    try:
        manifest = _write(folder, parts)
        whole = _zipped(folder) if target.suffix.lower() == ".zip" else folder
        whole.rename(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return manifest


def _write(folder: Path, parts: Iterable[pb.BackupPart]) -> Manifest:
    header: pb.BackupHeader | None = None
    counts: Counter[str] = Counter()
    commits, deletions = _Lines(folder, COMMITS), _Lines(folder, DELETIONS)
    records, written = _Lines(folder, "records-00001.jsonl"), 1
    files: list[File] = []
    for part in parts:
        kind = part.WhichOneof("part") or ""
        if kind == "header":
            header = part.header
            continue
        counts[kind] += _things(part, kind)
        if kind == "commits":
            commits.add(part)
        elif kind in ("audit", "tombstones"):
            deletions.add(part)
        else:
            if records.bytes >= MOST_BYTES:
                files.append(records.close())
                written += 1
                records = _Lines(folder, f"records-{written:05}.jsonl")
            records.add(part)
    files += [records.close(), commits.close(), deletions.close()]
    if header is None:
        raise FailedPrecondition("the service sent no header", reason="BAD_BACKUP")
    manifest = Manifest(header, dict(sorted(counts.items())), tuple(sorted(files, key=lambda one: one.name)))
    with (folder / MANIFEST).open("w", encoding="utf-8") as out:
        out.write(manifest.to_json())
        out.flush()
        os.fsync(out.fileno())
    _sync(folder)
    return manifest


def _things(part: pb.BackupPart, kind: str) -> int:
    return len(part.commits.seqs) or len(part.tombstones.digests) if kind in ("commits", "tombstones") else 1


def _zipped(folder: Path) -> Path:
    packed = folder / "packed.zip"
    names = sorted(one.name for one in folder.iterdir())
    with zipfile.ZipFile(packed, "x", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            about = zipfile.ZipInfo(name, _ZIP_TIME)
            about.compress_type = zipfile.ZIP_DEFLATED
            about.external_attr = 0o600 << 16
            with (folder / name).open("rb") as source, archive.open(about, "w", force_zip64=True) as out:
                shutil.copyfileobj(source, out)
    with packed.open("rb") as file:
        os.fsync(file.fileno())
    return packed


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# In


class Backup:
    """A backup on disk. Opening it reads the manifest; `verify` reads all of it."""

    def __init__(self, path: Path) -> None:
        """Raises InvalidArgument (BAD_BACKUP) for what is none."""
        self.path = path
        try:
            with self._open(MANIFEST) as file:
                self.manifest = Manifest.from_json(path, file.read())
        except (KeyError, FileNotFoundError, zipfile.BadZipFile) as error:
            raise broken(path, f"there is no {MANIFEST} in it") from error
        self.header = self.manifest.header

    @staticmethod
    def is_one(path: Path) -> bool:
        """Whether it looks like a backup, and not like lines that `sapience export` wrote."""
        return path.is_dir() or path.suffix.lower() == ".zip"

    def verify(self) -> None:
        """Compares every file with its digest. Raises InvalidArgument (BAD_BACKUP)."""
        for file in self.manifest.files:
            digest, size = hashlib.sha256(), 0
            try:
                with self._open(file.name) as lines:
                    while block := lines.read(1 << 20):
                        digest.update(block)
                        size += len(block)
            except (KeyError, OSError, zipfile.BadZipFile, zlib.error) as error:
                raise broken(self.path, f"{file.name} cannot be read: {error}") from error
            if digest.hexdigest() != file.sha256:
                raise broken(self.path, f"{file.name} is not what the manifest says: {size} of {file.bytes} bytes")

    def parts(self, *, of: str) -> Iterator[pb.BackupPart]:
        """The parts of the files whose names begin so, in order."""
        for file in self.manifest.files:
            if file.name.startswith(of):
                with self._open(file.name) as lines:
                    for number, line in enumerate(lines, 1):
                        try:
                            yield json_format.Parse(line, pb.BackupPart())
                        except (json_format.ParseError, UnicodeDecodeError) as error:
                            raise broken(self.path, f"{file.name} line {number}: {error}") from error

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes]]:
        if self.path.is_dir():
            with (self.path / name).open("rb") as file:
                yield file
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(name) as member:
                yield member


class Chain:
    """Backups of which each goes on where the one before it ended."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Puts them in order. Raises InvalidArgument where one is missing in between, or of another store."""
        self.backups = sorted(map(Backup, paths), key=lambda one: (one.header.since_seq, one.header.up_to_seq))
        for before, after in zip(self.backups, self.backups[1:], strict=False):
            ended, began = before.header.up_to_recorded_at, after.header.since_recorded_at
            if before.header.up_to_seq != after.header.since_seq or ended != began:
                raise InvalidArgument(
                    f"{after.path} goes on from commit {after.header.since_seq}, and {before.path} ends with "
                    f"{before.header.up_to_seq}; give the backups of one store, each made with --since the one before",
                    field=str(after.path),
                    reason="BACKUP_NOT_NEXT",
                )
        self.header = pb.BackupHeader()
        self.header.CopyFrom(self.backups[-1].header)
        first = self.backups[0].header
        self.header.since_seq = first.since_seq
        self.header.ClearField("since_recorded_at")
        if first.since_seq:
            self.header.since_recorded_at.CopyFrom(first.since_recorded_at)

    def verify(self) -> None:
        """Compares every file of all with its digest."""
        for one in self.backups:
            one.verify()

    def seq_at(self, moment: datetime) -> int:
        """The last commit at or before a time. Raises InvalidArgument where they begin after it."""
        at, last = micros(moment), 0
        for part in self._all(COMMITS):
            for seq, recorded_at in zip(part.commits.seqs, part.commits.recorded_at, strict=True):
                last = seq if recorded_at <= at else last
        if not last:
            raise InvalidArgument(
                f"the backup has nothing that was recorded by {moment.isoformat()}", field="up_to", reason="BAD_BACKUP"
            )
        return last

    def parts(self) -> Iterator[pb.BackupPart]:
        """In the order that a restore takes them."""
        yield from self._all(COMMITS)
        yield from self._all(DELETIONS)
        for one in self.backups:
            yield pb.BackupPart(header=one.header)
            yield from one.parts(of="records-")

    def size(self) -> int:
        """How many parts there are."""
        return sum(file.parts for one in self.backups for file in one.manifest.files) + len(self.backups)

    def _all(self, of: str) -> Iterator[pb.BackupPart]:
        for one in self.backups:
            yield from one.parts(of=of)


def make(client: sapience.Client, target: Path, since: Path | None, **selected: Any) -> Manifest:
    """Takes a backup of what is selected; of `since`, the one before it, only what came after."""
    if since is None:
        return write(target, client.backup(**selected))
    before = Backup(since).header
    if not before.whole and not selected.get("namespaces"):
        selected["namespaces"] = [one.name for one in before.namespaces]

    def checked() -> Iterator[pb.BackupPart]:
        for part in client.backup(since_seq=before.up_to_seq, **selected):
            if part.HasField("header") and part.header.since_recorded_at != before.up_to_recorded_at:
                raise InvalidArgument(
                    f"{since} is of another store, or of one that was restored to an earlier time since; "
                    "make a backup that stands alone",
                    field=str(since),
                    reason="BACKUP_NOT_NEXT",
                )
            yield part

    return write(target, checked())


def restore(client: sapience.Client, chain: Chain, up_to_seq: int, bring_back: bool) -> sapience.RestoreResult:
    """Verifies all, then sends all."""
    chain.verify()
    with progress() as shown:
        bar = shown.add_task("restoring", total=chain.size())

        def counted() -> Iterator[pb.BackupPart]:
            for part in chain.parts():
                yield part
                shown.advance(bar)

        return client.restore(chain.header, counted(), up_to_seq=up_to_seq, bring_back=bring_back)
