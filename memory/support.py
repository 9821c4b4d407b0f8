"""Whether a hit truly bears on the question: the signal behind "I don't know".

Recall always ranks something first. This is a logistic regression on six figures of a `RecallResult`:

| figure | is | weight |
|---|---|---|
| dense | the hit's cosine with the query | COSINE |
| coverage | the share of the query's IDF weight that the hit and its neighbours hold | COVERAGE |
| known | the share of it that the namespace holds anywhere | KNOWN |
| reply | how well the question matches that the hit replies to; 0 where it is no reply | REPLY |
| other | 1 where the query names somebody, and somebody else said the hit | OTHER |
| elsewhere | how much better somebody else's words match than those of the one whom the query names | ELSEWHERE |

How the weights were made: fitted on the five development conversations of LoCoMo (Maharana et al., ACL 2024; 2,760
turns), sentences encoded by all-MiniLM-L6-v2, recalled with the recipe "default" and 10 hits, looking at the first
hit. Positives: the 760 questions that have an answer. Negatives, weighted to the same sum: 1,520 of the same questions
put to another conversation, with the names of that one's speakers; and the 237 adversarial questions, which ask one
speaker about what the other did. L2 penalty 1 on standardised figures; rounded.

What it does, by the best of the first three hits, each conversation judged by weights fitted on the others:

| refused below | answerable | those with evidence in the first 3 | other conversation | adversarial |
|---|---|---|---|---|
| 0.4 | 8% | 5% | 80% | 24% |
| 0.5 | 11% | 7% | 85% | 35% |
| 0.6 | 16% | 12% | 90% | 42% |

It does not read: a hit that is about the same thing and does not answer looks supported. Cosines of another encoder lie
elsewhere, and ask for weights of their own.
"""

from __future__ import annotations

import math

from memory.recall import RecallHit, RecallResult

BIAS = -5.2
COSINE = 5.1
COVERAGE = 2.9
KNOWN = 2.15
REPLY = 0.12
OTHER = -2.8
ELSEWHERE = -1.6
USUAL_COSINE = 0.4
"""Stands in where the dense channel was off: the mean of the sample that the weights were fitted on."""


def support(hit: RecallHit, result: RecallResult) -> float:
    """From 0 to 1: how far the hit, one of the result's, can be trusted to bear on the question.

    About the probability of it where half of all questions have an answer. `result` is a first page of some 10 hits.
    """
    return _support(hit, result, elsewhere(result))


def supports(result: RecallResult) -> list[float]:
    """`support` of each hit."""
    of_others = elsewhere(result)
    return [_support(hit, result, of_others) for hit in result.hits]


def _support(hit: RecallHit, result: RecallResult, of_others: float) -> float:
    raw = {part.channel: part.raw for part in hit.channels}
    evidence = (
        BIAS
        + COSINE * raw.get("dense", USUAL_COSINE)
        + COVERAGE * hit.coverage
        + KNOWN * result.known_terms
        + REPLY * raw.get("reply", 0.0)
        + OTHER * (1 - raw.get("speaker", 1.0))
        + ELSEWHERE * of_others
    )
    return 1 / (1 + math.exp(-evidence))


def elsewhere(result: RecallResult) -> float:
    """How much better the best match of those whom the query does not name is than that of those it names; 0 to 2.

    A match is cosine plus BM25 sum, each as a share of the best among the hits. 0 where the query names nobody.
    """
    # Where the query names nobody there is no speaker channel, and every hit counts as said by the right one.
    right = [_raw(hit, "speaker", 1.0) == 1.0 for hit in result.hits]
    if all(right):
        return 0.0
    best = {channel: max((_raw(hit, channel) for hit in result.hits), default=0.0) for channel in ("dense", "sparse")}
    matches = [
        sum(max(0.0, _raw(hit, channel)) / top for channel, top in best.items() if top > 0) for hit in result.hits
    ]
    others = max((match for match, ours in zip(matches, right, strict=True) if not ours), default=0.0)
    named = max((match for match, ours in zip(matches, right, strict=True) if ours), default=0.0)
    return max(0.0, others - named)


def _raw(hit: RecallHit, channel: str, absent: float = 0.0) -> float:
    for part in hit.channels:
        if part.channel == channel:
            return part.raw
    return absent
