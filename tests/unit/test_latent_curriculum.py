"""The curriculum: what stands where in every stage, for any example, and what is learnt of it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition.latent.curriculum import FED_BACK, MARKED, MODES, STAGED, Curriculum, Encoded, Markers, encode, row_of
from cognition.latent.settings import Settings, with_budget
from cognition.latent.tasks.base import Example
from core.errors import InvalidArgument

MARKERS = Markers(start=1000, latent=1001, end=1002, stop=1003)

curricula = st.builds(
    Curriculum,
    mode=st.sampled_from(MODES),
    stages=st.integers(0, 6),
    thoughts_per_step=st.integers(1, 3),
    first_epochs=st.integers(0, 5),
    epochs_per_stage=st.integers(1, 4),
    epochs=st.integers(1, 60),
    mixing=st.floats(0, 1),
    pad_to_most=st.booleans(),
    reset=st.sampled_from(("none", "stage", "epoch")),
)
parts = st.lists(st.integers(0, 999), min_size=1, max_size=4).map(tuple)
examples = st.builds(Encoded, parts, st.lists(parts, max_size=8).map(tuple), parts)


@given(curricula)
def test_stages_rise_one_by_one_and_end_at_the_last(curriculum):
    stages = [curriculum.stage(epoch) for epoch in range(60)]
    assert all(0 <= after - before <= 1 for before, after in itertools.pairwise(stages))
    assert max(stages) <= curriculum.last_stage
    far = curriculum.first_epochs + curriculum.epochs_per_stage * (curriculum.stages + 1)
    assert curriculum.stage(far) == curriculum.last_stage


@given(curricula, examples, st.integers(0, 8))
def test_a_row_is_question_thoughts_remaining_steps_answer(curriculum, example, stage):
    stage = min(stage, curriculum.last_stage)
    plan = curriculum.plan(len(example.steps), stage)
    row = row_of(example, plan, curriculum.mode, MARKERS)
    marked = (1000, *[1001] * plan.thoughts, 1002) if curriculum.mode in MARKED else ()
    assert row.tokens[: len(example.question) + len(marked)] == example.question + marked
    text = tuple(token for step in example.steps[plan.skipped :] for token in step)
    assert row.tokens[len(example.question) + len(marked) :] == (*text, *example.answer, 1003)
    # What is learnt begins right behind the thoughts: none of question and markers is.
    assert row.learnt_from == len(example.question) + len(marked)
    assert row.fed_back == (plan.thoughts if curriculum.mode in FED_BACK else 0)
    if plan.thoughts:
        assert set(row.tokens[row.thoughts_at : row.thoughts_at + plan.thoughts]) == {1001}


@given(curricula, st.integers(0, 10))
def test_thoughts_stand_for_the_steps_that_went(curriculum, steps):
    for stage in range(curriculum.last_stage + 1):
        plan = curriculum.plan(steps, stage)
        if curriculum.mode not in STAGED:
            assert plan == curriculum.plan(steps, 0)
            assert plan.skipped == (0 if curriculum.mode == "cot" else steps)
            assert plan.thoughts == 0
        elif stage > curriculum.stages:
            assert plan.skipped == steps
        else:
            assert plan.skipped == min(steps, stage)
            assert plan.thoughts == (stage * curriculum.thoughts_per_step if curriculum.mode in MARKED else 0)


def test_the_last_stage_pads_to_the_most_thoughts_or_does_not():
    assert Curriculum(stages=4).plan(2, 5).thoughts == 4
    assert Curriculum(stages=4, pad_to_most=False, thoughts_per_step=2).plan(2, 5).thoughts == 4
    assert Curriculum(stages=4, pad_to_most=False).plan(9, 5).thoughts == 4


@given(st.integers(0, 6), st.integers(0, 50), st.integers(0, 1000), st.integers(0, 3))
def test_what_is_mixed_in_hangs_on_seed_epoch_and_place_alone(steps, epoch, index, seed):
    curriculum = Curriculum(mixing=0.5)
    drawn = curriculum.drawn_plan(steps, epoch, index, seed)
    assert drawn == curriculum.drawn_plan(steps, epoch, index, seed)
    allowed = [curriculum.plan(steps, stage) for stage in {curriculum.stage(epoch), *range(steps + 1)}]
    assert drawn in allowed
    assert Curriculum(mixing=0.0).drawn_plan(steps, epoch, index, seed) == curriculum.plan(
        steps, curriculum.stage(epoch)
    )


def test_about_as_many_are_mixed_in_as_asked():
    curriculum = Curriculum(mixing=0.3, first_epochs=0, epochs_per_stage=1, stages=3)
    own = curriculum.plan(3, curriculum.stage(30))
    others = sum(curriculum.drawn_plan(3, 30, index, 0) != own for index in range(4000)) / 4000
    # One in four draws of 0 to 3 steps gives stage 3, which is the plan of the last stage itself here.
    assert others == pytest.approx(0.3 * 3 / 4, abs=0.03)


def test_the_optimiser_begins_anew_as_set():
    resets = {
        reset: [
            epoch for epoch in range(6) if Curriculum(reset=reset, first_epochs=2, epochs_per_stage=2).resets(epoch)
        ]
        for reset in ("none", "stage", "epoch")
    }
    assert resets == {"none": [0], "stage": [0, 2, 4], "epoch": [0, 1, 2, 3, 4, 5]}


def test_parts_are_tokenised_apart_with_their_line_ends():
    (example,) = encode([Example("q", ("s", "t"), "a")], lambda texts: [list(map(ord, text)) for text in texts])
    assert example == Encoded((113, 10), ((115, 10), (116, 10)), (35, 35, 35, 32, 97))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"mode": "telepathy"}, "mode"),
        ({"mixing": 1.5}, "mixing"),
        ({"epochs_per_stage": 0}, "epochs_per_stage"),
        ({"thoughts_per_step": 0}, "thoughts_per_step"),
        ({"reset": "never"}, "reset"),
    ],
)
def test_values_out_of_range_name_their_field(options, field):
    with pytest.raises(InvalidArgument) as caught:
        Curriculum(**options)
    assert caught.value.field == field


def test_settings_survive_json_and_name_what_is_unknown():
    settings = with_budget(Settings("prosqa", "new:2x64", Curriculum(mode="pause")), "small")
    assert Settings.from_json(settings.to_json()) == settings
    with pytest.raises(InvalidArgument, match="colour"):
        Settings.from_json({**settings.to_json(), "colour": 1})
    with pytest.raises(InvalidArgument) as caught:
        Settings("prosqa", "new:2x64", batch=0)
    assert caught.value.field == "batch"
