"""Commands that ask, and that look at an answer."""

from __future__ import annotations

from typing import Annotated, Any

import sapience
import typer

from services.cli import show
from services.cli.app import ASKS, AsJson, AsOf, Namespace, app, client, moment, print_json
from services.cli.generating import Mode, ModelName, Steps, way_of_thinking


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    namespace: Namespace = "default",
    as_of: AsOf = None,
    as_json: AsJson = False,
    no_learn: Annotated[bool, typer.Option("--no-learn", help="Do not remember this exchange.")] = False,
    model: ModelName = "",
    mode: Mode = "",
    steps: Steps = 0,
    citations: Annotated[int, typer.Option(min=1, max=20, help="At most so many citations.")] = 3,
) -> None:
    """Ask, and see where the answer comes from. Ctrl-C stops the model on the server too.

    `sapience ask "Where does Nora work?" --as-of 2024-06-01`

    `sapience ask "Who has the key?" --mode soft --steps 4`  thinks in vectors before it words an answer.
    """
    with client(namespace, *ASKS) as connected:
        if model:
            connected.load_model(model)
        _ask(
            connected,
            question,
            as_of=moment(as_of, end_of_day=True),
            as_json=as_json,
            learn=not no_learn,
            model=model,
            thinking=way_of_thinking(mode, 0),
            budget=sapience.Budget(latent_steps=steps),
            max_citations=citations,
        )


def _ask(connected: sapience.Client, question: str, *, as_json: bool = False, **options: Any) -> None:
    shown = ""
    events = connected.ask_stream(question, **options)
    try:
        for event in events:
            if as_json:
                print_json(sapience.to_dict(event))
            elif isinstance(event, sapience.Token):
                show.out.print(show.escape(event.text), end="", style="dim")
                shown += event.text
            elif isinstance(event, sapience.Answer):
                if shown:
                    show.out.print()
                if not shown or event.text.strip() != shown.strip():
                    show.out.print(show.escape(event.text), style="bold")
                show.citations(event)
    finally:
        events.close()


@app.command()
def chat(namespace: Namespace = "default", as_of: AsOf = None) -> None:
    """Ask one question after another; what you tell it with `!` is remembered. An empty line or Ctrl-D ends.

    `> !Nora moved to Bremen`  remembers, `> Where does Nora live?`  asks.
    """
    with client(namespace, *ASKS) as connected:
        show.out.print("Ask; begin a line with ! to tell something; an empty line ends.", style="dim")
        while True:
            try:
                line = input("> ").strip()
            except EOFError:
                return
            if not line:
                return
            if line.startswith("!"):
                remembered = connected.remember(line[1:].strip(), speaker="me", source="chat")
                show.out.print(f"  remembered {remembered.episode_id}", style="dim")
                continue
            try:
                _ask(connected, line, as_of=moment(as_of, end_of_day=True), learn=True)
            except KeyboardInterrupt:
                show.out.print("\n  stopped", style="dim")


@app.command()
def trace(
    trace_id: Annotated[str, typer.Argument(help="The id that `ask` shows.")],
    namespace: Namespace = "default",
    as_json: AsJson = False,
) -> None:
    """Everything that led to an answer."""
    with client(namespace) as connected:
        found = connected.trace(trace_id)
    if as_json:
        print_json(sapience.to_dict(found))
        return
    show.out.print(f"[bold]{show.escape(found.text)}[/bold]  {show.when(found.asked_at)}  {found.model}")
    for event in found.events:
        show.out.print(f"  {type(event).__name__:<15} {show.escape(_summary(event))}")
    timings = "  ".join(f"{name} {value:.0f} ms" for name, value in found.timings_ms.items())
    show.out.print(f"  {timings}", style="dim")


def _summary(event: sapience.Event) -> str:
    match event:
        case sapience.Recalled():
            return f"{len(event.hits)} hits with recipe {event.recipe}"
        case sapience.LatentStep():
            sure = "" if event.entropy is None else f", entropy {event.entropy:.2f}"
            return f"step {event.step}: norm {event.norm:.2f}{sure}"
        case sapience.Token():
            return event.text
        case sapience.DraftRetracted():
            return event.reason
        case sapience.Check():
            return f"{event.name}: {'passed' if event.passed else 'failed'} at {event.score:.2f}: {event.detail}"
        case sapience.Usage():
            thoughts = f"{event.latent_steps} latent steps, " if event.latent_steps else ""
            return f"{thoughts}{event.new_tokens} tokens, {event.recalls} recall, {event.wall_ms} ms"
        case sapience.Answer():
            return f"{event.verdict}: {event.text}"
    return str(event)
