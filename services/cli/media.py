"""What `sapience import` makes of recordings and images: perception hears and reads them, their words are remembered.

A recording becomes an Episode for each stretch of speech between longer pauses, an image one of all its lines. Each has
an id of the file's content and its place, so that a second import recognises it; the file is heard again for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import sapience
from sapience import NewEpisode

from services.cli import formats
from services.cli.peers.reading import Reading, skip

ENDINGS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff",
)  # fmt: skip
MOST_BYTES = 64 << 20
"""Of one file, as the service takes it."""
LONGEST_S = 6 * 3600.0
"""For one file: hours of speech on a slow machine. Without a deadline the service would set its own, of minutes."""


def is_one(path: Path) -> bool:
    """Whether it is audio or an image, by its name. Raises InvalidArgument for one that cannot be sent."""
    if path.suffix.lower() not in ENDINGS:
        return False
    try:
        size = path.stat().st_size
    except OSError as error:
        raise formats.fault(path, f"cannot be read: {error.strerror}") from error
    if size > MOST_BYTES:
        raise formats.fault(path, f"has {size} bytes, at most {MOST_BYTES} are heard or read; compress or split it")
    if not size:
        raise formats.fault(path, "is empty")
    return True


def expanded(files: Iterable[Path], others: tuple[str, ...]) -> list[Path]:
    """Files, and in place of folders what is in them, at any depth, with an ending of ours or of `others`, by name.

    Names that begin with a full stop are left out. Raises InvalidArgument for a folder with nothing to read.
    """
    found: list[Path] = []
    for path in files:
        if not path.is_dir():
            found.append(path)
            continue
        inside = [
            one
            for one in sorted(path.rglob("*"))
            if one.suffix.lower() in ENDINGS + others
            and one.is_file()
            and not any(part.startswith(".") for part in one.relative_to(path).parts)
        ]
        if not inside:
            raise formats.fault(path, "is a folder with nothing that can be read")
        found += inside
    return found


def perceived(client: sapience.Client, path: Path, told_at: datetime | None = None) -> Reading:
    """The Episodes of a recording or an image. `told_at` stands in for its modification time.

    Raises InvalidArgument for what perception refuses.
    """
    try:
        found = client.perceive(path, timeout=LONGEST_S)
    except sapience.InvalidArgument as error:
        raise formats.fault(path, f"is not perceived: {error.message}") from error
    moment = told_at or datetime.fromtimestamp(path.stat().st_mtime, UTC)
    with path.open("rb") as file:
        digest = blake2b(file.read(), digest_size=12).hexdigest()
    heard = found.modality is sapience.Modality.SPEECH
    blocks = found.text.splitlines() if heard else [found.text]
    reading = Reading()
    for block in blocks:
        for part in formats.parted(block.strip()):
            place = len(reading.episodes)
            reading.episodes.append(
                NewEpisode(
                    text=part,
                    told_at=moment,
                    conversation=path.name,
                    position=place,
                    source=path.name,
                    kind="document",
                    external_id=f"{digest}-{place}",
                )
            )
    skip(reading, "recording in which nobody speaks" if heard else "image with no writing", not reading.episodes)
    return reading
