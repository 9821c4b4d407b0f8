"""The Episode that a summary becomes: a heading, then each quotation with who said it and when.

The words are read from the record when they are needed and are kept nowhere else. Each quotation is a Concept with the
vector of the Concept that it quotes, and the heading is one with their mean: so no encoder takes part, and who looks
for the topic finds the summary as a whole. None of them has terms: what is quoted was told once, and is counted once in
the namespace's statistics.

Who it is known by is made from what it quotes. The same summary is the same Episode, on every machine and every rerun.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from core.clock import to_datetime
from core.dreams import SummaryOf, Write
from core.nouns import Episode, Float32, PerceivedConcept, PerceivedEpisode, Source, SourceKind, Span, StoredConcept
from memory.dreams.material import unit_mean

DREAMT = "dream"
"""The name of the source of all that Dreams write."""
_NAMESPACE_DREAM = uuid.UUID("6f0c2c8e-7d0a-5b8e-9a55-6b1f0f1c7d03")

SHAPES = (
    "a time", "an amount", "a person", "a place", "a reason", "a way", "a yes or a no", "something else",
)  # fmt: skip
"""What questions ask for; `figures` of a procedure name one by its place here."""


def key_of(write: Write) -> str:
    """The external id of the summary: a digest of the ids that it quotes, and of its figures."""
    named = () if write.name is None else (write.name.episode_id, write.name.start_byte, write.name.end_byte)
    parts = (int(write.of), write.quotes, named, write.figures)
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def summary_id(namespace: str, write: Write) -> str:
    """The id of its Episode."""
    return str(uuid.uuid5(_NAMESPACE_DREAM, f"{namespace}/{key_of(write)}"))


def written(
    namespace: str, write: Write, episodes: Mapping[str, Episode], concepts: Mapping[str, StoredConcept]
) -> PerceivedEpisode | None:
    """The summary as it is remembered; None where a source is no longer there. It was told when its last source was."""
    wanted = {*write.sources} | ({write.name.episode_id} if write.name else set())
    if not wanted <= episodes.keys() or not set(write.quotes) <= concepts.keys():
        return None
    sources = [episodes[one] for one in write.sources]
    quoted = [concepts[one] for one in write.quotes]
    heading = _heading(write, episodes, sources)
    text, spans = heading, [Span(heading, 0, len(heading.encode()), "en")]
    for source, stored in zip(sources, quoted, strict=True):
        quote = stored.concept.span
        text += f"\n{_who(source)}: \u201c"
        start = len(text.encode())
        text += f"{quote.text}\u201d"
        spans.append(Span(quote.text, start, start + len(quote.text.encode()), quote.language))
    vectors: list[Float32] = [unit_mean([one.vector for one in quoted]), *(one.vector for one in quoted)]
    return PerceivedEpisode(
        source=Source(SourceKind.DREAM, DREAMT),
        text=text,
        told_at=max(one.told_at for one in sources),
        concepts=tuple(PerceivedConcept(span, vector) for span, vector in zip(spans, vectors, strict=True)),
        external_id=key_of(write),
        id=summary_id(namespace, write),
        derived_from=tuple(dict.fromkeys(write.sources)),
    )


def _heading(write: Write, episodes: Mapping[str, Episode], sources: Sequence[Episode]) -> str:
    first, last = (_day(pick(one.told_at for one in sources)) for pick in (min, max))
    when = f"on {first}" if first == last else f"from {first} to {last}"
    match write.of:
        case SummaryOf.SPEAKER:
            return f"What {sources[0].speaker} told {when}."
        case SummaryOf.ENTITY:
            assert write.name is not None, "the summary of an Entity says where it is named"
            text = episodes[write.name.episode_id].text.encode()
            return f"What was told about {text[write.name.start_byte : write.name.end_byte].decode()} {when}."
        case SummaryOf.TOPIC:
            return f"What was told of one topic {when}."
        case SummaryOf.PERIOD:
            return f"What was told in \u201c{sources[0].conversation}\u201d {when}."
        case SummaryOf.PROCEDURE:
            count = dict(write.figures)
            return (
                f"Questions that ask for {SHAPES[count['shape']]}: {count['answered']} of {count['asked']} were "
                f"answered from evidence, with {count['citations'] / max(1, count['answered']):.1f} citations each."
            )


def _who(source: Episode) -> str:
    return f"{source.speaker or source.source.name or 'somebody'} on {_day(source.told_at)}"


def _day(at: int) -> str:
    told = to_datetime(at)
    return f"{told.day} {told:%B} {told.year}"
