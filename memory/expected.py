"""Whether a question asks for a time or an amount, and whether a text holds one.

A rule of thumb over English words: "When did you move?" is answered by a turn that says "last weekend", and not by
"Moving is hard". A question of another kind or language asks for neither, and then nothing is preferred. It does not
read: the time found need not be of what was asked.
"""

from __future__ import annotations

import re

_ASKS = re.compile(
    r"""\b(?:
        when | how\ (?:many|much|old|long|often|far|tall|late|early) | (?:what|which)\ (?:time|date|day|month|year)
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_HOLDS = re.compile(
    r"""\d|\b(?:
        one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|hundred|thousand|half|once|twice
      | yesterday|today|tonight|tomorrow|ago|last|next|since|until|morning|evening
      | weeks?|weekends?|months?|years?|days?|hours?
      | (?:mon|tues|wednes|thurs|fri|satur|sun)day
      | january|february|march|april|june|july|august|september|october|november|december
    )\b""",
    re.IGNORECASE | re.VERBOSE,
)


def asks_for_amount(question: str) -> bool:
    """Whether the question asks when, or how many, how long and the like."""
    return _ASKS.search(question) is not None


def holds_amount(text: str) -> bool:
    """Whether the text names a number, a date or a time."""
    return _HOLDS.search(text) is not None
