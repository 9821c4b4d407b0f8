"""Files into memory and back, with progress."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import sapience
from google.protobuf import json_format
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from sapience.v1 import memory_pb2

from core.errors import InvalidArgument
from services.cli import formats, show


def import_files(client: sapience.Client, files: Iterable[Path], told_at: datetime | None) -> list[dict[str, Any]]:
    """Reads every file before anything is sent, then remembers them one by one. One row for each file.

    Killed at any point, what was acknowledged stays; run again, it is recognised and the rest is added.
    """
    read = [(path, formats.read(path, told_at)) for path in files]
    results = []
    with progress() as shown:
        for path, episodes in read:
            bar = shown.add_task(path.name, total=len(episodes))
            row: dict[str, Any] = {"file": str(path), "remembered": 0, "duplicates": 0, "deleted": 0, "refused": []}
            for number, outcome in enumerate(client.remember_many(episodes), 1):
                if isinstance(outcome, sapience.SapienceError):
                    row["refused"].append({"number": number, "error": str(outcome)})
                elif outcome.duplicate:
                    row["duplicates"] += 1
                else:
                    row["remembered"] += 1
                    row["deleted"] += outcome.deleted
                shown.advance(bar)
            results.append(row)
    for row in results:
        show.err.print(
            f"{row['file']}: {row['remembered']} remembered, {row['duplicates']} known already, "
            f"{len(row['refused'])} refused"
        )
        if row["deleted"]:
            show.err.print(f"  {row['deleted']} of them had been deleted before, and are there again", style="yellow")
        for refused in row["refused"]:
            show.err.print(f"  {refused['number']}: {refused['error']}", style="red")
    return results


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
