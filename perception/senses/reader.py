"""Text on images, by RapidOCR: PP-OCR's detector and recogniser (PaddleOCR, Apache-2.0) on onnxruntime.

    wheel:rapidocr    PP-OCRv6 small, the files inside the wheel: Latin letters, Chinese and Japanese
    file:/FOLDER      files of one's own: *det*.onnx, *rec*.onnx (with its characters inside) and perhaps *cls*.onnx

Only files that are named here are loaded: where RapidOCR misses one it would download it. Lines come in reading order:
from the top, and from the left within a row. What it does not do: columns, tables, handwriting, formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core.errors import FailedPrecondition, InvalidArgument, NotFound
from core.models import ModelAddress
from perception.segment.languages import checked
from perception.senses.base import Box, Part, Reader, Sensed, Stop, Stopped, concepts_of
from perception.senses.images import MOST_PIXELS, opened
from perception.senses.weights import Weights, threads_or_half

_APACHE = "Apache-2.0"
DEFAULT = {
    "det": Weights(
        "rapidocr",
        "rapidocr/models/PP-OCRv6_det_small.onnx",
        "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
        _APACHE,
    ),
    "rec": Weights(
        "rapidocr",
        "rapidocr/models/PP-OCRv6_rec_small.onnx",
        "6f327246b50388f3c176ae304bd95767ea6dc0c9ae92153ef8cbe210b3c14884",
        _APACHE,
    ),
    "cls": Weights(
        "rapidocr",
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        _APACHE,
    ),
}
LEAST = 0.5
"""The mean probability of a line's characters below which it is taken for no writing."""
_LEAST_SIDE, _MOST_RATIO = 32, 8
"""RapidOCR scales small sides up, and the other with them: a strip of a pixel by a thousand to 500 million pixels. So
what is smaller or thinner gets a white margin."""
_SAME_ROW = 0.5
"""Two lines are in one row where they overlap in height by this share of the lower one."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was read."""

    text: str
    confidence: float
    box: Box


class OcrReader(Reader):
    """RapidOCR in the memory of this process. Not thread-safe."""

    def __init__(self, address: ModelAddress, *, threads: int | None = None, least: float = LEAST) -> None:
        """Finds and loads the models: a second, so call it on a thread.

        Raises NotFound (MODEL_NOT_FOUND), FailedPrecondition (MODEL_CHANGED, MODEL_LOAD_FAILED), and InvalidArgument
        for an address of another kind.
        """
        files = _files(address)
        self.address = address
        self.device = "cpu"
        self.licence = _APACHE if address.scheme == "wheel" else ""
        self._least = least
        try:
            from rapidocr import RapidOCR

            self._engine: Any = RapidOCR(
                params={
                    "Global.log_level": "critical",
                    "Global.use_cls": "cls" in files,
                    "Global.text_score": least,
                    "EngineConfig.onnxruntime.intra_op_num_threads": threads_or_half(threads),
                    "EngineConfig.onnxruntime.inter_op_num_threads": 1,
                    **{f"{kind.capitalize()}.model_path": str(path) for kind, path in files.items()},
                }
            )
            # It loads a model when it is first needed; what is wrong with one is better told here.
            for kind in files:
                getattr(self._engine, f"_load_{kind}_model")()
        except Exception as error:  # whatever a broken file makes of the libraries below, and their absence
            raise FailedPrecondition(
                f"{address} could not be loaded by RapidOCR ({type(error).__name__}: {error}); check its files, and "
                "that sapience[senses] is installed",
                reason="MODEL_LOAD_FAILED",
            ) from error

    def read(self, file: BinaryIO, language: str = "", stop: Stop = lambda: False) -> Sensed:
        """See Reader. The language is not detected: the one that is given is that of the Concepts."""
        language = checked(language)
        image = opened(file)
        if stop():
            raise Stopped
        pixels = np.asarray(image)[:, :, ::-1]
        lines = ordered(self._lines(np.ascontiguousarray(pixels)))
        text, parts = "", list[Part]()
        for line in lines:
            text += "\n" if text else ""
            parts.append(Part(len(text), len(text) + len(line.text), line.confidence, box=line.box))
            text += line.text
        return Sensed(text, concepts_of(text, parts, language), language if text else "")

    def _lines(self, pixels: Any) -> list[Line]:
        height, width = pixels.shape[:2]
        widened = _with_margin(pixels)
        try:
            found = self._engine(widened)
        except Exception as error:  # whatever an odd image makes of the libraries below, a full memory among it
            raise _unreadable(f"is {width} by {height} pixels and cannot be read ({type(error).__name__})") from error
        if found.boxes is None or found.txts is None:
            return []
        return [
            Line(" ".join(words.split()), float(score), _box(corners, width, height))
            for corners, words, score in zip(found.boxes, found.txts, found.scores, strict=True)
            if words.strip()
        ]


def ordered(lines: Sequence[Line]) -> list[Line]:
    """Lines as they are read: rows from the top, within each from the left."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda one: (one.box[1] + one.box[3], one.box[0])):
        if rows and any(_in_one_row(line.box, other.box) for other in rows[-1]):
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda one: one.box[0])]


def _in_one_row(box: Box, other: Box) -> bool:
    overlap = min(box[3], other[3]) - max(box[1], other[1])
    return overlap > _SAME_ROW * max(min(box[3] - box[1], other[3] - other[1]), 1)


def _with_margin(pixels: Any) -> Any:
    """Pixels [height, width, 3] with white on the right and below, where they are too small or too thin."""
    height, width = pixels.shape[:2]
    taller = max(height, _LEAST_SIDE, -(-width // _MOST_RATIO))
    wider = max(width, _LEAST_SIDE, -(-height // _MOST_RATIO))
    if (taller, wider) == (height, width):
        return pixels
    if taller * wider > MOST_PIXELS:
        raise _unreadable(f"is {width} by {height} pixels, too long for so thin a one")
    return np.pad(pixels, ((0, taller - height), (0, wider - width), (0, 0)), constant_values=255)


def _unreadable(what: str) -> InvalidArgument:
    return InvalidArgument(f"the image {what}; cut it into parts, or make it smaller", field="data", reason="BAD_IMAGE")


def _box(corners: Any, width: int, height: int) -> Box:
    left, top = np.floor(corners.min(axis=0))
    right, bottom = np.ceil(corners.max(axis=0))
    return (
        max(int(left), 0),
        max(int(top), 0),
        min(int(right), width),
        min(int(bottom), height),
    )


def _files(address: ModelAddress) -> dict[str, Path]:
    if address.scheme == "wheel" and address.name == DEFAULT["det"].distribution:
        return {kind: weights.path() for kind, weights in DEFAULT.items()}
    if address.scheme != "file":
        raise InvalidArgument(
            f"{address} is no reader; use wheel:rapidocr, or file:/FOLDER with *det*.onnx and *rec*.onnx",
            field="SAPIENCE_READER",
        )
    found = {}
    for kind in ("det", "rec", "cls"):
        files = sorted(Path(address.name).glob(f"*{kind}*.onnx"))
        if len(files) == 1:
            found[kind] = files[0]
        elif files or kind != "cls":
            raise NotFound(
                f"{address}: {len(files)} files are called *{kind}*.onnx, one is needed; name a folder of one detector "
                "and one recogniser of PP-OCR",
                reason="MODEL_NOT_FOUND",
            )
    return found
