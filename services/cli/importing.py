"""Files into memory and back, with progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import sapience
from google.protobuf import json_format
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sapience.v1 import memory_pb2

from core.errors import InvalidArgument
from services.cli import formats, media, peers, show


def import_files(
    client: sapience.Client, files: Iterable[Path], told_at: datetime | None, bring_back: bool = False
) -> list[dict[str, Any]]:
    """Reads every file before anything is sent, then remembers them one by one. One row for each file.

    Folders stand for all files in them that can be read. Audio and images are heard and read one by one, each when it
    is its turn; one that perception refuses is named in its row (`failed`), and the others go on, but for one that is
    alone. Killed at any point, what was acknowledged stays; run again, it is recognised and the rest is added.
    """
    read = [
        (path, None if media.is_one(path) else peers.read(path, told_at))
        for path in media.expanded(files, (*formats.ENDINGS, ".zip"))
    ]
    if len(read) == 1 and read[0][1] is None:
        read = [(path, media.perceived(client, path, told_at)) for path, _ in read]
    results = []
    with progress() as shown:
        for path, at_hand in read:
            bar = shown.add_task(path.name, total=None)
            row: dict[str, Any] = {
                "file": str(path), "remembered": 0, "duplicates": 0, "deleted": 0, "refused": [], "facts": 0,
                "known_facts": 0, "deleted_facts": 0, "skipped": {}, "failed": "",
            }  # fmt: skip
            results.append(row)
            try:
                reading = media.perceived(client, path, told_at) if at_hand is None else at_hand
            except InvalidArgument as error:
                row["failed"] = error.message
                shown.update(bar, total=1, completed=1)
                continue
            row["skipped"] = dict(reading.skipped)
            shown.update(bar, total=len(reading.episodes) + len(reading.facts))
            ids: list[str] = []
            for number, outcome in enumerate(client.remember_many(reading.episodes), 1):
                if isinstance(outcome, sapience.SapienceError):
                    row["refused"].append({"number": number, "error": str(outcome)})
                    ids.append("")
                else:
                    row["duplicates" if outcome.duplicate else "remembered"] += 1
                    row["deleted"] += outcome.deleted
                    ids.append(outcome.episode_id)
                shown.advance(bar)
            if reading.facts:
                told = (one.record("" if one.evidence is None else ids[one.evidence]) for one in reading.facts)
                done = client.import_(told, bring_back=bring_back)
                row |= {"facts": done.facts, "known_facts": done.duplicates, "deleted_facts": done.deleted}
                shown.advance(bar, len(reading.facts))
    for row in results:
        _say(row)
    return results


def _say(row: Mapping[str, Any]) -> None:
    if row["failed"]:
        show.err.print(row["failed"], style="red")
        return
    show.err.print(
        f"{row['file']}: {row['remembered']} remembered, {row['duplicates']} known already, "
        f"{len(row['refused'])} refused"
    )
    if row["facts"] or row["known_facts"] or row["deleted_facts"]:
        show.err.print(
            f"  {row['facts']} Facts, {row['known_facts']} known already, {row['deleted_facts']} deleted here"
        )
    if row["deleted"]:
        show.err.print(f"  {row['deleted']} of them had been deleted before, and are there again", style="yellow")
    for why, count in row["skipped"].items():
        show.err.print(f"  not taken: {count} {why}", style="yellow")
    for refused in row["refused"]:
        show.err.print(f"  {refused['number']}: {refused['error']}", style="red")


def export_lines(client: sapience.Client, file: Path | None) -> int:
    """Writes records as JSON Lines; to a file by way of a temporary one, so that half a file is never taken for one."""
    if file is None:
        return _write(client, sys.stdout)
    partial = file.with_name(file.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8") as out:
            count = _write(client, out)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _write(client: sapience.Client, out: Any) -> int:
    count = 0
    for record in client.export():
        out.write(
            json_format.MessageToJson(record, indent=None, preserving_proto_field_name=True, sort_keys=True) + "\n"
        )
        count += 1
    return count


def restore_lines(client: sapience.Client, file: Path, bring_back: bool = False) -> sapience.ImportResult:
    """Reads what `export_lines` wrote; a line that is broken is named, and nothing after it is taken."""

    def records() -> Iterator[memory_pb2.MemoryRecord]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield json_format.Parse(line, memory_pb2.MemoryRecord())
                except (json_format.ParseError, UnicodeDecodeError) as error:
                    raise InvalidArgument(
                        f"{file} line {number}: {error}", field=str(file), reason="BAD_FILE"
                    ) from error

    return client.import_(records(), bring_back=bring_back)


def progress() -> Progress:
    """A bar on standard error."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=show.err,
        transient=not show.err.is_terminal,
    )
