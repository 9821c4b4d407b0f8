"""Files of a checkpoint: a path as it is, an address of the web downloaded once into a folder.

A download that breaks off leaves nothing behind; it is begun anew and not continued. What was downloaded is not checked
against a hash: SONAR's authors publish none.
"""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from core.errors import Unavailable

_TIMEOUT_S = 60.0
"""Without a byte for so long, a download is given up."""


def fetched(source: str, folder: Path) -> Path:
    """The file behind a path or an http(s) address. Raises Unavailable (MODEL_HUB_UNAVAILABLE)."""
    if urlsplit(source).scheme not in ("http", "https"):
        return Path(source)
    path = folder / Path(urlsplit(source).path).name
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as reply, part.open("wb") as file:  # noqa: S310
            shutil.copyfileobj(reply, file, 1 << 20)
            said = reply.headers.get("Content-Length")
            if said is not None and file.tell() != int(said):
                raise OSError(f"it ended after {file.tell()} of {said} bytes")
        part.rename(path)
    except OSError as error:  # URLError and timeouts are OSErrors too
        raise Unavailable(
            f"{source} could not be downloaded ({error}); check the network, or download it by hand and give its path",
            reason="MODEL_HUB_UNAVAILABLE",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path
