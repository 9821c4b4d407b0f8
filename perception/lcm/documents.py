"""Documents to train concept models on: stories that a seed makes, or files of one's own, cut into sentences.

A document is a sequence of sentences that ends with `END_OF_TEXT`. Of files, a part is validation and a part is test,
by the hash of a document's text: the split does not change where documents are added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from core.errors import InvalidArgument
from perception.lcm import END_OF_TEXT
from perception.lcm.stories import Stories
from perception.segment import segment

Document = tuple[str, ...]
Split = Literal["train", "validation", "test"]

STORIES = "stories"
"""The name of the documents that are made here."""
_SEEDS = {"train": 0, "validation": 7_000_003, "test": 8_000_009}
_SHARE = 10
"""One document of a file in so many is validation, and one test."""
_MOST_SENTENCES = 64


def made(split: Split, count: int, seed: int = 0) -> list[Document]:
    """So many stories. Splits have seeds of their own, and no name, town and thing alike together but by chance."""
    return [one.sentences for one in Stories(_SEEDS[split] + seed).stories(count)]


def read(path: Path, split: Split) -> list[Document]:
    """The documents of a split, from a JSON Lines file, a text file, or all such files in a folder.

    A line of JSON has `sentences` (a list) or `text`; a text file is one document. Longer ones are cut into several of
    64 sentences. Raises InvalidArgument (BAD_DOCUMENTS) for a line that is neither, and where there is no document.
    """
    if not path.exists():
        raise InvalidArgument(f"{path} is not there", field="data", reason="BAD_DOCUMENTS")
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.suffix in (".jsonl", ".txt"))
    found = [part for file in files for document in _documents(file) if _split(document) == split
             for part in _parts(document)]  # fmt: skip
    if not found:
        raise InvalidArgument(
            f"{path} holds no document for {split}; give .jsonl or .txt files with some tens of documents",
            field="data",
            reason="BAD_DOCUMENTS",
        )
    return found


def _documents(file: Path) -> Iterator[list[str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{file} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}; convert it",
            field="data",
            reason="BAD_DOCUMENTS",
        ) from error
    if file.suffix != ".jsonl":
        yield _sentences(text)
        return
    # Not splitlines: a string in JSON may hold U+2028 and other characters that Python takes for the end of a line.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            sentences = told["sentences"] if "sentences" in told else _sentences(str(told["text"]))
            if "sentences" not in told and not isinstance(told["text"], str):
                raise ValueError("its text is no text")
            if not sentences or not all(isinstance(one, str) and one.strip() for one in sentences):
                raise ValueError("a sentence is blank or no text")
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidArgument(
                f"{file}, line {number}, is no document ({type(error).__name__}: {error}); write an object with "
                "`text`, or with `sentences`, a list of texts",
                field="data",
                reason="BAD_DOCUMENTS",
            ) from error
        yield list(sentences)


def _sentences(text: str) -> list[str]:
    return [" ".join(span.text.split()) for span in segment(text)]


def _split(document: list[str]) -> Split:
    number = int.from_bytes(hashlib.sha256("\n".join(document).encode()).digest()[:4], "little") % _SHARE
    return "validation" if number == 0 else "test" if number == 1 else "train"


def _parts(document: list[str]) -> Iterator[Document]:
    body = document[:-1] if document and document[-1] == END_OF_TEXT else document
    starts = range(0, len(body), _MOST_SENTENCES - 1)
    for start in starts:
        part = tuple(body[start : start + _MOST_SENTENCES - 1])
        yield (*part, END_OF_TEXT) if start == starts[-1] else part
