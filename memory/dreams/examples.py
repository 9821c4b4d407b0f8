"""What a language model is shown before it reads an Episode: the task, the relations it may use, and worked examples.

Data only; `reading` makes the chat of it. The examples are invented, and say what matters by showing it: quotations
letter for letter, the speaker's name for "I", several facts from one saying, and nothing where nothing is stated.
"""

from __future__ import annotations

from typing import Any

TASK = (
    "Read what was said and answer with one JSON object: the facts that the text states as true, each with a quote of "
    "the words that state it. Leave out questions, wishes and guesses. Use only these relations: {relations}."
)
"""What the model is to do; `{relations}` are those that `RELATIONS` names."""

RELATIONS: dict[str, bool] = {
    "lives_in": True, "comes_from": True, "born_in": True, "works_at": True, "works_as": False, "studies": False,
    "studies_at": True, "has_pet": True, "owns": False, "bought": False, "likes": False, "dislikes": False,
    "plays": False, "speaks": False, "visited": True, "met": True, "married_to": True, "engaged_to": True,
    "plans_to": False, "learns": False, "won": False, "made": False, "took_part_in": False, "allergic_to": False,
}  # fmt: skip
"""The relations that a model may use, those of the rules so that what both read goes together; and whether the object
is somebody or something with a name."""

EXAMPLES: tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...] = (
    (
        "Ben",
        "Ines plays the cello now.",
        ({"subject": "Ines", "relation": "plays", "literal": "the cello", "quote": "Ines plays the cello"},),
    ),
    ("Ada", "Thanks, that was kind of you!", ()),
    (
        "Ada",
        "We moved to Ghent in May. Did you see the match?",
        ({"subject": "Ada", "relation": "lives_in", "entity": "Ghent", "quote": "We moved to Ghent in May"},),
    ),
    ("Ben", "How are you? I hope it rains soon.", ()),
    (
        "Ben",
        "Our dog Biscuit hates thunder.",
        (
            {"subject": "Ben", "relation": "has_pet", "entity": "Biscuit", "quote": "Our dog Biscuit"},
            {"subject": "Biscuit", "relation": "dislikes", "literal": "thunder", "quote": "Biscuit hates thunder"},
        ),
    ),
    (
        "Ada",
        "I found a job at Volta, finally.",
        ({"subject": "Ada", "relation": "works_at", "entity": "Volta", "quote": "I found a job at Volta"},),
    ),
    ("Ada", "What a day!", ()),
    (
        "Ines",
        "I bought an old piano from Marco last week.",
        ({"subject": "Ines", "relation": "bought", "literal": "an old piano", "quote": "I bought an old piano"},),
    ),
)
"""(speaker, text, facts); every fact is given with a confidence of 0.9."""
