"""The latent engine for two minutes under random arrivals, cancels and deadlines; `bench soak` does it for longer."""

import pytest

pytest.importorskip("torch")

from services.bench import soak

SECONDS = 120


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_leaks_and_nothing_gets_stuck():
    figures = soak.run(0, SECONDS).figures
    assert (figures["stuck"], figures["wrong"], figures["left"]) == (0, 0, 0)
    assert figures["growth_mib"] < 16
    assert figures["thoughts"] > 500
    assert min(figures[f"ended_{how}"] for how in ("tokens", "cancelled", "wall", "refused")) > 0
    assert figures["preempted"] > 0
