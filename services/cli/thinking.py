"""Commands about thinking in vectors: beside thinking in words, and the Thoughts that are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import sapience
import typer
from rich.table import Table

from services.cli import show
from services.cli.app import AsJson, Namespace, app, client, print_json
from services.cli.generating import (
    ModelName,
    NewTokens,
    Probe,
    Seed,
    Steps,
    Temperature,
    Thinking,
    followed,
    given,
    show_steps,
)

thoughts_app = typer.Typer(help="List, show and delete the Thoughts that are kept.", no_args_is_help=True)
app.add_typer(thoughts_app, name="thoughts")

ThoughtId = Annotated[str, typer.Argument(help="The Thought's id.")]
STEP_BY_STEP = " Think step by step, then give the answer."
"""What asks an ordinary model for a chain of thought."""
UNTRAINED_STEPS = 8
"""Latent steps of a model that was not trained to take any."""


@dataclass(frozen=True)
class Way:
    """One way to think, to be compared with the others."""

    name: str
    prompt: str
    mode: sapience.ThinkingMode | str
    steps: int = 0


@app.command()
def think(
    prompt: Annotated[str, typer.Argument(help="The question, or the puzzle.")],
    model: ModelName = "",
    chat: Annotated[
        bool | None, typer.Option("--chat/--plain", help="As a message of a chat, or as it is; chat if it can.")
    ] = None,
    mode: Annotated[str, typer.Option(help="The mode of the latent steps; the model's own, or soft.")] = "",
    steps: Steps = 0,
    new_tokens: NewTokens = 0,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    probe: Probe = 0,
    as_json: AsJson = False,
) -> None:
    """Think in vectors, in words, and not at all: the same prompt three times, with tokens and time of each.

    A model that was trained to think in vectors does so in its own way, beside a control that feeds nothing back where
    it has one. Any other one takes soft steps, which need no training, and thinks in words where it is asked to.

    `sapience think "A bat and a ball cost 11 euros. The bat costs 10 more than the ball. What does the ball cost?"`

    `sapience think "2, 4, 8, 16," --plain --steps 4 --probe 3`
    """
    done: list[tuple[Way, Thinking]] = []
    with client("default", "reasoning") as connected:
        if model:
            connected.load_model(model)
        languages = [one for one in connected.models() if one.kind == sapience.ModelKind.LANGUAGE_MODEL]
        used = next((one for one in languages if one.address == model), languages[0])
        trained = used.default_mode not in (sapience.ThinkingMode.NONE, sapience.ThinkingMode.UNSPECIFIED)
        options: dict[str, Any] = {"model": used.address, "temperature": temperature, "seed": seed}

        def taken(way: Way, *, chat: bool) -> Thinking:
            items = connected.think(
                given(way.prompt, chat=chat),
                budget=sapience.Budget(latent_steps=way.steps, new_tokens=new_tokens),
                thinking=sapience.Thinking(way.mode, probe=probe if way.steps else 0),
                **options,
            )
            with items, show.err.status(f"{way.name} …"):
                *_, thought = followed(items)
            return thought

        for way in _ways(prompt, used, mode, steps):
            try:
                thought = taken(way, chat=not trained if chat is None else chat)
            except sapience.InvalidArgument as error:
                if chat is not None or not error.field.startswith("chat"):
                    raise
                chat = False  # it has no template for chats
                thought = taken(way, chat=False)
            done.append((way, thought))
    if as_json:
        print_json([_plain(way, thought) for way, thought in done])
        return
    _compare(done)
    if probe:
        for way, thought in done:
            if thought.steps:
                show.out.print(f"\n{way.name}, step by step")
                show_steps(thought.steps)


def _ways(prompt: str, model: sapience.Model, mode: str, steps: int) -> list[Way]:
    """In vectors; in words, or by a control that feeds nothing back; and not at all."""
    none, pause = sapience.ThinkingMode.NONE, sapience.ThinkingMode.PAUSE
    ways = []
    if model.default_mode in (none, sapience.ThinkingMode.UNSPECIFIED):
        asked = mode or sapience.ThinkingMode.SOFT
        if mode or asked in model.modes:  # a model that only transformers computes has none
            ways.append(Way(f"latent steps ({asked})", prompt, asked, steps or UNTRAINED_STEPS))
        ways.append(Way("chain of thought", prompt + STEP_BY_STEP, none))
    else:
        asked, taken = mode or model.default_mode, steps or model.default_latent_steps
        ways.append(Way(f"latent steps ({asked})", prompt, asked, taken))
        if pause in model.modes and asked != pause:
            ways.append(Way("pauses", prompt, pause, taken))
    return [*ways, Way("neither", prompt, none)]


def _compare(done: list[tuple[Way, Thinking]]) -> None:
    made = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for name in ("", "thoughts", "tokens", "seconds"):
        made.add_column(name, justify="right" if name else "left", no_wrap=True)
    made.add_column("text", overflow="fold")
    for way, thought in done:
        end = thought.end
        figures = (end.latent_steps, end.new_tokens, f"{end.wall_ms / 1e3:.2f}") if end else ("—", "—", "—")
        made.add_row(show.escape(way.name), *map(str, figures), show.escape(thought.text.strip() or "—"))
    show.out.print(made, soft_wrap=False)


def _plain(way: Way, thought: Thinking) -> dict[str, object]:
    return {
        "way": way.name,
        "text": thought.text,
        "steps": [sapience.to_dict(step) for step in thought.steps],
        **(sapience.to_dict(thought.end) if thought.end else {}),
    }


@thoughts_app.command("list")
def list_thoughts(
    namespace: Namespace = "default",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """The Thoughts that are kept, newest first."""
    with client(namespace) as connected:
        found = connected.thoughts(limit=limit)
    if as_json:
        print_json([sapience.to_dict(one) for one in found])
        return
    for one in found:  # no table, which would cut an id short where the terminal is narrow
        show.out.print(
            f"{one.id}  {show.when(one.created_at)}  {show.escape(one.model)}  {one.latent_steps} latent steps, "
            f"{one.new_tokens} tokens"
        )
        show.out.print(f"    {show.escape(_shortened(one.prompt))} → {show.escape(_shortened(one.text))}", style="dim")


@thoughts_app.command("show")
def show_thought(thought_id: ThoughtId, namespace: Namespace = "default", as_json: AsJson = False) -> None:
    """A Thought: its prompt, how each latent step went, and what was written.

    `sapience generate --from THOUGHT` goes on with it.
    """
    with client(namespace) as connected:
        one = connected.get_thought(thought_id)
    if as_json:
        print_json(sapience.to_dict(one))
        return
    show.out.print(f"[bold]{show.escape(one.prompt)}[/bold]")
    if one.steps:
        show_steps(one.steps)
    show.out.print(show.escape(one.text))
    came_from = f"from {one.parent_id}, " if one.parent_id else ""
    rows = len(one.prompt_rows)
    show.out.print(
        f"{came_from}{rows} rows of prompt, {one.latent_steps} latent steps ({one.mode}), {one.new_tokens} tokens, "
        f"{one.stop_reason} · {show.escape(one.model)} · {show.when(one.created_at)}",
        style="dim",
    )


@thoughts_app.command("delete")
def delete_thought(thought_id: ThoughtId, namespace: Namespace = "default") -> None:
    """Delete a Thought. Those that were continued from it stay."""
    with client(namespace) as connected:
        connected.delete_thought(thought_id)
    show.out.print(f"deleted {show.escape(thought_id)}")


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"
