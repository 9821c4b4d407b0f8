"""ChatGPT's export: conversations.json, or the .zip it comes in.

A conversation is a tree of messages, `mapping`; an edited question or a second answer begins a branch. Taken is the
branch that ends in `current_node`, what the user sees: the words of user and assistant in it, with the time of each.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sapience import NewEpisode

from services.cli import formats
from services.cli.formats import fault, time_of
from services.cli.peers.reading import Reading, skip

_MEMBER = re.compile(r"(^|/)conversations[^/]*\.json$")


def is_one(whole: Any) -> bool:
    """Whether a JSON value is one."""
    return isinstance(whole, list) and bool(whole) and isinstance(whole[0], dict) and "mapping" in whole[0]


def zipped(path: Path) -> list[Any]:
    """The conversations in a .zip. Raises InvalidArgument where there are none."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if _MEMBER.search(name))
            found = [formats.parsed(path, archive.read(name).decode("utf-8-sig"), name) for name in names]
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, UnicodeDecodeError) as error:
        # RuntimeError: of members that are encrypted, or packed in a way that zipfile does not know.
        raise fault(path, f"cannot be read: {error}") from error
    if not found or not all(isinstance(one, list) for one in found):
        raise fault(path, "has no conversations.json in it; of zips, ChatGPT's export is read")
    return [conversation for one in found for conversation in one]


def read(path: Path, whole: list[Any], default: datetime) -> Reading:
    """The conversations; `default` is the time of those that have none."""
    reading = Reading()
    for number, conversation in enumerate(whole, 1):
        where = f"conversation {number}"
        mapping = conversation.get("mapping") if isinstance(conversation, dict) else None
        if not isinstance(mapping, dict):
            raise fault(path, f'{where} has no "mapping" of messages')
        last = time_of(path, conversation.get("create_time"), default, where)
        name = str(conversation.get("conversation_id") or conversation.get("id") or f"{path.stem}/{number}")
        branch = _branch(mapping, conversation.get("current_node"))
        with_message = sum(1 for node in mapping.values() if isinstance(node, dict) and node.get("message"))
        shown = [node for node in branch if node.get("message")]
        skip(reading, "messages of branches that are not shown", with_message - len(shown))
        for place, node in enumerate(shown):
            message = node["message"] if isinstance(node["message"], dict) else {}
            # A message without a time was said after the one before it.
            last = time_of(path, message.get("create_time"), last, f"{where}, message {place + 1}")
            if (said := _said(message, reading)) is not None:
                reading.episodes.append(
                    NewEpisode(
                        text=said,
                        speaker=str(message["author"].get("name") or message["author"]["role"]),
                        told_at=last,
                        conversation=name,
                        position=place,
                        source="chatgpt",
                        kind="testimony",
                        external_id=str(message.get("id") or node.get("id") or ""),
                    )
                )
    return reading


def _branch(mapping: Mapping[str, Any], current: Any) -> list[dict[str, Any]]:
    """The messages from the first one to the one that is shown last; without that, along the last answers given."""
    node = mapping.get(current) if isinstance(current, str) else None
    if not isinstance(node, dict):
        roots = [one for one in mapping.values() if isinstance(one, dict) and one.get("parent") not in mapping]
        node = roots[0] if roots else None
        seen: set[int] = set()
        while node is not None and id(node) not in seen:
            seen.add(id(node))
            following = [mapping[one] for one in node.get("children") or () if isinstance(mapping.get(one), dict)]
            if not following:
                break
            node = following[-1]
    branch: list[dict[str, Any]] = []
    passed: set[int] = set()
    while isinstance(node, dict) and id(node) not in passed:
        passed.add(id(node))  # a tree that was made by hand may go round in a ring
        branch.append(node)
        node = mapping.get(node.get("parent") or "")
    return branch[::-1]


def _said(message: Any, reading: Reading) -> str | None:
    """What a person or the assistant said in words; None where it is something else, which is counted."""
    author = message.get("author") if isinstance(message, dict) else None
    role = author.get("role") if isinstance(author, dict) else None
    if role not in ("user", "assistant"):
        skip(reading, f"messages of {role or 'nobody'}")
        return None
    if (message.get("metadata") or {}).get("is_visually_hidden_from_conversation"):
        skip(reading, "messages that are not shown")
        return None
    content = message.get("content") or {}
    kind = content.get("content_type")
    if kind not in ("text", "multimodal_text") or message.get("recipient") not in (None, "all"):
        skip(reading, f"messages that are {kind or 'of no kind'}")
        return None
    words = []
    for part in content.get("parts") or ():
        if isinstance(part, str):
            words.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            words.append(part["text"])  # what was heard of speech
        else:
            skip(reading, "pictures, sounds and files")
    text = "\n".join(word for word in words if word.strip())
    if not text:
        skip(reading, "messages without words")
        return None
    return text
