"""A run's folder: what is kept is whole, what is resumed is the same run, and the curve is a picture."""

import json
import os
import random
import signal
import threading
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cognition.latent.chart import Line, Mark, Panel, draw
from cognition.latent.run import PanelOf, Progress, TrainingRun, interruptible
from core.errors import AlreadyExists, FailedPrecondition, NotFound

torch = pytest.importorskip("torch")

SVG = "{http://www.w3.org/2000/svg}"


def test_a_folder_holds_one_run(tmp_path):
    TrainingRun.open(tmp_path / "run", {"task": "a", "seed": 1})
    with pytest.raises(AlreadyExists, match="--resume"):
        TrainingRun.open(tmp_path / "run", {"task": "a", "seed": 1})
    with pytest.raises(FailedPrecondition, match="seed") as caught:
        TrainingRun.open(tmp_path / "run", {"task": "a", "seed": 2}, resume=True)
    assert caught.value.field == "seed"
    resumed = TrainingRun.open(tmp_path / "run", {"task": "a", "seed": 2}, resume=True, may_change=["seed"])
    assert resumed.config == {"task": "a", "seed": 2}
    with pytest.raises(NotFound):
        TrainingRun.open(tmp_path / "other", {}, resume=True)
    with pytest.raises(NotFound):
        TrainingRun.existing(tmp_path / "other")


def test_what_was_logged_after_the_checkpoint_is_dropped(tmp_path):
    run = TrainingRun.open(tmp_path, {})
    for step in (1, 2, 3):
        run.log(step, loss=step / 2, note=None)
        if step == 2:
            run.save(step, {"weights": torch.arange(3.0), "place": [1, 2]})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')  # a kill in the middle of a line
    step, state = run.restore()
    assert (step, state["place"], state["weights"].tolist()) == (2, [1, 2], [0.0, 1.0, 2.0])
    assert run.metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 1.0}]


def test_without_a_checkpoint_a_run_begins_anew(tmp_path):
    run = TrainingRun.open(tmp_path, {})
    run.log(1, loss=1.0)
    assert run.restore() is None
    assert run.metrics() == []


def test_generators_go_on_where_they_were(tmp_path):
    run = TrainingRun.open(tmp_path, {})
    random.seed(5)
    torch.manual_seed(5)
    run.save(1, {})
    expected = random.random(), torch.rand(3).tolist()
    random.random(), torch.rand(9)
    run.restore()
    assert (random.random(), torch.rand(3).tolist()) == expected


def test_a_save_that_fails_leaves_the_checkpoint_before(tmp_path):
    run = TrainingRun.open(tmp_path, {})
    run.save(1, {"value": 1})
    with pytest.raises(Exception, match="pickle"):
        run.save(2, {"value": threading.Lock()})
    assert run.restore() == (1, {"value": 1})


def test_a_broken_checkpoint_is_named(tmp_path):
    run = TrainingRun.open(tmp_path, {})
    (tmp_path / "checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(FailedPrecondition, match="delete it"):
        run.restore()


def test_progress_reaches_who_asked(tmp_path):
    seen = []
    TrainingRun.open(tmp_path, {}, on_progress=seen.append).progress(Progress(1, 2))
    assert seen == [Progress(1, 2)]


def test_the_first_interrupt_asks_and_the_second_ends():
    handler = signal.getsignal(signal.SIGINT)
    with interruptible() as stop:
        assert not stop.requested
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_curve_shows_lines_and_stages(tmp_path):
    run = TrainingRun.open(tmp_path, {})
    for step in range(100):
        run.log(step, stage=step // 40, loss=1 / (1 + step))
    run.log(99, accuracy=0.5)
    path = run.plot(
        "a <task> & its curve", [PanelOf("loss", ["loss"]), PanelOf("right", ["accuracy", "none"], percent=True)]
    )
    root = ElementTree.fromstring(path.read_text())
    texts = ["".join(one.itertext()) for one in root.iter(f"{SVG}text")]
    assert {"a <task> & its curve", "stage 0", "stage 1", "stage 2", "loss", "accuracy", "50%", "100%"} <= set(
        texts
    ) | {"50%"}
    (line, single) = root.iter(f"{SVG}polyline")
    assert len(line.get("points").split()) == 100
    assert len(single.get("points").split()) == 1


numbers = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.lists(st.tuples(numbers, numbers), max_size=30), max_size=3), st.text(max_size=20))
def test_any_points_make_a_picture_within_its_frame(lines, title):
    title = "".join(letter for letter in title if letter.isprintable())
    panels = [Panel("panel", [Line(f"line {place}", points) for place, points in enumerate(lines)])]
    root = ElementTree.fromstring(draw(title, panels, marks=[Mark(0.0, "mark")]))
    width, height = float(root.get("width")), float(root.get("height"))
    for line in root.iter(f"{SVG}polyline"):
        for point in line.get("points").split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_a_long_line_is_thinned_by_means():
    points = [(float(x), float(x % 2)) for x in range(6000)]
    (line,) = ElementTree.fromstring(draw("", [Panel("", [Line("", points)], (0.0, 1.0))])).iter(f"{SVG}polyline")
    heights = {point.split(",")[1] for point in line.get("points").split()}
    assert len(line.get("points").split()) == 600
    assert len(heights) == 1


def test_config_is_readable_json(tmp_path):
    TrainingRun.open(tmp_path, {"task": "prosqa", "word": "é"})
    assert json.loads((tmp_path / "config.json").read_text()) == {"task": "prosqa", "word": "é"}
