"""Results as plain JSON values, for logs, files and other programs."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from typing import Any

from sapience import types


def to_dict(value: Any) -> dict[str, Any]:
    """A dataclass of this library as a dict that `json.dumps` takes.

    Times are ISO 8601 with an offset, bytes Base64, enums their words. An Event says what it is under "event":
    "recalled", "token", "answer" and so on. Raises TypeError for anything that is not such a dataclass.
    """
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{value!r} is not a dataclass of sapience")
    plain = {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return {"event": _snake(type(value).__name__), **plain} if isinstance(value, types.Event) else plain


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return base64.b64encode(value).decode("ascii")
        case str():
            return str(value)
        case tuple() | list():
            return [_plain(item) for item in value]
        case Mapping():
            return {key: _plain(item) for key, item in value.items()}
    return to_dict(value) if is_dataclass(value) else value


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
