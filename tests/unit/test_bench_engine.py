"""What `bench engine` makes of the times it took."""

import pytest

pytest.importorskip("torch")

from services.bench.engine import HUGGING_FACE, LLAMA, OURS, SAME, _figures, _loads, _ratios
from services.bench.engine_peers import Turn


def turn(seconds, processor_s, gaps):
    made = Turn(tokens=100, seconds=seconds, processor_s=processor_s)
    made.came([1.0, *(1.0 + gap * (at + 1) for at, gap in enumerate(gaps))])
    return made


def test_ratios_are_medians_over_rounds_of_pairs_that_ran_in_the_same_round():
    ours, slow = turn(1.0, 2.0, [0.1, 0.1]), turn(10.0, 2.0, [0.1, 0.1])
    theirs = [turn(3.0, 8.0, [0.2, 0.2]) for _ in range(3)]
    turns = {
        OURS: ([ours, slow, ours], [ours] * 3),
        SAME: ([ours] * 3, []),
        HUGGING_FACE: (theirs, []),
        LLAMA: (theirs, theirs),
    }
    found = _ratios(turns)
    assert found["vs_transformers_b16"] == 3.0
    assert found["vs_llamacpp_b16"] == 3.0
    assert found["vs_llamacpp_b1"] == pytest.approx(2.0)
    assert {found[name] for name in found if name.endswith("_processor")} == {4.0}


def test_a_peer_that_is_not_there_has_no_ratio():
    assert _ratios({OURS: ([turn(1.0, 1.0, [0.1])], [])}) == {}


def test_figures_count_what_was_asked_for():
    found = _figures([turn(2.0, 4.0, [0.1, 0.3])], [turn(2.0, 4.0, [0.25, 0.25])])
    assert (found["tokens_per_s_b16"], found["tokens_per_processor_s_b16"]) == (50.0, 25.0)
    assert found["decoded_per_s_b1"] == pytest.approx(4.0)
    assert found["first_token_p50_s"] == 1.0


def test_requests_are_drawn_from_the_seed_within_their_bounds():
    import random

    prose = list(range(2000))
    loads = _loads(prose, random.Random(3), 200)
    assert loads == _loads(prose, random.Random(3), 200)
    assert {16 <= len(load.prompt) <= 512 and 16 <= load.tokens <= 256 for load in loads} == {True}
    assert max(len(load.prompt) for load in loads) > 480
