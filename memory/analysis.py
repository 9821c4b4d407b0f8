"""From text to what is matched: terms for BM25, and the names of people.

A term is a 32-bit hash of a stem, so there is no vocabulary to keep, and a term written today is the same term on
every machine. Two stems share a hash once in some 4 billion pairs; a question of 20 terms against 100,000 distinct
ones meets a stranger once in about 2,000 questions, which costs it one weak match.

BM25 is split in two, so that no statistics cross tenants and a written weight never has to change:

- the document side, `document_terms`, is saturated term frequency, written once with the Concept;
- the query side, `idf`, comes from the counts that the record keeps of each namespace, at the time of the question.

It does not know phrases, synonyms or spelling mistakes: that is what the dense channel is for.
"""

from __future__ import annotations

import math
import re
import threading
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import chain, pairwise

import numpy as np
import snowballstemmer

from core.clock import DAY, Micros, to_datetime
from core.errors import InvalidArgument
from core.nouns import Sparse, TermStatistics

K1 = 1.2
"""How soon repeating a word stops helping: BM25's usual value."""
B = 0.75
"""How much a long text is discounted: BM25's usual value."""
AVERAGE_TERMS = 8
"""The length, in terms, that counts as average. A constant, where BM25 takes the mean of the collection: a weight is
written once, and must not depend on what other Episodes, or other tenants, happened to say before it. Concepts are
sentences by construction, so their lengths vary little around it."""

MOST_WORDS = 65_536
"""Words of a language whose terms are kept, so that they are stemmed once."""
LONGEST_WORD = 64
"""Characters of one that is kept: what is longer is no word, and would take room."""

# Words that mark a question or a verb's form, not what it is about. In most collections IDF sees to such words, but
# memories are statements: "did", "which" or "does" are rare in them, so in a question they would weigh like a topic.
ENGLISH_STOP_WORDS = frozenset(
    """a about am an and any are as at be been being both but by ca can could did do does doing for from had has have
    having he her hers him his how i if in into is it its me might my of on or our ours s sha shall she should so some
    such t than that the their theirs them then there these they this those to was we were what when where which who
    whom whose why will with wo would you your yours""".split()
)
_ENGLISH_SUFFIX = re.compile(r"(?:n't|'(?:s|m|re|ve|ll|d))+$")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
_ASCII_WORD = re.compile(r"[a-z0-9]+(?:'[a-z0-9]+)*")
_PLAIN_WORD = re.compile(r"[^\W_]+")
# Scripts written without spaces: a run of them is cut into pairs of characters, the usual stand-in for words.
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
QUESTION_MARKS = "?\uff1f\u061f"
"""Of Latin, East Asian and Arabic script."""
_QUESTION = re.compile(rf"[{QUESTION_MARKS}][^\w\s]*\s*$")
_stemmers = threading.local()


def document_terms(text: str, context: str = "", language: str = "english") -> Sparse:
    """The BM25 weights of a Concept: tf (k1 + 1) / (tf + k1 (1 - b + b length / AVERAGE_TERMS)).

    `context` is what is known of the text but not said in it (see `episode_context`): its terms count as if they were
    said once more, but do not make the text longer. Raises InvalidArgument for a language without a stemmer.
    """
    said = terms(text, language)
    frequency: dict[int, int] = {}
    for term in chain(said, context_terms(context, language)):
        frequency[term] = frequency.get(term, 0) + 1
    discount = K1 * (1 - B + B * len(said) / AVERAGE_TERMS)
    weights = {count: count * (K1 + 1) / (count + discount) for count in set(frequency.values())}
    found = sorted(frequency)
    return Sparse(tuple(found), tuple([weights[frequency[term]] for term in found]))


def documents_terms(texts: Sequence[str], contexts: Sequence[str], language: str = "english") -> list[Sparse]:
    """`document_terms` of each text with its context: the same, by arithmetic over all of them at once."""
    said = [terms(text, language) for text in texts]
    known = [context_terms(context, language) for context in contexts]
    rows = np.repeat(np.arange(len(said)), [len(one) + len(more) for one, more in zip(said, known, strict=True)])
    found = chain.from_iterable(chain.from_iterable(zip(said, known, strict=True)))
    # A text and a term in one number: sorted, those of a text stand together, and its terms rise.
    keys = np.sort(rows << 32 | np.fromiter(found, np.int64, len(rows)))
    firsts = np.flatnonzero(np.diff(keys, prepend=-1))
    frequency = np.diff(firsts, append=len(keys))
    rows, ids = keys[firsts] >> 32, (keys[firsts] & 0xFFFFFFFF).tolist()
    lengths = np.fromiter(map(len, said), np.int64, len(said))
    discount = K1 * (1 - B + B * lengths / AVERAGE_TERMS)
    weights = (frequency * (K1 + 1) / (frequency + discount[rows])).tolist()
    ends = np.cumsum(np.bincount(rows, minlength=len(said))).tolist()
    return [Sparse(tuple(ids[start:end]), tuple(weights[start:end])) for start, end in pairwise([0, *ends])]


@lru_cache(maxsize=4096)
def name_terms(name: str) -> frozenset[int]:
    """The terms of a speaker's name; the same few come again and again."""
    return frozenset(terms(name))


def episode_context(speaker: str, told_at: Micros) -> str:
    """What every Concept of an Episode is indexed with besides its words: who said it, and the day (UTC).

    A question names the speaker, who seldom names themselves; and some name the day: "on 3 May 2023".
    """
    return f"{speaker} {_day_of(told_at // DAY)}"


@lru_cache(maxsize=4096)
def _day_of(number: int) -> str:
    told = to_datetime(number * DAY)
    return f"{told.day} {told:%B} {told.year}"


def query_terms(text: str, language: str = "english") -> tuple[int, ...]:
    """The distinct terms of a question, ascending. How often it repeats a word says nothing."""
    return tuple(sorted(set(terms(text, language))))


def idf(statistics: TermStatistics, term: int) -> float:
    """log(1 + (N - df + 0.5) / (df + 0.5)): never negative, largest for a term that the namespace has not."""
    holding = statistics.document_frequency.get(term, 0)
    return math.log(1 + max(0.0, statistics.concepts - holding + 0.5) / (holding + 0.5))


def terms(text: str, language: str = "english") -> list[int]:
    """The term ids of a text, in order, repeats kept and stop words left out."""
    return [term for term in map(_terms_in(language).__getitem__, _words(text, language)) if term is not None]


def asks(text: str) -> bool:
    """Whether it ends with a question mark, maybe with a quote or a bracket after it."""
    return _QUESTION.search(text) is not None


def named_speakers(text: str, speakers: Iterable[str]) -> frozenset[str]:
    """Those of the speakers whom the text names, in full or by the first of several names."""
    return frozenset(speaker for _, _, named in _mentions(text, speakers) for speaker in named)


def without_names(text: str, speakers: Iterable[str]) -> str:
    """The text with the speakers' names, and a possessive after one, taken out; as it is if no word would be left.

    A sentence encoder takes a name for the topic: with it, a question about Ada finds what others said to Ada.
    """
    kept, end = [], 0
    for start, stop, _ in _mentions(text, speakers):
        kept.append(text[end:start])
        end = stop
    left = " ".join("".join([*kept, text[end:]]).split())
    return left if _PLAIN_WORD.search(left) else text


def _mentions(text: str, speakers: Iterable[str]) -> list[tuple[int, int, tuple[str, ...]]]:
    """Where speakers are named: (start, end, who it may be) by start, not overlapping, the longest name first."""
    known, longest = _names_of(tuple(sorted(set(speakers))))
    words = list(_PLAIN_WORD.finditer(text))
    folded = [word.group().casefold() for word in words]
    found = []
    at = 0
    while at < len(words):
        for size in range(min(longest, len(words) - at), 0, -1):
            parts = tuple(folded[at : at + size])
            # "Will" is a name, "will" is not.
            if parts in known and not (size == 1 and parts[0] in ENGLISH_STOP_WORDS and words[at].group().islower()):
                end = words[at + size - 1].end()
                possessive = re.compile(r"['\u2019](?:s\b)?", re.IGNORECASE).match(text, end)
                found.append((words[at].start(), possessive.end() if possessive else end, tuple(known[parts])))
                at += size
                break
        else:
            at += 1
    return found


@lru_cache(maxsize=64)
def _names_of(speakers: tuple[str, ...]) -> tuple[dict[tuple[str, ...], list[str]], int]:
    """Who each name may mean, by its folded words, and how many words the longest has. The same speakers come often."""
    known: dict[tuple[str, ...], list[str]] = {}
    for speaker in speakers:
        first, _, rest = speaker.partition(" ")
        for name in {speaker, first} if rest else {speaker}:
            parts = tuple(word.casefold() for word in _PLAIN_WORD.findall(name))
            # The first word of "The Doctor" names nobody.
            if parts and (name == speaker or not (len(parts) == 1 and parts[0] in ENGLISH_STOP_WORDS)):
                known.setdefault(parts, []).append(speaker)
    return known, max(map(len, known), default=0)


def _words(text: str, language: str) -> Iterable[str]:
    """Case folded words. English contractions lose their ending ("she's", "don't"); elsewhere they part ("l'eau")."""
    if language == "english" and text.isascii():  # nothing to normalise, no script without spaces
        words: list[str] = _ASCII_WORD.findall(text.lower())
        return [_ENGLISH_SUFFIX.sub("", word) if "'" in word else word for word in words] if "'" in text else words
    return _any_words(text, language)


def _any_words(text: str, language: str) -> Iterator[str]:
    """The same for any script and any language."""
    pattern = _WORD if language == "english" else _PLAIN_WORD
    for match in pattern.finditer(unicodedata.normalize("NFKC", text).casefold()):
        word = match.group().replace("\u2019", "'")
        unspaced = _UNSPACED.search(word)
        if unspaced is None:
            yield _ENGLISH_SUFFIX.sub("", word) if language == "english" else word
            continue
        yield from _PLAIN_WORD.findall(_UNSPACED.sub(" ", word))
        for run in _UNSPACED.findall(word):
            yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)))


class _Terms(dict[str, int | None]):
    """The term ids of the words of a language, None for a stop word: the same words come again and again.

    A look-up is half of what it costs with `lru_cache`; so at its limit all is dropped, and comes back as it is needed.
    """

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def __missing__(self, word: str) -> int | None:
        if len(self) >= MOST_WORDS:
            self.clear()
        stem = _stem(word, self._language)
        term = _term_id(stem) if stem else None
        if len(word) <= LONGEST_WORD:
            self[word] = term
        return term


_terms_in = lru_cache(maxsize=64)(_Terms)


@lru_cache(maxsize=4096)
def context_terms(context: str, language: str = "english") -> tuple[int, ...]:
    """The terms of a context as `episode_context` gives it; many Episodes share one: a speaker and a day."""
    return tuple(terms(context, language))


def _stem(word: str, language: str) -> str:
    """The stem with no accents; empty for a stop word.

    English has no accents of its own, so they go first, and "résumé" meets "resume"; elsewhere the stemmer needs them.
    """
    if language == "english":
        word = _without_accents(word)
        if word in ENGLISH_STOP_WORDS:
            return ""
    stemmer = getattr(_stemmers, language, None)
    if stemmer is None:
        if language not in snowballstemmer.algorithms():
            raise InvalidArgument(
                f"no stemmer for the language {language!r}; one of {', '.join(snowballstemmer.algorithms())}",
                field="language",
            )
        # One for each thread: a stemmer keeps its place in the word in itself.
        stemmer = snowballstemmer.stemmer(language)
        stemmer.maxCacheSize = 0  # of the C code: what it made of a word is kept in `_Terms`
        setattr(_stemmers, language, stemmer)
    return _without_accents(str(stemmer.stemWord(word)))


def _term_id(stem: str) -> int:
    return int.from_bytes(blake2b(stem.encode(), digest_size=4).digest(), "big")


def _without_accents(word: str) -> str:
    if word.isascii():
        return word
    decomposed = unicodedata.normalize("NFD", word)
    return unicodedata.normalize("NFC", "".join(mark for mark in decomposed if not unicodedata.combining(mark)))
