"""mem0's memories as JSON: what `get_all` gives, in both of its shapes, and lists of an export.

A memory is a sentence that a program made, and it is written over when it changes; its history has what it was. Each
version is an Episode; a deletion is not taken, since what was told stays told here until somebody deletes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

from sapience import NewEpisode

from services.cli.formats import fault, time_of
from services.cli.peers.reading import Reading, ToldFact, derived, fact, is_name, relation_of, skip


def _listed(whole: Any) -> list[Any] | None:
    listed = whole
    if isinstance(whole, dict):
        listed = whole.get("results", whole.get("memories"))
    first = listed[0] if isinstance(listed, list) and listed else None
    return listed if isinstance(first, dict) and "memory" in first and "messages" not in first else None


def is_one(whole: Any) -> bool:
    """Whether a JSON value is one."""
    return _listed(whole) is not None


def read(path: Path, whole: Any, default: datetime) -> Reading:
    """The memories, and relations of its graph; `default` is the time of those that have none."""
    reading = Reading()
    for number, one in enumerate(_listed(whole) or (), 1):
        where = f"memory {number}"
        if not isinstance(one, dict) or not isinstance(one.get("memory"), str):
            raise fault(path, f'{where} has no "memory"')
        who = str(one.get("user_id") or one.get("agent_id") or "")
        for text, key, at in _versions(one, reading):
            if not text.strip():
                skip(reading, "memories without words")
                continue
            reading.episodes.append(
                NewEpisode(
                    text=text,
                    speaker=who,
                    told_at=time_of(path, at, default, where),
                    conversation=str(one.get("run_id") or one.get("agent_id") or who),
                    position=number - 1,
                    source="mem0",
                    kind="document",
                    external_id=key,
                )
            )
        skip(reading, "metadata of memories", bool(one.get("metadata")))
    for number, one in enumerate(whole.get("relations") or () if isinstance(whole, dict) else (), 1):
        ends = [str(one.get(name) or "") for name in ("source", "relationship")] if isinstance(one, dict) else ["", ""]
        target = str(one.get("destination") or one.get("target") or "") if isinstance(one, dict) else ""
        relation = relation_of(ends[1])
        if not all(map(is_name, (ends[0], target))) or not relation:
            skip(reading, "relations without two ends and a name")
            continue
        at = time_of(path, one.get("created_at"), default, f"relation {number}")
        key = derived("mem0", str(one.get("id") or f"{ends[0]}\0{relation}\0{target}"))
        reading.facts.append(ToldFact(fact(key, ends[0], relation, target, at)))
    return reading


def _versions(one: dict[str, Any], reading: Reading) -> Iterator[tuple[str, str, Any]]:
    """Text, id and time of each version; without a history only of the last."""
    history = [event for event in one.get("history") or () if isinstance(event, dict)]
    for event in history:
        if str(event.get("event") or "").upper() == "DELETE" or not isinstance(event.get("new_memory"), str):
            skip(reading, "deletions in the history of memories")
            continue
        key = str(event.get("id") or _version(one, event["new_memory"]))
        yield event["new_memory"], key, event.get("updated_at") or event.get("created_at")
    if not history:
        yield one["memory"], _version(one, one["memory"]), one.get("updated_at") or one.get("created_at")


def _version(one: dict[str, Any], text: str) -> str:
    """A memory is overwritten when it changes: its words are part of what it is known by."""
    return f"{one.get('id') or ''}-{blake2b(text.encode(), digest_size=8).hexdigest()}"
