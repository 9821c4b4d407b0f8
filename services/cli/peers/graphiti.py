"""Graphiti's graph as JSON: {"episodes", "nodes", "edges"}, each a list of what its models have.

Episodes become Episodes, edges Facts. Graphiti writes over `invalid_at` when it learns of an end, and notes in
`expired_at` when it did. So an edge with both was told at `created_at` without an end, and its end at `expired_at`;
with `expired_at` alone it was found never to have held.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sapience import NewEpisode

from services.cli.formats import time_of
from services.cli.peers.reading import Reading, ToldFact, derived, fact, is_name, relation_of, skip


def is_one(whole: Any) -> bool:
    """Whether a JSON value is one."""
    return isinstance(whole, dict) and isinstance(whole.get("edges"), list) and isinstance(whole.get("nodes"), list)


def read(path: Path, whole: dict[str, Any], default: datetime) -> Reading:
    """The graph; `default` is the time of what has none."""
    reading = Reading()
    places: dict[str, int] = {}
    for number, one in enumerate(whole.get("episodes") or (), 1):
        content = one.get("content") if isinstance(one, dict) else None
        if not isinstance(content, str) or not content.strip():
            skip(reading, "episodes without content")
            continue
        places[str(one.get("uuid") or "")] = len(reading.episodes)
        reading.episodes.append(
            NewEpisode(
                text=content,
                told_at=time_of(path, one.get("valid_at") or one.get("created_at"), default, f"episode {number}"),
                conversation=str(one.get("group_id") or ""),
                position=number - 1,
                source="graphiti",
                kind="testimony" if one.get("source") == "message" else "document",
                external_id=str(one.get("uuid") or ""),
            )
        )
    names = {str(one.get("uuid")): str(one.get("name") or "") for one in whole["nodes"] if isinstance(one, dict)}
    skip(
        reading, "summaries of nodes", sum(1 for one in whole["nodes"] if isinstance(one, dict) and one.get("summary"))
    )
    for number, one in enumerate(whole["edges"], 1):
        if isinstance(one, dict):
            _edge(path, one, names, places, reading, default, f"edge {number}")
        else:
            skip(reading, "edges that are none")
    return reading


def _edge(
    path: Path,
    one: dict[str, Any],
    names: Mapping[str, str],
    places: Mapping[str, int],
    reading: Reading,
    default: datetime,
    where: str,
) -> None:
    """An edge as a Fact, and its end as another version."""
    source, target = (names.get(str(one.get(end)), "") for end in ("source_node_uuid", "target_node_uuid"))
    relation, key = relation_of(str(one.get("name") or "")), str(one.get("uuid") or "")
    if not key or not relation or not is_name(source) or not is_name(target):
        skip(reading, "edges without a uuid, a name and two nodes")
        return
    at = time_of(path, one.get("created_at"), default, where)
    start, end, expired = (
        time_of(path, one[name], default, where) if one.get(name) else None
        for name in ("valid_at", "invalid_at", "expired_at")
    )
    if start and end and end <= start:
        skip(reading, "edges that end before they begin")
        return
    evidence = next((places[said] for said in map(str, one.get("episodes") or ()) if said in places), None)
    sentence = str(one.get("fact") or "")
    if sentence.strip() and evidence is None:
        # Nothing that was told is there; the sentence that Graphiti made of it is.
        evidence = len(reading.episodes)
        reading.episodes.append(
            NewEpisode(text=sentence, told_at=at, source="graphiti", kind="document", external_id=key)
        )
    else:
        skip(reading, "sentences of edges", bool(sentence))
    reading.facts.append(ToldFact(fact(key, source, relation, target, at, start, None if expired else end), evidence))
    if expired:
        back = fact(derived("graphiti", f"{key}/expired"), source, relation, target, expired, end)
        back.retracted = True
        reading.facts.append(ToldFact(back))
