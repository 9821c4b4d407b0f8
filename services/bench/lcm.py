"""Concept models beside one another, and the codec they read and write by.

Every method is trained here from nothing, `seeds` times, with the same budget of CPU seconds, documents and sizes, and
chooses the true next sentence of held-out stories among 64 (`perception.lcm.choosing`). Methods and their ways to score
candidates are chosen by accuracy on validation choices; the held-out ones decide nothing.

    contrastive_gain             accuracy of the best method that is not MSE, minus that of MSE scored by cosine, in
                                 points; means over seeds
    contrastive_gain_best_mse    the same against MSE scored in the way that suits it best on validation
    choice_accuracy              of the best method, in the way chosen
    codec_exact                  the share of held-out sentences that come back to the letter; of the grammar and of
                                 stories; `codec_exact_LOW_HIGH` of those with so many characters, `codec_off_domain` of
                                 sentences with words that the vocabulary lacks
    codec_exact_written          the same as the decoder writes it, with no correction
    codec_exact_noise            the same where noise of 0.6 times their length is added to the vectors, with no
                                 correction: how near a foreseen vector has to be
    model_by_words               accuracy of a model that is there already, `models:concept-lcm` or another by name;
                                 `model_by_cosine`, and `model_known_words` as below
    codec_exact_5min             the same of a codec that is trained here for `codec_minutes` CPU minutes; 0 skips it;
                                 and `codec_exact_noise_5min`

Peers: each method in each way, with `known_words`, the share of its predictions whose words are a sentence of the
training stories, likely or not; `tokens`, a language model of the same width and depth over the pieces of whole
documents, trained as long, which scores candidates by likelihood; `copy last` takes the candidate nearest to the last
sentence, `mean` the one nearest to the mean of those before, `random` guesses. `control` is the best method with the
context shuffled or taken away at test.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress

from cognition.latent.run import TrainingRun
from core.models import ModelAddress
from core.nouns import Float64
from perception.codec import training as codec_training
from perception.codec.codec import ConceptCodec
from perception.lcm import choosing, documents
from perception.lcm.choosing import Choice
from perception.lcm.encoded import Encoded
from perception.lcm.foreseeing import ConceptModel
from perception.lcm.names import METHODS, Context, Method
from perception.lcm.training import Recipe, train
from services.bench import lcm_tokens
from services.bench.report import Report, versions
from services.cli import show

VALIDATION = 1_000
"""Added to the seed for the choices that select."""
Way = tuple[Method, str]
"""A method, and how it scores."""
NOISE = 0.6
"""Times a vector's length."""
_LENGTHS = ((0, 40), (40, 70), (70, 111))
_OFF_DOMAIN = (
    "Zyklon Brackwater mumbled about quaternions.",
    "The mitochondrion is the powerhouse of the cell.",
    "Kubernetes reschedules evicted pods automatically.",
    "Quarterly revenues plummeted despite lower taxes.",
    "She whispered: hakuna matata!",
    "An octopus squeezed through the tiny aperture.",
    "Die Katze sitzt auf dem Dach.",
    "E = mc^2 is famous.",
    "His cardiologist prescribed beta blockers.",
    "Thunderous applause drowned the soprano out.",
)


def run(
    seed: int,
    *,
    codec: str = "models:concept-codec",
    beside: str = "models:concept-lcm",
    seeds: int = 3,
    train_seconds: float = 200.0,
    stories: int = 6000,
    asked: int = 800,
    codec_minutes: float = 5.0,
    sentences: int = 20_000,
) -> Report:
    """Measures. `asked` is how many choices each model makes, `sentences` how many the codec is tried on.

    `beside` is the address of a trained model, which is measured too; empty for none.
    """
    torch.set_num_threads(1)
    reader = ConceptCodec(ModelAddress.parse(codec, field="codec"), device="cpu", threads=1)
    figures = codec_figures(reader, sentences)
    told = documents.made("train", stories, seed)
    train_on, check_on = Encoded(told, reader), Encoded(documents.made("validation", 256, seed), reader)
    selecting, held = choosing.choices(max(20, asked // 4), VALIDATION + seed), choosing.choices(asked, seed)
    sentences_told = frozenset(train_on.sentences)
    figures |= _trained_before(beside, reader, held, sentences_told) if beside else {}
    known: dict[Method, list[float]] = {}
    chosen_by: dict[Way, list[float]] = {}
    found: dict[Way, list[float]] = {}
    models: dict[Method, ConceptModel] = {}
    with tempfile.TemporaryDirectory() as folder, Progress(console=show.err, transient=True) as bar:
        task = bar.add_task("training", total=len(METHODS) * seeds + 1)
        for number in range(seeds):
            for method in METHODS:
                run_ = TrainingRun.open(Path(folder) / f"{method}-{number}", {})
                result = train(Recipe(method, seed + number, train_seconds), train_on, check_on, reader, run_)
                model = ConceptModel(ModelAddress("file", str(result.model)))
                models.setdefault(method, model)
                for choices, kept in ((selecting, chosen_by), (held, found)):
                    for way, accuracy in accuracies(model, reader, choices).items():
                        kept.setdefault((method, way), []).append(accuracy)
                known.setdefault(method, []).append(known_words(model, reader, held, sentences_told))
                bar.advance(task)
        tokens = lcm_tokens.trained(told, reader.pieces, seed, train_seconds)
        by_tokens = [lcm_tokens.scores(tokens, reader.pieces, one.before, one.candidates) for one in held]
        bar.advance(task)
        if codec_minutes:
            trained = codec_figures(_trained_codec(Path(folder), seed, codec_minutes), sentences)
            figures |= {f"{name}_5min": trained[name] for name in ("codec_exact", "codec_exact_noise")}
    best = max((way for way in found if way[0] != "mse"), key=lambda way: _mean(chosen_by[way]))
    base = max((way for way in found if way[0] == "mse"), key=lambda way: _mean(chosen_by[way]))
    figures |= {
        "contrastive_gain": 100 * (_mean(found[best]) - _mean(found["mse", "cosine"])),
        "contrastive_gain_best_mse": 100 * (_mean(found[best]) - _mean(found[base])),
        "choice_accuracy": _mean(found[best]),
        "parameters": float(models[best[0]].parameters),
    }
    peers: dict[str, Mapping[str, float]] = {
        f"{method}, by {way}": {
            "accuracy": _mean(values),
            "least": min(values),
            "validation": _mean(chosen_by[method, way]),
            "known_words": _mean(known[method]),
        }
        for (method, way), values in found.items()
    }
    controls: dict[str, Context] = {"context shuffled": "shuffled", "context taken away": "none"}
    peers |= {
        f"control: {name}": {"accuracy": accuracies(models[best[0]], reader, held, context)[best[1]]}
        for name, context in controls.items()
    }
    peers["tokens, by likelihood"] = {"accuracy": choosing.accuracy(by_tokens, held)}
    peers |= {name: {"accuracy": value} for name, value in _simple(reader, held, seed).items()}
    settings: dict[str, str | int | float] = {
        "seeds": seeds, "train_seconds": train_seconds, "stories": stories, "choices": asked,
        "best": ", by ".join(best), "best_mse": ", by ".join(base), "codec": codec,
    }  # fmt: skip
    return Report("lcm", seed, figures, peers, settings, versions("torch"))


def accuracies(
    model: ConceptModel, codec: ConceptCodec, choices: Sequence[Choice], context: Context = "whole"
) -> dict[str, float]:
    """The accuracy of a model in each of its ways to score."""
    each = [
        choosing.scores(model, codec, one, context=context, number=number) for number, one in enumerate(choices)
    ]  # fmt: skip
    return {way: choosing.accuracy([one[way] for one in each], choices) for way in each[0]}


def known_words(
    model: ConceptModel, codec: ConceptCodec, choices: Sequence[Choice], sentences: Collection[str]
) -> float:
    """The share of predictions whose words are one of some sentences."""
    said = [model.predict(codec.encode(one.before).vectors) for one in choices]
    return float(np.mean([text in sentences for text in codec.decode(np.stack(said))]))


def _trained_before(
    address: str, codec: ConceptCodec, choices: Sequence[Choice], sentences: Collection[str]
) -> dict[str, float]:
    """A model's figures; none, which it says, where it reads another codec's vectors."""
    model = ConceptModel(ModelAddress.parse(address, field="model"))
    if model.space != codec.space:
        show.err.print(f"{address} is left out: it reads {model.space}, and the codec writes {codec.space}")
        return {}
    by_way = {f"model_by_{way}": accuracy for way, accuracy in accuracies(model, codec, choices).items()}
    return {**by_way, "model_known_words": known_words(model, codec, choices, sentences)}


def codec_figures(codec: ConceptCodec, count: int) -> dict[str, float]:
    """How many held-out sentences come back to the letter, all and by length, and some that are off the domain."""
    texts = codec_training.domain(codec_training.TEST_SEED, count, held=True)
    same = _same(codec, texts)
    figures = {"codec_exact": float(np.mean(same))}
    for low, high in _LENGTHS:
        some = [one for one, text in zip(same, texts, strict=True) if low <= len(text) < high]
        if some:
            figures[f"codec_exact_{low}_{high}"] = float(np.mean(some))
    figures["codec_exact_written"] = codec_training.exact(codec.network, codec.pieces, texts)
    figures["codec_exact_noise"] = codec_training.exact(codec.network, codec.pieces, texts, noise=NOISE)
    figures["codec_off_domain"] = float(np.mean(_same(codec, _OFF_DOMAIN)))
    return figures


def _same(codec: ConceptCodec, texts: Sequence[str]) -> list[bool]:
    back = codec.decode(codec.encode(texts).vectors)
    return [one == text for one, text in zip(back, texts, strict=True)]


def _trained_codec(folder: Path, seed: int, minutes: float) -> ConceptCodec:
    recipe = codec_training.Recipe(seed=seed, seconds=60 * minutes)
    result = codec_training.train(recipe, TrainingRun.open(folder / "codec", recipe.to_json()))
    return ConceptCodec(ModelAddress("file", str(result.model)), device="cpu", threads=1)


def _simple(codec: ConceptCodec, choices: Sequence[Choice], seed: int) -> dict[str, float]:
    """What needs no model."""
    rng = np.random.default_rng(seed)
    last: list[Float64] = []
    mean: list[Float64] = []
    for one in choices:
        before, candidates = codec.encode(one.before).vectors, codec.encode(one.candidates).vectors
        last.append((candidates @ before[-1]).astype(np.float64))
        mean.append((candidates @ before.mean(0)).astype(np.float64))
    guessed = [rng.random(len(one.candidates)) for one in choices]
    return {
        "copy last": choosing.accuracy(last, choices),
        "mean": choosing.accuracy(mean, choices),
        "random": choosing.accuracy(guessed, choices),
    }


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
