"""Commands about language models by themselves: generate, and which there are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import sapience
import typer

from services.cli import show
from services.cli.app import AsJson, Namespace, app, client, print_json

models_app = typer.Typer(help="List, load and unload models.", no_args_is_help=True)
app.add_typer(models_app, name="models")

ModelName = Annotated[str, typer.Option(help="The language model's address; it is loaded where it is not yet.")]
Mode = Annotated[
    str, typer.Option(help="How it thinks: none, soft, hidden, projected, jacobi, pause, recurrent; its own if empty.")
]
Steps = Annotated[int, typer.Option(min=0, help="Latent steps at most; 0 is the model's own number.")]
NewTokens = Annotated[int, typer.Option(min=0, max=4096, help="Tokens at most; 0 is the usual.")]
Temperature = Annotated[float, typer.Option(min=0, help="0 takes the likeliest token each time.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same draw.")]
Probe = Annotated[int, typer.Option(min=0, max=32, help="Show so many nearest tokens of each latent step.")]
Chat = Annotated[bool, typer.Option("--chat/--plain", help="As a message of a chat, or as a text to go on with.")]


@app.command()
def generate(
    prompt: Annotated[str | None, typer.Argument(help="What to go on with.")] = None,
    model: ModelName = "",
    chat: Chat = False,
    mode: Mode = "",
    steps: Steps = 0,
    new_tokens: NewTokens = 0,
    temperature: Temperature = 0.0,
    top_k: Annotated[int, typer.Option(min=0, help="Draw from so many of the likeliest; 0 is all.")] = 0,
    top_p: Annotated[float, typer.Option(min=0, max=1, help="Draw from the likeliest with this probability.")] = 0.0,
    min_p: Annotated[float, typer.Option(min=0, max=1, help="Draw from those with this part of the best one's.")] = 0.0,
    seed: Seed = 0,
    stop: Annotated[list[str] | None, typer.Option(help="End before this text; may be given several times.")] = None,
    json_schema: Annotated[
        str, typer.Option(metavar="FILE|TEXT", help="A JSON Schema that the text follows, or a file of it.")
    ] = "",
    regex: Annotated[str, typer.Option(help="A regular expression that the text matches.")] = "",
    logprobs: Annotated[
        int | None, typer.Option(min=0, max=20, help="Show each token's log-probability, and those of so many others.")
    ] = None,
    probe: Probe = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the Thought, so that it can be resumed.")] = False,
    from_: Annotated[str, typer.Option("--from", metavar="THOUGHT", help="Go on with a Thought that was kept.")] = "",
    keep_steps: Annotated[
        int | None, typer.Option(min=0, help="With --from: only so many of its latent steps.")
    ] = None,
    keep_tokens: Annotated[int | None, typer.Option(min=0, help="With --from: only so many of its tokens.")] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STEP=THOUGHT:STEP",
            help="With --from: put another Thought's vector in the place of a latent step, or zeros: STEP=zero.",
        ),
    ] = None,
    namespace: Namespace = "default",
    as_json: AsJson = False,
) -> None:
    """Go on with a text by the language model alone: no memory, no citations. Ctrl-C stops it on the server too.

    `sapience generate "The capital of Portugal is" --new-tokens 8`

    `sapience generate "Is the sky blue?" --chat --regex "Yes|No"`

    `sapience generate "2, 4, 8," --mode soft --steps 4 --probe 3 --keep`, then `sapience generate --from THOUGHT`

    `sapience generate --from THOUGHT --edit 1=zero --steps 2`  forks it: step 1 is nothing, and 2 more follow.
    """
    if (prompt is None) == (not from_):
        raise typer.BadParameter("give a prompt, or --from THOUGHT")
    if not from_ and (keep_steps is not None or keep_tokens is not None or edit):
        raise typer.BadParameter("--keep-steps, --keep-tokens and --edit go with --from THOUGHT")
    options: dict[str, Any] = {
        "budget": sapience.Budget(latent_steps=steps, new_tokens=new_tokens),
        "thinking": way_of_thinking(mode, probe),
        "temperature": temperature,
        "top_p": top_p,
        "top_k": top_k,
        "min_p": min_p,
        "seed": seed,
        "stop": stop or (),
        "json_schema": _schema(json_schema),
        "regex": regex or None,
        "logprobs": logprobs,
        "keep": keep,
    }
    with client(namespace, "reasoning") as connected:
        if model:
            connected.load_model(model)
        if prompt is None:
            edits = _edits(connected, from_, edit or ())
            happened = connected.resume(
                from_, keep_latent_steps=keep_steps, keep_tokens=keep_tokens, edits=edits, **options
            )
        else:
            happened = connected.think(given(prompt, chat=chat), model=model, **options)
        with happened as items:
            if as_json:
                for item in items:
                    print_json({"event": type(item).__name__.lower(), **sapience.to_dict(item)})
            else:
                _show(items, with_steps=probe > 0)


@dataclass
class Thinking:
    """A generation that is over: what it took and what it said."""

    steps: list[sapience.Step] = field(default_factory=list)
    text: str = ""
    tokens: list[sapience.DrawnToken] = field(default_factory=list)
    end: sapience.Finished | None = None


def followed(items: Iterator[sapience.Step | sapience.Piece | sapience.Finished]) -> Iterator[Thinking]:
    """What a generation has come to, after each thing that happened: the same object each time."""
    so_far = Thinking()
    for item in items:
        match item:
            case sapience.Step():
                so_far.steps.append(item)
            case sapience.Piece():
                so_far.text += item.text
                so_far.tokens += item.tokens
            case sapience.Finished():
                so_far.end = item
        yield so_far


def given(prompt: str, *, chat: bool) -> str | list[sapience.ChatMessage]:
    """A prompt as it is sent: the text, or a chat with this one message."""
    return [sapience.ChatMessage("user", prompt)] if chat else prompt


def way_of_thinking(mode: str, probe: int) -> sapience.Thinking | None:
    """None where nothing was asked for: then it is the model's own."""
    return sapience.Thinking(mode or sapience.ThinkingMode.UNSPECIFIED, probe=probe) if mode or probe else None


def show_steps(steps: Sequence[sapience.Step]) -> None:
    """The latent steps of a Thought, one a row."""
    rows = []
    for one in steps:
        nearest = "  ".join(f"{near.text!r} {near.logprob:.2f}" for near in one.nearest)
        entropy = "—" if one.entropy is None else f"{one.entropy:.2f}"
        rows.append([str(one.step), f"{one.norm:.2f}", entropy, nearest or "—"])
    nearest = "nearest, with log-probability"
    show.table("", ["step", "norm", "entropy", nearest], rows, [nearest])


def _show(items: Iterator[sapience.Step | sapience.Piece | sapience.Finished], *, with_steps: bool) -> None:
    """Text as it comes and what was asked for besides on standard output; what it took, on standard error."""
    shown, so_far = 0, Thinking()
    for so_far in followed(items):
        if so_far.text[shown:]:
            show.out.print(show.escape(so_far.text[shown:]), end="")
            shown = len(so_far.text)
    show.out.print()
    if so_far.steps and with_steps:
        show_steps(so_far.steps)
    if so_far.tokens:
        rows = [[repr(one.token.text), f"{one.token.logprob:.3f}", _others(one.alternatives)] for one in so_far.tokens]
        show.table("", ["token", "log-probability", "likeliest"], rows, ["likeliest"])
    if (end := so_far.end) is not None:
        thoughts = f"{end.latent_steps} latent steps, " if end.latent_steps else ""
        sure = "" if end.confidence is None else f", confidence {end.confidence:.2f}"
        kept = f", kept as {end.thought_id}" if end.thought_id else ""
        show.err.print(
            f"{thoughts}{end.new_tokens} tokens in {end.wall_ms / 1e3:.2f} s, {end.stop_reason}{sure}{kept}",
            style="dim",
        )


def _edits(connected: sapience.Client, thought_id: str, edits: Sequence[str]) -> dict[int, sapience.Tensor]:
    """The vectors that `--edit` names, by the step whose place they take."""
    found = {}
    for one in edits:
        step, _, source = one.partition("=")
        other, _, place = source.rpartition(":")
        if not step.isdigit() or not (source == "zero" or (other and place.isdigit())):
            raise typer.BadParameter(f"{one!r} is no edit; write STEP=THOUGHT:STEP, or STEP=zero", param_hint="--edit")
        thought = connected.get_thought(other or thought_id)
        try:
            vector = thought.vector(int(place) if other else int(step))
        except IndexError as error:
            raise typer.BadParameter(str(error), param_hint="--edit") from None
        found[int(step)] = vector if other else vector.vector([0.0] * vector.shape[-1])
    return found


def _others(candidates: Sequence[sapience.Candidate]) -> str:
    return "  ".join(f"{one.text!r} {one.logprob:.2f}" for one in candidates) or "—"


def _schema(given: str) -> str | None:
    if not given:
        return None
    if given.lstrip().startswith(("{", "true", "false")):
        return given
    return Path(given).read_text(encoding="utf-8")


@models_app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The models that are loaded, and those that come with Sapience and are loaded when they are asked for."""
    with client("default") as connected:
        known = connected.models()
    if as_json:
        print_json([sapience.to_dict(one) for one in known])
        return
    rows = [
        [
            one.address,
            one.kind.replace("_", " "),
            "yes" if one.loaded else "no",
            one.device or "—",
            one.precision or "—",
            f"{one.parameters / 1e6:.1f} M" if one.parameters else "—",
            f"{one.memory_bytes / 2**20:.0f} MiB" if one.memory_bytes else "—",
            _modes(one),
        ]
        for one in known
    ]
    columns = ["model", "kind", "loaded", "device", "precision", "parameters", "memory", "thinks"]
    show.table("", columns, rows, ["kind", "device", "precision", "thinks"])


@models_app.command("load")
def load_model(
    model: Annotated[str, typer.Argument(help="wheel:NAME, models:NAME, hf:OWNER/NAME, file:/PATH.")],
) -> None:
    """Load a language model; returns when it answers.

    `sapience models load hf:Qwen/Qwen3-0.6B`
    """
    with client("default") as connected:
        made = connected.load_model(model)
    memory = f", {made.memory_bytes / 2**20:.0f} MiB" if made.memory_bytes else ""
    show.out.print(f"{made.address} is loaded: {made.parameters / 1e6:.1f} M parameters on {made.device}{memory}")


@models_app.command("unload")
def unload_model(model: Annotated[str, typer.Argument(help="Its address.")]) -> None:
    """Free a language model. Calls that use it end first."""
    with client("default") as connected:
        connected.unload_model(model)
    show.out.print(f"{show.escape(model)} is unloaded")


def _modes(model: sapience.Model) -> str:
    if model.default_mode in (sapience.ThinkingMode.NONE, sapience.ThinkingMode.UNSPECIFIED):
        return ", ".join(model.modes) or "—"
    others = [mode for mode in model.modes if mode != model.default_mode]
    return ", ".join([f"{model.default_mode} ({model.default_latent_steps})", *others])
