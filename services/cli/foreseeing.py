"""`sapience foresee`: the sentences that a concept model expects after some others."""

from __future__ import annotations

from typing import Annotated

import sapience
import typer

from services.cli import show
from services.cli.app import AsJson, app, client, print_json

BELIEVED = 0.7
"""A round trip below this is shown as one not to be believed."""


@app.command()
def foresee(
    sentences: Annotated[list[str], typer.Argument(help="What came before, a sentence each, oldest first.")],
    most: Annotated[int, typer.Option(min=1, max=128, help="Sentences at most.")] = 5,
    model: Annotated[str, typer.Option(help="The concept model's address; the default one if empty.")] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same sentences.")] = 0,
    guidance: Annotated[float, typer.Option(min=0, help="Of a diffusion model; 0 is its own.")] = 0.0,
    steps: Annotated[int, typer.Option(min=0, max=100, help="Of a diffusion model; 0 is its own.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Foresee how a text goes on: predicted vectors in words, each with its round trip.

    `sapience foresee "Nora wanted to buy a red bicycle." "The bicycle cost 60 euros."`

    The round trip is the cosine between a predicted vector and that of its words: near 1 where they say what it holds.
    The default model knows small stories only.
    """
    with client("default", "perception") as connected:
        found = connected.continue_text(
            sentences, most=most, model=model, seed=seed, guidance=guidance, steps=steps
        )  # fmt: skip
        with found as items:
            for item in items:
                if as_json:
                    print_json({"event": type(item).__name__.lower(), **sapience.to_dict(item)})
                elif isinstance(item, sapience.Foreseen):
                    style = "" if item.round_trip >= BELIEVED else "dim"
                    show.out.print(f"{item.round_trip:5.2f}  {show.escape(item.text)}", style=style)
                else:
                    show.out.print(f"       ended: {_ENDED[item.reason]}", style="dim")


_ENDED = {
    sapience.ContinueReason.OF_TEXT: "the text ends here",
    sapience.ContinueReason.LENGTH: "as many as were asked for",
    sapience.ContinueReason.REPEATED: "it began to repeat itself",
    sapience.ContinueReason.UNSPECIFIED: "for a reason that this version does not know",
}
