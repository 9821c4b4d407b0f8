"""Sentence boundaries in text of any language, by rules.

A text is first cut into blocks: paragraphs, list items, headings, lines. A block is then cut into sentences after
sentence enders, and a sentence that is too long after a clause or a word.

What it assumes: enders are those of `_ENDERS`, and Latin ones are followed by white space, so that URLs, decimals,
versions and file names stay whole. What it does not do: it knows no language, so it finds no sentences where the script
marks none (Thai). Where a rule is unsure, it leaves two sentences together: a span that holds the whole thought is
worth more as evidence than half of one.

Every character that is not white space is in exactly one span; the time is linear in the length of the text. How
it compares with libraries is in docs/decisions/0019.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator

from core.errors import InvalidArgument
from core.nouns import Span
from perception.segment.words import BEFORE_NUMBER, MAY_BE_FINAL, NEVER_FINAL, ORDINAL_FOLLOWERS, STARTERS

MAX_CHARS = 400
"""The longest span, in characters: about 100 tokens, below the limit of every common sentence encoder."""
_MIN_MAX_CHARS = 16
_WRAP_COLUMNS = 40
"""Text that was wrapped by hand or by a program is at least so wide."""
_LONGEST_WORD = 40
"""How far back the word before a full stop is looked for."""

_WIDE = "。！？｡．।॥؟۔։።፧។၊။"
"""Enders that need no white space after them."""
# Runs are matched whole and judged afterwards: a look-ahead in the pattern would make a long run quadratic.
_ENDERS = re.compile(
    rf"(?:[.!?…‼⁇⁈⁉{_WIDE}]+|(?<=[\u0370-\u03ff]);)[\"'”’»›)\]}}」』）】》〉*_~`]*(?:[ \u00a0\u202f]»(?!\w))?"
)
"""With the question mark of Greek, which is written as a semicolon."""
_NEXT_WORD = re.compile(r"\s*[\"'“‘«‹„(\[{「『（【《〈¿¡*_~`]*([^\W_][\w'’]*)?")
_DASHED = re.compile(r"\s+[–—]\s*(\w)")
"""A dash after a question that somebody asked in the middle of a sentence: —¿Vienes? —preguntó Ana."""
_BLOCK_START = re.compile(r"[ \t]*(?:[-*+•‣◦–—] |\d{1,3}[.)] |#{1,6} |>|```|~~~|\|)")
_HEADING = re.compile(r"[ \t]*#{1,6} ")
_ENUMERATOR = re.compile(r"[\s(]*\d{1,3}\.")
_CLAUSE = re.compile(r"[,;:)\]]\s|\s[–—-]\s|[，、；：）]")
_GLUED = frozenset("\u200d\ufe0e\ufe0f")
"""A joiner and variation selectors: never the first character after a cut."""


def segment(text: str, *, max_chars: int = MAX_CHARS) -> list[Span]:
    """The sentences of a text in order, with their byte spans in its UTF-8; none for blank text.

    Raises InvalidArgument for a text that has no UTF-8 (a lone surrogate), and for `max_chars` below 16.
    """
    if max_chars < _MIN_MAX_CHARS:
        raise InvalidArgument(f"max_chars is {max_chars}; give at least {_MIN_MAX_CHARS}", field="max_chars")
    spans: list[Span] = []
    character, byte = 0, 0
    try:
        for start, end in _trimmed(text, max_chars):
            sentence = text[start:end]
            byte += len(text[character:start].encode())
            size = len(sentence.encode())
            spans.append(Span(sentence, byte, byte + size))
            character, byte = end, byte + size
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"character {character + error.start} of the text is a lone surrogate, which UTF-8 cannot hold; decode "
            "the input as UTF-8 with errors='replace'",
            field="text",
        ) from None
    return spans


def _trimmed(text: str, max_chars: int) -> Iterator[tuple[int, int]]:
    """Spans in characters without the white space around them; blank ones are left out."""
    for block_start, block_end in _blocks(text):
        for start, end in _sentences(text, block_start, block_end):
            for piece_start, piece_end in _pieces(text, start, end, max_chars):
                piece = text[piece_start:piece_end]
                left = piece_start + len(piece) - len(piece.lstrip())
                right = piece_start + len(piece.rstrip())
                if left < right:
                    yield left, right


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Stretches that no sentence crosses: lines, or whole paragraphs where the line ends are mere wrapping."""
    paragraph: list[tuple[int, int]] = []
    at = 0
    for line in text.splitlines(keepends=True):
        start, at = at, at + len(line)
        blank = line.isspace()
        if paragraph and (blank or _BLOCK_START.match(line)):
            yield from _unwrapped(text, paragraph)
            paragraph = []
        if _HEADING.match(line):
            yield start, at
        elif not blank:
            paragraph.append((start, at))
    yield from _unwrapped(text, paragraph)


def _unwrapped(text: str, lines: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """One block if the lines are a wrapped paragraph, else a block for each line."""
    if _is_wrapped([text[start:end].rstrip() for start, end in lines]):
        yield lines[0][0], lines[-1][1]
    else:
        yield from lines


def _is_wrapped(lines: list[str]) -> bool:
    """Whether every line was filled: the first word of the next one would not have fitted in.

    Two lines prove little, so there the second must also begin in lower case.
    """
    width = max(map(len, lines), default=0)
    if len(lines) < 2 or width < _WRAP_COLUMNS:
        return False
    if len(lines) == 2 and not lines[1].lstrip()[:1].islower():
        return False
    return all(
        len(line) + 1 + len(following.split(maxsplit=1)[0]) > width for line, following in itertools.pairwise(lines)
    )


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cuts a block after each ender that ends a sentence."""
    for match in _ENDERS.finditer(text, start, end):
        if match.end() < end and _ends_sentence(text, start, match, end):
            yield start, match.end()
            start = match.end()
    yield start, end


def _ends_sentence(text: str, start: int, match: re.Match[str], end: int) -> bool:
    """Whether the enders and closing marks of `match` end the sentence that began at `start`."""
    marks = match.group()
    enders = marks.rstrip("\"'”’»›)]}」』）】》〉*_~` \u00a0\u202f")
    if any(mark in _WIDE for mark in enders):
        quoted = marks[-1] in "」』" and text[match.end()] in "とっ"
        return not quoted and not (enders == "．" and text[match.end()].isdigit())
    if not text[match.end()].isspace():
        return False
    following = _NEXT_WORD.match(text, match.end(), end)
    word = following.group(1) if following else None
    continues = word is not None and word[0].islower()
    if len(enders) < len(marks) and continues:
        return False  # "Why?" he asked.
    dashed = _DASHED.match(text, match.end(), end)
    if dashed is not None and dashed.group(1).islower():
        return False
    if enders != ".":
        # An ellipsis may be a pause in the middle of a sentence; an exclamation is none.
        return not continues or any(mark in "!?‼⁇⁈⁉" for mark in enders)
    return _full_stop_ends(text, start, match.start(), word or "")


def _full_stop_ends(text: str, start: int, stop: int, following: str) -> bool:
    """Whether the full stop at `stop` ends a sentence, by the word before it and the one after."""
    if _ENUMERATOR.fullmatch(text, start, min(stop + 1, start + _LONGEST_WORD)):
        return False
    before = text[max(start, stop - _LONGEST_WORD) : stop].split()
    word = before[-1].lstrip("\"'“‘«‹„([{¿¡*_~`") if before else ""
    lower = word.lower()
    if lower in NEVER_FINAL:
        return False
    if (lower in BEFORE_NUMBER or lower.endswith("str")) and following[:1].isdigit():
        return False
    if following[:1].islower() and _goes_on(text, start, word):
        return False
    is_initial = len(word) == 1 and word.isalpha() and (word.isupper() or following[:1].isupper())
    if is_initial or lower in MAY_BE_FINAL or _is_dotted(word):
        return following in STARTERS or not following
    if word.isdigit() and len(word) <= 2:
        return following not in ORDINAL_FOLLOWERS
    return True


def _goes_on(text: str, start: int, word: str) -> bool:
    """Whether a word in lower case after `word.` shows an abbreviation, an ordinal or a numeral.

    Not where the sentence itself began in lower case: then its writer uses no capitals.
    """
    if not (word.isalpha() or (word.isdigit() and len(word) <= 2)):
        return False
    first = _NEXT_WORD.match(text[start : start + _LONGEST_WORD])
    return first is not None and first.group(1) is not None and not first.group(1)[0].islower()


def _is_dotted(word: str) -> bool:
    """Letters with full stops between: U.S, z.B, т.е."""
    letters = word.split(".")
    return len(letters) > 1 and all(letter.isalpha() and len(letter) <= 2 for letter in letters)


def _pieces(text: str, start: int, end: int, max_chars: int) -> Iterator[tuple[int, int]]:
    """Cuts what is longer than `max_chars`: after the last clause that fits, else the last word, else anywhere."""
    while end - start > max_chars:
        limit = start + max_chars
        cut = max((match.end() for match in _CLAUSE.finditer(text, start + max_chars // 2, limit)), default=0)
        if not cut:
            cut = next((at for at in range(limit, start + max_chars // 2, -1) if text[at].isspace()), 0)
        if not cut:
            cut = limit
            while cut > limit - _MIN_MAX_CHARS // 2 and (text[cut] in _GLUED or unicodedata.combining(text[cut])):
                cut -= 1
        yield start, cut
        start = cut
    yield start, end
