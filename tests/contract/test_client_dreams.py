"""Dreams through both clients and on the command line, on the real daemon."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import sapience
from typer.testing import CliRunner

from services.cli.main import app

LONG = "The potter sold seventeen blue bowls at the crowded Saturday market in Antwerp before noon."


@pytest.fixture
def mind(daemon: Any, namespace: str) -> Iterator[sapience.Client]:
    with sapience.connect(daemon.address, daemon.token, namespace) as connected:
        for position in range(2):
            connected.remember(LONG, speaker="Ada", conversation="market", position=position)
        yield connected


def test_a_dream_from_its_beginning_to_its_undoing(mind: sapience.Client) -> None:
    dream_id = mind.dream(kinds=["duplicates"], budget=sapience.DreamBudget(10, 10, timedelta(seconds=20)))
    *_, waiting = mind.watch_dream(dream_id)
    assert (waiting.state, waiting.total, waiting.episodes) == (sapience.DreamState.PROPOSED, 1, 2)
    (change,) = mind.get_dream(dream_id)
    assert (change.kind, change.state) == (sapience.DreamKind.DUPLICATES, sapience.DreamChangeState.PROPOSED)
    assert [line.sign for line in change.lines] == [sapience.Sign.KEPT, sapience.Sign.ARCHIVED]
    assert change.lines[0].text == change.lines[1].text == LONG
    approved = mind.approve_dream(dream_id, changes=[1])
    assert approved.version > waiting.version
    *_, applied = mind.watch_dream(dream_id, after_version=waiting.version)
    assert applied.state == sapience.DreamState.APPLIED
    assert mind.stats().archived == 1
    mind.undo_dream(dream_id)
    *_, undone = mind.watch_dream(dream_id)
    assert (undone.state, mind.stats().archived) == (sapience.DreamState.UNDONE, 0)
    assert mind.dreams() == [undone]
    with pytest.raises(sapience.FailedPrecondition):
        mind.cancel_dream(dream_id)
    with pytest.raises(sapience.InvalidArgument):
        mind.dream(kinds=["nightmares"])


def test_names_that_mean_the_same(daemon: Any, mind: sapience.Client) -> None:
    mind.remember("I moved to Oslo.", speaker="Melanie", conversation="c")
    mind.remember("How is Oslo, Mel?", speaker="Caroline", conversation="c", position=1)
    runner = CliRunner(env={"SAPIENCE_ADDRESS": daemon.address, "SAPIENCE_TOKEN": daemon.token})
    settled_by = time.monotonic() + 60
    while mind.stats().extracted_seq < mind.stats().seq:
        assert time.monotonic() < settled_by
        time.sleep(0.05)
    done = runner.invoke(app, ["dream", "--kind", "aliases", "-n", mind.namespace])
    assert "= Mel is Melanie" in done.output, done.output
    (waiting,) = mind.dreams()
    (change,) = mind.get_dream(waiting.id)
    assert [line.sign for line in change.lines] == [sapience.Sign.KEPT, sapience.Sign.MERGED]
    assert (change.lines[1].text, change.lines[1].same_as, change.lines[1].told_at) == ("Mel", "Melanie", None)


def test_the_same_on_asyncio(daemon: Any, mind: sapience.Client) -> None:
    async def dreamt() -> list[sapience.Dream]:
        async with sapience.aio.connect(daemon.address, daemon.token, mind.namespace) as awake:
            dream_id = await awake.dream(automatic=True)
            states = [state async for state in awake.watch_dream(dream_id)]
            assert (await awake.get_dream(dream_id)).dream == states[-1]
            return states

    assert asyncio.run(dreamt())[-1].state == sapience.DreamState.APPLIED
    assert mind.stats().archived == 1


def test_the_command_line_shows_a_diff_and_takes_it_back(daemon: Any, mind: sapience.Client) -> None:
    runner = CliRunner(env={"SAPIENCE_ADDRESS": daemon.address, "SAPIENCE_TOKEN": daemon.token})

    def ok(*command: str) -> str:
        done = runner.invoke(app, [*command, "-n", mind.namespace])
        assert done.exit_code == 0, done.output
        return done.output

    shown = ok("dream", "--kind", "duplicates")
    assert "1 duplicates, proposed: says nothing that an earlier Episode" in shown
    assert f"- {LONG}" in shown
    assert "proposed, 0 of 1 changes" in shown
    (listed,) = json.loads(ok("dreams", "list", "--json"))
    assert listed["state"] == "proposed"
    assert "applied, 1 of 1 changes" in ok("dreams", "approve", listed["id"], "1")
    assert mind.stats().archived == 1
    assert "1 duplicates, applied" in ok("dreams", "show", listed["id"])
    assert "undone, 1 of 1 changes" in ok("dreams", "undo", listed["id"])
    assert mind.stats().archived == 0
    again = ok("dream", "--kind", "duplicates")
    waiting = json.loads(ok("dreams", "list", "--json"))[0]["id"]
    assert waiting in again
    assert "cancelled" in ok("dreams", "cancel", waiting)
