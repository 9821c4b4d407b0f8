"""`sapience patch`: bytes in patches, shown with how uncertain each began."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import sapience
import typer
from rich.text import Text

from core.errors import InvalidArgument
from services.cli import show
from services.cli.app import AsJson, app, client, print_json

MOST = 1 << 20
_BARS = "▁▂▃▄▅▆▇█"
_MOST_ENTROPY = math.log(256)
_COLOURS = ("blue", "cyan", "green", "yellow", "magenta", "red")


@app.command()
def patch(
    file: Annotated[Path, typer.Argument(help="A file of any bytes, up to 1 MiB; - reads standard input.")],
    rule: Annotated[str, typer.Option(help="global, monotonic or combined.")] = "global",
    mean: Annotated[float, typer.Option(min=0, help="Bytes of a patch, on average; 0 is 4.5.")] = 0.0,
    fit: Annotated[bool, typer.Option("--fit", help="Fit the thresholds to this file.")] = False,
    entropy: Annotated[float | None, typer.Option(help="The threshold of entropies, in nats, instead.")] = None,
    rise: Annotated[float | None, typer.Option(help="The threshold of their rises, in nats.")] = None,
    most_bytes: Annotated[int, typer.Option(min=0, max=65_536, help="The longest patch; 0 is 64.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Cut bytes into patches that begin where the next byte is hard to foresee.

    `sapience patch notes.md --rule monotonic`

    `echo "The record is the truth." | sapience patch - --mean 6`

    A bar before each patch says how uncertain its first byte was, from 0 to 5.5 nats.
    """
    data = sys.stdin.buffer.read(MOST + 1) if str(file) == "-" else _read(file)
    if len(data) > MOST:
        raise InvalidArgument(
            f"{file} has more than {MOST:,} bytes, the most that are cut at once: split it", field="file"
        )
    with client("default", "perception") as connected:
        done = connected.patch(
            data,
            rule=rule,
            bytes_per_patch=mean,
            fit=fit,
            entropy_threshold=entropy,
            rise_threshold=rise,
            most_bytes=most_bytes,
        )
    if as_json:
        # Bytes in Latin-1: each is one character, so that any file can be shown and put together again.
        for one in done.patches:
            print_json({"start": one.start, "end": one.end, "entropy": round(one.entropy, 4),
                        "bytes": data[one.start : one.end].decode("latin-1")})  # fmt: skip
        return
    for line in _lines(data, done.patches):
        show.out.print(line)
    if not done.patches:
        show.out.print(f"{file} is empty: no patches", style="dim")
    else:
        entropies = [one.entropy for one in done.patches]
        show.out.print(
            f"{len(data):,} bytes in {len(done.patches):,} patches, {len(data) / len(done.patches):.2f} bytes each; "
            f"they begin at {sum(entropies) / len(entropies):.2f} nats · {rule}, "
            f"entropy > {done.entropy_threshold:.3f}, rise > {done.rise_threshold:.3f} · {done.model}",
            style="dim",
        )


def _read(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(MOST + 1)


def _lines(data: bytes, patches: tuple[sapience.BytePatch, ...]) -> Iterator[Text]:
    """The text with a bar before each patch, line by line: a patch that ends a line ends it here too."""
    line = Text()
    for one in patches:
        level = min(max(one.entropy / _MOST_ENTROPY, 0.0), 0.999)
        colour = _COLOURS[int(level * len(_COLOURS))]
        line.append(_BARS[int(level * len(_BARS))], style=colour)
        pieces = _shown(data[one.start : one.end]).split("\n")
        for number, piece in enumerate(pieces):
            if number:
                line.append("↵", style="dim")
                yield line
                line = Text()
            line.append(piece, style=f"{colour} underline")
    if line:
        yield line


def _shown(piece: bytes) -> str:
    """As text; what is none, or would move the cursor, by its number."""
    text = piece.decode("utf-8", errors="backslashreplace")
    return "".join(one if one == "\n" or one.isprintable() else f"\\x{ord(one):02x}" for one in text)
