"""Killed with -9 under load, and whole again: `sapience bench kill`, with fewer kills than it has by itself.

`SAPIENCE_TEST_KILLS=100` makes it a hundred.
"""

from __future__ import annotations

import os

import pytest

from services.bench import kill

KILLS = int(os.environ.get("SAPIENCE_TEST_KILLS", "12"))


@pytest.mark.slow
@pytest.mark.timeout(60 * KILLS)
def test_nothing_is_lost_half_written_or_done_twice(capsys: pytest.CaptureFixture[str]) -> None:
    report = kill.run(1, KILLS)
    faults = {name: report.figures[name] for name in kill.FAULTS}
    assert faults == dict.fromkeys(kill.FAULTS, 0.0), capsys.readouterr().err
    assert report.figures["kills"] >= KILLS
    assert report.figures["acknowledged"] > KILLS
    assert report.figures["in_doubt"] > 0, "no kill met a write"
