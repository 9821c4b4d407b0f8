"""`sapience bench NAME`: measurements, each beside a peer in the same run. A bench is imported when it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from services.cli.app import AsJson, app

bench_app = typer.Typer(
    help="Measure, beside a peer in the same run. Prints a table, or one JSON object.", no_args_is_help=True
)
app.add_typer(bench_app, name="bench")

Seed = Annotated[int, typer.Option(help="The seed.")]
Conversations = Annotated[Path, typer.Option("--data", help="A folder of conversations in LoCoMo's format.")]
Neo4j = Annotated[
    str,
    typer.Option(envvar="SAPIENCE_TEST_NEO4J_URL", help="A Neo4j; if not given, the one of the settings."),
]


@bench_app.command()
def bitemporal(
    seed: Seed = 0,
    histories: Annotated[int, typer.Option(min=1, help="How many are written.")] = 10_000,
    neo4j: Neo4j = "",
    as_json: AsJson = False,
) -> None:
    """What holds as of any time, against a brute-force oracle, on the real records.

    `scripts/neo4j-local run -- sapience bench bitemporal --histories 1000`
    """
    from services.bench import bitemporal

    bitemporal.run(seed, histories, neo4j).show(as_json=as_json)


@bench_app.command()
def dream(data: Conversations, seed: Seed = 0, as_json: AsJson = False) -> None:
    """What Dreams bring: recall before and after one, without and with its summaries' votes."""
    from services.bench import dream

    dream.run(data, seed).show(as_json=as_json)


@bench_app.command()
def engine(
    seed: Seed = 0,
    requests: Annotated[int, typer.Option(min=1, help="How many requests a round has.")] = 32,
    batch: Annotated[int, typer.Option(min=1, help="How many of them are computed at once.")] = 16,
    threads: Annotated[int, typer.Option(min=0, help="Of the engine and its peers; 0 takes every core.")] = 0,
    rounds: Annotated[int, typer.Option(min=1, help="How many rounds are measured.")] = 3,
    peers: Annotated[bool, typer.Option(help="Whether the engine is measured beside its peers.")] = True,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="Where all compute; llama.cpp's wheel is for the CPU only.")
    ] = "cpu",
    as_json: AsJson = False,
) -> None:
    """The engine's throughput and latency, beside Hugging Face generate and llama.cpp's server.

    `sapience bench engine --threads 1 --requests 16`, `sapience bench engine --device cuda`
    """
    from services.bench import engine

    engine.run(seed, requests, batch, threads, rounds, peers, device).show(as_json=as_json)


@bench_app.command()
def forget(data: Conversations, seed: Seed = 0, as_json: AsJson = False) -> None:
    """What forgetting costs: recall with all turns at hand, and with a share of them archived."""
    from services.bench import forget

    forget.run(data, seed).show(as_json=as_json)


@bench_app.command()
def kill(
    seed: Seed = 0,
    kills: Annotated[int, typer.Option(min=1, help="How often.")] = 100,
    as_json: AsJson = False,
) -> None:
    """A memory service killed with -9 at random moments under load: what is lost, or half there?"""
    from services.bench import kill

    kill.run(seed, kills).show(as_json=as_json)


@bench_app.command()
def latent(seed: Seed = 0, as_json: AsJson = False) -> None:
    """The latent engine and trainer against Coconut's algorithm, which recomputes the prefix, token for token."""
    from services.bench import latent

    latent.run(seed).show(as_json=as_json)


@bench_app.command()
def lcm(
    seed: Seed = 0,
    codec: Annotated[str, typer.Option(help="The address of the codec.")] = "models:concept-codec",
    model: Annotated[
        str, typer.Option(help="A trained concept model that is measured beside; empty for none.")
    ] = "models:concept-lcm",
    seeds: Annotated[int, typer.Option(min=1, help="How often each method is trained.")] = 3,
    train_seconds: Annotated[float, typer.Option(min=1, help="CPU seconds of each training.")] = 200.0,
    stories: Annotated[int, typer.Option(min=100, help="Documents to train on.")] = 6000,
    asked: Annotated[int, typer.Option("--choices", min=20, help="Choices that each model makes.")] = 800,
    codec_minutes: Annotated[float, typer.Option(min=0, help="CPU minutes of a codec's training; 0: none.")] = 5.0,
    sentences: Annotated[int, typer.Option(min=100, help="Held-out sentences that codecs are tried on.")] = 20_000,
    as_json: AsJson = False,
) -> None:
    """Concept models trained by four methods, choosing the true next sentence among 64; and the codec.

    `sapience bench lcm --train-seconds 30 --codec-minutes 0`
    """
    from services.bench import lcm

    lcm.run(
        seed, codec=codec, beside=model, seeds=seeds, train_seconds=train_seconds, stories=stories, asked=asked,
        codec_minutes=codec_minutes, sentences=sentences,
    ).show(as_json=as_json)  # fmt: skip


@bench_app.command()
def locomo(
    data: Conversations,
    seed: Seed = 0,
    recipe: Annotated[str, typer.Option(help="The recipe; if not given, the default one.")] = "",
    as_json: AsJson = False,
) -> None:
    """How well recall finds the evidence of questions about long conversations.

    `sapience bench locomo --data FOLDER --recipe graph`
    """
    from services.bench import locomo

    locomo.run(data, seed, recipe).show(as_json=as_json)


@bench_app.command()
def memory(
    seed: Seed = 0,
    n: Annotated[int, typer.Option(min=100, help="How many Episodes it takes.")] = 10_000,
    neo4j: Neo4j = "",
    as_json: AsJson = False,
) -> None:
    """What the memory service takes and finds, at size, over gRPC."""
    from services.bench import memory

    memory.run(seed, n, neo4j).show(as_json=as_json)


@bench_app.command()
def perception(
    seed: Seed = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each part of a turn is.")] = 3.0,
    threads: Annotated[int, typer.Option(min=1, help="That the encoder computes with.")] = 1,
    speech: Annotated[bool, typer.Option(help="Whether speech is measured, too.")] = True,
    as_json: AsJson = False,
) -> None:
    """What the perception service keeps of its encoder's speed, how it finds translations, and how well it hears.

    `sapience bench perception --no-speech --threads 2`
    """
    from services.bench import perception

    perception.run(seed, seconds, threads, speech).show(as_json=as_json)


@bench_app.command()
def patches(
    data: Annotated[list[Path], typer.Option(help="A file of text; may be given several times.")],
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Bytes into patches: how long they come out on text that thresholds were not calibrated on, and what they cost.

    `sapience bench patches --data notes.md --data letters.txt`
    """
    from services.bench import patches

    patches.run(data, seed).show(as_json=as_json)


@bench_app.command()
def prosqa(
    data: Annotated[Path, typer.Option(help="A file in ProsQA's format.")],
    seed: Seed = 0,
    fresh: Annotated[int, typer.Option(min=8, help="How many graphs are made of each kind.")] = 1000,
    retrain: Annotated[bool, typer.Option("--retrain", help="Train the models from nothing.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="How many models are then trained.")] = 3,
    train_seconds: Annotated[float, typer.Option(min=1, help="CPU seconds for each, and for each control.")] = 330.0,
    as_json: AsJson = False,
) -> None:
    """A small latent model on graphs it has never seen, and the controls that tell what its thoughts are for."""
    from services.bench import prosqa

    prosqa.run(data, seed, fresh=fresh, retrain=retrain, seeds=seeds, train_seconds=train_seconds).show(as_json=as_json)


@bench_app.command()
def rpc(
    seed: Seed = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each part is measured.")] = 3.0,
    as_json: AsJson = False,
) -> None:
    """What the runtime costs: a Reason call through all its hops, beside bare grpc.aio doing the same hops."""
    from services.bench import rpc

    rpc.run(seed, seconds).show(as_json=as_json)


@bench_app.command()
def sample(
    data: Annotated[Path, typer.Option(help="The folder of the sample conversation and its questions.")],
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Answers about the sample conversation, on the half of the questions that was set aside."""
    from services.bench import sample

    sample.run(data, seed).show(as_json=as_json)


@bench_app.command()
def soak(
    seed: Seed = 0,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 1800.0,
    as_json: AsJson = False,
) -> None:
    """The latent engine under random arrivals, cancels and deadlines: does anything leak or get stuck?"""
    from services.bench import soak

    soak.run(seed, seconds).show(as_json=as_json)


@bench_app.command()
def speech(
    seed: Seed = 0,
    sentences: Annotated[int, typer.Option(min=1, help="How many are spoken.")] = 100,
    pages: Annotated[int, typer.Option(min=1, help="How many images are read.")] = 30,
    threads: Annotated[int, typer.Option(min=1, help="Of each model.")] = 1,
    peers: Annotated[bool, typer.Option(help="Whether CMU Sphinx hears the same.")] = True,
    as_json: AsJson = False,
) -> None:
    """How well the default stack hears and reads, and whether what was said is found again. Needs espeak-ng."""
    from services.bench import speech

    speech.run(seed, sentences, pages, threads, peers).show(as_json=as_json)
