"""What `sapience import` reads: plain text, Markdown, JSON Lines chats, and OpenAI's messages.

    .txt .text           paragraphs, parted by empty lines             one document
    .md .markdown        paragraphs, list items and headings           one document
    .jsonl .ndjson       {"speaker", "text", "time"} a line            one conversation
    .json                {"messages": [{"role", "content"}]}           one conversation

A file is read whole before anything is sent: one that is broken is refused whole, with the place of the fault.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sapience import NewEpisode

from core.errors import InvalidArgument

ENDINGS = (".txt", ".text", ".md", ".markdown", ".jsonl", ".ndjson", ".json")
MOST_BYTES = 60_000
"""Longer paragraphs are parted at a line or a sentence; the service takes 64 KiB."""


def read(path: Path, told_at: datetime | None = None) -> list[NewEpisode]:
    """The Episodes of a file. `told_at` stands in for times that the file does not give; else its modification time.

    Raises InvalidArgument (field = the file) for what cannot be read.
    """
    if path.suffix.lower() not in ENDINGS:
        raise fault(
            path, f"has the ending {path.suffix or '(none)'!r}; .txt, .md, .jsonl, .json, audio and images are read"
        )
    text = decoded(path)
    modified = told_at or datetime.fromtimestamp(path.stat().st_mtime, UTC)
    match path.suffix.lower():
        case ".txt" | ".text":
            return list(_document(path, _paragraphs(text), modified))
        case ".md" | ".markdown":
            return list(_document(path, _markdown_blocks(text), modified))
        case ".jsonl" | ".ndjson":
            return list(_chat(path, text, modified))
        case _:
            return list(_messages(path, text, modified))


_HEADING = re.compile(r"#{1,6}[ \t]+(.*?)[ \t#]*$")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|\d+[.)])[ \t]")
_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")


def decoded(path: Path) -> str:
    """The text of a file. Raises InvalidArgument where it is not UTF-8, or empty."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise fault(path, f"cannot be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise fault(
            path,
            f"is not UTF-8: byte {error.start} (line {line}) is 0x{data[error.start]:02x}; "
            f"`iconv -f WINDOWS-1252 -t UTF-8 {path.name}` converts a common encoding",
        ) from error
    if not text.strip():
        raise fault(path, "is empty")
    return text


def _paragraphs(text: str) -> Iterator[str]:
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        if block.strip():
            yield block.strip("\n")


def _markdown_blocks(text: str) -> Iterator[str]:
    """Paragraphs; each list item alone; every block under a heading is told with it, since it says what it is about.

    A heading with nothing under it is told by itself, and what stands in a fence of code is one block.
    """
    heading, alone, fence = "", False, ""
    lines: list[str] = []

    def told() -> Iterator[str]:
        nonlocal alone
        if block := "\n".join(lines).strip():
            yield f"{heading}: {block}" if heading else block
            alone = False
        lines.clear()

    for line in text.replace("\r\n", "\n").split("\n"):
        if fence:
            lines.append(line)
            if re.match(rf"[ \t]*{re.escape(fence)}{re.escape(fence[0])}*[ \t]*$", line):
                fence = ""
            continue
        if match := _HEADING.match(line):
            yield from told()
            if alone:
                yield heading
            heading = match.group(1)
            alone = bool(heading)
            continue
        if not line.strip() or _ITEM.match(line):
            yield from told()
        if match := _FENCE.match(line):
            fence = match.group(1)
        lines.append(line)
    yield from told()
    if alone:
        yield heading


def _document(path: Path, blocks: Iterator[str], told_at: datetime) -> Iterator[NewEpisode]:
    """Each block by its own words: an edited document adds what is new in it, and repeats nothing."""
    seen: Counter[str] = Counter()
    for place, block in enumerate(part for whole in blocks for part in parted(whole)):
        digest = blake2b(block.encode(), digest_size=12).hexdigest()
        seen[digest] += 1
        yield NewEpisode(
            text=block,
            told_at=told_at,
            conversation=path.name,
            position=place,
            source=path.name,
            kind="document",
            external_id=f"{digest}-{seen[digest]}",
        )


def parted(block: str) -> Iterator[str]:
    """A block in parts that an Episode takes, cut at lines and sentences; none where it is empty."""
    while len(block.encode()) > MOST_BYTES:
        head = block.encode()[:MOST_BYTES].decode(errors="ignore")
        cut = max(head.rfind("\n"), head.rfind(". ") + 1, 0) or len(head)
        if part := block[:cut].strip():
            yield part
        block = block[cut:].strip()
    if block:
        yield block


def _chat(path: Path, text: str, default: datetime) -> Iterator[NewEpisode]:
    # Not splitlines: a string in JSON may hold U+2028 and other characters that Python takes for the end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        turn = parsed(path, line, f"line {number}")
        if isinstance(turn, dict) and "messages" in turn:
            yield from _conversation(path, turn, f"{path.stem}/{number}", default, f"line {number}")
            continue
        if not isinstance(turn, dict) or not isinstance(turn.get("text"), str):
            raise fault(path, f'line {number} is no turn; write {{"speaker": ..., "text": ..., "time": ...}}')
        if not turn["text"].strip():
            raise fault(path, f'line {number} has an empty "text"')
        yield NewEpisode(
            text=turn["text"],
            speaker=str(turn.get("speaker") or ""),
            told_at=time_of(path, turn.get("time"), default, f"line {number}"),
            conversation=str(turn.get("conversation") or path.stem),
            position=number - 1,
            source=path.name,
            kind="testimony",
            external_id=str(turn.get("id") or ""),
        )


def _messages(path: Path, text: str, default: datetime) -> Iterator[NewEpisode]:
    whole = parsed(path, text, "the file")
    several = isinstance(whole, list) and bool(whole) and isinstance(whole[0], dict) and "messages" in whole[0]
    conversations = whole if several else [whole]
    for number, conversation in enumerate(conversations, 1):
        one = {"messages": conversation} if isinstance(conversation, list) else conversation
        name = path.stem if len(conversations) == 1 else f"{path.stem}/{number}"
        yield from _conversation(path, one, name, default, f"conversation {number}")


def _conversation(path: Path, whole: Any, name: str, default: datetime, where: str) -> Iterator[NewEpisode]:
    messages = whole.get("messages") if isinstance(whole, dict) else None
    if not isinstance(messages, list) or not messages:
        raise fault(path, f'{where} has no "messages" list; OpenAI\'s messages format is read')
    for place, message in enumerate(messages):
        at = f"{where}, message {place + 1}"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise fault(path, f'{at} has no "role"')
        said = _content(path, message.get("content"), at)
        if not said.strip():
            continue  # a call of a tool, say: nothing was told
        yield NewEpisode(
            text=said,
            speaker=str(message.get("name") or message["role"]),
            told_at=time_of(path, message.get("time") or message.get("created_at"), default, at),
            conversation=str(whole.get("id") or name),
            position=place,
            source=path.name,
            kind="testimony",
            external_id=str(message.get("id") or ""),
        )


def _content(path: Path, content: Any, at: str) -> str:
    """A message's text: a string, or the texts of a list of parts."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part.get("text") or "" for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if all(isinstance(part, str) for part in parts):
            return "\n".join(parts)
    raise fault(path, f'{at} has a "content" that is neither text nor a list of parts')


def parsed(path: Path, text: str, where: str) -> Any:
    """A JSON value. Raises InvalidArgument with the place of the fault."""
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise fault(path, f"{where} is no JSON: {error.msg} ({line}column {error.colno})") from error
    except UnicodeEncodeError as error:
        half = ord(error.object[error.start])
        raise fault(path, f"{where} holds half a character: \\u{half:x} without its other half") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; lists in lists in lists
        raise fault(path, f"{where} is no JSON that can be read: {error}") from error
    return value


def time_of(path: Path, value: Any, default: datetime, where: str) -> datetime:
    """RFC 3339, or seconds since 1970; UTC where no offset is given."""
    if value is None:
        return default
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise fault(path, f"{where} has the time {value!r}; write for example 2026-03-01T18:04:00+01:00") from error


def fault(path: Path, what: str) -> InvalidArgument:
    """For a file that is broken."""
    return InvalidArgument(f"{path} {what}", field=str(path), reason="BAD_FILE")
